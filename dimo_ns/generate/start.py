"""What a user asks for, made into a generation: picture, motions, models, and the folder OUT.work beside OUT."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dimo_ns.data.video_files import VIDEO_ENDINGS, is_video
from dimo_ns.errors import DimoError
from dimo_ns.files.output import check_free
from dimo_ns.generate import presets, prompts
from dimo_ns.generate.assembly import mark
from dimo_ns.generate.generation import PATIENCE_S, Generation
from dimo_ns.generate.image import Picture, place, read_picture
from dimo_ns.generate.items import Item, Items
from dimo_ns.generate.makers import Progress, VideoMaker, ViewMaker
from dimo_ns.generate.matting import named
from dimo_ns.generate.plan import Plan, chunks_of, plan
from dimo_ns.generate.presets import Preset
from dimo_ns.generate.prompts import MotionPrompt
from dimo_ns.generate.settings import Settings
from dimo_ns.generate.videos import GivenVideos, MadeVideos
from dimo_ns.generate.work import check_identity, work_folder

MOTIONS = 50
"""Unless another number is asked for."""
GENERAL = "rigid"
"""The category whose motions suit anything."""
LOOK = 512
"""Side of the picture that a language model sees."""


@dataclass(frozen=True)
class Words:
    """Where the motions come from: a file, a language model, or the templates of a category."""

    count: int | None = None
    """None: 50, or all that the file names."""
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
    one_view: bool = False
    """No other views are made."""
    clip: Path | None = None
    """Folder of a CLIP model that compares videos with the picture."""


@dataclass(frozen=True, eq=False)
class Start:
    """A generation before its first step."""

    motions: list[MotionPrompt]
    preset: Preset
    notes: list[str]
    """What there is to say about picture, motions and preset."""
    settings: Settings
    one_view: bool
    generation: Generation | None = None
    """None without models: nothing but a plan can come of it."""

    def plan(self) -> Plan:
        """What is to be made. Without models at hand it is not known what is there, and all is counted."""
        if self.generation:
            todo = self.generation.todo()
        else:
            chunks = 0 if self.one_view else chunks_of(self.preset, self.settings)
            todo = tuple(count * len(self.motions) for count in (1, 1, chunks))
        return plan(self.preset, self.settings, len(self.motions), *todo)


def motions_of(words: Words, picture: Picture, items: Items, device: str | None = None) -> list[MotionPrompt]:
    """The motions, kept in the folder: a language model is asked once. Raises DimoError."""
    count = MOTIONS if words.count is None else words.count
    if count < 1:
        raise DimoError(f"{count} motions were asked for; expected 1 or more.")
    if words.file:
        return prompts.read(words.file, words.subject)[: words.count]
    if not words.endpoint and not words.model:
        return prompts.from_templates(words.category or GENERAL, count, words.subject)
    if words.endpoint and not words.model:
        raise DimoError("Which model shall the endpoint use? Give --language-model NAME.")
    view = place(picture.rgba, LOOK, LOOK, room=0.9)
    inputs = {"count": count, "subject": words.subject, "endpoint": words.endpoint, "model": words.model}
    item = Item("prompts", inputs | {"image": hashlib.sha256(view.tobytes()).hexdigest()})

    def fill(folder: Path) -> None:
        from dimo_ns.generate import endpoint

        assert words.model
        if words.endpoint:
            model = endpoint.endpoint(words.endpoint, words.model, view)
        else:
            model = endpoint.local(words.model, view, usable(device))
        prompts.write(prompts.ask(model, count, words.subject), folder / "prompts.yaml")

    while not items.make(item, fill):
        time.sleep(PATIENCE_S)
    return prompts.read(items.path(item) / "prompts.yaml")


def remarks(words: Words, found: int) -> list[str]:
    """What there is to say about where so many motions come from."""
    if words.file:
        return [f"Motions of {words.file}, without repetitions: {found}."]
    notes = []
    if not (words.category or words.endpoint or words.model):
        others = ", ".join(name for name in prompts.categories() if name != GENERAL)
        notes = [f"No --category is given, so the motions are those of any solid thing; there are also {others}."]
    asked = MOTIONS if words.count is None else words.count
    return notes + [f"There are {found} motions, not {asked}."] * (found < asked)


def from_image(
    image: Path, out: Path, words: Words, machine: Machine, settings: Settings, progress: Progress, needed: bool = True
) -> Start:
    """A generation that begins with a picture. `needed`: weights must be there; else, without them, nothing but a plan
    can come of it. Raises DimoError."""
    settings.check()
    picture = read_picture(image, named("plain" if settings.matting.startswith("sam2") else settings.matting))
    check_foreign(out)
    work = work_folder(out)
    identity = f"image {hashlib.sha256(picture.rgba.tobytes()).hexdigest()[:16]}"
    check_identity(work, identity)
    motions = motions_of(words, picture, Items(work), machine.device)
    preset, notes = choose_preset(machine).fitted()
    notes = [*picture.notes, *remarks(words, len(motions)), *notes]
    if preset.frames < settings.frames:
        raise DimoError(f"{settings.frames} frames are wanted and '{preset.name}' makes videos of {preset.frames}.")
    begins = place(picture.rgba, preset.height, preset.width)
    try:
        maker, views = makers(preset, machine)
    except DimoError as error:
        if needed:
            raise
        return Start(motions, preset, [*notes, str(error)], settings, machine.one_view)
    likeness = None
    if machine.clip:
        from dimo_ns.generate.likeness import Likeness

        likeness = Likeness(machine.clip, begins)
    videos = MadeVideos(maker, begins)
    generation = Generation(work, identity, motions, settings, videos, views, likeness, progress)
    return Start(motions, preset, notes, settings, machine.one_view, generation)


def makers(preset: Preset, machine: Machine) -> tuple[VideoMaker, ViewMaker | None]:
    """Raises DimoError if there is no GPU or weights are missing."""
    from dimo_ns.generate.image_to_video import Videos

    device = usable(machine.device)
    return Videos(preset, device, machine.weights), None if machine.one_view else view_maker(preset, machine, device)


def view_maker(preset: Preset, machine: Machine, device: str) -> ViewMaker:
    """Raises DimoError if weights are missing."""
    from dimo_ns.generate.views import Views

    return Views(machine.multiview_weights, preset.multiview, device, preset.multiview_steps, preset.images_at_once)


def from_videos(source: Path, out: Path, settings: Settings, machine: Machine, progress: Progress) -> Generation:
    """A generation that begins with videos, one for each motion. Raises DimoError."""
    paths = sorted(filter(is_video, source.iterdir()))
    motions = prompts.build([{"label": p.stem.replace("_", " ")} for p in paths], "", str(source))
    if not paths:
        raise DimoError(
            f"There are no videos in {source}; expected MOTION.mp4 or MOTION/VIEW.mp4 (endings: {VIDEO_ENDINGS}). "
            "Frames as images, with a motions.json and a cameras.json beside them, are a dataset already: dimo data "
            "check."
        )
    if len(motions) != len(paths):
        raise DimoError(f"{source} has {len(paths)} videos of {len(motions)} motions; expected a name for each.")
    check_foreign(out)
    videos = GivenVideos({motion.name: path for motion, path in zip(motions, paths, strict=True)})
    identity = f"videos of {source.resolve().name}"
    views = None if machine.one_view else view_maker(choose_preset(machine), machine, usable(machine.device))
    return Generation(work_folder(out), identity, motions, settings, videos, views, progress=progress)


def check_foreign(out: Path) -> None:
    """Raises DimoError if something is there that no generation made, before anything is computed."""
    described = out / "motions.json"
    if not (described.is_file() and mark() in described.read_text()):
        check_free(out, overwrite=None)


def default_device() -> str:
    """The GPU of this process: with `accelerate launch`, each has its own. Raises DimoError without one."""
    import torch

    if not torch.cuda.is_available():
        raise DimoError("There is no GPU here that can be used; with --device cpu it takes days.")
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def check_finished(out: Path, left: int) -> None:
    """Raises DimoError if a dataset is there already and so much is to be made: it would be another one."""
    if left and (out / "motions.json").is_file():
        raise DimoError(
            f"{out} is there already, and {left} videos, clips and chunks of views are still to be made: it would have "
            "another content; move it away or choose another output."
        )


def usable(device: str | None) -> str:
    """The device of that name, by default the GPU. Raises DimoError if torch cannot use it."""
    import torch

    name = device or default_device()
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DimoError(f"There is no device '{name}' here; choose cuda, cuda:0 or cpu.") from error
    return name


def choose_preset(machine: Machine) -> Preset:
    """The preset of that name, or the one for the GPU's free memory. Raises DimoError if it does not fit; nothing is
    checked without a GPU."""
    import torch

    if machine.device == "cpu" or not torch.cuda.is_available():
        return presets.preset_named(machine.preset or presets.names()[0])
    free, _ = torch.cuda.mem_get_info(usable(machine.device))
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
