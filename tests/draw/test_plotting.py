"""Figures are saved and never shown: no backend that a machine has set is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dimo_ns.draw import plotting

ROOT = Path(__file__).parents[2]


def test_a_figure_is_drawn_by_agg_and_nothing_else_is_started(tmp_path: Path):
    figure = plotting.new_figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    picture = np.asarray(Image.open(plotting.save(figure, tmp_path / "a.png")).convert("L"))
    assert 0 < (picture < 200).mean() < 0.5
    assert [path for path in (ROOT / "dimo_ns").rglob("*.py") if "pyplot" in path.read_text()] == []


def test_commands_do_without_the_backend_of_a_notebook():
    """Without which already the import of matplotlib fails."""
    script = """
import contextlib, io
from dimo_ns.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
import matplotlib
print(matplotlib.get_backend())
"""
    environment = os.environ | {"MPLBACKEND": "module://some_notebook.backend", "PYTHONPATH": str(ROOT)}
    said = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert said.split() == ["agg"]
