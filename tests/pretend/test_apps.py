"""The commands of `dimo` on a scene that is on a pretended CUDA device write what they write on the CPU."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dimo_ns import cli
from dimo_ns.apps.fit import fit_motion, observe
from dimo_ns.apps.fit.align import Similarity
from dimo_ns.data.dataset import Dataset
from dimo_ns.draw import motion_videos
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace
from tests.apps.photographed import photograph
from tests.pretend.alike import check_alike
from tests.pretend.cuda import launches, pretend_cuda
from tests.pretend.pretended import CUDA
from tests.space.authors_checkpoint import write_checkpoint
from tests.spaces import a_motion, some_space

Both = Callable[..., tuple[Path, Path]]
GAUSSIANS, FRAMES = 60, 4


def small_space() -> MotionSpace:
    """Some space, of fewer frames and Gaussians."""
    space = some_space(gaussians=GAUSSIANS)
    motions = tuple(a_motion(m.name, m.prompt, FRAMES, m.loop) for m in space.motions)
    return MotionSpace(space.scene, replace(space.info, motions=motions, frames=FRAMES))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_space().save(tmp_path_factory.mktemp("scene") / FILE)


@pytest.fixture(scope="module")
def dataset(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    space = MotionSpace.open(scene)
    unseen = space.clip("between", space.latents("walk", "sit").mean(0))
    return photograph(space, tmp_path_factory.mktemp("data") / "thing", {"between": unseen})


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Calls a command on the pretended device and on the CPU; where each has written to, under the same name."""
    monkeypatch.setattr(motion_videos, "GRID_PIXELS", 48)

    def call(name: str, *arguments: object) -> tuple[Path, Path]:
        outs = tmp_path / "cuda" / name, tmp_path / "cpu" / name
        for out in outs:
            out.parent.mkdir(exist_ok=True)
        words = [str(argument) for argument in arguments]
        with pretend_cuda():
            cli.main([*words, "-o", str(outs[0])])
        cli.main([*words, "-o", str(outs[1])])
        return outs

    return call


def test_a_scene_is_opened_on_the_device(scene: Path, cuda: None):
    space = MotionSpace.open(scene)
    assert {x.device for x in space.scene.state_dict().values()} == {CUDA}
    assert space.device == space.times.device == CUDA


def test_our_kernels_pose_the_object_in_one_launch(scene: Path):
    pytest.importorskip("triton")
    space = MotionSpace.open(scene)
    expected = space.scene.carry(space.motion(space.mu[:1])[0]).means
    with pretend_cuda(kernels=True):
        space = MotionSpace.open(scene)
        moved = space.motion(space.mu[:1])[0]
        with launches() as counted:
            found = space.scene.carry(moved).means
        assert sum(count for name, count in counted.items() if name.startswith("triton dimo_ns.gpu.skinning")) == 1
        torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=1e-5)


def test_samples_are_drawn(scene: Path, both: Both):
    check_alike(*both("samples", "sample", scene, "-n", "2"))


@pytest.mark.parametrize("how", [("--steps", "2", "--spherical"), ("--transition", "--loop")])
def test_what_lies_between_motions_is_made(scene: Path, both: Both, how: tuple[str, ...]):
    check_alike(*both("between", "interpolate", scene, "walk", "run", *how))


