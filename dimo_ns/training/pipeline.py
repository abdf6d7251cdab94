"""Runs a recipe inside nerfstudio's Trainer: what happens before, in and after a step."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from torch import Tensor

from dimo_ns.core.types import Gaussians
from dimo_ns.data.poses import check_cameras
from dimo_ns.errors import DimoError
from dimo_ns.rasterize.render import render
from dimo_ns.training.calibration import Showing, calibrate, showing
from dimo_ns.training.console import tell
from dimo_ns.training.datamanager import DimoDataManager, DimoDataManagerConfig, Request
from dimo_ns.training.evaluation import evaluate_model
from dimo_ns.training.model import DimoModel, DimoModelConfig
from dimo_ns.training.objective import LESSONS, Terms, importance_of, latent_terms, looks_closer, picture_terms
from dimo_ns.training.optim import drop_moments, set_rates
from dimo_ns.training.phases import BEGIN, Order, order_so_far
from dimo_ns.training.population import Population
from dimo_ns.training.recipe import Moment
from dimo_ns.training.replay import Facing, Moves, Pictures, Replay
from dimo_ns.training.sampling import draw_request, tree_position

REFRESH_EVERY = 100
"""Steps between two searches for the key points that carry each Gaussian."""
AHEAD = 3
"""Steps whose frames are decoded while one is done."""


@dataclass
class DimoPipelineConfig(VanillaPipelineConfig):
    """Data and model of a run."""

    _target: type = field(default_factory=lambda: DimoPipeline)
    datamanager: DimoDataManagerConfig = field(default_factory=DimoDataManagerConfig)
    model: DimoModelConfig = field(default_factory=DimoModelConfig)

    def keep(self) -> None:
        """Keeps the recipe, so that the run does not depend on its file. Raises DimoError."""
        self.model.keep_recipe()


class DimoPipeline(VanillaPipeline):
    """nerfstudio's pipeline whose steps follow a recipe."""

    config: DimoPipelineConfig
    datamanager: DimoDataManager
    population: Population
    """The Gaussians with their optimizers, once there is a trainer."""

    def __init__(self, config: DimoPipelineConfig, device: str | torch.device, *args: Any, **kwargs: Any):
        super().__init__(config, str(device), *args, **kwargs)  # nerfstudio hands either
        self.seed = int(torch.initial_seed() % 2**31)
        self._order: Order | None = None
        self._showing: Showing | None = None
        self._ahead: dict[int, Request] = {}
        model, phase = self.model, lambda: self.model.moment.phase
        self._moves = Replay(lambda: Moves(model), lambda: Moves.parts(model))
        self._facing = Replay(Facing, lambda: (model.scene.gaussians,))
        self._pictures = Replay(lambda: Pictures(phase().weights, model.lpips), lambda: (phase(),))
        self._lesson = Replay(
            lambda: LESSONS[phase().lesson](model.scene, model.coordinates, model.frame_count),
            lambda: (phase(), model.coordinates),
        )

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
        """The name of the present phase."""
        return self.model.moment.phase.name

    # --- what the trainer asks for ----------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """What a checkpoint has to agree with, and what is known of its scene where the dataset is not at hand."""
        known = self.model.known
        return {"motions": known.names, "dataset_hash": known.dataset_hash, "scene": known.to_json()}

    def sampler_state(self) -> dict[str, Any]:
        """The seed: requests are a function of it and the step."""
        return {"seed": self.seed}

    def load_sampler_state(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        self.model.restore(loaded_state, step)
        self._order, self._showing, self._ahead = None, None, {}

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        assert attributes.optimizers is not None
        self.population = Population(self.model, attributes.optimizers)
        for note in self.datamanager.dataset.notes:
            tell(f"The dataset: {note}")
        self._check_cameras()
        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [TrainingCallback([before], self.before_step), TrainingCallback([after], self.after_step)]

    def _check_cameras(self) -> None:
        """Says what is doubtful of the cameras. Raises DimoError where a training would find something else."""
        dataset = self.datamanager.dataset
        verdict = check_cameras(dataset)
        for problem in verdict.problems:
            tell(f"The dataset: {problem}")
        if verdict.fatal:
            raise DimoError(f"The dataset {dataset.root} cannot be trained on: {verdict.fatal[0]}")

    def get_train_loss_dict(self, step: int) -> tuple[Any, Terms, dict[str, Tensor]]:
        model, phase = self.model, self.model.moment.phase
        terms = self._picture_step(step) if phase.renders else self._lesson_step()
        return {}, terms, {"gaussians": torch.tensor(float(len(model.scene.gaussians)))}

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

    def _picture_step(self, step: int) -> Terms:
        """The loss terms of a batch of frames; the next one is fetched meanwhile."""
        model, moment = self.model, self.model.moment
        request = self._ahead.pop(step, None) or self.request(step)
        assert request is not None
        batch = self.datamanager.fetch(request)
        self._look_ahead(step)
        weights = moment.phase.weights
        poses, kernel = batch.poses, model.mover.kernel(self._fraction(moment))
        parts, terms = self._moves(poses.motion_ids, poses.frame_ids, poses.times, *kernel)
        gaussians, geometry = Gaussians(*parts), bool(weights.depth or weights.normal)
        normals = self._facing(*parts[:3], batch.cameras.centres) if geometry else None
        if self.showing.faulty:
            looks = model.faults.seen(gaussians, batch.cameras, poses.motion_ids, batch.view_ids, batch.picture_times)
            seen = render(looks, batch.cameras[:, :, None])
            color, alpha = seen.color[:, :, 0], seen.alpha[:, :, 0]
        else:
            seen = render(gaussians, batch.cameras, depth=geometry, normals=normals)
            color, alpha = seen.color, seen.alpha
        self.population.watch(seen.means2d)
        pictures = batch.rgba, importance_of(batch, weights), color, alpha
        if not looks_closer(weights):
            return picture_terms(*pictures, (), weights, model.lpips) | terms
        return self._pictures(*pictures, *(x for x in (seen.depth, seen.normal) if x is not None)) | terms

    @property
    def showing(self) -> Showing:
        """Which pictures show what, as far as is known of the views."""
        if self._showing is None:
            trust = np.array([view.trust for view in self.datamanager.views])
            self._showing = showing(self.model.faults, self.datamanager.frames.available, trust)
        return self._showing

    def _look_ahead(self, step: int) -> None:
        """Starts decoding the frames of the steps to come, as far as they are known."""
        for later in range(step + 1, step + 1 + AHEAD):
            if later not in self._ahead and (request := self.request(later)) is not None:
                self._ahead[later] = request
                self.datamanager.prefetch(request)

    def _lesson_step(self) -> Terms:
        """The loss of a step in which the decoder learns the table."""
        weights = self.model.moment.phase.weights
        error, divergence = self._lesson()
        return {"table": weights.mse * error} | latent_terms(divergence, weights)

    def order(self) -> Order:
        """The order in which frames are tracked; found when tracking begins, or what the checkpoint holds."""
        if self._order is None:
            self._order = order_so_far(self.model, self.datamanager)
        return self._order

    def _fraction(self, moment: Moment) -> float:
        """How far the phase has come; while frames are tracked, the present level of the tree."""
        return tree_position(moment, self.order().tree)[1] if moment.phase.sampler == "tree" else moment.fraction

    def request(self, step: int) -> Request | None:
        """The frames of a step; None where nothing is rendered, or where the order is not known yet."""
        moment = self.model.recipe.at(step, len(self.model.motion_names))
        unknown = moment.phase.sampler == "tree" and self.model.moment.phase.sampler != "tree"
        if not moment.phase.renders or step >= self.length or unknown:
            return None
        size = self.datamanager.size_at(moment.resolution(self._fraction(moment)))
        tree = self.order().tree if moment.phase.sampler == "tree" else None
        return draw_request(moment, step, self.seed, self.showing.picture_ids, size, tree, self.showing.trust)

    def _generator(self, step: int) -> torch.Generator:
        """Random numbers of what is done once at a step."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + step)

    def before_step(self, step: int) -> None:
        """Begins phases, changes the set of Gaussians, sets learning rates."""
        model, population = self.model, self.population
        moment = model.set_step(step)
        if moment.step == 0:
            if moment.phase.begin:
                self._order = BEGIN[moment.phase.begin](model, self.datamanager, population, self._generator(step))
            drop_moments(population.optimizers, model.get_param_groups())
        if moment.phase.renders:
            population.change(moment, self._generator(step))
            if step % REFRESH_EVERY == 0:
                model.scene.refresh_neighbours()
        due = moment.is_at(moment.phase.calibrate_at)
        if due == 0 or (due and model.faults.found):
            calibrate(model, self.datamanager)
            self._showing, self._ahead = None, {}
        if moment.phase.sampler == "tree":
            assert model.table is not None
            self.order().enter(model.table, self._entered(moment))
        set_rates(population.optimizers, moment.phase.lr, self._fraction(moment))

    def _entered(self, moment: Moment) -> range:
        """The depths of the tree that tracking comes to with this step."""
        tree = self.order().tree
        before = tree_position(replace(moment, step=moment.step - 1), tree)[0] if moment.step else 0
        return range(before + 1, tree_position(moment, tree)[0] + 1)

    def after_step(self, step: int) -> None:
        """Keeps colours in the range that every viewer shows, and notes how strongly each Gaussian is pulled."""
        with torch.no_grad():
            self.model.scene.gaussians.colors.clamp_(0, 1)
        self.population.note_pull(self.model.moment)
