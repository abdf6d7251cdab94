"""Looks at a whole dataset, every pixel of it: a report of what is there and what is wrong, and a contact sheet."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dimo_ns.data.agreement import Agreement, measure
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.format import load
from dimo_ns.data.frames import premultiplied, read_clip
from dimo_ns.data.images import read_rgba
from dimo_ns.data.poses import judge
from dimo_ns.data.samples import Samples, choose_moments
from dimo_ns.errors import DimoError
from dimo_ns.files.durable import write_files
from dimo_ns.files.output import refusals

MOMENTS = 96
"""Frames by which cameras and views are judged, at most; at least one of a motion."""
MOST_VIEWS = 6
"""Columns of the table of views that disagree."""
WORST = "#c0392b"


@dataclass(frozen=True)
class MotionReport:
    """What was found of one motion."""

    name: str
    split: str
    found: int
    expected: int
    size_bytes: int
    coverage: tuple[float, ...]
    """The share of the picture that the object covers, in each frame that could be decoded."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was found of a dataset. `rich` prints it as a table."""

    dataset: Dataset
    motions: tuple[MotionReport, ...]
    fatal: tuple[str, ...]
    """What makes a training impossible, one sentence each."""
    problems: tuple[str, ...]
    """What a training survives but its result may not."""
    agreement: Agreement | None = None
    """How far its views disagree; None where cameras are wrong, or there is one view."""

    @property
    def ok(self) -> bool:
        return not self.fatal and not self.problems

    def __rich__(self) -> RenderableType:
        data = self.dataset
        sizes = sorted({f"{v.w} x {v.h}" for v in data.views})
        title = f"{data.object}: {len(data.motions)} motions, {len(data.views)} views, {data.frames} frames"
        table = Table(
            title=f"{title}, {', '.join(sizes)}", caption=f"{data.root}, {data.hash[:12]}", title_justify="left"
        )
        table.add_column("motion")
        table.add_column("split")
        for name in ("frames", "MB", "coverage min", "mean", "max"):
            table.add_column(name, justify="right")
        for m in self.motions:
            style = "" if m.found == m.expected else "yellow"
            share = (
                [f"{x:.1%}" for x in (min(m.coverage), np.mean(m.coverage), max(m.coverage))]
                if m.coverage
                else ["-"] * 3
            )
            frames = Text(f"{m.found}/{m.expected}", style=style)
            table.add_row(Text(m.name), m.split, frames, f"{m.size_bytes / 1e6:.1f}", *share)
        notes = [Text(f"note: {t}", style="dim") for t in data.remarks]
        lines = [Text(f"fatal: {t}", style="bold red") for t in self.fatal]
        lines += [Text(f"problem: {t}", style="yellow") for t in self.problems]
        shown = [_agreement_table(self.agreement)] if self.agreement and not self.agreement.agrees else []
        return Group(table, *shown, *notes, *(lines or [Text("No problems found.", style="green")]))


@dataclass(frozen=True)
class _Clip:
    """One motion in one view: coverage per decoded frame, and what went wrong."""

    coverage: dict[int, float]
    cut_off: int
    errors: tuple[str, ...]


def check(path: Path, *, frames: int | None = None) -> Report:
    """Decodes every frame of a dataset and says what is wrong. Raises DimoError if it cannot be loaded at all."""
    dataset = load(path, frames=frames)
    pairs = list(product(dataset.motions, dataset.views))
    samples = Samples(dataset, choose_moments(dataset, min(MOMENTS, 8 * len(dataset.motions))))
    with ThreadPoolExecutor() as workers:
        clips = list(workers.map(lambda pair: _read(dataset, pair[0].name, pair[1], samples), pairs))
    cameras = judge(samples)
    agreement = measure(samples) if not cameras.fatal and len(dataset.train_views) > 1 else None
    fatal = list(cameras.fatal)
    problems = [*dataset.problems, *_track_problems(dataset), *cameras.problems]
    problems += agreement.sentences() if agreement else []
    reports = []
    for motion in dataset.motions:
        mine = {view: clip for (m, view), clip in zip(pairs, clips, strict=True) if m is motion}
        coverage = [c for clip in mine.values() for c in clip.coverage.values()]
        if coverage and not any(coverage):
            fatal.append(f"The motion '{motion.name}' shows nothing: the masks of all its frames are empty.")
        else:
            problems += [p for view, clip in mine.items() for p in _clip_problems(f"{motion.name}/{view.name}", clip)]
        problems += [error for clip in mine.values() for error in clip.errors]
        files = {s.path: s.size_bytes for (name, _, _), s in dataset.sources.items() if name == motion.name}
        reports.append(
            MotionReport(
                name=motion.name,
                split=motion.split,
                found=sum(
                    (motion.name, v.name, f) in dataset.sources for v in mine for f in dataset.expected_frames(v)
                ),
                expected=sum(len(dataset.expected_frames(v)) for v in mine),
                size_bytes=sum(files.values()),
                coverage=tuple(coverage),
            )
        )
    return Report(dataset, tuple(reports), tuple(fatal), tuple(problems), agreement)


def _agreement_table(agreement: Agreement) -> Table:
    """By how many pixels outlines are off, a row for each motion, the worst views first."""
    views = agreement.view_order()[:MOST_VIEWS]
    table = Table(title="outlines that disagree, pixels", title_justify="left")
    table.add_column("motion")
    for view in views:
        table.add_column(Text(view), justify="right")
    for motion, row in zip(agreement.motions, agreement.outlines, strict=True):
        worst = float(row.max())
        cells = [row[agreement.views.index(view)] for view in views]
        table.add_row(Text(motion), *(Text(f"{x:.1f}", style="bold yellow" if x == worst else "") for x in cells))
    return table


