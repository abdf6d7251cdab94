"""The errors of rendered pixels on the CPU: what `dimo_ns.core.losses.pixel_errors` says, in one pass over the pixels.

Sums are taken per block of pixels, blocks in order: they do not depend on the number of threads.
"""

# numba finds the types of kernels.
# pyright: basic

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...core import losses
from .jit import kernel
from .pool import parallel_for

_BLOCK = 4096


@kernel
def _forward(b0, b1, color, alpha, rgba, importance, sums):
    """Blocks b0..b1 of pixels; arrays are [image, pixel, channel], and no block is of two images."""
    images, pixels = alpha.shape
    per_image = len(sums) // images
    for block in range(b0, b1):
        i, first = block // per_image, block % per_image * _BLOCK
        absolute, square, cover = np.float32(0), np.float32(0), np.float32(0)
        for p in range(first, min(first + _BLOCK, pixels)):
            c = alpha[i, p] - rgba[i, p, 3]
            r = color[i, p, 0] - rgba[i, p, 0] - c
            g = color[i, p, 1] - rgba[i, p, 1] - c
            b = color[i, p, 2] - rgba[i, p, 2] - c
            absolute += abs(r) + abs(g) + abs(b)
            square += r * r + g * g + b * b
            cover += c * c
        sums[block, 0], sums[block, 1], sums[block, 2] = importance[i] * absolute, importance[i] * square, cover


@kernel
def _backward(b0, b1, color, alpha, rgba, importance, scales, g_color, g_alpha, blocks):
    """scales: of the three sums, times their gradients."""
    images, pixels = alpha.shape
    per_image = blocks // images
    for block in range(b0, b1):
        i, first = block // per_image, block % per_image * _BLOCK
        absolute, square, cover = importance[i] * scales[0], 2 * importance[i] * scales[1], 2 * scales[2]
        for p in range(first, min(first + _BLOCK, pixels)):
            c = alpha[i, p] - rgba[i, p, 3]
            total = np.float32(0)
            for channel in range(3):
                e = color[i, p, channel] - rgba[i, p, channel] - c
                sign = np.float32(e > 0) - np.float32(e < 0)
                v = absolute * sign + square * e
                g_color[i, p, channel] = v
                total += v
            g_alpha[i, p] = cover * c - total


class _PixelErrors(torch.autograd.Function):
    @staticmethod
    def forward(ctx, color, alpha, rgba, importance, scales):
        tensors = [t.detach().contiguous() for t in (color, alpha, rgba, importance)]
        images, pixels = importance.numel(), alpha[0, 0].numel()
        shapes = (images, pixels, 3), (images, pixels), (images, pixels, 4), (images,)
        arrays = [t.view(shape).numpy() for t, shape in zip(tensors, shapes, strict=True)]
        sums = np.empty((images * -(-pixels // _BLOCK), 3))
        parallel_for(_forward, len(sums), *arrays, sums)
        ctx.save_for_backward(*tensors)
        ctx.arrays, ctx.blocks, ctx.scales = arrays, len(sums), scales
        return torch.from_numpy(sums.sum(0) * scales).float()

    @staticmethod
    @once_differentiable
    def backward(ctx, v):
        color, alpha, _, _ = ctx.saved_tensors
        g_color, g_alpha = torch.empty_like(color), torch.empty_like(alpha)
        scales = (ctx.scales * v.numpy()).astype(np.float32)
        outputs = [g.view(array.shape).numpy() for g, array in zip((g_color, g_alpha), ctx.arrays, strict=False)]
        parallel_for(_backward, ctx.blocks, *ctx.arrays, scales, *outputs, ctx.blocks)
        return g_color, g_alpha, None, None, None


def pixel_errors(
    color: Tensor, alpha: Tensor, rgba: Tensor, importance: Tensor, weights: losses.ErrorWeights
) -> Tensor:
    """See `dimo_ns.core.losses.pixel_errors`; float32, torch does the rest."""
    if color.dtype != torch.float32:
        return losses.pixel_errors(color, alpha, rgba, importance, weights)
    scales = np.array(weights.over(alpha.numel()))
    return _PixelErrors.apply(color, alpha, rgba, importance, scales)  # pyright: ignore[reportReturnType]
