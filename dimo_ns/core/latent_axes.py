"""Directions in the space of latents: its principal axes, and its map. The viewer, the exported page and the plot have
them from here: a standard deviation is the same distance, and a place on the map the same latent, in all of them.

Training leaves M posteriors N(mu_m, diag(v_m)). A latent that is drawn from one of them, whichever, has the moments

    c = 1/M sum_m mu_m,    C = 1/M sum_m ((mu_m - c)(mu_m - c)^T + diag(v_m))

(the law of total variance). The principal axes are the eigenvectors of C, and the standard deviations along them the
roots of its eigenvalues. A direction and its opposite are the same axis; the one whose largest component is positive is
taken, so that plus and minus are the same on every machine.
"""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .latents import MotionLatents

AXES, REACH = 6, 3.0
"""A hand moves along so many axes at most, by so many standard deviations to either side."""
PLANE_STEPS = 100


@dataclass(frozen=True, eq=False)
class LatentAxes:
    """The principal axes of the latents of training, the longest first."""

    centre: Float[Tensor, " d"]
    axes: Float[Tensor, "d d"]
    """Orthonormal rows."""
    sigmas: Float[Tensor, " d"]
    """The standard deviation along each."""

    @staticmethod
    @torch.no_grad()
    def of(latents: MotionLatents) -> "LatentAxes":
        """Worked out on the CPU in double precision; the result is where the latents are."""
        mu, variance = latents.mu.detach().cpu().double(), latents.logvar.detach().cpu().double().exp()
        centre = mu.mean(0)
        covariance = (mu - centre).T @ (mu - centre) / len(mu) + variance.mean(0).diag()
        variances, columns = torch.linalg.eigh(covariance)
        axes, sigmas = with_sign(columns.T.flip(0)), variances.flip(0).clamp(min=0).sqrt()
        return LatentAxes(*(x.to(latents.mu) for x in (centre, axes, sigmas)))

    def shifted(self, z: Float[Tensor, " d"], amounts: Float[Tensor, " a"]) -> Float[Tensor, " d"]:
        """`z`, moved along the first axes by so many standard deviations."""
        return z + (amounts * self.sigmas[: len(amounts)]) @ self.axes[: len(amounts)]

    def sigmas_along(self, directions: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The standard deviations of the latents along unit vectors."""
        return (directions @ self.axes.T * self.sigmas).norm(dim=-1)


@dataclass(frozen=True, eq=False)
class LatentMap:
    """The motions on a plane through latent space. The map holds all of them and a standard deviation around them; a
    place on it is (x, y), from (0, 0) at its lower left to (1, 1)."""

    mu: Float[Tensor, "m d"]
    centre: Float[Tensor, " d"]
    plane: Float[Tensor, "2 d"]
    """Orthonormal, x first."""
    low: Float[Tensor, "2"]
    high: Float[Tensor, "2"]
    """The edges of the map, from the centre along x and y."""

    @staticmethod
    @torch.no_grad()
    def of(latents: MotionLatents) -> "LatentMap":
        """The map of the motions of training."""
        axes, mu = LatentAxes.of(latents), latents.mu.detach().clone()
        plane = spread_plane(mu - axes.centre, axes.axes)
        coordinates, margin = (mu - axes.centre) @ plane.T, axes.sigmas_along(plane)
        return LatentMap(mu, axes.centre, plane, coordinates.amin(0) - margin, coordinates.amax(0) + margin)

    @property
    def places(self) -> Float[Tensor, "m 2"]:
        """Where the motions are."""
        return self.place(self.mu)

    def coordinates(self, z: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 2"]:
        """Where latents lie on the plane, in the units of latents, from the centre."""
        return (z - self.centre) @ self.plane.T

    def place(self, z: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 2"]:
        """Where latents lie on the map; some may lie beyond its edges."""
        return (self.coordinates(z) - self.low) / (self.high - self.low).clamp(min=1e-12)

    def latent_at(self, place: Float[Tensor, "2"]) -> Float[Tensor, " d"]:
        """The latent at a place: the motions around it, mixed, then moved along the plane to that very place. At the
        place of a motion it is that motion.

        The weights are one over the fourth power of the distance on the plane (Shepard 1968): on a plane, the many
        motions far away outweigh the few near ones for powers up to the second.
        """
        where = self.low + (self.high - self.low) * place
        squared = (self.coordinates(self.mu) - where).square().sum(-1)
        squared = squared.clamp(min=max(1e-12 * float(squared.max()), 1e-30))
        weights = (squared.min() / squared).square()
        mixed = weights / weights.sum() @ self.mu
        return mixed + (where - self.coordinates(mixed)) @ self.plane


def with_sign(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Each row or its opposite: the one whose largest component is positive."""
    return rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()


def spread_plane(points: Float[Tensor, "m d"], axes: Float[Tensor, "d d"]) -> Float[Tensor, "2 d"]:
    """Two orthonormal directions on which no two points fall together: the mean logarithm of the distances is greatest
    (by gradient ascent). The latents of many motions vary alike along many axes, and on the first two of `axes`, where
    the search begins, most of them would lie in one heap. The points vary most along the first direction. Where latents
    have one dimension, the second direction is zero."""
    if len(axes) == 1:
        return F.pad(axes, (0, 0, 0, 1))
    along_axes = (points @ axes.T).cpu().double()
    pairs = max(len(points) * (len(points) - 1) / 2, 1)
    frame = torch.eye(len(axes), 2, dtype=torch.float64)
    for _ in range(PLANE_STEPS):
        places = along_axes @ frame
        weights = (1 / torch.cdist(places, places).square().clamp(min=1e-12)).fill_diagonal_(0)
        gradient = along_axes.T @ (weights.sum(1, keepdim=True) * places - weights @ places) / pairs
        frame = torch.linalg.qr(frame + gradient).Q
    turn = torch.linalg.svd(along_axes @ frame).Vh
    return with_sign((turn @ frame.T).to(axes) @ axes)
