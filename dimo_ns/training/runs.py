"""A training run from its folder: configuration, newest readable checkpoint, model and data, wherever it was moved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from dimo_ns.core.scene import Scene
from dimo_ns.errors import DimoError
from dimo_ns.training import checkpoint
from dimo_ns.training.pipeline import DimoPipeline, DimoPipelineConfig
from dimo_ns.training.trainer import DimoTrainerConfig


@dataclass
class Run:
    """A run, loaded."""

    folder: Path
    config: DimoTrainerConfig
    pipeline: DimoPipeline
    checkpoint: Path
    step: int
    manifest: dict[str, Any]
    """Motions, dataset hash, seed and versions, as they were in training."""

    @property
    def scene(self) -> Scene:
        """The scene that it trained. Raises DimoError while nothing but explicit trajectories, or less, is there."""
        phase = self.pipeline.model.moment.phase
        if phase.motion != "decoder":
            raise DimoError(
                f"The run {self.folder} stopped at step {self.step} in its phase '{phase.name}', before the motions "
                f"were in the decoder; continue it with --load-dir {self.checkpoint.parent}."
            )
        return self.pipeline.model.scene


def load_run(path: Path) -> Run:
    """Loads a run of ns-train from its folder or its config.yml, with its dataset, ready for evaluation.

    config.yml names classes that are then made, as in all of nerfstudio: open your own only. Raises DimoError.
    """
    folder = path.parent if path.name == "config.yml" else path
    config_path = folder / "config.yml"
    if not config_path.is_file():
        raise DimoError(f"There is no run at {path}: expected the folder of a run of ns-train, with its config.yml.")
    config = yaml.load(config_path.read_text(), Loader=yaml.Loader)
    if not isinstance(config, DimoTrainerConfig) or not isinstance(config.pipeline, DimoPipelineConfig):
        raise DimoError(f"The run {folder} is of another method; give one of ns-train dimo or dimo-laptop.")
    found, state = checkpoint.load_newest(folder / config.relative_model_dir)
    pipeline = config.pipeline.setup(device="cuda" if torch.cuda.is_available() else "cpu", test_mode="test")
    checkpoint.check_manifest(found, state["manifest"], pipeline.manifest())
    pipeline.load_pipeline(state["pipeline"], state["step"])
    pipeline.eval()
    return Run(folder, config, pipeline, found, state["step"], state["manifest"])
