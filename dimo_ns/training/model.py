"""The model as nerfstudio sees it: a Scene, and what training keeps beside it from one checkpoint to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import torch
import tyro
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.viewer.viewer_elements import ViewerDropdown
from torch import Tensor, nn

from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.core.trajectories import TrajectoryTable
from dimo_ns.core.view_faults import ViewFaults
from dimo_ns.errors import DimoError
from dimo_ns.metrics.perceptual import Lpips
from dimo_ns.rasterize.skinning import fused_skin
from dimo_ns.space.info import SceneInfo
from dimo_ns.tracking.graph import KeypointGraph
from dimo_ns.training.movers import NEIGHBOURS, Mover, mover_of
from dimo_ns.training.outputs import Outputs, Panel, outputs_of
from dimo_ns.training.recipe import Moment, Recipe, parse_recipe, read_recipe, recipe_text


@dataclass
class DimoModelConfig(ModelConfig):
    """Which recipe trains the model, and for how long."""

    _target: type = field(default_factory=lambda: DimoModel)
    recipe: str = "laptop"
    """One of the recipes that come with dimo (full, laptop, laptop-mlp, paper), or a file NAME.yaml: a copy
    of one of configs/recipes, changed."""
    recipe_text: Annotated[str, tyro.conf.Suppress] = ""
    """The recipe itself: a run keeps what it was trained by."""
    length: float = 1.0
    """Multiplies the number of steps of every phase."""
    motion: str = ""
    """The motion that is shown where neither camera nor viewer says which; empty: the first."""
    latent_dim: int = 32
    """Numbers in a motion's latent code."""
    enable_collider: bool = False
    panel: Annotated[type[Panel] | None, tyro.conf.Suppress] = None
    """Makes the controls of the model in nerfstudio's viewer, where there are any."""

    def keep_recipe(self) -> None:
        """Keeps the recipe's text, so that it can be read when its file is gone or has changed. Raises DimoError."""
        if not self.recipe_text:
            text = recipe_text(self.recipe)
            parse_recipe(text, f"The recipe {self.recipe}")
            self.recipe_text = text

    def read_recipe(self) -> Recipe:
        """The recipe, as long as asked for. Raises DimoError."""
        if self.recipe_text:
            return parse_recipe(self.recipe_text, f"The recipe {self.recipe} of this run").scaled(self.length)
        return read_recipe(self.recipe).scaled(self.length)


