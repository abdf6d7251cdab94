"""The fallback where numba is missing: plain PyTorch, same results as the kernels, some forty times slower.

Tiles with lists of similar length are composed together, and backward composes them again group by group, so memory
is bounded by the size of a group. ``project`` is also the differentiable path for gradients of cameras.
"""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .common import Camera, Composition, finish, per_image

_TILE = 8
_ALPHA_MIN, _STOP = 1 / 255, 1e-4
_LARGE = 1e15  # its square is a float32
_GROUP_SIZE = 1 << 17  # (pixel, Gaussian) pairs that are composed at once


def _rotation_matrices(quats: Tensor) -> Tensor:
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, Ks: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """EWA projection; the maths stands in projection.py. What is not drawn gets no gradient, not even a NaN."""
    sound = (torch.cat([means, quats, scales], dim=-1).abs() < _LARGE).all(-1) & quats.any(-1)
    means, quats, scales = (torch.where(sound[..., None], t, 1.0) for t in (means, quats, scales))
    W = viewmats[..., :3, :3]
    RS = _rotation_matrices(quats) * scales[..., None, :]
    x, y, z = (torch.einsum("...cij,...nj->...cni", W, means) + viewmats[..., None, :3, 3]).unbind(-1)
    V = torch.einsum("...cij,...njk->...cnik", W, RS)
    depths, z = z, torch.where(z > camera.near, z, 1.0)
    fx, fy, cx, cy = (Ks[..., i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))

    def clamped(ratio: Tensor, size: int, focal: Tensor, centre: Tensor) -> Tensor:
        margin = 0.15 * size / focal
        return torch.minimum(torch.maximum(ratio, -(centre / focal + margin)), (size - centre) / focal + margin)

    u, v = clamped(x / z, camera.width, fx, cx), clamped(y / z, camera.height, fy, cy)
    a = (fx / z)[..., None] * (V[..., 0, :] - u[..., None] * V[..., 2, :])
    b = (fy / z)[..., None] * (V[..., 1, :] - v[..., None] * V[..., 2, :])
    cov_xx, cov_xy, cov_yy = (a * a).sum(-1) + camera.eps2d, (a * b).sum(-1), (b * b).sum(-1) + camera.eps2d
    det = (cov_xx * cov_yy - cov_xy * cov_xy).detach()
    sound = sound[..., None, :] & (det > 0) & det.isfinite()
    cov_xx, cov_xy, cov_yy = (
        torch.where(sound, t, diagonal) for t, diagonal in ((cov_xx, 1.0), (cov_xy, 0.0), (cov_yy, 1.0))
    )
    conics = torch.stack([cov_yy, -cov_xy, cov_xx], dim=-1) / (cov_xx * cov_yy - cov_xy * cov_xy)[..., None]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    with torch.no_grad():
        o = opacities[..., None, :]
        sigmas = (2 * (o * 255).log()).sqrt().clamp(max=3.33)[..., None]
        radii = (sigmas * torch.stack([cov_xx, cov_yy], dim=-1).sqrt()).clamp(max=1e9).ceil()
        size = means2d.new_tensor([camera.width, camera.height])
        seen = (depths > camera.near) & (depths < camera.far) & (o >= _ALPHA_MIN) & sound
        seen &= ((means2d + radii > 0) & (means2d - radii < size)).all(-1) & (radii > camera.radius_clip).any(-1)
        radii = torch.where(seen[..., None], radii, 0).int()
    return means2d, conics, depths, radii


