"""The errors of rendered pixels, `core.losses.pixel_errors`, in one kernel forward and one backward.

Both read the rendered colour over black with its alpha and the frame's premultiplied RGBA, and put them over white as
they go: no picture is written but the gradients.
"""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core.losses import ErrorWeights
from .launch import kernel, launch, programs
from .rotations import load4

BLOCK = 1024


@kernel
def _differences(color, alpha, rgba, importance, p, here, stride, per_image):
    """Over white: rendered less true colour, its three channels, and alpha; and the image's importance."""
    r = tl.load(color + p * stride, mask=here, other=0.0)
    g = tl.load(color + p * stride + 1, mask=here, other=0.0)
    b = tl.load(color + p * stride + 2, mask=here, other=0.0)
    true_r, true_g, true_b, true_a = load4(rgba, p, here)
    cover = tl.load(alpha + p, mask=here, other=0.0) - true_a
    weight = tl.load(importance + p // per_image, mask=here, other=0.0)
    return r - true_r - cover, g - true_g - cover, b - true_b - cover, cover, weight


@kernel
def _forward(color, alpha, rgba, importance, sums, P, stride, per_image, l1, mse, mask, BLOCK: tl.constexpr):
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    r, g, b, cover, weight = _differences(color, alpha, rgba, importance, p, p < P, stride, per_image)
    out = sums + tl.program_id(0)
    tl.store(out, l1 * tl.sum(weight * (tl.abs(r) + tl.abs(g) + tl.abs(b))))
    tl.store(out + tl.num_programs(0), mse * tl.sum(weight * (r * r + g * g + b * b)))
    tl.store(out + 2 * tl.num_programs(0), mask * tl.sum(cover * cover))


@kernel
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))


@kernel
def _backward(
    color, alpha, rgba, importance, v, g_color, g_alpha, P, stride, per_image, l1, mse, mask, BLOCK: tl.constexpr
):
    """v: the gradients of the three errors."""
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = p < P
    r, g, b, cover, weight = _differences(color, alpha, rgba, importance, p, here, stride, per_image)
    absolute, square = l1 * weight * tl.load(v), 2 * mse * weight * tl.load(v + 1)
    r = absolute * _sign(r) + square * r
    g = absolute * _sign(g) + square * g
    b = absolute * _sign(b) + square * b
    tl.store(g_color + 3 * p, r, mask=here)
    tl.store(g_color + 3 * p + 1, g, mask=here)
    tl.store(g_color + 3 * p + 2, b, mask=here)
    tl.store(g_alpha + p, 2 * mask * tl.load(v + 2) * cover - (r + g + b), mask=here)


class _PixelErrors(torch.autograd.Function):
    @staticmethod
    def forward(ctx, color, alpha, rgba, importance, *scales):  # pyright: ignore
        pixels, per_image, stride = alpha.numel(), alpha[0, 0].numel(), color.stride(-2)
        if color.stride(-1) != 1 or color.stride(0) * len(color) != stride * pixels:
            color, stride = color.contiguous(), 3
        inputs = color, *(t.contiguous() for t in (alpha, rgba, importance))
        sums = alpha.new_empty(3, programs(pixels, BLOCK))
        launch(_forward, (sums.shape[1],), *inputs, sums, pixels, stride, per_image, *scales, BLOCK=BLOCK)
        ctx.save_for_backward(*inputs)
        ctx.numbers = pixels, stride, per_image, *scales
        return sums.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, v: Tensor):  # pyright: ignore
        inputs = ctx.saved_tensors
        alpha, rgba = inputs[1], inputs[2]
        grads = torch.empty_like(rgba[..., :3]), torch.empty_like(alpha)
        grid = (programs(alpha.numel(), BLOCK),)
        launch(_backward, grid, *inputs, v.contiguous(), *grads, *ctx.numbers, BLOCK=BLOCK)
        return *grads, None, None, None, None, None


def pixel_errors(color: Tensor, alpha: Tensor, rgba: Tensor, importance: Tensor, weights: ErrorWeights) -> Tensor:
    """See `core.losses.pixel_errors`."""
    return _PixelErrors.apply(color, alpha, rgba, importance, *weights.over(alpha.numel()))
