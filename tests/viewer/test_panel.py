"""The panel and the state say the same, whoever has changed what."""

import html
import math
import re
import threading
from dataclasses import replace

import pytest
import torch

from dimo_ns.core.latents import MotionLatents
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.viewer import panel as module
from dimo_ns.viewer.draw import first_camera
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.panel import UNNAMED, Panel
from dimo_ns.viewer.state import State
from tests.spaces import FRAMES, NAMES, a_motion, some_space
from tests.viewer.fake_viser import Gui, Scene


@pytest.fixture
def made(tmp_path, monkeypatch: pytest.MonkeyPatch) -> tuple[Gui, State, Panel]:
    monkeypatch.setattr(module, "SELDOM", 0.0)
    space, gui = some_space(), Gui()
    space.source = tmp_path
    state = State(space)
    return gui, state, Panel(gui, state, Overlays(Scene()))


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("Frame", math.nan),
        ("Frame", 1e9),
        ("Map x", -1.0),
        ("Trail (frames)", 10**9),
        ("Picture", "x"),
        ("A", "nobody"),
    ],
)
def test_a_value_that_a_control_cannot_have_changes_nothing(made, label: str, value: object):
    """Whoever connects may send what they like, and everybody looks at the same state."""
    gui, state, panel = made
    gui["Frame"].hand(2.0)
    version, before = state.version, gui[label].value
    gui[label].hand(value)
    assert (state.version, gui[label].value) == (version, before)
    assert "cannot be" in panel.message.content


def test_every_control_does_what_it_says(made):
    gui, state, panel = made
    gui["Motion"].hand("sit")
    assert torch.equal(state.latent, state.space.mu[2])
    gui["Play"].hand(True)
    assert state.playing
    gui["Step"].hand("forward")
    assert (state.playing, round(state.frame)) == (False, 1)
    gui["Frame"].hand(4.5)
    assert state.frame == pytest.approx(4.5)
    gui["Loop"].hand(False)
    gui["Speed"].hand(2.0)
    assert (state.loop, state.speed) == (False, 2.0)
    gui["B"].hand("wave")
    gui["A to B"].hand(0.5)
    torch.testing.assert_close(state.latent, state.space.latents("walk", "wave").mean(0))
    gui["Axis 2 (σ)"].hand(1.0)
    assert state.sigmas[1] == 1.0
    gui["Reset"].hand()
    assert state.sigmas[1] == 0.0
    gui["Random"].hand()
    assert "a new motion" in read(panel)
    gui["Map x"].hand(0.2)
    assert state.place[0] == pytest.approx(0.2, abs=1e-4)
    for label, field in (("Key points", "keypoints"), ("Trails", "trails"), ("Canonical", "canonical")):
        gui[label].hand(True)
        assert getattr(state.look, field)
    gui["Picture"].hand("depth")
    gui["Trail (frames)"].hand(5)
    assert (state.look.layer, state.look.trail_frames) == ("depth", 5)


def test_who_draws_is_asked_only_where_browsers_can(made):
    gui, state, _ = made
    assert "Drawn by" not in gui.controls
    asking = Gui()
    Panel(asking, state, Overlays(Scene()), browsers_draw=True)
    assert asking["Drawn by"].value == "browser"
    asking["Drawn by"].hand("server")
    assert state.look.drawn_by == "server"


@pytest.mark.parametrize("count", [1, 60])
def test_one_motion_or_sixty(count: int):
    some = some_space()
    scene, info = some.scene, some.info
    scene.latents = MotionLatents(count, some.mu.shape[1])
    with torch.no_grad():
        scene.latents.mu.normal_()
    motions = tuple(a_motion(f"motion_{i}") for i in range(count))
    gui, state = Gui(), State(MotionSpace(scene, replace(info, motions=motions)))
    panel = Panel(gui, state, Overlays(Scene()))
    gui["B"].hand(f"motion_{count - 1}")
    gui["A to B"].hand(1.0)
    gui["Axis 1 (σ)"].hand(-1.0)
    gui["Map x"].hand(0.4)
    gui["Random"].hand()
    panel.follow()
    assert read(panel).startswith("a new motion")
    assert torch.isfinite(state.latent).all()


