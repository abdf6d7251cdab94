"""What trajectories.npz holds is what the scene does; the documented reader reads it; bad input is refused."""

import json
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from dimo_ns.core.types import RigidTransforms
from dimo_ns.errors import DimoError
from dimo_ns.space.motion_space import Clip, MotionSpace
from dimo_ns.space.trajectory_files import save_trajectories
from tests.spaces import FPS, FRAMES, GAUSSIANS, KEYPOINTS, NAMES, some_space

DOCS = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_it_holds_what_the_scene_says_frame_by_frame(space: MotionSpace, tmp_path: Path):
    found = read(save_trajectories(space, space.clips(["run", "walk"]), tmp_path / "a.npz"))
    assert list(found["names"]) == ["run", "walk"]
    assert list(found["fps"]) == [FPS, FPS]
    assert list(found["loop"]) == [True, True]
    np.testing.assert_allclose(found["times"], np.arange(FRAMES) / FRAMES, atol=1e-7)
    np.testing.assert_allclose(found["times_s"], np.tile(np.arange(FRAMES) / FPS, (2, 1)))
    assert found["positions"].dtype == np.float32
    for row, name in enumerate(("run", "walk")):
        z = space.latents(name)
        for frame in range(FRAMES):
            expected = space.scene.trajectory(z, torch.tensor([frame / FRAMES]))[0]
            places = (space.scene.keypoints + expected.translations).detach().numpy()
            np.testing.assert_allclose(found["positions"][row, frame], places, atol=1e-6)
            np.testing.assert_allclose(found["quats"][row, frame], expected.quats.detach().numpy(), atol=1e-6)
            np.testing.assert_array_equal(found["latents"][row, frame], z[0].numpy())
    assert found["neighbours"].shape == found["weights"].shape == (GAUSSIANS, 4)
    np.testing.assert_allclose(found["weights"].sum(1), 1, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]  # nothing half-written is left


def test_the_documented_reader_carries_the_gaussians_as_the_scene_does(
    space: MotionSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text().split("## Trajectories")[1].split("\n## ")[0], re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    save_trajectories(space, space.clips(), Path("trajectories.npz"))
    reader: dict = {}
    exec(code, reader)
    posed = space.scene.carry(space.clips(["walk"])[0].transforms)
    for frame in (0, 4, FRAMES - 1):
        carried = reader["carry"](space.scene.gaussians.means.detach().numpy(), frame)
        np.testing.assert_allclose(carried, posed.means[frame].detach().numpy(), atol=1e-5)


def test_json_says_the_same_with_six_decimals(space: MotionSpace, tmp_path: Path):
    clips = space.clips(["walk", "sit"])
    clips[1].latents = None
    found = read(save_trajectories(space, clips, tmp_path / "a.npz", as_json=True))
    text = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert set(text) == set(found)
    assert text["latents"][1] == [[None] * found["latents"].shape[2]] * FRAMES
    assert np.isnan(found["latents"][1]).all()
    assert not np.isnan(found["latents"][0]).any()
    for name in ("positions", "quats", "weights", "times_s", "keypoints"):
        np.testing.assert_allclose(np.array(text[name]), found[name], atol=5.1e-7)
    assert text["names"] == ["walk", "sit"]
    assert text["loop"] == [True, False]
    np.testing.assert_array_equal(text["neighbours"], found["neighbours"])


def still(name: str, frames: int) -> Clip:
    return Clip(name, torch.zeros(KEYPOINTS, 3), RigidTransforms.identity(frames, KEYPOINTS), FPS)


def test_clips_that_do_not_fit_together_are_refused(space: MotionSpace, tmp_path: Path):
    path = tmp_path / "a.npz"
    with pytest.raises(DimoError, match="'long' has 5 frames and 'short' 3"):
        save_trajectories(space, [still("long", 5), still("short", 3)], path)
    with pytest.raises(DimoError, match="named 'walk'"):
        save_trajectories(space, space.clips(["walk", "walk"]), path)
    with pytest.raises(DimoError, match="no motions"):
        save_trajectories(space, [], path)
    with pytest.raises(DimoError, match=r"\.npz file, and a\.txt is none"):
        save_trajectories(space, space.clips(), tmp_path / "a.txt")
    with pytest.raises(DimoError, match="too many for JSON"):
        save_trajectories(space, [still("long", 30_000)], path, as_json=True)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_replaced_only_when_asked_and_only_by_something_complete(
    space: MotionSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.npz"
    path.write_text("mine")
    with pytest.raises(DimoError, match=r"a\.npz is there already.*--overwrite"):
        save_trajectories(space, space.clips(), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a disk with room for 1000 bytes
    try:
        with pytest.raises(DimoError, match=r"could not be written .*make room"):
            save_trajectories(space, space.clips(), path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    save_trajectories(space, space.clips(), path, overwrite=True)
    assert list(read(path)["names"]) == list(NAMES)


def test_a_folder_that_cannot_be_made_is_said(space: MotionSpace, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DimoError, match=r"There is a file at .*where a folder was to be made"):
        save_trajectories(space, space.clips(), tmp_path / "file" / "a.npz")
