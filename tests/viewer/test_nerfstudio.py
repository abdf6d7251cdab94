"""The tab "Motion" in nerfstudio's own viewer, around a real model that was never trained."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import Viewer

import dimo_ns.config  # noqa: F401 (gives the model its tab)
from dimo_ns.rasterize.render import render
from dimo_ns.training.dataparser import nerfstudio_cameras
from dimo_ns.training.model import DimoModel
from dimo_ns.training.outputs import from_nerfstudio
from dimo_ns.viewer.nerfstudio import MotionTab, TheirControls
from dimo_ns.viewer.serve import free_port
from tests.training.tiny_runs import MOTIONS, VIEWS, flat, open_set, write_set

FRAMES = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DimoModel:
    model = open_set(write_set(tmp_path_factory.mktemp("data") / "set", lambda *_: flat(100), FRAMES), MotionTab)[0]
    with torch.no_grad():
        model.scene.latents.mu.copy_(torch.randn(model.scene.latents.mu.shape))
        for parameter in model.scene.decoder.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.set_step(model.recipe.length(len(MOTIONS)) - 1)  # the decoder moves it
    return model.eval()


@pytest.fixture(scope="module")
def viewer(model: DimoModel, tmp_path_factory: pytest.TempPathFactory):
    config = ViewerConfig(websocket_port=free_port("127.0.0.1", 7400), websocket_host="127.0.0.1")
    pipeline = torch.nn.Module()
    pipeline.model = model
    pipeline.datamanager = SimpleNamespace(includes_time=True)
    folder = tmp_path_factory.mktemp("run")
    viewer = Viewer(config, folder / "log.txt", folder, pipeline)
    yield viewer
    viewer.viser_server.stop()


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def camera(t: float = 0.25, **metadata):
    return nerfstudio_cameras([VIEWS[0]], torch.tensor([[t]]), metadata or None)


@pytest.fixture
def tab(model: DimoModel, viewer: Viewer):
    panel: Any = model.panel
    panel.state.select(MOTIONS[0])
    panel.state.show(canonical=False, layer="rgb")
    return panel


def test_it_is_a_tab_beside_nerfstudios_own(viewer: Viewer, tab):
    gui: Any = viewer.viser_server.gui
    newer = hasattr(gui, "_container_handle_from_uuid")  # viser 1.x
    containers = gui._container_handle_from_uuid if newer else gui._container_handle_from_id
    groups = [c._parent for c in containers.values() if hasattr(getattr(c, "_parent", None), "add_tab")]
    labels = [group._tab_labels if newer else group._labels for group in groups]
    assert any({"Control", "Render", "Motion"} <= set(names) for names in labels)
    assert tab.state.space.source == viewer.log_filename.parent


def test_the_model_shows_what_the_panel_says(model: DimoModel, tab):
    plain = model.get_outputs(camera(motion_id=torch.tensor([[0]])))["rgb"]
    torch.testing.assert_close(model.get_outputs(camera())["rgb"], plain)
    tab.state.mix(*MOTIONS[:2], 0.5)
    blended = model.get_outputs(camera())["rgb"]
    assert not torch.equal(blended, plain)
    posed = model.scene.pose(model.scene.latents.mu[:2].mean(0, keepdim=True), torch.tensor([0.25]))
    expected = render(posed, from_nerfstudio(camera())[None, None])
    torch.testing.assert_close(blended, expected.over(1.0)[0, 0].clamp(0, 1))
    tab.state.show(layer="skinning")
    assert not torch.equal(model.get_outputs(camera())["rgb"], blended)


def test_cameras_that_say_their_motion_are_not_the_viewers(model: DimoModel, tab):
    before = model.get_outputs(camera(motion_id=torch.tensor([[1]])))["rgb"]
    tab.state.shift(0, 2.0)
    assert torch.equal(model.get_outputs(camera(motion_id=torch.tensor([[1]])))["rgb"], before)


def test_before_the_decoder_learns_the_panel_changes_nothing(model: DimoModel, tab):
    last = model.recipe.length(len(MOTIONS)) - 1
    tab.state.shift(0, 2.0)
    model.set_step(0)
    try:
        assert tab.shown(0.0) is None
        model.get_outputs(camera())
    finally:
        model.set_step(last)


def test_nerfstudios_own_controls_and_the_panel_go_together(viewer: Viewer, model: DimoModel, tab):
    viewer.render_statemachines[99] = SimpleNamespace(next_action=None, action=lambda _: None)  # somebody looks
    try:
        viewer.control_panel.time = 0.5
        until(lambda: tab.state.time == 0.5)
        model.motion.value = MOTIONS[1]
        until(lambda: tab.state.motion == MOTIONS[1])
        tab.state.select(MOTIONS[0])
        until(lambda: model.motion.value == MOTIONS[0])
        for name in (MOTIONS[1], MOTIONS[0]):  # there and back, by nerfstudio's control alone
            model.motion.value = name
            until(lambda name=name: tab.state.motion == name)
        tab.state.play(True)
        until(lambda: viewer.control_panel.time not in (0.0, 0.5))
        tab.state.play(False)
    finally:
        del viewer.render_statemachines[99]


class Control:
    """A control of nerfstudio's, that calls back when it is told to: between a hand and its call back is time."""

    def __init__(self, value: Any):
        self.value, self.cb_hook = value, lambda _: None

    def call_back(self) -> None:
        self.cb_hook(self)


def test_what_a_hand_chose_is_not_undone_before_its_call_back(tab):
    state = tab.state
    state.seek(0.0)
    motion, slider = Control(MOTIONS[0]), Control(0.0)
    controls = TheirControls(motion, slider, state)
    motion.value, slider.value = MOTIONS[1], 0.5  # a hand, while the panel plays: its call backs are to come
    assert not controls.tell()
    assert (motion.value, slider.value) == (MOTIONS[1], 0.5)
    motion.call_back()
    slider.call_back()
    assert (state.motion, state.time) == (MOTIONS[1], 0.5)
    state.select(MOTIONS[0])  # by the panel; what it tells will call back when the panel is further on
    state.seek(0.25)
    assert controls.tell()
    state.select(MOTIONS[1])
    state.seek(0.5)
    motion.call_back()
    slider.call_back()
    assert (state.motion, state.time) == (MOTIONS[1], 0.5)
    assert controls.tell()
    assert (motion.value, slider.value) == (MOTIONS[1], 0.5)


def test_nobody_looks_time_stands_still(viewer: Viewer, tab):
    assert not viewer.render_statemachines
    time.sleep(0.6)
    tab.state.seek(0.25)
    tab.state.play(True)
    time.sleep(0.7)
    assert tab.state.time == 0.25
    tab.state.play(False)


def test_saving_goes_to_the_runs_folder(viewer: Viewer, tab, tmp_path: Path):
    out = tab.state.save("mine")
    assert out == viewer.log_filename.parent / "saved" / "mine"
    assert (out / "latents.safetensors").is_file()