class DimoModel(Model):
    """Holds the Scene that a run trains, explicit trajectories while they are needed, and the statistics of density."""

    config: DimoModelConfig
    known: SceneInfo
    """What the dataset says of the scene."""
    scene: Scene
    faults: ViewFaults
    """Of the training views; no part of the scene that leaves."""
    mover: Mover
    """What moves the Gaussians in the present phase."""
    pull: Float[Tensor, " n"]
    """How strongly the projections of each Gaussian were pulled since the set last changed."""
    edges: Int[Tensor, "k j"]
    """Which key points are kept rigid with which."""
    anchors: Float[Tensor, "m t k 3"] | Float[Tensor, " 0"]
    """Where the paper's first stage put the key points; empty before its end."""
    coordinates: Tensor
    """What a lesson teaches: [m t, r], the trajectories in the basis of the low-rank decoder, or [m t, k, 7],
    translations and quaternions themselves."""
    parents: Int[Tensor, " f"]
    depths: Int[Tensor, " f"]
    """The order in which frames are tracked (`tracking.tree.Tree`)."""

    def populate_modules(self) -> None:
        self.recipe = recipe = self.config.read_recipe()
        self.known = known = cast(SceneInfo, self.kwargs["metadata"]["scene"])
        self.motion_names, self.frame_count = known.names, known.frames
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
            fused_skin,
        )
        self.table = TrajectoryTable(motions, self.frame_count, keypoints) if recipe.has_table else None
        self.faults = ViewFaults(motions, sum(view.split == "train" for view in known.views))
        self.lpips = Lpips.find() if any(phase.weights.lpips for phase in recipe.phases) else None
        frames = motions * self.frame_count
        self.register_buffer("pull", torch.zeros(recipe.gaussians))
        self.register_buffer("parents", torch.zeros(frames, dtype=torch.long))
        self.register_buffer("depths", torch.zeros(frames, dtype=torch.long))
        self.register_buffer("anchors", torch.zeros(0))
        self.register_buffer("coordinates", torch.zeros(0))
        self.register_buffer("edges", torch.zeros(keypoints, NEIGHBOURS, dtype=torch.long))
        self._graph = KeypointGraph(self.edges)
        self.set_step(0)
        shown = self.config.motion or self.motion_names[0]
        if shown not in self.motion_names:
            raise DimoError(f"There is no motion '{shown}' to show; there are {', '.join(self.motion_names)}.")
        self.motion = ViewerDropdown("Motion", shown, self.motion_names)
        self.panel = self.config.panel(self) if self.config.panel else None

    # --- training ---------------------------------------------------------------------------------------------------

    def set_step(self, step: int) -> Moment:
        """Tells the model where training is."""
        self.moment = self.recipe.at(step, len(self.motion_names))
        self.mover = mover_of(self.moment.phase, self.scene, self.table, self.graph)
        return self.moment

    def update_to_step(self, step: int) -> None:
        self.set_step(step)

    def graph(self) -> KeypointGraph:
        """The graph of the key points, by the present edges."""
        if self._graph.edges is not self.edges:
            self._graph = KeypointGraph(self.edges)
        return self._graph

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Takes over a pipeline's state at a step."""
        self.update_to_step(step)
        self.load_state_dict({name.removeprefix("_model."): value for name, value in state.items()})

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Takes the sizes of the checkpoint: Gaussians and key points are added and removed during training."""
        none = {f"faults.{name}": fault for name, fault in self.faults.state_dict().items()}
        state_dict = {**none, **state_dict}  # runs of before views had faults
        scene = self.scene
        scene.gaussians = CanonicalGaussians.blank(len(state_dict["scene.gaussians.means"])).to(self.device)
        for name in ("keypoints", "log_radii"):
            setattr(scene, name, nn.Parameter(torch.zeros_like(state_dict[f"scene.{name}"], device=self.device)))
        for name in ("pull", "anchors", "coordinates", "edges"):
            setattr(self, name, torch.zeros_like(state_dict[name], device=self.device))
        scene.neighbours = torch.zeros_like(state_dict["scene.neighbours"], device=self.device)
        return super().load_state_dict(state_dict, strict, assign)

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

    # --- pictures ---------------------------------------------------------------------------------------------------

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
        """What one camera sees of the motion that it, or the panel, says: see `outputs_of`."""
        camera = ray_bundle.to(self.device)
        motion, time = self.shown_by(camera)
        z = self.scene.latents.mean(torch.tensor([motion], device=self.device))
        follows_panel = self.panel is not None and "motion_id" not in (camera.metadata or {})
        shown = self.panel.shown(time) if self.panel is not None and follows_panel else None
        return outputs_of(self.mover, z, motion, time, camera, shown)

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> Outputs:  # pyright: ignore
        return self.get_outputs(camera)

    def forward(self, ray_bundle: Cameras) -> Outputs:  # pyright: ignore
        return self.get_outputs(ray_bundle)

    def get_rgba_image(self, outputs: Mapping[str, Tensor], output_name: str = "rgb") -> Tensor:
        return torch.cat([outputs[output_name], outputs["accumulation"]], -1)

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        return {"l1": (outputs["rgb"] - batch["image"].to(self.device)).abs().mean()}

    def get_image_metrics_and_images(
        self, outputs: Mapping[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        truth = batch["image"].to(self.device)
        error = (outputs["rgb"] - truth).abs()
        psnr = -10 * torch.log10(error.square().mean().clamp(min=1e-10))
        return {"psnr": float(psnr)}, {"img": torch.cat([truth, outputs["rgb"], error], 1)}


def bare_model(config: DimoModelConfig, known: SceneInfo) -> DimoModel:
    """A model of a scene of which no more than that is known: for who opens it and does not train."""
    return config.setup(scene_box=SceneBox(torch.zeros(2, 3)), num_train_data=1, metadata={"scene": known})
