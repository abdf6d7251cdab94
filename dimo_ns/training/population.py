"""The Gaussians while they are optimised: adding and removing them, with the moments of the rows that stay."""

import torch
from jaxtyping import Float, Int
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor

from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.geometry import farthest_points, quat_to_matrix
from dimo_ns.training.model import DimoModel
from dimo_ns.training.recipe import Moment

PARAMETERS = {
    "means": "means",
    "quats": "quats",
    "scales": "log_scales",
    "opacities": "logit_opacities",
    "colors": "colors",
}
"""The attribute of `CanonicalGaussians` by its group of parameters."""


class Population:
    """The Gaussians of a model, their optimizers, and how strongly each Gaussian's projections are pulled."""

    def __init__(self, model: DimoModel, optimizers: Optimizers):
        self.model, self.optimizers = model, optimizers
        self._watched: Tensor | None = None

    @property
    def gaussians(self) -> CanonicalGaussians:
        """The present set."""
        return self.model.scene.gaussians

    # --- how strongly they are pulled -------------------------------------------------------------------------------

    def watch(self, means2d: Float[Tensor, "*batch n 2"]) -> None:
        """Keeps the gradient of a step's projected centres, in pixels, for `note_pull`."""
        if means2d.requires_grad:
            means2d.retain_grad()
            self._watched = means2d

    def note_pull(self, moment: Moment) -> None:
        """After the backward pass: adds how strongly each Gaussian was pulled, over all renders of the step."""
        watched, self._watched = self._watched, None
        density = moment.phase.density
        if watched is not None and watched.grad is not None and (density.grow_at or density.clone_every):
            norms = watched.grad.nan_to_num().norm(dim=-1).view(-1, watched.shape[-2])
            self.model.pull += norms.sum(0) * moment.resolution()

    # --- changing the set -------------------------------------------------------------------------------------------

    def change(self, moment: Moment, generator: torch.Generator) -> None:
        """What the phase's plan has for this step: pruning, cutting back to key points, growing, cloning."""
        plan = moment.phase.density
        if moment.is_at(plan.prune_at) is not None:
            self.prune(plan.min_opacity)
        if moment.is_at(plan.farthest_at) is not None:
            count = min(self.model.recipe.keypoints, len(self.gaussians))
            self.keep(farthest_points(self.gaussians.means.detach(), count))
        grown = moment.is_at(plan.grow_at)
        if grown is not None:
            missing = max(0, plan.target - len(self.gaussians)) // (len(plan.grow_at) - grown)
            self.replace(*split(self.gaussians, most_pulled(self.model.pull, missing), generator))
        if plan.clone_every and moment.step and moment.step % plan.clone_every == 0:
            self._clone_or_split(moment, generator)

    def _clone_or_split(self, moment: Moment, generator: torch.Generator) -> None:
        """Stage 1 of the paper: points whose mean screen gradient is large are cloned while small, else split; faint
        ones go."""
        phase, plan = moment.phase, moment.phase.density
        renders = plan.clone_every * phase.motions * phase.times * phase.views
        rows = (self.model.pull / renders >= plan.clone_pull).nonzero()[:, 0]
        if len(rows):
            if self.gaussians.log_scales.mean().exp() <= plan.clone_below:
                origin = torch.cat([torch.arange(len(self.gaussians), device=rows.device), rows])
                self.replace(self.gaussians.select(origin), origin)
            else:
                self.replace(*split(self.gaussians, rows, generator))
        self.prune(plan.min_opacity)

    def prune(self, min_opacity: float) -> None:
        """Drops the Gaussians that are fainter."""
        opaque = torch.sigmoid(self.gaussians.logit_opacities) > min_opacity
        self.keep(opaque.nonzero()[:, 0])

    def keep(self, rows: Int[Tensor, " m"]) -> None:
        """Keeps these Gaussians alone."""
        self.replace(self.gaussians.select(rows), rows)

    def replace(self, gaussians: CanonicalGaussians, origin: Int[Tensor, " n"] | None = None) -> None:
        """Puts another set in place. Optimizers keep the moments of rows that stay (`replace_parameter`)."""
        model = self.model
        model.scene.gaussians = gaussians.to(model.device)
        model.pull = torch.zeros(len(gaussians), device=model.device)
        model.scene.refresh_neighbours()
        for group, attribute in PARAMETERS.items():
            replace_parameter(self.optimizers.optimizers[group], getattr(gaussians, attribute), origin)


@torch.no_grad()
def split(
    gaussians: CanonicalGaussians, rows: Int[Tensor, " m"], generator: torch.Generator
) -> tuple[CanonicalGaussians, Int[Tensor, " n"]]:
    """Each of these rows becomes two, 1.4 times smaller, one sigma-draw to either side of where it was.

    Returns the new set, the second halves at its end, and where each of its rows came from.
    """
    g = gaussians()
    draw = torch.randn(len(rows), 3, generator=generator).to(g.means) * 0.7
    offsets = (quat_to_matrix(g.quats[rows]) @ (g.scales[rows] * draw)[..., None]).squeeze(-1)
    origin = torch.cat([torch.arange(len(gaussians), device=rows.device), rows])
    grown = gaussians.select(origin)
    halves = torch.cat([rows, torch.arange(len(gaussians), len(origin), device=rows.device)])
    grown.means[halves] += torch.cat([-offsets, offsets])
    grown.log_scales[halves] -= torch.log(torch.tensor(1.4))
    return grown, origin


def most_pulled(pull: Float[Tensor, " n"], count: int) -> Int[Tensor, " m"]:
    """The rows with the largest accumulated screen-space gradient."""
    return pull.topk(min(count, len(pull))).indices


@torch.no_grad()
def replace_parameter(
    optimizer: torch.optim.Optimizer, new: torch.nn.Parameter, origin: Int[Tensor, " n"] | None
) -> None:
    """Hands an optimizer of one parameter its successor. Moments follow the rows (`origin`: where each row of the new
    one came from), those of rows that appear twice start at zero; without `origin` all state is dropped."""
    (old,) = optimizer.param_groups[0]["params"]
    state = optimizer.state.pop(old, {})
    optimizer.param_groups[0]["params"] = [new]
    if origin is None or not state:
        return
    seen = torch.bincount(origin, minlength=len(old))
    kept = (seen[origin] == 1).to(new.dtype)
    optimizer.state[new] = {
        name: value[origin] * kept.view(-1, *[1] * (value.dim() - 1)) if value.dim() else value
        for name, value in state.items()
    }
