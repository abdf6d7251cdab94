"""Optimizers, their rates in a phase, and the guard that skips a step whose loss or gradient is not finite.

Everything here keeps to plain Python numbers, so that checkpoints load with `torch.load(weights_only=True)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig, Optimizers
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter

from dimo_ns.errors import DimoError
from dimo_ns.tracking.frame_adam import FrameAdam
from dimo_ns.tracking.schedule import log_linear


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one kernel. `NonFiniteGuard` needs `fused`: it is how a step is skipped without asking the device."""

    eps: float = 1e-15
    """Added to the denominator; tiny, since gradients of Gaussians are."""
    fused: bool = True
    """One kernel for all parameters of a group."""


@dataclass
class FrameAdamConfig(OptimizerConfig):
    """Adam for explicit trajectories, frame by frame."""

    _target: type = field(default_factory=lambda: FrameAdam)
    lr: float = 1e-3
    """Overwritten by the recipe at every step."""
    eps: float = 1e-15


def set_rates(optimizers: Optimizers, lr: Mapping[str, tuple[float, float]], fraction: float) -> None:
    """Learning rates of a step by group, between those at a phase's start and end; groups without one get no
    gradient."""
    for name, optimizer in optimizers.optimizers.items():
        rates = lr.get(name)
        for group in optimizer.param_groups:
            if rates is not None:
                group["lr"] = log_linear(rates, fraction)
            for parameter in group["params"]:
                parameter.requires_grad_(rates is not None)


def drop_moments(optimizers: Optimizers, groups: Mapping[str, list[Parameter]]) -> None:
    """Optimizers start afresh, with these parameters."""
    for name, optimizer in optimizers.optimizers.items():
        optimizer.state.clear()
        optimizer.param_groups[0]["params"] = groups[name]


class NonFiniteGuard:
    """Skips optimizer steps with a non-finite loss term or gradient, counts them, and gives up after `limit` in a row.

    Whether to skip is decided on the device (fused optimizers read `found_inf` there); the host asks what happened
    only in `report`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.skipped = 0
        """Optimizer steps skipped so far, up to the last report."""
        self._names: list[str] = []
        self._counts: Tensor | None = None  # [2 + len(names)]: skipped since the last report, in a row, per name

    def step(self, losses: Mapping[str, Tensor], optimizers: Optimizers) -> None:
        """Step all optimizers, unless a loss term or a gradient is not finite."""
        groups = {
            name: [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            for name, optimizer in optimizers.optimizers.items()
        }
        names = [f"loss term '{name}'" for name in losses]
        names += [f"gradient of '{name}'" for name, params in groups.items() for _ in params]
        # A gradient whose square overflows is as bad for Adam as an infinite one; its norm says so.
        norms = torch._foreach_norm([p.grad for params in groups.values() for p in params])  # pyright: ignore
        bad = ~torch.isfinite(torch.stack([*(loss.detach() for loss in losses.values()), *norms]))
        found = bad.any().float()
        self._count(names, bad, found)

        for name, optimizer in optimizers.optimizers.items():
            max_norm = optimizers.config[name]["optimizer"].max_norm
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(groups[name], max_norm)
            optimizer.found_inf = found
            optimizer.step()

    def _count(self, names: list[str], bad: Tensor, found: Tensor) -> None:
        if self._counts is None or names != self._names:
            in_a_row = 0 if self._counts is None else self.report()
            self._names = names
            self._counts = torch.zeros(2 + len(names), device=bad.device)
            self._counts[1] = in_a_row
        self._counts[0] += found
        self._counts[1] = (self._counts[1] + 1) * found
        self._counts[2:] += bad

    def report(self) -> int:
        """Say in one line what was skipped since the last report, and return how many steps in a row just now.

        Asks the device, so call it every few steps only. Raises DimoError after `limit` steps in a row.
        """
        if self._counts is None:
            return 0
        skipped, in_a_row, *counts = (int(count) for count in self._counts.tolist())
        if not skipped:
            return 0
        self.skipped += skipped
        self._counts[0] = 0
        self._counts[2:] = 0
        # A bad loss makes every gradient bad: name the cause only.
        culprits = list(dict.fromkeys(name for name, count in zip(self._names, counts, strict=True) if count))
        culprits = [name for name in culprits if name.startswith("loss")] or culprits
        cause = f"{', '.join(culprits)} not finite"
        if in_a_row >= self.limit:
            raise DimoError(
                f"Training stopped: {cause} in {in_a_row} steps in a row; the last checkpoint is kept, "
                f"continue from it with a smaller learning rate."
            )
        CONSOLE.print(f"Skipped {skipped} optimizer step(s): {cause} ({self.skipped} skipped so far).", markup=False)
        return in_a_row
