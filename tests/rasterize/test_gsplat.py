"""Against gsplat: its PyTorch reference on the CPU, its kernels on CUDA, and how we call them."""

import sys
import types

import pytest
import torch

from dimo_ns.rasterize import common, gsplat_backend, rasterization
from dimo_ns.rasterize.cpu import backend as numba_backend
from tests.rasterize import gsplat_reference
from tests.rasterize.raster_oracle import cloud, error, look_around

W, H = 50, 37
NAMES = ("render", "alpha", "means", "quats", "scales", "opacities", "colors")


@pytest.mark.parametrize("opacity", [0.5, 4.5])
def test_equals_gsplats_pytorch_reference(opacity, monkeypatch):
    monkeypatch.setitem(sys.modules, "nerfacc", gsplat_reference.nerfacc_on_cpu())  # other tests import the real one
    module = gsplat_reference.load()
    viewmats, Ks = look_around((2,), W, H)
    generator = torch.Generator().manual_seed(0)
    v_out = torch.randn(2, H, W, 4, generator=generator, dtype=torch.float64)
    v_alpha = torch.randn(2, H, W, 1, generator=generator, dtype=torch.float64)

    leaves = [t.requires_grad_() for t in cloud(N=150, opacity=opacity)]
    means, quats, scales, opacities, colors = leaves
    means2d, conics, depths = gsplat_reference.project(module, means, quats, scales, viewmats, Ks, W, H)
    blended = gsplat_reference.pairs(means2d, conics, depths, opacities, W, H)
    features = torch.cat([colors.expand(2, -1, -1), depths[..., None]], dim=-1)
    out, alpha = module.accumulate(means2d, conics, opacities.expand(2, -1), features, *blended, W, H)
    expected = [out, alpha, *torch.autograd.grad((out * v_out).sum() + (alpha * v_alpha).sum(), leaves)]

    leaves = [t.detach().float().requires_grad_() for t in leaves]
    out, alpha, _ = rasterization(*leaves, viewmats.float(), Ks.float(), W, H, render_mode="RGB+D", backend="numba")
    loss = (out * v_out.float()).sum() + (alpha * v_alpha.float()).sum()
    got = [out, alpha, *torch.autograd.grad(loss, leaves)]
    for name, ours, reference in zip(NAMES, got, expected, strict=True):
        assert error(ours.detach(), reference.detach()) < 1e-4, name


def _stand_in_for_gsplat(version: tuple[int, int]) -> types.ModuleType:
    """gsplat's four functions as the versions have them, computing on the CPU with the numba backend."""
    old = version < (1, 5)

    def fully_fused_projection(means, covars, quats, scales, viewmats, Ks, width, height, **options):
        assert covars is None
        assert means.dim() == 2 or not old
        assert ("opacities" in options) != old
        opacities = options.pop("opacities", torch.ones(means.shape[:-1]))
        camera = common.Camera(
            width, height, options.pop("near_plane"), options.pop("far_plane"), options.pop("radius_clip"),
            options.pop("eps2d"),
        )  # fmt: skip
        assert not options
        means2d, conics, depths, radii = numba_backend.project(means, quats, scales, opacities, viewmats, Ks, camera)
        return radii.amax(-1) if old else radii, means2d, depths, conics, None

    def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
        assert radii.dtype == torch.int32
        assert radii.shape == (depths.shape if old else means2d.shape)
        return None, (radii, depths), None

    def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
        assert n_images == len(isect_ids[1])
        return isect_ids

    def rasterize_to_pixels(
        means2d, conics, colors, opacities, width, height, tile_size, offsets, listed, backgrounds, absgrad
    ):
        radii, depths = offsets
        radii = radii[..., None].expand(*radii.shape, 2) if old else radii
        I, N = depths.shape  # noqa: E741
        assert means2d.shape == (I, N, 2)
        assert colors.shape[:2] == opacities.shape == (I, N)
        camera = common.Camera(width, height, 0.01, 1e10, 0.0, 0.3)
        how = common.Composition(depth=False, expected=False, max_alpha=0.999, absgrad=absgrad)
        tensors = (conics, depths.detach(), radii, opacities, colors, backgrounds)
        args = [means2d] + [None if t is None else t[:, None] for t in tensors]
        args[4:6] = opacities, colors  # one "camera" per image: per-Gaussian inputs have no camera dimension
        out, alpha = numba_backend.composite(_Middle.apply(means2d), *args[1:], camera, how)
        return out[:, 0], alpha[:, 0]

    class _Middle(torch.autograd.Function):
        """Adds the camera dimension, and like gsplat leaves absgrad on the very tensor that it was given."""

        @staticmethod
        def forward(ctx, means2d):
            out = means2d[:, None].clone()
            ctx.save_for_backward(means2d)
            return out

        @staticmethod
        def backward(ctx, gradient):
            ctx.saved_tensors[0].absgrad = gradient[:, 0].abs()
            return gradient[:, 0]

    module = types.ModuleType("gsplat")
    for function in (fully_fused_projection, isect_tiles, isect_offset_encode, rasterize_to_pixels):
        setattr(module, function.__name__, function)
    return module


