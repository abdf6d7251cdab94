"""A density of latents: a mixture of Gaussians, fitted to the posteriors of the motions that a scene was trained on.

Few motions in many dimensions span a small part of latent space, and their posteriors are narrow: nothing else was ever
decoded in training. So the mixture is fitted within the span of the posteriors' means, and every component is widened
by the mean variance of its posteriors, which is all that there is in the other directions. How many components and how
much shrinkage: what gives motions that are left out the highest likelihood.

That span is not of the principal axes (core/latent_axes.py): those are of means and posteriors together, where here the
means have to be had apart from their posteriors, which are added to each component in all directions.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import one_hot

SHRINKAGES = (1.0, 3.0, 10.0, 30.0)
"""Tried: as many motions that would lie alike in all directions are added to every component."""
MOTIONS_PER_COMPONENT = 4
"""At least, on average."""
MAX_FOLDS, MAX_STEPS = 64, 30


@dataclass(eq=False)
class LatentDensity:
    """sum_k weights_k N(means_k, covariances_k), on the CPU in double precision."""

    weights: Float[Tensor, " k"]
    means: Float[Tensor, "k d"]
    covariances: Float[Tensor, "k d d"]

    @staticmethod
    def prior(dim: int) -> "LatentDensity":
        """N(0, I), what the posteriors are held to in training."""
        return LatentDensity(
            torch.ones(1).double(), torch.zeros(1, dim).double(), torch.eye(dim, dtype=torch.float64)[None]
        )

    @staticmethod
    @torch.no_grad()
    def fit(mu: Float[Tensor, "m d"], logvar: Float[Tensor, "m d"]) -> "LatentDensity":
        """The mixture for posteriors N(mu, exp(logvar)); of one motion, its own posterior."""
        mu, variance = mu.double().cpu(), logvar.double().cpu().exp()
        centre = mu.mean(0)
        _, sizes, directions = torch.linalg.svd(mu - centre, full_matrices=False)
        basis = directions[sizes > 1e-6 * mu.abs().max()]
        mixture = choose((mu - centre) @ basis.T)
        members = mixture.memberships[0]
        noise = (members.mT @ variance) / members.sum(0)[:, None]
        return LatentDensity(
            mixture.weights[0],
            centre + mixture.means[0] @ basis,
            basis.T @ mixture.covariances[0] @ basis + torch.diag_embed(noise),
        )

    @cached_property
    def factors(self) -> Float[Tensor, "k d d"]:
        """Lower triangular, of the covariances."""
        return torch.linalg.cholesky(self.covariances)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log density, in nats."""
        parts = MultivariateNormal(self.means, scale_tril=self.factors)
        return MixtureSameFamily(Categorical(self.weights), parts).log_prob(z.double().cpu()).float()

    def sample(self, n: int, generator: torch.Generator, temperature: float = 1.0) -> Float[Tensor, "n d"]:
        """Draws by a generator of the CPU, `temperature` times as far from the mean of their component."""
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        turned = torch.einsum("nij,nj->ni", self.factors[chosen], noise)
        return (self.means[chosen] + temperature * turned).float()


@dataclass(eq=False)
class Mixture:
    """Mixtures within the span of the means, one for each of f choices of points, and what belongs to what."""

    weights: Float[Tensor, "f k"]
    means: Float[Tensor, "f k r"]
    covariances: Float[Tensor, "f k r r"]
    memberships: Float[Tensor, "f m k"]

    def log_joint(self, points: Float[Tensor, "m r"]) -> Float[Tensor, "f m k"]:
        """Log density of each point together with each component."""
        factors = torch.linalg.cholesky(self.covariances)
        parts = MultivariateNormal(self.means[:, None], scale_tril=factors[:, None], validate_args=False)
        return parts.log_prob(points[:, None]) + self.weights.log()[:, None]


def choose(points: Float[Tensor, "m r"]) -> Mixture:
    """The mixture that is best at points that are left out, one at a time or, where there are many, a few.

    Its shrinkage is the best one; it has one component more only if that helps by more than the gain's standard error.
    """
    count = len(points)
    folds = min(count, MAX_FOLDS)
    left_out = torch.arange(count) % folds == torch.arange(folds)[:, None]
    everything, rest = torch.ones(1, count).to(points), (~left_out).to(points)
    best, best_scores = fit_mixture(points, everything, torch.ones(count, 1).to(points), SHRINKAGES[-1]), None
    for components in range(1, max(2, count // MOTIONS_PER_COMPONENT + 1)) if points.shape[1] else ():
        tried = []
        for shrinkage in SHRINKAGES:
            mixture = fit_mixture(points, everything, spread_out(points, components), shrinkage)
            without = fit_mixture(points, rest, mixture.memberships[0], shrinkage)
            tried.append((without.log_joint(points).logsumexp(-1)[left_out], mixture))
        scores, mixture = max(tried, key=lambda pair: float(pair[0].mean()))
        if best_scores is not None:
            gain = scores - best_scores
            if not gain.mean() > gain.std() / math.sqrt(count):
                break
        best, best_scores = mixture, scores
    return best


def fit_mixture(
    points: Float[Tensor, "m r"], counted: Float[Tensor, "f m"], start: Float[Tensor, "m k"], shrinkage: float
) -> Mixture:
    """Fits a mixture to the points that are counted, once for every row of `counted`, from first memberships
    (expectation maximisation, Dempster et al. 1977).

    Each covariance is shrunk towards a multiple of the identity, the mean variance within components; of one component
    the trace is unbiased.
    """
    rank, components = points.shape[1], start.shape[1]
    members = start.expand(len(counted), -1, -1)
    for _ in range(MAX_STEPS):
        counts = members * counted[..., None]
        sizes = counts.sum(1).clamp(min=1e-9)
        means = (counts.mT @ points) / sizes[..., None]
        offsets = points[:, None] - means[:, None]
        scatter = torch.einsum("fmkr,fmks->fkrs", counts[..., None] * offsets, offsets)
        freedom = (counted.sum(1) - components).clamp(min=1) * max(rank, 1)
        variance = (scatter.diagonal(dim1=-2, dim2=-1).sum((1, 2)) / freedom).clamp(min=1e-12)
        target = shrinkage * variance[:, None, None, None] * torch.eye(rank).to(points)
        covariances = (scatter + target) / ((sizes - 1).clamp(min=0) + shrinkage)[..., None, None]
        mixture = Mixture(sizes / sizes.sum(1, keepdim=True), means, covariances, members)
        if components == 1:
            break
        before, members = members, mixture.log_joint(points).softmax(-1)
        if (members - before).abs().max() < 1e-2:
            break
    return mixture


def spread_out(points: Float[Tensor, "m r"], components: int) -> Float[Tensor, "m k"]:
    """First memberships: each point belongs to the nearest of some that lie far apart."""
    distances = torch.cdist(points, points)
    centres = [int(distances.sum(1).argmin())]
    while len(centres) < components:
        centres.append(int(distances[:, centres].min(1).values.argmax()))
    return one_hot(distances[:, centres].argmin(1), components).to(points)
