"""Linear blend skinning on the CPU: what `dimo_ns.core.skinning.blend` says, in one pass over the Gaussians.

A key point's transform is a row of 16 floats, the affine map [3, 4] and the quaternion, so that a Gaussian's blend is
four fused multiply-adds of one vector. Gradients of the rows are summed per slab of Gaussians, slabs in order: the
result does not depend on the number of threads.
"""

# numba finds the types of kernels.
# pyright: basic

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...core import skinning
from .jit import inlined, kernel
from .pool import parallel_for
from .simd import LANES, broadcast, get, load, put, stack, store, store_sums

_SLABS = 8
_NEIGHBOURS = skinning.NEIGHBOURS
_SIGNS = np.ones((2, 16), np.float32)  # row 1 turns a quaternion round
_SIGNS[1, 12:] = -1


@inlined
def _blended(rows, b, n, indices, weights, signs, turned, blend):
    """blend = sum_j w_j rows[b, k_j], quaternions in the half-space of the first; turned[j] = 16 where j's was not."""
    first, count = indices[n, 0], rows.shape[1]
    for j in range(_NEIGHBOURS):
        k = indices[n, j]
        agree = np.float32(0)
        for c in range(12, 16):
            agree += rows[b, first, c] * rows[b, k, c]
        turned[j] = 16 if agree < 0 else 0
    for v in range(0, 16, LANES):
        total = broadcast(np.float32(0))
        for j in range(_NEIGHBOURS):
            row = load(rows, (b * count + indices[n, j]) * 16 + v)
            total = total + load(signs, turned[j] + v) * row * weights[n, j]
        store(blend, v, total)


@kernel
def _forward(n0, n1, means, quats, indices, weights, rows, signs, out_means, out_quats):
    blend, turned = np.empty(16, np.float32), np.empty(_NEIGHBOURS, np.int64)
    for n in range(n0, n1):
        x, y, z = means[n, 0], means[n, 1], means[n, 2]
        qw, qx, qy, qz = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
        for b in range(rows.shape[0]):
            _blended(rows, b, n, indices, weights, signs, turned, blend)
            for i in range(3):
                out_means[b, n, i] = blend[4 * i] * x + blend[4 * i + 1] * y + blend[4 * i + 2] * z + blend[4 * i + 3]
            tw, tx, ty, tz = blend[12], blend[13], blend[14], blend[15]
            scale = np.float32(1) / max(math.sqrt(tw * tw + tx * tx + ty * ty + tz * tz), np.float32(1e-12))
            out_quats[b, n, 0] = scale * (tw * qw - tx * qx - ty * qy - tz * qz)
            out_quats[b, n, 1] = scale * (tw * qx + tx * qw + ty * qz - tz * qy)
            out_quats[b, n, 2] = scale * (tw * qy - tx * qz + ty * qw + tz * qx)
            out_quats[b, n, 3] = scale * (tw * qz + tx * qy - ty * qx + tz * qw)


