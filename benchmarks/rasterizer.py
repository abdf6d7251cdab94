"""Speed of the CPU rasterizer: forward and backward, against gsplat's PyTorch reference in the same run.

    python -m benchmarks.rasterizer            # about two minutes; on an idle machine, or the figures mean little

Timed, ours: ``rasterization`` (projection, tile lists, compositing; 3 channels, one call) and the gradients of means,
quats, scales, opacities and colours for given gradients of image and alpha. Timed, gsplat's reference
(``gsplat.cuda._torch_impl`` on the CPU): its projection and its ``accumulate``, and the same gradients by autograd. Its
pairs of Gaussian and pixel are given to it for free: its own way to them, ``_isect_tiles``, is a loop in Python.
nerfacc's two functions, which have no CPU kernels, are stood in for by tests/rasterize/gsplat_reference.py.
Wall-clock medians; the two take turns, after one untimed call each. The images are compared before anything is timed:
"difference" is what 99.9% of all values stay below.
"""

import math
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from dimo_ns.core.cameras import orbit
from dimo_ns.rasterize import rasterization
from dimo_ns.rasterize.cpu import simd, tiles
from tests.rasterize import gsplat_reference

CASES = [(512, 128, 1), (5_000, 256, 1), (20_000, 256, 1), (20_000, 256, 16), (20_000, 512, 1), (100_000, 512, 1)]
OUR_REPEATS, REFERENCE_REPEATS = 20, 3
REFERENCE_LIMIT = 25_000  # Gaussians times images: memory, and two minutes
MAX_ALPHA = 0.999


