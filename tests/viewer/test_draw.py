"""Pictures of what is shown: the layers, the map, where the first camera stands and what a click on the plate means."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.draw import trails
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.viewer import draw
from dimo_ns.viewer.overlays import as_dots
from dimo_ns.viewer.state import Look, State
from tests.spaces import GAUSSIANS, KEYPOINTS, NAMES, some_space

SIZE = (64, 80)
K = torch.tensor([[90.0, 0, 40], [0, 90.0, 32], [0, 0, 1]])
CAMERA = Cameras(orbit(torch.tensor(40.0), 18.0, SIZE).viewmats, K, SIZE)


@pytest.fixture(scope="module")
def state() -> State:
    return State(some_space())


def shown(state: State, **look):
    return replace(state.shown(), look=Look(**look), time=0.5)


def picture_of(state: State, **look) -> np.ndarray:
    return draw.draw(state.space, shown(state, **look), CAMERA)


def test_the_picture_is_that_of_the_scene(state: State):
    posed = state.space.scene.pose(state.latent[None], torch.tensor([0.5]))
    (expected,) = take_pictures(posed, CAMERA[None])
    assert np.array_equal(picture_of(state), expected.image)


def test_layers_are_what_they_are_called(state: State):
    alpha = picture_of(state, layer="alpha")
    depth = picture_of(state, layer="depth")
    empty = alpha[..., 0] == 0
    assert alpha.shape == depth.shape == (*SIZE, 3)
    assert 0.1 < empty.mean() < 0.9
    assert (picture_of(state)[empty] == 255).all()  # white where there is nothing
    assert (depth[empty] == 255).all()
    assert not np.array_equal(picture_of(state, layer="skinning"), picture_of(state))


def test_the_canonical_pose_is_the_same_at_all_times(state: State):
    posed = draw.posed(state.space, shown(state, canonical=True))
    gaussians = state.space.scene.gaussians()
    torch.testing.assert_close(posed.means[0], gaussians.means, atol=1e-5, rtol=0)


def test_skinning_colours_are_those_of_the_key_points_that_carry(state: State):
    colours = draw.skinning_colours(state.space)
    assert colours.shape == (GAUSSIANS, 3)
    own = torch.from_numpy(trails.colours(state.space.scene.keypoints)).float() / 255
    nearby = own[state.space.scene.neighbours]
    assert (colours >= nearby.min(1).values - 1e-5).all()  # a mixture of them
    assert (colours <= nearby.max(1).values + 1e-5).all()


def test_key_points_and_trails_are_where_the_motion_has_them(state: State):
    what = shown(state, trail_frames=3)
    places, colours = draw.keypoints_of(state.space, what)
    expected = state.space.positions(state.latent[None], torch.tensor([0.5]))[0, 0].numpy()
    np.testing.assert_allclose(places, expected, atol=1e-6)
    assert colours.shape == (KEYPOINTS, 3)
    pieces, shades = draw.trails_of(state.space, what)
    count = draw.PIECES * 3
    assert pieces.shape == (count * KEYPOINTS, 2, 3)
    chosen = trails.choose(state.space.scene.keypoints).numpy()
    np.testing.assert_allclose(pieces[-len(chosen) :, 1], expected[chosen], atol=1e-6)  # they end in the present
    np.testing.assert_allclose(pieces[len(chosen) :, 0], pieces[: -len(chosen), 1], atol=1e-6)  # without gaps
    assert shades[: len(chosen), 0].mean() > shades[-len(chosen) :, 1].mean()  # the oldest are faint


def test_dots_lie_on_their_pieces():
    dots, _ = as_dots(np.array([[[0.0, 0, 0], [1, 0, 0]]]), np.zeros((1, 2, 3), np.uint8))
    assert (dots[:, 1:] == 0).all()
    assert ((dots[:, 0] > 0) & (dots[:, 0] < 1)).all()


def test_the_first_camera_sees_the_whole_ball_of_the_object_from_outside():
    eye = draw.first_camera()
    distance = np.linalg.norm(eye)
    assert eye[2] > 0  # from above: z is up
    assert np.arcsin(0.5 / distance) < draw.FOV / 2


def test_a_click_on_the_plate_is_found_where_it_was(state: State):
    plate, eye = draw.Plate.beside(), draw.first_camera()
    right, down, _ = plate.axes.T
    corner = plate.centre - 0.5 * plate.size[0] * right + 0.5 * plate.size[1] * down
    assert plate.hit(eye, corner - eye) == pytest.approx((0, 0), abs=1e-5)  # lower left
    assert plate.hit(eye, plate.centre - eye) == pytest.approx((0.5, 0.5), abs=1e-5)


def test_the_map_shows_every_motion_and_where_we_are(state: State):
    state.select(NAMES[1])
    first = np.asarray(draw.latent_map(state)).astype(int)
    x, y = state.place
    row, column = round((1 - y) * draw.MAP_SIZE[1]), round(x * draw.MAP_SIZE[0])
    assert np.abs(first[row, column] - [0xD0, 0x30, 0x30]).max() < 40
    state.select(NAMES[2])
    assert not np.array_equal(first, np.asarray(draw.latent_map(state)))
