"""Our layout: what is written is what is read, and everything that is wrong is one sentence that says where."""

import errno
import json
import os
import re
import shutil
import struct
import zlib
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.dataset import BLOCK, sampled
from dimo_ns.data.format import Dataset, Motion, load, orbit_view
from dimo_ns.data.frames import convert
from dimo_ns.data.images import read_rgba
from dimo_ns.errors import DimoError
from dimo_ns.files import fields
from tests.data.tiny_sets import FRAMES, MOTIONS, SIZE, VIEWS, all_frames, disc, write_tiny


def test_round_trip(tmp_path: Path):
    tracks = {"tracks": np.zeros((2, FRAMES, 5, 3), np.float32)}
    written = write_tiny(tmp_path / "disc", tracks=tracks, test_frames=[0, 2], fps=12.0)
    read = load(tmp_path / "disc")
    assert (read.object, read.prompt, read.licence, read.frames, read.fps) == (
        "disc",
        "a disc",
        "CC0-1.0",
        FRAMES,
        12.0,
    )
    assert read.motions == tuple(Motion(n, f"a disc that {n}s", "train", True, (0.0, 0.1, 0.2, 0.3)) for n in MOTIONS)
    assert [(v.name, v.split, v.w, v.h) for v in read.views] == [
        ("view_00", "train", SIZE, SIZE),
        ("view_01", "train", SIZE, SIZE),
        ("test_00", "test", SIZE, SIZE),
    ]
    for view, azimuth in zip(read.views, (0, 120, 240), strict=True):
        np.testing.assert_array_equal(view.c2w, orbit_view("", "train", azimuth, azimuth / 12, SIZE).c2w)
    for motion, view, frame, rgba in all_frames():
        np.testing.assert_array_equal(read_rgba(read.sources[motion, view, frame]), rgba)
    np.testing.assert_array_equal(read.read_tracks()["tracks"], tracks["tracks"])
    assert read.expected_frames(read.views[2]) == (0, 2)
    assert read.notes == ()
    assert read.hash == written.hash
    np.testing.assert_array_equal(read.times, [0, 0.25, 0.5, 0.75])
    assert not list(tmp_path.glob(".*")), "nothing is left beside the dataset"


def test_splits(tmp_path: Path):
    motions = [Motion("walk", "", "train", False, (0.0,)), Motion("jump", "", "held_out", False, (0.0,))]
    frames = [(m, v, 0, disc(0, 0, 0)) for m in MOTIONS for v in VIEWS]
    data = write_tiny(tmp_path / "disc", motions=motions, frames=frames)
    assert [m.name for m in data.train_motions] == ["walk"]
    assert [m.name for m in data.held_out_motions] == ["jump"]
    assert [v.name for v in data.train_views] == ["view_00", "view_01"]
    assert [v.name for v in data.test_views] == ["test_00"]


def test_hash_names_the_content(tiny: Path, edit):
    before = load(tiny).hash
    assert load(tiny).hash == before
    edit("motions.json", lambda d: d["motions"][0].update(prompt="another"))
    changed = load(tiny).hash
    assert changed != before
    frame = tiny / "walk/view_00/03.png"
    content = frame.read_bytes()
    frame.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    another = load(tiny).hash
    assert another not in (before, changed)
    frame.unlink()
    assert load(tiny).hash not in (before, changed, another)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_has_no_hash(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DimoError, match="is a pipe, a socket or a device; expected a regular file"):
        sampled(tmp_path / "pipe")


