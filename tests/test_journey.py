"""What a user does, end to end, with nerfstudio's own commands: train, stop, go on, evaluate, render, export."""

import json
import os
import shutil
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import tyro
from nerfstudio.scripts import eval as ns_eval
from nerfstudio.scripts import render as ns_render
from nerfstudio.scripts import train as ns_train
from nerfstudio.utils import writer

from dimo_ns import cli
from dimo_ns.core.cameras import Cameras, orbit, orbit_c2w
from dimo_ns.data.dataset import cameras_of
from dimo_ns.data.format import load
from dimo_ns.errors import DimoError
from dimo_ns.rasterize.render import render
from dimo_ns.runs import load_run, open_space
from tests.brief_runs import train, write_animal

WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors are small here: one thread is faster, and the only number whose sums are the same under any load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch):
    """nerfstudio looks for ffmpeg on the path; it is where this Python is."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animal(tmp_path_factory.mktemp("data") / "animal")


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset, tmp_path_factory.mktemp("run"))


def parameters(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "nerfstudio_models").glob("*.ckpt"))
    return torch.load(newest, weights_only=True)["pipeline"]


def test_a_run_that_was_stopped_in_any_phase_ends_as_one_that_was_not(dataset: Path, run: Path, tmp_path: Path):
    whole = parameters(run)
    # The steps at which it stops lie in four phases: before, while and after frames are tracked, and in the joint one.
    for number, stops in enumerate((("2", "9"), ("20", "44"))):
        out = tmp_path / str(number)
        checkpoints = train(dataset, out, "--max-num-iterations", stops[0]) / "nerfstudio_models"
        train(dataset, out, "--load-dir", str(checkpoints), "--max-num-iterations", stops[1])
        parts = parameters(train(dataset, out, "--load-dir", str(checkpoints)))
        assert parts.keys() == whole.keys()
        assert [name for name, value in whole.items() if not torch.equal(parts[name], value)] == []


def test_the_papers_decoder_can_take_the_place_of_the_low_rank_one(dataset: Path, tmp_path: Path):
    run = train(dataset, tmp_path, "--pipeline.model.recipe", "laptop-mlp")
    scene = load_run(run).scene
    assert sum(p.numel() for p in scene.decoder.parameters()) == 647_431  # as the paper's network has
    walk, jump = (scene.trajectory(z[None], torch.tensor([0.5])).translations.detach() for z in scene.latents.mu)
    assert float((walk - jump).norm(dim=-1).max()) > 1e-4  # it was taught that motions differ


def test_a_recipe_of_ones_own_is_kept_by_the_run(dataset: Path, tmp_path: Path):
    from dimo_ns.runs import load_run
    from dimo_ns.training.recipe import recipe_text

    mine = tmp_path / "mine.yaml"
    mine.write_text(recipe_text("laptop").replace("keypoints: 512", "keypoints: 100"))
    run = train(dataset, tmp_path, "--pipeline.model.recipe", str(mine))
    mine.unlink()
    assert len(load_run(run).scene.keypoints) == 100


def test_views_that_disagree_are_registered_and_a_stop_changes_nothing(dataset: Path, tmp_path: Path):
    """So short a training is far from its pictures, and takes what is its own fault for that of the views."""
    recipe = ["--pipeline.model.recipe", str(Path(__file__).parents[1] / "examples" / "generated.yaml")]
    run = train(dataset, tmp_path / "whole", *recipe)
    whole, opened = parameters(run), load_run(run)
    assert opened.pipeline.showing.faulty
    assert not any(fault[:, 0].any() for fault in opened.model.faults.buffers())  # of view 0
    assert all(torch.isfinite(value).all() for value in whole.values() if value.is_floating_point())
    begins = [phase.length(2) for phase in opened.model.recipe.phases[:3]]
    stop = str(sum(begins) + 2)  # in the trajectories, with faults that were found before
    checkpoints = train(dataset, tmp_path / "parts", *recipe, "--max-num-iterations", stop) / "nerfstudio_models"
    parts = parameters(train(dataset, tmp_path / "parts", *recipe, "--load-dir", str(checkpoints)))
    assert [name for name, value in whole.items() if not torch.equal(parts[name], value)] == []
    assert not [name for name in open_space(run).scene.state_dict() if "fault" in name]


def test_the_papers_recipe_goes_through_all_of_its_phases(dataset: Path, tmp_path: Path):
    writer.EVENT_WRITERS.clear()
    arguments = ["dimo-paper", "--data", str(dataset), "--output-dir", str(tmp_path), "--vis", "tensorboard"]
    arguments += ["--experiment-name", "e", "--timestamp", "t", "--pipeline.model.length", "0.0005"]
    ns_train.main(tyro.cli(ns_train.AnnotatedBaseConfigUnion, args=arguments))
    state = parameters(tmp_path / "e" / "dimo-paper" / "t")
    keypoints = len(state["_model.scene.keypoints"])
    assert keypoints == 512  # nothing became transparent in so few steps
    assert len(state["_model.scene.gaussians.means"]) == 200 * keypoints  # a ball of them around each
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def test_a_dataset_of_one_view_is_trained_on_with_a_warning(dataset: Path, tmp_path: Path, monkeypatch, capsys):
    """Given as the folder that one stands in; the run finds it again from elsewhere."""
    one = Path(shutil.copytree(dataset, tmp_path / "one"))
    cameras = json.loads((one / "cameras.json").read_text())
    (one / "cameras.json").write_text(json.dumps(cameras | {"views": cameras["views"][:1]}))
    monkeypatch.chdir(one)
    run = train(Path(), tmp_path / "run")
    assert "There is one training view only" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    figures = tmp_path / "figures.json"
    ns_eval.ComputePSNR(load_config=run / "config.yml", output_path=figures).main()
    assert json.loads(figures.read_text())["results"]["psnr"] > 10


def test_ns_eval_writes_every_figure(run: Path, tmp_path: Path):
    out = tmp_path / "figures.json"
    ns_eval.ComputePSNR(load_config=run / "config.yml", output_path=out).main()
    results = json.loads(out.read_text())["results"]
    assert {"psnr", "ssim", "fps", "foreground_psnr", "motions", "views", "track_error_percent"} <= results.keys()
    assert set(results["motions"]) == {"walk", "jump"}
    assert results["still"]["first_frame"]["psnr"] > 15  # a picture held still is not bad: why it is printed
    assert len(results["dataset_hash"]) == 64


def test_ns_render_renders_every_picture_of_the_dataset(run: Path, tmp_path: Path):
    ns_render.DatasetRender(load_config=run / "config.yml", output_path=tmp_path, rendered_output_names=["rgb"]).main()
    assert len(list((tmp_path / "test" / "rgb").rglob("*.jpg"))) == 2 * 4 * 6


def test_a_run_opens_and_is_exported_without_its_dataset(dataset: Path, run: Path, tmp_path: Path, monkeypatch):
    """And is then what it is beside it, from whatever folder it is named; what needs the frames says that they are not
    there."""
    beside = load_run(run)
    dataset.rename(tmp_path / "elsewhere")
    try:
        monkeypatch.chdir(run.parent)
        space = open_space(Path(run.name))
        assert space.info.to_json() == beside.info.to_json()
        z, t = space.mu, torch.tensor([0.2, 0.7])
        assert torch.equal(space.scene.pose(z, t).means, beside.scene.eval().pose(z, t).means)
        monkeypatch.chdir(run)
        cli.main(["export", "scene", ".", "-o", str(tmp_path / "scene")])
        cli.main(["render", ".", "-o", str(tmp_path / "a"), "--view", "test_00", "--motions", "walk"])
        with pytest.raises(DimoError, match="There is no dataset at"):
            load_run(run)
    finally:
        (tmp_path / "elsewhere").rename(dataset)
    exported = open_space(tmp_path / "scene")
    assert exported.info.to_json() == beside.info.to_json()
    assert len(list((tmp_path / "a").iterdir())) == exported.frames


FIRST = {"walk": 0, "jump": 21 * 9}
"""The first camera of each motion: they are counted motion by motion, 21 frames in 9 views."""


def picture_of(run: Path, motion: str, time: float, cameras: Cameras) -> np.ndarray:
    """What is to be seen, straight from the scene: posed by the motion's latent, over white."""
    scene = load_run(run).scene
    with torch.no_grad():
        z = scene.latents.mu[list(FIRST).index(motion)]
        image = render(scene.pose(z[None], torch.tensor([time])), cameras[None]).over(1.0)[0, 0]
    return (255 * image.clamp(0, 1)).numpy()


