"""What a user may want otherwise of a generation."""

from dataclasses import dataclass, field, replace

from dimo_ns.errors import DimoError
from dimo_ns.generate import clip_checks
from dimo_ns.generate.clip_checks import Limits


@dataclass(frozen=True)
class Settings:
    """Frames, pictures, tries, and what is accepted."""

    frames: int = 21
    size: int = 576
    matting: str = "plain"
    seed: int = 0
    retries: int = 2
    keep_flagged: bool = False
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raises DimoError for what the later stages cannot take."""
        if self.size < 64 or self.size % 64:
            raise DimoError(f"The size is {self.size} pixels; expected a multiple of 64, best 576.")
        if self.retries < 0:
            raise DimoError(f"{self.retries} retries were asked for; expected 0 or more.")

    def flags(self, figures: clip_checks.Figures) -> dict[str, str]:
        """What is wrong with a clip. A model that knows objects needs no plain background."""
        plain_enough = self.limits.least_plain if self.matting == "plain" else 0.0
        return clip_checks.flags(figures, replace(self.limits, least_plain=plain_enough))
