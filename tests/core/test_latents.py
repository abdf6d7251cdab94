"""Latents: the divergence against torch.distributions, and what a draw shares."""

import torch
from torch.distributions import Normal, kl_divergence

from dimo_ns.core.latents import MotionLatents


def some_latents(motions: int = 5, dim: int = 7) -> MotionLatents:
    torch.manual_seed(0)
    latents = MotionLatents(motions, dim)
    with torch.no_grad():
        latents.mu.normal_()
        latents.logvar.normal_()
    return latents


def test_kl_is_that_of_torch_and_zero_for_the_prior_itself():
    latents = some_latents()
    posterior = Normal(latents.mu, (0.5 * latents.logvar).exp())
    torch.testing.assert_close(latents.kl(), kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1))
    assert MotionLatents(3, 32).kl().tolist() == [0, 0, 0]  # mu 0, logvar 0 is how they begin


def test_inference_uses_the_mean():
    latents = some_latents()
    ids = torch.tensor([[3, 0], [3, 3]])
    assert torch.equal(latents.mean(ids), latents.mu[ids])


def test_rows_of_one_motion_share_one_draw_and_motions_do_not():
    latents = some_latents()
    z = latents.draw(torch.tensor([2, 4, 2, 2]))
    assert torch.equal(z[0], z[2])
    assert torch.equal(z[0], z[3])
    noise = (z - latents.mu[[2, 4, 2, 2]]) / (0.5 * latents.logvar[[2, 4, 2, 2]]).exp()
    assert (noise[0] != noise[1]).all()


def test_draws_have_the_posteriors_moments_and_scale_zero_is_the_mean():
    latents = some_latents()
    ids = torch.arange(5)
    draws = torch.stack([latents.draw(ids) for _ in range(4000)])
    sigma = (0.5 * latents.logvar).exp()
    assert ((draws.mean(0) - latents.mu).abs() < 5 * sigma / 4000**0.5).all()
    assert ((draws.std(0) / sigma - 1).abs() < 0.06).all()
    assert torch.equal(latents.draw(ids, scale=0.0), latents.mu)


def test_gradients_reach_mu_and_logvar_of_the_drawn_motions_only():
    latents = some_latents()
    latents.draw(torch.tensor([1, 3])).square().sum().backward()
    for gradient in (latents.mu.grad, latents.logvar.grad):
        assert gradient is not None
        assert (gradient[[1, 3]] != 0).all()
        assert (gradient[[0, 2, 4]] == 0).all()
