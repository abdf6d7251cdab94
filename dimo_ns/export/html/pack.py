"""What the page holds of a space: one stream of bytes, as small as its pictures allow. payload.js reads it.

    length of the header (uint32) | header (JSON, UTF-8) | arrays;  each padded to a multiple of 4 bytes

All numbers are little-endian. The header says of each array its type, its shape and where it starts, in bytes from the
first array on. Arrays with `low` and `high` are quantised: value = low + (high - low) q / (largest q), per channel.

A LowRankDecoder goes along whole and the page evaluates it, so no trajectory is stored. An MLPDecoder is too heavy for
a page: it leaves the trajectories of the motions, which the page blends.
"""

import json
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.geometry import farthest_points
from dimo_ns.core.latent_axes import AXES, REACH, LatentAxes, LatentMap
from dimo_ns.core.scene import Scene
from dimo_ns.core.skinning import NEIGHBOURS
from dimo_ns.core.types import Gaussians, RigidTransforms, SkinningWeights
from dimo_ns.errors import DimoError
from dimo_ns.export.colours import displayed
from dimo_ns.space.motion_space import MotionSpace

Packed = dict[str, tuple[np.ndarray, dict[str, Any]]]
"""Arrays by name, each with what the header says of it beside type, shape and place."""

ALPHA_MIN = 1 / 255
"""The rasterizer draws nothing that is fainter."""
SCALES = (1e-7, 1e7)
"""World units; far below what a pixel shows, and far above."""
OPAQUE, OUTLINE_SAMPLE, OUTLINE_DIRECTIONS = 0.3, 2000, 64
"""Gaussians that the first picture has to show; how many of them are followed, and looked at from how many sides."""
TRAILS = 64
"""Key points that leave a trail."""
MAX_KEYPOINTS = 2**16


@torch.no_grad()
def pack(space: MotionSpace, latents: dict[str, Float[Tensor, " d"]]) -> bytes:
    """The object of a space, and the motions of these latents by name. Raises DimoError if nothing of the object can be
    seen, or if a number is too large for the page."""
    gaussians, skinning = visible(space)
    mu = torch.stack(list(latents.values()))
    motions = [space.motion(z[None])[0] for z in mu]
    arrays = pack_object(space, gaussians, skinning) | pack_latents(space, mu) | pack_decoder(space, motions)
    arrays["outline"] = numbers(outline(space.scene, gaussians, skinning.indices, motions))
    entries, start = {}, 0
    for name, (array, range_of) in arrays.items():
        entries[name] = {"type": array.dtype.name, "shape": array.shape, "start": start, **range_of}
        start += array.nbytes + -array.nbytes % 4
    header = {
        "object": space.info.object or "",
        "prompt": space.info.prompt or "",
        "licence": space.info.licence or "",
        "frames": space.frames,
        "sliders": {"axes": AXES, "reach": REACH},
        "motions": [describe(space, name, z) for name, z in latents.items()],
        "arrays": entries,
    }
    text = json.dumps(header, allow_nan=False).encode()
    parts = [np.array(len(text), "<u4").tobytes(), text, *(array.tobytes() for array, _ in arrays.values())]
    return b"".join(part.ljust(len(part) + -len(part) % 4, b" ") for part in parts)


def describe(space: MotionSpace, name: str, z: Float[Tensor, " d"]) -> dict[str, Any]:
    """What the page says of a motion; `seconds` from its first frame to its last. One that is none of the space's own
    takes them, and whether it is a cycle, from the nearest that is."""
    motion = space.motions[int((space.mu - z).norm(dim=-1).argmin())]
    prompt = motion.prompt if motion.name == name else ""
    return {"name": name, "prompt": prompt, "loop": motion.loop, "seconds": motion.times_s[-1] - motion.times_s[0]}


def visible(space: MotionSpace) -> tuple[Gaussians, SkinningWeights]:
    """The canonical splats that can be seen at all, and which key points carry them."""
    scene = space.scene
    every = displayed(scene.gaussians())
    skinning = scene.skinning_weights()
    seen = every.opacities >= ALPHA_MIN
    if not seen.any():
        raise DimoError(
            f"All {len(seen):,} Gaussians of the scene are fainter than 1/255, so its page would be empty; train it on."
        )
    kept = (every.means, every.quats, every.scales, every.opacities, every.colors)
    return Gaussians(*(x[seen] for x in kept)), SkinningWeights(skinning.indices[seen], skinning.weights[seen])


