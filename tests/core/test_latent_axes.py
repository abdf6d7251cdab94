"""The axes and the map of latents whose axes are known."""

import math

import numpy as np
import pytest
import torch

from dimo_ns.core.latent_axes import LatentAxes, LatentMap
from dimo_ns.core.latents import MotionLatents


def some_latents(mu: list[list[float]] | torch.Tensor, variance: list[float] | float) -> MotionLatents:
    mu = torch.as_tensor(mu)
    latents = MotionLatents(*mu.shape)
    with torch.no_grad():
        latents.mu.copy_(mu)
        latents.logvar.copy_(torch.as_tensor(variance).log().expand_as(mu))
    return latents


CROSS = some_latents([[4.0, 2.0, 0.0], [-2.0, 2.0, 0.0], [1.0, 4.0, 0.0], [1.0, 0.0, 0.0]], [0.5, 0.25, 0.09])
"""Around (1, 2, 0): 3 to either side along x, 2 along y; posteriors of known widths."""


def test_the_axes_of_a_cross_are_its_arms_with_the_posteriors_added():
    # Variance of the means along x: (9 + 9 + 0 + 0) / 4 = 4.5; along y: (4 + 4) / 4 = 2; along z: 0.
    found = LatentAxes.of(CROSS)
    torch.testing.assert_close(found.centre, torch.tensor([1.0, 2.0, 0.0]))
    torch.testing.assert_close(found.axes, torch.eye(3))  # plus is plus
    torch.testing.assert_close(found.sigmas.square(), torch.tensor([5.0, 2.25, 0.09]))


def test_one_sigma_along_an_axis_is_that_far_from_where_one_was():
    z = torch.tensor([0.0, 0.0, 7.0])
    moved = LatentAxes.of(CROSS).shifted(z, torch.tensor([1.0, -2.0]))
    torch.testing.assert_close(moved, torch.tensor([math.sqrt(5.0), -2 * 1.5, 7.0]))


def test_axes_are_those_of_numpys_covariance_and_orthonormal():
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(9, 6, generator=generator)
    latents = some_latents(mu, 0.02)
    found = LatentAxes.of(latents)
    torch.testing.assert_close(found.axes @ found.axes.T, torch.eye(6), atol=1e-5, rtol=0)
    covariance = np.cov(mu.numpy().T, bias=True) + 0.02 * np.eye(6)
    np.testing.assert_allclose(found.sigmas.square(), np.linalg.eigvalsh(covariance)[::-1], rtol=1e-4)
    rebuilt = found.axes.T @ found.sigmas.square().diag() @ found.axes
    np.testing.assert_allclose(rebuilt, covariance, atol=1e-5)
    direction = torch.nn.functional.normalize(torch.randn(1, 6, generator=generator), dim=-1)
    expected = math.sqrt(direction.double().numpy()[0] @ covariance @ direction.double().numpy()[0])
    assert float(found.sigmas_along(direction)) == pytest.approx(expected, rel=1e-5)


def test_signs_do_not_depend_on_which_way_the_solver_turned():
    turned = some_latents(-CROSS.mu.detach(), [0.5, 0.25, 0.09])
    assert torch.equal(LatentAxes.of(turned).axes, LatentAxes.of(CROSS).axes)


def test_the_map_of_a_cross_holds_its_arms_and_a_sigma_around_them():
    # All four lie in one plane, of which the map is: x from 1 - 3 to 1 + 3, y from 2 - 2 to 2 + 2.
    found = LatentMap.of(CROSS)
    torch.testing.assert_close(found.plane, torch.eye(2, 3), atol=1e-5, rtol=0)
    reach = torch.tensor([3 + math.sqrt(5.0), 2 + 1.5])
    torch.testing.assert_close(found.high, reach, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.low, -reach, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.places[0], torch.tensor([0.5 + 3 / (2 * float(reach[0])), 0.5]))
    torch.testing.assert_close(found.place(found.centre), torch.tensor([0.5, 0.5]))


def test_at_a_motions_place_there_is_that_motion_and_every_place_is_led_to():
    generator = torch.Generator().manual_seed(1)
    found = LatentMap.of(some_latents(torch.randn(12, 8, generator=generator), 0.01))
    for z, place in zip(found.mu, found.places, strict=True):
        torch.testing.assert_close(found.latent_at(place), z, atol=1e-5, rtol=0)
    for place in torch.rand(20, 2, generator=generator):
        torch.testing.assert_close(found.place(found.latent_at(place)), place, atol=1e-5, rtol=0)


def test_off_the_plane_weights_fall_with_the_fourth_power_of_the_distance():
    # Two motions on the plane's x axis at 0 and 3, off it by 0 and 17: at 1, their weights are as 1 / 1 and 1 / 16.
    where = LatentMap(
        torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 17.0]]), torch.zeros(3), torch.eye(2, 3),
        torch.tensor([-1.0, -1.0]), torch.tensor([4.0, 1.0]),
    )  # fmt: skip
    torch.testing.assert_close(where.latent_at(torch.tensor([0.4, 0.5])), torch.tensor([1.0, 0.0, 1.0]))


def test_no_two_of_many_motions_fall_together_on_the_map():
    """Five latents of equal length along five axes are as on a pentagon; on any two axes three are one."""
    found = LatentMap.of(some_latents(torch.eye(5, 8), 1.0))
    side = 2 * math.sqrt(2 / 5) * math.sin(math.pi / 5)  # a regular pentagon whose five squared radii sum to 2
    assert float(torch.pdist(found.coordinates(found.mu)).min()) > 0.9 * side


@pytest.mark.parametrize(("motions", "dim"), [(1, 8), (2, 8), (3, 1), (1, 1)])
def test_few_motions_and_few_dimensions_have_a_map(motions: int, dim: int):
    found = LatentMap.of(some_latents(torch.randn(motions, dim, generator=torch.Generator().manual_seed(2)), 0.04))
    for place, z in zip(found.places, found.mu, strict=True):
        torch.testing.assert_close(found.latent_at(place), z, atol=1e-5, rtol=0)
    assert torch.isfinite(found.latent_at(torch.tensor([0.3, 0.6]))).all()


def test_the_map_of_a_plane_keeps_its_distances_and_a_single_motion_is_in_the_middle():
    plane, _ = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    points = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    latents = some_latents(points @ plane.T + 3, 1e-9)
    found, axes = LatentMap.of(latents), LatentAxes.of(latents)
    apart = found.coordinates(found.mu)
    torch.testing.assert_close(torch.cdist(apart, apart), torch.cdist(points, points), atol=1e-4, rtol=0)
    share = axes.sigmas_along(found.plane).square().sum() / axes.sigmas.square().sum()
    assert float(share) == pytest.approx(1.0, abs=1e-5)  # of the variance, all is on the map
    assert LatentMap.of(some_latents(torch.ones(1, 8), 0.1)).places.tolist() == [[0.5, 0.5]]


def test_motions_that_are_the_same_share_their_place():
    found = LatentMap.of(some_latents(torch.ones(3, 4), 0.04))
    torch.testing.assert_close(found.places, torch.full((3, 2), 0.5))
    torch.testing.assert_close(found.latent_at(torch.tensor([0.5, 0.5])), torch.ones(4))
