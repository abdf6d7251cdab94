"""The model as nerfstudio sees it: a Scene, what training needs beside it, its losses, and pictures for cameras."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.viewer.viewer_elements import ViewerDropdown
from torch import Tensor, nn

from dimo_ns.core import losses
from dimo_ns.core.cameras import Cameras as Pinholes
from dimo_ns.core.cameras import viewmats_from_c2w
from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.geometry import nearest_neighbours, quat_to_matrix
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.draw import trails
from dimo_ns.draw.pictures import Picture
from dimo_ns.errors import DimoError
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.rasterize import rasterization
from dimo_ns.rasterize.skinning import fused_blend
from dimo_ns.tracking.graph import DiffuseGradient, diffusion
from dimo_ns.tracking.tree import Tree
from dimo_ns.training.datamanager import Batch
from dimo_ns.training.outputs import Outputs
from dimo_ns.training.recipe import RECIPES, Moment, Recipe, Weights

ROWS, ROW_KEYPOINTS = 16, 128
"""Poses, and key points of each, that a step of distilling into the paper's decoder looks at."""
NEIGHBOURS = 8
"""Edges per key point that are kept rigid."""


@dataclass
class DimoModelConfig(ModelConfig):
    """Which recipe trains the model, and for how long."""

    _target: type = field(default_factory=lambda: DimoModel)
    recipe: Literal["paper", "laptop", "laptop-mlp"] = "paper"
    """paper: the recipe of the paper, with its decoder. laptop: explicit trajectories first, then a low-rank decoder;
    minutes on two cores. laptop-mlp: the same with the paper's decoder."""
    length: float = 1.0
    """Multiplies the number of steps of every phase."""
    motion: str = ""
    """The motion that is shown where neither camera nor viewer says which; empty: the first."""
    latent_dim: int = 32
    """Numbers in a motion's latent code."""
    enable_collider: bool = False


