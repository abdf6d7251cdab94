"""Images to latents and back, and to CLIP embeddings: the autoencoder and image encoder of Stable Video Diffusion."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SHRINK = 8
"""Pixels per latent, along each side."""
LATENT_SCALE = 0.18215
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
VAE_CONFIG = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "use_post_quant_conv": False,
}
CLIP_CONFIG = {  # ViT-H/14
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}


class Encoders:
    """diffusers' AutoencoderKL and transformers' CLIPVisionModelWithProjection, a few images at a time."""

    def __init__(self, vae: Any, image_encoder: Any, images_at_once: int = 4):
        self.vae, self.image_encoder, self.images_at_once = vae, image_encoder, images_at_once

    def encode(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n l h8 w8"]:
        """Latents of images in [-1, 1]: the posterior's mode, not scaled."""
        slices = images.to(self.vae.device, self.vae.dtype).split(self.images_at_once)
        return torch.cat([self.vae.encode(some).latent_dist.mode() for some in slices])

    def decode(self, latents: Float[Tensor, "n l h8 w8"]) -> Float[Tensor, "n 3 h w"]:
        """Images, nominally in [-1, 1], of latents as the UNet makes them: scaled."""
        slices = (latents / LATENT_SCALE).to(self.vae.dtype).split(self.images_at_once)
        return torch.cat([self.vae.decode(some).sample for some in slices])

    def embed(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """CLIP embeddings of images in [-1, 1]."""
        pixels = (shrink(images, self.image_encoder.config.image_size) + 1) / 2
        mean, std = (torch.tensor(c, device=pixels.device)[:, None, None] for c in (CLIP_MEAN, CLIP_STD))
        slices = ((pixels - mean) / std).to(self.image_encoder.device, self.image_encoder.dtype)
        return torch.cat([self.image_encoder(some).image_embeds for some in slices.split(self.images_at_once)])


def shrink(images: Float[Tensor, "n 3 h w"], size: int) -> Float[Tensor, "n 3 {size} {size}"]:
    """Square images, blurred as much as they shrink (as scikit-image and kornia do), then sampled bicubically."""
    from torchvision.transforms.functional import gaussian_blur

    sigma = max((images.shape[-1] / size - 1) / 2, 0.001)
    width = int(max(4 * sigma, 3)) | 1
    blurred = gaussian_blur(images, [width, width], [sigma, sigma])
    return F.interpolate(blurred, size=(size, size), mode="bicubic", align_corners=True)
