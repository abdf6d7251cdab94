"""What a user asks for, made into a run: the picture, the motions, the models, and the folder OUT.work beside OUT."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dimo_ns.data.images import VIDEO_SUFFIXES
from dimo_ns.errors import DimoError
from dimo_ns.generate import presets, prompts
from dimo_ns.generate.image import Picture, place, read_picture
from dimo_ns.generate.items import Item, Items, file_digest
from dimo_ns.generate.matting import named
from dimo_ns.generate.presets import Preset
from dimo_ns.generate.prompts import MotionPrompt
from dimo_ns.generate.run import PATIENCE_S, Progress, Run, Settings, VideoMaker, ViewMaker, check_identity

LOOK = 512
"""Side of the picture that a language model sees."""


@dataclass(frozen=True)
class Words:
    """Where the motions come from: a file, a language model, or the templates of a category."""

    count: int = 50
    subject: str = ""
    category: str | None = None
    file: Path | None = None
    endpoint: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Machine:
    """What it is computed with."""

    preset: str | None = None
    device: str | None = None
    weights: Path | None = None
    multiview_weights: Path | None = None


def work_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.work")


def motions_of(words: Words, picture: Picture, items: Items, device: str | None = None) -> list[MotionPrompt]:
    """The motions, kept in the folder: a language model is asked once. Raises DimoError."""
    if words.file:
        return prompts.read(words.file, words.subject)[: words.count]
    if not words.endpoint and not words.model:
        if words.category is None:
            raise DimoError(
                f"What is it? Give --category {'|'.join(prompts.categories())}; or name the motions (--prompts FILE), "
                "or a language model that looks at the picture (--endpoint URL --language-model NAME)."
            )
        return prompts.from_templates(words.category, words.count, words.subject)
    if words.endpoint and not words.model:
        raise DimoError("Which model shall the endpoint use? Give --language-model NAME.")
    seen = place(picture.rgba, LOOK, LOOK, room=0.9)
    inputs = {"count": words.count, "subject": words.subject, "endpoint": words.endpoint, "model": words.model}
    item = Item("prompts", inputs | {"image": hashlib.sha256(seen.tobytes()).hexdigest()})

    def fill(folder: Path) -> None:
        from dimo_ns.generate import endpoint

        assert words.model
        if words.endpoint:
            model = endpoint.endpoint(words.endpoint, words.model, seen)
        else:
            model = endpoint.local(words.model, seen, device or default_device())
        prompts.write(prompts.ask(model, words.count, words.subject), folder / "prompts.yaml")

    while not items.make(item, fill):
        time.sleep(PATIENCE_S)
    return prompts.read(items.path(item) / "prompts.yaml")


def from_image(
    image: Path, out: Path, words: Words, machine: Machine, settings: Settings, progress: Progress, needed: bool = True
) -> tuple[Run, Preset, list[str]]:
    """A run that begins with a picture, the preset, and what there is to say about both. `needed`: weights must be
    there; else, without them, nothing but a plan can come of it. Raises DimoError."""
    picture = read_picture(
        image, named(settings.matting) if not settings.matting.startswith("sam2") else named("plain")
    )
    check_foreign(out)
    work = work_folder(out)
    identity = f"image {hashlib.sha256(picture.rgba.tobytes()).hexdigest()[:16]}"
    check_identity(work, identity)
    chosen = motions_of(words, picture, Items(work), machine.device)
    preset, notes = choose_preset(machine).fitted()
    notes = [*picture.notes, *notes]
    if preset.frames < settings.frames:
        raise DimoError(f"{settings.frames} frames are wanted and '{preset.name}' makes videos of {preset.frames}.")
    if len(chosen) < words.count:
        notes.append(f"There are {len(chosen)} motions, not {words.count}.")
    videos = views = None
    try:
        videos, views = makers(preset, machine)
    except DimoError as error:
        if needed:
            raise
        notes.append(str(error))
    start = place(picture.rgba, preset.height, preset.width)
    run = Run(work, identity, chosen, settings, image=start, videos=videos, views=views, progress=progress)
    return run, preset, notes


def makers(preset: Preset, machine: Machine) -> tuple[VideoMaker, ViewMaker]:
    """Raises DimoError if there is no GPU or weights are missing."""
    from dimo_ns.generate.image_to_video import Videos
    from dimo_ns.generate.views import Views

    device = machine.device or default_device()
    videos = Videos(preset, device, machine.weights)
    views = Views(machine.multiview_weights, preset.multiview, device, preset.multiview_steps, preset.images_at_once)
    return videos, views


def from_videos(source: Path, out: Path, settings: Settings, machine: Machine, progress: Progress) -> Run:
    """A run that begins with videos, one for each motion. Raises DimoError."""
    from dimo_ns.generate.views import Views

    paths = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and p.name[0] != ".")
    chosen = prompts.build([{"label": p.stem.replace("_", " ")} for p in paths], "", str(source))
    if not paths or len(chosen) != len(paths):
        raise DimoError(f"{source} has {len(paths)} videos of {len(chosen)} motions; expected a name for each.")
    check_foreign(out)
    given = {motion.name: path for motion, path in zip(chosen, paths, strict=True)}
    identity = f"videos {hashlib.sha256(''.join(map(file_digest, paths)).encode()).hexdigest()[:16]}"
    preset = choose_preset(machine)
    device = machine.device or default_device()
    views = Views(machine.multiview_weights, preset.multiview, device, preset.multiview_steps, preset.images_at_once)
    return Run(work_folder(out), identity, chosen, settings, given=given, views=views, progress=progress)


def check_foreign(out: Path) -> None:
    """Raises DimoError if something is there that no run made, before anything is computed."""
    described = out / "motions.json"
    ours = described.is_file() and "dimo generate " in described.read_text()
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not ours):
        raise DimoError(f"{out} is there already and is left as it is; choose another output.")


def default_device() -> str:
    """The GPU of this process: with `accelerate launch`, each has its own. Raises DimoError without one."""
    import torch

    if not torch.cuda.is_available():
        raise DimoError("There is no GPU here that can be used; with --device cpu it takes days.")
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def choose_preset(machine: Machine) -> Preset:
    """By name, or by the GPU's free memory. Raises DimoError if it does not fit; nothing is checked without a GPU."""
    import torch

    if machine.device == "cpu" or not torch.cuda.is_available():
        return presets.preset_named(machine.preset or presets.names()[0])
    free, _ = torch.cuda.mem_get_info(machine.device or default_device())
    return presets.fitting(free / 1e9, machine.preset)


@contextmanager
def stoppable() -> Iterator[list[int]]:
    """Within it the first Ctrl-C or SIGTERM is only noted in the list, so that the step can be finished; the second one
    interrupts at once."""
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