class DimoModel(Model):
    """Holds the Scene that a run trains, explicit trajectories while they are needed, and the statistics of density."""

    config: DimoModelConfig
    panel_type: ClassVar[type[Any] | None] = None
    """Makes a `ViewerControl` of the model, if there is one (config.py)."""
    scene: Scene
    pull: Tensor
    kernels: Tensor
    anchors: Tensor
    """[m, t, k, 3]: where the paper's first stage put the key points."""
    coordinates: Tensor
    """What distillation teaches: [m t, r], the trajectories in the basis of the low-rank decoder, or [m t, k, 7],
    translations and quaternions themselves."""
    edges: Tensor
    parents: Tensor
    depths: Tensor

    def populate_modules(self) -> None:
        recipe = RECIPES[self.config.recipe]
        self.recipe: Recipe = recipe.scaled(self.config.length)
        metadata = self.kwargs["metadata"]
        self.motion_names = [motion.name for motion in metadata["motions"]]
        self.frame_count: int = metadata["dataset"].frames
        motions, keypoints, dim = len(self.motion_names), recipe.keypoints, self.config.latent_dim
        decoder = (
            MLPDecoder(dim) if recipe.decoder == "mlp" else LowRankDecoder(keypoints, dim, recipe.rank, recipe.width)
        )
        self.scene = Scene(
            MotionLatents(motions, dim),
            decoder,
            torch.zeros(keypoints, 3),
            torch.ones(keypoints),
            CanonicalGaussians.blank(recipe.gaussians),
            fused_blend,
        )
        uses_table = any(phase.motion == "table" for phase in recipe.phases)
        self.table = TrajectoryTable(motions, self.frame_count, keypoints) if uses_table else None
        self.lpips = Lpips.find() if any(phase.weights.lpips for phase in recipe.phases) else None
        frames = motions * self.frame_count
        self.register_buffer("pull", torch.zeros(recipe.gaussians))
        self.register_buffer("parents", torch.zeros(frames, dtype=torch.long))
        self.register_buffer("depths", torch.zeros(frames, dtype=torch.long))
        self.register_buffer("anchors", torch.zeros(0))
        self.register_buffer("coordinates", torch.zeros(0))
        self.register_buffer("edges", torch.zeros(keypoints, NEIGHBOURS, dtype=torch.long))
        self._diffusions: dict[float, Tensor] = {}
        self.moment: Moment = self.recipe.at(0, motions)
        self.means2d: Tensor | None = None
        shown = self.config.motion or self.motion_names[0]
        if shown not in self.motion_names:
            raise DimoError(f"There is no motion '{shown}' to show; there are {', '.join(self.motion_names)}.")
        self.motion = ViewerDropdown("Motion", shown, self.motion_names)
        self.shown: Callable[[float], tuple[Tensor, Gaussians] | None] = lambda time: None
        """The latent and the posed Gaussians that nerfstudio's viewer shows at a time instead of the motion's."""
        self.panel = self.panel_type(self) if self.panel_type else None

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def tree(self) -> Tree:
        """The order in which frames are tracked."""
        return Tree(self.parents.cpu(), self.depths.cpu())

    def set_step(self, step: int) -> Moment:
        """Tells the model where training is."""
        self.moment = self.recipe.at(step, len(self.motion_names))
        return self.moment

    def update_to_step(self, step: int) -> None:
        self.set_step(step)

    def set_edges(self, edges: Int[Tensor, "k j"]) -> None:
        """Which key points are kept rigid with which: after they were placed."""
        self.edges = edges
        self._diffusions = {}

    @property
    def edge_length_squared(self) -> Float[Tensor, ""]:
        """Mean over the edges, the unit of energies that are squared lengths."""
        keypoints = self.scene.keypoints.detach()
        return (keypoints[self.edges] - keypoints[:, None]).square().sum(-1).mean().clamp(min=1e-8)

    def diffusion(self, strength: float) -> Float[Tensor, "k k"]:
        """The smoothing kernel of the key point graph."""
        if strength not in self._diffusions:
            self._diffusions[strength] = diffusion(self.edges, strength)
        return self._diffusions[strength]

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Takes the sizes of the checkpoint: Gaussians and key points are added and removed during training."""
        scene = self.scene
        scene.gaussians = CanonicalGaussians.blank(len(state_dict["scene.gaussians.means"])).to(self.device)
        for name in ("keypoints", "log_radii"):
            setattr(scene, name, nn.Parameter(torch.zeros_like(state_dict[f"scene.{name}"], device=self.device)))
        for name in ("pull", "anchors", "coordinates", "edges"):
            setattr(self, name, torch.zeros_like(state_dict[name], device=self.device))
        scene.neighbours = torch.zeros_like(state_dict["scene.neighbours"], device=self.device)
        result = super().load_state_dict(state_dict, strict, assign)
        self._diffusions = {}
        return result

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        scene, gaussians = self.scene, self.scene.gaussians
        groups = {
            "means": [gaussians.means],
            "quats": [gaussians.quats],
            "scales": [gaussians.log_scales],
            "opacities": [gaussians.logit_opacities],
            "colors": [gaussians.colors],
            "keypoints": [scene.keypoints],
            "radii": [scene.log_radii],
            "latents": list(scene.latents.parameters()),
        }
        if isinstance(scene.decoder, LowRankDecoder):
            groups["decoder"] = list(scene.decoder.trunk.parameters())
            groups["basis"] = [scene.decoder.basis, scene.decoder.offset]
        else:
            groups["decoder"] = list(scene.decoder.parameters())
        if self.table is not None:
            groups["translations"], groups["rotations"] = [self.table.translations], [self.table.quats]
        return groups

    # --- posing -----------------------------------------------------------------------------------------------------

    def frame_times(self, frame_ids: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        return frame_ids / self.frame_count

    def posed(self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"], motion_ids: Int[Tensor, " b"]) -> Gaussians:
        """The object at times t, by what moves it in the present phase; once the decoder does, by latents z."""
        motion = self.moment.phase.motion
        if motion == "decoder":
            return self.scene.pose(z, t)
        if motion == "points":
            return self._points(z, t)[0]
        if motion == "rest":
            return self._rest(len(t))
        assert self.table is not None
        return self.scene.carry(self.table(motion_ids, self.frames_at(t)))

    @property
    def canonical_points(self) -> Float[Tensor, "k 3"]:
        """What moves: the key points, or in the first stage of the paper the Gaussians."""
        return self.scene.gaussians.means if self.moment.phase.motion == "points" else self.scene.keypoints

    def positions(self, z: Float[Tensor, "b d"], t: Float[Tensor, " b"], motion_ids: Int[Tensor, " b"]) -> Tensor:
        """Where these points are at times t, [b, k, 3], by what moves them in the present phase."""
        points, motion = self.canonical_points, self.moment.phase.motion
        if motion in ("decoder", "points"):
            return points + self.scene.decoder(points, t, z).translations
        if motion == "rest":
            return points.expand(len(t), -1, -1)
        assert self.table is not None
        return points + self.table(motion_ids, self.frames_at(t)).translations

    def frames_at(self, t: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The frames that are nearest to times t."""
        return (t * self.frame_count).round().long().clamp(0, self.frame_count - 1)

    def _rest(self, batch: int) -> Gaussians:
        g = self.scene.gaussians()
        return Gaussians(g.means.expand(batch, -1, -1), g.quats.expand(batch, -1, -1), g.scales, g.opacities, g.colors)

    def _points(self, z: Tensor, t: Tensor) -> tuple[Gaussians, RigidTransforms]:
        """Stage 1 of the paper: the Gaussians are the key points; they share one isotropic scale and only translate."""
        g = self._rest(len(t))
        transforms = self.scene.decoder(self.scene.gaussians.means, t, z)
        scale = self.scene.gaussians.log_scales.mean().exp()
        return (
            Gaussians(g.means + transforms.translations, g.quats, scale.expand_as(g.scales), g.opacities, g.colors),
            transforms,
        )

    # --- training ---------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch, level_fraction: float) -> dict[str, Tensor]:
        """Weighted loss terms of a rendered step. `level_fraction`: how far the phase, or its tree level, has come."""
        weights, motion = self.moment.phase.weights, self.moment.phase.motion
        transforms: RigidTransforms | None = None
        keypoints, edges = self.scene.keypoints, self.edges
        if motion == "rest":
            posed = self._rest(len(batch.times))
        elif motion == "table":
            transforms = self._table_transforms(batch, level_fraction)
            posed = self.scene.carry(transforms)
        else:
            z = self.scene.latents.draw(batch.motion_ids)
            if motion == "points":
                posed, transforms = self._points(z, batch.times)
                keypoints = self.scene.gaussians.means
                edges = nearest_neighbours(keypoints, NEIGHBOURS) if weights.arap else edges
            else:
                transforms = self.scene.trajectory(z, batch.times)
                posed = self.scene.carry(transforms)

        terms = self._image_losses(posed, batch, weights)
        if transforms is not None and weights.arap:
            energy = losses.arap(keypoints, edges, transforms) / self.edge_length_squared
            if weights.arap_robust:
                energy = losses.charbonnier(energy, weights.arap_robust)
            terms["arap"] = weights.arap * energy.mean()
        if weights.acceleration and self.table is not None:
            middle = batch.frame_ids.clamp(1, max(1, self.frame_count - 2))
            around = middle[:, None] + torch.tensor([-1, 0, 1], device=self.device)
            window = around.clamp(0, self.frame_count - 1)
            positions = self.table.rows(batch.motion_ids[:, None].expand_as(window), window)[0]
            terms["acceleration"] = (
                weights.acceleration * losses.acceleration(positions).mean() / self.edge_length_squared
            )
        if weights.anchor and transforms is not None and self.anchors.numel():
            moved = keypoints + transforms.translations
            terms["anchor"] = (
                weights.anchor * losses.anchor(moved, self.anchors[batch.motion_ids, batch.frame_ids]).mean()
            )
        if weights.kl:
            terms["kl"] = weights.kl * self.scene.latents.kl().mean()
        return terms

    def distill_losses(self) -> dict[str, Tensor]:
        """The decoder against the table, without rendering."""
        weights = self.moment.phase.weights
        error = self._coordinate_error() if self.moment.phase.motion == "coordinates" else self._row_error()
        return {"table": weights.mse * error, "kl": weights.kl * self.scene.latents.kl().mean()}

    def _coordinate_error(self) -> Float[Tensor, ""]:
        """Squared error of the pose's coordinates, each weighted by the energy of its basis vector, over all frames."""
        decoder, motions = self.scene.decoder, len(self.motion_names)
        assert isinstance(decoder, LowRankDecoder)
        motion_ids = torch.arange(motions, device=self.device).repeat_interleave(self.frame_count)
        times = self.frame_times(torch.arange(self.frame_count, device=self.device)).repeat(motions)
        energy = decoder.basis.detach().square().sum((1, 2))
        error = decoder.coordinates(times, self.scene.latents.draw(motion_ids)) - self.coordinates
        return (error.square() @ (energy / energy.sum())).mean()

    def _row_error(self) -> Float[Tensor, ""]:
        """Squared error of random key points in random frames, as a share of the table's variance."""
        rows = torch.randint(len(self.coordinates), (ROWS,), device=self.device)
        chosen = torch.randperm(len(self.scene.keypoints), device=self.device)[:ROW_KEYPOINTS]
        motion_ids, frame_ids = rows // self.frame_count, rows % self.frame_count
        keypoints, z = self.scene.keypoints[chosen], self.scene.latents.draw(motion_ids)
        found = self.scene.decoder(keypoints, self.frame_times(frame_ids), z)
        error = torch.cat([found.translations, found.quats], -1) - self.coordinates[rows[:, None], chosen]
        variance = (self.coordinates - self.coordinates.mean(0)).square().sum(-1).mean()
        return error.square().sum(-1).mean() / variance

    def _table_transforms(self, batch: Batch, fraction: float) -> RigidTransforms:
        assert self.table is not None
        translations, quats = self.table.rows(batch.motion_ids, batch.frame_ids)
        smoothing = self.moment.phase.smoothing
        if smoothing:
            kernel = self.diffusion(smoothing[int(fraction * len(smoothing))])
            translations, quats = DiffuseGradient.apply(translations, kernel), DiffuseGradient.apply(quats, kernel)
        return RigidTransforms(translations, F.normalize(quats, dim=-1))

    def _image_losses(self, posed: Gaussians, batch: Batch, weights: Weights) -> dict[str, Tensor]:
        """The render against the frames, over white."""
        height, width = batch.rgba.shape[2:4]
        smooth = bool(weights.depth or weights.normal)
        render, alpha, self.means2d = self.render(
            posed, batch.viewmats, batch.Ks, (height, width), with_geometry=smooth
        )
        if self.means2d.requires_grad:
            self.means2d.retain_grad()
        image = render[..., :3] + (1 - alpha)
        target, mask = losses.composite(batch.rgba, torch.ones(3, device=self.device))
        reference = (batch.frame_ids[:, None] == 0) | (batch.view_ids == 0)
        importance = torch.where(reference, 1.0, 1.0 / weights.reference)[..., None, None, None]

        terms: dict[str, Tensor] = {}
        if weights.l1:
            error = (image - target) * importance
            terms["l1"] = weights.l1 * losses.pyramid_l1(error.flatten(0, 1), weights.pyramid)
        if weights.mse:
            terms["mse"] = weights.mse * ((image - target).square() * importance).mean()
        if weights.mask:
            terms["mask"] = weights.mask * (alpha - mask).square().mean()
        flat_image, flat_target = image.flatten(0, 1), target.flatten(0, 1)
        if weights.ssim:
            terms["ssim"] = weights.ssim * (1 - losses.ssim(flat_image, flat_target)).mean()
        if weights.lpips and self.lpips is not None:
            terms["lpips"] = weights.lpips * self.lpips(flat_image, flat_target)
        if smooth:
            guide, inside = flat_target, (mask > 0.5).float().flatten(0, 1)
            depth, normal = render[..., 6:7].flatten(0, 1), render[..., 3:6].flatten(0, 1)
            terms["depth"] = weights.depth * losses.smoothness(depth, guide, inside).mean()
            terms["normal"] = weights.normal * losses.smoothness(normal, guide, inside).mean()
        return terms

    def render(
        self,
        posed: Gaussians,
        viewmats: Float[Tensor, "b c 4 4"],
        Ks: Float[Tensor, "b c 3 3"],
        size: tuple[int, int],
        with_geometry: bool = False,
        with_depth: bool = False,
    ) -> tuple[Float[Tensor, "b c h w d"], Float[Tensor, "b c h w 1"], Tensor]:
        """Colours (then normals, then depth, where asked for), alpha, and the projected centres."""
        batch, cameras = viewmats.shape[:2]
        means, quats, scales, opacities, colors = posed.splats()
        if with_geometry:
            axes = quat_to_matrix(posed.quats)
            shortest = posed.scales.argmin(-1)[None, :, None, None].expand(batch, -1, 3, 1)
            normals = axes.gather(-1, shortest).squeeze(-1)[:, None].expand(-1, cameras, -1, -1)
            eyes = -(viewmats[..., :3, :3].mT @ viewmats[..., :3, 3:]).squeeze(-1)
            facing = ((posed.means[:, None] - eyes[:, :, None]) * normals).sum(-1, keepdim=True)
            normals = torch.where(facing > 0, -normals, normals)
            colors = torch.cat([posed.colors.expand(batch, cameras, -1, -1), normals], -1)
        render, alpha, meta = rasterization(
            means,
            quats,
            scales,
            opacities,
            colors,
            viewmats,
            Ks,
            size[1],
            size[0],
            render_mode="RGB+ED" if with_geometry or with_depth else "RGB",
        )
        return render, alpha, meta["means2d"]

    # --- nerfstudio -------------------------------------------------------------------------------------------------

    def shown_by(self, camera: Cameras) -> tuple[int, float]:
        """Which motion a camera shows, and when: as it says itself, else as the training camera does whose number it
        bears (ns-render --camera-idx), else the viewer's choice, or the run's, from the beginning."""
        metadata = camera.metadata or {}
        time = None if camera.times is None else float(camera.times.flatten()[0])
        if "motion_id" in metadata:
            return int(metadata["motion_id"].flatten()[0]), time or 0.0
        if "cam_idx" in metadata and self.motion.gui_handle is None:
            items = self.kwargs["metadata"]["items"]
            motion, frame, _ = items[min(int(metadata["cam_idx"]), len(items) - 1)]
            return motion, frame / self.frame_count if time is None else time
        return self.motion_names.index(self.motion.value), time or 0.0

    @torch.no_grad()
    def get_outputs(self, ray_bundle: Cameras) -> Outputs:  # pyright: ignore
        """What one camera sees: rgb over white, alpha (also as accumulation) and depth; drawn over it when they are
        taken: keypoints, and trajectories, the way that some of them came."""
        camera = ray_bundle.to(self.device)
        motion, time = self.shown_by(camera)
        z = self.scene.latents.mean(torch.tensor([motion], device=self.device))
        chosen = None if "motion_id" in (camera.metadata or {}) else self.shown(time)
        if chosen is not None:
            z = chosen[0][None]
        c2w = torch.eye(4, device=self.device)
        c2w[:3] = camera.camera_to_worlds.view(-1, 3, 4)[0]
        viewmat, K = viewmats_from_c2w(c2w), camera.get_intrinsics_matrices().float().view(3, 3)
        size = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])

        def at(times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            times = times.to(self.device)
            return z.expand(len(times), -1), times, torch.full_like(times, motion, dtype=torch.long)

        posed = self.posed(*at(torch.tensor([time]))) if chosen is None else chosen[1]
        render, alpha, _ = self.render(posed, viewmat[None, None], K[None, None], size, with_depth=True)
        rgb = (render[0, 0, ..., :3] + 1 - alpha[0, 0]).clamp(0, 1)

        def drawn(name: str) -> Tensor:
            image = (rgb * 255).round().byte().cpu().numpy()
            surface = alpha[0, 0, ..., 0].cpu().numpy(), render[0, 0, ..., 3].cpu().numpy()
            picture = Picture(image, *surface, Pinholes(viewmat.cpu(), K.cpu(), size))
            shades = trails.colours(self.canonical_points)
            if name == "keypoints":
                places = self.positions(*at(torch.tensor([time])))[0]
                image = trails.points_over(picture, places, shades)
            else:
                chosen = trails.choose(self.canonical_points)
                ways = self.positions(*at(trails.trail_times(time)))[:, chosen]
                image = trails.trails_over(picture, ways, shades[chosen.cpu()])
            return torch.tensor(image).to(rgb) / 255

        outputs = Outputs(rgb=rgb, alpha=alpha[0, 0], accumulation=alpha[0, 0], depth=render[0, 0, ..., 3:])
        for name in ("keypoints", "trajectories"):
            outputs.later(name, partial(drawn, name))
        return outputs

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> Outputs:  # pyright: ignore
        return self.get_outputs(camera)

    def forward(self, ray_bundle: Cameras) -> Outputs:  # pyright: ignore
        return self.get_outputs(ray_bundle)

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        return torch.cat([outputs[output_name], outputs["accumulation"]], -1)

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        return {"l1": (outputs["rgb"] - batch["image"].to(self.device)).abs().mean()}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        truth = batch["image"].to(self.device)
        error = (outputs["rgb"] - truth).abs()
        psnr = -10 * torch.log10(error.square().mean().clamp(min=1e-10))
        return {"psnr": float(psnr)}, {"img": torch.cat([truth, outputs["rgb"], error], 1)}
