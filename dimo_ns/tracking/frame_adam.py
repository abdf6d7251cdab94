"""The optimizer of explicit trajectories."""

from typing import Any

import torch
from torch import Tensor

from .. import gpu


class FrameAdam(torch.optim.Optimizer):
    """Adam whose unit is a frame: parameters are [m, t, k, c]; a frame without gradient is left alone, with its
    moments; the second moment is one number per frame (its largest entry), so that the direction of a step, and with
    it the smoothness of a diffused gradient, is kept."""

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-15):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; none at all where `found_inf` says that something was not finite."""
        for group in self.param_groups:
            (beta1, beta2), lr, eps = group["betas"], group["lr"], group["eps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    per_frame = p.new_zeros(*p.shape[:2], 1, 1)
                    state.update(mean=torch.zeros_like(p), square=per_frame, count=per_frame.clone())
                if gpu.usable(p):
                    self._step_on_gpu(p, state, group)
                    continue
                largest = p.grad.abs().amax((-1, -2), keepdim=True)
                seen = largest > 0
                if self.found_inf is not None:
                    seen &= self.found_inf == 0
                state["count"] += seen
                state["mean"].copy_(torch.where(seen, beta1 * state["mean"] + (1 - beta1) * p.grad, state["mean"]))
                state["square"].copy_(
                    torch.where(seen, beta2 * state["square"] + (1 - beta2) * largest**2, state["square"])
                )
                mean = state["mean"] / (1 - beta1 ** state["count"])
                root = (state["square"] / (1 - beta2 ** state["count"])).sqrt() + eps
                p.sub_(torch.where(seen, lr * mean / root, 0.0))

    def _step_on_gpu(self, p: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        from ..gpu.frame_adam import step  # Triton is not everywhere

        assert p.grad is not None
        skip = p.new_zeros(()) if self.found_inf is None else self.found_inf
        moments = state["mean"], state["square"], state["count"]
        step(p, p.grad.contiguous(), *moments, skip, group["lr"], group["betas"], group["eps"])
