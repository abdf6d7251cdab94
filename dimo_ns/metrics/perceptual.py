"""How different pictures look: the distances that can be taken with what is on this machine. Nothing is ever
downloaded in the middle of a run."""

import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimo_ns.metrics import flip, st_lpips
from dimo_ns.metrics.images import Shot, foreground
from dimo_ns.metrics.st_lpips import StLpips

WEIGHTS = "vgg16-397923af.pth"
MISSING = "torchvision's VGG-16 weights are not on this machine"
log = logging.getLogger(__name__)


class Lpips(nn.Module):
    """Mean LPIPS (VGG) of images in [0, 1]; its parameters are neither trained nor saved."""

    def __init__(self):
        super().__init__()
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        self._network = [_NoTrainLpips(net="vgg").eval()]  # in a list: not a submodule, so not in checkpoints

    @staticmethod
    def find() -> "Lpips | None":
        """LPIPS, or None, with a warning in the log, where torch's cache does not hold the weights of VGG-16."""
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
        if path.is_file():
            return Lpips()
        log.warning("LPIPS is left out: %s is not there (torchvision's VGG-16 weights).", path)
        return None

    def forward(self, image: Float[Tensor, "b h w 3"], target: Float[Tensor, "b h w 3"]) -> Float[Tensor, ""]:
        network = self._network[0].to(image.device)
        pictures = [2 * x.permute(0, 3, 1, 2).clamp(0, 1) - 1 for x in (image, target)]
        return network(*pictures).mean()


class Perceptual:
    """FLIP, ST-LPIPS and LPIPS, as far as they are here."""

    def __init__(self, lpips: Lpips | None, st: StLpips | None):
        self._lpips, self._st = lpips, st
        here = {
            "flip": (flip.available(), flip.MISSING),
            "st_lpips": (st is not None, st_lpips.MISSING),
            "lpips": (lpips is not None, MISSING),
        }
        self.missing = {name: reason for name, (found, reason) in here.items() if not found}
        """Why each that is not here is not."""

    @staticmethod
    def find(lpips: Lpips | None = None) -> "Perceptual":
        """`lpips`: what is loaded already. Raises DimoError for damaged weights of ST-LPIPS."""
        return Perceptual(lpips or Lpips.find(), StLpips.find())

    @torch.no_grad()
    def figures(self, shot: Shot) -> dict[str, float]:
        """Of a render and the truth: FLIP of all the image and of its foreground, ST-LPIPS, LPIPS."""
        figures = {}
        if "flip" not in self.missing:
            errors, inside = flip.flip_map(shot.image, shot.target), foreground(shot.alpha, shot.mask)
            figures["flip"] = float(errors.mean())
            if inside.any():
                figures["foreground_flip"] = float(errors[inside].mean())
        if self._st is not None and min(shot.image.shape[:2]) >= st_lpips.SMALLEST:
            figures["st_lpips"] = float(self._st(shot.image[None], shot.target[None]))
        if self._lpips is not None:
            figures["lpips"] = float(self._lpips(shot.image[None], shot.target[None]))
        return figures
