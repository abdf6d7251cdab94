"""A run of ns-train: loaded wherever its folder was moved, opened as a space of motions, its scene exported.

A run from somebody else is no program here: of the classes that its config.yml names, those alone are made that our
configurations consist of. nerfstudio is imported when a run is loaded, so that scenes open without it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from dimo_ns.core.scene import Scene
from dimo_ns.errors import DimoError, needs
from dimo_ns.files.fields import read_json
from dimo_ns.files.output import check_free
from dimo_ns.space.file import FILE, save_scene
from dimo_ns.space.info import SceneInfo
from dimo_ns.space.motion_space import MotionSpace

if TYPE_CHECKING:
    from dimo_ns.training.model import DimoModel, DimoModelConfig
    from dimo_ns.training.pipeline import DimoPipeline
    from dimo_ns.training.trainer import DimoTrainerConfig

CONFIG = "config.yml"


@dataclass
class Run:
    """A run, opened from its own folder alone."""

    folder: Path
    config: "DimoTrainerConfig"
    model: "DimoModel"
    checkpoint: Path
    step: int
    manifest: dict[str, Any]
    """Motions, dataset hash, seed and versions, as they were in training."""

    @property
    def scene(self) -> Scene:
        """The scene that it trained. Raises DimoError while nothing but explicit trajectories, or less, is there."""
        if not self.model.mover.decodes:
            raise DimoError(
                f"The run {self.folder} stopped at step {self.step} in its phase '{self.model.moment.phase.name}', "
                f"before the motions were in the decoder; continue it with --load-dir {self.checkpoint.parent}."
            )
        return self.model.scene

    @property
    def info(self) -> SceneInfo:
        """What is known of its scene; with the figures of its report, if that is as new."""
        report = self.folder / "report" / "metrics.json"
        metrics = read_json(report).values if report.is_file() else {}
        return replace(
            self.model.known,
            method=self.config.method_name,
            step=self.step,
            seed=self.manifest["seed"],
            versions=self.manifest["versions"],
            metrics=metrics if metrics.get("step") == self.step else None,
        )


@dataclass
class RunWithData(Run):
    """A run with its dataset, ready for evaluation."""

    pipeline: "DimoPipeline"


def open_run(path: Path) -> Run:
    """Open a run from its folder or its config.yml; its dataset is not looked at, unless it was trained by a version
    that did not keep what it says. Nothing that the file names is run. Raises DimoError."""
    folder, config, found, state = read_run(path)
    step, manifest = state["step"], state["manifest"]
    if "scene" not in manifest:
        return load_run(path)
    from dimo_ns.training import checkpoint
    from dimo_ns.training.model import bare_model
    from dimo_ns.training.run_config import unfit_values

    known = SceneInfo.read(manifest["scene"], f"The checkpoint {found}")
    with unfit_values(folder / CONFIG):
        model = bare_model(cast("DimoModelConfig", config.pipeline.model), known).to(device())
    with checkpoint.misfits(found):
        model.restore(state["pipeline"], step)
    return Run(folder, config, model.eval(), found, step, manifest)


def load_run(path: Path) -> RunWithData:
    """Load a run as `open_run`, with its dataset, ready for evaluation. Raises DimoError, also if that has changed."""
    folder, config, found, state = read_run(path)
    from dimo_ns.training import checkpoint
    from dimo_ns.training.run_config import unfit_values

    with unfit_values(folder / CONFIG):
        pipeline = config.pipeline.setup(device=device(), test_mode="test")
    checkpoint.check_manifest(found, state["manifest"], pipeline.manifest())
    with checkpoint.misfits(found):
        pipeline.load_pipeline(state["pipeline"], state["step"])
    pipeline.eval()
    return RunWithData(folder, config, pipeline.model, found, state["step"], state["manifest"], pipeline)


def read_run(path: Path) -> tuple[Path, "DimoTrainerConfig", Path, dict[str, Any]]:
    """The folder of a run, its configuration, its newest checkpoint that can be read, and what is in it. Raises
    DimoError."""
    folder = path.parent if path.name == CONFIG else path
    if not is_run(folder):
        raise DimoError(f"There is no run at {path}: expected the folder of a run of ns-train, with its config.yml.")
    with needs("train", f"The run {folder}"):
        from dimo_ns.config import dimo, dimo_laptop, dimo_paper
        from dimo_ns.training import checkpoint
        from dimo_ns.training.pipeline import DimoPipelineConfig
        from dimo_ns.training.run_config import read_config, unfit_values
        from dimo_ns.training.trainer import DimoTrainerConfig

    config = read_config(folder / CONFIG, [method.config for method in (dimo, dimo_laptop, dimo_paper)])
    if not isinstance(config, DimoTrainerConfig) or not isinstance(config.pipeline, DimoPipelineConfig):
        raise DimoError(f"The run {folder} is of another method; give one of ns-train dimo, dimo-laptop or dimo-paper.")
    with unfit_values(folder / CONFIG):
        found, state = checkpoint.load_newest(folder / config.relative_model_dir)
    return folder, config, found, state


def device() -> str:
    """Where runs are opened: on a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_run(path: Path) -> bool:
    """Whether this is the folder of a run, or its config.yml."""
    return path.name == CONFIG or (path / CONFIG).exists()


def open_space(path: Path | str) -> MotionSpace:
    """The space of a scene (see `MotionSpace.open`), or of a run that has no scene in its folder; on a GPU where there
    is one. Raises DimoError, also for a scene that is older than its run's last checkpoint."""
    path = Path(path)
    if not is_run(path):
        return MotionSpace.open(path)
    if (path / FILE).exists():
        space = MotionSpace.open(path)
        trained = newest_step(path)
        if space.info.step is not None and trained > space.info.step:
            raise DimoError(
                f"The scene in {path} is that of step {space.info.step}, and its run has gone on to step {trained}; "
                f"write it anew with 'dimo export scene {path} --overwrite', or give {path / CONFIG}."
            )
        return space
    run = open_run(path)
    return MotionSpace(run.scene.eval(), run.info, run.folder)


def newest_step(run: Path) -> int:
    """That of a run's last checkpoint, by its name; 0 where there is none."""
    steps = (file.stem.removeprefix("step-") for file in run.glob("*/step-*.ckpt"))
    return max((int(step) for step in steps if step.isdecimal()), default=0)


def export_scene(run: Path, out: Path | None = None, overwrite: bool = False) -> Path:
    """Write the scene of a run into the folder `out`, by default the run's own. Raises DimoError."""
    folder = out or (run.parent if run.name == CONFIG else run)
    check_free(folder, [FILE, Path(FILE).with_suffix(".json").name], overwrite)
    opened = open_run(run)
    return save_scene(opened.scene, opened.info.to_json(), folder / FILE)
