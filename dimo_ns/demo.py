"""`make demo`: the sample dataset, a training of dimo-laptop on it, and everything that comes out, in one folder.

Done again, it does what is not done yet: an interrupted training goes on from its checkpoint.
"""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import Progress

from dimo_ns.config import dimo_laptop
from dimo_ns.data.creature import write_sample
from dimo_ns.data.dataset import Dataset
from dimo_ns.data.format import load
from dimo_ns.export.html.page import save_html
from dimo_ns.files.opening import resolved
from dimo_ns.reports.run_page import write_run_page
from dimo_ns.runs import export_scene
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.training import checkpoint
from dimo_ns.training.model import DimoModelConfig
from dimo_ns.training.recipe import read_recipe
from dimo_ns.training.trainer import DimoTrainerConfig

PAGE = "motions.html"
LENGTH = 0.75
"""How much of the recipe is done: enough to see it work, in minutes."""


def run(out: Path, say: Callable[[str], None]) -> None:
    """Makes dataset, training run, report and scene in the folder `out`, and says where each is. Raises DimoError."""
    out = resolved(out)
    dataset = sample(out / "sample", say)
    folder = train(dataset, out, say)
    newest = next(iter(checkpoint.steps(folder / "nerfstudio_models").values())).stat().st_mtime

    report, scene, page = folder / "report" / "index.html", folder / FILE, folder / PAGE
    if is_newer(report, newest):
        say(f"Report: {report} is up to date.")
    else:
        say("Evaluating and drawing the report.")
        write_run_page(folder)
    if is_newer(scene, report.stat().st_mtime):
        say(f"Scene: {scene} is up to date.")
    else:
        export_scene(folder, overwrite=True)
    if is_newer(page, scene.stat().st_mtime):
        say(f"Web page: {page} is up to date.")
    else:
        save_html(MotionSpace.open(scene), page, overwrite=True)
    for line in summary(dataset, folder, json.loads((folder / "report" / "metrics.json").read_text())):
        say(line)


def sample(path: Path, say: Callable[[str], None]) -> Dataset:
    """The sample dataset, made if it is not there: it appears under its name when it is complete."""
    if path.is_dir():
        say(f"Dataset: {path} is there already.")
        return load(path)
    with Progress(transient=True, disable=not Console().is_interactive) as bar:
        task = bar.add_task("Drawing the sample dataset", total=None)
        return write_sample(path, progress=lambda done, total: bar.update(task, completed=done, total=total))


def train(dataset: Dataset, out: Path, say: Callable[[str], None]) -> Path:
    """Trains, or goes on training, as ns-train would; returns the folder of the run."""
    config: DimoTrainerConfig = copy.deepcopy(dimo_laptop.config)  # pyright: ignore[reportAssignmentType]
    config.data = config.pipeline.datamanager.data = dataset.root
    config.output_dir, config.experiment_name, config.timestamp = out, "training", "demo"
    config.vis = "tensorboard"
    cast(DimoModelConfig, config.pipeline.model).length = LENGTH
    folder, last = config.get_base_dir(), read_recipe("laptop").scaled(LENGTH).length(len(dataset.train_motions)) - 1
    done = max(checkpoint.steps(config.get_checkpoint_dir()), default=None)
    if done is not None and done >= last:
        say(f"Training: {folder} is finished.")
        return folder
    if done is not None:
        config.load_dir = config.get_checkpoint_dir()
    say(f"Training dimo-laptop on {len(dataset.train_motions)} motions; Ctrl-C saves, and make demo goes on later.")
    from nerfstudio.scripts.train import train_loop  # imports every method that is installed

    start = time.monotonic()
    config.save_config()
    train_loop(local_rank=0, world_size=1, config=config)
    say(f"Training took {(time.monotonic() - start) / 60:.1f} minutes.")
    return folder


def summary(dataset: Dataset, folder: Path, figures: dict[str, Any]) -> list[str]:
    """Where everything is, and how good it became, in lines."""
    still, report = figures["still"], folder / "report"
    places = (
        ("dataset", dataset.root),
        ("training run", folder),
        ("scene", folder / FILE),
        ("web page", folder / PAGE),
        ("report", report / "index.html"),
        ("videos", report / "motions.mp4"),
        ("", report / "orbit.mp4"),
        ("figures", report / "metrics.json"),
    )
    first_frame, first_motion = (still[name]["psnr"] for name in ("first_frame", "first_motion"))
    lines = [
        "",
        *(f"{what:14}{path}" for what, path in places),
        f"\nHeld-out views: PSNR {figures['psnr']:.1f} dB, of the foreground {figures['foreground_psnr']:.1f} dB.",
        f"A true picture held still: {first_frame:.1f} dB, each motion's first; {first_motion:.1f} dB, one for all.",
    ]
    if "track_error_percent" in figures:
        lines.append(f"Points on its skin are followed to {figures['track_error_percent']:.1f} % of its size.")
    return lines


def is_newer(path: Path, than: float) -> bool:
    return path.is_file() and path.stat().st_mtime >= than
