"""A step of `tracking.frame_adam.FrameAdam` in one kernel: a program takes a frame."""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import triton
import triton.language as tl
from torch import Tensor

from .launch import kernel, launch


@kernel
def _step(p, grad, mean, square, count, found_inf, lr, beta1, beta2, eps, SIZE, BLOCK: tl.constexpr):
    frame = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    here = i < SIZE
    at = frame.to(tl.int64) * SIZE + i
    g = tl.load(grad + at, mask=here, other=0.0)
    largest = tl.max(tl.abs(g))
    if (largest > 0) & (tl.load(found_inf) == 0):
        steps = (tl.load(count + frame) + 1).to(tl.float64)
        m = beta1 * tl.load(mean + at, mask=here, other=0.0) + (1 - beta1) * g
        s = beta2 * tl.load(square + frame) + (1 - beta2) * largest * largest
        root = tl.sqrt(s / (1 - tl.exp(steps * tl.log(beta2)))) + eps
        moved = lr * (m / (1 - tl.exp(steps * tl.log(beta1)))) / root
        tl.store(p + at, tl.load(p + at, mask=here, other=0.0) - moved, mask=here)
        tl.store(mean + at, m, mask=here)
        tl.store(square + frame, s)
        tl.store(count + frame, steps)


def step(
    p: Tensor, grad: Tensor, mean: Tensor, square: Tensor, count: Tensor, found_inf: Tensor,
    lr: float, betas: tuple[float, float], eps: float,
) -> None:  # fmt: skip
    """Changes a table [m, t, k, c] and its moments in place, unless `found_inf` [] is not zero."""
    size = p.shape[2] * p.shape[3]
    launch(
        _step, (p.shape[0] * p.shape[1],), p, grad, mean, square, count, found_inf, lr, *betas, eps, size,
        BLOCK=triton.next_power_of_2(size),
    )  # fmt: skip
