"""A tiny multi-view model's weights on disk, under the published names, and the command line made to expect it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dimo_ns.generate.multiview import variants, weights
from tests.generate.multiview_nets import TINY, TINY_CLIP, draw, tiny_networks
from tests.generate.test_multiview_weights import OpenClipVisual, published_vae

NAME = "sv4d2_8views"


def save(path: Path) -> Path:
    networks = {**tiny_networks(NAME), "image_encoder": OpenClipVisual(TINY_CLIP)}
    for i, network in enumerate(networks.values()):
        draw(network, torch.Generator().manual_seed(i))
    unet = {f"model.diffusion_model.{key}": value for key, value in networks["unet"].state_dict().items()}
    visual = networks["image_encoder"].state_dict()
    clip = {f"conditioner.embedders.0.open_clip.model.visual.{key}": value for key, value in visual.items()}
    vae = {key: 4 * value for key, value in published_vae(networks["vae"]).items()}
    save_file({k: v.clone().contiguous() for k, v in {**unet, **clip, **vae}.items()}, path)
    return path


def expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The architecture is all that is changed: loading, sampling and decoding are those of the published model."""
    monkeypatch.setattr(weights, "empty_networks", lambda variant: tiny_networks(NAME))
    monkeypatch.setitem(variants.VARIANTS, NAME, TINY[NAME])
