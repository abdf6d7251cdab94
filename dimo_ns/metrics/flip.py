"""FLIP: how different two pictures look when one flips between them (Andersson et al., 2020), by NVIDIA's own code."""

import importlib.util

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MISSING = "there is no flip-evaluator for this machine and this Python"
REACH = 10
"""From how many pixels away, at FLIP's own 67 pixels per degree, a pixel is looked at."""


def available() -> bool:
    """Whether the package is here: it has no wheels for some machines."""
    return importlib.util.find_spec("flip_evaluator") is not None


def flip_map(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
    """The error of every pixel in [0, 1], of sRGB images in [0, 1]. Where both are white all around it is zero, and
    there FLIP is not asked."""
    import flip_evaluator

    errors = torch.zeros(image.shape[:2])
    drawn = ((image < 1) | (target < 1)).any(-1).nonzero().cpu()
    if len(drawn):
        top, left = (drawn.amin(0) - REACH).clamp(min=0).tolist()
        bottom, right = (drawn.amax(0) + REACH + 1).tolist()
        box = slice(top, bottom), slice(left, right)
        true, made = (np.ascontiguousarray(x[box].float().cpu().numpy()) for x in (target, image))
        found, *_ = flip_evaluator.evaluate(true, made, "LDR", applyMagma=False, computeMeanError=False)
        errors[box] = torch.from_numpy(np.asarray(found)).squeeze(-1)
    return errors.to(image.device)
