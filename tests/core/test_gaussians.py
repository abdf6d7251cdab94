"""Canonical Gaussians: activations, selection, and the adaptive init around key points."""

import torch
import torch.nn.functional as F

from dimo_ns.core.gaussians import CanonicalGaussians, init_around_keypoints, spacing


def some_gaussians(count: int = 20) -> CanonicalGaussians:
    torch.manual_seed(0)
    return CanonicalGaussians(
        torch.randn(count, 3), torch.rand(count, 3) + 0.01, torch.rand(count) * 0.9 + 0.05, torch.rand(count, 3),
        3 * torch.randn(count, 4),
    )  # fmt: skip


def test_activations_give_back_what_was_put_in():
    torch.manual_seed(1)
    means, scales, opacities, colors = (
        torch.randn(9, 3),
        torch.rand(9, 3) + 0.01,
        torch.rand(9) * 0.9 + 0.05,
        torch.rand(9, 3),
    )
    quats = 5 * torch.randn(9, 4)
    g = CanonicalGaussians(means, scales, opacities, colors, quats)()

    assert torch.equal(g.means, means)
    assert torch.equal(g.colors, colors)
    torch.testing.assert_close(g.scales, scales)
    torch.testing.assert_close(g.opacities, opacities)
    torch.testing.assert_close(g.quats, F.normalize(quats, dim=-1))


def test_without_quaternions_they_are_upright():
    g = CanonicalGaussians.blank(3)()
    assert torch.equal(g.quats, torch.tensor([1.0, 0, 0, 0]).expand(3, 4))
    assert len(CanonicalGaussians.blank(7)) == 7


def test_parameters_do_not_share_memory_with_what_they_were_made_from():
    means = torch.zeros(4, 3)
    gaussians = CanonicalGaussians(means, torch.ones(4, 3), torch.full((4,), 0.5), torch.zeros(4, 3))
    means += 1
    assert (gaussians.means == 0).all()


def test_select_keeps_rows_bitwise_in_order_with_repeats():
    # Bitwise, since a round trip through exp and log at every pruning would drift.
    gaussians, rows = some_gaussians(), torch.tensor([7, 3, 3, 19, 0])
    chosen = gaussians.select(rows)

    assert len(chosen) == 5
    for name, value in gaussians.state_dict().items():
        assert torch.equal(chosen.state_dict()[name], value[rows]), name
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in chosen.parameters())


def test_select_of_nothing_is_empty():
    assert len(some_gaussians().select(torch.zeros(0, dtype=torch.long))) == 0


def test_spacing_of_a_lattice_is_its_constant():
    # Even a corner has three neighbours at one lattice constant.
    axis = torch.arange(5) * 0.2
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    torch.testing.assert_close(spacing(lattice), torch.full((125,), 0.2))


def test_spacing_of_coinciding_points_is_positive():
    assert (spacing(torch.zeros(5, 3)) > 0).all()  # its logarithm is a scale


def adaptive(per_keypoint: int = 500, seed: int = 0):
    keypoints = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0, 7, 0]])
    radii, colors = torch.tensor([0.1, 0.5, 2.0]), torch.eye(3)
    gaussians = init_around_keypoints(
        keypoints, radii, colors, per_keypoint, generator=torch.Generator().manual_seed(seed)
    )
    offsets = gaussians.means.detach().view(3, per_keypoint, 3) - keypoints[:, None]
    return gaussians, offsets, radii


def test_the_adaptive_init_fills_each_key_points_own_ball_uniformly():
    gaussians, offsets, radii = adaptive()
    share = offsets.norm(dim=-1) / radii[:, None]

    assert len(gaussians) == 1500
    assert (share <= 1 + 1e-6).all()
    # Uniform by volume: the cube of the relative distance is uniform in [0, 1], mean 1/2, standard error 0.013.
    torch.testing.assert_close((share**3).mean(-1), torch.full((3,), 0.5), atol=0.06, rtol=0)
    assert (offsets.mean(1).norm(dim=-1) / radii < 0.15).all()


def test_the_adaptive_init_draws_for_each_key_point_separately_and_repeatably():
    gaussians, offsets, radii = adaptive()
    relative = offsets / radii[:, None, None]
    assert (relative[0] - relative[1]).norm(dim=-1).min() > 1e-4
    assert (relative.norm(dim=-1).diff(dim=0).abs() > 1e-6).float().mean() > 0.99
    assert torch.equal(gaussians.means, adaptive()[0].means)
    assert not torch.equal(gaussians.means, adaptive(seed=1)[0].means)


def test_the_adaptive_init_takes_the_key_points_colours_and_scales_with_its_radius():
    gaussians, _, radii = adaptive()
    g = gaussians()
    scales = g.scales.view(3, 500, 3)

    assert torch.equal(g.colors.view(3, 500, 3), torch.eye(3)[:, None].expand(-1, 500, -1))
    torch.testing.assert_close(scales / radii[:, None, None], (scales[0, 0, 0] / 0.1).expand(3, 500, 3))
    torch.testing.assert_close(g.opacities, torch.full((1500,), 0.1))