@kernel
def _backward(
    s0, s1, means, quats, indices, weights, rows, signs, v_means, v_quats, g_means, g_quats, g_weights, g_rows
):  # fmt: skip
    """Slabs s0..s1; g_rows [slabs, b, k, 16] is zero at the start."""
    total, batch, count = means.shape[0], rows.shape[0], rows.shape[1]
    blend, turned = np.empty(16, np.float32), np.empty(_NEIGHBOURS, np.int64)
    g = np.empty(16, np.float32)
    along_row = stack(4)
    size = (total + g_rows.shape[0] - 1) // g_rows.shape[0]
    for slab in range(s0, s1):
        for n in range(slab * size, min((slab + 1) * size, total)):
            x, y, z = means[n, 0], means[n, 1], means[n, 2]
            qw, qx, qy, qz = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
            gx, gy, gz = np.float32(0), np.float32(0), np.float32(0)
            hw, hx, hy, hz = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for j in range(_NEIGHBOURS):
                put(along_row, j, broadcast(np.float32(0)))
            for b in range(batch):
                vx, vy, vz = v_means[b, n, 0], v_means[b, n, 1], v_means[b, n, 2]
                _blended(rows, b, n, indices, weights, signs, turned, blend)
                gx += blend[0] * vx + blend[4] * vy + blend[8] * vz
                gy += blend[1] * vx + blend[5] * vy + blend[9] * vz
                gz += blend[2] * vx + blend[6] * vy + blend[10] * vz
                norm = math.sqrt(blend[12] ** 2 + blend[13] ** 2 + blend[14] ** 2 + blend[15] ** 2)
                scale = np.float32(1) / max(norm, np.float32(1e-12))
                tw, tx, ty, tz = scale * blend[12], scale * blend[13], scale * blend[14], scale * blend[15]
                ow, ox, oy, oz = v_quats[b, n, 0], v_quats[b, n, 1], v_quats[b, n, 2], v_quats[b, n, 3]
                # q' = t q: the gradient of q is conj(t) v, that of t is v conj(q)
                hw += tw * ow + tx * ox + ty * oy + tz * oz
                hx += tw * ox - tx * ow - ty * oz + tz * oy
                hy += tw * oy + tx * oz - ty * ow - tz * ox
                hz += tw * oz - tx * oy + ty * ox - tz * ow
                uw = ow * qw + ox * qx + oy * qy + oz * qz
                ux = -ow * qx + ox * qw - oy * qz + oz * qy
                uy = -ow * qy + ox * qz + oy * qw - oz * qx
                uz = -ow * qz - ox * qy + oy * qx + oz * qw
                along = uw * tw + ux * tx + uy * ty + uz * tz
                g[0], g[1], g[2], g[3] = vx * x, vx * y, vx * z, vx
                g[4], g[5], g[6], g[7] = vy * x, vy * y, vy * z, vy
                g[8], g[9], g[10], g[11] = vz * x, vz * y, vz * z, vz
                g[12], g[13] = scale * (uw - along * tw), scale * (ux - along * tx)
                g[14], g[15] = scale * (uy - along * ty), scale * (uz - along * tz)
                for v in range(0, 16, LANES):
                    pull = load(g, v)
                    for j in range(_NEIGHBOURS):
                        k = indices[n, j]
                        signed = load(signs, turned[j] + v) * pull
                        put(along_row, j, get(along_row, j) + signed * load(rows, (b * count + k) * 16 + v))
                        place = ((slab * batch + b) * count + k) * 16 + v
                        store(g_rows, place, load(g_rows, place) + signed * weights[n, j])
            store_sums(
                g_weights,
                n * _NEIGHBOURS,
                get(along_row, 0),
                get(along_row, 1),
                get(along_row, 2),
                get(along_row, 3),
            )
            g_means[n, 0], g_means[n, 1], g_means[n, 2] = gx, gy, gz
            g_quats[n, 0], g_quats[n, 1], g_quats[n, 2], g_quats[n, 3] = hw, hx, hy, hz


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, weights, affine, turns, indices):
        rows = torch.cat([affine, turns], -1).contiguous()
        tensors = [t.detach().contiguous() for t in (means, quats, indices, weights, rows)]
        batch, count = len(rows), len(means)
        posed, turned = torch.empty(batch, count, 3), torch.empty(batch, count, 4)
        arrays = [t.numpy() for t in tensors]
        parallel_for(_forward, count, *arrays, _SIGNS, posed.numpy(), turned.numpy(), grain=512)
        ctx.save_for_backward(*tensors)
        return posed, turned

    @staticmethod
    @once_differentiable
    def backward(ctx, v_means, v_quats):
        means, quats, indices, weights, rows = ctx.saved_tensors
        g_means, g_quats, g_weights = (torch.empty_like(t) for t in (means, quats, weights))
        g_rows = torch.zeros(_SLABS, *rows.shape)
        inputs = [t.numpy() for t in (means, quats, indices, weights, rows)]
        outputs = [t.numpy() for t in (v_means.contiguous(), v_quats.contiguous(), g_means, g_quats, g_weights, g_rows)]
        parallel_for(_backward, _SLABS, *inputs, _SIGNS, *outputs)
        total = g_rows.sum(0)
        return g_means, g_quats, g_weights, total[..., :12], total[..., 12:], None


def blend(
    means: Tensor, quats: Tensor, weights: Tensor, affine: Tensor, turns: Tensor, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """See `dimo_ns.core.skinning.blend`; float32, four neighbours; torch does the rest."""
    if means.dtype != torch.float32 or indices.shape[1] != _NEIGHBOURS:
        return skinning.blend(means, quats, weights, affine, turns, indices)
    return _Blend.apply(means, quats, weights, affine, turns, indices)  # pyright: ignore[reportReturnType]
