"""Draws of motions' latents with their divergence from the prior, `core.latents`, in one kernel each way."""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import kernel, launch

ROWS = 32


@kernel
def _forward(mu, logvar, noise, motion_ids, z, divergence, B, M, D, WIDTH: tl.constexpr):
    """A program takes a row of z; the first M also take a motion each."""
    row = tl.program_id(0)
    d = tl.arange(0, WIDTH)
    here = d < D
    if row < B:
        at = tl.load(motion_ids + row) * D + d
        spread = tl.exp(0.5 * tl.load(logvar + at, mask=here, other=0.0)) * tl.load(noise + at, mask=here, other=0.0)
        tl.store(z + row * D + d, tl.load(mu + at, mask=here, other=0.0) + spread, mask=here)
    if row < M:
        m = tl.load(mu + row * D + d, mask=here, other=0.0)
        v = tl.load(logvar + row * D + d, mask=here, other=0.0)
        tl.store(divergence + row, 0.5 * tl.sum(m * m + tl.exp(v) - 1 - v) / M)


@kernel
def _backward(
    mu,
    logvar,
    noise,
    motion_ids,
    v_z,
    v_divergence,
    g_mu,
    g_logvar,
    stride,
    B,
    M,
    D,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A program takes a motion, and sums the gradients of those rows of z that are its own."""
    motion = tl.program_id(0)
    d = tl.arange(0, WIDTH)
    here = d < D
    at = motion * D + d
    v = tl.load(logvar + at, mask=here, other=0.0)
    total = tl.zeros([WIDTH], tl.float32)
    for first in range(0, B, ROWS):
        row = first + tl.arange(0, ROWS)
        own = tl.load(motion_ids + row, mask=row < B, other=-1) == motion
        rows = tl.load(v_z + row[:, None] * stride + d[None, :], mask=own[:, None] & here[None, :], other=0.0)
        total += tl.sum(rows, axis=0)
    share = tl.load(v_divergence) / M
    spread = tl.exp(0.5 * v) * tl.load(noise + at, mask=here, other=0.0)
    tl.store(g_mu + at, total + share * tl.load(mu + at, mask=here, other=0.0), mask=here)
    tl.store(g_logvar + at, 0.5 * (total * spread + share * (tl.exp(v) - 1)), mask=here)


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mu, logvar, noise, motion_ids):  # pyright: ignore
        (motions, dim), rows = mu.shape, len(motion_ids)
        inputs = [t.contiguous() for t in (mu, logvar, noise, motion_ids)]
        z, divergence = mu.new_empty(rows, dim), mu.new_empty(motions)
        ctx.numbers = rows, motions, dim
        ctx.width = triton.next_power_of_2(dim)
        launch(_forward, (max(rows, motions),), *inputs, z, divergence, *ctx.numbers, WIDTH=ctx.width)
        ctx.save_for_backward(*inputs)
        return z, divergence.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, v_z: Tensor, v_divergence: Tensor):  # pyright: ignore
        mu, *others = ctx.saved_tensors
        grads = torch.empty_like(mu), torch.empty_like(mu)
        v_z = v_z if v_z.stride(1) == 1 else v_z.contiguous()  # rows of a wider table are taken as they are
        inputs = mu, *others, v_z, v_divergence
        launch(_backward, (len(mu),), *inputs, *grads, v_z.stride(0), *ctx.numbers, WIDTH=ctx.width, ROWS=ROWS)
        return *grads, None, None


def draw(mu: Tensor, logvar: Tensor, motion_ids: Tensor) -> tuple[Tensor, Tensor]:
    """What `MotionLatents.draw` draws for these motions, and the mean of its `kl` over all motions."""
    return _Draw.apply(mu, logvar, torch.randn_like(mu), motion_ids)
