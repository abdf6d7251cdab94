"""Folders of frames: how these may be named and numbered, which masks are theirs, and what of the rest is said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns import cli
from dimo_ns.data.check import check
from dimo_ns.data.format import load
from dimo_ns.data.images import read_rgba
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import FRAMES, MOTIONS, SIZE, VIEWS, disc


def renamed(root: Path, name: Callable[[int], str], motions: tuple[str, ...] = MOTIONS) -> Path:
    """The tiny dataset with other names of its frames."""
    for motion in motions:
        for view in VIEWS:
            for f in reversed(range(FRAMES)):
                (root / motion / view / f"{f:02d}.png").rename(root / motion / view / name(f))
    return root


@pytest.mark.parametrize("digits", [1, 2, 4, 6, 7, 8, 16])
@pytest.mark.parametrize("ending", ["png", "PNG"])
def test_any_number_of_digits_is_a_number(tiny: Path, digits: int, ending: str):
    data = load(renamed(tiny, lambda f: f"{f:0{digits}d}.{ending}"))
    assert len(data.sources) == 2 * 3 * FRAMES
    assert data.notes == ()
    np.testing.assert_array_equal(read_rgba(data.sources["jump", "view_01", 3]), disc(1, 1, 3))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (lambda f: f"{f + 1:04d}.png", "numbered from 1 to 4; expected 0 to 3"),
        (lambda f: f"{f + 1001}.png", "numbered from 1001 to 1004; expected 0 to 3"),
        (lambda f: f"{5 * f}.png", "numbered from 0 to 15, 5 apart; expected 0 to 3"),
        (lambda f: f"{1_700_000_000_000 + 33 * f}.png", "33 apart; expected 0 to 3"),
    ],
)
def test_frames_that_are_numbered_otherwise_are_said_for_what_they_are(
    tiny: Path, name: Callable[[int], str], said: str, capsys: pytest.CaptureFixture
):
    """By `dimo data check` too, which fails; not by a training that finds nothing in frame 0 and blames the masks."""
    renamed(tiny, name)
    with pytest.raises(DimoError, match=said) as caught:
        load(tiny)
    assert str(tiny / "walk" / "view_00") in str(caught.value)
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "check", str(tiny)])
    assert ended.value.code == 2
    assert "Rename them, so that the first is 00" in capsys.readouterr().err


def test_one_camera_that_counts_from_1_is_said_too(tiny: Path):
    """It would be a frame behind all others."""
    for f in reversed(range(FRAMES)):
        (tiny / f"jump/view_01/{f:02d}.png").rename(tiny / f"jump/view_01/{f + 1:02d}.png")
    with pytest.raises(DimoError, match=r"jump/view_01 are numbered from 1 to 4"):
        load(tiny)


def test_frames_that_are_lost_or_too_many_are_no_other_numbering(tiny: Path):
    """The first frame of a view, the last of another, and one too many are problems, and no more than that."""
    (tiny / "walk/view_00/00.png").unlink()
    (tiny / "walk/view_01/03.png").rename(tiny / "walk/view_01/07.png")
    Image.fromarray(disc(0, 0, 0)).save(tiny / "jump/view_00/04.png")
    said = " ".join(load(tiny).problems)
    assert "walk/view_00 (1 of 4), walk/view_01 (1 of 4)" in said
    assert "walk/view_01 has frames from 7 on" in said
    assert "jump/view_00 has frames from 4 on" in said


def test_names_that_are_no_numbers_are_said(tiny: Path):
    renamed(tiny, lambda f: f"frame_{f}.png")
    with pytest.raises(DimoError, match=r"has no frames in .*walk \(there are view_00/frame_0.png, .* and 9 more\)"):
        load(tiny)


def white(root: Path) -> None:
    """Every picture becomes one of a white object over white."""
    for path in root.rglob("*.png"):
        Image.new("RGB", (SIZE, SIZE), "white").save(path)


@pytest.mark.parametrize("name", ["{:02d}_mask.png", "{:02d}_mask.npy", "{:04d}_mask.jpg", "{}_mask.PNG"])
def test_masks_beside_the_pictures(tiny: Path, name: str):
    """By the frame's number, however many digits the mask's name has."""
    white(tiny)
    for m, motion in enumerate(MOTIONS):
        for v, view in enumerate(VIEWS):
            for f in range(FRAMES):
                path, mask = tiny / motion / view / name.format(f), disc(m, v, f)[..., 3]
                np.save(path, mask) if path.suffix == ".npy" else Image.fromarray(mask).save(path, quality=100)
    report = check(tiny)
    assert report.ok
    assert report.dataset.notes == ()
    found = read_rgba(report.dataset.sources["jump", "test_00", 1])
    np.testing.assert_allclose(found[..., 3].astype(int), disc(1, 2, 1)[..., 3], atol=12 if "jpg" in name else 0)
    assert (found[found[..., 3] == 255, :3] == 255).all()


def test_a_changed_mask_is_another_dataset(tiny: Path):
    before = load(tiny).hash
    Image.new("L", (SIZE, SIZE)).save(tiny / "walk/view_00/00_mask.png")
    black = load(tiny).hash
    Image.new("L", (SIZE, SIZE), "white").save(tiny / "walk/view_00/00_mask.png")
    assert len({before, black, load(tiny).hash}) == 3


def test_two_masks_of_one_frame_are_refused(tiny: Path):
    for name in ("00_mask.png", "0_mask.png"):
        Image.new("L", (SIZE, SIZE)).save(tiny / "walk/view_00" / name)
    with pytest.raises(DimoError, match=r"has mask of frame 0 twice: 00_mask.png and 0_mask.png"):
        load(tiny)


@pytest.mark.parametrize("name", ["mask_00.png", "00_depth.png", "07_mask.png", "masks", "00.npy", "thumbnail.bmp"])
def test_what_is_passed_over_is_said(tiny: Path, name: str):
    path = tiny / "walk/view_00" / name
    np.save(path, np.zeros(3)) if path.suffix == ".npy" else None
    path.mkdir() if not path.suffix else Image.new("L", (SIZE, SIZE)).save(path) if path.suffix != ".npy" else None
    data = load(tiny)
    assert (len(data.sources), data.problems) == (24, ())
    assert data.remarks == (f"Passed over, as they are no frames of a view or masks of one: walk/view_00/{name}.",)


def test_folders_of_no_camera_are_said(tiny: Path):
    (tiny / "walk/view_77").mkdir()
    assert any("walk/view_77" in remark for remark in load(tiny).remarks)


@pytest.mark.parametrize("name", ["._00.png", ".DS_Store", "00.json", "00.txt", "Thumbs.db", ".thumbnails/00.png"])
def test_what_is_nobodys_picture_is_not_worth_a_word(tiny: Path, name: str):
    path = tiny / "walk/view_00" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0")
    assert load(tiny).notes == ()


def test_depth_beside_a_picture_is_not_taken_for_it(tiny: Path):
    """Blender writes 00.exr beside 00.png; alone, it would be a frame that cannot be read."""
    for ending in ("exr", "tif"):
        (tiny / f"walk/view_00/00.{ending}").write_bytes(b"\0")
    assert len(load(tiny).sources) == 24
    (tiny / "walk/view_00/00.png").unlink()
    with pytest.raises(DimoError, match=r"00.tif is not a PNG, JPEG or WebP"):
        load(tiny)