def test_words_are_learned_and_asked(tmp_path: Path, both: Both, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("sentence_transformers")
    learned = []
    for place in ("cuda", "cpu"):
        mine = small_space().save(tmp_path / f"{place}-scene" / FILE)
        if place == "cuda":
            with pretend_cuda():
                cli.main(["text", "fit", str(mine)])
        else:
            cli.main(["text", "fit", str(mine)])
        learned.append(mine.parent / "text.safetensors")
    check_alike(*learned)
    capsys.readouterr()
    check_alike(*both("asked", "text", learned[0].parent, "a thing that runs"))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a thing that runs:")]
    assert said[0] == said[1]


@pytest.mark.parametrize("how", [(), ("--align",)])
def test_a_motion_is_fitted(scene: Path, dataset: Dataset, both: Both, few_steps: None, how: tuple[str, ...]):
    """The tolerance: rounding may turn the sign of a gradient that is nearly nothing, and Adam's first steps have the
    size of the learning rate whatever that of the gradient is."""
    check_alike(*both("fit", "fit", scene, "--data", dataset.root, "--motion", "between", *how), tolerance=0.02)


@pytest.mark.parametrize("how", [("--rank", "2"), ("--views", "view_00")])
def test_a_motion_is_fitted_by_a_change(
    scene: Path, dataset: Dataset, both: Both, few_steps: None, how: tuple[str, ...]
):
    """Most numbers of a change have next to no gradient, see above: what comes out of it is compared."""
    one, other = both("fit", "fit", scene, "--data", dataset.root, "--motion", "between", "--adapt", *how)
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    figures = [json.loads((out / "fit.json").read_text())["seen_views"] for out in (one, other)]
    assert figures[0]["best_training"] == figures[1]["best_training"]
    for name, expected in figures[1]["after"].items():
        assert figures[0]["after"][name] == pytest.approx(expected, rel=0.05), name
    found, expected = (np.load(out / "trajectories.npz")["positions"] for out in (one, other))
    assert np.abs(found - expected).mean() < 0.01


def test_cameras_of_a_video_are_moved_where_they_are(scene: Path, dataset: Dataset):
    cameras = observe(dataset, "walk").cameras
    quat = torch.nn.functional.normalize(torch.tensor([1.0, 0.2, 0.3, -0.1]), dim=0)
    shift = torch.tensor([0.1, 0.2, 0.3])
    expected = Similarity(1.5, quat, shift).cameras(cameras)
    with pretend_cuda():
        moved = Similarity(1.5, quat.to("cuda"), shift.to("cuda")).cameras(cameras.to("cuda"))
        assert moved.viewmats.device == CUDA
        view = Similarity(1.5, quat.to("cuda"), shift.to("cuda")).view(dataset.views[0])
        torch.testing.assert_close(moved.viewmats.cpu(), expected.viewmats)
    assert view.c2w == pytest.approx(Similarity(1.5, quat, shift).view(dataset.views[0]).c2w)


def test_a_fit_becomes_a_motion_of_the_space(scene: Path, dataset: Dataset, few_steps: None, cuda: None):
    space = MotionSpace.open(scene)
    found = fit_motion(space, observe(dataset, "between", device=space.device), adapt=True, rank=2)
    more = found.adapted(space)
    assert more.device == CUDA
    shown = more.motion(more.latents("between"))[0].translations
    assert float((shown - found.clip.transforms.translations).abs().max()) < 1e-4


def test_a_space_is_evaluated(scene: Path, dataset: Dataset, both: Both, few_steps: None, tmp_path: Path):
    protocol = tmp_path / "brief.yaml"
    protocol.write_text("samples: 3\ninterpolation_steps: 2\nadapt_rank: 0\nrepeats: 1\n")
    one, other = both("figures", "evaluate", scene, "--data", dataset.root, "--protocol", protocol)
    check_alike(one / "evaluation.json", other / "evaluation.json", tolerance=0.02)
    assert (one / "evaluation.png").is_file()
    assert json.loads((one / "evaluation.json").read_text())["latency_ms"].keys() == {
        "trajectories",
        "trajectories_of_64",
        "posed_motion",
    }


@pytest.mark.parametrize("overlay", ["none", "keypoints", "trails"])
def test_frames_of_a_video_are_rendered(scene: Path, both: Both, overlay: str):
    look = ("--size", "40", "32", "--turns", "0.5", "--motions", "walk:0.5,run:0.5", "sit", "--overlay", overlay)
    check_alike(*both("frames", "render", scene, *look))


def test_a_video_is_rendered_beside_the_truth(scene: Path, dataset: Dataset, both: Both):
    look = ("--data", dataset.root, "--motions", "walk")
    check_alike(*both("video.mp4", "render", scene, *look))


@pytest.mark.parametrize(
    "what", [("html", "a.html"), ("glb", "a.glb"), ("ply", "ply"), ("trajectories", "a.npz")], ids=lambda what: what[0]
)
def test_each_export_is_written(scene: Path, both: Both, what: tuple[str, str]):
    command, name = what
    tolerance = 0.02 if command == "html" else 1e-4  # a page has bytes where others have floats
    check_alike(*both(name, "export", command, scene, "--motions", "walk", "walk:0.5,run:0.5"), tolerance)


def test_a_whole_export_is_written(scene: Path, both: Both, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dimo_ns.export.everything.TILE", (32, 32))
    check_alike(*both("all", "export", "all", scene, "--motions", "walk"), tolerance=0.02)


def test_what_the_authors_trained_is_imported(both: Both, tmp_path: Path):
    folder = tmp_path / "bear"
    write_checkpoint(folder)
    one, other = both("scene", "import", "authors", folder)
    check_alike(one, other)
    space = MotionSpace.open(other)
    expected = space.positions(space.mu)
    with pretend_cuda():
        space = MotionSpace.open(one)
        moved = space.positions(space.mu)
        assert moved.device == CUDA
        torch.testing.assert_close(moved.cpu(), expected, atol=1e-4, rtol=1e-4)
