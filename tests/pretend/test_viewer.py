"""The viewers of a scene on a pretended CUDA device show what they show on the CPU."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox

from dimo_ns import cli
from dimo_ns.space.file import FILE
from dimo_ns.space.info import SceneInfo
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.training.datamanager import DimoDataManagerConfig
from dimo_ns.training.dataparser import DimoDataParserConfig, nerfstudio_cameras
from dimo_ns.training.model import DimoModel, DimoModelConfig
from dimo_ns.viewer import draw, player
from dimo_ns.viewer.nerfstudio import MotionTab
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.panel import Panel
from dimo_ns.viewer.player import Player, seen_by
from dimo_ns.viewer.serve import SceneViewer, free_port
from dimo_ns.viewer.splats import splats_of
from dimo_ns.viewer.state import LAYERS, State
from tests.pretend.cuda import pretend_cuda
from tests.pretend.pretended import CUDA
from tests.pretend.small_recipes import write_small
from tests.spaces import some_space
from tests.training.tiny_runs import MOTIONS, VIEWS, flat, write_set
from tests.viewer.fake_viser import Client, Gui, Scene, Server


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_space(gaussians=100).save(tmp_path_factory.mktemp("scene") / FILE)


def taken(scene: Path, act: Callable[[State], object]) -> dict[str, np.ndarray]:
    """All that there is to see after an act."""
    state = State(MotionSpace.open(scene))
    act(state)
    shown, camera = state.shown(), seen_by(Client(0).camera, (32, 48))
    made: dict[str, np.ndarray] = {"z": shown.z.cpu().numpy(), "place": np.array(state.place)}
    for layer in LAYERS:
        state.show(layer=layer)
        made[layer] = draw.draw(state.space, state.shown(), camera)
    for name, arrays in (
        ("splats", splats_of(state.space, shown)),
        ("keypoints", draw.keypoints_of(state.space, shown)),
        ("trails", draw.trails_of(state.space, shown)),
    ):
        made |= {f"{name} {i}": array for i, array in enumerate(arrays)}
    made["map"] = np.asarray(draw.latent_map(state))
    return made


ACTS: dict[str, Callable[[State], object]] = {
    "select": lambda state: state.select("run"),
    "mix": lambda state: state.mix("walk", "sit", 0.3),
    "shift": lambda state: state.shift(1, 1.5),
    "random": lambda state: state.random(0.5),
    "go_to": lambda state: state.go_to(0.3, 0.6),
    "canonical": lambda state: state.show(canonical=True),
    "seek": lambda state: (state.select("wave"), state.seek(0.6)),
}


@pytest.mark.parametrize("name", ACTS)
def test_what_a_hand_does_shows_what_it_shows_on_the_cpu(scene: Path, name: str):
    expected = taken(scene, ACTS[name])
    with pretend_cuda():
        found = taken(scene, ACTS[name])
    assert found.keys() == expected.keys()
    for what, array in expected.items():
        difference = np.abs(found[what].astype(float) - array.astype(float))
        assert difference.mean() < (0.5 if array.dtype == np.uint8 else 1e-4), what


def test_a_motion_is_saved_and_found_again(tmp_path: Path, cuda: None):
    state = State(MotionSpace.open(some_space(gaussians=50).save(tmp_path / FILE)))
    state.mix("walk", "run", 0.5)
    state.save("between")
    again = State(MotionSpace.open(tmp_path))
    again.select("between")
    assert again.latent.device == CUDA
    torch.testing.assert_close(again.latent, state.space.latents("walk", "run").mean(0))


def test_the_player_sends_pictures_and_the_panel_follows(scene: Path, monkeypatch: pytest.MonkeyPatch, cuda: None):
    monkeypatch.setattr(player, "SHARP", 48)
    monkeypatch.setattr(player, "COARSE", 32)
    state, client, gui, overlays = State(MotionSpace.open(scene)), Client(0), Gui(), Overlays(Scene())
    running = Player(Server(client), state, Panel(gui, state, overlays), overlays)
    running.start()
    try:
        assert running.settled(60)
        state.select("run")
        state.show(keypoints=True, trails=True)
        assert running.settled(60)
        gui["Axis 1 (σ)"].hand(1.0)
        assert running.settled(60)
        assert state.sigmas[0] == 1.0
    finally:
        running.stop()
    expected = draw.draw(state.space, state.shown(), seen_by(client.camera, client.images[-1].shape[:2]))
    assert np.array_equal(client.images[-1], expected)


def test_the_player_poses_the_object_in_browsers(scene: Path, cuda: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(player, "COARSE", 32)
    state, client, overlays = State(MotionSpace.open(scene)), Client(0), Overlays(Scene())
    running = Player(Server(client), state, Panel(Gui(), state, overlays), overlays, browsers_draw=True)
    running.start()
    try:
        assert running.settled(60)
        state.random()
        assert running.settled(60)
    finally:
        running.stop()
    assert all(map(np.array_equal, client.poses[-1], splats_of(state.space, state.shown())))


def test_dimo_view_serves_a_scene(scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    found = []

    def wait(viewer: SceneViewer) -> None:
        found.append((viewer.state.space.device, viewer.player.settled(60)))

    monkeypatch.setattr(SceneViewer, "wait", wait)
    monkeypatch.setattr(player, "COARSE", 32)
    with pretend_cuda():
        cli.main(["view", str(scene), "--port", str(free_port("127.0.0.1", 7700))])
    assert found == [(CUDA, True)]
    assert "went wrong" not in capsys.readouterr().err


# --- in nerfstudio's viewer -------------------------------------------------------------------------------------------


def model_of(root: Path, recipe: Path) -> DimoModel:
    """One in its last phase, that was never trained, with the tab."""
    torch.manual_seed(0)
    place = "cuda" if torch.cuda.is_available() else "cpu"
    manager = DimoDataManagerConfig(dataparser=DimoDataParserConfig(data=root)).setup(device=place, test_mode="test")
    config = DimoModelConfig(recipe=str(recipe), panel=MotionTab)
    metadata = manager.train_dataparser_outputs.metadata
    model = config.setup(scene_box=SceneBox(torch.zeros(2, 3)), num_train_data=1, metadata=metadata).to(place)
    generator = torch.Generator().manual_seed(1)
    scene = model.scene
    with torch.no_grad():
        for parameter in (scene.latents.mu, scene.keypoints, scene.gaussians.means, *scene.decoder.parameters()):
            parameter.add_((0.1 * torch.randn(parameter.shape, generator=generator)).to(place))
    scene.refresh_neighbours()
    model.set_step(10**6)
    return model.eval()


def tab_of(model: DimoModel) -> Any:
    """The tab as nerfstudio's viewer sets it up, without the thread that plays."""
    metadata = model.kwargs["metadata"]
    dataset = metadata["dataset"]
    tab: Any = model.panel
    tab.state = State(MotionSpace(model.scene, SceneInfo(tuple(metadata["motions"]), dataset.frames, dataset.fps)))
    tab._is_set_up = True
    return tab


def test_nerfstudios_tab_shows_what_its_state_says(tmp_path: Path):
    write_set(tmp_path / "set", lambda *_: flat(100), 4)
    recipe = write_small("laptop", tmp_path)
    pictures = []
    for place in ("cpu", "cuda"):
        with pretend_cuda() if place == "cuda" else nullcontext():
            model = model_of(tmp_path / "set", recipe)
            tab = tab_of(model)
            tab.state.mix(*MOTIONS, 0.5)
            tab.state.show(layer="skinning")
            z, posed = tab.shown(0.5)
            assert z.device.type == posed.means.device.type == place
            seen = model.get_outputs(nerfstudio_cameras([VIEWS[0]], torch.tensor([[0.5]])))
            pictures.append({name: seen[name].cpu() for name in seen})
    for name, expected in pictures[0].items():
        assert float((pictures[1][name] - expected).abs().mean()) < 2e-3, name
