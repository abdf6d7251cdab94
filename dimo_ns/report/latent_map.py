"""The latent space as a map: its two principal axes, each motion's mean with the ellipse of one standard deviation."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.patches import Ellipse

from dimo_ns.core.latents import MotionLatents
from dimo_ns.report import picture


def latent_map(latents: MotionLatents, motions: list[str], path: Path) -> Path:
    """Draws it as a PNG; `motions` are names, in the order of the latents."""
    places, shares, axes_of = principal(latents.mu.detach().cpu())
    variances = latents.logvar.detach().exp().cpu()
    with picture.style():
        figure, axes = plt.subplots(figsize=(4.2, 3.6))
        axes.axhline(0, color=picture.RULE, lw=0.6, zorder=0)
        axes.axvline(0, color=picture.RULE, lw=0.6, zorder=0)
        for i, place in enumerate(places.numpy()):
            colour = picture.PALETTE[i % len(picture.PALETTE)]
            covariance = (axes_of * variances[i]) @ axes_of.T
            sigma, turn = np.linalg.eigh(covariance.numpy())
            width, height = 2 * np.sqrt(sigma.clip(min=0))
            angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
            axes.add_patch(Ellipse(tuple(place), width, height, angle=angle, fc=colour, ec=colour, alpha=0.16, lw=0))
            axes.add_patch(Ellipse(tuple(place), width, height, angle=angle, fc="none", ec=colour, lw=0.8))
            axes.plot(*place, "o", color=colour, ms=3.5, mec="white", mew=0.5)
        axes.autoscale_view()
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.14)
        axes.set_xlabel(f"first principal axis ({shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"second principal axis ({shares[1]:.0%})")
        figure.canvas.draw()
        _name(axes, places.numpy(), motions)
        picture.save(figure, path)
        plt.close(figure)
    return path


def principal(
    mu: Float[torch.Tensor, "m d"],
) -> tuple[Float[torch.Tensor, "m 2"], Float[torch.Tensor, "2"], Float[torch.Tensor, "2 d"]]:
    """Coordinates on the two principal axes, the share of the variance along each, and the axes."""
    centred = mu - mu.mean(0)
    _, s, vh = torch.linalg.svd(torch.cat([centred, torch.zeros(2, mu.shape[1])]), full_matrices=False)
    share = s[:2].square() / s.square().sum().clamp(min=1e-12)
    return centred @ vh[:2].T, share, vh[:2]


def _name(axes, places: np.ndarray, names: list[str]) -> None:
    """Writes each name beside its point, on the first side where it covers no other point or name."""
    renderer, taken = axes.figure.canvas.get_renderer(), []
    pixels = axes.transData.transform(places)
    sides = [(6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top")]
    sides += [(5, 5, "left", "bottom"), (-5, 5, "right", "bottom"), (5, -5, "left", "top"), (-5, -5, "right", "top")]
    for place, name in zip(places, names, strict=True):
        for dx, dy, across, along in sides:
            text = axes.annotate(
                name,
                place,
                xytext=(dx, dy),
                textcoords="offset points",
                ha=across,
                va=along,
                fontsize=8,
                color=picture.INK,
            )
            box = text.get_window_extent(renderer).padded(1)
            if not any(box.contains(*p) for p in pixels) and not any(box.overlaps(other) for other in taken):
                break
            if (dx, dy, across, along) != sides[-1]:
                text.remove()
        taken.append(box)
