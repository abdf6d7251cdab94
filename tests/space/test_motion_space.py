"""A space answers by name and by latent exactly as its scene does, and refuses what it does not hold."""

from pathlib import Path

import pytest
import torch

from dimo_ns.errors import DimoError
from dimo_ns.space.file import FILE
from dimo_ns.space.info import SceneInfo
from dimo_ns.space.motion_space import MotionSpace
from tests.spaces import DIM, FPS, FRAMES, KEYPOINTS, NAMES, some_space


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


def test_a_motion_is_what_the_scene_says_frame_by_frame(space: MotionSpace):
    z = space.mu[:2]
    found = space.motion(z)
    assert found.quats.shape == (2, FRAMES, KEYPOINTS, 4)
    for row in range(2):
        for frame in (0, 3, FRAMES - 1):
            expected = space.scene.trajectory(z[row : row + 1], torch.tensor([frame / FRAMES]))[0]
            torch.testing.assert_close(found[row, frame].translations, expected.translations, atol=1e-6, rtol=0)
            torch.testing.assert_close(found[row, frame].quats, expected.quats, atol=1e-6, rtol=0)


def test_many_latents_at_once_are_the_same_as_one_after_another(space: MotionSpace):
    z = torch.randn(5, DIM)
    alone = torch.cat([space.positions(row[None]) for row in z])
    torch.testing.assert_close(space.positions(z), alone, atol=1e-6, rtol=0)


def test_a_latent_that_leads_out_of_all_bounds_is_refused(space: MotionSpace):
    for factor in (1e12, 1e38):
        with pytest.raises(DimoError, match="'far' goes to places that are not finite, or beyond 1e\\+06"):
            space.clip("far", factor * space.mu[0])


def test_clips_carry_their_name_latent_and_whether_they_loop(space: MotionSpace):
    clips = space.clips()
    assert [(c.name, c.loop) for c in clips] == [(n, n in ("walk", "run")) for n in NAMES]
    assert len(clips[0]) == FRAMES
    assert torch.equal(clips[1].latents, space.mu[1].expand(FRAMES, -1))
    torch.testing.assert_close(clips[1].positions, space.trained_positions[1])
    twice = space.clip("slow", space.mu[0], torch.arange(2 * FRAMES) / (2 * FRAMES))
    assert twice.fps == 2 * FPS  # as long as the motion in seconds


def test_distance_is_the_mean_shift_as_a_share_of_the_diameter(space: MotionSpace):
    """All key points shifted by the same vector: its length over the largest distance between key points at rest."""
    a = space.trained_positions
    shifted = a + torch.tensor([0.03, 0.0, 0.04])
    keypoints = space.scene.keypoints.detach()
    diameter = max(float((p - q).norm()) for p in keypoints for q in keypoints)
    torch.testing.assert_close(space.distances(a, shifted).diagonal(), torch.full((len(NAMES),), 0.05 / diameter))
    assert space.distances(a, a).diagonal().tolist() == [0.0] * len(NAMES)


def test_what_was_worked_out_is_kept_until_it_is_told_to_forget():
    space = some_space()
    before, diameter = space.trained_positions, space.diameter
    with torch.no_grad():
        space.scene.keypoints.mul_(2)
    assert space.trained_positions is before
    space.forget()
    assert space.diameter == pytest.approx(2 * diameter)
    assert torch.equal(space.trained_positions, space.positions(space.mu))
    assert not torch.equal(space.trained_positions, before)


def test_it_opens_from_the_file_and_from_its_folder(space: MotionSpace, tmp_path: Path):
    path = space.save(tmp_path / FILE)
    for place in (path, tmp_path, str(path)):
        opened = MotionSpace.open(place)
        assert opened.names == list(NAMES)
        assert opened.source == tmp_path
        assert torch.equal(opened.trained_positions, space.trained_positions)


@pytest.mark.parametrize(("name", "hint"), [("wlak", "did you mean 'walk'"), ("xyz", "it has walk, run, sit, wave")])
def test_an_unknown_motion_is_refused_with_the_nearest_one(space: MotionSpace, name: str, hint: str):
    with pytest.raises(DimoError, match=hint):
        space.latents(name)


@pytest.mark.parametrize(
    ("z", "complaint"),
    [
        (torch.zeros(2, DIM + 1), rf"\[2, {DIM + 1}\]; expected \[n, {DIM}\]"),
        (torch.zeros(0, DIM), "expected"),
        (torch.zeros(1, 1, DIM), "expected"),
        (torch.full((DIM,), float("nan")), "not finite"),
    ],
)
def test_latents_of_another_size_or_without_meaning_are_refused(space: MotionSpace, z: torch.Tensor, complaint: str):
    with pytest.raises(DimoError, match=complaint):
        space.check_latents(z)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"frames": 0}, "'frames' is 0"),
        ({"frames": None}, "'frames'"),
        ({"fps": float("nan")}, "'fps'"),
        ({"fps": -1}, "a positive number"),
        ({"motions": [{"name": n} for n in ("walk", "walk", "sit", "wave")]}, "two motions 'walk'"),
        ({"motions": [{"name": "../x"}] * 4}, "'name'"),
        ({"cameras": [{"name": "a", "w": 10}]}, "'h' is missing"),
        ({"object": 5}, "'object' is 5; expected a text"),
        ({"seed": "one"}, "'seed' is \"one\"; expected a whole number"),
        ({"versions": ["torch"]}, "'versions' is .*; expected an object"),
        ({"background": [1, 1]}, "'background' is .*; expected three numbers"),
    ],
)
def test_an_info_that_lies_is_refused(space: MotionSpace, wrong: dict, complaint: str):
    with pytest.raises(DimoError, match=f"scene.json.*{complaint}"):
        SceneInfo.read(space.info.to_json() | wrong, "scene.json")