def error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference, in levels of 255."""
    return float(np.abs(a.astype(float) - b).mean())


def test_ns_render_renders_camera_paths_of_a_chosen_motion(run: Path, tmp_path: Path):
    """The picture is that of the motion asked for at the path's time, and farther from the other one's."""
    size, times = 32, (0.0, 0.5)
    azimuth, elevation = torch.tensor([30.0]), torch.tensor([10.0])
    camera = orbit_c2w(azimuth, elevation, 2.0).flatten().tolist()
    path = tmp_path / "path.json"
    path.write_text(json.dumps({
        "camera_type": "perspective", "render_height": size, "render_width": size, "fps": 2, "seconds": 1,
        "camera_path": [{"camera_to_world": camera, "fov": 34, "aspect": 1, "render_time": t} for t in times],
    }))  # fmt: skip
    cameras = orbit(azimuth, elevation, (size, size), 2.0, 34.0)
    for motion, other in (("walk", "jump"), ("jump", "walk")):
        ns_render.RenderCameraPath(
            load_config=run / "config.yml",
            camera_path_filename=path,
            output_path=tmp_path / motion,
            output_format="images",
            image_format="png",
            camera_idx=FIRST[motion],
            rendered_output_names=["rgb", "trajectories"],
        ).main()
        found = [iio.imread(file) for file in sorted((tmp_path / motion).glob("*.png"))]
        assert [image.shape for image in found] == [(size, 2 * size, 3)] * 2
        for image, time in zip(found, times, strict=True):
            assert error(image[:, :size], picture_of(run, motion, time, cameras)) <= 0.5  # rounding
        assert error(found[1][:, :size], picture_of(run, other, times[1], cameras)) > 1


def test_ns_render_flies_through_the_views_of_a_chosen_motion(dataset: Path, run: Path, tmp_path: Path):
    """From the first test view on; the object holds the frame of the camera that was named."""
    names, frame = ["rgb", "alpha", "depth", "keypoints"], 10
    ns_render.RenderInterpolated(
        load_config=run / "config.yml",
        output_path=tmp_path,
        output_format="images",
        image_format="png",
        interpolation_steps=1,
        camera_idx=FIRST["jump"] + frame * 9,
        rendered_output_names=names,
    ).main()
    found = iio.imread(min(tmp_path.glob("*.png")))
    assert found.shape == (48, len(names) * 48, 3)
    cameras = cameras_of(load(dataset).test_views[:1])
    assert error(found[:, :48], picture_of(run, "jump", frame / 21, cameras)) <= 0.5  # rounding
    assert error(found[:, :48], picture_of(run, "walk", frame / 21, cameras)) > 1
    assert error(found[:, :48], picture_of(run, "jump", 0.0, cameras)) > 1


def test_a_scene_leaves_the_run_and_poses_as_the_run_does(run: Path, tmp_path: Path):
    from dimo_ns.runs import export_scene
    from dimo_ns.space.file import load_scene

    scene, info = load_scene(export_scene(run, tmp_path))
    assert [motion["name"] for motion in info["motions"]] == ["walk", "jump"]
    saved = parameters(run)
    assert torch.equal(scene.gaussians.means, saved["_model.scene.gaussians.means"])
    posed = scene.pose(scene.latents.mean(torch.tensor([0, 1])), torch.tensor([0.0, 0.5]))
    assert posed.means.shape == (2, len(scene.gaussians), 3)
    assert np.isfinite(posed.means.detach().numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--pipeline.datamanager.dataparser.motions", "wlak"], "no motion 'wlak'"),
        (
            ["--pipeline.model.recipe", "labtop"],
            "no recipe 'labtop'; there are full, laptop, laptop-mlp, paper",
        ),
        (["--pipeline.model.recipe", "none.yaml"], "none.yaml is missing"),
        pytest.param(["--machine.device-type", "cuda"], "There is no CUDA device to train on: ", marks=WITHOUT_CUDA),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    dataset: Path, tmp_path: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as exit_info:
        train(dataset, tmp_path, *arguments)
    assert exit_info.value.code == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown
