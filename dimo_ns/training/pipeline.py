"""Runs a recipe inside nerfstudio's Trainer: what happens before, in and after a step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.gaussians import CanonicalGaussians, gaussians_in_ball, gaussians_on, init_around_keypoints, spacing
from dimo_ns.core.geometry import farthest_points, nearest_neighbours
from dimo_ns.core.types import RigidTransforms
from dimo_ns.tracking.graph import connect
from dimo_ns.tracking.hull import hull_surface
from dimo_ns.tracking.tree import frame_distances, silhouette_centres, spanning_tree, triangulate
from dimo_ns.training import population as density
from dimo_ns.training.datamanager import DimoDataManager, DimoDataManagerConfig, Request
from dimo_ns.training.evaluation import evaluate_model
from dimo_ns.training.model import NEIGHBOURS, DimoModel, DimoModelConfig
from dimo_ns.training.recipe import Moment
from dimo_ns.training.sampling import draw_request, tree_position

REFRESH_EVERY = 100
"""Steps between two searches for the key points that carry each Gaussian."""
POSTERIOR_LOGVAR = -6.0
"""Of the latents when distillation begins: narrow against the unit variance among motions."""
GAUSSIAN_GROUPS = {
    "means": "means",
    "quats": "quats",
    "scales": "log_scales",
    "opacities": "logit_opacities",
    "colors": "colors",
}
PAPER_PULL, PAPER_CLONE_BELOW, PAPER_KEYPOINT_OPACITY = 0.02, 0.04, 0.01


@dataclass
class DimoPipelineConfig(VanillaPipelineConfig):
    """Data and model of a run."""

    _target: type = field(default_factory=lambda: DimoPipeline)
    datamanager: DimoDataManagerConfig = field(default_factory=DimoDataManagerConfig)
    model: DimoModelConfig = field(default_factory=DimoModelConfig)


class DimoPipeline(VanillaPipeline):
    """nerfstudio's pipeline whose steps follow a recipe."""

    config: DimoPipelineConfig
    datamanager: DimoDataManager

    def __init__(self, config: DimoPipelineConfig, device: str, *args: Any, **kwargs: Any):
        super().__init__(config, device, *args, **kwargs)
        self.seed = int(torch.initial_seed() % 2**31)
        self.optimizers: Optimizers | None = None
        self._begin: dict[str, Callable[[Moment], None]] = {
            "hull": self._begin_on_hull,
            "tree": self._begin_tracking,
            "distill": self._begin_distilling,
            "ball": self._begin_in_ball,
            "around": self._begin_around_keypoints,
        }

    @property
    def model(self) -> DimoModel:
        assert isinstance(self._model, DimoModel)
        return self._model

    @property
    def length(self) -> int:
        """Steps of the whole recipe for this dataset."""
        return self.model.recipe.length(len(self.model.motion_names))

    @property
    def phase(self) -> str:
        return self.model.moment.phase.name

    # --- what the trainer asks for ----------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """What a checkpoint has to agree with."""
        return {"motions": list(self.model.motion_names), "dataset_hash": self.datamanager.dataset.hash}

    def sampler_state(self) -> dict[str, Any]:
        """The seed: requests are a function of it and the step."""
        return {"seed": self.seed}

    def load_sampler_state(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        self.model.update_to_step(step)
        self.model.load_state_dict({k.removeprefix("_model."): v for k, v in loaded_state.items()})

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        self.optimizers = attributes.optimizers
        for note in self.datamanager.dataset.notes:
            CONSOLE.print(f"The dataset: {note}", markup=False, soft_wrap=True)
        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [TrainingCallback([before], self.before_step), TrainingCallback([after], self.after_step)]

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
        moment = self.model.moment
        if not moment.renders:
            losses = self.model.distill_losses()
        else:
            request = self.request(step)
            assert request is not None
            batch = self.datamanager.fetch(request)
            following = self.request(step + 1)
            if following is not None:
                self.datamanager.prefetch(following)
            losses = self.model.losses(batch, self._fraction(moment))
        return {}, losses, {"gaussians": torch.tensor(float(len(self.model.scene.gaussians)))}

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, Any]:
        """All figures of `evaluate_model`: over all test views and frames, per motion and per view, with baselines."""
        self.eval()
        figures = evaluate_model(self.model, self.datamanager, output_path)
        self.train()
        if step is not None:  # during training, for the event file, which holds single numbers
            return {name: value for name, value in figures.items() if isinstance(value, float)}
        return figures

    # --- steps ------------------------------------------------------------------------------------------------------

    @cached_property
    def _tree(self):
        return self.model.tree

    def _fraction(self, moment: Moment) -> float:
        """How far the phase has come; while frames are tracked, the present level of the tree."""
        return tree_position(moment, self._tree)[1] if moment.phase.sampler == "tree" else moment.fraction

    def request(self, step: int) -> Request | None:
        """The frames of a step; None where nothing is rendered, or where the order is not known yet."""
        moment = self.model.recipe.at(step, len(self.model.motion_names))
        unknown = moment.phase.sampler == "tree" and self.model.moment.phase.sampler != "tree"
        if not moment.renders or step >= self.length or unknown:
            return None
        size = self.datamanager.size_at(moment.resolution(self._fraction(moment)))
        tree = self._tree if moment.phase.sampler == "tree" else None
        return draw_request(moment, step, self.seed, self.datamanager.frames.available, size, tree)

    def generator(self, step: int) -> torch.Generator:
        """Random numbers of what is done once at a step."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + step)

    def before_step(self, step: int) -> None:
        """Begins phases, changes the set of Gaussians, sets learning rates."""
        model = self.model
        moment = model.set_step(step)
        self._now = step
        if moment.step == 0:
            if moment.phase.begin:
                self._begin[moment.phase.begin](moment)
            self._drop_moments()
        if moment.renders:
            self._change_density(moment)
            if step % REFRESH_EVERY == 0:
                model.scene.refresh_neighbours()
        if moment.phase.sampler == "tree":
            self._enter_level(moment)
        self._set_rates(moment)

    def after_step(self, step: int) -> None:
        """Notes how strongly each Gaussian's projections are pulled, over all renders of the step."""
        means2d, moment = self.model.means2d, self.model.moment
        wanted = moment.phase.density.grow_at or moment.phase.density.clone_every
        if means2d is not None and means2d.grad is not None and wanted:
            norms = means2d.grad.nan_to_num().norm(dim=-1).view(-1, means2d.shape[-2])
            self.model.pull += norms.sum(0) * moment.resolution()
        self.model.means2d = None

    def _set_rates(self, moment: Moment) -> None:
        """Learning rates of this step; groups that the phase does not train get no gradient."""
        assert self.optimizers is not None
        fraction = self._fraction(moment)
        for name, optimizer in self.optimizers.optimizers.items():
            rates = moment.phase.lr.get(name)
            for group in optimizer.param_groups:
                if rates is not None:
                    group["lr"] = float(rates[0] * (rates[1] / rates[0]) ** fraction)
                for parameter in group["params"]:
                    parameter.requires_grad_(rates is not None)

    def _drop_moments(self) -> None:
        """A phase begins with fresh optimizers."""
        assert self.optimizers is not None
        groups = self.model.get_param_groups()
        for name, optimizer in self.optimizers.optimizers.items():
            optimizer.state.clear()
            optimizer.param_groups[0]["params"] = groups[name]

    # --- changing the set of Gaussians ------------------------------------------------------------------------------

    def _change_density(self, moment: Moment) -> None:
        plan, gaussians = moment.phase.density, self.model.scene.gaussians
        if moment.is_at(plan.prune_at) is not None:
            opaque = torch.sigmoid(gaussians.logit_opacities) > plan.min_opacity
            self._keep(opaque.nonzero()[:, 0])
        if moment.is_at(plan.farthest_at) is not None:
            count = min(self.model.recipe.keypoints, len(self.model.scene.gaussians))
            self._keep(farthest_points(self.model.scene.gaussians.means.detach(), count))
        grown = moment.is_at(plan.grow_at)
        if grown is not None:
            self._split(self._missing(plan, grown))
        if plan.clone_every and moment.step and moment.step % plan.clone_every == 0:
            self._clone_or_split(moment)

    def _missing(self, plan: Any, grown: int) -> int:
        """How many Gaussians to add at the `grown`-th time, so that the target is reached evenly."""
        return max(0, plan.target - len(self.model.scene.gaussians)) // (len(plan.grow_at) - grown)

    def _split(self, count: int) -> None:
        model = self.model
        rows = density.most_pulled(model.pull, count)
        self._replace(*density.split(model.scene.gaussians, rows, self.generator(self._now)))

    def _clone_or_split(self, moment: Moment) -> None:
        """Stage 1 of the paper: points whose mean screen gradient is large are cloned while small, else split; faint
        and huge ones go."""
        gaussians = self.model.scene.gaussians
        renders = moment.phase.density.clone_every * moment.phase.motions * moment.phase.times * moment.phase.views
        rows = (self.model.pull / renders >= PAPER_PULL).nonzero()[:, 0]
        if len(rows):
            scale = gaussians.log_scales.mean().exp()
            if scale <= PAPER_CLONE_BELOW:
                origin = torch.cat([torch.arange(len(gaussians), device=rows.device), rows])
                self._replace(gaussians.select(origin), origin)
            else:
                self._replace(*density.split(gaussians, rows, self.generator(self._now)))
        opaque = torch.sigmoid(self.model.scene.gaussians.logit_opacities) > moment.phase.density.min_opacity
        self._keep(opaque.nonzero()[:, 0])

    def _keep(self, rows: Tensor) -> None:
        self._replace(self.model.scene.gaussians.select(rows), rows)

    def _replace(self, gaussians: CanonicalGaussians, origin: Tensor | None = None) -> None:
        """Puts another set of Gaussians in place, with the optimizers' moments of the rows that stay."""
        model = self.model
        model.scene.gaussians = gaussians.to(self.device)
        model.pull = torch.zeros(len(gaussians), device=self.device)
        model.scene.refresh_neighbours()
        assert self.optimizers is not None
        for group, attribute in GAUSSIAN_GROUPS.items():
            density.replace_parameter(self.optimizers.optimizers[group], getattr(gaussians, attribute), origin)

    # --- how phases begin -------------------------------------------------------------------------------------------

    def _all_frames(self, resolution: int, frames: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Premultiplied RGBA [n, v, h, w, 4] of given (motion, frame) pairs in all views, which of them exist [n, v],
        and the intrinsics."""
        manager, size = self.datamanager, self.datamanager.size_at(resolution)
        available = torch.from_numpy(manager.frames.available)[tuple(torch.tensor(frames).T)]
        rgba = torch.zeros(*available.shape, *size, 4)
        for row, (motion, frame) in enumerate(frames):
            views = available[row].nonzero()[:, 0]
            if len(views):
                images = manager.frames.batch([motion], [frame], views[None], size)
                rgba[row, views] = images[0].float() / 255
        return rgba.to(self.device), available.float().to(self.device), manager.intrinsics(size)

    def _thumbnails(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every frame of every motion, small, by (motion, frame); see `_all_frames`."""
        motions, frames = range(len(self.model.motion_names)), range(self.model.frame_count)
        return self._all_frames(64, [(m, f) for m in motions for f in frames])

    def _begin_on_hull(self, moment: Moment) -> None:
        """Gaussians on the visual hull of the reference frame: frame 0 of the first motion."""
        rgba, _, Ks = self._all_frames(256, [(0, 0)])
        points = hull_surface(
            rgba[0, ..., 3], self.datamanager.viewmats, Ks, self.model.recipe.gaussians, self.generator(self._now)
        )
        self._replace(gaussians_on(points))

    @torch.no_grad()
    def _begin_tracking(self, moment: Moment) -> None:
        """Key points spread over the object that the first phase found; the order in which frames are tracked."""
        model, scene = self.model, self.model.scene
        g = scene.gaussians()
        solid = g.means[g.opacities > 0.3]
        solid = solid if len(solid) >= model.recipe.keypoints else g.means
        chosen = solid[farthest_points(solid, model.recipe.keypoints)]
        reference, _, sharp_Ks = self._all_frames(256, [(0, 0)])
        edges = connect(chosen, reference[0, ..., 3], self.datamanager.viewmats, sharp_Ks, NEIGHBOURS)
        self._place_keypoints(chosen, 0.7 * spacing(chosen), edges)

        rgba, available, Ks = self._thumbnails()
        tree = spanning_tree(frame_distances(rgba, available))
        model.parents, model.depths = tree.parents.to(self.device), tree.depths.to(self.device)
        self._tree = tree
        self._centres = triangulate(silhouette_centres(rgba[..., 3]), self.datamanager.viewmats, Ks, available)

    @torch.no_grad()
    def _enter_level(self, moment: Moment) -> None:
        """Frames of the next depth start where their parents are, moved by as much as their silhouettes are."""
        level, _ = tree_position(moment, self._tree)
        before = tree_position(replace(moment, step=moment.step - 1), self._tree)[0] if moment.step else 0
        frames, table = self.model.frame_count, self.model.table
        assert table is not None
        for depth in range(before + 1, level + 1):
            nodes = (self._tree.depths == depth).nonzero()[:, 0]
            parents = self._tree.parents[nodes]
            node, parent = (nodes // frames, nodes % frames), (parents // frames, parents % frames)
            shift = self._centres[nodes] - self._centres[parents]
            table.translations[node] = table.translations[parent] + shift[:, None]
            table.quats[node] = table.quats[parent]

    @cached_property
    def _centres(self) -> Tensor:
        rgba, available, Ks = self._thumbnails()
        return triangulate(silhouette_centres(rgba[..., 3]), self.datamanager.viewmats, Ks, available)

    @torch.no_grad()
    def _begin_distilling(self, moment: Moment) -> None:
        """The low-rank decoder's basis is the principal components of the trajectories; a motion's latent starts at its
        place among the motions (their principal coordinates), with a small posterior around it."""
        model, decoder, latents = self.model, self.model.scene.decoder, self.model.scene.latents
        assert model.table is not None
        found = model.table.continuous()
        flat = RigidTransforms(found.translations.flatten(0, 1), found.quats.flatten(0, 1))
        model.coordinates = (
            decoder.fit_basis(flat)
            if isinstance(decoder, LowRankDecoder)
            else torch.cat([flat.translations, flat.quats], -1)
        )
        motions = found.translations.flatten(1)
        u, s, _ = torch.linalg.svd(motions - motions.mean(0), full_matrices=False)
        kept = min(int((s > 1e-6 * s[0]).sum()), latents.mu.shape[1])
        latents.mu[:, :kept] = u[:, :kept] * math.sqrt(len(motions))
        latents.logvar.fill_(POSTERIOR_LOGVAR)

    def _begin_in_ball(self, moment: Moment) -> None:
        """The paper's first points."""
        self._replace(gaussians_in_ball(self.model.recipe.gaussians, 0.5, 0.03, self.generator(self._now)))

    @torch.no_grad()
    def _begin_around_keypoints(self, moment: Moment) -> None:
        """The paper's second stage: what is left of the points become the key points, each with a ball of Gaussians."""
        model, scene = self.model, self.model.scene
        points = scene.gaussians
        visible = (torch.sigmoid(points.logit_opacities) > PAPER_KEYPOINT_OPACITY).nonzero()[:, 0]
        points = points.select(visible if len(visible) >= 16 else torch.arange(len(points), device=self.device))
        radius = points.log_scales.mean().exp()
        radii = radius.expand(len(points))
        frames = torch.arange(model.frame_count, device=self.device)
        times = model.frame_times(frames)
        moved = [scene.decoder(points.means, times, z.expand(len(times), -1)) for z in scene.latents.mu]
        model.anchors = torch.stack([points.means + transforms.translations for transforms in moved])
        self._place_keypoints(points.means, radii, nearest_neighbours(points.means, NEIGHBOURS))
        gaussians = init_around_keypoints(points.means, radii, points.colors, 200, generator=self.generator(self._now))
        self._replace(gaussians)

    def _place_keypoints(self, keypoints: Tensor, radii: Tensor, edges: Tensor) -> None:
        scene = self.model.scene
        scene.keypoints, scene.log_radii = nn.Parameter(keypoints.detach().clone()), nn.Parameter(radii.log())
        scene.refresh_neighbours()
        self.model.set_edges(edges)