@pytest.mark.parametrize("size", [0, 1, 4 * BLOCK, 4 * BLOCK + 1, 20 * BLOCK])
def test_a_files_hash_tells_of_its_size_its_ends_and_its_middle(tmp_path: Path, size: int):
    path, content = tmp_path / "file", np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    seen = {sampled(path)}
    for at in {0, size // 2, size - 1} if size else ():
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        seen.add(sampled(path))
    path.write_bytes(content + b"0")
    seen.add(sampled(path))
    assert len(seen) == 2 + len({0, size // 2, size - 1} if size else ())


def test_a_view_may_have_its_own_intrinsics(tiny: Path, edit):
    edit("cameras.json", lambda d: d["views"][1].update(w=16, h=8, fl_x=20.0, fl_y=21.0, cx=7.0, cy=3.5))
    for motion in MOTIONS:
        for path in (tiny / motion / "view_01").iterdir():
            Image.open(path).resize((16, 8)).save(path)
    view = load(tiny).views[1]
    assert (view.w, view.h, view.fl_x, view.fl_y, view.cx, view.cy) == (16, 8, 20.0, 21.0, 7.0, 3.5)


def test_orbit_view_looks_at_the_origin():
    """By definition: the camera's -z axis points from its place to the origin, which is 2 away; y is up in the picture;
    fovy 33.9 degrees means that the upper edge of the picture is seen at half of that."""
    for azimuth, elevation in [(0, 0), (40, 0), (120, 30), (275, -20)]:
        view = orbit_view("v", "train", azimuth, elevation, 100)
        place = view.c2w[:3, 3]
        np.testing.assert_allclose(np.linalg.norm(place), 2.0)
        np.testing.assert_allclose(-view.c2w[:3, 2], -place / 2, atol=1e-12)
        np.testing.assert_allclose(np.degrees(np.arctan2(place[1], place[0])) % 360, azimuth, atol=1e-9)
        np.testing.assert_allclose(np.degrees(np.arcsin(place[2] / 2)), elevation, atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(view.c2w), 1.0)
        assert view.c2w[2, 1] > 0
        np.testing.assert_allclose(np.degrees(np.arctan(50 / view.fl_y)) * 2, 33.9)


def test_missing_frames_are_said_not_fatal(tiny: Path):
    (tiny / "walk/view_01/02.png").unlink()
    shutil.rmtree(tiny / "jump/view_00")
    data = load(tiny)
    assert ("walk", "view_01", 2) not in data.sources
    assert len(data.sources) == 24 - 1 - 4
    assert any("walk/view_01 (1 of 4)" in n and "jump/view_00 (4 of 4)" in n for n in data.notes)


def test_notes(tiny: Path, edit):
    (tiny / "stranger").mkdir()
    Image.fromarray(disc(0, 0, 0)).save(tiny / "walk/view_00/07.png")
    (tiny / "walk/view_00/readme.txt").write_text("files that are no frames are passed over")
    edit("cameras.json", lambda d: d["views"][1].update(split="test"))
    notes = " ".join(load(tiny).notes)
    assert "ignored: stranger" in notes
    assert "frames from 7 on" in notes
    assert "one training view only" in notes


def test_one_frame_only_loads_with_a_note(tmp_path: Path):
    motions = [Motion("walk", "", "train", False, (0.0,))]
    data = write_tiny(tmp_path / "disc", motions=motions, frames=[("walk", v, 0, disc(0, 0, 0)) for v in VIEWS])
    assert any("one frame only" in note for note in data.notes)


NAN, INF = float("nan"), float("inf")


def pose(change):
    def apply(data: dict):
        c2w = np.array(data["views"][0]["c2w"])
        change(c2w)
        data["views"][0]["c2w"] = c2w.tolist()

    return apply


BAD_METADATA = {
    "no frames": ("motions.json", lambda d: d.pop("frames"), "'frames' is missing"),
    "frames is text": ("motions.json", lambda d: d.update(frames="4"), "'frames' is \"4\""),
    "frames too many": ("motions.json", lambda d: d.update(frames=10**9), "whole number"),
    "motions empty": ("motions.json", lambda d: d.update(motions=[]), "'motions' is \\[\\]"),
    "motions is a dict": ("motions.json", lambda d: d.update(motions={"walk": {}}), "list of objects"),
    "motion listed, missing": ("motions.json", lambda d: d["motions"][0].update(name="swim"), "'swim' is listed but"),
    "motion twice": ("motions.json", lambda d: d["motions"][0].update(name="jump"), "two motions 'jump'"),
    "motion absolute": ("motions.json", lambda d: d["motions"][0].update(name="/etc"), "without '/'"),
    "motion goes up": ("motions.json", lambda d: d["motions"][0].update(name=".."), "without '/'"),
    "motion nested": ("motions.json", lambda d: d["motions"][0].update(name="walk/../../x"), "without '/'"),
    "motion split": ("motions.json", lambda d: d["motions"][0].update(split="test"), "'train' or 'held_out'"),
    "nothing to train on": (
        "motions.json",
        lambda d: [m.update(split="held_out") for m in d["motions"]],
        "split 'train'",
    ),
    "times too few": ("motions.json", lambda d: d["motions"][0].update(times_s=[0.0]), "4 finite numbers"),
    "times nan": ("motions.json", lambda d: d["motions"][0].update(times_s=[0, 1, 2, NAN]), "4 finite numbers"),
    "times descend": ("motions.json", lambda d: d["motions"][0].update(times_s=[3, 2, 1, 0]), "ascending"),
    "loop": ("motions.json", lambda d: d["motions"][0].update(loop="yes"), "true or false"),
    "test frames": ("motions.json", lambda d: d.update(test_frames=[0, 4]), "from 0 to 3"),
    "fps": ("motions.json", lambda d: d.update(playback_fps=0), "positive"),
    "view twice": ("cameras.json", lambda d: d["views"][0].update(name="view_01"), "two views 'view_01'"),
    "view goes up": ("cameras.json", lambda d: d["views"][0].update(name="../walk"), "without '/'"),
    "view split": ("cameras.json", lambda d: d["views"][0].update(split="held_out"), "'train' or 'test'"),
    "no train view": ("cameras.json", lambda d: [v.update(split="test") for v in d["views"]], "split 'train'"),
    "no focal length": ("cameras.json", lambda d: d.pop("fl_x"), "'fl_x' is missing"),
    "negative focal length": ("cameras.json", lambda d: d.update(fl_x=-1.0), "a positive focal"),
    "focal length nan": ("cameras.json", lambda d: d.update(fl_y=NAN), "finite number"),
    "size": ("cameras.json", lambda d: d.update(w=0), "whole number"),
    "huge size": ("cameras.json", lambda d: d.update(w=60_000, h=60_000), "at most"),
    "size of the images": ("cameras.json", lambda d: d.update(w=64), "00.png is 32 x 32, but the camera"),
    "no pose": ("cameras.json", lambda d: d["views"][0].pop("c2w"), "4 rows of 4"),
    "pose 3x4": ("cameras.json", lambda d: d["views"][0]["c2w"].pop(), "4 rows of 4"),
    "pose nan": ("cameras.json", pose(lambda m: m.__setitem__((0, 3), NAN)), "4 rows of 4 finite"),
    "pose inf": ("cameras.json", pose(lambda m: m.__setitem__((1, 1), INF)), "4 rows of 4 finite"),
    "pose scaled": ("cameras.json", pose(lambda m: m.__imul__(1.1)), "a rotation"),
    "pose singular": ("cameras.json", pose(lambda m: m[:3, 0].fill(0)), "a rotation"),
    "pose mirrored": ("cameras.json", pose(lambda m: m[:3, 0].__imul__(-1)), "a rotation"),
    "pose last row": ("cameras.json", pose(lambda m: m[3].__setitem__(0, 1.0)), "last row"),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata(tiny: Path, edit, case: str):
    name, change, message = BAD_METADATA[case]
    edit(name, change)
    with pytest.raises(DimoError, match=message) as caught:
        load(tiny)
    assert str(tiny) in str(caught.value), "says where"


@pytest.mark.parametrize("name", ["motions.json", "cameras.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing|no dataset"),
        ("{", "not valid JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe{", "JSON"),
    ],
)
def test_broken_json(tiny: Path, name: str, content: str | bytes | None, message: str):
    (tiny / name).unlink()
    if content is not None:
        (tiny / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DimoError, match=message):
        load(tiny)


def test_json_is_bounded(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fields, "MAX_JSON_BYTES", 100)
    with pytest.raises(DimoError, match=r"motions.json is larger than"):
        load(tiny)


def test_no_dataset(tmp_path: Path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DimoError, match="no dataset at"):
            load(path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(w: int, h: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 6, 0, 0, 0)) + chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_header(60_000, 60_000), "limit of"),
        (png_header(9_000, 9_000), "9000 x 9000, larger than the limit"),
        (b"", "not a readable PNG, JPEG or WebP"),
        (b"BM" + bytes(100), "not a readable PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not a readable PNG, JPEG or WebP"),
    ],
)
def test_bad_image_headers(tiny: Path, content: bytes, message: str):
    path = tiny / "walk/view_00/01.png"
    path.write_bytes(content)
    with pytest.raises(DimoError, match=message) as caught:
        load(tiny)
    assert str(path) in str(caught.value)


