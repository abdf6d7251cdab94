"""Chunks of a clip: where they begin, and the clip that they make."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimo_ns.errors import DimoError
from dimo_ns.generate.multiview.chunks import chunk_starts, join


@pytest.mark.parametrize(
    ("frames", "window", "starts"),
    [(21, 12, [0, 9]), (21, 5, [0, 4, 8, 12, 16]), (12, 12, [0]), (13, 12, [0, 1]), (24, 12, [0, 11, 12])],
)
def test_chunks_begin_where_the_published_scripts_begin_them(frames: int, window: int, starts: list[int]):
    """The first two are its own cases; it has no answer for 24 frames in chunks of 12, where nothing would overlap."""
    assert chunk_starts(frames, window) == starts


@given(st.integers(2, 12), st.integers(0, 60))
def test_chunks_cover_the_clip_and_each_begins_within_the_one_before(window: int, more: int):
    frames = window + more
    starts = chunk_starts(frames, window)
    assert starts[0] == 0
    assert starts[-1] + window == frames
    assert all(0 < after - before < window for before, after in pairwise(starts))


def test_a_frame_of_two_chunks_is_taken_from_the_later():
    chunks = [np.full((2, 5, 4, 4, 3), 10 * i, np.uint8) for i in range(5)]
    clip = join(chunks, 21)
    assert clip.shape == (2, 21, 4, 4, 3)
    assert clip[1, :, 0, 0, 0].tolist() == [0] * 4 + [10] * 4 + [20] * 4 + [30] * 4 + [40] * 5


def test_a_clip_shorter_than_a_chunk_is_refused():
    with pytest.raises(DimoError, match="has 11 frames, and at least 12"):
        chunk_starts(11, 12)
