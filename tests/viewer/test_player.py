"""The worker: pictures for those who look, coarse while something changes, then sharp; nothing for nobody."""

import time

import numpy as np
import pytest
import torch

from dimo_ns.viewer import draw, player
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.panel import Panel
from dimo_ns.viewer.player import Player, is_drawable, seen_by
from dimo_ns.viewer.state import State
from tests.spaces import some_space
from tests.viewer.fake_viser import Client, Gui, Scene, Server


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch):
    """Makes players that end with the test; even coarse pictures are small here."""
    monkeypatch.setattr(player, "SHARP", 96)
    monkeypatch.setattr(player, "COARSE", 32)
    monkeypatch.setattr(player, "BUDGET", 0.0)
    made = []

    def start(*clients: Client) -> Player:
        state, server, overlays = State(some_space()), Server(*clients), Overlays(Scene())
        made.append(Player(server, state, Panel(Gui(), state, overlays), overlays))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop()
        assert not one.is_alive()


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_nobody_looks_nothing_is_drawn(play):
    running = play()
    running.state.play(True)
    running.state.select("run")
    for _ in range(3):
        running.wake()
        assert running.settled(20)
    assert running.pictures == 0
    assert running.state.time == 0.0  # nor does time pass


def test_it_is_settled_once_everything_was_sent_and_not_before(play):
    client = Client(0)
    running = play(client)
    assert running.settled(20)
    assert len(client.images[-1]) == 96
    with running.state.changed:
        running.state.select("run")
        assert not running.settled(0)
    assert running.settled(20)
    assert running.watchers[0].version == running.state.version
    assert running.panel._handles["motion"].value == "run"
    running.state.play(True)
    assert not running.settled(0.2)
    running.state.play(False)
    assert running.settled(20)


def test_a_change_is_shown_coarsely_and_then_sharply(play):
    client = Client(0)
    running = play(client)
    until(lambda: client.images and len(client.images[-1]) == 96)
    count = len(client.images)
    running.state.select("run")
    until(lambda: len(client.images) >= count + 2)
    assert len(client.images[count]) == 32
    until(lambda: len(client.images[-1]) == 96)
    size = client.images[-1].shape[:2]
    assert size == (96, 144)  # the browser's aspect
    expected = draw.draw(running.state.space, running.state.shown(), seen_by(client.camera, size))
    assert np.array_equal(client.images[-1], expected)
    assert running.settled(20)
    rested = running.pictures
    running.wake()
    assert running.settled(20)
    assert running.pictures == rested  # at rest, there is nothing to do


def test_two_look_and_one_leaves_while_it_plays(play):
    stays, leaves = Client(0), Client(1, aspect=0.7)
    running = play(stays, leaves)
    running.state.play(True)
    until(lambda: len(leaves.images) > 2)
    leaves.gone = True
    running.server.clients.pop(1)
    count = len(stays.images)
    until(lambda: len(stays.images) > count + 3)
    assert running.is_alive()


def test_a_camera_that_moves_gets_its_picture(play):
    client = Client(0)
    running = play(client)
    until(lambda: client.images and len(client.images[-1]) == 96)
    before = client.images[-1]
    client.camera.position, client.camera.update_timestamp = np.array([0.0, -1.4, 0.0]), 2.0
    running.wake()
    until(lambda: len(client.images[-1]) == 96 and not np.array_equal(before, client.images[-1]))


def test_pictures_do_not_pile_up_when_they_take_long(play, monkeypatch: pytest.MonkeyPatch):
    # Twenty changes come while one picture is made: what follows is one picture of the last, not twenty.
    client = Client(0)
    running = play(client)
    until(lambda: client.images and len(client.images[-1]) == 96)
    own, count = draw.draw, len(client.images)
    monkeypatch.setattr(draw, "draw", lambda *args: (time.sleep(0.3), own(*args))[1])
    for i in range(20):
        running.state.shift(0, i / 10)
        time.sleep(0.005)
    until(lambda: running.watchers[0].version == running.state.version)
    assert len(client.images) - count <= 3


def test_the_browsers_camera_is_understood():
    # viser's cameras look along +z with y down; this one stands at -y and looks along +y, z up.
    camera = seen_by(Client(0).camera, (100, 150))
    points = torch.tensor([[0.0, 0, 0], [0, 0, 0.1], [0.1, 0, 0]])
    centre, above, right = camera.project(points)
    torch.testing.assert_close(centre, torch.tensor([75.0, 50.0, 2.0]), atol=1e-4, rtol=0)
    assert above[1] < centre[1]
    assert right[0] > centre[0]
    top = torch.tensor([[0.0, 0.0, 2 * float(np.tan(0.35))]])
    assert float(camera.project(top)[0, 1]) == pytest.approx(0, abs=1e-3)  # the field of view is vertical


BAD = [
    ("fov", 0.0), ("fov", float("nan")), ("fov", 4.0), ("fov", "wide"), ("fov", None), ("aspect", float("nan")),
    ("aspect", -1.0), ("aspect", float("inf")), ("image_height", -5), ("image_height", float("inf")),
    ("wxyz", (0.0, 0.0, 0.0, 0.0)), ("wxyz", (1.0, 0.0)), ("position", (float("nan"), 0.0, 0.0)),
    ("position", (1e30, 0.0, 0.0)), ("position", "here"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_browser_without_a_camera_to_speak_of_gets_nothing_and_the_others_theirs(play, capsys, field: str, value):
    """Whoever connects may say of their camera what they like."""
    odd, other = Client(0), Client(1)
    setattr(odd.camera, field, value)
    assert not is_drawable(odd.camera)
    assert is_drawable(other.camera)
    running = play(odd, other)
    running.state.select("run")
    assert running.settled(20)
    assert len(other.images[-1]) == 96
    assert odd.images == []
    assert capsys.readouterr().err == ""


def test_a_huge_picture_is_drawn_as_large_as_pictures_get(play, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(player, "SHARPEST", 128)
    client = Client(0)
    client.camera.image_height = 10**5
    running = play(client)
    assert running.settled(20)
    assert len(client.images[-1]) == 128
