"""The layout of the method's authors."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.format import load
from dimo_ns.data.images import read_rgba
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import FRAMES, MOTIONS, disc, on_white


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """Two motions, three views, four frames on white, with masks for the first motion."""
    root = tmp_path / "authors"
    for m, motion in enumerate(MOTIONS):
        for v in range(3):
            folder = root / motion / f"view_{v:02d}"
            folder.mkdir(parents=True)
            for f in range(FRAMES):
                Image.fromarray(on_white(disc(m, v, f))).save(folder / f"{f:02d}.png")
                if m == 0:
                    np.save(folder / f"{f:02d}_mask.npy", disc(m, v, f)[..., 3] > 127)
    info = {"azimuths_deg": [0.0, 90.0, 200.0], "elevations_deg": [0, 30, -10], "input_videos": list(MOTIONS)}
    (root / "info.json").write_text(json.dumps(info))
    return root


def test_authors_layout(authors: Path):
    data = load(authors)
    assert (data.frames, len(data.views), [m.name for m in data.motions]) == (FRAMES, 3, list(MOTIONS))
    assert len(data.sources) == 2 * 3 * FRAMES
    np.testing.assert_array_equal(
        read_rgba(data.sources["walk", "view_01", 2])[..., 3], (disc(0, 1, 2)[..., 3] > 127) * 255
    )
    solid = disc(1, 1, 2)[..., 3] == 255
    np.testing.assert_array_equal(read_rgba(data.sources["jump", "view_01", 2])[solid], disc(1, 1, 2)[solid])


def test_authors_cameras(authors: Path):
    """Their azimuth 0 is our +x and 90 our +y; a positive elevation of theirs is below the object."""
    places = [v.c2w[:3, 3] for v in load(authors).views]
    down = np.radians(30)
    np.testing.assert_allclose(places[0], [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(places[1], [0, 2 * np.cos(down), -2 * np.sin(down)], atol=1e-12)
    assert places[2][2] > 0


def test_authors_layout_without_elevations(authors: Path):
    info = json.loads((authors / "info.json").read_text())
    del info["elevations_deg"]
    (authors / "info.json").write_text(json.dumps(info))
    assert all(v.elevation_deg == 0 for v in load(authors).views)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"azimuths_deg": []}, "at least one"),
        ({"azimuths_deg": [0, 1, float("nan")]}, "angles in degrees"),
        ({"elevations_deg": [0]}, "one per azimuth"),
        ({"input_videos": ["walk", "walk"]}, "two motions 'walk'"),
        ({"input_videos": ["../walk"]}, "folder names"),
        ({"input_videos": ["swim"]}, "no images"),
        ({"azimuths_deg": [0, 1, 2, 3], "elevations_deg": [0] * 4}, "no image of view_03"),
    ],
)
def test_bad_info(authors: Path, change: dict, message: str):
    info = json.loads((authors / "info.json").read_text())
    (authors / "info.json").write_text(json.dumps(info | change))
    with pytest.raises(DimoError, match=message):
        load(authors)


def test_authors_images_of_two_sizes(authors: Path):
    path = authors / "jump/view_01/02.png"
    Image.open(path).resize((16, 16)).save(path)
    with pytest.raises(DimoError, match=r"02.png is 16 x 16"):
        load(authors)


def test_frames_of_authors_that_count_from_1_are_said(authors: Path):
    """Else there would be one frame more, and nothing in the first."""
    for folder in sorted(authors.glob("*/view_*")):
        for f in reversed(range(FRAMES)):
            (folder / f"{f:02d}.png").rename(folder / f"{f + 1:02d}.png")
    with pytest.raises(DimoError, match=rf"numbered from 1 to {FRAMES}; expected 0 to {FRAMES - 1}"):
        load(authors)
