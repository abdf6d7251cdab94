"""EWA projection of Gaussians through pinhole cameras, forward and hand-written backward.

With W, t the rotation and translation of a world-to-camera matrix, S the scales and R the rotation of the unit
quaternion, a Gaussian has its centre at (x, y, z) = W mean + t, its half covariance is V = W R S, and in the image

    mean2d = (fx u + cx, fy v + cy)                        u = x / z, v = y / z
    cov2d  = [a.a + eps, a.b; a.b, b.b + eps]              a = fx/z (V_0 - u V_2),  b = fy/z (V_1 - v V_2)
    conic  = cov2d^-1 = (A, B, C)

where V_k is row k of V (a and b are the rows of J V, J the Jacobian of the pinhole at the centre). In J, u and v are
clamped to the image enlarged by 15% on each side: far outside, the linearisation means nothing. ``radii`` is the
half size, in pixels, of the box in which alpha reaches 1/255, and zero for a Gaussian that is not drawn.
"""

# numba finds the types of kernels.
# pyright: basic

import math

from .jit import inlined, kernel
from .tiles import ALPHA_MIN, f32

_MARGIN = f32(0.15)
_RADIUS_LIMIT = f32(1e9)  # fits an int32
MAX_SIGMAS = f32(3.33)  # sqrt(2 ln 255) is just below


@inlined
def _rotation(w, x, y, z):
    """Rows of the rotation matrix of a unit quaternion, end to end."""
    return (
        f32(1) - f32(2) * (y * y + z * z), f32(2) * (x * y - w * z), f32(2) * (x * z + w * y),
        f32(2) * (x * y + w * z), f32(1) - f32(2) * (x * x + z * z), f32(2) * (y * z - w * x),
        f32(2) * (x * z - w * y), f32(2) * (y * z + w * x), f32(1) - f32(2) * (x * x + y * y),
    )  # fmt: skip


@inlined
def _scaled_columns(M, s):
    return (
        M[0] * s[0], M[1] * s[1], M[2] * s[2],
        M[3] * s[0], M[4] * s[1], M[5] * s[2],
        M[6] * s[0], M[7] * s[1], M[8] * s[2],
    )  # fmt: skip


@inlined
def _matmul(A, B):
    return (
        A[0] * B[0] + A[1] * B[3] + A[2] * B[6], A[0] * B[1] + A[1] * B[4] + A[2] * B[7],
        A[0] * B[2] + A[1] * B[5] + A[2] * B[8],
        A[3] * B[0] + A[4] * B[3] + A[5] * B[6], A[3] * B[1] + A[4] * B[4] + A[5] * B[7],
        A[3] * B[2] + A[4] * B[5] + A[5] * B[8],
        A[6] * B[0] + A[7] * B[3] + A[8] * B[6], A[6] * B[1] + A[7] * B[4] + A[8] * B[7],
        A[6] * B[2] + A[7] * B[5] + A[8] * B[8],
    )  # fmt: skip


@inlined
def _unit_quaternion(quats, k):
    """(w, x, y, z, 1 / norm of the input)."""
    w = quats[k, 0]
    x = quats[k, 1]
    y = quats[k, 2]
    z = quats[k, 3]
    inverse = f32(1) / f32(math.sqrt(w * w + x * x + y * y + z * z))
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@inlined
def _world_rotation(viewmats, i):
    return (
        viewmats[i, 0, 0], viewmats[i, 0, 1], viewmats[i, 0, 2],
        viewmats[i, 1, 0], viewmats[i, 1, 1], viewmats[i, 1, 2],
        viewmats[i, 2, 0], viewmats[i, 2, 1], viewmats[i, 2, 2],
    )  # fmt: skip


@inlined
def _to_camera(W, viewmats, i, mean):
    return (
        W[0] * mean[0] + W[1] * mean[1] + W[2] * mean[2] + viewmats[i, 0, 3],
        W[3] * mean[0] + W[4] * mean[1] + W[5] * mean[2] + viewmats[i, 1, 3],
        W[6] * mean[0] + W[7] * mean[1] + W[8] * mean[2] + viewmats[i, 2, 3],
    )


@inlined
def _clamped(ratio, size, focal, centre):
    margin = _MARGIN * f32(size) / focal
    return min(max(ratio, -(centre / focal + margin)), (f32(size) - centre) / focal + margin)


