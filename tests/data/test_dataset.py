"""Cameras of views: those that the views describe, in the size that is asked for. Tracks: those of points alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dimo_ns.core.cameras import orbit
from dimo_ns.data.dataset import View, cameras_of, orbit_view
from dimo_ns.errors import DimoError
from dimo_ns.metrics.tracks import Truth
from tests.data.tiny_sets import FRAMES, write_tiny

VIEWS = [orbit_view(f"view_{i}", "train", 40.0 * i, 10.0 * i - 20, 48) for i in range(5)]


def test_cameras_of_orbit_views_are_orbit_cameras():
    expected = orbit(40.0 * torch.arange(5), 10.0 * torch.arange(5) - 20, (48, 48))
    cameras = cameras_of(VIEWS)
    assert cameras.size == (48, 48)
    assert cameras.viewmats.dtype == cameras.Ks.dtype == torch.float32
    torch.testing.assert_close(cameras.viewmats, expected.viewmats, atol=1e-6, rtol=0)
    torch.testing.assert_close(cameras.Ks, expected.Ks)


def test_intrinsics_are_scaled_in_double_precision_and_rounded_once():
    """48 x 48 shown as 20 wide and 30 high: x by 20/48, y by 30/48, whatever float32 makes of these on the way."""
    view = View("v", "train", 48, 48, 61.7, 50.3, 23.1, 25.9, np.eye(4))
    (K,) = cameras_of([view], (30, 20)).Ks
    expected = [[61.7 * (20 / 48), 0, 23.1 * (20 / 48)], [0, 50.3 * (30 / 48), 25.9 * (30 / 48)], [0, 0, 1]]
    assert torch.equal(K, torch.tensor(expected, dtype=torch.float32))


def test_views_of_several_sizes_are_refused_unless_a_size_is_given():
    views = [VIEWS[0], replace(VIEWS[1], w=64, h=32)]
    with pytest.raises(DimoError, match="one size were expected, and these have 48 x 48 and 64 x 32"):
        cameras_of(views)
    assert cameras_of(views, (24, 24)).Ks.shape == (2, 3, 3)
    with pytest.raises(DimoError, match="have none"):
        cameras_of([])


POINTS = 5
WRONG_TRACKS = {
    "not finite": ({"tracks": np.full((2, FRAMES, POINTS, 3), np.nan)}, "'tracks'.*not finite, or beyond 1e"),
    "far": ({"tracks": np.full((2, FRAMES, POINTS, 3), 3e38, np.float32)}, "'tracks'.*not finite, or beyond 1e"),
    "far at rest": ({"canonical": np.full((POINTS, 3), 1e20)}, "'canonical'.*beyond 1e"),
    "texts": ({"canonical": np.full((POINTS, 3), "x")}, r"'canonical' in .* are <U1\[5, 3\]; expected float\[5, 3\]"),
    "fewer points": ({"canonical": np.zeros((POINTS - 1, 3))}, r"'canonical' in .* are float64\[4, 3\]"),
}


@pytest.mark.parametrize("name", WRONG_TRACKS)
def test_tracks_that_are_no_places_of_points_are_refused(name: str, tmp_path: Path):
    wrong, words = WRONG_TRACKS[name]
    good = {"tracks": np.zeros((2, FRAMES, POINTS, 3)), "canonical": np.zeros((POINTS, 3))}
    with pytest.raises(DimoError, match=words):
        write_tiny(tmp_path / "disc", tracks=good | wrong).read_tracks()


def test_errors_of_points_that_are_all_in_one_place_are_refused(tmp_path: Path):
    """They are given in % of the diameter, which is none."""
    dataset = write_tiny(tmp_path / "disc", tracks={"tracks": np.zeros((2, FRAMES, POINTS, 3))})
    with pytest.raises(DimoError, match="those of a single point"):
        Truth.read(dataset)
