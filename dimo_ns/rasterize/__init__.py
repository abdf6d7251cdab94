"""Differentiable rasterization of 3D Gaussians: one function with gsplat's signature, on CUDA and on any CPU.

``gsplat`` serves CUDA tensors. CPU tensors go to kernels of our own, compiled by numba (minutes of training without a
GPU), or where numba is missing to plain PyTorch. Images and gradients are the same up to rounding.
"""

import functools
from types import ModuleType
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from ..errors import DimoError
from .common import Camera, Composition, check_devices, gsplat_version, has_numba

__all__ = ["rasterization"]

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
_RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")

# gsplat's arguments that are known but have one supported value
_FIXED: dict[str, Any] = {
    "sh_degree": None,
    "packed": False,
    "tile_size": 16,
    "sparse_grad": False,
    "rasterize_mode": "classic",
    "distributed": False,
    "camera_model": "pinhole",
    "segmented": False,
    "covars": None,
    "with_ut": False,
    "with_eval3d": False,
}


def rasterization(
    means: Float[Tensor, "*batch n 3"],
    quats: Float[Tensor, "*batch n 4"],
    scales: Float[Tensor, "*batch n 3"],
    opacities: Float[Tensor, "*batch n"],
    colors: Float[Tensor, "*batch n d"] | Float[Tensor, "*batch c n d"],
    viewmats: Float[Tensor, "*batch c 4 4"],
    Ks: Float[Tensor, "*batch c 3 3"],
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    *,
    backgrounds: Float[Tensor, "*batch c d"] | None = None,
    render_mode: RenderMode = "RGB",
    absgrad: bool = False,
    backend: Literal["gsplat", "numba", "torch"] | None = None,
    max_alpha: float | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "*batch c h w x"], Float[Tensor, "*batch c h w 1"], dict[str, Any]]:
    """Render N Gaussians in C pinhole cameras; with leading dimensions, a batch of deformations at once.

    means, scales in world units; quats wxyz, of any norm but zero; opacities in [0, 1]; colors any number of channels;
    viewmats OpenCV world-to-camera; Ks and eps2d (blur added to the 2D covariance) in pixels; backgrounds one colour
    per camera. Tensors that are expanded over the batch need not be copied. The result follows ``render_mode``: colours
    (RGB), accumulated (D) or expected depth (ED, divided by alpha) as the last channel, or both; and alphas.

    A Gaussian with a non-finite or degenerate value is left out and gets zero gradients. Gradients reach means, quats,
    scales, opacities, colors, backgrounds, and viewmats (slower on a CPU).

    ``meta`` holds what gsplat's does: means2d [..., C, N, 2] (``retain_grad`` works; with ``absgrad`` its attribute
    ``absgrad`` is set by the backward pass), radii [..., C, N, 2] (0: not drawn), depths, conics, opacities, width,
    height, n_cameras, tile_size. ``backend`` overrides the choice by device, ``max_alpha`` the cap of one Gaussian's
    alpha, which is that of the installed gsplat.

    Raises DimoError for arguments of gsplat's that are not supported, and for shapes and devices that do not fit.
    """
    _refuse_unsupported(others)
    if render_mode not in _RENDER_MODES:
        raise DimoError(f"rasterization: render_mode must be one of {', '.join(_RENDER_MODES)}, not {render_mode!r}.")
    with_colors = render_mode.startswith("RGB")
    _check_tensors(means, quats, scales, opacities, colors if with_colors else None, viewmats, Ks, backgrounds)
    means, quats, scales, opacities, viewmats, Ks = (t.float() for t in (means, quats, scales, opacities, viewmats, Ks))
    module = _backend(means, backend)
    if max_alpha is None:
        max_alpha = _gsplat_max_alpha()
    elif module.__name__.endswith("gsplat_backend") and max_alpha != _gsplat_max_alpha():
        raise DimoError(f"rasterization: the installed gsplat caps alpha at {_gsplat_max_alpha()}, not {max_alpha}.")
    camera = Camera(width, height, near_plane, far_plane, radius_clip, eps2d)
    composition = Composition(render_mode.endswith("D"), render_mode.endswith("ED"), max_alpha, absgrad)
    means2d, conics, depths, radii = module.project(means, quats, scales, opacities, viewmats, Ks, camera)
    renders, alphas = module.composite(
        means2d,
        conics,
        depths,
        radii,
        opacities,
        colors.float() if with_colors else None,
        backgrounds.float() if with_colors and backgrounds is not None else None,
        camera,
        composition,
    )
    meta = {
        "means2d": means2d,
        "radii": radii,
        "depths": depths,
        "conics": conics,
        "opacities": opacities[..., None, :].expand(depths.shape),
        "gaussian_ids": None,
        "camera_ids": None,
        "width": width,
        "height": height,
        "tile_size": 16,
        "n_cameras": viewmats.shape[-3],
    }
    return renders, alphas, meta


def _refuse_unsupported(others: dict[str, Any]) -> None:
    for name, value in others.items():
        if name == "channel_chunk":  # only a matter of memory
            continue
        if name not in _FIXED:
            raise DimoError(f"rasterization: the argument {name!r} is not supported.")
        if value != _FIXED[name]:
            raise DimoError(f"rasterization: {name}={value!r} is not supported, only {name}={_FIXED[name]!r}.")


def _check_tensors(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor | None,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor | None,
) -> None:
    *batch, N, _ = means.shape
    C = viewmats.shape[-3] if viewmats.dim() >= 3 else 0
    D = colors.shape[-1] if colors is not None else 0
    expected = {
        "means": (means, [(*batch, N, 3)]),
        "quats": (quats, [(*batch, N, 4)]),
        "scales": (scales, [(*batch, N, 3)]),
        "opacities": (opacities, [(*batch, N)]),
        "viewmats": (viewmats, [(*batch, C, 4, 4)]),
        "Ks": (Ks, [(*batch, C, 3, 3)]),
        "colors": (colors, [(*batch, N, D), (*batch, C, N, D)]),
        "backgrounds": (backgrounds if colors is not None else None, [(*batch, C, D)]),
    }
    check_devices("rasterization", **{name: tensor for name, (tensor, _) in expected.items()})
    for name, (tensor, shapes) in expected.items():
        if tensor is not None and tuple(tensor.shape) not in shapes:
            wanted = " or ".join(str(list(shape)) for shape in shapes)
            raise DimoError(f"rasterization: {name} has the shape {list(tensor.shape)}, expected {wanted}.")
    if colors is not None and D == 0:
        raise DimoError("rasterization: colors have no channels; use render_mode='D' or 'ED' for depth alone.")


def _backend(means: Tensor, wanted: str | None) -> ModuleType:
    """Chosen by the device. Modules are imported when first needed: gsplat's import may start a compiler."""
    if means.is_cuda if wanted is None else wanted == "gsplat":
        from . import gsplat_backend

        return gsplat_backend
    if wanted == "numba" or (wanted is None and has_numba()):
        from .cpu import backend as numba_backend

        return numba_backend
    from . import torch_backend

    return torch_backend


@functools.cache
def _gsplat_max_alpha() -> float:
    return 0.999 if gsplat_version() < (1, 6) else 0.99