class _Group(NamedTuple):
    """Tiles that are composed together: G tiles, K slots, P pixels each."""

    image: Tensor  # [G]
    pixels: Tensor  # [G, P, 2] x and y; may lie outside the image
    gaussians: Tensor  # [G, K] rows of the flattened Gaussians, nearest first
    filled: Tensor  # [G, K] slots in use

    @property
    def at(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index of the pixels in a stack of padded images."""
        return self.image[:, None], self.pixels[..., 1], self.pixels[..., 0]


def _plan(
    means2d: Tensor, conics: Tensor, depths: Tensor, drawn: Tensor, opacities: Tensor, width: int, height: int
) -> list[_Group]:
    """Tile lists from the bounding boxes of the ellipses where alpha reaches 1/255. All inputs [I, N, ...]."""
    (I, N), columns, rows = depths.shape, -(-width // _TILE), -(-height // _TILE)  # noqa: E741
    det = conics[..., 0] * conics[..., 2] - conics[..., 1] ** 2
    extent = (2 * torch.log(opacities * 255) / det)[..., None].mul(conics[..., [2, 0]]).sqrt() + 1e-3
    low = ((means2d - extent - 0.5).ceil().clamp(min=0) / _TILE).floor()
    high = torch.minimum((means2d + extent - 0.5).floor(), means2d.new_tensor([width - 1, height - 1]))
    high = (high / _TILE).floor() + 1
    drawn = drawn & (high > low).all(-1) & (means2d.abs() < 1e6).all(-1) & (opacities < 1e6)  # NaN compares false
    low, high = (torch.where(drawn[..., None], t, 0).long().flatten(0, 1) for t in (low, high))
    span = high - low

    order = (torch.argsort(depths, dim=1, stable=True) + torch.arange(I)[:, None] * N).flatten()
    repeats = span.prod(-1)[order]
    gaussian = order.repeat_interleave(repeats)
    nth = torch.arange(len(gaussian)) - (repeats.cumsum(0) - repeats).repeat_interleave(repeats)
    x, y = low[gaussian, 0] + nth % span[gaussian, 0], low[gaussian, 1] + nth // span[gaussian, 0]
    tile = (gaussian // max(N, 1) * rows + y) * columns + x
    gaussian = gaussian[torch.argsort(tile, stable=True)]
    counts = torch.bincount(tile, minlength=I * rows * columns)
    starts = counts.cumsum(0) - counts

    within = torch.stack(torch.meshgrid(torch.arange(_TILE), torch.arange(_TILE), indexing="xy"), dim=-1).reshape(-1, 2)
    tiles = counts.nonzero().flatten()
    tiles = tiles[counts[tiles].argsort(descending=True)]
    groups: list[_Group] = []
    while len(tiles):
        longest = int(counts[tiles[0]])
        now, tiles = tiles.tensor_split([max(1, _GROUP_SIZE // (longest * _TILE**2))])
        slots = torch.arange(longest)
        filled = slots < counts[now, None]
        listed = gaussian[(starts[now, None] + slots).clamp(max=len(gaussian) - 1)]
        corner = torch.stack([now % columns, now // columns % rows], dim=-1) * _TILE
        groups.append(_Group(now // (rows * columns), corner[:, None] + within, listed, filled))
    return groups


def _compose(rows: Sequence[Tensor], group: _Group, max_alpha: float) -> tuple[Tensor, Tensor]:
    """Blend means2d [G, K, P or 1, 2], conics, opacities, features [G, K, ...] into sums [G, P, D], T_end [G, P].

    Means have a pixel dimension for the sake of their gradient at every pixel.
    """
    means2d, conics, opacities, features = rows
    dx, dy = (means2d - (group.pixels[:, None] + 0.5)).unbind(-1)
    A, B, C = conics[:, :, None].unbind(-1)
    sigma = 0.5 * (A * dx * dx + C * dy * dy) + B * dx * dy
    alpha = (opacities[..., None] * torch.exp(-sigma)).clamp(max=max_alpha)
    alpha = torch.where((alpha >= _ALPHA_MIN) & group.filled[..., None], alpha, 0.0)
    with torch.no_grad():  # T never grows, so whatever follows the first stop is stopped as well
        alive = torch.cumprod(1 - alpha, dim=1) > _STOP
    alpha = torch.where(alive, alpha, 0.0)
    T = torch.cumprod(1 - alpha, dim=1)
    weights = alpha * torch.cat([torch.ones_like(T[:, :1]), T[:, :-1]], dim=1)
    return torch.einsum("gkp,gkd->gpd", weights, features), T[:, -1]


class _Composite(torch.autograd.Function):
    """Sums of weights times features [I, H, W, D] and T_end [I, H, W]; means2d in any shape, the others [I, N, ...]."""

    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        features: Tensor,
        depths: Tensor,
        drawn: Tensor,
        camera: Camera,
        composition: Composition,
    ) -> tuple[Tensor, Tensor]:
        (I, N, D), height, width = features.shape, camera.height, camera.width  # noqa: E741
        centres = means2d.detach().reshape(I, N, 2)
        groups = _plan(centres, conics, depths, drawn, opacities, width, height)
        rows = [t.flatten(0, 1) for t in (centres, conics, opacities, features)]
        sums = features.new_zeros(I, height + -height % _TILE, width + -width % _TILE, D)
        T_end = features.new_ones(sums.shape[:-1])
        for group in groups:
            centres, *others = (row[group.gaussians] for row in rows)
            sums[group.at], T_end[group.at] = _compose([centres[:, :, None], *others], group, composition.max_alpha)
        ctx.save_for_backward(means2d, conics, opacities, features)
        ctx.groups, ctx.composition = groups, composition
        return sums[:, :height, :width].contiguous(), T_end[:, :height, :width].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_sums: Tensor, v_T: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        means2d, conics, opacities, features = ctx.saved_tensors
        rows = [t.detach().flatten(0, 1) for t in (means2d.reshape(*conics.shape[:2], 2), conics, opacities, features)]
        v_rows, absgrad = [torch.zeros_like(row) for row in rows], torch.zeros_like(rows[0])
        padding = (0, -v_T.shape[2] % _TILE, 0, -v_T.shape[1] % _TILE)
        v_T = torch.nn.functional.pad(v_T, padding)
        v_sums = torch.nn.functional.pad(v_sums, (0, 0, *padding))
        for group in ctx.groups:
            listed = group.gaussians.flatten()
            with torch.enable_grad():
                centres, *others = (row[group.gaussians] for row in rows)
                centres = centres[:, :, None].repeat(1, 1, _TILE**2, 1)  # one per pixel
                leaves = [leaf.requires_grad_() for leaf in (centres, *others)]
                outputs = _compose(leaves, group, ctx.composition.max_alpha)
                v_centres, *v_others = torch.autograd.grad(outputs, leaves, (v_sums[group.at], v_T[group.at]))
            for v_row, v in zip(v_rows, (v_centres.sum(2), *v_others), strict=True):
                v_row.index_add_(0, listed, v.flatten(0, 1))
            absgrad.index_add_(0, listed, v_centres.abs().sum(2).flatten(0, 1))
        if ctx.composition.absgrad:
            means2d.absgrad = absgrad.reshape(means2d.shape)
        v_inputs = [v.reshape(t.shape) for v, t in zip(v_rows, (means2d, conics, opacities, features), strict=True)]
        return *v_inputs, None, None, None, None


def composite(
    means2d: Tensor,
    conics: Tensor,
    depths: Tensor,
    radii: Tensor,
    opacities: Tensor,
    colors: Tensor | None,
    backgrounds: Tensor | None,
    camera: Camera,
    composition: Composition,
) -> tuple[Tensor, Tensor]:
    """See common.py; the maths stands in compositing.py."""
    opacities, features, filling = per_image(depths, opacities, colors, backgrounds, composition)
    images, N = opacities.shape
    drawn = (radii > 0).all(-1).reshape(images, N) & features.isfinite().all(-1)
    features = torch.where(drawn[..., None], features, 0.0)
    conics, depths_flat = conics.reshape(images, N, 3), depths.detach().reshape(images, N)
    out, T_end = _Composite.apply(means2d, conics, opacities, features, depths_flat, drawn, camera, composition)  # type: ignore[misc]
    if filling is not None:
        out = out + T_end[..., None] * filling[:, None, None]
    return finish(out, 1 - T_end[..., None], depths.shape[:-1], composition)
