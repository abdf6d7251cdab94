"""Rates, levels and windows at their ends and in the middle."""

import pytest
import torch

from dimo_ns.tracking.schedule import around, level, log_linear


def test_halfway_is_the_geometric_mean():
    assert log_linear((1e-2, 1e-4), 0.5) == pytest.approx(1e-3)
    assert log_linear((1e-2, 1e-4), 0.0) == 1e-2
    assert log_linear((1e-2, 1e-4), 1.0) == pytest.approx(1e-4)


def test_every_level_has_an_equal_part_of_the_steps():
    assert [level((3.0, 2.0, 1.0), step / 6) for step in range(6)] == [3.0, 3.0, 2.0, 2.0, 1.0, 1.0]


def test_the_ends_of_a_motion_share_the_windows_of_their_neighbours():
    assert around(torch.tensor([0, 1, 2, 4]), 5).tolist() == [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_a_motion_of_one_or_two_frames_is_held_at_its_end():
    assert around(torch.tensor([0, 1]), 2).tolist() == [[0, 1, 1], [0, 1, 1]]
    assert around(torch.tensor([0]), 1).tolist() == [[0, 0, 0]]
