"""The density of latents is one: it integrates, draws what it says, and finds a mixture again from its draws."""

import math

import pytest
import torch

from dimo_ns.apps.latent_density import LatentDensity


def two_clusters() -> LatentDensity:
    return LatentDensity(
        torch.tensor([0.7, 0.3]).double(),
        torch.tensor([[0.0, 0.0], [4.0, 1.0]]).double(),
        torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[0.3, 0.0], [0.0, 0.5]]]).double(),
    )


def some_posteriors(motions: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(motions, dim, generator=generator)
    return mu, -5 + torch.randn(motions, dim, generator=generator)


def test_log_density_is_what_the_formula_says():
    mixture, z = two_clusters(), 2 * torch.randn(50, 2).double()
    density = torch.zeros(50).double()
    for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
        distance = ((z - mean) @ covariance.inverse() * (z - mean)).sum(1)
        density += weight * torch.exp(-distance / 2) / (2 * math.pi * covariance.det().sqrt())
    torch.testing.assert_close(mixture.log_prob(z), density.log().float(), atol=1e-5, rtol=1e-5)


def test_it_finds_a_mixture_again_from_its_draws():
    """In Kullback-Leibler divergence; that of one Gaussian with the mixture's own moments is 0.36 nats."""
    true, generator = two_clusters(), torch.Generator().manual_seed(1)
    found = LatentDensity.fit(true.sample(240, generator), torch.full((240, 2), -12.0))
    assert len(found.weights) == 2
    z = true.sample(4000, generator)
    assert float((true.log_prob(z) - found.log_prob(z)).mean()) < 0.05
    torch.testing.assert_close(found.weights.sort().values, true.weights.sort().values, atol=0.1, rtol=0)


def test_of_one_cluster_it_is_one_gaussian():
    z = 3 + torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    found = LatentDensity.fit(z, torch.full((40, 3), -12.0))
    assert len(found.weights) == 1
    torch.testing.assert_close(found.means[0], z.double().mean(0))


def test_its_total_variance_is_the_means_plus_the_posteriors():
    """The law of total variance, with the unbiased variance of the means: shrinkage moves it about but keeps it."""
    mu, logvar = some_posteriors(6, 12)
    found = LatentDensity.fit(mu, logvar)
    expected = mu.var(0).sum() + logvar.exp().mean(0).sum()
    torch.testing.assert_close(found.covariances[0].trace().float(), expected, rtol=1e-4, atol=0)


def test_where_no_two_motions_differ_there_is_nothing_but_the_posteriors():
    """Six motions that use five of twelve dimensions: in the others the variance is the posteriors' mean."""
    mu, logvar = some_posteriors(6, 12)
    mu[:, 5:] = 0.3
    found = LatentDensity.fit(mu, logvar)
    torch.testing.assert_close(found.covariances[0].diagonal()[5:].float(), logvar.exp().mean(0)[5:], rtol=1e-4, atol=0)
    torch.testing.assert_close(found.means[0, 5:].float(), torch.full((7,), 0.3))


@pytest.mark.parametrize("motions", [1, 3])
def test_of_one_motion_it_is_the_posterior(motions: int):
    """And of several that are the same."""
    mu, logvar = some_posteriors(1, 4)
    found = LatentDensity.fit(mu.expand(motions, -1), logvar.expand(motions, -1))
    torch.testing.assert_close(found.means[0].float(), mu[0])
    torch.testing.assert_close(found.covariances[0].float(), logvar[0].exp().diag())


def test_it_turns_with_the_space():
    """Latent axes have no meaning of their own: for round posteriors, the log density of turned latents under that
    of turned motions is the same."""
    mu, logvar = some_posteriors(9, 5)[0], torch.full((9, 5), -4.0)
    turn, z = torch.linalg.qr(torch.randn(5, 5))[0], torch.randn(20, 5)
    plain, turned = LatentDensity.fit(mu, logvar), LatentDensity.fit(mu @ turn.T, logvar)
    torch.testing.assert_close(plain.log_prob(z), turned.log_prob(z @ turn.T), atol=1e-3, rtol=1e-4)


def test_draws_have_its_moments_and_temperature_scales_their_offsets():
    true = two_clusters()
    z = true.sample(40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0).double(), true.weights @ true.means, atol=0.03, rtol=0)
    second = torch.einsum("k,kij->ij", true.weights, true.covariances + true.means[:, :, None] * true.means[:, None])
    torch.testing.assert_close((z.T @ z / len(z)).double(), second, atol=0.15, rtol=0)
    prior = LatentDensity.prior(3)
    warm, cool = (prior.sample(10, torch.Generator().manual_seed(5), temperature) for temperature in (2.0, 0.5))
    torch.testing.assert_close(warm, 4 * cool)
    assert float(prior.log_prob(torch.zeros(1, 3))) == pytest.approx(-1.5 * math.log(2 * math.pi))
