"""Training by every recipe on a pretended CUDA device, and what is made of the run there: as on the CPU."""

import json
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts import eval as ns_eval

from dimo_ns import cli
from dimo_ns.draw import motion_videos
from dimo_ns.reports.run_page import write_run_page
from dimo_ns.runs import load_run, open_space
from dimo_ns.training.dataparser import nerfstudio_cameras
from dimo_ns.training.model import DimoModel
from dimo_ns.training.recipe import names, read_recipe
from dimo_ns.training.trainer import DimoTrainer
from tests.brief_runs import train
from tests.pretend.alike import check_alike, compare
from tests.pretend.cuda import launches, no_waiting, pretend_cuda
from tests.pretend.pretended import CUDA
from tests.pretend.small_recipes import KEYPOINTS, STEPS, write_small
from tests.training.tiny_runs import MOTIONS, SIZE, VIEWS, write_set

FRAMES = 4
MOST_LAUNCHES = {
    "rest": 117,
    "track": 152,
    "trajectories": 200,
    "distill": 25,
    "points": 105,
    "points settle": 134,
    "points rigid": 128,
    "joint": 149,
    "joint fine": 139,
}
"""In a step of each phase without our Triton kernels: a tenth more than there were when this was written. A step takes
at least 4 us for each."""


WITH_KERNELS = "full"
"""The recipe that is trained with our Triton kernels."""
MOST_WITH_KERNELS = {"rest": 70, "track": 97, "trajectories": 85, "distill": 22, "joint": 77}
"""The same for it: where a rendering step is to have at most 200, and one that distills 40."""


@dataclass
class Trained:
    """A run on the pretended device, and what happened in it."""

    recipe: str
    folder: Path
    steps: Counter[str] = field(default_factory=Counter)
    """Of each phase."""
    launched: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """How many operations each step of a phase has launched."""
    waits: list[str] = field(default_factory=list)
    """Where a step that is not the first of its phase has waited for the device."""
    pictures: list[tuple[torch.device, torch.Size]] = field(default_factory=list)
    """Of the evaluations during training."""


def ball(motion: str, view: Any, frame: int) -> np.ndarray:
    """A ball that swells, in one motion faster than in the other, and is blue below."""
    down, across = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    inside = np.hypot(down, across) < 7 + frame * (1 if motion == MOTIONS[0] else 0.5)
    rgba[inside] = [200, 120, 40, 255]
    rgba[inside & (down > 3)] = [40, 80, 200, 255]
    return rgba


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data") / "ball", ball, FRAMES).root


