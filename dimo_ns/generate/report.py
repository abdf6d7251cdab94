"""What there is of a generation: manifest.json, and clips.png to look at."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from dimo_ns.generate.clip_checks import as_json
from dimo_ns.generate.items import Item, Items, write_json
from dimo_ns.generate.prompts import MotionPrompt
from dimo_ns.generate.tries import Tries
from dimo_ns.generate.view_chunks import ViewChunks


def write_report(
    items: Items, identity: str, motions: Sequence[MotionPrompt], tries: Tries, views: ViewChunks | None
) -> None:
    """Writes both files beside the items."""

    def place(item: Item) -> str:
        return items.path(item).relative_to(items.root).as_posix()

    rows, clips = [], []
    for motion in motions:
        tried, chosen = tries.of(motion), tries.chosen(motion)
        rows.append({
            "name": motion.name, "label": motion.label, "prompt": motion.prompt,
            "clip": place(chosen.item) if chosen else None,
            "tries": [
                {"clip": place(clip.item), "seed": clip.seed, "flags": clip.flags, "figures": as_json(clip.figures)}
                for clip in tried
            ],
            "views": [place(item) for item in views.of(chosen)] if chosen and views else [],
        })  # fmt: skip
        for clip in tried:
            wrong = "; ".join(f"{flag}: {why}" for flag, why in clip.flags.items())
            clips.append((motion.label, wrong, tries.pictures(clip) if clip.box else None))
    items.replace("manifest.json", lambda path: write_json(path, {"object": identity, "motions": rows}))
    if clips:
        items.replace("clips.png", lambda path: sheet(clips, path))


def sheet(rows: list[tuple[str, str, UInt8[np.ndarray, "t h w 4"] | None]], path: Path, cell: int = 112) -> None:
    """Draws clips as rows of seven frames over white, each with its name and what is wrong with it."""
    columns, left, line = 7, 250, cell + 8
    page = Image.new("RGB", (left + columns * cell + 12, line * len(rows) + 12), "white")
    draw = ImageDraw.Draw(page)
    for i, (name, wrong, clip) in enumerate(rows):
        top = 8 + i * line
        draw.line((12, top - 4, page.width - 12, top - 4), fill="#e8e8e8")
        draw.multiline_text((12, top + 4), _wrapped(name), "#a8485a" if wrong else "#222222")
        draw.multiline_text((12, top + 40), _wrapped(wrong or "kept"), "#a8485a" if wrong else "#4c8c63")
        if clip is None:
            continue
        for column, frame in enumerate(np.linspace(0, len(clip) - 1, columns).round().astype(int)):
            image = Image.fromarray(clip[frame])
            image.thumbnail((cell, cell), Image.Resampling.LANCZOS)
            page.paste(image, (left + column * cell, top), image)
    page.save(path)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 38)[:5])
