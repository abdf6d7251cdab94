"""The CPU backend: autograd around the numba kernels of projection.py, tiles.py and compositing.py."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import torch_backend
from .common import Camera, Composition
from .compositing import backward_kernel, forward_kernel, padded_channels, padded_sums, reduce_kernel
from .pool import parallel_for
from .projection import project_backward, project_forward
from .tiles import TileLists, build, f32

_PROJECTION_GRAIN, _REDUCTION_GRAIN = 512, 1024


def _array(tensor: Tensor, *shape: int) -> np.ndarray:
    return tensor.detach().contiguous().numpy().reshape(shape)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, quats, scales, opacities, viewmats, Ks, camera: Camera):
        *batch, N, _ = means.shape
        B, C = math.prod(batch), viewmats.shape[-3]
        inputs = [_array(t, B * N, t.shape[-1]) for t in (means, quats, scales)]
        matrices = [_array(viewmats, B * C, 4, 4), _array(Ks, B * C, 3, 3)]
        shape = (*batch, C, N)
        means2d, conics, depths = (means.new_empty(*shape, *last) for last in ((2,), (3,), ()))
        radii = means.new_empty(*shape, 2, dtype=torch.int32)
        outputs = [_array(t, B * C * N, *t.shape[len(shape) :]) for t in (means2d, conics, depths, radii)]
        planes = [f32(v) for v in (camera.eps2d, camera.near, camera.far, camera.radius_clip)]
        parallel_for(
            project_forward, B * N, N, C, *inputs, _array(opacities, B * N), *matrices, camera.width, camera.height,
            *planes, *outputs, grain=_PROJECTION_GRAIN,
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
        inputs = [_array(t, B * N, t.shape[-1]) for t in (means, quats, scales)]
        matrices = [_array(viewmats, B * C, 4, 4), _array(Ks, B * C, 3, 3)]
        images = [
            _array(t, B * C * N, *t.shape[len(batch) + 2 :]) for t in (conics, radii, v_means2d, v_conics, v_depths)
        ]
        gradients = [torch.empty(t.shape) for t in (means, quats, scales)]
        parallel_for(
            project_backward, B * N, N, C, *inputs, *matrices, ctx.camera.width, ctx.camera.height, *images,
            *(_array(g, B * N, g.shape[-1]) for g in gradients), grain=_PROJECTION_GRAIN,
        )  # fmt: skip
        return *gradients, None, None, None, None


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, Ks: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """means [..., N, 3], viewmats [..., C, 4, 4] -> means2d, conics, depths, radii, all [..., C, N, ...]."""
    if torch.is_grad_enabled() and (viewmats.requires_grad or Ks.requires_grad):  # the kernel has no such gradient
        return torch_backend.project(means, quats, scales, opacities, viewmats, Ks, camera)
    return _Project.apply(means, quats, scales, opacities, viewmats, Ks, camera)  # type: ignore[return-value]


def _shared_rows(tensor: Tensor, images: int, trailing: int) -> np.ndarray:
    """Flatten to [rows, ...], rows dividing the number of images; a tensor expanded over the batch is not copied."""
    leading = tensor.dim() - trailing
    if all(size == 1 or stride == 0 for size, stride in zip(tensor.shape[:leading], tensor.stride(), strict=False)):
        tensor = tensor[(0,) * leading][None] if images else tensor
    return _array(tensor, math.prod(tensor.shape[: tensor.dim() - trailing]), *tensor.shape[tensor.dim() - trailing :])


def _images_per_row(rows: np.ndarray, images: int) -> int:
    return max(images // max(len(rows), 1), 1)


class _Render:
    """One forward pass and what its backward pass needs."""

    def __init__(self, means2d, conics, depths, radii, opacities, colors, backgrounds, camera, how, keep):
        *shape, N = depths.shape
        images = math.prod(shape)
        self.images, self.N, self.camera, self.how = images, N, camera, how
        self.opacities = _shared_rows(opacities, images, 1)
        self.conics = _array(conics, images, N, 3)
        features = np.empty((1, N, 0), np.float32) if colors is None else _shared_rows(colors, images, 2)
        self.color_channels = features.shape[-1]
        channels = self.color_channels + how.depth
        self.padded = padded_channels(channels)
        self.lists: TileLists = build(
            _array(means2d, images, N, 2), self.conics, _array(depths, images, N), _array(radii, images, N, 2),
            self.opacities, features, how.depth, self.padded, camera.width, camera.height, keep,
        )  # fmt: skip
        filling = np.zeros((images, channels), np.float32)
        if backgrounds is not None and self.color_channels:
            filling[:, : self.color_channels] = _array(backgrounds, images, self.color_channels)
        self.out = torch.empty(*shape, camera.height, camera.width, channels)
        self.alpha = torch.empty(*shape, camera.height, camera.width, 1)
        self.blocks = np.empty(len(self.lists.ranks) if keep else 0, np.uint32)
        self.ends = np.empty(len(self.lists.starts) - 1, np.int64)
        parallel_for(
            forward_kernel(self.padded), len(self.lists.starts) - 1, N, self.lists.splats, self.lists.starts,
            self.lists.ranks, filling, f32(how.max_alpha), how.expected, camera.width, camera.height, keep,
            *self._pixels(self.out, self.alpha), self.blocks, self.ends,
        )  # fmt: skip

    def _pixels(self, out: Tensor, alpha: Tensor) -> tuple[np.ndarray, np.ndarray]:
        count = self.images * self.camera.height * self.camera.width
        return _array(out, count, out.shape[-1]), _array(alpha, count)

    def gradients(self, out: Tensor, alpha: Tensor, v_out: Tensor, v_alpha: Tensor) -> tuple[Tensor, ...]:
        """Of every image's means2d, conics, depths, opacities, colours (each [images, N, ...]); and absgrad."""
        lists, images, N = self.lists, self.images, self.N
        sums = np.empty((len(lists.ranks), padded_sums(self.padded)), np.float32)
        parallel_for(
            backward_kernel(self.padded, self.how.absgrad), len(lists.starts) - 1, N, lists.splats, lists.starts,
            lists.ranks, self.blocks, self.ends, f32(self.how.max_alpha), self.how.expected, self.camera.width, self.camera.height,
            *self._pixels(out, alpha), *self._pixels(v_out, v_alpha), sums,
        )  # fmt: skip
        v_means2d, v_conics, v_depths, v_opacities, v_colors, absgrad = (
            torch.zeros(images, N, *last) for last in ((2,), (3,), (), (), (self.color_channels,), (2,))
        )
        flat = [_array(v, images * N, *v.shape[2:]) for v in (v_means2d, v_conics, v_opacities, v_colors, v_depths)]
        flat_absgrad = _array(absgrad, images * N, 2)[: images * N if self.how.absgrad else 0]
        parallel_for(
            reduce_kernel(self.padded), images * N, N, lists.order, lists.visible, lists.first, lists.used,
            lists.entries, sums, self.conics.reshape(-1, 3), self.opacities, _images_per_row(self.opacities, images),
            self.how.depth, *flat, flat_absgrad, grain=_REDUCTION_GRAIN,
        )  # fmt: skip
        return v_means2d, v_conics, v_depths, v_opacities, v_colors, absgrad


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means2d, conics, depths, opacities, colors, backgrounds, radii, camera, how):
        render = _Render(means2d, conics, depths, radii, opacities, colors, backgrounds, camera, how, keep=True)
        out, alpha = render.out, render.alpha
        del render.out, render.alpha  # outputs live in saved_tensors, or they would keep their own graph alive
        ctx.save_for_backward(means2d, out, alpha)
        ctx.render = render
        ctx.shapes = [None if t is None else t.shape for t in (opacities, colors, backgrounds)]
        return out, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_out, v_alpha):
        means2d, out, alpha = ctx.saved_tensors
        render: _Render = ctx.render
        v_means2d, v_conics, v_depths, v_opacities, v_colors, absgrad = render.gradients(out, alpha, v_out, v_alpha)
        if render.how.absgrad:
            means2d.absgrad = absgrad.reshape(means2d.shape)
        *image_shape, N, _ = means2d.shape
        opacity_shape, color_shape, background_shape = ctx.shapes
        v_opacities = v_opacities.reshape(*image_shape, N).sum(-2)
        if color_shape is None:
            v_colors = None
        else:
            v_colors = v_colors.reshape(*image_shape, N, color_shape[-1])
            v_colors = v_colors if len(color_shape) == v_colors.dim() else v_colors.sum(-3)
        v_backgrounds = None
        if background_shape is not None and ctx.needs_input_grad[5]:
            v_backgrounds = (v_out[..., : background_shape[-1]] * (1 - alpha)).sum((-3, -2)).reshape(background_shape)
        shape = means2d.shape[:-1]
        return (
            v_means2d.reshape(*shape, 2), v_conics.reshape(*shape, 3), v_depths.reshape(shape), v_opacities, v_colors,
            v_backgrounds, None, None, None,
        )  # fmt: skip


def composite(
    means2d: Tensor,
    conics: Tensor,
    depths: Tensor,
    radii: Tensor,
    opacities: Tensor,
    colors: Tensor | None,
    backgrounds: Tensor | None,
    camera: Camera,
    how: Composition,
) -> tuple[Tensor, Tensor]:
    """Projected Gaussians [..., C, N, ...], opacities [..., N], colors [..., (C,) N, D] -> images and alphas."""
    inputs = (means2d, conics, depths, opacities, colors, backgrounds)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return _Composite.apply(*inputs, radii, camera, how)  # type: ignore[return-value]
    render = _Render(means2d, conics, depths, radii, opacities, colors, backgrounds, camera, how, keep=False)
    return render.out, render.alpha
