"""LPIPS where its weights are on this machine; nothing is ever downloaded in the middle of a run."""

import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
