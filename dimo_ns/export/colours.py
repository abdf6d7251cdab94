"""Colours as other programs show them: between 0 and 1.

Training keeps them there. In scenes that were trained before it did, or elsewhere, some lie outside: this project's own
renderer takes them as they are, every other program clamps them, and so does every export for one.
"""

from dataclasses import replace

import numpy as np
import torch

from dimo_ns.core.cameras import orbit
from dimo_ns.core.types import Gaussians
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.space.motion_space import MotionSpace

AZIMUTHS, ELEVATION, SIZE = (0.0, 90.0, 180.0, 270.0), 15.0, (256, 256)
"""From where the cost is measured."""


def displayed(gaussians: Gaussians) -> Gaussians:
    """The same Gaussians, their colours as every program shows them."""
    return replace(gaussians, colors=gaussians.colors.clamp(0, 1))


@torch.no_grad()
def cost_of_clamping(space: MotionSpace) -> str | None:
    """What exports lose by it, in a sentence: how many Gaussians are concerned, and how close pictures of the object at
    rest are to those of this project's own renderer. None where all colours are in range."""
    asis = space.scene.gaussians()
    shown = displayed(asis)
    share = float((asis.colors != shown.colors).any(-1).float().mean())
    if not share:
        return None
    cameras = orbit(torch.tensor(AZIMUTHS), ELEVATION, SIZE)
    pictures = [
        np.stack([picture.image for picture in take_pictures(each.repeated(len(AZIMUTHS)), cameras)]).astype(np.float64)
        for each in (asis, shown)
    ]
    error = float(np.square(pictures[0] - pictures[1]).mean())
    close = f"by {10 * np.log10(255**2 / error):.1f} dB (PSNR)" if error else "in nothing that can be seen"
    return (
        f"{share:.1%} of the Gaussians have colours outside [0, 1], which other programs clamp, as this export does: "
        f"pictures of it differ from those of dimo render {close}."
    )
