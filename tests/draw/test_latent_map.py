"""The plot of the latent space shows the map that the viewer and the page show."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.patches import Ellipse

from dimo_ns.core.latent_axes import LatentMap
from dimo_ns.core.latents import MotionLatents
from dimo_ns.draw import plotting
from dimo_ns.draw.latent_map import draw_latent_map


def test_motions_stand_at_their_places_in_ellipses_of_a_standard_deviation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    figures = []
    monkeypatch.setattr(plotting, "save", lambda figure, path: figures.append(figure))
    latents = MotionLatents(4, 6)
    with torch.no_grad():
        latents.mu.copy_(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
        latents.logvar.fill_(-2.0)
    draw_latent_map(latents, list("abcd"), tmp_path / "map.png")
    (axes,) = figures[0].axes
    dots = np.array([line.get_xydata()[0] for line in axes.lines if len(line.get_xydata()) == 1])
    np.testing.assert_allclose(dots, LatentMap.of(latents).coordinates(latents.mu.detach()), atol=1e-5)
    sizes = [(e.width, e.height) for e in axes.patches if isinstance(e, Ellipse)]
    np.testing.assert_allclose(sizes, 2 * np.exp(-1.0), rtol=1e-5)  # round posteriors: from end to end two deviations
    assert [text.get_text() for text in axes.texts] == list("abcd")
    shares = [int(label.split("%")[0].split("(")[1]) for label in (axes.get_xlabel(), axes.get_ylabel())]
    assert 100 >= shares[0] >= shares[1] > 0


def test_names_are_texts_and_no_formulas(tmp_path: Path):
    """One that is no formula either, which matplotlib would fail at."""
    latents = MotionLatents(3, 6)
    assert draw_latent_map(latents, ["$x$", r"$\nonsense$", "a $ b $"], tmp_path / "map.png").is_file()
