"""`dimo generate` and `dimo data from-videos`: from a picture, or from videos, to a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dimo_ns.cli.commands import Out, Positional, choice, is_command, say, say_dataset
from dimo_ns.errors import needs

if TYPE_CHECKING:
    from rich.table import Table

    from dimo_ns.generate.plan import Plan
    from dimo_ns.generate.presets import Preset

COMMANDS = ("run", "prompts", "doctor")


def with_run(args: list[str]) -> list[str]:
    """`dimo generate image.png` is `dimo generate run image.png`."""
    if args[:1] != ["generate"] or len(args) == 1 or args[1] in ("-h", "--help") or is_command(args[1], COMMANDS):
        return args
    return ["generate", "run", *args[1:]]


@needs("generate", "dimo generate")
def generate_run(
    image: Positional[Path],
    out: Out,
    category: str | None = None,
    motions: int | None = None,
    subject: str = "",
    prompts: Path | None = None,
    endpoint: str | None = None,
    language_model: str | None = None,
    preset: str | None = None,
    weights: Path | None = None,
    multiview_weights: Path | None = None,
    frames: int = 21,
    size: int = 576,
    matting: str = "plain",
    seed: int = 0,
    retries: int = 2,
    keep_flagged: bool = False,
    one_view: bool = False,
    clip: Path | None = None,
    device: str | None = None,
    until: Literal["videos", "views", "dataset"] = "dataset",
    dry_run: bool = False,
) -> None:
    """Make a dataset of an object's motions from one picture of it. Stopped at any point, the same command goes on.

    Args:
        image: The object, on transparent or plain background.
        out: Folder to make; OUT.work beside it keeps what is computed on the way.
        category: What it is, for the motions that come with dimo: biped, bird, fish, quadruped, rigid, soft, vehicle;
            by default motions that suit anything.
        motions: How many; by default 50, or all that --prompts names.
        subject: The object in a few words, for the prompts: "a red toy robot".
        prompts: File that names the motions: one on each line, or YAML with labels and prompts.
        endpoint: OpenAI-compatible address of a language model that looks at the picture; its key in OPENAI_API_KEY.
        language_model: Its name there; without an endpoint, that of a model on this machine.
        preset: 12gb, 16gb, 24gb, 80gb, cogvideox, cogvideox1.5, hunyuan or a file; by default what fits the GPU.
        weights: Folder of the video model's weights; by default where hf download puts them.
        multiview_weights: The multi-view model's safetensors file; likewise.
        frames: Of every motion.
        size: Width and height of the dataset's images in pixels, a multiple of 64.
        matting: plain, rembg:MODEL or sam2:FOLDER.
        seed: Another seed is another set of videos.
        retries: How often a motion is tried again with another seed if something is wrong with its video.
        keep_flagged: Take motions all of whose tries are flagged.
        one_view: Make no other views: the dataset shows every motion from one side.
        clip: Folder of a CLIP model that puts videos aside whose object no longer looks like the picture.
        device: cuda, cuda:1, cpu; by default the GPU.
        until: The last stage to do.
        dry_run: Only say what would be done.
    """
    from dimo_ns.generate.plan import check_disk
    from dimo_ns.generate.settings import Settings
    from dimo_ns.generate.start import Machine, Words, check_finished, from_image

    settings = Settings(
        frames=frames, size=size, matting=matting, seed=seed, retries=retries, keep_flagged=keep_flagged
    )
    words = Words(motions, subject, category, prompts, endpoint, language_model)
    machine = Machine(preset, device, weights, multiview_weights, one_view, clip)
    with _shown() as progress:
        start = from_image(image, out, words, machine, settings, progress, needed=not dry_run)
        for note in start.notes:
            progress.say(f"note: {note}")
        plan = start.plan()
        say(_table(plan, start.preset))
        check_disk(out, plan.bytes)
        generation = start.generation
        if until == "dataset" and generation:
            check_finished(out, plan.videos + plan.clips + plan.chunks)
        if dry_run or not generation:
            return
        generation.make_clips()
        generation.report()
        if until == "videos":
            return
        generation.make_views()
        if until == "dataset":
            say_dataset(generation.write_dataset(out, subject or image.stem, subject))


@needs("generate", "dimo generate prompts")
def generate_prompts(
    out: Out,
    image: Path | None = None,
    category: str | None = None,
    motions: int | None = None,
    subject: str = "",
    endpoint: str | None = None,
    language_model: str | None = None,
    device: str | None = None,
) -> None:
    """Write a file of prompts, to be edited and given to `dimo generate --prompts`.

    Args:
        out: YAML file to make.
        image: The object; only a language model looks at it.
        category: See dimo generate run --help; so are the others.
        motions: How many; by default 50.
        subject: The object in a few words.
        endpoint: Address of a language model.
        language_model: Its name.
        device: For a model on this machine.
    """
    import tempfile

    import numpy as np

    from dimo_ns.errors import DimoError
    from dimo_ns.files.output import check_free
    from dimo_ns.generate.image import Picture, read_picture
    from dimo_ns.generate.items import Items
    from dimo_ns.generate.prompts import write
    from dimo_ns.generate.start import Words, motions_of, remarks

    if not out.parent.is_dir():
        raise DimoError(f"There is no folder {out.parent} to write {out.name} into.")
    check_free(out.parent, [out.name], overwrite=None)
    if (endpoint or language_model) and image is None:
        raise DimoError("A language model looks at the picture; give --image FILE.")
    picture = read_picture(image) if image else Picture(np.zeros((1, 1, 4), np.uint8), ())
    words = Words(motions, subject, category, None, endpoint, language_model)
    with tempfile.TemporaryDirectory() as folder:
        made = motions_of(words, picture, Items(Path(folder)), device)
    write(made, out)
    say(*(f"note: {remark}" for remark in remarks(words, len(made))), f"{out}: {len(made)} motions")


@needs("generate", "dimo generate doctor")
def generate_doctor(
    preset: str | None = None, weights: Path | None = None, multiview_weights: Path | None = None
) -> None:
    """Say what this machine lacks for a preset: packages, memory, weights, with the commands that get them.

    Args:
        preset: By default what fits the GPU.
        weights: Folder of the video model's weights.
        multiview_weights: The multi-view model's safetensors file.
    """
    from rich.table import Table
    from rich.text import Text

    from dimo_ns.errors import DimoError
    from dimo_ns.generate import doctor, presets
    from dimo_ns.generate.start import Machine, choose_preset

    try:
        used = choose_preset(Machine(preset=preset))
    except DimoError:
        used = presets.preset_named(preset or presets.names()[0])
    found = doctor.examine(used, weights, multiview_weights)
    colours = {"ok": "green", "note": "dim", "missing": "yellow"}
    table = Table(title=f"Preset '{used.name}'", show_header=False, title_justify="left")
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in found:
        table.add_row(finding.what, Text(finding.state, colours[finding.state]), finding.text)
    say(table)
    commands = list(dict.fromkeys(finding.command for finding in found if finding.command))
    if commands:
        say("What gets it:", *(f"  {command}" for command in commands))
    missing = [finding.what for finding in found if finding.state == "missing"]
    if missing:
        raise DimoError(f"The preset '{used.name}' cannot run here yet: {', '.join(missing)}.")


@needs("generate", "dimo data from-videos")
def data_from_videos(
    source: Positional[Path],
    out: Positional[Path],
    frames: int = 21,
    size: int = 576,
    matting: str = "plain",
    preset: str | None = None,
    multiview_weights: Path | None = None,
    seed: int = 0,
    keep_flagged: bool = False,
    one_view: bool = False,
    device: str | None = None,
) -> None:
    """Make a dataset of videos: SOURCE/MOTION.mp4 from one side, the others made up; or SOURCE/MOTION/VIEW.mp4.

    Args:
        source: Folder of videos, or of folders of videos (with a cameras.json, or at equal angles).
        out: Folder to make.
        frames: Of every motion, taken evenly.
        size: Width and height of the images that are made, in pixels.
        matting: plain, rembg:MODEL or sam2:FOLDER.
        preset: Of the multi-view model; see dimo generate run --help.
        multiview_weights: The multi-view model's safetensors file.
        seed: Another seed is another set of views.
        keep_flagged: Take videos with which something is wrong.
        one_view: Make no other views of videos from one side.
        device: cuda, cuda:1, cpu; by default the GPU.
    """
    from dimo_ns.data.layouts.videos import is_video_folder
    from dimo_ns.errors import DimoError
    from dimo_ns.generate.multi_view_videos import convert
    from dimo_ns.generate.settings import Settings
    from dimo_ns.generate.start import Machine, from_videos

    if not source.is_dir():
        raise DimoError(f"There is no folder {source}.")
    settings = Settings(frames=frames, size=size, matting=matting, seed=seed, keep_flagged=keep_flagged)
    with _shown() as progress:
        if is_video_folder(source):
            dataset = convert(source, out, settings, progress)
        else:
            machine = Machine(preset, device, None, multiview_weights, one_view)
            generation = from_videos(source, out, settings, machine, progress)
            generation.make_clips()
            generation.report()
            generation.make_views()
            dataset = generation.write_dataset(out, source.resolve().name, "")
    say_dataset(dataset)


@dataclass
class Generate:
    """Make a dataset of an object's motions from one picture of it: dimo generate IMAGE -o OUT."""

    command: choice(run=generate_run, prompts=generate_prompts, doctor=generate_doctor)  # pyright: ignore
    """what to do"""