@pytest.fixture(scope="module", params=names())
def trained(request: pytest.FixtureRequest, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training of a few steps in each phase, with an evaluation picture in each but the first."""
    root = tmp_path_factory.mktemp(request.param)
    found = Trained(request.param, root)
    iteration, picture = DimoTrainer.train_iteration, DimoModel.get_image_metrics_and_images

    def watched(trainer: DimoTrainer, step: int) -> Any:
        phase = trainer.pipeline.phase
        found.steps[phase] += 1
        with launches() as counted:
            try:
                with nullcontext() if found.steps[phase] == 1 else no_waiting():
                    result = iteration(trainer, step)
            except AssertionError as error:
                found.waits.append(f"{phase}: {str(error).splitlines()[0]}")
                result = iteration(trainer, step)
        found.launched[phase].append(counted.total())
        scene: Any = trainer.pipeline.model.scene
        scene.gaussians.colors.data[:2] = torch.tensor([[-1.0], [2.0]])  # as a large step would
        return result

    def noted(model: DimoModel, outputs: Any, batch: Any) -> Any:
        figures, images = picture(model, outputs, batch)
        found.pictures += [(image.device, image.shape) for image in images.values()]
        return figures, images

    with pytest.MonkeyPatch.context() as patch, pretend_cuda(kernels=request.param == WITH_KERNELS):
        patch.setattr(DimoTrainer, "train_iteration", watched)
        patch.setattr(DimoModel, "get_image_metrics_and_images", noted)
        extra = ["--pipeline.model.recipe", str(write_small(request.param, root)), "--pipeline.model.length", "1"]
        extra += ["--steps-per-eval-image", str(STEPS), "--steps-per-eval-all-images", str(2 * STEPS)]
        found.folder = train(dataset, root, *extra)
    return found


def on(place: str) -> Any:
    return pretend_cuda() if place == "cuda" else nullcontext()


def test_every_phase_is_trained_and_looked_at(trained: Trained):
    phases = [phase.name for phase in read_recipe(trained.recipe).phases]
    assert trained.steps == dict.fromkeys(phases, STEPS)
    assert trained.pictures == [(CUDA, (SIZE, 3 * SIZE, 3))] * (len(phases) - 1)


def test_no_step_waits_for_the_device(trained: Trained):
    """Apart from a phase's first."""
    assert trained.waits == []


def test_no_step_launches_more_than_it_has_to(trained: Trained):
    most = MOST_WITH_KERNELS if trained.recipe == WITH_KERNELS else MOST_LAUNCHES
    for phase, counts in trained.launched.items():
        assert 15 < max(counts[1:]) <= most[phase], phase


def test_what_it_keeps_is_finite_and_on_no_device(trained: Trained):
    (checkpoint,) = (trained.folder / "nerfstudio_models").iterdir()
    state = torch.load(checkpoint, weights_only=True)["pipeline"]
    assert len(state["_model.scene.keypoints"]) == KEYPOINTS
    assert all(type(value) is torch.Tensor and value.device.type == "cpu" for value in state.values())
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    colours = state["_model.scene.gaussians.colors"]
    assert (colours.min(), colours.max()) == (0, 1)  # what every viewer shows


def test_ns_eval_gives_the_cpus_figures(trained: Trained, tmp_path: Path):
    results = []
    for place in ("cuda", "cpu"):
        out = tmp_path / f"{place}.json"
        with on(place):
            ns_eval.ComputePSNR(load_config=trained.folder / "config.yml", output_path=out).main()
        results.append(json.loads(out.read_text())["results"])
    assert results[0]["psnr"] > 5
    compare(*results, tolerance=1e-3, where="results")


def test_every_output_is_the_cpus(trained: Trained):
    seen = {}
    for place in ("cuda", "cpu"):
        with on(place):
            model = load_run(trained.folder).pipeline.model
            camera = nerfstudio_cameras([VIEWS[0]], torch.tensor([[0.5]]), {"motion_id": torch.tensor([[1]])})
            outputs = model.get_outputs_for_camera(camera)
            images = {name: outputs[name] for name in outputs}
            assert {image.device.type for image in images.values()} == {place}
            assert model.get_rgba_image(outputs).shape == (SIZE, SIZE, 4)
            seen[place] = {name: image.cpu().numpy() for name, image in images.items()}
    assert seen["cpu"].keys() == {"rgb", "alpha", "accumulation", "depth", "keypoints", "trajectories"}
    for name, expected in seen["cpu"].items():
        assert np.abs(seen["cuda"][name] - expected).mean() < 1e-3, name


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos of few and small pictures."""
    monkeypatch.setattr(motion_videos, "FRAMES_PER_MOTION", 3)
    monkeypatch.setattr(motion_videos, "ORBIT_SIZE", (48, 64))
    monkeypatch.setattr(motion_videos, "GRID_PIXELS", 48)


def test_its_report_is_the_cpus(trained: Trained, short: None):
    if trained.recipe != "laptop":
        pytest.skip("one report is enough: the scene is all that it is of")
    folders = []
    for place in ("cuda", "cpu"):
        with on(place):
            folders.append(write_run_page(trained.folder).parent.rename(trained.folder / f"report_{place}"))
    assert {path.suffix for path in folders[0].iterdir()} == {".html", ".json", ".mp4", ".png"}
    for path in folders[0].iterdir():
        if path.suffix != ".html":  # which holds the figures, rounded
            check_alike(path, folders[1] / path.name, tolerance=2e-3)


def test_its_space_is_the_cpus(trained: Trained):
    space = open_space(trained.folder)
    expected = space.positions(space.mu)
    with pretend_cuda():
        space = open_space(trained.folder)
        assert space.device == CUDA
        torch.testing.assert_close(space.positions(space.mu).cpu(), expected, atol=1e-5, rtol=1e-4)


def test_its_scene_is_exported(trained: Trained, tmp_path: Path):
    """It is the same to the last bit: nothing is computed."""
    for place in ("cuda", "cpu"):
        with on(place):
            cli.main(["export", "scene", str(trained.folder), "--out", str(tmp_path / place)])
    check_alike(tmp_path / "cuda", tmp_path / "cpu", tolerance=0)
