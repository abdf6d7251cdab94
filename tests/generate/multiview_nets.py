"""Networks small enough to test with: the UNet that the recorded outputs were made with, and a whole tiny model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dimo_ns.generate.multiview.encoders import Encoders
from dimo_ns.generate.multiview.model import MultiView
from dimo_ns.generate.multiview.unet import UNet
from dimo_ns.generate.multiview.variants import VARIANTS

TINY_UNET = {
    "channels": 32,
    "multipliers": (1, 2),
    "blocks_per_level": 1,
    "head_dim": 8,
    "clip_dim": 16,
}
TINY_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (4, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "latent_channels": 4,
    "use_post_quant_conv": False,
}
TINY_CLIP = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "patch_size": 8,
    "image_size": 32,
    "projection_dim": 16,
    "hidden_act": "gelu",
}
SIZE = 64
TINY = {
    "sv4d2": replace(VARIANTS["sv4d2"], frames=3, azimuths_deg=(0.0, 90.0, 200.0)),
    "sv4d2_8views": replace(VARIANTS["sv4d2_8views"], frames=2, azimuths_deg=(0.0, 90.0, 180.0, 270.0)),
}
"""The published variants with fewer frames and views."""


def draw(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Normal parameters of standard deviation 0.08, as half precision can hold them, in the module's order."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((torch.randn(parameter.shape, generator=generator) * 0.08).half())


def tiny_networks(name: str) -> dict[str, torch.nn.Module]:
    pytest.importorskip("diffusers", reason="needs the 'generate' extra")
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return {
        "unet": UNet(TINY[name].across_views, **TINY_UNET).eval(),
        "vae": AutoencoderKL(**TINY_VAE).eval(),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY_CLIP)).eval(),
    }


def tiny_model(name: str) -> MultiView:
    networks = tiny_networks(name)
    generator = torch.Generator().manual_seed(7)
    for network in networks.values():
        draw(network, generator)
    with torch.no_grad():
        for parameter in networks["vae"].parameters():
            parameter.mul_(4)  # or its images would all be grey
    return MultiView(TINY[name], networks["unet"], Encoders(networks["vae"], networks["image_encoder"]))


def some_clip(frames: int) -> np.ndarray:
    """A disc that moves to the right and changes its colour, RGBA."""
    y, x = np.mgrid[:SIZE, :SIZE]
    clip = np.zeros((frames, SIZE, SIZE, 4), np.uint8)
    for t in range(frames):
        clip[t][(x - 20 - 3 * t) ** 2 + (y - 32) ** 2 < 150] = (200, 20 * t, 90, 255)
    return clip
