"""The visual hull of a sphere, whose silhouettes are known exactly, and the paper's ball."""

import math

import pytest
import torch
import torch.nn.functional as F

from dimo_ns.core.cameras import orbit_c2w, viewmats_from_c2w
from dimo_ns.core.gaussians import gaussians_in_ball, gaussians_on
from dimo_ns.errors import DimoError
from dimo_ns.tracking.hull import EXTENT, hull_surface, inside_hull

SIZE, FOCAL, DISTANCE, RADIUS, RESOLUTION = 128, 200.0, 2.0, 0.35, 48
CELL = 2 * EXTENT / RESOLUTION
PIXEL = DISTANCE / FOCAL


def cameras(views: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    elevations = torch.tensor([0.0, 35.0, -35.0, 70.0])[torch.arange(views) % 4]
    viewmats = viewmats_from_c2w(orbit_c2w(torch.arange(views) * 360.0 / views, elevations, DISTANCE))
    K = torch.tensor([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    return viewmats, K.expand(views, 3, 3)


def sphere_masks(views: int = 8) -> torch.Tensor:
    """A camera that looks at a sphere's centre sees a disc, bounded by the cone of tangents."""
    radius = FOCAL * RADIUS / math.sqrt(DISTANCE**2 - RADIUS**2)
    at = torch.arange(SIZE) + 0.5 - SIZE / 2
    return (at[:, None] ** 2 + at**2 <= radius**2).float().expand(views, -1, -1)


def directions(count: int = 400) -> torch.Tensor:
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=-1)


def surface(alpha: torch.Tensor | None = None, count: int = 3000, seed: int = 0) -> torch.Tensor:
    masks = sphere_masks() if alpha is None else alpha
    return hull_surface(masks, *cameras(), count, torch.Generator().manual_seed(seed), RESOLUTION)


def test_the_sphere_lies_in_its_hull_and_what_no_silhouette_covers_does_not():
    inner, outer = directions() * (RADIUS - PIXEL), torch.tensor([[0.55, 0, 0], [0, 0.55, 0], [0, 0, -0.55]])
    assert inside_hull(inner, sphere_masks(), *cameras()).all()
    assert not inside_hull(outer, sphere_masks(), *cameras()).any()


def test_points_behind_a_camera_or_beside_the_image_are_outside():
    viewmats, Ks = cameras(1)
    full = torch.ones(1, SIZE, SIZE)
    points = torch.tensor([[0.0, 0, 0], [3.0, 0, 0], [0, 2.0, 0]])  # the camera is at x = 2
    assert inside_hull(points, full, viewmats, Ks).tolist() == [True, False, False]


def test_hull_points_are_the_layer_around_the_sphere():
    # The hull of eight views contains the sphere and, there being only eight, a little more. A cell of the outer layer
    # has an empty neighbour, whose centre is outside the sphere: no point lies deeper than that.
    radii = surface().norm(dim=-1)
    deepest = RADIUS - PIXEL - 2 * math.sqrt(3) * CELL
    assert radii.min() > deepest
    assert radii.max() < 1.5 * RADIUS

    gaps = torch.cdist(directions() * RADIUS, surface(count=20000)).amin(-1)
    assert gaps.median() < CELL
    assert gaps.max() < 0.5 * RADIUS - CELL  # every direction has points, also where the hull bulges


def test_the_same_generator_gives_the_same_points():
    assert torch.equal(surface(seed=3), surface(seed=3))
    assert not torch.equal(surface(seed=3), surface(seed=4))
    assert surface(count=17).shape == (17, 3)


def test_views_with_empty_masks_do_not_count():
    masks = sphere_masks().clone()
    masks[5] = 0
    masks[6] = 0
    masks[6, :4, :4] = 0.2  # too faint to be an object
    others = [0, 1, 2, 3, 4, 7]
    viewmats, Ks = cameras()
    expected = hull_surface(
        masks[others], viewmats[others], Ks[others], 500, torch.Generator().manual_seed(0), RESOLUTION
    )
    assert torch.equal(surface(masks, count=500), expected)


def test_silhouettes_with_nothing_in_common_are_an_error():
    masks = sphere_masks().clone()
    masks[2] = 0
    masks[2, :4, :4] = 1  # a corner, where no other view sees anything
    with pytest.raises(DimoError, match="nothing in common; check that the poses"):
        surface(masks)


def test_a_reference_frame_that_shows_nothing_is_an_error():
    with pytest.raises(DimoError, match="shows nothing in any view"):
        surface(torch.zeros(8, SIZE, SIZE))


def test_gaussians_on_points_just_cover_their_gaps():
    axis = torch.arange(4) * 0.1
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    g = gaussians_on(lattice)()
    assert torch.equal(g.means, lattice)
    torch.testing.assert_close(g.scales, torch.full((64, 3), 0.08))
    torch.testing.assert_close(g.opacities, torch.full((64,), 0.5))
    assert (g.colors == 0.5).all()


def test_the_papers_points_are_uniform_in_a_ball_and_repeatable():
    gaussians = gaussians_in_ball(2000, 0.5, 0.03, torch.Generator().manual_seed(0))
    g = gaussians()
    share = g.means.detach().norm(dim=-1) / 0.5

    assert (share <= 1 + 1e-6).all()
    assert float((share**3).mean()) == pytest.approx(0.5, abs=0.04)  # by volume; six standard errors
    assert float(g.means.detach().mean(0).norm()) < 0.03
    torch.testing.assert_close(g.scales, torch.full((2000, 3), 0.03))
    torch.testing.assert_close(g.opacities, torch.full((2000,), 0.05))
    again = gaussians_in_ball(2000, 0.5, 0.03, torch.Generator().manual_seed(0))
    assert torch.equal(gaussians.means, again.means)
