"""The one render call against an independent renderer, and what it adds to it: depth, normals, backgrounds, batches."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.core.types import Gaussians
from dimo_ns.errors import DimoError
from dimo_ns.rasterize import rasterization
from dimo_ns.rasterize.render import facing_normals, render
from tests.rasterize import raster_oracle

H, W = 37, 50


def some_gaussians(*batch: int, count: int = 60) -> Gaussians:
    """Poses of one object: what does not move has no batch axes."""
    means, quats, scales, opacities, colors = (x.float() for x in raster_oracle.cloud(*batch, N=count))
    rest = (x.reshape(-1, *x.shape[len(batch) :])[0] for x in (scales, opacities, colors))
    return Gaussians(means, torch.nn.functional.normalize(quats, dim=-1), *rest)


def some_cameras(*batch: int) -> Cameras:
    viewmats, Ks = raster_oracle.look_around(batch, W, H)
    return Cameras(viewmats.float(), Ks.float(), (H, W))


def facing(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    return facing_normals(gaussians.means, gaussians.quats, gaussians.scales, cameras.centres)


def disc(normal: tuple[float, float, float]) -> Gaussians:
    """One opaque, flat Gaussian at the origin whose shortest axis, z, is turned to this direction."""
    z, n = torch.tensor([0.0, 0.0, 1.0]), torch.nn.functional.normalize(torch.tensor(normal), dim=-1)
    quat = torch.cat([(1 + z @ n)[None], torch.linalg.cross(z, n)])
    quat = torch.nn.functional.normalize(quat, dim=-1)
    scales = torch.tensor([[0.1, 0.1, 0.01]])
    return Gaussians(torch.zeros(1, 3), quat[None], scales, torch.tensor([0.95]), torch.tensor([[1.0, 0.5, 0.0]]))


def test_colours_alpha_and_depth_are_the_oracles():
    gaussians, cameras = some_gaussians(2), some_cameras(2, 3)
    rendered = render(gaussians, cameras, depth=True)
    splats = (x.double() for x in gaussians.splats())
    expected, alpha = raster_oracle.render(*splats, cameras.viewmats.double(), cameras.Ks.double(), W, H)
    torch.testing.assert_close(rendered.color.double(), expected[..., :3], atol=1e-4, rtol=0)
    torch.testing.assert_close(rendered.alpha.double(), alpha, atol=1e-4, rtol=0)
    assert rendered.depth is not None
    torch.testing.assert_close(rendered.depth.double() * alpha, expected[..., 3:] * alpha, atol=1e-3, rtol=0)
    assert rendered.normal is None
    projected = torch.stack([cameras[b].project(gaussians.means[b]) for b in range(2)])
    torch.testing.assert_close(rendered.means2d, projected[..., :2], atol=1e-3, rtol=1e-4)


def test_nothing_is_copied_for_a_batch_and_nothing_is_lost():
    """Each pose of a batch is rendered as if it were alone, and gradients of what they share are summed over them."""
    gaussians, cameras = some_gaussians(3), some_cameras(3, 2)
    shared = gaussians.colors.requires_grad_()
    together = render(gaussians, cameras, depth=True, normals=facing(gaussians, cameras))
    together.color.square().sum().backward()
    gradient, shared.grad = shared.grad, None
    assert gaussians.splats()[4].data_ptr() == shared.data_ptr()
    for b in range(3):
        one = replace(gaussians, means=gaussians.means[b], quats=gaussians.quats[b])
        alone = render(one, cameras[b], normals=facing(one, cameras[b]))
        torch.testing.assert_close(together.color[b], alone.color, atol=1e-6, rtol=0)
        torch.testing.assert_close(together.normal[b], alone.normal, atol=1e-6, rtol=0)
        alone.color.square().sum().backward()
    torch.testing.assert_close(gradient, shared.grad, atol=1e-4, rtol=1e-4)


def test_extra_channels_change_nothing_of_the_picture():
    gaussians, cameras = some_gaussians(), some_cameras(2)
    plain, full = render(gaussians, cameras), render(gaussians, cameras, depth=True, normals=facing(gaussians, cameras))
    assert plain.depth is None
    torch.testing.assert_close(plain.color, full.color, atol=1e-6, rtol=0)
    torch.testing.assert_close(plain.alpha, full.alpha, atol=1e-6, rtol=0)
    assert full.depth.shape == (2, H, W, 1)
    assert full.normal.shape == (2, H, W, 3)


@pytest.mark.parametrize("normal", [(1.0, 0.0, 0.0), (0.6, 0.0, 0.8), (1.0, -0.5, 0.2)])
def test_normals_face_each_camera(normal):
    """From +x the disc is seen on the side whose normal points to +x, from -x on the other; in the world's frame."""
    cameras = orbit(torch.tensor([0.0, 180.0]), 0.0, (64, 64))
    rendered = render(disc(normal), cameras, normals=facing(disc(normal), cameras))
    n = torch.nn.functional.normalize(torch.tensor(normal), dim=-1)
    assert torch.equal(rendered.normal[0, 0, 0], torch.zeros(3))  # nothing is seen in the corner
    for seen, alpha, expected in zip(rendered.normal, rendered.alpha, (n, -n), strict=True):
        torch.testing.assert_close(seen[32, 32] / alpha[32, 32], expected, atol=1e-5, rtol=0)
    assert facing(disc(normal), cameras).shape == (2, 1, 3)