def scene(N: int, images: int, size: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """A bumpy shell of Gaussians about as wide as their distance, and cameras around it that it fills."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(N, 3, generator=generator), dim=-1)
    radius = 0.42 * (1 + 0.12 * torch.sin(5 * direction[:, :1]) * torch.cos(4 * direction[:, 1:2]))
    means = direction * radius * (1 + 0.03 * torch.randn(N, 1, generator=generator))
    spacing = math.sqrt(4 * math.pi * 0.42**2 / N)
    scales = 0.6 * spacing * torch.exp(0.5 * torch.randn(N, 3, generator=generator)) * torch.tensor([1.0, 1.0, 0.35])
    quats = torch.randn(N, 4, generator=generator)
    opacities = torch.sigmoid(1.0 + 1.8 * torch.randn(N, generator=generator))
    colors = torch.rand(N, 3, generator=generator)
    azimuth = torch.arange(images) * 2 * math.pi / images + 0.3
    cameras = orbit(torch.rad2deg(azimuth), 0.0, (size, size))
    return [means, quats, scales, opacities, colors], cameras.viewmats, cameras.Ks


@torch.no_grad()
def pairs(
    module, gaussians: list[torch.Tensor], viewmats: torch.Tensor, Ks: torch.Tensor, size: int
) -> list[torch.Tensor]:
    """The blended (Gaussian, pixel, camera), from our tile lists: brute force would take minutes."""
    means2d, conics, depths = gsplat_reference.project(module, *gaussians[:3], viewmats, Ks, size, size)
    (images, N), columns = depths.shape, -(-size // tiles.TILE)
    lists = tiles.build(
        means2d.contiguous().numpy(), conics.numpy(), depths.contiguous().numpy(), np.ones((images, N, 2), np.int32),
        gaussians[3][None].numpy(), np.empty((1, N, 0), np.float32), False, 4, size, size, False,
    )  # fmt: skip
    order, ranks = torch.from_numpy(lists.order).long(), torch.from_numpy(lists.ranks).long()
    found = []
    for tile in np.flatnonzero(np.diff(lists.starts)):
        image, place = divmod(int(tile), columns**2)
        g = order[image * N + ranks[lists.starts[tile] : lists.starts[tile + 1]]]
        y, x = torch.meshgrid(torch.arange(tiles.TILE), torch.arange(tiles.TILE), indexing="ij")
        x, y = x.flatten() + place % columns * tiles.TILE, y.flatten() + place // columns * tiles.TILE
        d = torch.stack([x, y], dim=-1)[:, None] + 0.5 - means2d[image, g]
        A, B, C = conics[image, g].unbind(-1)
        sigma = 0.5 * (A * d[..., 0] ** 2 + C * d[..., 1] ** 2) + B * d[..., 0] * d[..., 1]
        alpha = (gaussians[3][g] * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
        alpha = torch.where((alpha >= 1 / 255) & ((x < size) & (y < size))[:, None], alpha, 0)
        p, k = torch.nonzero((alpha > 0) & (torch.cumprod(1 - alpha, dim=1) > 1e-4), as_tuple=True)
        found.append(torch.stack([g[k], y[p] * size + x[p], torch.full_like(k, image)]))
    gaussian, pixel, camera = torch.cat(found, dim=1)
    sort = torch.argsort(camera * size**2 + pixel, stable=True)
    return [gaussian[sort], pixel[sort], camera[sort]]


def timed(render, leaves: list[torch.Tensor], v_out: torch.Tensor, v_alpha: torch.Tensor) -> tuple[float, float]:
    start = time.perf_counter()
    outputs = render(*leaves)[:2]
    middle = time.perf_counter()
    torch.autograd.grad(outputs, leaves, (v_out, v_alpha))
    return (middle - start) * 1e3, (time.perf_counter() - middle) * 1e3


def measure(module, N: int, size: int, images: int) -> str:
    gaussians, viewmats, Ks = scene(N, images, size)
    generator = torch.Generator().manual_seed(1)
    v = [torch.randn(images, size, size, channels, generator=generator) for channels in (3, 1)]
    leaves = [t.requires_grad_() for t in gaussians]

    def ours(means, quats, scales, opacities, colors):
        return rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, size, size, backend="numba", max_alpha=MAX_ALPHA
        )

    def reference(means, quats, scales, opacities, colors):
        means2d, conics, _ = gsplat_reference.project(module, means, quats, scales, viewmats, Ks, size, size)
        inputs = [means2d, conics, opacities.expand(images, -1), colors.expand(images, -1, -1), *blended]
        return module.accumulate(*inputs, size, size)

    timed(ours, leaves, *v)
    with_reference = N * images <= REFERENCE_LIMIT
    if with_reference:
        blended = pairs(module, [t.detach() for t in gaussians], viewmats, Ks, size)
        with torch.no_grad():
            ours_, theirs_ = ours(*leaves)[0], reference(*leaves)[0]
        difference = (ours_ - theirs_).abs().flatten().numpy()
        typical, worst = np.quantile(difference, 0.999), difference.max()
        assert typical < 1e-4, f"images differ: {typical}"
        assert worst < 1e-2, f"images differ: {worst}"  # rounding may take a Gaussian over the cut at alpha = 1/255
        timed(reference, leaves, *v)
    our_times, reference_times = [], []
    for turn in range(OUR_REPEATS):
        our_times.append(timed(ours, leaves, *v))
        if (
            with_reference
            and turn % (OUR_REPEATS // REFERENCE_REPEATS) == 0
            and len(reference_times) < REFERENCE_REPEATS
        ):
            reference_times.append(timed(reference, leaves, *v))
    forward, backward = (statistics.median(t) for t in zip(*our_times, strict=True))
    total = statistics.median(sum(t) for t in our_times)
    row = f"| {N:,} | {size} x {size} | {images} | {forward:.1f} | {backward:.1f} | {images / total * 1e3:.0f} |"
    if not with_reference:
        return row + " | | |"
    theirs = statistics.median(sum(t) for t in reference_times)
    return row + f" {theirs:.0f} | {theirs / total:.0f}x | {typical:.0e} |"


def hardware() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numba", "gsplat"))
    threads = f"{torch.get_num_threads()} threads, {simd.LANES} float32 lanes"
    return f"{model}, {threads}; Python {platform.python_version()}, {versions}"


def main() -> None:
    module = gsplat_reference.load()
    print(hardware(), "\n")
    print("| Gaussians | image | images | forward ms | backward ms | images/s | gsplat torch ms | ratio | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print(measure(module, *case), flush=True)


if __name__ == "__main__":
    main()
