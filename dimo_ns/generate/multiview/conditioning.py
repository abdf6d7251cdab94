"""What a chunk is denoised under: the input's frames, the cameras, and the views that are already known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .blocks import sincos

NOISE_DIM, ANGLE_DIM = 256, 512
AUGMENTATION = 1e-5
"""The noise on the input's frames that the network is told of."""


@dataclass(frozen=True)
class Condition:
    """What the network is told of one chunk of t frames x v views."""

    frames: Float[Tensor, "t l h w"]
    """Latents of the input's frames, not scaled; the same for every view."""
    clip: Float[Tensor, "t d"]
    """CLIP embeddings of the input's frames."""
    cameras: Float[Tensor, "v e"]
    """See `camera_vectors`; the same for every frame."""
    views: Float[Tensor, "v l h w"]
    """Latents of the views in the chunk's first frame, not scaled; zeros in the first chunk, where none is known."""

    def dropped(self) -> "Condition":
        """What guidance leads away from: the angles alone. The rest is zero, the 256 numbers on the noise too."""
        cameras = self.cameras.clone()
        cameras[:, :NOISE_DIM] = 0
        return replace(
            self,
            frames=torch.zeros_like(self.frames),
            clip=torch.zeros_like(self.clip),
            cameras=cameras,
            views=torch.zeros_like(self.views),
        )


def camera_vectors(azimuths_deg: Sequence[float], elevations_deg: Sequence[float]) -> Float[Tensor, "v 1280"]:
    """A vector for each view but the first, relative to the first, the input's: augmentation, polar angle (90 degrees
    at the input's elevation, less above it) and azimuth, in radians in [0, 2 pi), each as cosines and sines."""
    azimuths, elevations = (torch.tensor(a, dtype=torch.float64) for a in (azimuths_deg, elevations_deg))
    azimuth = torch.deg2rad(azimuths[1:] - azimuths[0]) % (2 * torch.pi)
    polar = (torch.pi / 2 - torch.deg2rad(elevations[1:] - elevations[0])) % (2 * torch.pi)
    augmentation = torch.full_like(azimuth, AUGMENTATION)
    return torch.cat([sincos(augmentation, NOISE_DIM), sincos(polar, ANGLE_DIM), sincos(azimuth, ANGLE_DIM)], -1)


def on_white(frames: UInt8[np.ndarray, "t h w 4"]) -> Float[Tensor, "t 3 h w"]:
    """RGBA with straight alpha over white, in [-1, 1]."""
    rgba = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    rgb, alpha = rgba.split([3, 1], 1)
    return 2 * (rgb * alpha + (1 - alpha)) - 1


def to_images(pixels: Float[Tensor, "*b 3 h w"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Images of values in [-1, 1], which are clamped to it."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).cpu().numpy()


def from_images(images: UInt8[np.ndarray, "v h w 3"]) -> Float[Tensor, "v 3 h w"]:
    """The values of images, in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