def test_controls_follow_the_state(made):
    gui, state, panel = made
    state.mix("walk", "run", 0.25)
    state.shift(3, -2.0)
    state.seek(3 / FRAMES)
    assert panel.behind
    panel.follow()
    assert gui["A to B"].value == 0.25
    assert gui["Motion"].value == UNNAMED
    gui["Motion"].hand(UNNAMED)
    assert state.blend[2] == 0.25
    assert gui["Axis 4 (σ)"].value == -2.0
    assert gui["Frame"].value == 3.0
    assert gui["Map x"].value == pytest.approx(state.place[0], abs=1e-3)
    assert not panel.behind
    before = panel.map.content
    state.select("wave")
    panel.follow()
    assert gui["Motion"].value == "wave"
    assert gui["A to B"].value == 0.0
    assert panel.map.content != before


def test_what_the_panel_sets_itself_is_no_hand(made):
    gui, state, _ = made
    version = state.version
    handle = gui["Motion"]
    handle.value = "run"
    handle.callback(type("Event", (), {"client_id": None, "target": handle}))
    assert state.version == version


def test_errors_are_shown_and_go_away(made):
    gui, _, panel = made
    gui["Name"].value = "walk"
    gui["Save this motion"].hand()
    assert "There is a motion 'walk' already" in read(panel)
    gui["Motion"].hand("run")
    assert panel.message.content == ""


def test_a_notice_stays_while_controls_are_used(made):
    gui, _, panel = made
    panel.notice = lambda: "Still learning."
    gui["Motion"].hand("run")
    assert panel.message.content == "Still learning."
    gui["Random"].hand()
    assert "a new motion" in read(panel)
    assert panel.message.content.endswith("Still learning.")


def test_what_was_saved_can_be_chosen_everywhere(made):
    gui, state, panel = made
    gui["Map y"].hand(0.9)
    z = state.latent
    gui["Name"].value = "mine"
    gui["Save this motion"].hand()
    assert "Saved to" in read(panel)
    assert gui["Motion"].options == (*NAMES, "mine", UNNAMED)
    assert gui["A"].options == gui["B"].options == (*NAMES, "mine")
    gui["B"].hand("mine")
    gui["A to B"].hand(1.0)
    assert torch.equal(state.latent, z)


def test_what_was_saved_stays_chosen_whoever_follows_meanwhile(made):
    """A viewer's own thread shows the state in the controls just when the new name is put among the old ones."""
    gui, state, panel = made
    gui["B"].hand("wave")
    gui["A to B"].hand(0.5)
    threads = []

    class Watched(type(gui["Motion"])):
        @property
        def options(self):
            return self.__dict__["names"]

        @options.setter
        def options(self, names):
            self.__dict__["names"] = names
            threads.append(threading.Thread(target=panel.follow))
            threads[-1].start()
            threads[-1].join(0.5)

    gui["Motion"].__dict__["names"] = gui["Motion"].__dict__.pop("options")
    gui["Motion"].__class__ = Watched
    gui["Name"].value = "mine"
    gui["Save this motion"].hand()
    for thread in threads:
        thread.join()
    panel.follow()
    assert gui["Motion"].value == state.motion == "mine"
    gui["Play"].hand(True)
    assert state.motion == "mine"  # no control has a wish left from before


def read(panel: Panel) -> str:
    """What a browser shows of the message."""
    return html.unescape(panel.message.content)


def test_it_says_what_was_saved(made):
    gui, state, panel = made
    gui["B"].hand("wave")
    gui["A to B"].hand(0.25)
    gui["Axis 2 (σ)"].hand(-1.5)
    gui["Name"].value = "mine"
    gui["Save this motion"].hand()
    out = state.space.source / "saved" / "mine"
    assert read(panel) == f"Saved to {out}: 75% walk, 25% wave, axis 2 -1.5 σ"
    gui["Random"].hand()
    gui["Name"].value = "new"
    gui["Save this motion"].hand()
    assert read(panel).endswith("new: a new motion")


# --- a hand that is quicker than the threads that call back -----------------------------------------------------------


def arrives(handle, value) -> None:
    """viser has taken a browser's value in, and its call back waits for a thread, or for a picture to be done."""
    handle.value = value


def test_what_is_saved_is_where_the_slider_is_although_its_last_move_waits(made):
    gui, state, _ = made
    gui["B"].hand("wave")
    gui["A to B"].hand(0.4)
    arrives(gui["A to B"], 0.5)
    gui["Name"].value = "mine"
    gui["Save this motion"].hand()
    torch.testing.assert_close(state.saved["mine"], state.space.latents("walk", "wave").mean(0))


