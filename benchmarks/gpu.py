"""What only a GPU can tell: agreement of the CUDA path with the CPU's, and the speed and memory of the paper's step.

    TORCH_CUDA_ARCH_LIST=9.0 python -m benchmarks.gpu        # minutes, most of them gsplat's first compilation

Needs torch and gsplat only. 1: one scene rendered by gsplat on CUDA and by our CPU backend, images and gradients.
2: the paper's joint step (4 motions x 2 times x 2 views at 512, 102,400 Gaussians, 512 key points), with its decoder
and with the low-rank one: milliseconds of each part, steps per second, peak memory.
"""

import itertools
import statistics
import sys
import time

import torch

from dimo_ns.core.cameras import orbit
from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import init_around_keypoints
from dimo_ns.core.geometry import nearest_neighbours
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.losses import arap, ssim
from dimo_ns.core.scene import Scene
from dimo_ns.rasterize import rasterization
from dimo_ns.rasterize.skinning import fused_skin

MOTIONS, TIMES, VIEWS, SIZE, KEYPOINTS, PER_KEYPOINT = 4, 2, 2, 512, 512, 200
WARM_UP, REPETITIONS = 5, 30


def cameras(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    around = orbit(torch.arange(count) * 360.0 / count, 0.0, (size, size))
    return around.viewmats, around.Ks


def build(kind: str) -> Scene:
    """A scene of the paper's size with random motions."""
    generator = torch.Generator().manual_seed(0)
    keypoints = 0.5 * torch.nn.functional.normalize(torch.randn(KEYPOINTS, 3, generator=generator), dim=-1)
    radii = torch.full((KEYPOINTS,), 0.05)
    colors = torch.rand(KEYPOINTS, 3, generator=generator)
    gaussians = init_around_keypoints(keypoints, radii, colors, PER_KEYPOINT, generator=generator)
    decoder = MLPDecoder() if kind == "mlp" else LowRankDecoder(KEYPOINTS, rank=96, width=512)
    return Scene(MotionLatents(MOTIONS), decoder, keypoints, radii, gaussians, fused_skin)


def agreement() -> None:
    """Largest differences, relative to the largest value, of the image and of each gradient."""
    scene = build("low_rank")
    viewmats, Ks = cameras(2, 256)
    names = ("means", "quats", "scales", "opacities", "colors")
    results = []
    for device in ("cpu", "cuda"):
        g = scene.gaussians()
        leaves = [getattr(g, n).detach()[::5].to(device).requires_grad_() for n in names]
        image, alpha, _ = rasterization(*leaves, viewmats.to(device), Ks.to(device), 256, 256)
        weight = torch.linspace(0, 1, image.numel(), device=device).view(image.shape)
        ((image * weight).sum() + alpha.square().sum()).backward()
        results.append([image, alpha, *(leaf.grad for leaf in leaves)])
    for name, cpu, cuda in zip(("image", "alpha", *names), *results, strict=True):
        difference = (cuda.detach().cpu() - cpu.detach()).abs()
        relative = difference / cpu.detach().abs().max()
        print(f"  {name:10} max {relative.max():.1e}   99.9% below {relative.flatten().quantile(0.999):.1e}")


def step(scene: Scene, optimizer: torch.optim.Optimizer, edges: torch.Tensor, data: tuple) -> list[float]:
    """One training step; milliseconds of decode, skin, rasterize, losses, backward, optimizer."""
    viewmats, Ks, target, motion_ids, t = data
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(7)]
    marks[0].record()
    transforms = scene.trajectory(scene.latents.draw(motion_ids), t)
    marks[1].record()
    g = scene.carry(transforms)
    marks[2].record()
    batch = len(t)
    shared = (g.scales.expand(batch, -1, -1), g.opacities.expand(batch, -1), g.colors.expand(batch, -1, -1))
    image, alpha, _ = rasterization(g.means, g.quats, *shared, viewmats, Ks, SIZE, SIZE)
    marks[3].record()
    picture = image + 1 - alpha
    loss = (picture - target).square().mean() + 0.1 * (1 - ssim(picture.flatten(0, 1), target.flatten(0, 1))).mean()
    loss = loss + 0.01 * arap(scene.keypoints, edges, transforms).mean() + 1e-5 * scene.latents.kl().mean()
    marks[4].record()
    loss.backward()
    marks[5].record()
    optimizer.step()
    optimizer.zero_grad()
    marks[6].record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in itertools.pairwise(marks)]


def speed(kind: str) -> None:
    scene = build(kind).cuda()
    viewmats, Ks = cameras(MOTIONS * TIMES * VIEWS, SIZE)
    batch = MOTIONS * TIMES
    data = (
        viewmats.view(batch, VIEWS, 4, 4).cuda(),
        Ks.view(batch, VIEWS, 3, 3).cuda(),
        torch.rand(batch, VIEWS, SIZE, SIZE, 3, device="cuda"),
        torch.arange(MOTIONS, device="cuda").repeat_interleave(TIMES),
        torch.rand(batch, device="cuda"),
    )
    edges = nearest_neighbours(scene.keypoints.detach(), 8)
    optimizer = torch.optim.Adam(scene.parameters(), lr=1e-5, eps=1e-15, fused=True)
    torch.cuda.reset_peak_memory_stats()
    runs = [step(scene, optimizer, edges, data) for _ in range(WARM_UP + REPETITIONS)][WARM_UP:]
    parts = [statistics.median(column) for column in zip(*runs, strict=True)]
    total = statistics.median(sum(run) for run in runs)
    names = ("decode", "skin", "rasterize", "losses", "backward", "optimizer")
    split = "  ".join(f"{name} {part:.2f}" for name, part in zip(names, parts, strict=True))
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(f"  {kind:9} {total:.2f} ms a step, {1e3 / total:.0f} steps/s, peak {memory:.2f} GiB; {split}")


def main() -> None:
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py: skipped, there is no CUDA device.")
        sys.exit(0)
    start = time.monotonic()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print("CUDA against CPU, relative differences:")
    agreement()
    print(f"16 renders of {SIZE} x {SIZE}, {KEYPOINTS * PER_KEYPOINT:,} Gaussians:")
    for kind in ("mlp", "low_rank"):
        speed(kind)
    print(f"{time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
