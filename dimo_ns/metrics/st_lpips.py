"""ST-LPIPS, the perceptual distance that does not mind small shifts (Ghildyal and Liu, Shift-tolerant Perceptual
Similarity Metric, ECCV 2022): a network of AlexNet's kind that blurs wherever it takes every second pixel.

The network is written here; its weights are the tensors of a file in the package stlpips-pytorch, none of whose code is
run. The distance is not on the scale of LPIPS.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimo_ns.errors import DimoError, first_line

PACKAGE = "stlpips_pytorch"
WEIGHTS = "weights/vST0.0/alex_shift_tolerant.pth"
MISSING = "it needs the extra 'perceptual': pip install 'dimo-ns[perceptual]'"
SMALLEST = 21
"""Fewer pixels, in height or width, vanish within the network."""
LAYERS = {
    "slice1.0": (64, 3, 11, 2),
    "slice2.5": (192, 64, 5, 2),
    "slice3.9": (384, 192, 3, 1),
    "slice4.11": (256, 384, 3, 1),
    "slice5.13": (256, 256, 3, 1),
}
"""The convolutions by their names in the file: channels out, channels in, width, padding."""
BLURS = {"slice1.1": 64, "slice2.4": 64, "slice3.8": 192}
"""The blurs and their channels: one behind the first convolution, one before each of the next two."""


class StLpips:
    """The distance of images in [0, 1]: 0 of equal ones; beyond 1 they have little in common."""

    def __init__(self, weights: Mapping[str, Tensor]):
        """Raises DimoError for tensors that are not there or have another shape."""
        shapes: dict[str, tuple[int, ...]] = {"scaling_layer.shift": (1, 3, 1, 1), "scaling_layer.scale": (1, 3, 1, 1)}
        for row, (name, (out, into, width, _)) in enumerate(LAYERS.items()):
            shapes |= {f"net.{name}.weight": (out, into, width, width), f"net.{name}.bias": (out,)}
            shapes[f"lin{row}.model.1.weight"] = (1, out, 1, 1)
        shapes |= {f"net.{name}.filt": (channels, 1, 3, 3) for name, channels in BLURS.items()}
        for name, shape in shapes.items():
            if name not in weights or weights[name].shape != shape:
                raise DimoError(f"The weights of ST-LPIPS have no {name} of shape {list(shape)}; install them anew.")
        self._weights = {name: weights[name].float() for name in shapes}

    @staticmethod
    def find() -> "StLpips | None":
        """None where the package is not installed. Raises DimoError if its file is damaged."""
        package = importlib.util.find_spec(PACKAGE)
        if package is None or not package.submodule_search_locations:
            return None
        path = Path(package.submodule_search_locations[0]) / WEIGHTS
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds: no file, a truncated one, one with code in it
            raise DimoError(f"The weights of ST-LPIPS in {path} cannot be read ({first_line(error)}).") from error
        return StLpips(weights)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "b h w 3"], target: Float[Tensor, "b h w 3"]) -> Float[Tensor, " b"]:
        """Of each pair of images, of `SMALLEST` pixels at least."""
        self._weights = {name: weight.to(image.device) for name, weight in self._weights.items()}
        both = 2 * torch.cat([image, target]).permute(0, 3, 1, 2) - 1
        total = image.new_zeros(len(image))
        for row, features in enumerate(self._features(both)):
            ours, theirs = (features / (features.norm(dim=1, keepdim=True) + 1e-10)).chunk(2)
            difference = F.conv2d((ours - theirs).square(), self._weights[f"lin{row}.model.1.weight"])
            total = total + difference.mean((1, 2, 3))
        return total

    def _features(self, x: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        x = (x - self._weights["scaling_layer.shift"]) / self._weights["scaling_layer.scale"]
        x = F.relu(self._blurred(self._convolved(x, "slice1.0"), "slice1.1"))
        seen = [x]
        for name, blur in (("slice2.5", "slice2.4"), ("slice3.9", "slice3.8"), ("slice4.11", ""), ("slice5.13", "")):
            if blur:
                x = self._blurred(F.max_pool2d(x, 3, 1), blur)
            x = F.relu(self._convolved(x, name))
            seen.append(x)
        return seen

    def _convolved(self, x: Float[Tensor, "b _i _h _w"], name: str) -> Float[Tensor, "b _o _g _v"]:
        weight, bias = (self._weights[f"net.{name}.{part}"] for part in ("weight", "bias"))
        return F.conv2d(x, weight, bias, padding=LAYERS[name][3])

    def _blurred(self, x: Float[Tensor, "b _c _h _w"], name: str) -> Float[Tensor, "b _c _g _v"]:
        """Every second pixel of the blurred picture, mirrored by two pixels at its edges."""
        return F.conv2d(
            F.pad(x, (2, 2, 2, 2), "reflect"), self._weights[f"net.{name}.filt"], stride=2, groups=x.shape[1]
        )
