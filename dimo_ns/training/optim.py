"""Optimizers, their rates in a phase, and the guard that skips a step whose loss or gradient is not finite.

Everything here keeps to plain Python numbers, so that checkpoints load with `torch.load(weights_only=True)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig, Optimizers
from torch import Tensor
from torch.nn import Parameter

from dimo_ns import gpu
from dimo_ns.errors import DimoError
from dimo_ns.tracking.frame_adam import FrameAdam
from dimo_ns.tracking.schedule import log_linear
from dimo_ns.training.console import tell


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


def clear_gradients(optimizers: Optimizers) -> None:
    """Takes the gradients of all parameters away: what every `zero_grad` does, without what surrounds it."""
    for optimizer in optimizers.optimizers.values():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


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
        self._in_a_row = 0
        self._seen: list[tuple[list[str], Tensor]] = []  # since the last report: what was looked at, and was it bad

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
        values = torch.stack([*(loss.detach() for loss in losses.values()), *norms])
        bad = values - values != 0  # of what is finite, and of that alone, the difference is zero
        found = bad.any().float()
        self._seen.append((names, bad))

        for name in optimizers.optimizers:
            max_norm = optimizers.config[name]["optimizer"].max_norm
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(groups[name], max_norm)
        step_all([optimizer for name, optimizer in optimizers.optimizers.items() if groups[name]], found)

    def report(self) -> int:
        """Say in one line what was skipped since the last report, and return how many steps in a row just now.

        Asks the device, so call it every few steps only. Raises DimoError after `limit` steps in a row.
        """
        culprits: dict[str, None] = {}
        skipped = 0
        bad = iter(torch.cat([bad for _, bad in self._seen]).tolist() if self._seen else ())
        for names, _ in self._seen:
            found = [name for name in names if next(bad)]
            self._in_a_row = self._in_a_row + 1 if found else 0
            skipped += bool(found)
            culprits |= dict.fromkeys(found)
        self._seen = []
        if not skipped:
            return self._in_a_row
        self.skipped += skipped
        # A bad loss makes every gradient bad: name the cause only.
        causes = [name for name in culprits if name.startswith("loss")] or list(culprits)
        cause = f"{', '.join(causes)} not finite"
        if self._in_a_row >= self.limit:
            raise DimoError(
                f"Training stopped: {cause} in {self._in_a_row} steps in a row; the last checkpoint is kept, "
                f"continue from it with a smaller learning rate."
            )
        tell(f"Skipped {skipped} optimizer step(s): {cause} ({self.skipped} skipped so far).")
        return self._in_a_row


def step_all(optimizers: Sequence[torch.optim.Optimizer], found_inf: Tensor) -> None:
    """A step of each, unless `found_inf` [] is not zero; on a CUDA device those that are Adam in one kernel."""
    together = [o for o in optimizers if isinstance(o, torch.optim.Adam)] if gpu.usable(found_inf) else []
    if together:
        from dimo_ns.gpu import adam  # Triton is not everywhere

        adam.step(together, found_inf)
    for optimizer in optimizers:
        if optimizer not in together:
            optimizer.found_inf = found_inf  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
