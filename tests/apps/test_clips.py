"""A folder of clips holds what was given, replaces nothing unasked, and its latents are read back or refused."""

import errno
import json
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch
from safetensors.torch import load_file, save_file

from dimo_ns.apps import clips as app
from dimo_ns.apps.clips import INFO, VIDEO, write_clips
from dimo_ns.errors import DimoError
from dimo_ns.space.choosing import find_latent
from dimo_ns.space.latent_files import LATENTS, read_latents
from dimo_ns.space.motion_space import Clip, MotionSpace
from dimo_ns.space.trajectory_files import TRAJECTORIES
from tests.spaces import DIM, FPS, FRAMES, NAMES, some_space


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space(gaussians=40)


@pytest.fixture
def no_video(monkeypatch):
    monkeypatch.setattr(app, "write_video", lambda _space, _clips, path: path.write_bytes(b"video"))


def changing(space: MotionSpace, name: str, frames: int) -> Clip:
    """A clip whose latent is another in every frame."""
    clip = space.clip(name, space.mu[0], space.times[:frames])
    clip.latents = torch.randn(frames, DIM, generator=torch.Generator().manual_seed(frames))
    return clip


def test_a_folder_has_latents_a_description_and_a_video_as_long_as_the_longest_clip(space: MotionSpace, tmp_path: Path):
    short = space.clip("short", space.mu[0])
    short.transforms = short.transforms[:4]
    write_clips(space, [*space.clips(), short], tmp_path / "a" / "out", about={"walk": {"loss": 0.5}})
    out = tmp_path / "a" / "out"
    assert {path.name for path in out.iterdir()} == {INFO, LATENTS, VIDEO}
    described = json.loads((out / INFO).read_text())
    assert described["object"] == "thing"
    assert described["clips"][0] == {"name": "walk", "frames": FRAMES, "fps": FPS, "loop": True, "loss": 0.5}
    assert [entry["frames"] for entry in described["clips"]] == [FRAMES] * len(NAMES) + [4]
    assert len(iio.imread(out / VIDEO, plugin="pyav")) == FRAMES


def test_clips_play_at_their_own_speed(space: MotionSpace):
    """At twice its rate every frame is shown twice; at its own, once."""
    clip = space.clip("walk", space.mu[0])
    frames = torch.arange(FRAMES)
    for rate, expected in ((FPS, frames), (2 * FPS, frames.repeat_interleave(2))):
        assert torch.equal(app.at_rate(clip, rate).translations, clip.transforms.translations[expected])


@pytest.mark.usefixtures("no_video")
def test_latents_come_back_bit_for_bit(space: MotionSpace, tmp_path: Path):
    write_clips(space, space.clips(), tmp_path / "still")
    assert load_file(tmp_path / "still" / LATENTS)["latents"].shape == (len(NAMES), DIM)
    found = read_latents(tmp_path / "still", space)
    assert list(found) == list(NAMES)
    assert all(torch.equal(z, mu) for z, mu in zip(found.values(), space.mu, strict=True))

    moving = [changing(space, "a", 5), changing(space, "b", 3), space.clip("c", space.mu[1])]
    write_clips(space, moving, tmp_path / "moving")
    assert load_file(tmp_path / "moving" / LATENTS)["latents"].shape == (3, FRAMES, DIM)
    found = read_latents(tmp_path / "moving" / LATENTS, space)
    assert all(torch.equal(found[clip.name], clip.latents) for clip in moving)


@pytest.mark.usefixtures("no_video")
def test_clips_without_latents_have_no_row(space: MotionSpace, tmp_path: Path):
    walk, run = space.clips(["walk", "run"])
    walk.latents = None
    write_clips(space, [walk, run], tmp_path)
    assert list(read_latents(tmp_path, space)) == ["run"]
    run.latents = None
    write_clips(space, [walk, run], tmp_path, overwrite=True)
    assert not (tmp_path / LATENTS).exists()  # those of the earlier call are gone, too


@pytest.mark.usefixtures("no_video")
def test_only_files_of_the_same_names_are_replaced_and_only_when_asked(space: MotionSpace, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DimoError, match=r"not empty.*--overwrite"):
        write_clips(space, space.clips(), tmp_path)
    write_clips(space, space.clips(), tmp_path, overwrite=True)
    write_clips(space, space.clips(["sit"]), tmp_path, overwrite=True)
    assert list(read_latents(tmp_path, space)) == ["sit"]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", INFO, LATENTS, TRAJECTORIES, VIDEO}