@kernel
def project_forward(
    start, stop, N, C, means, quats, scales, opacities, viewmats, Ks, width, height, eps2d, near, far, radius_clip,
    means2d, conics, depths, radii,
):  # fmt: skip
    """Gaussians k = b * N + n of all B deformations laid end to end; images i = b * C + c."""
    for k in range(start, stop):
        w, x, y, z, _ = _unit_quaternion(quats, k)
        RS = _scaled_columns(_rotation(w, x, y, z), (scales[k, 0], scales[k, 1], scales[k, 2]))
        mean = (means[k, 0], means[k, 1], means[k, 2])
        for i in range(k // N * C, k // N * C + C):
            out = i * N + k % N
            W = _world_rotation(viewmats, i)
            tx, ty, tz = _to_camera(W, viewmats, i, mean)
            fx = Ks[i, 0, 0]
            fy = Ks[i, 1, 1]
            cx = Ks[i, 0, 2]
            cy = Ks[i, 1, 2]
            inverse_z = f32(1) / tz
            u = _clamped(tx * inverse_z, width, fx, cx)
            v = _clamped(ty * inverse_z, height, fy, cy)
            V = _matmul(W, RS)
            fx_z = fx * inverse_z
            fy_z = fy * inverse_z
            a = (fx_z * (V[0] - u * V[6]), fx_z * (V[1] - u * V[7]), fx_z * (V[2] - u * V[8]))
            b = (fy_z * (V[3] - v * V[6]), fy_z * (V[4] - v * V[7]), fy_z * (V[5] - v * V[8]))
            cov_xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2] + eps2d
            cov_xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
            cov_yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2] + eps2d
            det = cov_xx * cov_yy - cov_xy * cov_xy
            mx = fx_z * tx + cx
            my = fy_z * ty + cy
            means2d[out, 0] = mx
            means2d[out, 1] = my
            conics[out, 0] = cov_yy / det
            conics[out, 1] = -cov_xy / det
            conics[out, 2] = cov_xx / det
            depths[out] = tz
            radii[out, 0] = 0
            radii[out, 1] = 0
            o = opacities[k]
            # NaN fails every comparison
            if tz > near and tz < far and o >= ALPHA_MIN and det > f32(0):
                sigmas = min(MAX_SIGMAS, f32(math.sqrt(f32(2) * f32(math.log(o * f32(255))))))
                rx = f32(math.ceil(min(sigmas * f32(math.sqrt(cov_xx)), _RADIUS_LIMIT)))
                ry = f32(math.ceil(min(sigmas * f32(math.sqrt(cov_yy)), _RADIUS_LIMIT)))
                seen = mx + rx > 0 and mx - rx < width and my + ry > 0 and my - ry < height
                if seen and (rx > radius_clip or ry > radius_clip):
                    radii[out, 0] = int(rx)
                    radii[out, 1] = int(ry)


