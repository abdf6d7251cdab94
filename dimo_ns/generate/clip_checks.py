"""Whether a clip can be used: figures of its motion and its mask, and a reason for every one that is out of bounds.

Lengths are in pixels of a picture of 576 x 576, per frame of the clip as picked (21 frames of 5 seconds or so).
"""

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dimo_ns.generate.framing import SOLID
from dimo_ns.generate.matting import PLAIN_ENOUGH, border, plainness

UNIT = 576
FLOW_SIDE = 288
"""Flow is computed on pictures of this larger side."""
MARGIN = 0.06
"""Width of the border in which the camera's motion is looked for."""


@dataclass(frozen=True)
class Limits:
    """What is accepted. The motion's bounds are those of DIMO's authors, 0.5 to 35 for 41 frames, for 21 frames."""

    least_motion: float = 1.0
    most_motion: float = 70.0
    most_camera: float = 3.0
    least_plain: float = PLAIN_ENOUGH
    most_touching: float = 0.01
    least_area: float = 0.01
    most_area: float = 0.8
    most_growth: float = 2.5
    most_jump: float = 20.0
    least_likeness: float = 0.7
    """The least cosine of CLIP ViT-B/32; a guess."""


@dataclass(frozen=True)
class Figures:
    """The figures of one clip."""

    motion: float
    """The mean of the largest fifth of the flow inside the mask, over all frames."""
    camera: float
    """The median flow of what has texture in the background's border, in the frame where it is largest."""
    plain: float
    """The share of the border that has the background's colour."""
    touching: float
    """The share of the border that the object covers, in the frame where it is largest."""
    smallest: float
    """The smallest share of the picture that the object covers."""
    largest: float
    jump: float
    """The largest change of the object's mean brightness from one frame to the next, of 255."""
    likeness: float | None = None
    """To the user's picture, of the frame that is least like it; None if nobody looked."""


def examine(rgb: UInt8[np.ndarray, "t h w 3"], alpha: UInt8[np.ndarray, "t h w"]) -> Figures:
    """The figures of a clip's frames and what the matting took for the object."""
    solid = alpha > SOLID
    areas = solid.mean((1, 2))
    luminance = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    brightness = [float(frame[mask].mean()) for frame, mask in zip(luminance, solid, strict=True) if mask.any()]
    motion, camera = _flows(luminance, solid)
    return Figures(
        motion=motion,
        camera=camera,
        plain=plainness(rgb),
        touching=float(border(solid).mean(-1).max()),
        smallest=float(areas.min()),
        largest=float(areas.max()),
        jump=float(np.abs(np.diff(brightness)).max(initial=0)),
    )


def flags(figures: Figures, limits: Limits | None = None) -> dict[str, str]:
    """What is wrong, and why: nothing if the clip can be used."""
    f, at = figures, limits or Limits()
    tests = {
        "empty": (f.smallest == 0, "the object is not there in one of the frames, or has the background's colour"),
        "background": (f.plain < at.least_plain, f"only {f.plain:.0%} of the border have the background's colour"),
        "still": (f.motion < at.least_motion, f"the object moves by {f.motion:.1f} px a frame"),
        "wild": (f.motion > at.most_motion, f"the object moves by {f.motion:.0f} px a frame"),
        "camera": (f.camera > at.most_camera, f"the background moves by {f.camera:.1f} px a frame"),
        "cut": (f.touching > at.most_touching, f"the object covers {f.touching:.0%} of the picture's border"),
        "small": (0 < f.smallest < at.least_area, f"the object covers {f.smallest:.1%} of the picture"),
        "large": (f.largest > at.most_area, f"the object covers {f.largest:.0%} of the picture"),
        "zoom": (
            f.largest > at.most_growth * f.smallest > 0,
            f"the object covers {f.smallest:.1%} of the picture in one frame and {f.largest:.1%} in another",
        ),
        "unlike": (
            f.likeness is not None and f.likeness < at.least_likeness,
            f"the object is no longer that of the picture, by a likeness of {f.likeness or 0:.2f}",
        ),
        "flicker": (f.jump > at.most_jump, f"the object's brightness jumps by {f.jump:.0f} of 255"),
    }
    return {name: reason for name, (wrong, reason) in tests.items() if wrong}


def as_json(figures: Figures) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in asdict(figures).items() if value is not None}


def _flows(luminance: Float[np.ndarray, "t h w"], solid: Bool[np.ndarray, "t h w"]) -> tuple[float, float]:
    """Motion of the object and of the camera."""
    h, w = luminance.shape[1:]
    scale = min(1.0, FLOW_SIDE / max(h, w))
    size = round(w * scale), round(h * scale)
    grey = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA).round().astype(np.uint8) for frame in luminance]
    masks = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in solid]
    edge = np.ones(grey[0].shape, bool)
    inner = [max(1, round(MARGIN * side)) for side in edge.shape]
    edge[inner[0] : -inner[0], inner[1] : -inner[1]] = False
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    object_flow, camera = [], 0.0
    for i in range(len(grey) - 1):
        length = np.linalg.norm(flow.calc(grey[i], grey[i + 1], None), axis=-1) * UNIT / max(size)  # type: ignore
        if masks[i].any():
            inside = np.sort(length[masks[i]])
            object_flow.append(float(inside[-max(1, len(inside) // 5) :].mean()))
        near = cv2.dilate(masks[i].astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        textured = edge & ~near & (_contrast(grey[i]) > 4)
        if textured.mean() > 0.005:
            camera = max(camera, float(np.median(length[textured])))
    return float(np.mean(object_flow)) if object_flow else 0.0, camera


def _contrast(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The difference between the brightest and the darkest pixel around each."""
    kernel = np.ones((9, 9), np.uint8)
    return cv2.subtract(cv2.dilate(grey, kernel), cv2.erode(grey, kernel))  # type: ignore
