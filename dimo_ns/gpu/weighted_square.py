"""A weighted mean squared error, `core.losses.weighted_square`, in one kernel each way."""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import kernel, launch, programs

BLOCK = 4096


@kernel
def _forward(x, target, weights, sums, N, R, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = i < N
    error = tl.load(x + i, mask=here, other=0.0) - tl.load(target + i, mask=here, other=0.0)
    tl.store(sums + tl.program_id(0), tl.sum(tl.load(weights + i % R, mask=here, other=0.0) * error * error) / (N // R))


@kernel
def _backward(x, target, weights, v, g, N, R, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = i < N
    error = tl.load(x + i, mask=here, other=0.0) - tl.load(target + i, mask=here, other=0.0)
    scale = 2 * tl.load(v) / (N // R)
    tl.store(g + i, scale * tl.load(weights + i % R, mask=here, other=0.0) * error, mask=here)


class _WeightedSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, target, weights):  # pyright: ignore
        inputs = [t.contiguous() for t in (x, target, weights)]
        grid = (programs(x.numel(), BLOCK),)
        sums = x.new_empty(grid)
        launch(_forward, grid, *inputs, sums, x.numel(), len(weights), BLOCK=BLOCK)
        ctx.save_for_backward(*inputs)
        return sums.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, v: Tensor):  # pyright: ignore
        x, target, weights = ctx.saved_tensors
        g = torch.empty_like(x)
        launch(_backward, (programs(x.numel(), BLOCK),), x, target, weights, v, g, x.numel(), len(weights), BLOCK=BLOCK)
        return g, None, None


def weighted_square(x: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """See `core.losses.weighted_square`."""
    return _WeightedSquare.apply(x, target, weights)