def contact_sheet(dataset: Dataset, out: Path, *, agreement: Agreement | None = None, cell: int = 144) -> None:
    """Writes a picture of all motions, on white: view 0 through time, then the other views at half time; where views
    disagree, the worst of them, each with the pixels by which its outline is off.

    `cell` is the side of one picture in pixels. Raises DimoError if a frame cannot be decoded or `out` not be written.
    """
    told = None if agreement is None or agreement.agrees else agreement
    columns = _columns(dataset, told)
    font, small, grey, hairline = ImageFont.load_default(15), ImageFont.load_default(12), "#777777", "#e8e8e8"
    left = 36 + max(int(font.getlength(m.name)) for m in dataset.motions)
    step, top = cell + 8, 80
    width, height = left + len(columns) * step + 12, top + len(dataset.motions) * step + 12
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 24), dataset.object, "black", ImageFont.load_default(20), anchor="lm")
    draw.text((28 + ImageFont.load_default(20).getlength(dataset.object), 25), dataset.prompt, grey, font, anchor="lm")
    told_from = sum(view is columns[0][0] for view, _ in columns)
    for x, (view, frame) in enumerate(columns):
        centre = left + x * step + cell // 2
        draw.text((centre, 46), view.name, "black", small, anchor="ma")
        draw.text((centre, 60), f"frame {frame}" + ", test" * (view.split == "test"), grey, small, anchor="ma")
    for y, motion in enumerate(dataset.motions):
        corner = top + y * step
        draw.line((16, corner - 4, width - 16, corner - 4), hairline)
        draw.text((16, corner + cell // 2), motion.name, "black", font, anchor="lm")
        if motion.split == "held_out":
            draw.text((16, corner + cell // 2 + 16), "held out", grey, small, anchor="lm")
        for x, (view, frame) in enumerate(columns):
            sheet.paste(_cell(dataset, motion.name, view, frame, cell), (left + x * step, corner))
            if told is not None and x >= told_from and (said := told.said_of(motion.name, view.name)):
                worst = (motion.name, view.name) in told.worst_names
                place, colour = (left + x * step + 4, corner + cell - 4), WORST if worst else grey
                draw.text(place, said.replace(", ", "\n"), colour, small, anchor="ld", spacing=1)
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    with refusals("The contact sheet", out):
        write_files({out: content.getvalue()})


def _read(dataset: Dataset, motion: str, view: View, samples: Samples) -> _Clip:
    coverage, cut_off, errors = {}, 0, []
    for frame, rgba in read_clip(dataset, motion, view.name):
        if isinstance(rgba, DimoError):
            errors.append(str(rgba))
            continue
        samples.add(motion, view, frame, rgba)
        alpha = rgba[..., 3]
        coverage[frame] = float(alpha.mean()) / 255.0
        cut_off += bool(max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 127)
    return _Clip(coverage, cut_off, tuple(errors))


def _clip_problems(name: str, clip: _Clip) -> list[str]:
    empty = [f for f, share in clip.coverage.items() if share == 0]
    if empty and len(empty) == len(clip.coverage):
        return [f"{name} shows nothing: the masks of all its frames are empty."]
    problems = []
    if empty:
        problems.append(f"{name} shows nothing in {_numbers(empty)}.")
    if clip.cut_off:
        problems.append(f"{name}: the object reaches the edge of the picture in {clip.cut_off} frames and is cut off.")
    return problems


def _numbers(frames: Sequence[int]) -> str:
    return f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames ({frames[0]} to {frames[-1]})"


def _track_problems(dataset: Dataset) -> list[str]:
    try:
        dataset.read_tracks()
    except DimoError as error:
        return [str(error)]
    return []


def _columns(dataset: Dataset, told: Agreement | None) -> list[tuple[View, int]]:
    """What each column shows: at most four times of view 0, then at most four other views at half time."""
    first, *others = [*dataset.train_views, *dataset.test_views]
    if told is not None:
        worst = [name for name in told.view_order() if name != first.name][:4]
        others = [view for view in others if view.name in worst]
    times = sorted({round(i * (dataset.frames - 1) / 3) for i in range(4)})
    picked = [others[round(i * (len(others) - 1) / 3)] for i in range(4)] if len(others) > 4 else others
    middle = dataset.frames // 2
    return [(first, t) for t in times] + [
        (v, min(dataset.expected_frames(v), key=lambda f: abs(f - middle), default=0)) for v in picked
    ]


def _cell(dataset: Dataset, motion: str, view: View, frame: int, side: int) -> Image.Image:
    cell = Image.new("RGB", (side, side), "white")
    source = dataset.sources.get((motion, view.name, frame))
    if source is None:
        ImageDraw.Draw(cell).text((side // 2, side // 2), "missing", "#999999", ImageFont.load_default(12), anchor="mm")
        return cell
    scale = side / max(view.w, view.h)
    w, h = max(round(view.w * scale), 1), max(round(view.h * scale), 1)
    image = premultiplied(read_rgba(source), (h, w)).astype(np.int16)
    on_white = np.clip(image[..., :3] + 255 - image[..., 3:], 0, 255).astype(np.uint8)
    cell.paste(Image.fromarray(on_white), ((side - w) // 2, (side - h) // 2))
    return cell
