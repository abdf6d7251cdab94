"""Faults of views that were put into pictures are found by comparing them with renders; what is right is left alone."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox

from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.view_faults import ViewFaults
from dimo_ns.data.dataset import Motion, cameras_of, orbit_view
from dimo_ns.data.format import Dataset, write
from dimo_ns.rasterize.render import render
from dimo_ns.training.calibration import calibrate, showing
from dimo_ns.training.datamanager import DimoDataManager, DimoDataManagerConfig
from dimo_ns.training.dataparser import DimoDataParserConfig
from dimo_ns.training.model import DimoModel, DimoModelConfig

SIZE, FRAMES = 128, 13
VIEWS = [orbit_view(f"view_0{i}", "train", azimuth, 10.0, SIZE) for i, azimuth in enumerate((0.0, 75.0, 180.0, 290.0))]
MOTIONS = ("sway", "nod")
TIMES = tuple(0.1 * frame for frame in range(FRAMES))


def written(root: Path, picture) -> Dataset:
    motions = [Motion(name, f"a thing that {name}s", "train", True, TIMES) for name in MOTIONS]
    everything = product(enumerate(MOTIONS), enumerate(VIEWS), range(FRAMES))
    frames = ((name, view.name, f, picture(m, v, f)) for (m, name), (v, view), f in everything)
    return write(root, object="thing", prompt="a thing", licence="CC0-1.0", views=VIEWS, motions=motions, frames=frames)


def opened(dataset: Dataset) -> tuple[DimoModel, DimoDataManager]:
    """A model of 300 coloured Gaussians that swing by a tenth of the world unit, each part at its own time, in the
    phase of trajectories."""
    parser = DimoDataParserConfig(data=dataset.root)
    manager = DimoDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="test")
    model = DimoModelConfig(recipe="laptop").setup(
        scene_box=SceneBox(torch.zeros(2, 3)), num_train_data=1, metadata=manager.train_dataparser_outputs.metadata
    )
    generator = torch.Generator().manual_seed(1)
    model.scene.gaussians = CanonicalGaussians(
        torch.rand(300, 3, generator=generator) * 0.6 - 0.3,
        torch.full((300, 3), 0.03),
        torch.full((300,), 0.9),
        torch.rand(300, 3, generator=generator),
    )
    turn = torch.arange(FRAMES)[:, None] / FRAMES * 2 * math.pi
    with torch.no_grad():
        model.scene.keypoints.copy_(torch.rand(model.scene.keypoints.shape, generator=generator) * 0.6 - 0.3)
        x, y, z = model.scene.keypoints.T
        model.table.translations[0, :, :, 1] = 0.1 * torch.sin(turn + 8 * z)
        model.table.translations[1, :, :, 2] = 0.1 * torch.cos(turn + 8 * (x + y))
        model.scene.log_radii.fill_(-2.0)
    model.scene.refresh_neighbours()
    model.set_step(next(s for s in range(10**5) if model.recipe.at(s, 2).phase.name == "trajectories"))
    return model.eval(), manager


@torch.no_grad()
def pictures_of(model: DimoModel, faults: ViewFaults):
    """What views with faults show, as uint8 RGBA."""
    cameras = cameras_of(VIEWS, (SIZE, SIZE))

    def picture(m: int, v: int, frame: int) -> np.ndarray:
        motion, view = torch.tensor([m]), torch.tensor([[v]])
        moment = faults.object_frames(FRAMES)[m, v, frame].clamp(0, FRAMES - 1)[None]
        g = model.mover.pose(model.scene.latents.mean(motion), moment / FRAMES, motion)
        seen = render(
            faults.seen(g, cameras[view], motion, view, torch.tensor([[frame / FRAMES]])), cameras[view][:, :, None]
        )
        color, alpha = seen.color[0, 0, 0], seen.alpha[0, 0, 0]
        straight = torch.cat([color / alpha.clamp(min=1e-3), alpha], -1).clamp(0, 1)
        return (255 * straight).round().byte().numpy()

    return picture


@torch.no_grad()
def where_it_is_seen(model: DimoModel, faults: ViewFaults) -> torch.Tensor:
    """Pixels of all Gaussians in all views in the middle of each motion, [m, v, n, 2]."""
    motions, views = torch.arange(2), torch.arange(len(VIEWS)).expand(2, -1)
    cameras, times = cameras_of(VIEWS, (SIZE, SIZE))[views], torch.full((2, len(VIEWS)), 0.5)
    g = model.mover.pose(model.scene.latents.mean(motions), torch.full((2,), 0.5), motions)
    return cameras.project(faults.seen(g, cameras, motions, views, times).means)[..., :2]


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> DimoModel:
    grey = np.full((SIZE, SIZE, 4), 200, np.uint8)
    return opened(written(tmp_path_factory.mktemp("blank") / "set", lambda m, v, f: grey))[0]


def test_right_views_are_left_alone(blank, tmp_path):
    model, manager = opened(written(tmp_path / "set", pictures_of(blank, ViewFaults(2, len(VIEWS)))))
    calibrate(model, manager)
    assert not model.faults.found
    found = showing(model.faults, manager.frames.available, np.ones(len(VIEWS)))
    assert found.trust is None
    assert (found.picture_ids == np.arange(FRAMES)[:, None]).all()


def test_views_are_looked_at_as_the_dataset_trusts_them():
    trust = np.array([1.0, 1.0, 0.25, 1.0])
    found = showing(ViewFaults(2, len(VIEWS)), np.ones((2, FRAMES, len(VIEWS)), bool), trust)
    assert not found.faulty
    np.testing.assert_array_equal(found.trust, [trust, trust])


def test_faults_are_found_and_view_0_has_none(blank, tmp_path):
    true = ViewFaults(2, len(VIEWS))
    true.clock[:, 1:, 0] = torch.tensor([[1.0, -1.2, 0.6], [-0.8, 1.3, 0.0]])
    true.exposure[:, 1:] = torch.tensor([[0.1, -0.05, 0.0], [-0.1, 0.05, 0.1]])[..., None]
    true.displacement[:, 1:, 0, 0, 0] = torch.tensor([[3.0, -4.0, 2.0], [0.0, 4.0, -3.0]]) / 128
    model, manager = opened(written(tmp_path / "set", pictures_of(blank, true)))
    scene = {name: value.clone() for name, value in model.scene.state_dict().items()}
    for _ in range(3):
        calibrate(model, manager)
    found = model.faults
    assert not any(fault[:, 0].any() for fault in found.buffers())
    off = (found.object_frames(FRAMES) - true.object_frames(FRAMES)).clamp(-3, 3)
    assert off.square().mean().sqrt() < 0.2
    assert (found.exposure - true.exposure).abs().max() < 0.02
    ours, theirs = (where_it_is_seen(model, faults) for faults in (found, true))
    assert (ours - theirs).mean(-2).norm(dim=-1).max() < 0.3  # pixels
    assert all(torch.equal(value, scene[name]) for name, value in model.scene.state_dict().items())

    shown = showing(found, manager.frames.available, np.ones(len(VIEWS)))
    assert shown.picture_ids[0, 6].tolist() == [6, 5, 7, 5]  # by clocks of 0, 1.0, -1.2 and 0.6 frames ahead
    assert shown.faulty
    assert (shown.trust[:, 0] > shown.trust[:, 1:].max(1)).all()


def test_where_view_0_is_late_the_object_follows_it(blank, tmp_path):
    """All views agree but view 0, whose clock is the object's: trajectories are then two thirds of a frame earlier."""
    true = ViewFaults(2, len(VIEWS))
    true.clock[:, 1:, 0] = 0.7
    model, manager = opened(written(tmp_path / "set", pictures_of(blank, true)))
    with torch.no_grad():
        model.table.retime((0.7 + torch.arange(FRAMES)).expand(2, -1))  # as tracking found it, by most of the views
    for _ in range(3):
        calibrate(model, manager)
    middle = slice(3, -3)
    moved = (model.table.translations - blank.table.translations)[:, middle].norm(dim=-1)
    assert moved.max() < 0.2 * 0.1 * 2 * math.pi / FRAMES  # a fifth of a frame, at the greatest speed
    assert (model.faults.object_frames(FRAMES) - true.object_frames(FRAMES))[..., middle].abs().max() < 0.25