def _table(plan: "Plan", preset: "Preset") -> "Table":
    """How many videos, clips and chunks of views are to be made, and what that takes."""
    from rich.table import Table

    from dimo_ns.generate.plan import GPUS

    table = Table("", "to do", title=f"{preset.model.name}, preset '{preset.name}'", title_justify="left")
    counts = {"motions": plan.motions, "videos": plan.videos, "clips": plan.clips, "chunks of views": plan.chunks}
    for what, count in counts.items():
        table.add_row(what, str(count))
    table.add_row("disk", f"{plan.bytes / 1e9:.1f} GB")
    table.add_row("GPU memory", f"{preset.needs_gb:g} GB")
    table.add_row("main memory", f"{preset.main_gb:g} GB" if preset.main_gb else "unknown")
    for gpu, tflops in GPUS.items():
        table.add_row(f"{gpu}, computed", f"{plan.hours(tflops):.1f} h")
    return table


class _Bars:
    """Steps of the item at hand and items of the stage, with the time that is left; a line for each item where nobody
    sees bars. Stops between two steps."""

    def __init__(self, bars, noted: list[int]):
        self.bars, self.noted, self.said = bars, noted, set()
        self.items, self.steps = bars.add_task("", total=None), bars.add_task("  steps", total=None)

    def say(self, text: str) -> None:
        self.bars.console.print(text, soft_wrap=True)

    def item(self, stage: str, name: str, done: int, total: int) -> None:
        self.bars.update(self.items, description=f"{stage}: {name}", completed=done, total=total)
        if not self.bars.console.is_terminal and (stage, name) not in self.said:
            self.said.add((stage, name))
            self.say(f"{stage}: {name} ({done + 1} of {total})")
        self.bars.reset(self.steps)
        self._stop()

    def step(self, done: int, total: int) -> None:
        self.bars.update(self.steps, completed=done, total=total)
        self._stop()

    def _stop(self) -> None:
        if self.noted:
            self.say("Stopped; the same command goes on from here.")
            raise KeyboardInterrupt


class _shown:
    """Within it there are bars, and Ctrl-C waits for the end of a step."""

    def __enter__(self) -> _Bars:
        from contextlib import ExitStack

        from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

        from dimo_ns.cli.terminal import progress
        from dimo_ns.generate.start import stoppable

        self.stack = ExitStack()
        noted = self.stack.enter_context(stoppable())
        bars = progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return _Bars(self.stack.enter_context(bars), noted)

    def __exit__(self, *error: object) -> None:
        self.stack.close()
