"""The mean as-rigid-as-possible energy of key points, `core.losses.arap`, in one kernel forward and one backward."""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core.types import RigidTransforms
from .launch import kernel, launch, programs
from .rotations import load3, load4, rotate, rotation_gradient

BLOCK = 32


@kernel
def _edges(keypoints, neighbours, translations, turns, k, b, here, K, J, WIDTH: tl.constexpr):
    """Of a tile of key points [k, j]: what each edge is away from having turned with its key point, and the edge."""
    j = tl.arange(0, WIDTH)[None, :]
    both = here[:, None] & (j < J)
    other = tl.load(neighbours + k[:, None] * J + j, mask=both, other=0)
    cx, cy, cz = load3(keypoints, k, here)
    nx, ny, nz = load3(keypoints, other, both)
    sx, sy, sz = load3(translations, b * K + k, here)
    ox, oy, oz = load3(translations, b * K + other, both)
    qw, qx, qy, qz = load4(turns, b * K + k, here)
    qw, qx, qy, qz = qw[:, None], qx[:, None], qy[:, None], qz[:, None]
    dx, dy, dz = nx - cx[:, None], ny - cy[:, None], nz - cz[:, None]
    rx, ry, rz = rotate(qw, qx, qy, qz, dx, dy, dz)
    ex = tl.where(both, nx + ox - (cx + sx)[:, None] - rx, 0.0)
    ey = tl.where(both, ny + oy - (cy + sy)[:, None] - ry, 0.0)
    ez = tl.where(both, nz + oz - (cz + sz)[:, None] - rz, 0.0)
    return other, both, qw, qx, qy, qz, dx, dy, dz, ex, ey, ez


@kernel
def _forward(
    keypoints, neighbours, translations, turns, unit, sums, K, J, robust, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    b = tl.program_id(1)
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = k < K
    _, _, _, _, _, _, _, _, _, ex, ey, ez = _edges(keypoints, neighbours, translations, turns, k, b, here, K, J, WIDTH)
    energy = (ex * ex + ey * ey + ez * ez) / tl.load(unit)
    if robust > 0:
        energy = 2 * robust * (tl.sqrt(1 + energy / robust) - 1)
    tl.store(sums + b * tl.num_programs(0) + tl.program_id(0), tl.sum(energy))


@kernel
def _backward(
    keypoints, neighbours, translations, turns, unit, v, g_keypoints, g_translations, g_turns, K, J, robust,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """v: the gradient of every edge's energy, one number; g: those of the inputs, zero at the start."""
    b = tl.program_id(1)
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = k < K
    other, both, qw, qx, qy, qz, dx, dy, dz, ex, ey, ez = _edges(
        keypoints, neighbours, translations, turns, k, b, here, K, J, WIDTH
    )
    scale = tl.load(v) / tl.load(unit)
    slope = scale + tl.zeros_like(ex)
    if robust > 0:
        slope = scale / tl.sqrt(1 + (ex * ex + ey * ey + ez * ez) / (tl.load(unit) * robust))
    gx, gy, gz = 2 * slope * ex, 2 * slope * ey, 2 * slope * ez  # of where the neighbour is
    bx, by, bz = rotate(qw, -qx, -qy, -qz, gx, gy, gz)  # R^T g: less of the edge
    aw, ax, ay, az = rotation_gradient(qw, qx, qy, qz, dx, dy, dz, -gx, -gy, -gz)
    row, base = b * K + other, b * K + k
    tl.atomic_add(g_translations + 3 * row, gx, mask=both)
    tl.atomic_add(g_translations + 3 * row + 1, gy, mask=both)
    tl.atomic_add(g_translations + 3 * row + 2, gz, mask=both)
    tl.atomic_add(g_translations + 3 * base, -tl.sum(gx, axis=1), mask=here)
    tl.atomic_add(g_translations + 3 * base + 1, -tl.sum(gy, axis=1), mask=here)
    tl.atomic_add(g_translations + 3 * base + 2, -tl.sum(gz, axis=1), mask=here)
    tl.atomic_add(g_keypoints + 3 * other, gx - bx, mask=both)
    tl.atomic_add(g_keypoints + 3 * other + 1, gy - by, mask=both)
    tl.atomic_add(g_keypoints + 3 * other + 2, gz - bz, mask=both)
    tl.atomic_add(g_keypoints + 3 * k, tl.sum(bx - gx, axis=1), mask=here)
    tl.atomic_add(g_keypoints + 3 * k + 1, tl.sum(by - gy, axis=1), mask=here)
    tl.atomic_add(g_keypoints + 3 * k + 2, tl.sum(bz - gz, axis=1), mask=here)
    tl.store(g_turns + 4 * base, tl.sum(aw, axis=1), mask=here)
    tl.store(g_turns + 4 * base + 1, tl.sum(ax, axis=1), mask=here)
    tl.store(g_turns + 4 * base + 2, tl.sum(ay, axis=1), mask=here)
    tl.store(g_turns + 4 * base + 3, tl.sum(az, axis=1), mask=here)


class _Rigidity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, keypoints, neighbours, translations, turns, unit, robust):  # pyright: ignore
        (batch, count), width = turns.shape[:2], neighbours.shape[1]
        inputs = [t.contiguous() for t in (keypoints, neighbours, translations, turns, unit)]
        sums = keypoints.new_empty(batch, programs(count, BLOCK))
        constants = {"WIDTH": triton.next_power_of_2(width), "BLOCK": BLOCK}
        launch(_forward, (programs(count, BLOCK), batch), *inputs, sums, count, width, robust, **constants)
        ctx.save_for_backward(*inputs)
        ctx.robust, ctx.constants = robust, constants
        return sums.sum() / (batch * count * width)

    @staticmethod
    @once_differentiable
    def backward(ctx, v: Tensor):  # pyright: ignore
        inputs = ctx.saved_tensors
        _, neighbours, _, turns, _ = inputs
        (batch, count), width = turns.shape[:2], neighbours.shape[1]
        sums = turns.new_zeros(3 * count + 3 * batch * count)
        of_keypoints, of_translations = sums.split([3 * count, 3 * batch * count])
        of_turns = torch.empty_like(turns)
        launch(
            _backward, (programs(count, BLOCK), batch), *inputs, v / (batch * count * width), of_keypoints,
            of_translations, of_turns, count, width, ctx.robust, **ctx.constants,
        )  # fmt: skip
        return of_keypoints.view(count, 3), None, of_translations.view(batch, count, 3), of_turns, None, None


def mean_arap(
    keypoints: Tensor, neighbours: Tensor, transforms: RigidTransforms, unit: Tensor, robust: float
) -> Tensor:
    """The mean over batch [b] and edges [k, j] of `core.losses.arap` in units of `unit`, or where `robust` is not zero
    of its `charbonnier`."""
    return _Rigidity.apply(keypoints, neighbours, transforms.translations, transforms.quats, unit, robust)
