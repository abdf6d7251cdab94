"""Reads what a page holds, apart from the page's own reader: the space as it came out of the packing."""

import base64
import copy
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimo_ns.core.skinning import skin
from dimo_ns.core.types import Gaussians, RigidTransforms, SkinningWeights
from dimo_ns.space.motion_space import MotionSpace


def read_page(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of a page and its arrays, as numbers that mean something."""
    (payload,) = re.findall(r'<script id="payload"[^>]*>([^<]*)</script>', path.read_text(encoding="utf-8"))
    return read(gzip.decompress(base64.b64decode(payload)))


def read(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    length = int.from_bytes(data[:4], "little")
    header, first = json.loads(data[4 : 4 + length]), 4 + length + -length % 4
    arrays = {}
    for name, entry in header["arrays"].items():
        dtype, count = np.dtype(entry["type"]).newbyteorder("<"), int(np.prod(entry["shape"]))
        values = np.frombuffer(data, dtype, count, first + entry["start"]).reshape(entry["shape"])
        if "low" in entry:
            low, high = np.array(entry["low"]), np.array(entry["high"])
            values = low + (high - low) * (values / np.iinfo(dtype).max)
        arrays[name] = values
    return header, arrays


class Unpacked:
    """What the page is to draw: the splats, carriers and decoder that it holds."""

    def __init__(self, arrays: dict[str, np.ndarray], space: MotionSpace):
        a = {name: torch.tensor(values.astype(np.float32)) for name, values in arrays.items()}
        quats = torch.nn.functional.normalize(a["quats"], dim=-1)
        self.canonical = Gaussians(a["means"], quats, a["log_scales"].exp(), a["opacities"][:, 0], a["colors"])
        weights = a["weights"] / a["weights"].sum(-1, keepdim=True)
        self.skinning = SkinningWeights(torch.tensor(arrays["neighbours"].astype(np.int64)), weights)
        self.keypoints = a["keypoints"]
        self.decoder = copy.deepcopy(space.scene.decoder).cpu()
        if "decoder.basis" in a:
            self.decoder.load_state_dict({name: a[f"decoder.{name}"] for name in self.decoder.state_dict()})

    @torch.no_grad()
    def decode(self, z: torch.Tensor, t: torch.Tensor) -> RigidTransforms:
        return self.decoder(self.keypoints, t, z)

    @torch.no_grad()
    def carry(self, transforms: RigidTransforms) -> Gaussians:
        g = self.canonical
        means, quats = skin(g.means, g.quats, self.skinning, self.keypoints, transforms)
        return Gaussians(means, quats, g.scales, g.opacities, g.colors)
