"""The object as browsers draw it themselves: its Gaussians in viser's scene, where viser has a way to pose them anew.

A camera then moves without a word to us. A pose takes 32 bytes per Gaussian, and is sent to a browser once that has
taken in the one before, so that none queue up on a slow line or before a slow browser.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import viser
from jaxtyping import Float

from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.viewer import draw
from dimo_ns.viewer.state import Shown

SplatArrays = tuple[
    Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 1"]
]
"""Centres, covariances, sRGB colours and opacities."""
SEEN_THROUGH = 0.3
"""The share of their opacity that is left to Gaussians while key points or trails are shown, which lie among them."""
PATIENCE = 2.0
"""Seconds after which a browser that does not answer gets the next pose all the same."""


def browsers_draw(scene: viser.SceneApi) -> bool:
    """Whether this viser takes Gaussians, and others in their place without making the object anew, which flickers."""
    return hasattr(scene, "add_gaussian_splats") and hasattr(viser.GaussianSplatHandle, "set_gaussians")


@torch.no_grad()
def splats_of(space: MotionSpace, shown: Shown) -> SplatArrays:
    """What is shown, as viser takes it."""
    posed = draw.posed(space, shown)
    halves = quat_to_matrix(posed.quats[0]) * posed.scales[:, None]
    opacities = posed.opacities[:, None]
    if shown.look.keypoints or shown.look.trails:
        opacities = SEEN_THROUGH * opacities
    centres, covariances, colours, opacities = (
        x.cpu().numpy() for x in (posed.means[0], halves @ halves.mT, posed.colors, opacities)
    )
    return centres, covariances, colours, opacities


class Splats:
    """The object in one browser, in the place of a picture."""

    def __init__(self, client: Any, answered: Callable[[], Any]):
        """`answered` is called when the browser has taken in what it was sent."""
        self.client, self.answered = client, answered
        self.ready = True
        """Whether it has."""
        self._handle: Any = None

    def show(self, arrays: SplatArrays) -> None:
        """Sends another pose, in the place of what the browser shows."""
        scene = self.client.scene
        if self._handle is None:
            self._handle = scene.add_gaussian_splats("/dimo/object", *arrays, visible=False)
        else:
            self._handle.set_gaussians(*arrays)
        if not self._handle.visible:
            self._handle.visible = True
            scene.set_background_image(None)
        self.ready = False
        threading.Thread(target=self._wait, daemon=True, name="dimo-splats").start()

    def hide(self) -> None:
        """Takes the object out of the browser's scene, for a picture."""
        if self._handle is not None:
            self._handle.visible = False

    def _wait(self) -> None:
        """Asks what the browser answers when it comes to it, which is after the pose; the answer does not matter."""
        with suppress(RuntimeError, TimeoutError):  # it may store nothing; it has left; it sleeps
            self.client.local_storage.get_item("dimo", timeout=PATIENCE)
        self.ready = True
        self.answered()
