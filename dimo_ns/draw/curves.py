"""The course of training: every loss term, the number of Gaussians, and the phases of the recipe behind them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dimo_ns.draw import plotting, style

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values."""


def read_scalars(folder: Path) -> dict[str, Curve]:
    """All scalars in the tensorboard files of a run; where a step was logged again after a resumption, the last one."""
    logged: dict[str, list[tuple[float, int, float]]] = {}
    for file in folder.glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            logged.setdefault(tag, []).extend((e.wall_time, e.step, e.value) for e in events.Scalars(tag))
    newest = {tag: {step: value for _, step, value in sorted(rows)} for tag, rows in logged.items()}
    return {tag: (np.array(sorted(c)), np.array([c[s] for s in sorted(c)])) for tag, c in newest.items()}


def draw_curves(scalars: dict[str, Curve], phases: list[tuple[str, int]], path: Path) -> Path:
    """Draws the scalars as a PNG; `phases` are name and number of steps, in order."""
    terms = {tag.split("/")[-1]: curve for tag, curve in sorted(scalars.items()) if tag.startswith("Train Loss Dict/")}
    with plotting.figure_style():
        figure = plotting.new_figure(figsize=(7.0, 4.2), layout="constrained")
        losses, count = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        bounds = np.cumsum([0] + [steps for _, steps in phases])
        end = max([bounds[-1]] + [steps[-1] for steps, _ in terms.values()])
        for term, (name, (steps, values)) in enumerate(terms.items()):
            colour = style.PALETTE[term % len(style.PALETTE)]
            for first, last in zip(bounds[:-1], [*bounds[1:-1], end + 1], strict=True):
                part = (steps >= first) & (steps < last) & (values > 0)
                losses.plot(
                    steps[part], values[part], color=colour, lw=1.0, marker=".", ms=2, label=None if first else name
                )
        losses.set_yscale("log")
        losses.set_ylabel("weighted loss")
        losses.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2)
        if "Train Metrics Dict/gaussians" in scalars:
            count.step(*scalars["Train Metrics Dict/gaussians"], where="post", color=style.INK, lw=1.0)
        count.set_ylabel("Gaussians")
        count.set_ylim(bottom=0)
        count.set_xlabel("step")
        for axis in (count.yaxis, count.xaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        for axes in (losses, count):
            axes.set_xlim(0, end)
            for i, (first, last) in enumerate(pairwise(bounds)):
                axes.axvspan(first, last, color="#f4f4f2" if i % 2 else "white", lw=0, zorder=0)
        for i, (name, _) in enumerate(phases):
            level = (bounds[i + 1] - bounds[i]) / end > 0.08
            losses.annotate(
                name, ((bounds[i] + bounds[i + 1]) / 2, 1.02), xycoords=("data", "axes fraction"), fontsize=7,
                ha="center" if level else "left", va="bottom", rotation=0 if level else 40, color=style.GREY,
                parse_math=False,
            )  # fmt: skip
        plotting.save(figure, path)
    return path
