"""Tiny datasets, and models of them that were not trained but move."""

from pathlib import Path

import numpy as np
import torch
from nerfstudio.data.scene_box import SceneBox

from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.data.format import Dataset, Motion, orbit_view, write
from dimo_ns.training.datamanager import DimoDataManager, DimoDataManagerConfig
from dimo_ns.training.dataparser import DimoDataParserConfig
from dimo_ns.training.model import DimoModel, DimoModelConfig
from dimo_ns.training.outputs import Panel

SIZE = 32
VIEWS = [orbit_view(name, split, azimuth, 10.0, SIZE) for name, split, azimuth in (
    ("view_00", "train", 0.0), ("view_01", "train", 120.0), ("test_00", "test", 60.0))]  # fmt: skip
MOTIONS = ("walk", "jump")


def write_set(root: Path, picture, frames: int, **more) -> Dataset:
    """A dataset whose frames are picture(motion, view, frame), uint8 RGBA."""
    times = tuple(0.1 * f for f in range(frames))
    return write(
        root,
        object="thing",
        prompt="a thing",
        licence="CC0-1.0",
        views=VIEWS,
        motions=[Motion(name, f"a thing that {name}s", "train", True, times) for name in MOTIONS],
        frames=((m, v.name, f, picture(m, v, f)) for m in MOTIONS for v in VIEWS for f in range(frames)),
        **more,
    )


def flat(grey: int) -> np.ndarray:
    """The left half grey, the right half empty."""
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[:, : SIZE // 2] = [grey, grey, grey, 255]
    return rgba


def open_set(dataset: Dataset, panel: type[Panel] | None = None) -> tuple[DimoModel, DimoDataManager]:
    """A data manager, and a model in its last phase whose 200 Gaussians move a little with every frame and motion."""
    parser = DimoDataParserConfig(data=dataset.root)
    manager = DimoDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="test")
    model = DimoModelConfig(recipe="laptop", panel=panel).setup(
        scene_box=SceneBox(torch.zeros(2, 3)), num_train_data=1, metadata=manager.train_dataparser_outputs.metadata
    )
    generator = torch.Generator().manual_seed(1)
    scene = model.scene
    scene.gaussians = CanonicalGaussians(
        0.2 * torch.randn(200, 3, generator=generator),
        torch.full((200, 3), 0.05),
        torch.full((200,), 0.7),
        0.2 + 0.6 * torch.rand(200, 3, generator=generator),
    )
    with torch.no_grad():
        scene.keypoints.copy_(0.2 * torch.randn(scene.keypoints.shape, generator=generator))
        scene.log_radii.fill_(-2.0)
        scene.decoder.basis.copy_(0.02 * torch.randn(scene.decoder.basis.shape, generator=generator))
        for layer in scene.decoder.trunk[::2]:
            layer.weight.copy_(0.15 * torch.randn(layer.weight.shape, generator=generator))
            layer.bias.zero_()
        scene.latents.mu.copy_(torch.randn(scene.latents.mu.shape, generator=generator))
    scene.refresh_neighbours()
    model.set_step(10**6)
    return model.eval(), manager
