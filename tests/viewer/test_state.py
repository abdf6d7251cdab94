"""What a hand does to what is seen: latents are those that are asked for, time goes as it should, nothing gets lost."""

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimo_ns.apps.language import Projector
from dimo_ns.core.latent_axes import AXES, REACH, LatentAxes
from dimo_ns.errors import DimoError
from dimo_ns.space.latent_files import read_latents
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.viewer.state import State
from tests.spaces import FPS, FRAMES, NAMES, a_motion, some_space

LAST = (FRAMES - 1) / FRAMES


@pytest.fixture
def space(tmp_path) -> MotionSpace:
    space = some_space()
    space.source = tmp_path
    return space


@pytest.fixture
def state(space: MotionSpace) -> State:
    return State(space)


def test_it_begins_with_the_first_motion_at_rest(state: State):
    assert torch.equal(state.latent, state.space.mu[0])
    assert (state.time, state.playing, state.motion) == (0.0, False, NAMES[0])


def test_a_motion_is_its_latent_bit_for_bit_and_the_other_controls_go_back(state: State):
    state.shift(0, 2.0)
    state.mix("walk", "run", 0.3)
    state.select("sit")
    assert torch.equal(state.latent, state.space.mu[2])
    assert state.sigmas == [0.0] * AXES
    assert state.blend == ("walk", "run", 0.0)


def test_a_blend_goes_from_one_to_the_other(state: State):
    a, b = state.space.latents("walk", "wave")
    for share in (0.0, 0.25, 1.0):
        state.mix("walk", "wave", share)
        torch.testing.assert_close(state.latent, a + share * (b - a))
    state.mix("walk", "wave", 7.0)
    assert torch.equal(state.latent, b)


def test_an_axis_is_in_standard_deviations_and_bounded(state: State):
    axes = LatentAxes.of(state.space.scene.latents)
    state.select("run")
    state.shift(1, -1.5)
    torch.testing.assert_close(state.latent, state.space.mu[1] - 1.5 * axes.sigmas[1] * axes.axes[1])
    state.shift(1, 100.0)
    assert state.sigmas[1] == REACH
    state.reset()
    assert torch.equal(state.latent, state.space.mu[1])


def test_training_moves_the_axes_and_the_map(state: State):
    state.go_to(0.5, 0.5)
    before = state.axes.sigmas[0]
    with torch.no_grad():
        state.space.scene.latents.mu.mul_(2)
    state.learned()
    assert state.axes.sigmas[0] > 1.9 * before
    torch.testing.assert_close(state.map.mu, state.space.mu)


def test_the_axes_are_found_for_one_motion_and_for_sixty():
    for count in (1, 60):
        space = some_space()
        posteriors = space.scene.latents
        posteriors.mu = torch.nn.Parameter(torch.randn(count, space.mu.shape[1]))
        posteriors.logvar = torch.nn.Parameter(torch.full_like(posteriors.mu, -4.0))
        space.info = replace(space.info, motions=tuple(a_motion(f"m{i}") for i in range(count)))
        state = State(space)
        assert len(state.names) == count
        state.shift(0, 1.0)
        state.go_to(0.3, 0.6)
        assert torch.isfinite(state.latent).all()
        assert state.place == pytest.approx((0.3, 0.6), abs=1e-4)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_map_leads_to_the_place_that_was_pointed_at(x: float, y: float):
    state = State(SHARED)
    state.go_to(x, y)
    assert state.place == pytest.approx((x, y), abs=1e-4)


def test_on_the_map_a_motions_place_is_that_motion(state: State):
    for name, z in zip(NAMES, state.space.mu, strict=True):
        state.select(name)
        x, y = state.place
        assert 0 < x < 1
        assert 0 < y < 1
        state.go_to(x, y)
        torch.testing.assert_close(state.latent, z, atol=1e-5, rtol=0)


def test_random_motions_differ_and_come_again_in_the_same_order(state: State, space: MotionSpace):
    said = state.random()
    assert any(name in said for name in NAMES)
    first = state.latent
    state.random()
    assert not torch.equal(first, state.latent)
    again = State(space)
    again.random()
    assert torch.equal(again.latent, first)


# --- time -------------------------------------------------------------------------------------------------------------


def test_time_passes_at_the_motions_own_speed(state: State):
    state.tick(1.0)
    assert state.time == 0.0  # does not play
    state.play(True)
    state.tick(2 / FPS)
    assert state.frame == pytest.approx(2)
    state.speed = 0.5
    state.tick(2 / FPS)
    assert state.frame == pytest.approx(3)


