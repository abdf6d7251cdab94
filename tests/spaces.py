"""A small space of motions that were never trained but differ, for the tests of what is made from a space."""

import torch

from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.data.dataset import Motion
from dimo_ns.rasterize.skinning import fused_skin
from dimo_ns.space.info import SceneInfo
from dimo_ns.space.motion_space import MotionSpace

NAMES = ("walk", "run", "sit", "wave")
FRAMES, FPS, KEYPOINTS, GAUSSIANS, DIM = 9, 8.0, 24, 300, 8


def some_space(kind: str = "low_rank", gaussians: int = GAUSSIANS, seed: int = 0) -> MotionSpace:
    """Random everywhere, the decoder's last layers too, so that every motion is another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = MLPDecoder(DIM) if kind == "mlp" else LowRankDecoder(KEYPOINTS, DIM, rank=6, width=24)
    keypoints = 0.2 * torch.randn(KEYPOINTS, 3, generator=generator)
    scene = Scene(
        MotionLatents(len(NAMES), DIM),
        decoder,
        keypoints,
        torch.full((KEYPOINTS,), 0.15),
        CanonicalGaussians(
            0.2 * torch.randn(gaussians, 3, generator=generator),
            0.01 + 0.03 * torch.rand(gaussians, 3, generator=generator),
            0.3 + 0.6 * torch.rand(gaussians, generator=generator),
            torch.rand(gaussians, 3, generator=generator),
            torch.randn(gaussians, 4, generator=generator),
        ),
        fused_skin,
    )
    with torch.no_grad():
        for parameter in scene.decoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        scene.latents.mu.copy_(torch.randn(len(NAMES), DIM, generator=generator))
        scene.latents.logvar.fill_(-4.0)
    motions = tuple(a_motion(n, f"a thing that {n}s", loop=n in ("walk", "run")) for n in NAMES)
    return MotionSpace(scene, SceneInfo(motions, FRAMES, FPS, object="thing"))


def a_motion(name: str, prompt: str = "", frames: int = FRAMES, loop: bool = False) -> Motion:
    """A motion of training, its frames 1 / FPS apart."""
    return Motion(name, prompt, "train", loop, tuple(f / FPS for f in range(frames)))