def test_other_formats_and_frames_that_are_there_twice(tiny: Path):
    frame = tiny / "walk/view_00/01.png"
    Image.open(frame).save(frame.with_suffix(".webp"), lossless=True)
    with pytest.raises(DimoError, match=r"frame 1 twice: 01.png and 01.webp"):
        load(tiny)
    frame.unlink()
    assert load(tiny).sources["walk", "view_00", 1].path.name == "01.webp"
    frame.with_suffix(".webp").rename(frame.with_suffix(".bmp"))
    with pytest.raises(DimoError, match=r"01.bmp is not a PNG, JPEG or WebP"):
        load(tiny)


def test_a_folder_in_the_place_of_a_frame(tiny: Path):
    (tiny / "walk/view_00/01.png").unlink()
    (tiny / "walk/view_00/01.png").mkdir()
    with pytest.raises(DimoError, match="not a file"):
        load(tiny)


@pytest.mark.parametrize(
    "inner", ["walk", "walk/view_00", "walk/view_00/01.png", "motions.json", "tracks.npz", "walk/view_00/01_mask.npy"]
)
def test_links_that_leave_the_dataset(tiny: Path, tmp_path: Path, inner: str):
    outside = tmp_path / "outside"
    (tiny / inner).rename(outside) if (tiny / inner).exists() else outside.write_bytes(b"")
    (tiny / inner).symlink_to(outside)
    with pytest.raises(DimoError, match="leads out of the dataset"):
        load(tiny)