def test_a_loop_waits_in_its_last_frame_and_begins_again(state: State):
    state.play(True)
    state.tick((FRAMES - 0.5) / FPS)
    assert state.time == pytest.approx(LAST)  # beyond the last frame nothing is known
    state.tick(1 / FPS)
    assert state.frame == pytest.approx(0.5)
    assert state.playing


def test_without_loop_it_stops_at_its_end_and_plays_from_the_beginning_again(state: State):
    state.loop = False
    state.play(True)
    state.tick(100.0)
    assert state.time == pytest.approx(LAST)
    assert not state.playing
    state.play(True)
    assert state.time == 0.0


def test_steps_go_from_frame_to_frame_round_the_end(state: State):
    state.seek(2.2 / FRAMES)
    state.play(True)
    state.step(1)
    assert (round(state.frame, 6), state.playing) == (3, False)
    state.seek(0.0)
    state.step(-1)
    assert state.frame == pytest.approx(FRAMES - 1)


@given(st.lists(st.tuples(st.sampled_from(["tick", "seek", "step", "play"]), st.floats(-5, 5)), max_size=20))
@settings(max_examples=40, deadline=None)
def test_time_never_leaves_what_the_decoder_knows(acts):
    state = State(SHARED)
    for act, value in acts:
        {"tick": lambda v: state.tick(abs(v)), "seek": state.seek, "step": lambda v: state.step(int(v))}.get(
            act, lambda v: state.play(v > 0)
        )(value)
        assert 0 <= state.time <= LAST


# --- changes, and for later -------------------------------------------------------------------------------------------


def test_every_change_is_told_of(state: State):
    acts = [
        lambda: state.select("run"),
        lambda: state.mix("walk", "run", 0.5),
        lambda: state.shift(0, 1.0),
        lambda: state.reset(),
        lambda: state.go_to(0.0, 0.0),
        lambda: state.show(trails=True),
        lambda: state.seek(0.5),
        lambda: state.play(True),
        lambda: state.tick(0.01),
    ]
    for act in acts:
        before = state.version
        act()
        assert state.version > before


def test_threads_do_not_see_half_a_change(state: State):
    # select sets both the latent and the sliders to zero: a reader must never see the new one without the other.
    state.shift(0, 1.0)
    wrong, done = [], threading.Event()
    z = {name: state.latent_of(name) for name in NAMES}

    def read() -> None:
        while not done.is_set():
            with state.changed:
                if state.motion and not any(state.sigmas) and not torch.equal(state.latent, z[state.motion]):
                    wrong.append(state.motion)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(300):
        state.select(NAMES[i % 4])
        state.shift(i % AXES, 0.5)
    done.set()
    reader.join()
    assert not wrong


def test_what_is_saved_is_there_again(state: State, space: MotionSpace):
    state.mix("walk", "run", 0.5)
    z = state.latent
    out = state.save("half way")
    assert torch.equal(read_latents(out, space)["half way"], z)
    with np.load(out / "trajectories.npz") as file:
        np.testing.assert_allclose(file["positions"][0], space.positions(z[None])[0].numpy(), atol=1e-6)
    assert (out / "clips.mp4").stat().st_size > 0
    assert state.motion == "half way"
    again = State(space)
    assert again.names == [*NAMES, "half way"]
    again.select("half way")
    assert torch.equal(again.latent, z)


@pytest.mark.parametrize("name", ["", "walk", "../up", "a/b", ".hidden", "x" * 65, "a\nb"])
def test_names_that_are_none_or_taken_are_refused_and_nothing_is_written(state: State, name: str):
    with pytest.raises(DimoError):
        state.save(name)
    assert list(state.space.source.iterdir()) == []


def test_saved_folders_that_cannot_be_read_are_left_out(state: State, space: MotionSpace):
    state.save("good")
    (space.source / "saved" / "bad").mkdir()
    (space.source / "saved" / "bad" / "latents.safetensors").write_bytes(b"no")
    (space.source / "saved" / "stray.txt").write_text("no")
    assert State(space).names == [*NAMES, "good"]


def test_a_prompt_shows_what_the_projector_says(state: State):
    class Says(Projector):
        def __init__(self):
            pass

        def ask(self, text: str) -> Any:
            motions = [("wave", 0.5), ("sit", 0.5)]
            latent, is_known = state.space.mu[3] / 2, text == "wave slowly"
            return SimpleNamespace(text=text, latent=latent, motions=motions, is_known=is_known)

    assert state.ask(Says(), "wave slowly") == "50% wave, 50% sit"
    assert torch.equal(state.latent, state.space.mu[3] / 2)
    assert "far from everything" in state.ask(Says(), "quantum")


SHARED = some_space()