@pytest.mark.parametrize("version", [(1, 4), (1, 5)])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("mode", ["RGB", "RGB+ED", "D"])
def test_gsplat_is_called_as_its_versions_want_it(monkeypatch, version, batch, mode):
    # No GPU here, so gsplat's functions are stood in for; shapes, batching and absgrad are what is tested.
    monkeypatch.setitem(sys.modules, "gsplat", _stand_in_for_gsplat(version))
    monkeypatch.setattr(gsplat_backend, "gsplat_version", lambda: version)
    args = [t.float() for t in (*cloud(*batch, N=60), *look_around((*batch, 2), W, H))]
    background = torch.rand(*batch, 2, 3)
    results = []
    for backend in ("gsplat", "numba"):
        leaves = [t.clone().requires_grad_() for t in args[:5]]
        out, alpha, meta = rasterization(
            *leaves, *args[5:], W, H, backgrounds=background, render_mode=mode, absgrad=backend == "gsplat",
            backend=backend,
        )  # fmt: skip
        meta["means2d"].retain_grad()
        (out.sum() + alpha.square().sum()).backward()
        assert meta["radii"].shape == (*batch, 2, 60, 2)
        means2d = meta["means2d"]
        results.append([out, alpha, means2d, means2d.grad, *(t.grad for t in leaves[: 5 if "RGB" in mode else 4])])
        if backend == "gsplat":
            torch.testing.assert_close(means2d.absgrad, means2d.grad.abs())
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * float(b.detach().abs().max()), rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [(), (2,)])
def test_cuda_and_cpu_give_the_same_images_and_gradients(batch):
    # Tight for nearly all pixels; a Gaussian at the 1/255 cut or the stop at T = 1e-4 may flip either way in a few.
    W, H = 130, 90
    args = [t.float() for t in (*cloud(*batch, N=400, opacity=1.0), *look_around((*batch, 2), W, H))]
    background = torch.rand(*batch, 2, 3)
    v_out = torch.randn(*batch, 2, H, W, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for device in ("cpu", "cuda"):
        leaves = [t.clone().to(device).requires_grad_() for t in args[:5]]  # clone: .to('cpu') hands back its own
        out, alpha, meta = rasterization(
            *leaves, *(t.to(device) for t in args[5:]), W, H, backgrounds=background.to(device),
            render_mode="RGB+D", absgrad=True,
        )  # fmt: skip
        meta["means2d"].retain_grad()
        (out * v_out.to(device)).sum().backward()
        means2d = meta["means2d"]
        results.append([t.cpu().detach() for t in (out, alpha, means2d.absgrad, *(leaf.grad for leaf in leaves))])
    (cpu, cuda) = results
    for ours, theirs in zip(cpu[:2], cuda[:2], strict=True):
        difference = (ours - theirs).abs()
        assert difference.quantile(0.995) < 1e-4 * theirs.abs().max()
        assert difference.max() < 0.02 * theirs.abs().max()
    for ours, theirs in zip(cpu[2:], cuda[2:], strict=True):
        assert (ours - theirs).norm() < 1e-2 * theirs.norm()
