"""Cameras that are zoomed hold what they are made for; images are as high as suits that."""

import pytest
import torch

from dimo_ns.core.cameras import orbit
from dimo_ns.draw.close_ups import fitting_size, zoomed


def test_a_frame_holds_what_it_is_made_for_and_little_more():
    """Points of a box: from each camera they lie within the image, and fill it along one side but for the margin."""
    points = (torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.tensor([1.0, 0.4, 0.2])
    cameras = orbit(torch.tensor([0.0, 50.0]), 20.0, (200, 300))
    xy = zoomed(points[None], cameras).project(points)[..., :2]
    assert (xy.amin((0, 1)) > 0).all()
    assert (xy.amax((0, 1)) < torch.tensor([300, 200])).all()
    assert ((xy.amax((0, 1)) - xy.amin((0, 1))) / torch.tensor([300, 200])).max() > 0.85


def test_a_centred_camera_keeps_its_principal_point_and_still_holds_all():
    """Points that lie to one side: the object is smaller, but the camera still looks at the origin."""
    points = 0.2 * torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    cameras = orbit(torch.tensor([0.0, 120.0, 240.0]), 10.0, (100, 160))
    centred = zoomed(points[None], cameras, centred=True)
    assert torch.equal(centred.Ks[:, :2, 2], torch.tensor([[80.0, 50.0]]).expand(3, 2))
    xy = centred.project(points)[..., :2]
    assert ((xy > 0) & (xy < torch.tensor([160, 100]))).all()
    assert centred.Ks[0, 0, 0] < zoomed(points[None], cameras).Ks[0, 0, 0]


@pytest.mark.parametrize(("height", "expected"), [(1.0, 100), (0.8, 80), (0.1, 60), (9.0, 120)])
def test_images_are_as_high_as_what_they_show_but_neither_very_flat_nor_very_high(height, expected):
    """A far, flat box of width 1: seen from the front, its picture has its shape, between 0.6 and 1.2."""
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    points *= torch.tensor([1e-3, 1.0, height])
    camera = orbit(torch.tensor([0.0]), 0.0, (100, 100), distance=100.0)
    found = fitting_size(points[None], camera)
    assert found[1] == 100
    assert abs(found[0] - expected) <= 1
