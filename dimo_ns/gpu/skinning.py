"""Linear blend skinning, `core.skinning.skin_by_radii`, in one kernel forward and one backward.

A program takes BLOCK Gaussians, whose four key points are the second axis of every tile. Nothing between the transforms
and the posed Gaussians is stored: the backward kernel computes weights and blends again. Gradients of the key points
are summed atomically, so their last bits depend on the order in which programs run.
"""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core.skinning import NEIGHBOURS
from ..core.types import RigidTransforms
from .launch import kernel, launch, programs
from .rotations import load3, load4, rotate, rotation_gradient, store3, store4

BLOCK = 64


@kernel
def _weights(means, keypoints, log_radii, indices, n, here, J: tl.constexpr):
    """Of a tile of Gaussians: their key points [n, j], offsets from them, and how much each carries."""
    j = tl.arange(0, J)[None, :]
    k = tl.load(indices + n[:, None] * J + j, mask=here[:, None], other=0)
    mx, my, mz = load3(means, n, here)
    cx, cy, cz = load3(keypoints, k, here[:, None])
    dx, dy, dz = mx[:, None] - cx, my[:, None] - cy, mz[:, None] - cz
    inverse = tl.exp(-2 * tl.load(log_radii + k, mask=here[:, None], other=0.0))
    squared = dx * dx + dy * dy + dz * dz
    near = tl.exp(-0.5 * squared * inverse)
    total = tl.sum(near + 1e-7, axis=1)
    return k, cx, cy, cz, dx, dy, dz, squared, inverse, near, total, (near + 1e-7) / total[:, None]


@kernel
def _turn(turns, row, first, weights, here):
    """The key points' quaternions, each in the half-space of the first (`signs`), and their unit blend."""
    qw, qx, qy, qz = load4(turns, row, here[:, None])
    fw, fx, fy, fz = load4(turns, first, here)
    agree = qw * fw[:, None] + qx * fx[:, None] + qy * fy[:, None] + qz * fz[:, None]
    signs = tl.where(agree < 0, -1.0, 1.0)
    share = weights * signs
    tw, tx = tl.sum(share * qw, axis=1), tl.sum(share * qx, axis=1)
    ty, tz = tl.sum(share * qy, axis=1), tl.sum(share * qz, axis=1)
    norm = tl.maximum(tl.sqrt(tw * tw + tx * tx + ty * ty + tz * tz), 1e-12)
    return qw, qx, qy, qz, signs, norm, tw / norm, tx / norm, ty / norm, tz / norm


