"""Pinhole cameras: where they stand, what they see, and the size of their images.

viewmats are world-to-camera in OpenCV axes (x right, y down, z forward); c2w are camera-to-world in OpenGL axes (x
right, y up, looks along -z). Ks and pixels count from the upper left corner of an image, pixel centres at +0.5. The
world is z-up.
"""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

DISTANCE, FOVY_DEG = 2.0, 33.9
"""The method's camera: how far from the origin, in world units, and its vertical field of view."""
RADIUS, EXTENT = 0.5, 0.6
"""Of the object, about, in world units; and half the side of the cube at the origin in which it is looked for."""


@dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras whose images have one size; leading dimensions are free."""

    viewmats: Float[Tensor, "*c 4 4"]
    """World-to-camera."""
    Ks: Float[Tensor, "*c 3 3"]
    """Intrinsics, in pixels."""
    size: tuple[int, int]
    """Height and width of the images, in pixels."""

    def __len__(self) -> int:
        return len(self.viewmats)

    def __getitem__(self, index: int | slice | tuple[Any, ...] | Int[Tensor, "*b"] | None) -> "Cameras":
        """Some of the cameras, as tensors are indexed; `None` adds a leading dimension."""
        return replace(self, viewmats=self.viewmats[index], Ks=self.Ks[index])

    def expand(self, *shape: int) -> "Cameras":
        """The cameras with these leading dimensions, as tensors are expanded: nothing is copied."""
        return replace(self, viewmats=self.viewmats.expand(*shape, 4, 4), Ks=self.Ks.expand(*shape, 3, 3))

    def to(self, device: torch.device | str) -> "Cameras":
        """The same cameras on a device."""
        return replace(self, viewmats=self.viewmats.to(device), Ks=self.Ks.to(device))

    def resized(self, size: tuple[int, int]) -> "Cameras":
        """The same cameras with images of (h, w) pixels that show the same part of the world."""
        scale = self.Ks.new_tensor([size[1] / self.size[1], size[0] / self.size[0], 1.0])
        return replace(self, Ks=self.Ks * scale[:, None], size=size)

    @property
    def centres(self) -> Float[Tensor, "*c 3"]:
        """Where the cameras stand, in the world."""
        return -(self.viewmats[..., :3, :3].mT @ self.viewmats[..., :3, 3:]).squeeze(-1)

    def project(self, points: Float[Tensor, "*p n 3"]) -> Float[Tensor, "*q n 3"]:
        """Pixel x, y and depth of world points in one camera. Dimensions of the cameras stand before the points' last
        two: cameras [c] see points [n, 3] as [c, n, 3]."""
        return project(points, self.viewmats, self.Ks)


def project(
    points: Float[Tensor, "*p n 3"], viewmats: Float[Tensor, "*c 4 4"], Ks: Float[Tensor, "*c 3 3"]
) -> Float[Tensor, "*q n 3"]:
    """Pixel x, y and depth of world points; see `Cameras.project`."""
    camera = points @ viewmats[..., :3, :3].mT + viewmats[..., None, :3, 3]
    pixels = camera @ Ks.mT
    return torch.cat([pixels[..., :2] / pixels[..., 2:], camera[..., 2:]], -1)


def intrinsics(
    fl_x: Float[Tensor, "*b"], fl_y: Float[Tensor, "*b"], cx: Float[Tensor, "*b"], cy: Float[Tensor, "*b"]
) -> Float[Tensor, "*b 3 3"]:
    """Pinhole matrices K of focal lengths and principal points, in pixels."""
    Ks = fl_x.new_zeros(*fl_x.shape, 3, 3)
    Ks[..., 0, 0], Ks[..., 1, 1], Ks[..., 0, 2], Ks[..., 1, 2], Ks[..., 2, 2] = fl_x, fl_y, cx, cy, 1
    return Ks


def focal(fovy_deg: float, height: int) -> float:
    """The focal length in pixels of a vertical field of view."""
    return 0.5 * height / math.tan(math.radians(fovy_deg) / 2)


def from_fov(fovy_deg: Float[Tensor, "*b"], size: tuple[int, int]) -> Float[Tensor, "*b 3 3"]:
    """Intrinsics of a vertical field of view, square pixels, principal point in the middle of images of (h, w)."""
    h, w = size
    length = 0.5 * h / torch.tan(torch.deg2rad(fovy_deg) / 2)
    return intrinsics(length, length, torch.full_like(length, w / 2), torch.full_like(length, h / 2))


def orbit(
    azimuth_deg: Float[Tensor, "*b"],
    elevation_deg: Float[Tensor, "*b"] | float,
    size: tuple[int, int],
    distance: float = DISTANCE,
    fovy_deg: float = FOVY_DEG,
) -> Cameras:
    """Cameras on a sphere that look at the origin; see `orbit_c2w`. One elevation may serve all."""
    elevation_deg = torch.as_tensor(elevation_deg).to(azimuth_deg).expand_as(azimuth_deg)
    viewmats = viewmats_from_c2w(orbit_c2w(azimuth_deg, elevation_deg, distance))
    return Cameras(viewmats, from_fov(torch.full_like(azimuth_deg, fovy_deg), size), size)


def orbit_c2w(
    azimuth_deg: Float[Tensor, "*batch"], elevation_deg: Float[Tensor, "*batch"], radius: float
) -> Float[Tensor, "*batch 4 4"]:
    """Camera-to-world of cameras on a sphere that look at the origin: azimuth 0 on +x, 90 on +y; elevation up."""
    azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    back = torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)
    right = torch.stack([-azimuth.sin(), azimuth.cos(), torch.zeros_like(azimuth)], -1)
    c2w = torch.zeros(*azimuth.shape, 4, 4, dtype=azimuth.dtype, device=azimuth.device)
    c2w[..., :3, :3] = torch.stack([right, torch.linalg.cross(back, right, dim=-1), back], -1)
    c2w[..., :3, 3] = radius * back
    c2w[..., 3, 3] = 1
    return c2w


def viewmats_from_c2w(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """World-to-camera in OpenCV axes, as the rasterizer wants it, from OpenGL camera-to-world."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=c2w.dtype, device=c2w.device)
    rotation = (c2w[..., :3, :3] * flip).mT
    viewmats = torch.zeros_like(c2w)
    viewmats[..., :3, :3] = rotation
    viewmats[..., :3, 3] = -(rotation @ c2w[..., :3, 3:]).squeeze(-1)
    viewmats[..., 3, 3] = 1
    return viewmats
