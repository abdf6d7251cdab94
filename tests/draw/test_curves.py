"""Curves of a run, as its event files tell them."""

from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from dimo_ns.draw import plotting
from dimo_ns.draw.curves import draw_curves, read_scalars


def test_a_resumed_run_has_one_curve(tmp_path: Path):
    """Steps 5..9 were logged again after a resumption: the later values count."""
    for start, value in ((0, 1.0), (5, 2.0)):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{start}") as events:
            for step in range(start, 10):
                events.add_scalar("Train Loss", value, step)
    steps, values = read_scalars(tmp_path)["Train Loss"]
    assert steps.tolist() == list(range(10))
    assert values.tolist() == [1.0] * 5 + [2.0] * 5


def test_powers_of_ten_are_written_as_such_and_names_of_phases_as_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    figures = []
    monkeypatch.setattr(plotting, "save", lambda figure, path: (figure.canvas.draw(), figures.append(figure)))
    steps = np.arange(100)
    draw_curves({"Train Loss Dict/l1": (steps, 10.0 ** (-steps / 25))}, [("$x$", 50), ("fine", 50)], tmp_path / "c.png")
    losses = figures[0].axes[0]
    labels = [label for label in losses.get_yticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)  # matplotlib writes them as formulas
    assert [text.get_parse_math() for text in losses.texts] == [False, False]