def pack_object(space: MotionSpace, gaussians: Gaussians, skinning: SkinningWeights) -> Packed:
    """The splats and what carries them."""
    keypoints = space.scene.keypoints
    if len(keypoints) > MAX_KEYPOINTS:
        raise DimoError(f"The scene has {len(keypoints):,} key points, and a page holds at most {MAX_KEYPOINTS:,}.")
    missing = (0, NEIGHBOURS - skinning.indices.shape[1])
    return {
        "means": quantised(gaussians.means, np.uint16),
        "quats": quantised(gaussians.quats, np.uint8, -1.0, 1.0),
        "log_scales": quantised(gaussians.scales.clamp(*SCALES).log(), np.uint8),
        "opacities": quantised(gaussians.opacities[:, None], np.uint8, 0.0, 1.0),
        "colors": quantised(gaussians.colors, np.uint8),
        "weights": quantised(F.pad(skinning.weights, missing), np.uint8, 0.0, 1.0),
        "neighbours": (F.pad(skinning.indices, missing).cpu().numpy().astype("<u2"), {}),
        "keypoints": numbers(keypoints),
        "trails": (farthest_points(keypoints, min(TRAILS, len(keypoints))).cpu().numpy().astype("<u2"), {}),
    }


def pack_decoder(space: MotionSpace, motions: list[RigidTransforms]) -> Packed:
    """What the page makes poses of: the decoder, or trajectories [m, t, k, 7] where it is too heavy."""
    decoder = space.scene.decoder
    if isinstance(decoder, LowRankDecoder):
        return {f"decoder.{name}": halves(value, name) for name, value in decoder.state_dict().items()}
    trajectories = torch.stack([torch.cat([each.translations, each.quats], -1) for each in motions])
    return {"trajectories": halves(trajectories, "the trajectories")}


def pack_latents(space: MotionSpace, mu: Float[Tensor, "m d"]) -> Packed:
    """The latents of these motions, and of the space their principal axes and its map (core/latent_axes.py). A space of
    one motion has no axes to explore: what its posterior leaves open is noise."""
    axes, where = LatentAxes.of(space.scene.latents), LatentMap.of(space.scene.latents)
    count = len(axes.sigmas) if len(space.mu) > 1 else 0
    return {
        "mu": numbers(mu),
        "centre": numbers(axes.centre),
        "axes": numbers(axes.axes[:count]),
        "sigmas": numbers(axes.sigmas[:count]),
        "plane": numbers(where.plane),
        "edges": numbers(torch.stack([where.low, where.high])),
    }


def outline(
    scene: Scene, gaussians: Gaussians, neighbours: Int[Tensor, "n j"], motions: list[RigidTransforms]
) -> Float[Tensor, "p 3"]:
    """The outermost places where the object goes in these motions, but for a thousandth, for the page to frame it."""
    device = scene.keypoints.device
    rows = (gaussians.opacities > OPAQUE).nonzero()[:, 0]
    if not len(rows):
        rows = torch.arange(len(gaussians.means), device=device)
    rows = rows[:: -(-len(rows) // OUTLINE_SAMPLE)]
    shown = gaussians.means[rows], gaussians.quats[rows], scene.keypoints, scene.log_radii, neighbours[rows]
    directions = torch.randn(3, OUTLINE_DIRECTIONS, generator=torch.Generator().manual_seed(0)).to(device)
    corners = []
    for transforms in motions:
        means, _ = scene.skin(*shown, transforms)
        places = means.flatten(0, 1)
        corners.append(places[(places @ directions).topk(1 + len(places) // 1000, 0).indices[-1]])
    places = torch.cat(corners)
    return places[(places @ directions).argmax(0)]


def quantised(
    values: Float[Tensor, "n c"], kind: type[np.unsignedinteger], low: float | None = None, high: float | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """`values` as whole numbers between the lowest and the highest of each channel, or between given ones."""
    x = values.cpu().double().numpy()
    lows = x.min(0) if low is None else np.full(x.shape[1], low)
    highs = x.max(0) if high is None else np.full(x.shape[1], high)
    largest = np.iinfo(kind).max
    q = (x - lows) / np.maximum(highs - lows, np.finfo(np.float64).tiny) * largest
    array = q.round().clip(0, largest).astype(np.dtype(kind).newbyteorder("<"))
    return array, {"low": lows.tolist(), "high": highs.tolist()}


def halves(values: Tensor, what: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Numbers of 16 bits. Raises DimoError for those that are larger than such numbers can be."""
    with np.errstate(over="ignore"):
        array = values.cpu().numpy().astype("<f2")
    if not np.isfinite(array).all():
        raise DimoError(f"The page holds {what} in 16-bit numbers, and one of them is larger than 65,504.")
    return array, {}


def numbers(values: Tensor) -> tuple[np.ndarray, dict[str, Any]]:
    return values.cpu().numpy().astype("<f4"), {}
