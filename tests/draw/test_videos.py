"""Videos, read again: their codec, their sizes, and when what is shown."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from dimo_ns.draw.motion_videos import playing_times
from dimo_ns.draw.videos import write_video


def test_times_play_a_motion_from_its_first_frame_to_its_last():
    t = playing_times(frames=21, count=48)
    assert (len(t), float(t[0]), float(t[-1])) == (48, 0.0, pytest.approx(20 / 21))


def test_videos_are_even_h264(tmp_path: Path):
    path = write_video(tmp_path / "v.mp4", np.full((5, 31, 48, 3), 255, np.uint8), 24.0)
    assert iio.imread(path, plugin="pyav").shape == (5, 30, 48, 3)
    assert iio.immeta(path, plugin="pyav")["codec"] == "h264"
