"""A report is complete, and its pictures show things where they are."""

import copy
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from dimo_ns.config import dimo_laptop
from dimo_ns.core.cameras import project
from dimo_ns.draw import orbit, picture, trails
from dimo_ns.draw.curves import read_scalars
from dimo_ns.draw.latent_map import principal
from dimo_ns.draw.sheet import crop
from dimo_ns.errors import DimoError
from dimo_ns.reports.run_page import write_run_page
from dimo_ns.runs import export_scene, load_run
from dimo_ns.space.file import load_scene
from dimo_ns.training import checkpoint
from tests.training.tiny_runs import MOTIONS, flat, open_set, write_set


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run as training leaves it: configuration, checkpoint, tensorboard file."""
    root = tmp_path_factory.mktemp("run")
    model, manager = open_set(write_set(root / "set", lambda m, v, f: flat(40 * f), frames=3))
    config = copy.deepcopy(dimo_laptop.config)
    config.data = config.pipeline.datamanager.data = root / "set"
    config.output_dir, config.experiment_name, config.timestamp = root / "out", "thing", "now"
    config.save_config()
    state = {
        "step": 10**6,
        "pipeline": {f"_model.{name}": value for name, value in model.state_dict().items()},
        "manifest": {
            "motions": list(MOTIONS),
            "dataset_hash": manager.dataset.hash,
            "seed": 42,
            "versions": {"torch": "2"},
        },
    }
    checkpoint.save(config.get_checkpoint_dir(), state, keep_only_latest=True)
    with SummaryWriter(str(config.get_base_dir())) as events:
        for step in range(20):
            events.add_scalar("Train Loss Dict/l1", 1 / (step + 1), step)
    moved = root / "moved"
    return config.get_base_dir().rename(moved)


def test_a_report_holds_its_page_and_all_that_the_page_shows(run: Path):
    page = write_run_page(run / "config.yml").read_text()
    names = {path.name for path in (run / "report").iterdir()}
    pictures = {"contact_sheet.png", "tracks.png", "latent_map.png", "curves.png"}
    assert names == pictures | {"index.html", "metrics.json", "orbit.mp4", "motions.mp4"}
    for name in names - {"index.html"}:
        assert f'"{name}"' in page
    for name in pictures:
        with Image.open(run / "report" / name) as image:
            assert min(image.size) > 300
            assert np.asarray(image.convert("L")).std() > 1  # something is drawn
    for motion in MOTIONS:
        assert f"<td>{motion}" in page


def test_an_exported_run_poses_as_the_run_does(run: Path, tmp_path: Path):
    scene, info = load_scene(export_scene(run, tmp_path))
    trained = load_run(run).scene
    z, t = trained.latents.mu.detach(), torch.tensor([0.2, 0.7])
    assert torch.equal(scene.pose(z, t).means, trained.pose(z, t).means)
    assert [motion["name"] for motion in info["motions"]] == list(MOTIONS)
    assert info["motions"][0]["prompt"] == "a thing that walks"
    assert [camera["name"] for camera in info["cameras"]] == ["view_00", "view_01", "test_00"]
    assert info["seed"] == 42
    assert info["metrics"]["step"] == 10**6  # of the report that was written before


def test_a_folder_without_a_run_is_said_to_be_one(tmp_path: Path):
    with pytest.raises(DimoError, match=r"There is no run at .*config\.yml"):
        write_run_page(tmp_path)


def test_a_frame_holds_what_it_is_made_for_and_little_more():
    """Points of a box: from each camera they lie within the image, and fill it along one side but for the margin."""
    points = (torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.tensor([1.0, 0.4, 0.2])
    viewmats = picture.orbit(torch.tensor([0.0, 50.0]), 20.0)
    K = picture.frame(points, viewmats, (200, 300))
    xy = torch.stack([project(points, viewmat, K)[:, :2] for viewmat in viewmats])
    assert (xy.amin((0, 1)) > 0).all()
    assert (xy.amax((0, 1)) < torch.tensor([300, 200])).all()
    assert ((xy.amax((0, 1)) - xy.amin((0, 1))) / torch.tensor([300, 200])).max() > 0.85


def test_the_world_is_drawn_upright_and_not_mirrored():
    """Seen from +x, +y is to the right and +z up, and a camera at distance 2 has the origin at depth 2."""
    viewmat, K = picture.orbit(torch.tensor([0.0]), 0.0)[0], torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    seen = project(torch.tensor([[0.0, 0, 0], [0, 0.2, 0], [0, 0, 0.2]]), viewmat, K)
    torch.testing.assert_close(seen, torch.tensor([[50.0, 50, 2], [60, 50, 2], [50, 40, 2]]))


def test_key_points_behind_the_surface_are_hidden():
    alpha, depth = np.ones((4, 4)), np.full((4, 4), 2.0)
    alpha[:, 3] = 0
    pixels = np.array([[[1.5, 1.5, 1.9], [1.5, 1.5, 2.02], [1.5, 1.5, 2.5], [3.5, 1.5, 2.5], [99.0, 1.5, 1.0]]])
    assert trails.in_front(pixels, alpha, depth)[0].tolist() == [True, True, False, True, True]


def test_crop_keeps_all_that_is_drawn():
    images = np.full((2, 100, 100, 3), 255, np.uint8)
    images[0, 30:40, 50:60] = 0
    images[1, 60, 10] = 0
    assert crop([images]) == (27, 64, 7, 63)
    assert crop([np.full((1, 8, 9, 3), 255, np.uint8)]) == (0, 8, 0, 9)


def test_principal_axes_of_a_plane_and_of_a_single_motion():
    """Points that lie in a plane keep their distances on the map; a single one is in its middle."""
    plane, _ = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    flat_points = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    places, shares, _ = principal(flat_points @ plane.T + 3)
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(flat_points, flat_points), atol=1e-4, rtol=0)
    assert float(shares.sum()) == pytest.approx(1.0)
    assert principal(torch.ones(1, 8))[0].tolist() == [[0.0, 0.0]]


def test_times_play_a_motion_from_its_first_frame_to_its_last():
    t = orbit.times(frames=21, count=48)
    assert (len(t), float(t[0]), float(t[-1])) == (48, 0.0, pytest.approx(20 / 21))


def test_videos_are_even_h264(tmp_path: Path):
    path = picture.write_video(tmp_path / "v.mp4", np.full((5, 31, 48, 3), 255, np.uint8), 24)
    assert iio.imread(path, plugin="pyav").shape == (5, 30, 48, 3)
    assert iio.immeta(path, plugin="pyav")["codec"] == "h264"


def test_a_resumed_run_has_one_curve(tmp_path: Path):
    """Steps 5..9 were logged again after a resumption: the later values count."""
    for start, value in ((0, 1.0), (5, 2.0)):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{start}") as events:
            for step in range(start, 10):
                events.add_scalar("Train Loss", value, step)
    steps, values = read_scalars(tmp_path)["Train Loss"]
    assert steps.tolist() == list(range(10))
    assert values.tolist() == [1.0] * 5 + [2.0] * 5
