"""The map of the latent space as a plot: each motion's mean with the ellipse of one standard deviation."""

from pathlib import Path

import numpy as np
from matplotlib.patches import Ellipse

from dimo_ns.core.latent_axes import LatentAxes, LatentMap
from dimo_ns.core.latents import MotionLatents
from dimo_ns.draw import plotting, style

SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def draw_latent_map(latents: MotionLatents, motions: list[str], path: Path) -> Path:
    """Draws the map as a PNG; `motions` are names, in the order of the latents."""
    spread, where = LatentAxes.of(latents), LatentMap.of(latents)
    places, plane = where.coordinates(where.mu).cpu().numpy(), where.plane.cpu()
    shares = (spread.sigmas_along(where.plane).square() / spread.sigmas.square().sum()).tolist()
    variances = latents.logvar.detach().exp().cpu()
    reaches: list[np.ndarray] = []
    with plotting.figure_style():
        figure = plotting.new_figure(figsize=(4.2, 3.6))
        axes = figure.subplots()
        axes.axhline(0, color=style.RULE, lw=0.6, zorder=0)
        axes.axvline(0, color=style.RULE, lw=0.6, zorder=0)
        for i, place in enumerate(places):
            colour = style.PALETTE[i % len(style.PALETTE)]
            covariance = ((plane * variances[i]) @ plane.T).numpy()
            reaches.append(np.sqrt(covariance.diagonal()))
            sigma, turn = np.linalg.eigh(covariance)
            width, height = 2 * np.sqrt(sigma.clip(min=0))
            angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
            axes.add_patch(Ellipse(tuple(place), width, height, angle=angle, fc=colour, ec=colour, alpha=0.16, lw=0))
            axes.add_patch(Ellipse(tuple(place), width, height, angle=angle, fc="none", ec=colour, lw=0.8))
            axes.plot(*place, "o", color=colour, ms=3.5, mec="white", mew=0.5)
        axes.autoscale_view()
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.14)
        axes.set_xlabel(f"first direction of the map ({shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"second direction ({shares[1]:.0%})")
        figure.canvas.draw()
        _name(axes, places, np.stack(reaches), motions)
        plotting.save(figure, path)
    return path


def _name(axes, places: np.ndarray, reaches: np.ndarray, names: list[str]) -> None:
    """Writes each name beside its ellipse, which reaches so far to the sides and up: on the first side where it covers
    no point and no other name, else on the last."""
    renderer, taken = axes.figure.canvas.get_renderer(), []
    pixels = axes.transData.transform(places)
    points_per_unit = (axes.transData.transform((1, 1)) - axes.transData.transform((0, 0))) * 72 / axes.figure.dpi
    aligned = {-1: ("right", "top"), 0: ("center", "center"), 1: ("left", "bottom")}
    for place, reach, name in zip(places, reaches * points_per_unit + 3, names, strict=True):
        for side in SIDES:
            text = axes.annotate(
                name, place, xytext=tuple(reach * side * (1.0 if 0 in side else 0.71)), textcoords="offset points",
                ha=aligned[side[0]][0], va=aligned[side[1]][1], fontsize=8, parse_math=False,
            )  # fmt: skip
            box = text.get_window_extent(renderer).padded(1)
            if not any(box.contains(*p) for p in pixels) and not any(box.overlaps(other) for other in taken):
                break
            if side != SIDES[-1]:
                text.remove()
        taken.append(box)