def test_a_slider_in_the_hand_is_not_put_back(made):
    gui, state, panel = made
    gui["B"].hand("wave")
    gui["A to B"].hand(0.4)
    arrives(gui["A to B"], 0.5)
    panel.follow()
    assert gui["A to B"].value == 0.5
    gui["A to B"].hand(0.5)
    assert state.blend[2] == 0.5


def test_a_move_whose_call_back_comes_after_a_button_is_not_made_again(made):
    gui, state, _ = made
    slider = gui["Axis 1 (σ)"]
    arrives(slider, 2.0)
    gui["Reset"].hand()
    assert state.sigmas[0] == 0
    slider.hand(slider.value)
    assert state.sigmas[0] == 0


def test_what_a_button_said_stays_when_the_move_before_it_calls_back_late(made):
    gui, _, panel = made
    slider = gui["A to B"]
    gui["B"].hand("wave")
    arrives(slider, 0.5)
    gui["Name"].value = "mine"
    gui["Save this motion"].hand()
    slider.hand(slider.value)
    assert "Saved to" in read(panel)
    slider.hand(0.6)
    assert read(panel) == ""


def test_a_control_is_told_what_its_move_came_to(made, monkeypatch: pytest.MonkeyPatch):
    """A browser that lost its slider's last value, or was told another one meanwhile, shows the state's in the end."""
    gui, _, panel = made
    told: list[tuple[str, float]] = []
    for label in ("A to B", "Speed"):
        gui[label].tell = lambda value, label=label: told.append((label, value))
    gui["A to B"].hand(0.4)
    gui["Speed"].hand(2.0)
    told.clear()
    panel.follow()
    assert told == []  # the hand may go on
    assert panel.behind
    monkeypatch.setattr(module, "REST", 0.0)
    panel.follow()
    assert sorted(told) == [("A to B", 0.4), ("Speed", 2.0)]
    assert not panel.behind


@pytest.mark.parametrize("name", ["{document.title=1}", "<img src=x onerror=alert(1)>", "**b** `c` [d](e) _f_", "$x$"])
def test_no_text_of_a_scene_or_of_a_user_is_markup(name: str):
    """A name in what a draw is like, what a user typed in an error."""
    space = some_space()
    motions = tuple(replace(motion, name=f"{name} {i}") for i, motion in enumerate(space.motions))
    gui, state = Gui(), State(MotionSpace(space.scene, replace(space.info, motions=motions)))
    panel = Panel(gui, state, Overlays(Scene()))
    gui["Random"].hand()
    assert re.fullmatch(r"(?:&#\d+;|[^\W_]| )*", panel.message.content)
    assert f"nearest to {name}" in read(panel)
    gui["Name"].value = name
    gui["Save this motion"].hand()
    assert re.fullmatch(r"\*\*(?:&#\d+;|[^\W_]| )*\*\*", panel.message.content)
    assert f"'{name}' is no name" in read(panel)


def test_words_are_asked_for_only_where_there_is_a_projector(made, tmp_path):
    gui, state, _ = made
    assert "Ask" not in gui.controls
    (tmp_path / "text.safetensors").write_bytes(b"")
    with_words = Gui()
    panel = Panel(with_words, state, Overlays(Scene()))
    with_words["Ask"].hand()
    assert f"**The file {tmp_path / 'text.safetensors'} is not a projector of dimo" in read(panel)


def test_overlays_come_and_go():
    state, scene = State(some_space()), Scene()
    overlays = Overlays(scene, scale=10.0)
    state.show(keypoints=True, trails=True)
    overlays.update(state, state.shown())
    assert set(scene.objects) == {"/dimo/keypoints", "/dimo/trails"}
    points = torch.as_tensor(scene.objects["/dimo/keypoints"].args[0])
    expected = 10 * state.space.positions(state.latent[None], torch.tensor([0.0]))[0, 0]
    torch.testing.assert_close(points.float(), expected, atol=1e-4, rtol=1e-5)
    state.show(keypoints=False, trails=False)
    overlays.update(state, state.shown())
    assert not scene.objects


def test_the_map_in_the_scene_is_clicked(made):
    gui, state, panel = made
    gui["In the scene"].hand(True)
    panel.follow()
    plate = panel.overlays.scene.objects["/dimo/map"]
    eye = first_camera()
    event = type("Event", (), {"ray_origin": eye, "ray_direction": panel.overlays.plate.centre - eye, "client_id": 0})
    plate.callback(event)
    assert state.place == pytest.approx((0.5, 0.5), abs=1e-3)
    gui["In the scene"].hand(False)
    panel.follow()
    assert "/dimo/map" not in panel.overlays.scene.objects
