"""The contact sheet: what it is cut to, and that what it shows is the truth beside the render."""

from pathlib import Path

import numpy as np
from PIL import Image

from dimo_ns.draw.contact_sheet import crop, draw_contact_sheet
from tests.data.tiny_sets import MOTIONS, write_tiny
from tests.spaces import some_space


def test_crop_keeps_all_that_is_drawn():
    images = np.full((2, 100, 100, 3), 255, np.uint8)
    images[0, 30:40, 50:60] = 0
    images[1, 60, 10] = 0
    assert crop([images]) == (27, 64, 7, 63)
    assert crop([np.full((1, 8, 9, 3), 255, np.uint8)]) == (0, 8, 0, 9)


def test_a_sheet_has_the_true_colours_above_the_renders(tmp_path: Path):
    """The discs of the first motion's four frames, red 120 and 30 to 180 blue, are there in their order."""
    scene = some_space().scene
    scene.latents.mu.data = scene.latents.mu.data[: len(MOTIONS)]
    path = draw_contact_sheet(scene, write_tiny(tmp_path / "set"), list(MOTIONS), tmp_path / "sheet.png")
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    upper = image[: len(image) // 2]
    places = [np.argwhere(np.abs(upper - [120, 40, 30 + 50 * frame]).max(-1) <= 2) for frame in range(4)]
    assert all(len(place) > 500 for place in places)
    across = [place[:, 1].mean() for place in places]
    assert across == sorted(across)
