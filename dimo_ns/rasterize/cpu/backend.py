"""The CPU backend: autograd around the numba kernels of projection.py, tiles.py and compositing.py."""

# numba finds the types of kernels.
# pyright: basic

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import torch_backend
from ..common import Camera, Composition
from .compositing import backward_kernel, forward_kernel, padded_channels, padded_sums, reduce_kernel
from .pool import parallel_for
from .projection import project_backward, project_forward
from .tiles import build, f32, images_per_row

_PROJECTION_GRAIN, _REDUCTION_GRAIN = 512, 1024


def _array(tensor: Tensor, *shape: int) -> np.ndarray:
    return tensor.detach().contiguous().numpy().reshape(shape)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, quats, scales, opacities, viewmats, Ks, camera: Camera):
        *batch, N, _ = means.shape
        B, C = math.prod(batch), viewmats.shape[-3]
        gaussians = [_array(t, B * N, t.shape[-1]) for t in (means, quats, scales)]
        cameras = [_array(viewmats, B * C, 4, 4), _array(Ks, B * C, 3, 3)]
        means2d, conics, depths = (torch.empty(*batch, C, N, *last) for last in ((2,), (3,), ()))
        radii = torch.empty(*batch, C, N, 2, dtype=torch.int32)
        outputs = [_array(means2d, B * C * N, 2), _array(conics, B * C * N, 3), _array(depths, B * C * N)]
        limits = [f32(v) for v in (camera.eps2d, camera.near, camera.far, camera.radius_clip)]
        parallel_for(
            project_forward, B * N, N, C, *gaussians, _array(opacities, B * N), *cameras, camera.width, camera.height,
            *limits, *outputs, _array(radii, B * C * N, 2), grain=_PROJECTION_GRAIN,
        )  # fmt: skip
        ctx.save_for_backward(means, quats, scales, viewmats, Ks, conics, radii)
        ctx.camera = camera
        ctx.mark_non_differentiable(radii)
        return means2d, conics, depths, radii

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_means2d, v_conics, v_depths, _):
        means, quats, scales, viewmats, Ks, conics, radii = ctx.saved_tensors
        *batch, N, _ = means.shape
        B, C = math.prod(batch), viewmats.shape[-3]
        gaussians = [_array(t, B * N, t.shape[-1]) for t in (means, quats, scales)]
        cameras = [_array(viewmats, B * C, 4, 4), _array(Ks, B * C, 3, 3)]
        images = [_array(t, B * C * N, t.shape[-1]) for t in (conics, radii, v_means2d, v_conics)]
        gradients = [torch.empty(t.shape) for t in (means, quats, scales)]
        parallel_for(
            project_backward, B * N, N, C, *gaussians, *cameras, ctx.camera.width, ctx.camera.height, *images,
            _array(v_depths, B * C * N), *(_array(g, B * N, g.shape[-1]) for g in gradients), grain=_PROJECTION_GRAIN,
        )  # fmt: skip
        return *gradients, None, None, None, None


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, Ks: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See common.py."""
    if torch.is_grad_enabled() and (viewmats.requires_grad or Ks.requires_grad):  # the kernel has no such gradient
        return torch_backend.project(means, quats, scales, opacities, viewmats, Ks, camera)
    return _Project.apply(means, quats, scales, opacities, viewmats, Ks, camera)  # type: ignore[return-value]


def _rows(tensor: Tensor, trailing: int) -> np.ndarray:
    """Flatten all but the ``trailing`` dimensions into rows; a tensor expanded over all of those becomes one row."""
    leading, rest = tensor.shape[: tensor.dim() - trailing], tensor.shape[tensor.dim() - trailing :]
    if 0 not in leading and all(n == 1 or s == 0 for n, s in zip(leading, tensor.stride(), strict=False)):
        return _array(tensor[(0,) * len(leading)], 1, *rest)
    return _array(tensor, math.prod(leading), *rest)


class _Render:
    """The forward pass, and what the backward pass needs of it. Works on I images; rows may serve several of them."""

    def __init__(
        self,
        means2d: Tensor,
        conics: Tensor,
        depths: Tensor,
        opacities: Tensor,
        colors: Tensor | None,
        backgrounds: Tensor | None,
        radii: Tensor,
        camera: Camera,
        composition: Composition,
        with_backward: bool,
    ):
        *shape, N = depths.shape
        I = math.prod(shape)  # noqa: E741
        self.composition, self.size = composition, (camera.width, camera.height)
        self.shape = (I, N)
        self.conics, self.opacities = _array(conics, I, N, 3), _rows(opacities, 1)
        features = np.empty((1, N, 0), np.float32) if colors is None else _rows(colors, 2)
        self.color_channels = features.shape[-1]
        channels = self.color_channels + composition.depth
        self.padded = padded_channels(channels)
        self.lists = build(
            _array(means2d, I, N, 2), self.conics, _array(depths, I, N), _array(radii, I, N, 2), self.opacities,
            features, composition.depth, self.padded, *self.size, with_backward,
        )  # fmt: skip
        filling = np.zeros((I, channels), np.float32)
        if backgrounds is not None and colors is not None:
            filling[:, : self.color_channels] = _array(backgrounds, I, self.color_channels)

        self.out = torch.empty(*shape, camera.height, camera.width, channels)
        self.alpha = torch.empty(*shape, camera.height, camera.width, 1)
        self.blocks = np.empty(len(self.lists.ranks) if with_backward else 0, np.uint32)
        self.ends = np.empty(len(self.lists.starts) - 1, np.int64)
        parallel_for(
            forward_kernel(self.padded), len(self.ends), N, self.lists.splats, self.lists.starts, self.lists.ranks,
            filling, f32(composition.max_alpha), composition.expected, *self.size,
            *self._pixels(self.out, self.alpha), self.blocks, self.ends,
        )  # fmt: skip

    def _pixels(self, out: Tensor, alpha: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return _array(out, alpha.numel(), out.shape[-1]), _array(alpha, alpha.numel())

    def gradients(self, out: Tensor, alpha: Tensor, v_out: Tensor, v_alpha: Tensor) -> tuple[Tensor, ...]:
        """Gradients of every image's means2d, conics, depths, opacities and colours, each [I, N, ...]; and absgrad."""
        (I, N), lists, composition = self.shape, self.lists, self.composition  # noqa: E741
        sums = np.empty((lists.room, padded_sums(self.padded)), np.float32)
        parallel_for(
            backward_kernel(self.padded, composition.absgrad), len(self.ends), N, lists.splats, lists.starts,
            lists.ranks, lists.sources, self.blocks, self.ends, f32(composition.max_alpha), composition.expected,
            *self.size,
            *self._pixels(out, alpha), *self._pixels(v_out, v_alpha), sums,
        )  # fmt: skip
        sizes = ((2,), (3,), (), (), (self.color_channels,), (2,))
        results = [torch.zeros(I, N, *size) for size in sizes]
        flat = [_array(v, I * N, *size) for v, size in zip(results, sizes, strict=True)]
        parallel_for(
            reduce_kernel(self.padded), I * N, N, lists.order, lists.visible, lists.first, lists.used, sums,
            self.conics.reshape(I * N, 3), self.opacities, images_per_row(self.opacities, I),
            composition.depth, composition.absgrad, *flat, grain=_REDUCTION_GRAIN,
        )  # fmt: skip
        return tuple(results)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means2d, conics, depths, opacities, colors, backgrounds, radii, camera, composition):
        render = _Render(means2d, conics, depths, opacities, colors, backgrounds, radii, camera, composition, True)
        out, alpha = render.out, render.alpha
        del render.out, render.alpha  # autograd keeps outputs itself; held here too they would never be freed
        ctx.save_for_backward(means2d, out, alpha)
        ctx.render = render
        ctx.color_shape, ctx.background_shape = (None if t is None else t.shape for t in (colors, backgrounds))
        return out, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_out, v_alpha):
        means2d, out, alpha = ctx.saved_tensors
        shape = means2d.shape[:-1]
        gradients = ctx.render.gradients(out, alpha, v_out, v_alpha)
        v_means2d, v_conics, v_depths, v_opacities, v_colors, absgrad = (v.unflatten(0, shape[:-1]) for v in gradients)
        if ctx.render.composition.absgrad:
            means2d.absgrad = absgrad
        if ctx.color_shape is None:
            v_colors = None
        elif len(ctx.color_shape) < v_colors.dim():
            v_colors = v_colors.sum(-3)
        v_backgrounds = None
        if ctx.needs_input_grad[5]:
            v_backgrounds = (v_out[..., : ctx.background_shape[-1]] * (1 - alpha)).sum((-3, -2))
        return v_means2d, v_conics, v_depths, v_opacities.sum(-2), v_colors, v_backgrounds, None, None, None


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
    """See common.py."""
    inputs = (means2d, conics, depths, opacities, colors, backgrounds)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return _Composite.apply(*inputs, radii, camera, composition)  # type: ignore[return-value]
    render = _Render(*inputs, radii, camera, composition, False)
    return render.out, render.alpha
