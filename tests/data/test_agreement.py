"""What disagrees between views before a training: put in, and found by about as much; nothing where views agree."""

import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor
from rich.console import Console

from dimo_ns.data.agreement import Agreement, measure
from dimo_ns.data.check import WORST, check, contact_sheet
from dimo_ns.data.creature.motions import CLIPS
from dimo_ns.data.creature.write import write_sample
from dimo_ns.data.format import load
from dimo_ns.data.frames import read_clip
from dimo_ns.data.samples import Samples, choose_moments

FRAMES, SIZE = 21, 96
MOTIONS = ("jump", "walk")


@pytest.fixture(scope="module")
def animal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = [clip for clip in CLIPS if clip.name in MOTIONS]
    return write_sample(tmp_path_factory.mktemp("sets") / "cub", size=SIZE, clips=clips).root


@cache
def pictures(root: Path) -> dict[tuple[str, str, int], np.ndarray]:
    dataset = load(root)
    return {
        (m.name, v.name, f): rgba for m in dataset.motions for v in dataset.views
        for f, rgba in read_clip(dataset, m.name, v.name) if isinstance(rgba, np.ndarray)
    }  # fmt: skip


def agreement(root: Path, change: Callable[[str, str, int], np.ndarray]) -> Agreement:
    """Of the animal with other pictures: change(motion, view, frame)."""
    dataset = load(root)
    samples = Samples(dataset, choose_moments(dataset, 10))
    for motion, view, frame in pictures(root):
        samples.add(motion, next(v for v in dataset.views if v.name == view), frame, change(motion, view, frame))
    return measure(samples)


def test_views_that_agree_are_not_blamed(animal: Path):
    found = agreement(animal, lambda *key: pictures(animal)[key])
    assert found.agrees
    assert found.sentences() == []
    assert found.outlines.max() < 0.02
    assert np.nanmax(found.colours) < 0.08
    report = check(animal)
    assert report.ok


def test_a_view_that_is_shifted_is_the_worst(animal: Path):
    """By two pixels to the side, of one motion."""

    def change(motion: str, view: str, frame: int) -> np.ndarray:
        rgba = pictures(animal)[motion, view, frame]
        return np.roll(rgba, 2, axis=1) if (motion, view) == ("walk", "view_04") else rgba

    found = agreement(animal, change)
    assert found.worst_names[0] == ("walk", "view_04")
    assert "most in the motion walk and in view_04" in found.sentences()[0]
    assert found.outlines[found.motions.index("jump")].max() < 0.02
    assert found.view_order()[0] == "view_04"


def test_a_view_that_is_late_is_late_by_so_many_frames(animal: Path):
    def change(motion: str, view: str, frame: int) -> np.ndarray:
        late = {"view_03": 2, "view_06": -1}.get(view, 0) if motion == "jump" else 0
        return pictures(animal)[motion, view, min(max(frame - late, 0), FRAMES - 1)]

    found = agreement(animal, change)
    jump = found.motions.index("jump")
    assert found.late[jump, 3] == pytest.approx(2, abs=0.5)
    assert found.late[jump, 6] == pytest.approx(-1, abs=0.5)
    assert np.isnan(found.late[found.motions.index("walk")]).all()  # which agrees: nothing is asked
    assert found.late[jump, [0, 1, 2, 4, 5, 7, 8]].tolist() == [0] * 7
    assert re.search(r"late (1\.[6-9]|2\.[0-4])", found.said_of("jump", "view_03"))


def test_a_view_of_another_colour_is_off_by_so_much(animal: Path):
    """The red of view 5 is a fifth darker: its logarithm is off by 0.22."""

    def change(motion: str, view: str, frame: int) -> np.ndarray:
        rgba = pictures(animal)[motion, view, frame].copy()
        if (motion, view) == ("walk", "view_05"):
            rgba[..., 0] = np.round(0.8 * rgba[..., 0])
        return rgba

    found = agreement(animal, change)
    walk = found.motions.index("walk")
    assert found.colours[walk, 5] == pytest.approx(0.2, abs=0.05)
    assert np.delete(found.colours[walk], 5).max() < 0.08
    assert not found.agrees
    assert found.worst_names == [("walk", "view_05")]


def test_the_report_and_the_contact_sheet_show_what_is_worst(animal: Path, tmp_path: Path):
    """The table has the worst view first, the sheet four of the other views, the worst one marked in red."""

    def change(motion: str, view: str, frame: int) -> np.ndarray:
        rgba = pictures(animal)[motion, view, frame]
        return np.roll(rgba, 3, axis=0) if (motion, view) == ("walk", "view_07") else rgba

    for motion, view, frame in pictures(animal):
        path = tmp_path / "cub" / motion / view / f"{frame:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(change(motion, view, frame)).save(path, compress_level=1)
    for name in ("motions.json", "cameras.json"):
        (tmp_path / "cub" / name).write_bytes((animal / name).read_bytes())
    report = check(tmp_path / "cub")
    assert report.agreement is not None
    file = io.StringIO()
    Console(width=200, file=file).print(report)
    header = next(line for line in file.getvalue().splitlines() if "view_07" in line and "motion" in line)
    assert header.index("view_07") < header.index("view_0", header.index("view_07") + 1)
    contact_sheet(report.dataset, tmp_path / "sheet.png", agreement=report.agreement)
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    marked = (sheet[..., :3] == ImageColor.getrgb(WORST)).all(-1)  # the colour of the words, which the animal has not
    left, right = np.split(marked, [sheet.shape[1] // 2], axis=1)
    assert right.any()
    assert not left.any()