@kernel
def project_backward(
    start, stop, N, C, means, quats, scales, viewmats, Ks, width, height, conics, radii, v_means2d, v_conics, v_depths,
    v_means, v_quats, v_scales,
):  # fmt: skip
    """Chain rule of ``project_forward``, recomputing it; cameras of one deformation add up."""
    zero = f32(0)
    for k in range(start, stop):
        qw, qx, qy, qz, inverse_norm = _unit_quaternion(quats, k)
        R = _rotation(qw, qx, qy, qz)
        s = (scales[k, 0], scales[k, 1], scales[k, 2])
        RS = _scaled_columns(R, s)
        mean = (means[k, 0], means[k, 1], means[k, 2])
        v_mean = (zero, zero, zero)
        G = (zero, zero, zero, zero, zero, zero, zero, zero, zero)  # dL/d(R S)
        seen = False
        for i in range(k // N * C, k // N * C + C):
            out = i * N + k % N
            if radii[out, 0] == 0:
                continue
            seen = True
            W = _world_rotation(viewmats, i)
            tx, ty, tz = _to_camera(W, viewmats, i, mean)
            fx = Ks[i, 0, 0]
            fy = Ks[i, 1, 1]
            inverse_z = f32(1) / tz
            u_free = tx * inverse_z
            v_free = ty * inverse_z
            u = _clamped(u_free, width, fx, Ks[i, 0, 2])
            v = _clamped(v_free, height, fy, Ks[i, 1, 2])
            V = _matmul(W, RS)
            fx_z = fx * inverse_z
            fy_z = fy * inverse_z
            a = (V[0] - u * V[6], V[1] - u * V[7], V[2] - u * V[8])  # without their factors fx_z and fy_z
            b = (V[3] - v * V[6], V[4] - v * V[7], V[5] - v * V[8])

            # conic = cov^-1: dL/dcov = -conic dL/dconic conic
            A = conics[out, 0]
            B = conics[out, 1]
            C_ = conics[out, 2]
            vA = v_conics[out, 0]
            vB = f32(0.5) * v_conics[out, 1]
            vC = v_conics[out, 2]
            p = (A * vA + B * vB, A * vB + B * vC, B * vA + C_ * vB, B * vB + C_ * vC)
            v_xx = -(p[0] * A + p[1] * B)
            v_xy = f32(-2) * (p[0] * B + p[1] * C_)
            v_yy = -(p[2] * B + p[3] * C_)

            # cov_xx = a.a, cov_xy = a.b, cov_yy = b.b with the factors
            xx = f32(2) * v_xx * fx_z
            yy = f32(2) * v_yy * fy_z
            ga = (
                xx * a[0] + v_xy * fy_z * b[0], xx * a[1] + v_xy * fy_z * b[1], xx * a[2] + v_xy * fy_z * b[2],
            )  # fmt: skip
            gb = (
                yy * b[0] + v_xy * fx_z * a[0], yy * b[1] + v_xy * fx_z * a[1], yy * b[2] + v_xy * fx_z * a[2],
            )  # fmt: skip
            vx = v_means2d[out, 0]
            vy = v_means2d[out, 1]
            v_inverse_z = (
                fx * (ga[0] * a[0] + ga[1] * a[1] + ga[2] * a[2] + tx * vx)
                + fy * (gb[0] * b[0] + gb[1] * b[1] + gb[2] * b[2] + ty * vy)
            )  # fmt: skip
            v_tx = fx_z * vx
            v_ty = fy_z * vy
            ga = (ga[0] * fx_z, ga[1] * fx_z, ga[2] * fx_z)
            gb = (gb[0] * fy_z, gb[1] * fy_z, gb[2] * fy_z)
            if u == u_free:
                v_u = -(ga[0] * V[6] + ga[1] * V[7] + ga[2] * V[8])
                v_tx += v_u * inverse_z
                v_inverse_z += v_u * tx
            if v == v_free:
                v_v = -(gb[0] * V[6] + gb[1] * V[7] + gb[2] * V[8])
                v_ty += v_v * inverse_z
                v_inverse_z += v_v * ty
            v_tz = v_depths[out] - inverse_z * inverse_z * v_inverse_z
            v_mean = (
                v_mean[0] + W[0] * v_tx + W[3] * v_ty + W[6] * v_tz,
                v_mean[1] + W[1] * v_tx + W[4] * v_ty + W[7] * v_tz,
                v_mean[2] + W[2] * v_tx + W[5] * v_ty + W[8] * v_tz,
            )
            # dL/dV has the rows ga, gb and gc; V = W (R S)
            gc = (-(u * ga[0] + v * gb[0]), -(u * ga[1] + v * gb[1]), -(u * ga[2] + v * gb[2]))
            G = (
                G[0] + W[0] * ga[0] + W[3] * gb[0] + W[6] * gc[0], G[1] + W[0] * ga[1] + W[3] * gb[1] + W[6] * gc[1],
                G[2] + W[0] * ga[2] + W[3] * gb[2] + W[6] * gc[2], G[3] + W[1] * ga[0] + W[4] * gb[0] + W[7] * gc[0],
                G[4] + W[1] * ga[1] + W[4] * gb[1] + W[7] * gc[1], G[5] + W[1] * ga[2] + W[4] * gb[2] + W[7] * gc[2],
                G[6] + W[2] * ga[0] + W[5] * gb[0] + W[8] * gc[0], G[7] + W[2] * ga[1] + W[5] * gb[1] + W[8] * gc[1],
                G[8] + W[2] * ga[2] + W[5] * gb[2] + W[8] * gc[2],
            )  # fmt: skip
        if not seen:  # perhaps not even finite
            v_means[k, :] = zero
            v_quats[k, :] = zero
            v_scales[k, :] = zero
            continue
        v_means[k, 0] = v_mean[0]
        v_means[k, 1] = v_mean[1]
        v_means[k, 2] = v_mean[2]
        v_scales[k, 0] = G[0] * R[0] + G[3] * R[3] + G[6] * R[6]
        v_scales[k, 1] = G[1] * R[1] + G[4] * R[4] + G[7] * R[7]
        v_scales[k, 2] = G[2] * R[2] + G[5] * R[5] + G[8] * R[8]

        # rotation matrix -> unit quaternion -> quaternion as given (the gradient is orthogonal to it)
        H = _scaled_columns(G, s)
        hw = f32(2) * (qx * (H[7] - H[5]) + qy * (H[2] - H[6]) + qz * (H[3] - H[1]))
        hx = f32(2) * (qw * (H[7] - H[5]) + qy * (H[1] + H[3]) + qz * (H[2] + H[6])) - f32(4) * qx * (H[4] + H[8])
        hy = f32(2) * (qw * (H[2] - H[6]) + qx * (H[1] + H[3]) + qz * (H[5] + H[7])) - f32(4) * qy * (H[0] + H[8])
        hz = f32(2) * (qw * (H[3] - H[1]) + qx * (H[2] + H[6]) + qy * (H[5] + H[7])) - f32(4) * qz * (H[0] + H[4])
        along = hw * qw + hx * qx + hy * qy + hz * qz
        v_quats[k, 0] = (hw - qw * along) * inverse_norm
        v_quats[k, 1] = (hx - qx * along) * inverse_norm
        v_quats[k, 2] = (hy - qy * along) * inverse_norm
        v_quats[k, 3] = (hz - qz * along) * inverse_norm
