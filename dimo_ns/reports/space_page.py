"""The figures of a space of motions on one page (see apps.evaluate, which makes them)."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dimo_ns.draw import plotting, style

BLUE, ORANGE, GREEN, RED = style.PALETTE[:4]
DISTANCES = (("flip", "FLIP"), ("cd_3d", "CD-3D"), ("cd_4d", "CD-4D"), ("cd_m", "CD-M"))
FITS = (
    ("best_training_motion", "nearest training motion", style.RULE),
    ("latent", "latent, all views", BLUE),
    ("adapted", "adapted, all views", ORANGE),
    ("latent_one_view", "latent, one view", GREEN),
    ("adapted_one_view", "adapted, one view", RED),
)


def draw_space_page(figures: dict[str, Any], path: Path) -> Path:
    """Draws what was measured as a PNG; panels of what was not are left empty, with the reason."""
    with plotting.figure_style():
        figure = plotting.new_figure(figsize=(11, 6.4))
        grid = figure.subplots(2, 3)
        panels = (
            ("reconstruction", "Reconstruction", _reconstruction),
            ("held_out", "Held-out motions", _held_out),
            ("samples", "Samples", _samples),
            ("interpolation", "Between motions", _interpolation),
            ("language", "In words", _language),
            ("latency_ms", "Time", _latency),
        )
        for axes, (key, title, draw) in zip(grid.flat, panels, strict=True):
            axes.set_title(title, loc="left", fontsize=10)
            if key in figures:
                draw(axes, figures[key])
            else:
                axes.axis("off")
                reason = figures["skipped"].get(key, "not measured")
                axes.text(0.5, 0.5, f"skipped: {reason}", ha="center", va="center", color=style.GREY, wrap=True)
        trained = "" if figures["trained_on_this_dataset"] else " (not the one it was trained on)"
        figure.suptitle(f"{figures['object']}, dataset {figures['dataset_hash'][:12]}{trained}", fontsize=11)
        figure.tight_layout(h_pad=2, w_pad=2)
        plotting.save(figure, path)
    return path


def _reconstruction(axes: Axes, found: dict[str, Any]) -> None:
    names = list(found["by_motion"])
    rows = np.arange(len(names))
    axes.barh(rows, [found["by_motion"][n]["psnr"] for n in names], 0.6, color=BLUE, label="scene")
    still = [found["by_motion"][n].get("still_psnr", np.nan) for n in names]
    axes.plot(np.minimum(still, 60), rows, "|", ms=9, mew=1.6, color=ORANGE, label="its first frame held still")
    _names(axes, names)
    others = [f"{label} {found[key]:.3f}" for key, label in DISTANCES if key in found]
    axes.set_xlabel(
        "\n".join([f"PSNR, {found['views']} views (dB); mean {found['psnr']:.1f}", ", ".join(others)]).strip()
    )
    axes.set_xlim(left=10)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26 if others else -0.18), ncols=2)


def _held_out(axes: Axes, found: dict[str, Any]) -> None:
    shown = [fit for fit in FITS if any(fit[0] in motion for motion in found.values())]
    height = 0.8 / len(shown)
    for i, (key, label, colour) in enumerate(shown):
        rows = np.arange(len(found)) + (i - (len(shown) - 1) / 2) * height
        values = [motion[key]["psnr"] if key in motion else np.nan for motion in found.values()]
        axes.barh(rows, values, 0.9 * height, color=colour, label=label)
        for row, value in zip(rows, values, strict=True):
            axes.text(value + 0.2, row, f"{value:.1f}", va="center", fontsize=6, color=style.GREY)
    _names(axes, list(found))
    axes.set_xlim(left=10)
    axes.set_xlabel("PSNR, held-out views (dB)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def _samples(axes: Axes, found: dict[str, Any]) -> None:
    axes.plot(np.multiply(100, found["distances"]), found["strains"], "o", ms=2.5, mew=0, alpha=0.6, color=BLUE)
    axes.axhline(1.5, color=ORANGE, lw=0.8)
    axes.text(0.99, 1.52, "limit", transform=axes.get_yaxis_transform(), ha="right", va="bottom", color=ORANGE)
    axes.set_ylim(0, 1.8)
    axes.set_xlim(left=0)
    axes.set_xlabel("distance to the nearest training motion (% of the diameter)")
    axes.set_ylabel("strain / most of training")
    text = f"coverage {found['coverage']:.0%}, diversity {found['diversity']:.2f}, copies {found['copies']:.0%}"
    axes.text(0.98, 0.98, text, transform=axes.transAxes, ha="right", va="top", fontsize=7)


def _interpolation(axes: Axes, found: dict[str, Any]) -> None:
    names = list(dict.fromkeys(name for pair in found["pairs"] for name in pair.split(" - ")))
    table = np.full((len(names), len(names)), np.nan)
    for pair, values in found["pairs"].items():
        a, b = (names.index(name) for name in pair.split(" - "))
        table[a, b] = table[b, a] = values["largest_step"]
    image = axes.imshow(table, cmap="Blues", vmin=1, vmax=2)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    _names(axes, names, inverted=False)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="largest step / mean step")


def _language(axes: Axes, found: dict[str, Any]) -> None:
    values = [found["top_1"], found["top_3"]]
    axes.bar(["top 1", "top 3"], values, 0.5, color=[BLUE, GREEN])
    for i, value in enumerate(values):
        axes.text(i, value + 0.01, f"{value:.0%}", ha="center")
    axes.set_ylim(0, 1.1)
    axes.set_ylabel("share of held-out paraphrases")


def _latency(axes: Axes, found: dict[str, float]) -> None:
    names = list(found)
    axes.barh(range(len(names)), list(found.values()), 0.6, color=BLUE)
    for i, value in enumerate(found.values()):
        axes.text(value * 1.1, i, f"{value:.3g} ms", va="center", fontsize=7)
    axes.set_xscale("log")
    axes.set_xlim(right=3 * max(found.values()))
    _names(axes, [name.replace("_", " ") for name in names])
    axes.set_xlabel("milliseconds")


def _names(axes: Axes, names: list[str], inverted: bool = True) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    if inverted:
        axes.invert_yaxis()