def test_links_within_the_dataset_and_to_it_are_followed(tiny: Path, tmp_path: Path):
    (tiny / "walk/view_00/01.png").unlink()
    (tiny / "walk/view_00/01.png").symlink_to("00.png")
    (tmp_path / "link").symlink_to(tiny)
    assert len(load(tmp_path / "link").sources) == 24


def test_a_circle_of_links(tiny: Path):
    (tiny / "walk/view_00/01.png").unlink()
    (tiny / "walk/view_00/01.png").symlink_to("01.png")
    with pytest.raises(DimoError):
        load(tiny)


def test_write_leaves_what_is_there(tiny: Path):
    before = {p: p.read_bytes() for p in tiny.rglob("*") if p.is_file()}
    with pytest.raises(DimoError, match="is not empty"):
        write_tiny(tiny)
    assert {p: p.read_bytes() for p in tiny.rglob("*") if p.is_file()} == before
    (tiny.parent / "file").write_text("x")
    with pytest.raises(DimoError, match=r"There is a file at .*file, where a folder"):
        write_tiny(tiny.parent / "file" / "set")
    with pytest.raises(DimoError, match="There is a file at"):
        write_tiny(tiny.parent / "file")


def test_write_into_an_empty_folder(tmp_path: Path):
    (tmp_path / "disc").mkdir()
    assert len(write_tiny(tmp_path / "disc").sources) == 24


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save, left = Image.Image.save, [5]

    def full(self, path, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DimoError, match="No space left on device"):
        write_tiny(tmp_path / "disc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (("swim", "view_00", 0, disc(0, 0, 0)), "not of a motion and view"),
        (("walk", "view_00", FRAMES, disc(0, 0, 0)), "not of a motion and view"),
        (("walk", "view_00", 0, disc(0, 0, 0)[:, :, :3]), "not uint8"),
        (("walk", "view_00", 0, disc(0, 0, 0, 16)), "not uint8"),
        (("walk", "view_00", 0, disc(0, 0, 0) / 255.0), "not uint8"),
    ],
)
def test_write_refuses_wrong_frames(tmp_path: Path, frame: tuple, message: str):
    with pytest.raises(DimoError, match=message):
        write_tiny(tmp_path / "disc", frames=[frame])
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_names_that_lead_out(tmp_path: Path):
    motions = [Motion("../x", "", "train", False, (0.0,))]
    with pytest.raises(DimoError, match="cannot name a motion"):
        write_tiny(tmp_path / "disc", motions=motions, frames=[])
    assert list(tmp_path.iterdir()) == []


