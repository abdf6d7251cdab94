"""A latent code per motion: a diagonal Gaussian posterior N(mu, exp(logvar)) each, N(0, I) as the prior.

One draw per motion and training step; the mean at inference (paper, section 3.1; KL after Kingma & Welling 2014).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .geometry import take


class MotionLatents(nn.Module):
    """The posteriors of M motions, rows in the order of the dataset's training motions."""

    def __init__(self, motions: int, dim: int = 32):
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(motions, dim))
        self.logvar = nn.Parameter(torch.zeros(motions, dim))

    def mean(self, motion_ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """The codes that inference uses."""
        return self.mu[motion_ids]

    def draw(self, motion_ids: Int[Tensor, " b"], scale: float = 1.0) -> Float[Tensor, "b d"]:
        """One reparametrised draw per distinct motion: rows of the same motion get the same code."""
        noise = torch.randn_like(self.mu) * scale
        return take(self.mu + noise * torch.exp(0.5 * self.logvar), motion_ids)

    def kl(self) -> Float[Tensor, " m"]:
        """KL(N(mu, exp(logvar)) || N(0, I)) of every motion, in nats."""
        return -0.5 * (1 + self.logvar - self.mu.square() - self.logvar.exp()).sum(-1)
