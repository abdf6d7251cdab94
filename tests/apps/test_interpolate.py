"""Paths start and end exactly where they should; clips that are joined or closed do not jump."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from dimo_ns import cli
from dimo_ns.apps import clips as clips_app
from dimo_ns.apps.interpolate import blends, chosen, joined, latent_path, looped, smoothness, transition
from dimo_ns.core.types import RigidTransforms
from dimo_ns.errors import DimoError
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import Clip
from tests.spaces import DIM, FRAMES, KEYPOINTS, some_space

SPACE = some_space(gaussians=40)


def some_transforms(frames: int, seed: int) -> RigidTransforms:
    """Smooth, and different for every key point."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, 1, frames)[:, None, None]
    a, b, c = (0.3 * torch.randn(3, 1, 5, 7, generator=generator)).unbind(0)
    poses = a + b * t + c * (4 * t).sin()
    quats = torch.nn.functional.normalize(poses[..., 3:] + torch.tensor([1.0, 0, 0, 0]), dim=-1)
    return RigidTransforms(poses[..., :3], quats)


def as_clip(transforms: RigidTransforms) -> Clip:
    return Clip("some", torch.zeros(transforms.quats.shape[1], 3), transforms, 8.0)


def steps_of(translations: torch.Tensor) -> torch.Tensor:
    return translations.diff(dim=0).norm(dim=-1).mean(-1)


@given(st.integers(2, 4), st.integers(1, 7), st.booleans(), st.integers(0, 100))
def test_a_path_goes_through_the_given_latents_bit_for_bit(count: int, steps: int, spherical: bool, seed: int):
    latents = 3 * torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    path = latent_path(SPACE, latents, steps, spherical)
    assert path.shape == ((count - 1) * steps + 1, DIM)
    assert torch.equal(path[::steps], latents)


def test_a_straight_path_is_straight_and_even():
    a, b = SPACE.mu[:2]
    path = latent_path(SPACE, SPACE.mu[:2], 4)
    torch.testing.assert_close(path, torch.stack([a + share * (b - a) for share in (0, 0.25, 0.5, 0.75, 1)]))


def test_a_spherical_path_turns_evenly_and_its_length_changes_evenly():
    """From 2 e1 to 4 e2: by 30 degrees a step, lengths 2, 8/3, 10/3, 4."""
    ends = torch.zeros(2, DIM)
    ends[0, 0], ends[1, 1] = 2, 4
    path = latent_path(SPACE, ends, 3, spherical=True)
    torch.testing.assert_close(path.norm(dim=1), torch.tensor([2, 8 / 3, 10 / 3, 4]))
    angles = torch.rad2deg(torch.atan2(path[:, 1], path[:, 0]))
    torch.testing.assert_close(angles, torch.tensor([0.0, 30, 60, 90]))
    assert not path[:, 2:].any()


@pytest.mark.parametrize("scale", [-1.0, 0.0, 2.0, 1.0])
def test_a_spherical_path_is_straight_where_there_is_no_one_great_circle(scale: float):
    ends = torch.stack([SPACE.mu[0], scale * SPACE.mu[0]])
    torch.testing.assert_close(latent_path(SPACE, ends, 4, spherical=True), latent_path(SPACE, ends, 4))


def test_smoothness_has_known_values(monkeypatch):
    """All key points go along x to 0, 1, 4: steps 1 and 3, mean 2, second difference 2."""
    monkeypatch.setattr(
        SPACE, "positions", lambda z: torch.tensor([1.0, 0, 0]) * z[:, :1, None, None].expand(-1, FRAMES, KEYPOINTS, 1)
    )
    path = torch.zeros(3, DIM)
    path[:, 0] = torch.tensor([0.0, 1.0, 4.0])
    found = smoothness(SPACE, path)
    assert (found.largest_step, found.acceleration, found.length) == pytest.approx((1.5, 1.0, 1.0))
    path[:, 0] = torch.tensor([0.0, 2.0, 1.0])  # there and half back
    assert smoothness(SPACE, path).length == pytest.approx(3.0)
    even = smoothness(SPACE, latent_path(SPACE, path[:2], 5))
    assert (even.largest_step, even.acceleration, even.length) == pytest.approx((1.0, 0.0, 1.0), abs=1e-5)


def test_a_transition_starts_in_the_first_motion_and_ends_in_the_last():
    walk, run = SPACE.clips(["walk", "run"])
    clip = transition(SPACE, SPACE.latents("walk", "run"))
    assert len(clip) == FRAMES
    assert clip.fps == SPACE.fps
    for frame, motion in ((0, walk), (-1, run)):
        torch.testing.assert_close(clip.positions[frame], motion.positions[frame], atol=1e-6, rtol=0)
        assert torch.equal(clip.latents[frame], motion.latents[frame])
    expected = SPACE.scene.trajectory(clip.latents, SPACE.times)  # nothing else but the decoder in between
    torch.testing.assert_close(clip.transforms.quats, expected.quats)


