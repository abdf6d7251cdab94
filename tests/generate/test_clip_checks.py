"""Every flag on a clip that has exactly that fault, none on one that has no fault; figures against known motion."""

import numpy as np
import pytest
from PIL import Image

from dimo_ns.generate import matting
from dimo_ns.generate.clip_checks import Limits, examine, flags
from dimo_ns.generate.report import sheet
from dimo_ns.generate.settings import Settings
from tests.generate.clips import clip, disc

ALSO = {
    "large": {"cut", "still", "background"},  # there is no room for it to move
    "camera": {"background"},  # what can be seen moving is not plain
    "empty": set(),
}
"""What necessarily comes with a fault."""


def mask_of(frames: np.ndarray) -> np.ndarray:
    """The disc is darker than any background here."""
    return np.where(frames[..., 2] < 120, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "fault", ["none", "still", "wild", "cut", "small", "large", "zoom", "flicker", "background", "camera", "empty"]
)
def test_a_clip_with_one_fault_has_that_flag_and_no_other(fault: str):
    frames = clip(fault)
    found = set(flags(examine(frames, mask_of(frames))))
    expected = set() if fault == "none" else {fault}
    assert expected <= found <= expected | ALSO.get(fault, set())


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_motion_is_that_of_the_object_in_pixels_of_576(step: float):
    frames = np.stack([disc(30 + step * t, 48, 20) for t in range(8)])
    assert examine(frames, mask_of(frames)).motion == pytest.approx(step * 576 / 96, rel=0.2)


def test_the_motion_of_a_still_object_before_a_moving_camera_is_not_the_cameras():
    frames = np.stack([disc(48, 48, 20, texture=1 + 1.5 * t) for t in range(6)])
    figures = examine(frames, mask_of(frames))
    assert figures.camera == pytest.approx(1.5 * 6, rel=0.35)
    assert figures.plain < 0.5


def test_areas_and_jumps_are_those_that_were_drawn():
    frames = clip("zoom")
    figures = examine(frames, mask_of(frames))
    assert figures.smallest == pytest.approx(np.pi * 19.2**2 / 96**2, rel=0.03)
    assert figures.largest == pytest.approx(np.pi * 35.2**2 / 96**2, rel=0.03)
    light = clip("flicker")
    inside = [
        frame[mask > 0].mean(0) @ [0.299, 0.587, 0.114] for frame, mask in zip(light, mask_of(light), strict=True)
    ]
    jump = np.abs(np.diff(inside)).max()
    assert examine(light, mask_of(light)).jump == pytest.approx(jump, rel=1e-3)


def test_limits_can_be_moved_and_reasons_have_the_figure():
    figures = examine(clip(), mask_of(clip()))
    reason = flags(figures, Limits(most_motion=5))["wild"]
    assert reason == f"the object moves by {figures.motion:.0f} px a frame"


def test_only_the_matting_that_needs_a_plain_background_asks_for_one():
    figures = examine(clip("background"), mask_of(clip("background")))
    assert set(Settings().flags(figures)) == {"background"}
    for matting_of in ("rembg:isnet-general-use", "sam2:folder"):
        assert Settings(matting=matting_of).flags(figures) == {}


def test_the_sheet_shows_every_clip_even_one_without_frames(tmp_path):
    rgba = matting.plain(clip())
    sheet(
        [("walks", "", rgba), ("runs", "still: it does not move", rgba), ("flies", "empty", None)], tmp_path / "s.png"
    )
    page = np.asarray(Image.open(tmp_path / "s.png")).astype(int)
    assert page.shape == (3 * 120 + 12, 250 + 7 * 112 + 12, 3)
    brown = (page[..., 0] > 80) & (page[..., 0] > page[..., 2] + 40)
    rows = [brown[8 + 120 * i : 120 * (i + 1), 250:].mean() for i in range(3)]
    assert rows[0] > 0.05
    assert rows[1] > 0.05
    assert rows[2] == 0
