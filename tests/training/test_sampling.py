"""Which frames a step trains on: repeatable, existing, fair."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dimo_ns.tracking.tree import Tree
from dimo_ns.training.recipe import Moment, Phase
from dimo_ns.training.sampling import draw_request, tree_position

MOTIONS, FRAMES, VIEWS = 5, 6, 4
SIZE = 16, 16
RANDOM = Phase("r", "decoder", 100, motions=4, times=2, views=2)
TRACK = Phase("t", "table", 60, sampler="tree", views=3)
ALL = np.ones((MOTIONS, FRAMES, VIEWS), bool)


def chain() -> Tree:
    """Every frame of a motion after the one before, first frames after the root: depths 0..6."""
    parents = torch.arange(MOTIONS * FRAMES) - 1
    parents[::FRAMES] = 0
    depths = torch.arange(FRAMES).repeat(MOTIONS) + (torch.arange(MOTIONS * FRAMES) >= FRAMES)
    return Tree(parents, depths)


def draw(phase: Phase, step: int, seed: int = 0, available: np.ndarray = ALL, tree: Tree | None = None):
    picture_ids = np.where(available, np.arange(FRAMES)[:, None], -1)
    return draw_request(Moment(phase, 0, step, phase.length(MOTIONS)), step, seed, picture_ids, SIZE, tree)


def content(request) -> list:
    return [request.motion_ids.tolist(), request.frame_ids.tolist(), request.view_ids.tolist(), request.size]


@pytest.mark.parametrize("phase", [RANDOM, TRACK], ids=["random", "tree"])
def test_a_request_is_a_function_of_seed_and_step(phase):
    requests = [content(draw(phase, step, tree=chain())) for step in (3, 4, 5)]
    np.random.default_rng().random()
    torch.rand(1)
    assert [content(draw(phase, step, tree=chain())) for step in (5, 4, 3)] == requests[::-1]
    assert content(draw(phase, 3, seed=1, tree=chain())) != requests[0]
    assert requests[0] != requests[1]


def test_a_random_request_has_the_phases_shape_and_no_view_twice():
    request = draw(RANDOM, 0)
    assert request.motion_ids.shape == request.frame_ids.shape == (8,)
    assert request.view_ids.shape == (8, 2)
    assert request.motion_ids.dtype == request.view_ids.dtype == torch.long
    assert all(len(set(views)) == 2 for views in request.view_ids.tolist())
    assert len(set(request.motion_ids.tolist())) == 4


@pytest.mark.parametrize("phase", [RANDOM, TRACK], ids=["random", "tree"])
def test_only_frames_that_exist_are_asked_for(phase):
    available = np.random.default_rng(0).random(ALL.shape) < 0.4
    available[0, 0, 1] = True
    available[2, 3] = False
    asked = set()
    for step in range(phase.length(MOTIONS)):
        request = draw(phase, step, available=available, tree=chain())
        for m, t, views in zip(request.motion_ids, request.frame_ids, request.view_ids, strict=True):
            assert available[m, t, views].all()
            assert len(views) == phase.views
            asked.add((int(m), int(t)))
    existing = {(m, t) for m, t in np.argwhere(available.any(-1)).tolist()}
    assert asked == existing


def test_reference_steps_see_the_first_frame_in_every_view_that_exists():
    available = ALL.copy()
    available[0, 0, 2] = False
    request = draw(replace(RANDOM, sampler="reference"), 7, available=available)
    assert content(request) == [[0], [0], [[0, 1, 3]], SIZE]


@pytest.mark.parametrize("motions", [1, 4, 5, 10, 13])
def test_all_motions_are_visited_equally_often(motions):
    phase, steps = replace(RANDOM, motions=motions, times=1), 400
    counts = np.zeros((steps, MOTIONS), int)
    for step in range(steps):
        np.add.at(counts[step], draw(phase, step).motion_ids.numpy(), 1)

    # Within a step they differ by one at most; over many, by chance alone (six standard errors of a binomial).
    assert (counts.max(1) - counts.min(1) <= 1).all()
    extra = motions % MOTIONS / MOTIONS
    tolerance = 6 * (steps * extra * (1 - extra)) ** 0.5
    assert (np.abs(counts.sum(0) - steps * motions / MOTIONS) <= tolerance).all()


def test_all_frames_and_views_are_visited():
    seen = np.zeros(ALL.shape, int)
    for step in range(400):
        request = draw(RANDOM, step)
        seen[request.motion_ids[:, None], request.frame_ids[:, None], request.view_ids] += 1
    assert seen.min() > 20
    assert seen.max() < 120  # 53 expected


def test_tracking_visits_all_levels_in_order_each_from_its_beginning():
    tree, length = chain(), TRACK.length(MOTIONS)
    positions = [tree_position(Moment(TRACK, 0, step, length), tree) for step in range(length)]
    levels = [level for level, _ in positions]

    assert levels == sorted(levels)
    assert set(levels) == set(range(7))
    assert all(0 <= fraction < 1 for _, fraction in positions)
    for level in range(7):
        fractions = [fraction for at, fraction in positions if at == level]
        assert fractions == sorted(fractions)
        assert abs(len(fractions) - length / 7) < 1  # the same time for every level


def test_tracking_asks_for_exactly_the_frames_of_its_level():
    tree = chain()
    for step in range(TRACK.length(MOTIONS)):
        level, _ = tree_position(Moment(TRACK, 0, step, TRACK.length(MOTIONS)), tree)
        request = draw(TRACK, step, tree=tree)
        nodes = request.motion_ids * FRAMES + request.frame_ids
        assert nodes.tolist() == (tree.depths == level).nonzero()[:, 0].tolist()


def test_late_views_give_other_pictures_of_the_same_frames():
    picture_ids = np.tile(np.arange(FRAMES)[:, None], (MOTIONS, 1, VIEWS))
    picture_ids[2, :, 1] = [-1, 0, 1, 2, 3, 4]  # one frame late: nothing shows the object's frame 0
    for step in range(50):
        moment = Moment(RANDOM, 0, step, RANDOM.length(MOTIONS))
        request = draw_request(moment, step, 0, picture_ids, SIZE, None)
        late = (request.motion_ids[:, None] == 2) & (request.view_ids == 1)
        assert torch.equal(request.picture_ids, request.frame_ids[:, None] - late.long())
        assert not (late & (request.frame_ids[:, None] == 0)).any()


def test_views_are_looked_at_as_they_are_trusted():
    picture_ids = np.tile(np.arange(FRAMES)[:, None], (MOTIONS, 1, VIEWS))
    trust = np.tile([3.0, 1.0, 1.0, 1.0], (MOTIONS, 1))
    phase, counts = replace(RANDOM, views=1), np.zeros(VIEWS)
    for step in range(500):
        request = draw_request(Moment(phase, 0, 0, 100), step, 0, picture_ids, SIZE, None, trust)
        counts += np.bincount(request.view_ids.flatten().numpy(), minlength=VIEWS)
    # 4,000 draws of one view: binomial, standard deviations of at most 0.8 % of them
    np.testing.assert_allclose(counts / counts.sum(), [0.5, 1 / 6, 1 / 6, 1 / 6], atol=0.03)