@pytest.mark.usefixtures("no_video")
def test_after_a_full_disk_the_earlier_files_are_as_they_were(space: MotionSpace, tmp_path: Path, monkeypatch):
    write_clips(space, space.clips(["sit"]), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(app, "write_video", full)
    with pytest.raises(DimoError, match="No space left"):
        write_clips(space, space.clips(), tmp_path / "out", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.usefixtures("no_video")
def test_what_cannot_be_written_is_refused(space: MotionSpace, tmp_path: Path):
    (tmp_path / "file").write_text("")
    walk = space.clips(["walk"])
    with pytest.raises(DimoError, match="There is a file at"):
        write_clips(space, walk, tmp_path / "file", overwrite=True)
    with pytest.raises(DimoError, match="could not be written"):
        write_clips(space, walk, tmp_path / "file" / "below")
    with pytest.raises(DimoError, match="named 'walk'"):
        write_clips(space, walk * 2, tmp_path / "twice")
    with pytest.raises(DimoError, match="no clips"):
        write_clips(space, [], tmp_path / "none")


def test_rows_of_a_file_from_elsewhere_are_numbered(space: MotionSpace, tmp_path: Path):
    save_file({"latents": torch.ones(2, DIM, dtype=torch.float64)}, tmp_path / "z.safetensors")
    found = read_latents(tmp_path / "z.safetensors", space)
    assert list(found) == ["0", "1"]
    assert torch.equal(found["1"], torch.ones(DIM))


@pytest.mark.parametrize(
    ("tensors", "metadata", "complaint"),
    [
        ({"latents": torch.zeros(2, DIM + 1)}, None, "have the shape"),
        ({"latents": torch.zeros(0, DIM)}, None, "expected"),
        ({"latents": torch.zeros(2, 2, 2, DIM)}, None, "have the shape"),
        ({"latents": torch.full((1, DIM), float("inf"))}, None, "not finite"),
        ({"mu": torch.zeros(2, DIM)}, None, "does not hold latents"),
        ({"latents": torch.zeros(2, DIM)}, {"names": "["}, "does not hold latents"),
        ({"latents": torch.zeros(2, DIM)}, {"names": '["a"]'}, "2 rows without a name"),
        ({"latents": torch.zeros(2, DIM)}, {"names": '["a", "a"]'}, "2 rows without a name"),
        ({"latents": torch.zeros(2, DIM)}, {"names": '{"a": 1, "b": 2}'}, "2 rows without a name"),
        ({"latents": torch.zeros(2, 3, DIM)}, {"frames": "[3, 4]"}, "how many frames"),
        ({"latents": torch.zeros(2, 3, DIM)}, {"frames": "3"}, "how many frames"),
    ],
)
def test_files_that_hold_something_else_are_refused(space: MotionSpace, tmp_path: Path, tensors, metadata, complaint):
    save_file(tensors, tmp_path / "z.safetensors", metadata)
    with pytest.raises(DimoError, match=complaint):
        read_latents(tmp_path / "z.safetensors", space)


def test_files_that_are_absent_or_damaged_are_refused(space: MotionSpace, tmp_path: Path):
    with pytest.raises(DimoError, match="no latents at"):
        read_latents(tmp_path / "absent.safetensors", space)
    (tmp_path / "z.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(DimoError, match="does not hold latents"):
        read_latents(tmp_path / "z.safetensors", space)


@pytest.mark.usefixtures("no_video")
def test_a_latent_is_found_by_motion_or_by_row(space: MotionSpace, tmp_path: Path):
    write_clips(space, space.clips(["run", "sit"]), tmp_path / "a")
    write_clips(space, [changing(space, "c", 3)], tmp_path / "b")
    for text in ("sit", f"{tmp_path / 'a'}:sit", f"{tmp_path / 'a' / LATENTS}:1"):
        name, z = find_latent(space, text)
        assert name == "sit"
        assert torch.equal(z, space.mu[2])
    for text, complaint in (
        ("sot", "did you mean 'sit'"),
        (f"{tmp_path / 'a'}:2", "no row '2'; expected one of run, sit"),
        (f"{tmp_path / 'a'}:", "no row ''"),
        (f"{tmp_path / 'b'}:c", "changes in time"),
    ):
        with pytest.raises(DimoError, match=complaint):
            find_latent(space, text)
