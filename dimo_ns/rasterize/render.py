"""Pictures of Gaussians in cameras: every picture of the project is made by `render`."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.cameras import Cameras
from ..core.geometry import quat_to_matrix
from ..core.types import Gaussians
from . import rasterization
from .common import check_devices


@dataclass(frozen=True, eq=False)
class Render:
    """What cameras see, [*batch, c, h, w, ...]; colours, depths and normals are sums over Gaussians by their share."""

    color: Float[Tensor, "*batch c h w 3"]
    """sRGB over black."""
    alpha: Float[Tensor, "*batch c h w 1"]
    means2d: Float[Tensor, "*batch c n 2"]
    """Projected centres in pixels, not a leaf: `retain_grad` keeps how strongly each is pulled."""
    depth: Float[Tensor, "*batch c h w 1"] | None = None
    """Expected distance along the camera's axis, in world units."""
    normal: Float[Tensor, "*batch c h w 3"] | None = None
    """World frame, towards the camera, over zero."""

    def over(self, background: Float[Tensor, " 3"] | float = 1.0) -> Float[Tensor, "*batch c h w 3"]:
        """The picture over a colour, by default white; not clamped."""
        return self.color + (1 - self.alpha) * background


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    depth: bool = False,
    normals: Float[Tensor, "*batch c n 3"] | None = None,
    eps2d: float = 0.3,
) -> Render:
    """Render Gaussians [*batch, n, ...] in cameras [*batch, c]; what is shared by a batch is not copied.

    `depth`: whether it is wanted; `normals`: of the Gaussians, in the world, where a picture of them is wanted
    (`facing_normals`). `eps2d`: blur of the projections, in square pixels. Differentiable in the
    Gaussians and in viewmats. Raises DimoError for shapes and devices that do not fit.
    """
    means, quats, scales, opacities, colors = gaussians.splats()
    check_devices("render", gaussians=means, viewmats=cameras.viewmats, Ks=cameras.Ks)
    if normals is not None:
        colors = torch.cat([gaussians.colors.expand(normals.shape), normals], -1)
    image, alpha, meta = rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        cameras.viewmats,
        cameras.Ks,
        cameras.size[1],
        cameras.size[0],
        eps2d=eps2d,
        render_mode="RGB+ED" if depth else "RGB",
    )
    return Render(
        image[..., :3] if depth or normals is not None else image,  # a slice costs a copy on the way back
        alpha,
        meta["means2d"],
        image[..., -1:] if depth else None,
        image[..., 3:6] if normals is not None else None,
    )


def facing_normals(
    means: Float[Tensor, "*batch n 3"],
    quats: Float[Tensor, "*batch n 4"],
    scales: Float[Tensor, "n 3"],
    centres: Float[Tensor, "*batch c 3"],
) -> Float[Tensor, "*batch c n 3"]:
    """The shortest axis of each Gaussian, on the side that faces each camera (`Cameras.centres`)."""
    shortest = scales.argmin(-1)[:, None, None].expand(*quats.shape[:-1], 3, 1)
    rays = means[..., None, :, :] - centres[..., None, :]
    normals = quat_to_matrix(quats).gather(-1, shortest).squeeze(-1)[..., None, :, :].expand(rays.shape)
    return torch.where((rays * normals).sum(-1, keepdim=True) > 0, -normals, normals)
