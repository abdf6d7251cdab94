"""Dots and trails are where the key points are and were; what is hidden is faint, and tails fade."""

import numpy as np
import pytest
import torch

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.draw import trails
from dimo_ns.draw.pictures import Picture
from tests.spaces import some_space

SIZE = (240, 320)
BLANK = np.full((*SIZE, 3), 255, np.uint8)
RED, BLUE = np.uint8([[220, 20, 30]]), np.uint8([[30, 20, 220]])


def ink(image: np.ndarray) -> np.ndarray:
    """How far each pixel is from white."""
    return 255.0 - image.min(-1)


def centre(image: np.ndarray) -> np.ndarray:
    """The middle of what is drawn, x and y with pixel centres at +0.5."""
    weight = ink(image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("place", [(100.0, 80.0), (100.5, 80.25), (17.3, 201.9)])
def test_a_dot_is_where_the_key_point_is_projected(place):
    pixels = np.array([[*place, 2.0]])
    drawn = trails.draw_trails(BLANK, pixels[None], np.array([[True]]), RED)
    np.testing.assert_allclose(centre(drawn), place, atol=0.3)
    assert ink(drawn).max() > 200


def test_a_trail_runs_through_every_place_and_fades_towards_its_beginning():
    xs = np.linspace(60, 260, 25)
    way = np.stack([xs, 120 + 40 * np.sin(xs / 40), np.full(25, 2.0)], -1)[:, None]
    drawn = trails.draw_trails(BLANK, way, np.ones((25, 1), bool), RED)
    strength = np.array([ink(drawn)[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].max() for x, y, _ in way[:, 0]])
    assert (strength > 0).all()
    assert strength[4] < strength[12] < strength[20] < strength[24]
    far = np.ones(SIZE, bool)
    for x, y, _ in way[:, 0]:
        far[max(0, int(y) - 14) : int(y) + 15, max(0, int(x) - 14) : int(x) + 15] = False
    assert not ink(drawn)[far].any()  # and nowhere else


def test_what_is_hidden_is_faint_and_covers_nothing_that_is_seen():
    crossing = np.array([[[60.0, 120, 2], [160, 40, 3]], [[260.0, 120, 2], [160, 200, 3]]])
    both = np.array([[True, False], [True, False]])
    colours = np.concatenate([RED, BLUE])
    drawn = trails.draw_trails(BLANK, crossing, both, colours)
    assert ink(drawn)[119:122, 200].max() > 3 * ink(drawn)[180, 159:162].max() > 0
    redness = drawn[119:122, 160].astype(int)  # where they cross
    assert (redness[:, 0] - redness[:, 2]).max() > 100


def test_places_behind_the_camera_or_far_outside_are_left_out():
    pixels = np.array([[100.0, 100, -1], [np.inf, 3, 1], [1e9, 0, 1], [100, 100, 0]])
    drawn = trails.draw_trails(BLANK, pixels[None], np.ones((1, 4), bool), RED.repeat(4, 0))
    assert not ink(drawn).any()


def test_over_a_render_every_dot_lies_where_the_camera_sees_its_key_point():
    """Key point 3 alone, wherever it is: the others are moved behind the camera."""
    space = some_space()
    clip = space.clips(["walk"])[0]
    viewmat, K = (
        orbit(torch.tensor(25.0), 10.0, SIZE).viewmats,
        torch.tensor([[180.0, 0, 160], [0, 180, 120], [0, 0, 1]]),
    )
    nothing = Picture(BLANK, np.zeros(SIZE), np.zeros(SIZE), Cameras(viewmat, K, SIZE))
    for frame in (0, 4, 8):
        positions = clip.positions[frame].clone()
        alone = torch.full_like(positions, 1e4)
        alone[3] = positions[3]
        drawn = trails.points_over(nothing, alone, RED.repeat(len(alone), 0))
        camera = viewmat[:3, :3] @ positions[3] + viewmat[:3, 3]
        expected = (180 * camera[:2] / camera[2] + torch.tensor([160.0, 120.0])).numpy()
        np.testing.assert_allclose(centre(drawn), expected, atol=0.3)


def test_trails_end_at_the_time_and_begin_with_the_motion():
    assert trails.trail_times(0.8)[-1] == pytest.approx(0.8)
    assert trails.trail_times(0.8)[0] == pytest.approx(0.8 - trails.LENGTH)
    early = trails.trail_times(0.1)
    assert (early[0], early[-1]) == (0.0, pytest.approx(0.1))
    assert (early.diff() >= 0).all()


def test_neighbours_have_similar_colours_and_opposite_sides_different_ones():
    ring = torch.linspace(0, 2 * np.pi, 25)[:-1]
    points = torch.stack([ring.cos(), 0.6 * ring.sin(), 0.01 * torch.randn(24)], 1)
    found = trails.colours(points).astype(int)
    step = np.abs(found - np.roll(found, 1, 0)).sum(1)
    across = np.abs(found - np.roll(found, 12, 0)).sum(1)
    assert step.max() < 0.7 * across.min()
    assert trails.colours(torch.zeros(1, 3)).shape == (1, 3)


def test_faded_is_closer_to_the_background():
    image = np.uint8([[[255, 0, 100]]])
    np.testing.assert_allclose(trails.fade(image)[0, 0], 255 - (255 - image[0, 0].astype(float)) * trails.FADED, atol=1)
    assert (trails.fade(image, (0.0, 0.0, 0.0)) <= image).all()


def test_key_points_behind_the_surface_are_hidden():
    alpha, depth = np.ones((4, 4)), np.full((4, 4), 2.0)
    alpha[:, 3] = 0
    pixels = np.array([[[1.5, 1.5, 1.9], [1.5, 1.5, 2.02], [1.5, 1.5, 2.5], [3.5, 1.5, 2.5], [99.0, 1.5, 1.0]]])
    assert trails.in_front(pixels, alpha, depth)[0].tolist() == [True, True, False, True, True]
