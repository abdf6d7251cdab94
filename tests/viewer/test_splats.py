"""The object that browsers draw: they are sent what is shown, when it has changed, and no faster than they go."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import viser
from viser.transforms import SO3

from dimo_ns.viewer import draw, player, splats
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.panel import Panel
from dimo_ns.viewer.player import Player
from dimo_ns.viewer.splats import SEEN_THROUGH, browsers_draw, splats_of
from dimo_ns.viewer.state import Look, State
from tests.spaces import GAUSSIANS, some_space
from tests.viewer.fake_viser import Client, Gui, Scene, Server


@pytest.fixture(scope="module")
def state() -> State:
    return State(some_space())


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch):
    """Makes players, whose browsers draw, that end with the test."""
    monkeypatch.setattr(player, "SHARP", 48)
    monkeypatch.setattr(player, "COARSE", 32)
    monkeypatch.setattr(splats, "PATIENCE", 60.0)  # a browser that is busy here stays so until it is told
    made = []

    def start(*clients: Client) -> Player:
        state, server, overlays = State(some_space()), Server(*clients), Overlays(Scene())
        made.append(Player(server, state, Panel(Gui(), state, overlays), overlays, browsers_draw=True))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop()


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def is_shown(client: Client, running: Player) -> bool:
    """Whether a browser has what is to be seen now, and has said so."""
    watcher = running.watchers.get(client.client_id)
    if watcher is None or watcher.version != running.state.version or not watcher.splats.ready:
        return False
    return all(map(np.array_equal, client.poses[-1], splats_of(running.state.space, running.state.shown())))


def arrays_of(state: State, **look):
    return splats_of(state.space, replace(state.shown(), look=Look(**look), time=0.5))


def test_splats_are_the_posed_gaussians(state: State):
    centres, covariances, colours, opacities = arrays_of(state)
    posed = state.space.scene.pose(state.latent[None], torch.tensor([0.5]))
    np.testing.assert_array_equal(centres, posed.means[0].detach())
    np.testing.assert_array_equal(colours, posed.colors.detach())
    np.testing.assert_array_equal(opacities[:, 0], posed.opacities.detach())
    for i in range(0, GAUSSIANS, 29):  # viser's own rotations as the oracle
        rotation = SO3(posed.quats[0, i].detach().double().numpy()).as_matrix()
        expected = rotation @ np.diag(posed.scales[i].detach().numpy() ** 2) @ rotation.T
        np.testing.assert_allclose(covariances[i], expected, atol=1e-8)


def test_the_look_is_in_the_splats(state: State):
    plain = arrays_of(state)
    np.testing.assert_array_equal(arrays_of(state, layer="skinning")[2], draw.skinning_colours(state.space))
    canonical = arrays_of(state, canonical=True)[0]
    np.testing.assert_allclose(canonical, state.space.scene.gaussians.means.detach(), atol=1e-5)
    for overlay in ("keypoints", "trails"):  # which lie inside: the object lets them through
        np.testing.assert_allclose(arrays_of(state, **{overlay: True})[3], SEEN_THROUGH * plain[3], rtol=1e-6)


def test_only_a_viser_that_can_change_gaussians_draws_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(viser, "GaussianSplatHandle", SimpleNamespace())
    monkeypatch.setattr(viser.SceneApi, "add_gaussian_splats", None, raising=False)
    takes = Scene()
    assert not browsers_draw(takes)
    monkeypatch.setattr(viser, "GaussianSplatHandle", SimpleNamespace(set_gaussians=None))
    assert browsers_draw(takes)
    monkeypatch.delattr(viser.SceneApi, "add_gaussian_splats")
    assert not browsers_draw(takes)


def test_a_change_is_sent_and_a_camera_is_not(play):
    client = Client(0)
    running = play(client)
    until(lambda: is_shown(client, running))
    assert client.splats.visible
    running.state.select("run")
    until(lambda: is_shown(client, running))
    sent = running.pictures
    client.camera.position, client.camera.update_timestamp = np.array([0.0, -1.4, 0.0]), 2.0
    running.wake()
    assert running.settled(20)
    assert running.pictures == sent == len(client.poses)
    assert client.images == [None]  # no picture behind it


def test_a_browser_that_is_busy_gets_the_last_pose_and_none_between(play):
    client = Client(0)
    running = play(client)
    until(lambda: is_shown(client, running))
    client.awake.clear()
    sent = len(client.poses)
    running.state.shift(0, 0.1)
    until(lambda: len(client.poses) == sent + 1)
    for i in range(20):
        running.state.shift(0, (i + 2) / 10)
        time.sleep(0.01)
    assert not running.settled(0.2)
    assert len(client.poses) == sent + 1
    client.awake.set()
    until(lambda: is_shown(client, running))
    assert len(client.poses) == sent + 2


def test_time_goes_on_while_a_browser_is_busy(play, monkeypatch: pytest.MonkeyPatch):
    client = Client(0)
    running = play(client)
    until(lambda: is_shown(client, running))
    passed, tick = [], running.state.tick
    monkeypatch.setattr(running.state, "tick", lambda seconds: (passed.append(seconds), tick(seconds)))
    client.awake.clear()
    running.state.play(True)
    sent = len(client.poses)
    until(lambda: len(client.poses) > sent)
    time.sleep(0.4)
    assert len(client.poses) == sent + 1
    client.awake.set()
    until(lambda: len(client.poses) > sent + 1)
    assert max(passed) >= 0.4  # the motion is as fast as it should be, in fewer poses


def test_a_slow_browser_does_not_hold_up_another(play):
    slow, quick = Client(0), Client(1)
    running = play(slow, quick)
    until(lambda: is_shown(slow, running) and is_shown(quick, running))
    slow.awake.clear()
    running.state.play(True)
    until(lambda: len(quick.poses) > len(slow.poses) + 3)


def test_who_comes_later_sees_the_present_and_who_leaves_is_forgotten(play):
    first, later = Client(0), Client(1)
    running = play(first)
    running.state.select("wave")
    until(lambda: is_shown(first, running))
    running.server.clients[1] = later
    running.wake()
    until(lambda: is_shown(later, running))
    running.server.clients.pop(0)
    running.wake()
    sent = len(first.poses)
    running.state.select("sit")
    until(lambda: is_shown(later, running))
    assert len(first.poses) == sent
    assert list(running.watchers) == [1]


@pytest.mark.parametrize("look", [{"layer": "depth"}, {"layer": "alpha"}, {"drawn_by": "server"}])
def test_what_the_server_draws_takes_the_place_of_the_splats(play, look):
    client = Client(0)
    running = play(client)
    until(lambda: is_shown(client, running))
    running.state.show(**look)
    until(lambda: client.images[-1] is not None and len(client.images[-1]) == 48)
    until(lambda: not client.splats.visible)
    running.state.show(layer="rgb", drawn_by="browser")
    until(lambda: is_shown(client, running))
    assert client.splats.visible
    assert client.images[-1] is None
