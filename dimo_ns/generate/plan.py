"""What a generation would do: how much of it is there already, how long the rest takes, and whether the disk is large
enough.

Times are computed from operations, at 40 % of a GPU's peak in 16 bits; nothing here was measured.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from dimo_ns.errors import DimoError
from dimo_ns.files.opening import expanded
from dimo_ns.generate.multiview.chunks import chunk_starts
from dimo_ns.generate.multiview.variants import variant_named
from dimo_ns.generate.presets import Preset
from dimo_ns.generate.settings import Settings

GPUS = {"RTX 3090": 71, "RTX 4090": 165, "A100": 312, "H100": 989}
"""Peak in TFLOP/s, 16 bits, dense."""
SHARE = 0.4
VIEW_PFLOP = 20.6 / (96 * 50)
"""What the multi-view model takes for one picture of 576 x 576 and one step, with guidance."""


@dataclass(frozen=True)
class Plan:
    """What is to be made for all motions if every first try can be used."""

    motions: int
    videos: int
    """Still to be made, as the next."""
    clips: int
    chunks: int
    bytes: int
    """What that takes on the disk."""
    video_pflop: float
    """What one video takes."""
    chunk_pflop: float

    def hours(self, tflops: float) -> float:
        work = self.videos * self.video_pflop + self.chunks * self.chunk_pflop
        return work * 1e3 / (tflops * SHARE) / 3600


def plan(preset: Preset, settings: Settings, motions: int, videos: int, clips: int, chunks: int) -> Plan:
    """The plan for so many motions; `videos`, `clips`, `chunks`: how many are to be made."""
    variant = variant_named(preset.multiview)
    pixels = settings.size**2 * settings.frames
    video = 0.05 * preset.height * preset.width * preset.frames
    chunk = 1.2 * variant.views * variant.frames * settings.size**2
    dataset = motions * (variant.views + 1) * pixels
    steps = preset.multiview_steps * (settings.size / 576) ** 2
    return Plan(
        motions=motions,
        videos=videos,
        clips=clips,
        chunks=chunks,
        bytes=round(videos * video + clips * pixels + chunks * chunk + dataset),
        video_pflop=video_pflop(preset),
        chunk_pflop=VIEW_PFLOP * variant.views * variant.frames * steps,
    )


def video_pflop(preset: Preset) -> float:
    """2 for every parameter and token, 4 x channels for every pair of tokens and layer, twice for guidance."""
    model = preset.model
    tokens = (preset.height / model.patch) * (preset.width / model.patch) * ((preset.frames - 1) // 4 + 1)
    network = 2e9 * max(model.parameters.values(), default=0.0) * tokens
    attention = 4.0 * model.layers * model.channels * tokens**2
    return 2 * preset.steps * (network + attention) / 1e15


def chunks_of(preset: Preset, settings: Settings) -> int:
    return len(chunk_starts(settings.frames, variant_named(preset.multiview).frames))


def check_disk(out: Path, needed: int) -> None:
    """Raises DimoError if the disk is too small."""
    place = expanded(out)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DimoError(
            f"About {needed / 1e9:.1f} GB are needed and the disk of {place} has {free / 1e9:.1f} GB free; choose "
            "another output, or fewer motions."
        )
