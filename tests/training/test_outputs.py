"""What nerfstudio gets for a camera: which motion and time, which images, and drawings only when they are taken."""

from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from dimo_ns.draw import trails
from dimo_ns.training.dataparser import nerfstudio_cameras
from dimo_ns.training.model import DimoModel
from dimo_ns.training.outputs import Outputs
from tests.training.tiny_runs import MOTIONS, SIZE, VIEWS, flat, open_set, write_set

FRAMES = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DimoModel:
    return open_set(write_set(tmp_path_factory.mktemp("data") / "set", lambda *_: flat(100), FRAMES))[0]


def camera(time: float | None = 0.5, **metadata) -> Cameras:
    """One camera; without a time, as `ns-render interpolate` makes them."""
    made = nerfstudio_cameras([VIEWS[0]], torch.tensor([[time or 0.0]]), metadata or None)
    if time is None:
        made.times = None
    return made


def test_images_are_made_when_they_are_taken_and_once():
    calls = []
    outputs = Outputs(rgb=torch.zeros(1))
    outputs.later("slow", lambda: (calls.append(1), torch.ones(2))[1])
    assert list(outputs.keys()) == ["rgb", "slow"]
    assert "slow" in outputs
    assert not calls
    assert outputs["slow"] is outputs["slow"]
    assert dict(outputs.items())["slow"].shape == (2,)
    assert calls == [1]
    with pytest.raises(KeyError):
        outputs["none"]


def test_a_camera_says_its_motion_or_bears_the_number_of_one_that_does(model: DimoModel):
    items = model.kwargs["metadata"]["items"]
    number = items.index((1, 2, 0))
    assert model.shown_by(camera(0.25, motion_id=torch.tensor([[1]]))) == (1, 0.25)
    assert model.shown_by(camera(0.25, cam_idx=number)) == (1, 0.25)  # the path's own time
    assert model.shown_by(camera(None, cam_idx=number)) == (1, 2 / FRAMES)  # else that camera's
    assert model.shown_by(camera(None)) == (0, 0.0)
    model.motion.value = MOTIONS[1]
    assert model.shown_by(camera(0.5)) == (1, 0.5)
    model.motion.value = MOTIONS[0]


def test_every_output_is_an_image_of_the_cameras_size(model: DimoModel):
    outputs = model.get_outputs_for_camera(camera())
    assert set(outputs) == {"rgb", "alpha", "accumulation", "depth", "keypoints", "trajectories"}
    channels = {name: outputs[name].shape for name in outputs}
    for name in ("rgb", "keypoints", "trajectories"):
        assert channels[name] == (SIZE, SIZE, 3)
        assert 0 <= float(outputs[name].min()) <= float(outputs[name].max()) <= 1
    for name in ("alpha", "accumulation", "depth"):
        assert channels[name] == (SIZE, SIZE, 1)
    assert torch.equal(outputs["alpha"], outputs["accumulation"])
    assert model.get_rgba_image(outputs).shape == (SIZE, SIZE, 4)


def test_trajectories_show_the_way_to_the_time_of_the_camera(model: DimoModel, monkeypatch: pytest.MonkeyPatch):
    seen = {}
    monkeypatch.setattr(
        trails, "trails_over", lambda picture, positions, *_: (seen.update(positions=positions), picture.image)[1]
    )
    outputs = model.get_outputs_for_camera(camera(0.75, motion_id=torch.tensor([[1]])))
    assert not seen  # nothing is drawn until it is asked for
    assert outputs["trajectories"].shape == (SIZE, SIZE, 3)
    z = model.scene.latents.mu[1]
    for row, t in ((-1, 0.75), (0, 0.75 - trails.LENGTH)):
        expected = model.scene.keypoints + model.scene.trajectory(z[None], torch.tensor([t])).translations[0]
        chosen = trails.choose(model.scene.keypoints)
        torch.testing.assert_close(seen["positions"][row], expected[chosen].detach(), atol=1e-5, rtol=0)


def test_in_every_phase_the_key_points_are_drawn_where_that_phase_moves_them(
    model: DimoModel, monkeypatch: pytest.MonkeyPatch
):
    """At rest, by the table's row of the motion and frame, or by the decoder; ways come from the place half a motion
    before."""
    motion, frame = 1, 2
    keypoints, z = model.scene.keypoints.detach(), model.scene.latents.mu[motion]
    assert model.table is not None
    table = 0.1 * torch.randn(model.table.translations.shape)
    monkeypatch.setattr(model.table.translations, "data", table)

    def decoded(time: float) -> torch.Tensor:
        return model.scene.trajectory(z[None], torch.tensor([time])).translations[0].detach()

    moved = {
        "rest": {f: torch.zeros_like(keypoints) for f in range(FRAMES)},
        "table": dict(enumerate(table[motion])),
        "decoder": {f: decoded(f / FRAMES) for f in range(FRAMES)},
    }
    drawn = {}
    monkeypatch.setattr(
        trails, "points_over", lambda picture, places, *_: (drawn.update(points=places), picture.image)[1]
    )
    monkeypatch.setattr(
        trails, "trails_over", lambda picture, places, *_: (drawn.update(ways=places), picture.image)[1]
    )
    steps, movers = 0, set()
    try:
        for phase in model.recipe.phases:
            model.set_step(steps)
            steps += phase.length(len(MOTIONS))
            movers.add(phase.mover)
            outputs = model.get_outputs_for_camera(camera(frame / FRAMES, motion_id=torch.tensor([[motion]])))
            assert outputs["keypoints"].shape == outputs["trajectories"].shape == (SIZE, SIZE, 3)
            expected = keypoints + moved[phase.mover][frame]
            torch.testing.assert_close(drawn["points"], expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(drawn["ways"][-1], expected[trails.choose(keypoints)], atol=1e-5, rtol=0)
    finally:
        model.set_step(10**6)
    assert movers == {"rest", "table", "decoder"}  # as the three are a tenth of a unit apart, none passes for another


def test_a_motion_that_is_not_there_is_refused(model: DimoModel, tmp_path: Path):
    from dataclasses import replace

    from dimo_ns.errors import DimoError

    with pytest.raises(DimoError, match="no motion 'wlak' to show; there are walk, jump"):
        DimoModel(replace(model.config, motion="wlak"), model.scene_box, 1, metadata=model.kwargs["metadata"])
    chosen = DimoModel(replace(model.config, motion="jump"), model.scene_box, 1, metadata=model.kwargs["metadata"])
    assert chosen.shown_by(camera(0.5)) == (1, 0.5)