@pytest.mark.parametrize("frames", [None, 40, 41])
def test_a_transition_through_many_motions_does_not_jump(frames: int | None):
    """At the seams no step is larger than the largest elsewhere."""
    clip = transition(SPACE, SPACE.latents("walk", "sit", "wave", "run"), frames)
    total = 3 * FRAMES if frames is None else frames
    assert len(clip) == total
    seams = torch.zeros(total - 1, dtype=torch.bool)
    seams[[total // 3 - 1, 2 * total // 3 - 1]] = True
    steps = steps_of(clip.positions)
    assert steps[seams].max() <= steps[~seams].max()
    torch.testing.assert_close(clip.positions[-1], SPACE.positions(SPACE.latents("run"), clip_end(frames))[0, -1])


def clip_end(frames: int | None) -> torch.Tensor:
    count = FRAMES if frames is None else frames - 2 * frames // 3
    return torch.tensor([(count - 1) / count])


def test_what_is_joined_carries_on_and_then_goes_its_own_way():
    before, after = some_transforms(9, 0), some_transforms(12, 1)
    found = joined(before, after)
    step = (before.translations[-1] - before.translations[-2] + after.translations[1] - after.translations[0]) / 2
    torch.testing.assert_close(found.translations[0], before.translations[-1] + step)
    assert torch.equal(found.translations[6:], after.translations[6:])
    torch.testing.assert_close(found.quats[6:], after.quats[6:])
    torch.testing.assert_close(found.quats.norm(dim=-1), torch.ones(12, 5))
    turned = (found.quats[0] * before.quats[-1]).sum(-1).clamp(-1, 1).acos()
    largest = (before.quats[1:] * before.quats[:-1]).sum(-1).clamp(-1, 1).acos().max()
    assert turned.max() < 2 * largest


def test_the_sign_of_quaternions_does_not_matter():
    before, after = some_transforms(9, 0), some_transforms(12, 1)
    flipped = RigidTransforms(before.translations, before.quats * torch.tensor([1.0, -1, 1, -1, 1])[:, None])
    torch.testing.assert_close(joined(flipped, after).quats, joined(before, after).quats)


@given(st.integers(2, 30), st.integers(0, 50))
def test_a_closed_clip_steps_over_its_seam_no_farther_than_within(frames: int, seed: int):
    clip = looped(as_clip(some_transforms(frames, seed)))
    assert clip.loop
    assert len(clip) == frames
    seam = (clip.positions[0] - clip.positions[-1]).norm(dim=-1).mean()
    assert seam <= 1.1 * steps_of(clip.positions).max() + 1e-5


def test_a_clip_that_loops_already_is_left_as_it_is():
    angle = torch.arange(16) / 16 * 2 * torch.pi
    circle = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)[:, None]
    transforms = RigidTransforms(circle, RigidTransforms.identity(16, 1).quats)
    assert torch.equal(looped(as_clip(transforms)).transforms.translations, circle)
    half = transforms[:8]  # which ends on the other side
    assert not torch.equal(looped(as_clip(half)).transforms.translations, half.translations)


def test_a_single_frame_loops():
    clip = as_clip(some_transforms(1, 0))
    torch.testing.assert_close(looped(clip).positions, clip.positions)


def test_blends_are_named_after_what_they_lie_between():
    path = latent_path(SPACE, SPACE.latents("walk", "run", "walk"), 2)
    clips, about = blends(SPACE, path, ["walk", "run", "walk"])
    assert [clip.name for clip in clips] == ["0_walk", "1_walk-run_1of2", "2_run", "3_run-walk_1of2", "4_walk"]
    assert about["1_walk-run_1of2"] == {"motions": ["walk", "run"], "share": 0.5}
    torch.testing.assert_close(clips[1].positions, SPACE.positions(path[1:2])[0])


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: latent_path(SPACE, SPACE.mu[:1], 5), "at least two"),
        (lambda: latent_path(SPACE, SPACE.mu[:2], 0), "expected 1 to"),
        (lambda: latent_path(SPACE, torch.zeros(2, DIM + 1), 5), "expected"),
        (lambda: latent_path(SPACE, torch.full((2, DIM), torch.nan), 5), "not finite"),
        (lambda: transition(SPACE, SPACE.mu[:1]), "at least two"),
        (lambda: transition(SPACE, SPACE.mu[:3], 3), "expected 4 to"),
        (lambda: smoothness(SPACE, SPACE.mu[:1]), "at least two"),
        (lambda: chosen(SPACE, []), "at least two"),
        (lambda: chosen(SPACE, ["walk"]), "at least two"),
        (lambda: chosen(SPACE, ["walk", "rnu"]), "did you mean 'run'"),
    ],
)
def test_requests_without_meaning_are_refused(call, complaint: str):
    with pytest.raises(DimoError, match=complaint):
        call()


def test_the_commands_write_a_folder_that_the_next_one_reads(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(clips_app, "write_video", lambda _space, _clips, path: path.write_bytes(b"video"))
    scene = str(SPACE.save(tmp_path / FILE))
    samples, between, clip = (tmp_path / name for name in ("samples", "between", "clip"))
    cli.main(["sample", scene, "-n", "2", "--out", str(samples)])
    row = f"{samples}:sample_001"
    cli.main(["interpolate", scene, "walk", row, "--steps", "2", "--out", str(between)])
    latents = load_file(between / "latents.safetensors")["latents"]
    assert torch.equal(latents[0], SPACE.mu[0])
    assert torch.equal(latents[-1], load_file(samples / "latents.safetensors")["latents"][1])
    cli.main(["interpolate", scene, "walk", "run", "sit", "--transition", "--loop", "--out", str(clip)])
    assert json.loads((clip / "clips.json").read_text())["clips"][0]["loop"] is True
    with np.load(clip / "trajectories.npz", allow_pickle=False) as arrays:
        assert arrays["positions"].shape == (1, 2 * FRAMES, KEYPOINTS, 3)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["sample", scene, "--out", str(samples)])
    assert exit_info.value.code == 2
    assert "is not empty" in capsys.readouterr().err
