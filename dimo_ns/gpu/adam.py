"""A step of several `torch.optim.Adam` in one kernel: a program takes a block of one of their tensors.

Addresses and rates of all tensors go to the device as one small table. The state is torch's own, so optimizers go on on
a CPU, or by torch, from where they were.
"""

# Triton's language has no types that Python's checkers know, and torch leaves some of its own untyped.
# pyright: basic, reportOperatorIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

import functools
from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from .launch import kernel, launch, programs
from .rotations import load4

BLOCK = 1024
COLUMNS = 6


@kernel
def _step(table, rates, blocks, found_inf, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    """table: a row of addresses and the size of each tensor; blocks: which tensor, which part of it."""
    row = tl.load(blocks + 2 * tl.program_id(0))
    i = tl.load(blocks + 2 * tl.program_id(0) + 1) * BLOCK + tl.arange(0, BLOCK)
    at = table + COLUMNS * row
    p = tl.load(at).to(tl.pointer_type(tl.float32))
    grad = tl.load(at + 1).to(tl.pointer_type(tl.float32))
    mean = tl.load(at + 2).to(tl.pointer_type(tl.float32))
    square = tl.load(at + 3).to(tl.pointer_type(tl.float32))
    steps = tl.load(tl.load(at + 4).to(tl.pointer_type(tl.float32))).to(tl.float64)
    here = i < tl.load(at + 5)
    lr, beta1, beta2, eps = load4(rates, row, True)
    if tl.load(found_inf) == 0:
        g = tl.load(grad + i, mask=here, other=0.0)
        m = tl.load(mean + i, mask=here, other=0.0)
        s = tl.load(square + i, mask=here, other=0.0)
        m += (1 - beta1).to(tl.float32) * (g - m)
        s += (1 - beta2).to(tl.float32) * (g * g - s)
        rate = (lr / (1 - tl.exp(steps * tl.log(beta1)))).to(tl.float32)
        root = tl.sqrt(1 - tl.exp(steps * tl.log(beta2))).to(tl.float32)
        old = tl.load(p + i, mask=here, other=0.0)
        tl.store(p + i, old - rate * m / (tl.sqrt(s) / root + eps.to(tl.float32)), mask=here)
        tl.store(mean + i, m, mask=here)
        tl.store(square + i, s, mask=here)


@functools.lru_cache(8)
def _blocks(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Tensor and part of it for every program, [programs, 2]."""
    parts = [(row, part) for row, size in enumerate(sizes) for part in range(programs(size, BLOCK))]
    return torch.tensor(parts, dtype=torch.int32).to(device)


@torch.no_grad()
def step(optimizers: Sequence[torch.optim.Adam], found_inf: Tensor) -> None:
    """A step of all of these, unless `found_inf` [] is not zero. None decays weights or keeps maxima."""
    tensors, rates = [], []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = optimizer.state[p]
                if not state:
                    state.update(step=p.new_zeros(()), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                tensors.append((p, p.grad.contiguous(), state["exp_avg"], state["exp_avg_sq"], state["step"]))
                rates.append((group["lr"], *group["betas"], group["eps"]))
    if not tensors:
        return
    device, steps = found_inf.device, [row[-1] for row in tensors]
    addresses = [[t.data_ptr() for t in row] + [row[0].numel()] for row in tensors]
    packed = torch.tensor(rates, dtype=torch.float64).view(torch.int64)  # rides behind the addresses in one copy
    table = torch.cat([torch.tensor(addresses).flatten(), packed.flatten()]).to(device, non_blocking=True)
    rows = len(tensors) * COLUMNS
    torch._foreach_add_(steps, 1)
    blocks = _blocks(tuple(row[0].numel() for row in tensors), device)
    launch(
        _step, (len(blocks),), table[:rows], table[rows:].view(torch.float64), blocks, found_inf,
        BLOCK=BLOCK, COLUMNS=COLUMNS,
    )  # fmt: skip
    torch._foreach_sub_(steps, [found_inf] * len(steps))
