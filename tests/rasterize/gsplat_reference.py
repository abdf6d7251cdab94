"""gsplat's own pure-PyTorch code, made to run on a CPU without its CUDA extension.

``accumulate`` needs two functions of nerfacc, whose kernels are CUDA-only: stand-ins follow. The list of (Gaussian,
pixel) pairs, which gsplat takes from a CUDA kernel, is made here by brute force.
"""

import shutil
import sys
import types
from contextlib import contextmanager
from unittest import mock

import torch
import torch.utils.cpp_extension
from torch import Tensor


@contextmanager
def no_compiler():
    """Importing gsplat starts a build where it finds nvcc: hide it where there is no GPU to build for."""
    if torch.cuda.is_available():
        yield
        return
    with (
        mock.patch("torch.utils.cpp_extension._find_cuda_home", return_value=None),
        mock.patch.object(torch.utils.cpp_extension, "CUDA_HOME", None),
        mock.patch("subprocess.call", side_effect=FileNotFoundError("nvcc")),
        mock.patch.object(shutil, "which", return_value=None),
    ):
        yield


def _render_weight_from_alpha(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    """Products of (1 - alpha) along every ray, as sums of logarithms (in float64). Samples are sorted by ray."""
    logs = torch.log1p(-alphas.double())
    before = logs.cumsum(0) - logs
    counts = torch.bincount(ray_indices, minlength=n_rays)
    first = (counts.cumsum(0) - counts)[ray_indices]
    T = torch.exp(before - before[first]).to(alphas)
    return alphas * T, T


def _accumulate_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    values = weights[:, None] if values is None else weights[:, None] * values
    return values.new_zeros(n_rays, values.shape[1]).index_add(0, ray_indices, values)


def nerfacc_on_cpu() -> types.ModuleType:
    """What `accumulate` imports as nerfacc when it is called."""
    nerfacc = types.ModuleType("nerfacc")
    vars(nerfacc).update(
        render_weight_from_alpha=_render_weight_from_alpha, accumulate_along_rays=_accumulate_along_rays
    )
    return nerfacc


def load() -> types.ModuleType:
    """gsplat.cuda._torch_impl, with the stand-ins in place unless nerfacc itself was imported before."""
    sys.modules.setdefault("nerfacc", nerfacc_on_cpu())
    with no_compiler():
        import gsplat.cuda._torch_impl as implementation
    return implementation


def project(module: types.ModuleType, means, quats, scales, viewmats, Ks, width: int, height: int):
    """means2d, conics, depths of one deformation in C cameras."""
    covariances, _ = module._quat_scale_to_covar_preci(quats, scales, True, False)
    _, means2d, depths, conics, _ = module._fully_fused_projection(means, covariances, viewmats, Ks, width, height)
    return means2d, conics, depths


@torch.no_grad()
def pairs(means2d: Tensor, conics: Tensor, depths: Tensor, opacities: Tensor, width: int, height: int, cap=0.999):
    """Every blended (Gaussian, pixel) of every camera, front to back per pixel: three index tensors."""
    gaussians, pixels, cameras = [], [], []
    columns = torch.arange(width) + 0.5
    for c in range(len(means2d)):
        order = torch.argsort(depths[c].float(), stable=True)
        order = order[depths[c][order] > 0.01]
        m, k, o = means2d[c][order], conics[c][order], opacities[order]
        for row in range(height):
            dx, dy = columns[:, None] - m[:, 0], row + 0.5 - m[:, 1]
            sigma = 0.5 * (k[:, 0] * dx**2 + k[:, 2] * dy**2) + k[:, 1] * dx * dy
            alpha = (o * torch.exp(-sigma)).clamp(max=cap)
            alpha = torch.where(alpha >= 1 / 255, alpha, 0)
            x, g = torch.nonzero((alpha > 0) & (torch.cumprod(1 - alpha, dim=1) > 1e-4), as_tuple=True)
            gaussians.append(order[g])
            pixels.append(row * width + x)
            cameras.append(torch.full_like(x, c))
    return torch.cat(gaussians), torch.cat(pixels), torch.cat(cameras)
