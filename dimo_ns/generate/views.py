"""The multi-view model (multiview/) as a generation uses it: loaded when the first clip comes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from dimo_ns.errors import DimoError
from dimo_ns.generate.checkpoints import read_header
from dimo_ns.generate.items import digest
from dimo_ns.generate.multiview import weights as multiview_weights
from dimo_ns.generate.multiview.model import MultiView
from dimo_ns.generate.multiview.variants import variant_named


class Views:
    """Makes the other views of clips."""

    def __init__(self, weights: Path | None, variant: str, device: str, steps: int = 50, images_at_once: int = 4):
        """`weights`: the safetensors file; by default where `hf download` put it. Raises DimoError if it is missing,
        cut off, or that of another model."""
        kind = variant_named(variant)
        self.weights, self.variant, self.steps, self.images_at_once = (
            find(weights, variant),
            variant,
            steps,
            images_at_once,
        )
        check(self.weights, variant)
        self.device = torch.device(device)
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        self.azimuths_deg, self.window = kind.azimuths_deg, kind.frames
        self.model: MultiView | None = None
        self.about = {
            "model": variant,
            "weights": digest(read_header(self.weights).shapes)[:16],
            "steps": steps,
            "precision": str(self.dtype),
        }

    def chunks(
        self,
        frames: UInt8[np.ndarray, "t h w 4"],
        seed: int,
        finished: Sequence[np.ndarray],
        step: Callable[[int, int], None],
    ) -> Iterator[UInt8[np.ndarray, "v t2 h w 3"]]:
        """The chunks that are not finished, one after the other. Raises DimoError if the memory is not enough."""
        try:
            if self.model is None:
                self.model = MultiView.load(self.weights, self.variant, self.device, self.dtype, self.images_at_once)
            yield from self.model.chunks(frames, seed=seed, steps=self.steps, finished=finished, progress=step)
        except torch.OutOfMemoryError as error:
            self.close()
            raise DimoError(
                f"The multi-view model needs more memory than the GPU has ({error}); set 'images_at_once: 1' in a copy "
                "of the preset, or free some."
            ) from error

    def close(self) -> None:
        """Gives the memory back."""
        self.model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def check(weights: Path, variant: str) -> None:
    """Reads the header. Raises DimoError if the file is not whole or not that of the variant."""
    kind = variant_named(variant)
    multiview_weights.check(multiview_weights.empty_networks(kind), weights, kind)


def find(weights: Path | None, variant: str) -> Path:
    """The file of the weights. Raises DimoError with the command that gets it."""
    kind = variant_named(variant)
    if weights is None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache("stabilityai/sv4d2.0", kind.file)
        weights = Path(found) if isinstance(found, str) else Path(kind.file)
    if not weights.is_file():
        raise DimoError(
            f"There are no weights at {weights}; get the file ({kind.gigabytes:.1f} GB) with '{kind.download}' once "
            "you accepted its licence there, and name it: --multiview-weights FILE."
        )
    return weights
