"""The CUDA backend: gsplat's own kernels (1.4 to 1.5), imported here and nowhere else.

Deformations are projected together, but for gsplat 1.4, which knows no batch dimensions and projects them one after the
other; their images are composed together, as so many cameras. Importing gsplat compiles its kernels the first time:
that takes minutes.
"""

# What torch and gsplat leave untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import weakref
from typing import Any

import torch
from torch import Tensor

from .common import Camera, Composition, finish, gsplat_version, per_image

_TILE = 16


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, Ks: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from gsplat import fully_fused_projection

    options: dict[str, Any] = {
        "eps2d": camera.eps2d,
        "near_plane": camera.near,
        "far_plane": camera.far,
        "radius_clip": camera.radius_clip,
    }
    size = camera.width, camera.height
    if gsplat_version() >= (1, 5):  # radii are tighter where opacities are given
        projected = fully_fused_projection(
            means, None, quats, scales, viewmats, Ks, *size, opacities=opacities, **options
        )
        radii, means2d, depths, conics = projected[:4]
        return means2d, conics, depths, radii
    batch = means.shape[:-2]
    rows = (t.reshape(-1, *t.shape[len(batch) :]) for t in (means, quats, scales, viewmats, Ks))
    each = [
        fully_fused_projection(m, None, q, s, V, K, *size, **options)[:4] for m, q, s, V, K in zip(*rows, strict=True)
    ]
    stacked = (torch.stack(t) for t in zip(*each, strict=True))
    radii, means2d, depths, conics = (t.unflatten(0, batch) if batch else t[0] for t in stacked)
    return means2d, conics, depths, radii[..., None].expand(*radii.shape, 2)  # one radius for both directions


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
    from gsplat import isect_offset_encode, isect_tiles, rasterize_to_pixels

    opacities, features, filling = per_image(depths, opacities, colors, backgrounds, composition)
    images, N = opacities.shape
    radii = radii.reshape(images, N, 2)
    if gsplat_version() < (1, 5):
        # 3 sigmas, where alpha may still be 0.011: widen to 3.33, where it is 1/255, as later versions do
        radii = torch.ceil(radii[..., 0] * 1.11).int()
    flat = means2d.reshape(images, N, 2)
    columns, rows = -(-camera.width // _TILE), -(-camera.height // _TILE)
    with torch.no_grad():
        _, tiles, listed = isect_tiles(flat, radii, depths.reshape(images, N), _TILE, columns, rows)
        starts = isect_offset_encode(tiles, images, columns, rows)
    out, alpha = rasterize_to_pixels(
        flat, conics.reshape(images, N, 3), features, opacities, camera.width, camera.height, _TILE, starts, listed,
        backgrounds=filling, absgrad=composition.absgrad,
    )  # fmt: skip
    if composition.absgrad and flat is not means2d and means2d.requires_grad:
        _forward_absgrad(flat, means2d)
    return finish(out, alpha, depths.shape[:-1], composition)


def _forward_absgrad(flat: Tensor, means2d: Tensor) -> None:
    """gsplat leaves absgrad on the tensor that it was given: pass it on, as soon as the gradient has come through."""
    target = weakref.ref(means2d)  # a hook that held its own tensor would keep it alive

    def hook(_: Tensor) -> None:
        if (tensor := target()) is not None:
            tensor.absgrad = flat.absgrad.reshape(tensor.shape)  # type: ignore[attr-defined]

    means2d.register_hook(hook)
