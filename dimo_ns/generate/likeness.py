"""Whether a clip's object still looks like the user's picture, to CLIP."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch.nn.functional import cosine_similarity

from dimo_ns.generate.framing import SOLID, cut, object_box, square_around
from dimo_ns.generate.items import digest, file_digest
from dimo_ns.generate.matting import plain
from dimo_ns.metrics.pretrained import ClipSimilarity


class Likeness:
    """To one picture."""

    def __init__(self, folder: Path, picture: UInt8[np.ndarray, "h w 3"]):
        """`folder`: of a CLIP model, for example openai/clip-vit-base-patch32; `picture`: the object over white. Raises
        DimoError."""
        self.clip, self.picture = ClipSimilarity(folder), cropped(plain(picture[None]))
        weights = sorted(folder.glob("*.safetensors"))
        self.about: dict[str, Any] = {"clip": digest([file_digest(path) for path in weights])[:16]}

    def __call__(self, frames: UInt8[np.ndarray, "t h w 4"]) -> float:
        """The cosine similarity of the frame that is least like the picture; where it lies and how large it is do not
        matter."""
        seen = self.clip.embed(torch.from_numpy(np.concatenate([self.picture, cropped(frames)])) / 255)
        return float(cosine_similarity(seen[:1], seen[1:]).min())


def cropped(frames: UInt8[np.ndarray, "t h w 4"], size: int = 224) -> UInt8[np.ndarray, "t {size} {size} 3"]:
    """The object of every frame over white, framed by itself; a frame that shows nothing is white."""
    over_white = []
    for frame in frames:
        box = object_box(frame[None, ..., 3] > SOLID) or (0, 0, frame.shape[1], frame.shape[0])
        rgba = cut(frame[None], square_around(box), size)[0].astype(np.float32)
        share = rgba[..., 3:] / 255
        over_white.append((rgba[..., :3] * share + 255 * (1 - share)).round().astype(np.uint8))
    return np.stack(over_white)