@kernel
def _forward(
    means, quats, keypoints, log_radii, indices, translations, turns, posed_means, posed_quats, N, K,
    J: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b = tl.program_id(1)
    here = n < N
    k, cx, cy, cz, dx, dy, dz, _, _, _, _, weights = _weights(means, keypoints, log_radii, indices, n, here, J)
    row = b * K + k
    first = b * K + tl.load(indices + n * J, mask=here, other=0)
    qw, qx, qy, qz, _, _, tw, tx, ty, tz = _turn(turns, row, first, weights, here)
    sx, sy, sz = load3(translations, row, here[:, None])
    rx, ry, rz = rotate(qw, qx, qy, qz, dx, dy, dz)
    out = b * N + n
    store3(
        posed_means,
        out,
        tl.sum(weights * (rx + cx + sx), axis=1),
        tl.sum(weights * (ry + cy + sy), axis=1),
        tl.sum(weights * (rz + cz + sz), axis=1),
        here,
    )
    gw, gx, gy, gz = load4(quats, n, here)
    store4(
        posed_quats,
        out,
        tw * gw - tx * gx - ty * gy - tz * gz,
        tw * gx + tx * gw + ty * gz - tz * gy,
        tw * gy - tx * gz + ty * gw + tz * gx,
        tw * gz + tx * gy - ty * gx + tz * gw,
        here,
    )


@kernel
def _backward(
    means, quats, keypoints, log_radii, indices, translations, turns, v_means, v_quats, g_means, g_quats, g_keypoints,
    g_radii, g_translations, g_turns, N, K, B, J: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """v: gradients of the posed Gaussians; g: those of the inputs, zero at the start where they are summed."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = n < N
    both = here[:, None] & (tl.arange(0, J)[None, :] < J)
    k, cx, cy, cz, dx, dy, dz, squared, inverse, near, total, weights = _weights(
        means, keypoints, log_radii, indices, n, here, J
    )
    nearest = tl.load(indices + n * J, mask=here, other=0)
    pw, px, py, pz = load4(quats, n, here)
    zero, zeros = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK, J], tl.float32)
    mx, my, mz = zero, zero, zero  # of the means
    hw, hx, hy, hz = zero, zero, zero, zero  # of the quats
    ex, ey, ez = zeros, zeros, zeros  # of the key points
    share = zeros  # of the weights
    for b in range(B):
        row = b * K + k
        qw, qx, qy, qz, signs, norm, tw, tx, ty, tz = _turn(turns, row, b * K + nearest, weights, here)
        sx, sy, sz = load3(translations, row, here[:, None])
        vx, vy, vz = load3(v_means, b * N + n, here)
        ow, ox, oy, oz = load4(v_quats, b * N + n, here)

        hw += tw * ow + tx * ox + ty * oy + tz * oz  # conj(t) v: q' = t q
        hx += tw * ox - tx * ow - ty * oz + tz * oy
        hy += tw * oy + tx * oz - ty * ow - tz * ox
        hz += tw * oz - tx * oy + ty * ox - tz * ow
        uw = ow * pw + ox * px + oy * py + oz * pz  # v conj(q), less what lies along t
        ux = -ow * px + ox * pw - oy * pz + oz * py
        uy = -ow * py + ox * pz + oy * pw - oz * px
        uz = -ow * pz - ox * py + oy * px + oz * pw
        along = uw * tw + ux * tx + uy * ty + uz * tz
        uw, ux = ((uw - along * tw) / norm)[:, None], ((ux - along * tx) / norm)[:, None]
        uy, uz = ((uy - along * ty) / norm)[:, None], ((uz - along * tz) / norm)[:, None]

        vx, vy, vz = vx[:, None], vy[:, None], vz[:, None]
        rx, ry, rz = rotate(qw, qx, qy, qz, dx, dy, dz)
        share += vx * (rx + cx + sx) + vy * (ry + cy + sy) + vz * (rz + cz + sz)
        share += signs * (uw * qw + ux * qx + uy * qy + uz * qz)
        gx, gy, gz = weights * vx, weights * vy, weights * vz
        bx, by, bz = rotate(qw, -qx, -qy, -qz, gx, gy, gz)  # R^T g
        mx, my, mz = mx + tl.sum(bx, axis=1), my + tl.sum(by, axis=1), mz + tl.sum(bz, axis=1)
        ex, ey, ez = ex + gx - bx, ey + gy - by, ez + gz - bz
        aw, ax, ay, az = rotation_gradient(qw, qx, qy, qz, dx, dy, dz, gx, gy, gz)
        tl.atomic_add(g_translations + 3 * row, gx, mask=both)
        tl.atomic_add(g_translations + 3 * row + 1, gy, mask=both)
        tl.atomic_add(g_translations + 3 * row + 2, gz, mask=both)
        turned = weights * signs
        tl.atomic_add(g_turns + 4 * row, aw + turned * uw, mask=both)
        tl.atomic_add(g_turns + 4 * row + 1, ax + turned * ux, mask=both)
        tl.atomic_add(g_turns + 4 * row + 2, ay + turned * uy, mask=both)
        tl.atomic_add(g_turns + 4 * row + 3, az + turned * uz, mask=both)

    pull = near * (share - tl.sum(share * weights, axis=1)[:, None]) / total[:, None]
    slope = pull * inverse
    mx -= tl.sum(slope * dx, axis=1)
    my -= tl.sum(slope * dy, axis=1)
    mz -= tl.sum(slope * dz, axis=1)
    store3(g_means, n, mx, my, mz, here)
    store4(g_quats, n, hw, hx, hy, hz, here)
    tl.atomic_add(g_keypoints + 3 * k, ex + slope * dx, mask=both)
    tl.atomic_add(g_keypoints + 3 * k + 1, ey + slope * dy, mask=both)
    tl.atomic_add(g_keypoints + 3 * k + 2, ez + slope * dz, mask=both)
    tl.atomic_add(g_radii + k, slope * squared, mask=both)


class _Skin(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, keypoints, log_radii, indices, translations, turns):  # pyright: ignore
        (batch, count), rows = turns.shape[:2], len(means)
        inputs = [t.contiguous() for t in (means, quats, keypoints, log_radii, indices, translations, turns)]
        posed = means.new_empty(batch, rows, 3), means.new_empty(batch, rows, 4)
        launch(_forward, (programs(rows, BLOCK), batch), *inputs, *posed, rows, count, J=NEIGHBOURS, BLOCK=BLOCK)
        ctx.save_for_backward(*inputs)
        return posed

    @staticmethod
    @once_differentiable
    def backward(ctx, v_means: Tensor, v_quats: Tensor):  # pyright: ignore
        inputs = ctx.saved_tensors
        means, quats, keypoints, _, _, _, turns = inputs
        (batch, count), rows = turns.shape[:2], len(means)
        own = torch.empty_like(means), torch.empty_like(quats)
        sums = keypoints.new_zeros(4 * count + 7 * batch * count)
        parts = sums.split([3 * count, count, 3 * batch * count, 4 * batch * count])
        launch(
            _backward, (programs(rows, BLOCK),), *inputs, v_means.contiguous(), v_quats.contiguous(), *own, *parts,
            rows, count, batch, J=NEIGHBOURS, BLOCK=BLOCK,
        )  # fmt: skip
        of_keypoints, of_radii, of_translations, of_turns = parts
        return (
            *own,
            of_keypoints.view(count, 3),
            of_radii,
            None,
            of_translations.view(batch, count, 3),
            of_turns.view(batch, count, 4),
        )


def skin(
    means: Tensor, quats: Tensor, keypoints: Tensor, log_radii: Tensor, indices: Tensor, transforms: RigidTransforms
) -> tuple[Tensor, Tensor]:
    """Poses Gaussians as `core.skinning.skin_by_radii` does; four neighbours each."""
    return _Skin.apply(means, quats, keypoints, log_radii, indices, transforms.translations, transforms.quats)
