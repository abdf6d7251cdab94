"""Clips drawn by hand: a patterned disc on white, with exactly one fault or with none."""

import numpy as np

SIDE = 96


def disc(x: float, y: float, radius: float, light: float = 1.0, side: int = SIDE, texture: float = 0.0) -> np.ndarray:
    """RGB of a disc whose pattern moves along; `texture` shifts a pattern in the background, 0 for plain white."""
    yy, xx = np.mgrid[:side, :side].astype(float)
    image = np.full((side, side, 3), 255.0)
    if texture:
        image -= (30 + 25 * np.sin((xx + texture) / 3) + 20 * np.cos(yy / 4))[..., None]
    inside = (xx - x) ** 2 + (yy - y) ** 2 < radius**2
    pattern = 110 + 50 * np.sin((xx - x) / 4) * np.cos((yy - y) / 5)
    image[inside] = (light * pattern[inside])[:, None] * [1.0, 0.6, 0.4]
    return image.clip(0, 255).round().astype(np.uint8)


def clip(fault: str = "none", frames: int = 9, side: int = SIDE) -> np.ndarray:
    """uint8 [t, side, side, 3]: the disc swings by 9 px of 576 a frame; or the same with one fault."""
    half, images = side / 2, []
    for t in range(frames):
        x, radius, light, texture = half + 1.5 * (t % 4) * side / 96, side / 5, 1.0, 0.0
        if fault == "still":
            x = half
        elif fault == "wild":
            x = half + (7 if t % 2 else -7)
        elif fault == "cut":
            x = half + 4 * t
        elif fault == "small":
            radius = 4
        elif fault == "large":
            radius = 0.54 * side
            x = half
        elif fault == "zoom":
            radius = side / 5 + 2 * t
        elif fault == "flicker":
            light = 1.5 if t == frames // 2 else 1.0
        elif fault == "background":
            texture = 0.01
        elif fault == "camera":
            texture = 1 + 2 * t
        elif fault == "empty" and t == 3:
            radius = 0
        images.append(disc(x, half, radius, light, side, texture))
    return np.stack(images)
