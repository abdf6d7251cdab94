"""How the object looks through a view with faults."""

import math

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebval2d

from dimo_ns.core.cameras import orbit
from dimo_ns.core.types import Gaussians
from dimo_ns.core.view_faults import DEGREE, DRIFTS, TERMS, ViewFaults, degrees, drifts, polynomials

SIZE = 48, 64
VIEWS, POSES, COUNT = 3, 2, 40
MOTION_IDS, VIEW_IDS = torch.tensor([1, 0]), torch.tensor([[0, 2], [1, 0]])
TIMES = torch.tensor([[0.0, 0.5], [0.25, 0.0]])


def some_gaussians() -> Gaussians:
    torch.manual_seed(0)
    means = 0.2 * torch.randn(POSES, COUNT, 3)
    quats = torch.nn.functional.normalize(torch.randn(POSES, COUNT, 4), dim=-1)
    return Gaussians(means, quats, torch.full((COUNT, 3), 0.02), torch.full((COUNT,), 0.5), torch.rand(COUNT, 3))


def some_cameras():
    return orbit(torch.tensor([0.0, 120.0, 240.0]), 10.0, SIZE)[VIEW_IDS]


def seen(faults: ViewFaults, g: Gaussians) -> Gaussians:
    return faults.seen(g, some_cameras(), MOTION_IDS, VIEW_IDS, TIMES)


def test_without_faults_every_view_shows_the_object_as_it_is():
    g = some_gaussians()
    found = seen(ViewFaults(2, VIEWS), g)
    assert torch.equal(found.means, g.means[:, None].expand(-1, 2, -1, -1))
    assert torch.equal(found.colors, g.colors.expand(POSES, 2, -1, -1))
    assert not ViewFaults(2, VIEWS).found


def test_a_displacement_moves_what_is_seen_by_so_many_pixels_and_no_nearer():
    """Constant over the picture and in time: 0.1 of half the longer side, 32 pixels, right; 0.05 up."""
    faults, g, cameras = ViewFaults(2, VIEWS), some_gaussians(), some_cameras()
    faults.displacement[1, 2, 0, 0, 0], faults.displacement[1, 2, 1, 0, 0] = 0.1, -0.05
    before = cameras.project(g.means[:, None])
    after = cameras.project(seen(faults, g).means)
    expected = torch.zeros_like(before)
    expected[0, 1] = torch.tensor([3.2, -1.6, 0.0])  # motion 1 in view 2: the first pose's second camera
    torch.testing.assert_close(after - before, expected, atol=1e-4, rtol=0)


def test_a_displacement_drifts_and_differs_over_the_picture():
    """cos(pi t) times x right: the farther to the right, the more, at first; nothing at half time."""
    faults, g, cameras = ViewFaults(2, VIEWS), some_gaussians(), some_cameras()
    x = (degrees() == 1).nonzero()[1, 0]  # terms are by powers of x, then of y
    faults.displacement[:, :, 0, 1, x] = 0.1
    before = cameras.project(g.means[:, None])
    moved = (cameras.project(seen(faults, g).means) - before)[..., 0]
    expected = 0.1 * (before[..., 0] - 32) * torch.cos(math.pi * TIMES)[..., None]
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=0)


def test_an_exposure_is_a_gain_of_each_colour():
    faults, g = ViewFaults(2, VIEWS), some_gaussians()
    faults.exposure[0, 1] = torch.tensor([1.1, 1.0, 0.9]).log()
    torch.testing.assert_close(seen(faults, g).colors[1, 0], g.colors * torch.tensor([1.1, 1.0, 0.9]))


def test_gradients_reach_the_object_as_if_the_displacement_were_fixed():
    faults, g = ViewFaults(2, VIEWS), some_gaussians()
    faults.displacement.normal_(0, 0.01)
    g.means.requires_grad_()
    seen(faults, g).means.sum().backward()
    torch.testing.assert_close(g.means.grad, torch.full_like(g.means, 2.0))  # each is seen by two cameras


def test_a_late_view_shows_what_was_before():
    faults = ViewFaults(1, 2)
    faults.clock[0, 1] = torch.tensor([-1.5, -0.1])
    found = faults.object_frames(11)[0]
    assert torch.equal(found[0], torch.arange(11.0))
    torch.testing.assert_close(found[1, [0, 10]], torch.tensor([-1.5, 7.5]))


def test_polynomials_are_chebyshevs_and_drifts_are_cosines():
    torch.manual_seed(0)
    places = 2 * torch.rand(50, 2) - 1
    found = polynomials(places)
    assert found.shape == (50, TERMS)
    pairs = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    for term, (i, j) in enumerate(pairs):
        only = np.zeros((DEGREE + 1, DEGREE + 1))
        only[i, j] = 1
        np.testing.assert_allclose(found[:, term], chebval2d(*places.T.numpy(), only), atol=1e-5)
        assert degrees()[term] == i + j
    torch.testing.assert_close(
        drifts(torch.tensor([0.0, 0.5])), torch.tensor([[1.0, 1, 1, 1], [1, 0, -1, 0]])[:, :DRIFTS], atol=1e-6, rtol=0
    )