def test_depth_is_that_of_the_surface_along_the_cameras_axis():
    """The middle of the object is at the distance of the cameras, 2, wherever in the picture it is seen."""
    moved = replace(disc((1.0, 0.0, 0.0)), means=torch.tensor([[0.0, 0.3, 0.0]]))
    rendered = render(moved, orbit(torch.tensor([0.0]), 0.0, (64, 64)), depth=True)
    drawn = rendered.alpha[0, ..., 0] > 0.3
    assert 20 < drawn.sum() < 64 * 64 / 2
    torch.testing.assert_close(rendered.depth[0, drawn], torch.full((int(drawn.sum()), 1), 2.0), atol=1e-4, rtol=0)


def test_over_is_what_the_rasterizer_composites_over_a_background():
    gaussians, cameras = some_gaussians(2), some_cameras(2, 2)
    colour = torch.tensor([0.2, 0.4, 0.9])
    expected, _, _ = rasterization(
        *gaussians.splats(), cameras.viewmats, cameras.Ks, W, H, backgrounds=colour.expand(2, 2, 3)
    )
    rendered = render(gaussians, cameras)
    torch.testing.assert_close(rendered.over(colour), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(rendered.over(), rendered.color + 1 - rendered.alpha)
    torch.testing.assert_close(rendered.over(0.0), rendered.color)


def test_how_each_centre_is_pulled_can_be_kept():
    gaussians, cameras = some_gaussians(2), some_cameras(2, 3)
    gaussians.means.requires_grad_()
    rendered = render(gaussians, cameras)
    rendered.means2d.retain_grad()
    rendered.color.mean().backward()
    assert rendered.means2d.grad.shape == (2, 3, 60, 2)
    assert rendered.means2d.grad.abs().max() > 0


def test_more_blur_makes_small_gaussians_larger():
    tiny = replace(disc((1.0, 0.0, 0.0)), scales=torch.full((1, 3), 1e-3))
    cameras = orbit(torch.tensor([0.0]), 0.0, (64, 64))
    assert render(tiny, cameras, eps2d=4.0).alpha.sum() > 2 * render(tiny, cameras).alpha.sum()


def test_tensors_on_two_devices_are_refused_before_anything_is_computed():
    with pytest.raises(DimoError, match=r"^render: gaussians on cpu and viewmats on meta; all .* on one device\.$"):
        render(some_gaussians(), some_cameras(2).to("meta"))
