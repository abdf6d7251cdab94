"""Folders of videos: which frames are taken of them, at which times, and what is said of those that do not fit."""

import json
import shutil
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.format import Dataset, load, orbit_view, write
from dimo_ns.data.frames import FrameStore, convert, premultiplied
from dimo_ns.data.images import read_rgba
from dimo_ns.data.video_files import read_frames
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import MOTIONS, disc, on_white
from tests.data.tiny_videos import LOSSLESS, numbered, save_video

LENGTH = 10


def clip(motion: int, view: int) -> list[np.ndarray]:
    """Ten frames: the disc brightens, so that each frame can be told from the others."""
    images = [disc(motion, view, 0) for _ in range(LENGTH)]
    for f, image in enumerate(images):
        image[..., 2] = np.where(image[..., 3] > 0, 10 + 20 * f, 0)
    return images


@pytest.fixture(params=[".mp4", ".mov", ".avi"])
def videos(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two motions, three views, ten frames; with alpha where the format has it."""
    root, (codec, pixels, options) = tmp_path / "videos", LOSSLESS[request.param]
    for m, motion in enumerate(MOTIONS):
        for v in range(3):
            images = clip(m, v) if "a" in pixels else [on_white(image) for image in clip(m, v)]
            save_video(root / motion / f"cam{v}{request.param}", images, codec, pixels, options)
    return root


def test_folder_of_videos(videos: Path):
    """Four of ten frames, evenly from the first to the last: 0, 3, 6, 9; views at 0, 120 and 240 degrees."""
    data = load(videos, frames=4)
    assert ([m.name for m in data.motions], data.frames) == (sorted(MOTIONS), 4)
    assert [(v.name, v.azimuth_deg, v.elevation_deg) for v in data.views] == [
        ("cam0", 0, 0),
        ("cam1", 120, 0),
        ("cam2", 240, 0),
    ]
    assert any("no cameras.json" in n for n in data.notes)
    assert [data.sources["walk", "cam1", f].video_frame for f in range(4)] == [0, 3, 6, 9]
    for f, index in enumerate([0, 3, 6, 9]):
        expected = clip(0, 1)[index]
        got = read_rgba(data.sources["walk", "cam1", f])
        solid = expected[..., 3] == 255
        np.testing.assert_array_equal(got[solid], expected[solid])
        assert (got[expected[..., 3] == 0, 3] == 0).all()


def test_videos_with_cameras_and_motions(videos: Path, tiny: Path):
    suffix = next(videos.rglob("cam0*")).suffix
    for name in ("cameras.json", "motions.json"):
        shutil.copy(tiny / name, videos)
    for motion in MOTIONS:
        for v, name in enumerate(("view_00", "view_01", "test_00")):
            (videos / motion / f"cam{v}{suffix}").rename(videos / motion / f"{name}{suffix}")
    data, same = load(videos), load(tiny)
    assert data.motions == same.motions
    np.testing.assert_array_equal(data.views[2].c2w, same.views[2].c2w)
    assert len(data.sources) == len(same.sources)


@pytest.mark.parametrize("budget", [2**30, 20_000, 0])
def test_videos_in_the_frame_store(videos: Path, budget: int):
    data = load(videos, frames=5)
    store = FrameStore(data, MOTIONS, ["cam0", "cam2"], budget)
    draw = np.random.default_rng(0)
    for _ in range(5):
        ids = draw.integers(0, 2, 3), draw.integers(0, 5, 3), draw.integers(0, 2, (3, 2))
        store.prefetch(*ids, (16, 16))
        got = store.batch(*ids, (16, 16))
        for b, c in np.ndindex(3, 2):
            m, f, v = MOTIONS[ids[0][b]], int(ids[1][b]), ("cam0", "cam2")[ids[2][b, c]]
            np.testing.assert_array_equal(got[b, c], premultiplied(read_rgba(data.sources[m, v, f]), (16, 16)))


def test_videos_become_a_dataset_of_images(videos: Path, tmp_path: Path):
    data = load(videos, frames=4)
    images = convert(data, tmp_path / "images")
    assert images.motions == data.motions
    for key, source in data.sources.items():
        np.testing.assert_array_equal(read_rgba(images.sources[key]), read_rgba(source))


def test_bad_videos(videos: Path):
    with pytest.raises(DimoError, match=r"has 10 frames; 11 are .* at most 10: with --frames .* motions.json"):
        load(videos, frames=11)
    with pytest.raises(DimoError, match="0 frames are asked for"):
        load(videos, frames=0)
    path = next((videos / "walk").glob("cam1*"))
    path.write_bytes(b"no video")
    with pytest.raises(DimoError, match=r"walk/cam1.* cannot be read"):
        load(videos, frames=4)
    path.unlink()
    data = load(videos, frames=4)
    assert ("walk", "cam1", 0) not in data.sources
    assert any("walk/cam1" in n for n in data.notes)


def test_a_video_that_ends_early_is_named_when_it_is_used(videos: Path):
    path = next((videos / "walk").glob("cam1*"))
    data = load(videos, frames=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DimoError, match="walk/cam1"):
        read_rgba(data.sources["walk", "cam1", 3])


# ------------------------------------------------------------------------------ times, lengths, names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "videos"


def shown(data: Dataset, motion: str, view: str) -> list[int]:
    """The grey of each frame that is taken: of `numbered` videos, ten times its place."""
    sources = [data.sources[motion, view, f] for f in range(data.frames)]
    return [round(int(next(read_frames(s.path, [s.video_frame or 0]))[0, 0, 0]) / 10) for s in sources]


def test_times_and_playback_follow_the_videos(folder: Path):
    """Four frames at 32 a second: they are 1/32 s apart and play in 1/8 s, not in half a second."""
    for view in ("a", "b"):
        save_video(folder / "run" / f"{view}.mp4", numbered(4), rate=32)
    data = load(folder)
    assert data.motions[0].times_s == (0.0, 0.03125, 0.0625, 0.09375)
    assert data.fps == 32
    converted = convert_opaque(data, folder.parent / "images")
    assert (converted.motions, converted.fps) == (data.motions, 32)


def convert_opaque(data: Dataset, root: Path) -> Dataset:
    """As `convert` does it, of frames in which all is background."""
    frames = ((*key, np.zeros((16, 16, 4), np.uint8)) for key in data.sources)
    return write(
        root, object="", prompt="", licence="", views=data.views, motions=data.motions, frames=frames, fps=data.fps
    )


def test_motions_of_different_speed_play_at_the_mean_rate(folder: Path):
    """Four steps of 1/8 s and four of 1/24 s: eight in 2/3 s are 12 a second."""
    save_video(folder / "run" / "a.mp4", numbered(5), rate=24)
    save_video(folder / "walk" / "a.mp4", numbered(5), rate=8)
    assert load(folder).fps == 12


def test_frames_are_chosen_by_their_stamps(folder: Path):
    """Three in 2 s are those at 0, 1 and 2 s, wherever they stand in the file."""
    save_video(folder / "run" / "a.mp4", numbered(7), times_ms=[0, 100, 200, 1000, 1100, 1900, 2000])
    save_video(folder / "run" / "b.mp4", numbered(7), times_ms=[0, 500, 600, 700, 800, 1000, 2000])
    data = load(folder, frames=3)
    assert (shown(data, "run", "a"), shown(data, "run", "b")) == ([0, 3, 6], [0, 5, 6])
    assert data.motions[0].times_s == (0.0, 1.0, 2.0)
    assert data.fps == 1


def test_views_of_other_rates_and_lengths_stay_in_step(folder: Path):
    """One camera at 8 frames a second, one at 16, one that went on for a second: what is shown at one time is taken."""
    save_video(folder / "run" / "a.mp4", numbered(9), rate=8)
    save_video(folder / "run" / "b.mp4", numbered(17), rate=16)
    save_video(folder / "run" / "c.mp4", numbered(17), rate=8)
    data = load(folder, frames=5)
    assert shown(data, "run", "a") == [0, 2, 4, 6, 8]
    assert shown(data, "run", "b") == [0, 4, 8, 12, 16]
    assert shown(data, "run", "c") == [0, 2, 4, 6, 8]
    assert data.problems[0].startswith("The videos of 'run' last from 1.00 s (a.mp4) to 2.00 s (c.mp4)")


def test_a_frame_more_or_less_is_nothing_to_be_said(folder: Path):
    save_video(folder / "run" / "a.mp4", numbered(9))
    save_video(folder / "run" / "b.mp4", numbered(10))
    data = load(folder)
    assert (data.frames, shown(data, "run", "b")) == (9, list(range(9)))
    assert not any("last from" in problem for problem in data.problems)


@pytest.mark.parametrize(("length", "taken"), [(12, 12), (16, 16), (21, 21), (81, 21)])
def test_unasked_as_many_frames_are_taken_as_there_are_and_at_most_21(folder: Path, length: int, taken: int):
    for view in ("a", "b"):
        save_video(folder / "run" / f"{view}.mp4", [np.full((16, 16, 3), f, np.uint8) for f in range(length)])
    data = load(folder)
    assert data.frames == taken
    (remark,) = (r for r in data.remarks if "no motions.json" in r)
    assert f"{taken} frames are taken" in remark
    assert ("a.mp4" in remark) == (taken < 21)


def described(folder: Path, **fields: object) -> Dataset:
    motion = {"name": "run", "split": "train"} | dict(fields.pop("motion", {}))  # type: ignore[call-overload]
    (folder / "motions.json").write_text(json.dumps({"frames": 3, "motions": [motion], **fields}))
    return load(folder)


def test_a_motions_json_has_the_last_word_about_times(folder: Path):
    save_video(folder / "run" / "a.mp4", numbered(5), rate=16)
    says_nothing = described(folder)
    assert (says_nothing.motions[0].times_s, says_nothing.fps) == ((0.0, 0.125, 0.25), 8)
    times = described(folder, motion={"times_s": [0, 2, 4]})
    assert (times.motions[0].times_s, times.fps) == ((0, 2, 4), 0.5)
    rate = described(folder, playback_fps=30)
    assert (rate.motions[0].times_s, rate.fps) == ((0.0, 0.125, 0.25), 30)
    own_rate = described(folder, motion={"fps": 2})
    assert own_rate.motions[0].times_s == (0, 0.5, 1)
    with pytest.raises(DimoError, match=r"has 5 frames; 6 are to be taken .* at most 5.* 'frames' in a motions.json"):
        described(folder, frames=6)


def test_every_ending_in_any_case_and_nothing_hidden(folder: Path):
    """Of `VIDEO_SUFFIXES`; what macOS puts beside files, and folders that begin with a dot, are nobody's videos."""
    for name, ending in zip("abcdef", (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm"), strict=True):
        codec, pixels, options = LOSSLESS.get(ending, ("libvpx-vp9", "yuv420p", {"lossless": "1"}))
        save_video(folder / "run" / f"{name}{ending}", numbered(3), codec, pixels, options)
        (folder / "run" / f"{name}{ending}").rename(folder / "run" / f"{name}{ending.upper()}")
    black, white = (Image.new("RGB", (16, 16), colour) for colour in ("black", "white"))
    black.save(folder / "run" / "g.gif", save_all=True, append_images=[white])
    (folder / "run" / "._a.mp4").write_bytes(b"\0\5\x16\7")
    (folder / "run" / ".thumbnails").mkdir()
    (folder / "._run").mkdir()
    data = load(folder)
    assert ([v.name for v in data.views], [m.name for m in data.motions]) == (list("abcdefg"), ["run"])
    assert data.frames == 2
    assert not data.problems


@pytest.mark.parametrize("what", ["nothing", "another ending"])
def test_where_there_is_no_dataset_the_endings_that_are_read_are_said(folder: Path, what: str):
    (folder / "run").mkdir(parents=True)
    if what == "another ending":
        (folder / "run" / "a.wmv").write_bytes(b"video")
    with pytest.raises(DimoError, match=r"There is no dataset .*endings: mp4, m4v, mov, mkv, webm, avi, gif"):
        load(folder)


def test_videos_without_a_camera_are_said(folder: Path):
    for view in ("view_00", "view_01", "making_of"):
        save_video(folder / "run" / f"{view}.mp4", numbered(3))
    views = [asdict(v) | {"c2w": v.c2w.tolist()} for v in (orbit_view(f"view_0{i}", "train", i, 0, 16) for i in (0, 1))]
    (folder / "cameras.json").write_text(json.dumps({"views": views}))
    data = load(folder)
    assert len(data.sources) == 6
    assert any(p.startswith("Passed over") and "run/making_of.mp4" in p for p in data.problems)


@pytest.mark.parametrize("rotation", [None, 90])
def test_a_camera_has_the_size_that_a_player_shows(folder: Path, rotation: int | None):
    save_video(folder / "run" / "a.mp4", numbered(3, h=16, w=32), rotation=rotation)
    view = asdict(orbit_view("a", "train", 0, 0, 16)) | {"c2w": np.eye(4).tolist()}
    upright = view | ({"w": 16, "h": 32} if rotation else {"w": 32, "h": 16})
    (folder / "cameras.json").write_text(json.dumps({"views": [upright]}))
    assert read_rgba_shape(load(folder)) == (upright["h"], upright["w"])
    (folder / "cameras.json").write_text(json.dumps({"views": [upright | {"w": upright["h"], "h": upright["w"]}]}))
    with pytest.raises(DimoError, match=f"is {upright['w']} x {upright['h']}, but the camera of a says"):
        load(folder)


def read_rgba_shape(data: Dataset) -> tuple[int, ...]:
    return next(read_frames(data.sources["run", "a", 0].path, [0])).shape[:2]


def test_pixels_that_are_not_square_need_cameras(folder: Path):
    save_video(folder / "run" / "a.mp4", numbered(3), pixel_aspect=Fraction(16, 15))
    with pytest.raises(DimoError, match=r"pixels that are not square; without a cameras.json it must be square"):
        load(folder)


def test_each_frame_of_a_video_is_rendered_to_a_file_of_its_own(folder: Path):
    """nerfstudio names what it renders after the files of a dataset: a video is one file, its frames are many."""
    parser = pytest.importorskip("dimo_ns.training.dataparser")
    for motion in ("run", "walk"):
        for view in ("a", "b"):
            save_video(folder / motion / f"{view}.mp4", numbered(4))
    outputs = parser.DimoDataParserConfig(data=folder, frames=3).setup().get_dataparser_outputs("train")
    names = [str(path.relative_to(folder)) for path in outputs.image_filenames]
    assert sorted(names) == [f"{m}/{v}/0{f}.png" for m in ("run", "walk") for v in ("a", "b") for f in range(3)]
