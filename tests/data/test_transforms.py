"""transforms.json of D-NeRF and nerfstudio: cameras that stand still become views; cameras that move are refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns import cli
from dimo_ns.data.format import load
from dimo_ns.errors import DimoError
from tests.data.posed_sets import Held, photographed, ring

VIEWS, FRAMES = 4, 2


def write_transforms(
    root: Path, change: Callable[[dict], object] = lambda d: None, name: str = "transforms.json"
) -> Path:
    """The animal before four cameras as nerfstudio has it: pictures in one folder, twice as large a world."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    views = ring(VIEWS)
    taken = photographed(tuple(map(Held, views)), "walk", 0)
    frames = []
    for i, ((view, f), rgba) in enumerate(taken.items()):
        Image.fromarray(rgba).save(root / "images" / f"frame_{i:05d}.png")
        c2w = next(v.c2w for v in views if v.name == view).copy()
        c2w[:3, 3] *= 2
        frames.append({"file_path": f"images/frame_{i:05d}.png", "transform_matrix": c2w.tolist(), "time": f / FRAMES})
    v = views[0]
    data = {"camera_model": "OPENCV", "w": v.w, "h": v.h, "fl_x": v.fl_x, "fl_y": v.fl_y, "cx": v.cx, "cy": v.cy}
    data |= {"k1": 0.0, "k2": 0.0, "frames": frames}
    change(data)
    (root / name).write_text(json.dumps(data))
    return root


def test_nerfstudios_frames_become_views_and_times(tmp_path: Path):
    data = load(write_transforms(tmp_path / "cub"))
    assert [v.name for v in data.views] == ["view_00", "view_01", "view_02", "view_03"]
    assert data.frames == FRAMES
    assert [m.name for m in data.motions] == ["cub"]
    assert len(data.sources) == VIEWS * FRAMES
    for found, view in zip(data.views, ring(VIEWS), strict=True):
        np.testing.assert_allclose(found.c2w[:3, 3], 2 * view.c2w[:3, 3])
        assert found.fl_x == view.fl_x
    assert data.problems == ()


def test_it_is_converted_and_its_object_brought_to_the_usual_size(tmp_path: Path, capsys: pytest.CaptureFixture):
    cli.main(["data", "convert", str(write_transforms(tmp_path / "cub")), str(tmp_path / "ours")])
    data = load(tmp_path / "ours")
    assert data.placement.radius == pytest.approx(1.0, abs=0.2)
    assert "problem" not in capsys.readouterr().out
    cli.main(["data", "check", str(tmp_path / "ours")])
    assert "No problems found" in capsys.readouterr().out


def test_dnerfs_angle_and_names_without_an_ending(tmp_path: Path):
    """fl_x = w/2 / tan(camera_angle_x/2); a test file has views for tests; a folder for each motion is two motions."""

    def as_dnerf(data: dict) -> None:
        angle = 2 * math.atan(0.5 * data["w"] / data["fl_x"])
        frames = [f | {"file_path": f["file_path"][:-4]} for f in data["frames"]]
        data.clear()
        data.update(camera_angle_x=angle, frames=frames)

    def one_view(data: dict) -> None:
        as_dnerf(data)
        data["frames"] = data["frames"][:FRAMES]

    for motion in ("walk", "run"):
        write_transforms(tmp_path / "cub" / motion, as_dnerf, "transforms_train.json")
        write_transforms(tmp_path / "cub" / motion, one_view, "transforms_test.json")
    data = load(tmp_path / "cub")
    assert [m.name for m in data.motions] == ["run", "walk"]
    assert [v.name for v in data.test_views] == ["test_00"]
    assert len(data.train_views) == VIEWS
    np.testing.assert_allclose([v.fl_x for v in data.views], ring(VIEWS)[0].fl_x)


def moving(data: dict) -> None:
    """One picture for each time, each from another place: a camera that goes around."""
    data["frames"] = [f | {"time": i / 8} for i, f in enumerate(data["frames"][::FRAMES])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moving, r"camera of .*cub moves: its 4 training pictures are of 4 times and from 4 places"),
        (lambda d: d.update(k1=0.1), "'k1' is 0.1; expected 0: cameras are pinholes"),
        (lambda d: d.update(camera_model="OPENCV_FISHEYE"), "'camera_model' is \"OPENCV_FISHEYE\"; expected one of"),
        (lambda d: d["frames"][1].update(file_path="images/none.png"), "'file_path' is .*; expected a picture in"),
        (lambda d: d["frames"][1].update(file_path="../../../etc/passwd"), "'file_path' is .*|leads out"),
        (lambda d: d["frames"][1].pop("transform_matrix"), "'transform_matrix' is missing; expected 4 rows"),
        (lambda d: d["frames"][1].update(time=0.0), "two pictures of one camera at time 0"),
        (lambda d: d["frames"][1].update(time="soon"), "'time' is \"soon\"; expected a finite number"),
        (lambda d: d.update(frames=[]), "'frames' is .*; expected a list"),
        (lambda d: [d.pop("fl_x"), d.update(camera_angle_x=4.0)], "'camera_angle_x' is 4.0; expected an angle"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: Callable, message: str):
    write_transforms(tmp_path / "cub", change)
    with pytest.raises(DimoError, match=message):
        load(tmp_path / "cub")


def test_without_times_pictures_of_one_camera_follow_each_other(tmp_path: Path):
    data = load(write_transforms(tmp_path / "cub", lambda d: [f.pop("time") for f in d["frames"]]))
    assert data.frames == FRAMES
    assert len(data.sources) == VIEWS * FRAMES
