"""Losses as pure functions, unreduced: weights and schedules belong to the recipe (paper, section 3.3)."""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .geometry import nearest, quat_to_matrix, take
from .types import RigidTransforms


def composite(
    rgba: Float[Tensor, "*batch 4"], background: Float[Tensor, "#*batch 3"]
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 1"]]:
    """Premultiplied RGBA over a background: what a render over the same background should match; and its alpha."""
    alpha = rgba[..., 3:]
    return rgba[..., :3] + (1 - alpha) * background, alpha


class ErrorWeights(NamedTuple):
    """Weights of what `pixel_errors` gives."""

    l1: float = 0.0
    mse: float = 0.0
    mask: float = 0.0

    def over(self, pixels: int) -> tuple[float, float, float]:
        """What sums over so many pixels of three channels, and one of alpha, are multiplied by."""
        return self.l1 / (3 * pixels), self.mse / (3 * pixels), self.mask / pixels


def pixel_errors(
    color: Float[Tensor, "b c h w 3"],
    alpha: Float[Tensor, "b c h w 1"],
    rgba: Float[Tensor, "b c h w 4"],
    importance: Float[Tensor, "b c"],
    weights: ErrorWeights,
) -> Float[Tensor, "3"]:
    """Weighted means over all pixels: of the absolute and of the squared difference of colours over white, each image
    multiplied by its importance, and of the squared difference of alpha.

    `color`: rendered, over black; `rgba`: the frames, premultiplied. Over white, the difference of colours is that over
    black less that of alpha.
    """
    cover = alpha - rgba[..., 3:]
    difference = color - rgba[..., :3] - cover
    by_image = importance[..., None, None, None]
    return torch.stack([
        weights.l1 * (difference.abs() * by_image).mean(),
        weights.mse * (difference.square() * by_image).mean(),
        weights.mask * cover.square().mean(),
    ])  # fmt: skip


def weighted_square(
    x: Float[Tensor, "n r"], target: Float[Tensor, "n r"], weights: Float[Tensor, " r"]
) -> Float[Tensor, ""]:
    """The mean over rows of the squared differences, summed with these weights."""
    return ((x - target).square() @ weights).mean()


def pyramid_l1(error: Float[Tensor, "b h w c"], levels: int) -> Float[Tensor, ""]:
    """Mean absolute error, averaged over the picture and `levels` successive halvings of it: coarse levels pull thin
    parts that do not yet overlap with where they belong."""
    total = error.abs().mean()
    coarse = error.permute(0, 3, 1, 2)
    for _ in range(levels):
        coarse = F.avg_pool2d(coarse, 2)
        total = total + coarse.abs().mean()
    return total / (levels + 1)


def arap(
    keypoints: Float[Tensor, "k 3"],
    neighbours: Int[Tensor, "k j"],
    transforms: RigidTransforms,
) -> Float[Tensor, "*batch k j"]:
    """As-rigid-as-possible energy per edge against the canonical pose: |(x_j - x_i) - R_i (c_j - c_i)|^2, with each
    key point's own rotation (Sumner 2007, embedded deformation). Zero for a rigid motion of everything."""
    edges = take(keypoints, neighbours) - keypoints[:, None]
    moved = keypoints + transforms.translations
    by_keypoint = moved.movedim(-2, 0)
    moved_neighbours = take(by_keypoint.flatten(1), neighbours).unflatten(-1, by_keypoint.shape[1:])
    moved_edges = moved_neighbours.movedim((0, 1), (-3, -2)) - moved[..., None, :]
    turned = torch.einsum("...kab,kjb->...kja", quat_to_matrix(transforms.quats), edges)
    return (moved_edges - turned).square().sum(-1)


def charbonnier(energy: Float[Tensor, "*any"], scale: float) -> Float[Tensor, "*any"]:
    """Grows like `energy` near zero and like its root beyond `scale`: an edge that has to break costs little."""
    return 2 * scale * ((1 + energy / scale).sqrt() - 1)


def anchor(positions: Float[Tensor, "*batch k 3"], anchors: Float[Tensor, "*batch a 3"]) -> Float[Tensor, "*batch k"]:
    """Squared distance from each moved key point to the nearest place where stage 1 had one (one-sided Chamfer)."""
    flat, targets = positions.reshape(-1, *positions.shape[-2:]), anchors.reshape(-1, *anchors.shape[-2:])
    closest = torch.stack([a[nearest(p.detach(), a, 1)[1][:, 0]] for p, a in zip(flat, targets, strict=True)])
    return (flat - closest).square().sum(-1).view(positions.shape[:-1])


def smoothness(
    value: Float[Tensor, "b h w c"],
    guide: Float[Tensor, "b h w 3"],
    inside: Float[Tensor, "b h w 1"],
    sharpness: float = 10.0,
) -> Float[Tensor, "b"]:
    """Edge-aware first-order smoothness of a rendered map (depth, normals): the mean per image of
    |gradient| exp(-sharpness |guide gradient|) over neighbours that both lie inside the mask, so that silhouettes are
    not pulled."""

    def along(axis: int) -> tuple[Tensor, Tensor]:
        def step(x: Tensor) -> Tensor:
            return x.diff(dim=axis).abs().mean(-1)

        size = inside.shape[axis] - 1
        both = (inside.narrow(axis, 1, size) * inside.narrow(axis, 0, size)).squeeze(-1)
        weight = both * torch.exp(-sharpness * step(guide))
        return (weight * step(value)).flatten(1).sum(1), both.flatten(1).sum(1)

    (sum_y, count_y), (sum_x, count_x) = along(1), along(2)
    return (sum_y + sum_x) / (count_y + count_x).clamp(min=1)


def acceleration(
    positions: Float[Tensor, "*batch t k 3"],
) -> Float[Tensor, "*batch s k"]:
    """Squared second difference in time of each key point: zero for uniform motion."""
    return (positions[..., 2:, :, :] - 2 * positions[..., 1:-1, :, :] + positions[..., :-2, :, :]).square().sum(-1)


def ssim(
    image: Float[Tensor, "b h w c"], target: Float[Tensor, "b h w c"], window: int = 11, sigma: float = 1.5
) -> Float[Tensor, "b v u c"]:
    """Structural similarity map of images in [0, 1] (Wang 2004: Gaussian window 11, sigma 1.5), valid region only.

    The separable blur is two products with banded matrices: on a CPU many times faster than convolutions of one
    channel.
    """
    height, width = image.shape[1:3]
    rows, columns = (blur_matrix(n, window, sigma, image.device) for n in (height, width))

    def blur(x: Tensor) -> Tensor:
        return torch.einsum("vh,bhwc,uw->bvuc", rows, x, columns)

    mx, my = blur(image), blur(target)
    product, squares = mx * my, mx * mx + my * my
    energy, cross = blur(image * image + target * target), blur(image * target)
    c1, c2 = 0.01**2, 0.03**2
    return (2 * product + c1) * (2 * (cross - product) + c2) / ((squares + c1) * (energy - squares + c2))


def blur_matrix(size: int, window: int, sigma: float, device: torch.device) -> Float[Tensor, "v size"]:
    """Rows that average `window` neighbouring entries with Gaussian weights: a valid 1-D convolution as a matrix."""
    x = torch.arange(window, device=device) - (window - 1) / 2
    weights = torch.exp(-0.5 * (x / sigma) ** 2)
    offset = torch.arange(size, device=device)[None] - torch.arange(size - window + 1, device=device)[:, None]
    inside = (offset >= 0) & (offset < window)
    return torch.where(inside, (weights / weights.sum())[offset.clamp(0, window - 1)], 0.0)
