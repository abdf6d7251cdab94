"""Cameras of views: those that the views describe, in the size that is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dimo_ns.core.cameras import orbit
from dimo_ns.data.dataset import View, cameras_of, orbit_view
from dimo_ns.errors import DimoError

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
