"""What figures drawn by matplotlib share: type, colours, how they are saved."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from dimo_ns.draw import style

ERROR = LinearSegmentedColormap.from_list("error", ["#ffffff", "#f6d9b8", "#e08a4f", "#b03a48", "#4a1942"])
TIME = LinearSegmentedColormap.from_list("time", matplotlib.colormaps["plasma"](np.linspace(0.0, 0.9, 256)))

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.edgecolor": style.GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": style.INK,
    "axes.labelcolor": style.INK,
    "xtick.color": style.GREY,
    "ytick.color": style.GREY,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
}


@contextmanager
def figure_style():
    """Within it, figures look alike."""
    with matplotlib.rc_context(RC):
        yield


def new_figure(**options: Any) -> Figure:
    """A figure that Agg draws, whatever backend this machine has set: it is saved and never shown."""
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure without the empty space around it, and returns the file."""
    figure.savefig(path, bbox_inches="tight", pad_inches=0.06)
    return path
