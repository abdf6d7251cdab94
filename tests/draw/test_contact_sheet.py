"""The contact sheet."""

import numpy as np

from dimo_ns.draw.contact_sheet import crop


def test_crop_keeps_all_that_is_drawn():
    images = np.full((2, 100, 100, 3), 255, np.uint8)
    images[0, 30:40, 50:60] = 0
    images[1, 60, 10] = 0
    assert crop([images]) == (27, 64, 7, 63)
    assert crop([np.full((1, 8, 9, 3), 255, np.uint8)]) == (0, 8, 0, 9)
