"""The two published models of Stable Video 4D 2.0."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dimo_ns.errors import DimoError

from .sampler import linear_guidance, ramp_and_triangle_guidance

PAGE = "stabilityai/sv4d2.0"
"""On huggingface.co."""


@dataclass(frozen=True)
class Variant:
    """What tells one model from the other: their networks have the same parameters."""

    name: str
    frames: int
    """How many frames a chunk has: as many as are denoised together."""
    azimuths_deg: tuple[float, ...]
    """What its scripts ask for; the first is the input's view."""
    across_views: bool
    """See SpaceTimeTransformer."""
    guidance: Callable[[int, int], Float[Tensor, "t v"]]
    gigabytes: float = 12.0
    """The size of the published file, in float32: what its networks come to."""

    @property
    def views(self) -> int:
        """How many are made: all but the input's."""
        return len(self.azimuths_deg) - 1

    @property
    def file(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def download(self) -> str:
        """The command that gets the weights."""
        return f"hf download {PAGE} {self.file} --local-dir ."


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("sv4d2", 12, (0.0, 60.0, 120.0, 180.0, 240.0), across_views=False, guidance=linear_guidance),
        Variant(
            "sv4d2_8views",
            5,
            (0.0, 30.0, 75.0, 120.0, 165.0, 210.0, 255.0, 300.0, 330.0),
            across_views=True,
            guidance=ramp_and_triangle_guidance,
        ),
    )
}


def variant_named(name: str) -> Variant:
    """Raises DimoError for names that are not there."""
    if name not in VARIANTS:
        raise DimoError(f"There is no multi-view model '{name}'; choose one of {', '.join(VARIANTS)}.")
    return VARIANTS[name]