def test_rgb_under_zero_alpha_is_not_stored(tmp_path: Path):
    """So that no decoder, resizer or compressor can bring hidden colours back."""
    frames = [
        (m, v, f, np.where(rgba[..., 3:] > 0, rgba, [9, 9, 9, 0]).astype(np.uint8)) for m, v, f, rgba in all_frames()
    ]
    data = write_tiny(tmp_path / "disc", frames=frames)
    np.testing.assert_array_equal(read_rgba(data.sources["jump", "view_01", 3]), disc(1, 1, 3))


def test_metadata_is_plain_json(tiny: Path):
    assert json.loads((tiny / "cameras.json").read_text())["w"] == SIZE
    assert [m["name"] for m in json.loads((tiny / "motions.json").read_text())["motions"]] == list(MOTIONS)


def json_places(value: object, at: tuple = ()) -> list[tuple]:
    """The way to every value inside a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [(*at, key), *json_places(inner, (*at, key))]]


VALUES = (None, True, -1, 0.5, 10**400, NAN, "", "..", [], [[]], {}, [None])
INTRINSICS = ("w", "h", "fl_x", "fl_y", "cx", "cy")
IGNORED = ("image", "alpha", "train_views", "test_views", "source", "attribution", "convention")


def with_value(document: Any, place: tuple, value: object) -> Any:
    """A copy of a JSON document with another value in one place."""
    changed = json.loads(json.dumps(document))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def is_allowed(place: tuple, value: Any, motions: Any) -> bool:
    """What docs/data.md allows in this place, of `VALUES`."""
    key, number = place[-1], type(value) in (int, float) and abs(value) < 10
    if key in ("object", "prompt", "license"):
        return isinstance(value, str)
    if key in ("fl_x", "fl_y", "playback_fps"):
        return number and value > 0
    if key in ("cx", "cy"):
        return number
    if key in ("azimuth_deg", "elevation_deg"):
        return number or value is None
    if key == "loop":
        return isinstance(value, bool)
    if key == "test_frames":
        return value == []
    if "times_s" in place and isinstance(key, int):
        times = with_value(motions, place, value)["motions"][place[1]]["times_s"]
        return number and all(a < b for a, b in pairwise(times))
    # Where a camera stands; another number in its rotation makes it none, in its last row no pose.
    return place[2:3] == ("c2w",) and len(place) == 5 and place[3] < 3 and key == 3 and number


def described(data: Dataset) -> dict[str, Any]:
    """All that the two files say of a dataset, in their own words, and which frames there are."""
    return {
        "object": data.object,
        "prompt": data.prompt,
        "license": data.licence,
        "frames": data.frames,
        "playback_fps": data.fps,
        "test_frames": list(data.test_frames),
        "motions": [asdict(motion) | {"times_s": list(motion.times_s)} for motion in data.motions],
        "views": [asdict(view) | {"c2w": view.c2w.tolist()} for view in data.views],
        "sources": [list(key) for key in sorted(data.sources)],
    }


@pytest.mark.parametrize("name", ["motions.json", "cameras.json"])
def test_any_value_anywhere_in_the_metadata(tmp_path: Path, name: str):
    """Whatever stands in whatever place: what is allowed changes that and nothing else, what is ignored nothing, and
    everything else is a DimoError that names file and field."""
    root = write_tiny(
        tmp_path / "disc",
        views=[orbit_view("view_00", "train", 0, 0, SIZE), orbit_view("test_00", "test", 240, 20, SIZE)],
        motions=[Motion(motion, motion, "train", True, (0.0, 0.1)) for motion in MOTIONS],
        frames=[frame for frame in all_frames() if frame[1] != "view_01" and frame[2] < 2],
    ).root
    documents = {file: json.loads((root / file).read_text()) for file in ("motions.json", "cameras.json")}
    before = described(load(root))
    for place in json_places(documents[name]):
        for value in VALUES:
            (root / name).write_text(json.dumps(with_value(documents[name], place, value)))
            if place[0] in IGNORED:
                assert described(load(root)) == before, (place, value)
            elif is_allowed(place, value, documents["motions.json"]):
                expected = before
                for changed in [("views", i, *place) for i in range(2)] if place[0] in INTRINSICS else [place]:
                    expected = with_value(expected, changed, value)
                assert described(load(root)) == expected, (place, value)
            else:
                with pytest.raises(DimoError) as caught:
                    load(root)
                field = next(key for key in reversed(place) if isinstance(key, str))
                assert name in str(caught.value), (place, value)
                assert re.search(rf"'{field}'|{field} \d", str(caught.value)), (place, value)


def test_trust_is_read_checked_and_kept(tiny: Path, edit, tmp_path: Path):
    """Of one view; the others have full trust, and a dataset that says nothing of it has the hash that it had."""
    before = load(tiny).hash
    edit("cameras.json", lambda d: d["views"][1].update(trust=0.25))
    data = load(tiny)
    assert [v.trust for v in data.views] == [1.0, 0.25, 1.0]
    assert data.hash != before
    assert [v.trust for v in convert(data, tmp_path / "again").views] == [1.0, 0.25, 1.0]
    edit("cameras.json", lambda d: d["views"][1].update(trust=1))
    assert load(tiny).hash == before
    for wrong in (0, -1, 1.5, "much", None):
        edit("cameras.json", lambda d, wrong=wrong: d["views"][1].update(trust=wrong))
        with pytest.raises(DimoError, match=r"view_01\): 'trust' is .*; expected"):
            load(tiny)


def test_an_object_elsewhere_is_placed_when_it_is_read(tiny: Path, edit):
    """Cameras at 2 from the origin are, for an object at (1, 0, 0) twice as large, half as far from it."""
    before = np.stack([v.c2w[:3, 3] for v in load(tiny).views])
    edit("cameras.json", lambda d: d.update(object={"centre": [1, 0, 0], "radius": 1.0}))
    data = load(tiny)
    np.testing.assert_allclose(np.stack([v.c2w[:3, 3] for v in data.views]), (before - [1, 0, 0]) / 2)
    assert any("at (1, 0, 0) with a radius of 1, is brought to the origin" in note for note in data.remarks)
    for wrong in ({"centre": [1, 2]}, {"radius": 0}, {"middle": [0, 0, 0]}, [1, 2, 3], {"centre": [1, 2, "x"]}):
        edit("cameras.json", lambda d, wrong=wrong: d.update(object=wrong))
        with pytest.raises(DimoError, match=r"cameras\.json"):
            load(tiny)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("k1", -0.05, "'k1' is -0.05; expected 0: cameras are pinholes"),
        ("p2", 0.001, "'p2' is 0.001; expected 0"),
        ("distortion_params", [0, 0, 0.1, 0], "'distortion_params' is .*; expected 0"),
        ("camera_model", "OPENCV_FISHEYE", "'camera_model' is \"OPENCV_FISHEYE\"; expected one of PINHOLE"),
        ("camera_model", 7, "'camera_model' is 7; expected one of PINHOLE"),
        ("c2w", [np.eye(4).tolist()] * 4, "'c2w' has a pose for each frame; .*cameras that move are not read"),
        ("frames", [{"c2w": np.eye(4).tolist()}], "'frames' has a pose for each frame"),
        ("poses", [np.eye(4).tolist()[:3]] * 4, "'poses' has a pose for each frame"),
    ],
)
def test_cameras_that_are_no_pinholes_or_move_are_refused(tiny: Path, edit, field: str, value: object, message: str):
    edit("cameras.json", lambda d: d["views"][1].update({field: value}))
    with pytest.raises(DimoError, match=rf"view_01\): {message}"):
        load(tiny)


def test_fields_of_cameras_that_are_not_read_are_named(tiny: Path, edit):
    def change(data: dict) -> None:
        data.update(near=0.1, fovy_deg=33.9, k1=0, camera_model="OPENCV")
        for view in data["views"]:
            view["exposure"] = 1.0

    edit("cameras.json", change)
    assert "Fields of cameras.json are not read: near, exposure." in load(tiny).remarks


def test_a_transposed_pose_is_called_so(tiny: Path, edit):
    edit("cameras.json", lambda d: d["views"][0].update(c2w=np.array(d["views"][0]["c2w"]).T.tolist()))
    with pytest.raises(DimoError, match="expected a last row of 0 0 0 1: it is transposed"):
        load(tiny)
