"""`dimo`: the command line beside nerfstudio's own. Every command is a few lines over the function that does the work,
imported only when it is called, so that `dimo --help` is quick."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from dimo_ns.errors import DimoError

Positional = tyro.conf.Positional


def data_check(path: Positional[Path], sheet: Path | None = None, frames: int | None = None) -> None:
    """Look at every frame of a dataset and say what is wrong with it.

    Args:
        path: Folder of the dataset.
        sheet: Where to draw the contact sheet of all motions; by default FOLDER_contact_sheet.png, here.
        frames: Frames to take of every video, for a folder of videos.
    """
    from rich import print

    from dimo_ns.data.check import check, contact_sheet

    report = check(path, frames=frames)
    print(report)
    sheet = sheet or Path(f"{path.resolve().name}_contact_sheet.png")
    contact_sheet(report.dataset, sheet)
    print(f"Contact sheet: {sheet}")
    if report.fatal:
        raise DimoError(f"The dataset {path} cannot be trained on: {report.fatal[0]}")


def data_sample(out: Positional[Path], seed: int = 0, size: int = 256) -> None:
    """Make the sample dataset: a small animal that is drawn by this program, with exact cameras and point tracks.

    Args:
        out: Folder to make.
        seed: Another seed is another animal.
        size: Width and height of the images in pixels.
    """
    from rich.progress import Progress

    from dimo_ns.data.creature import write_sample

    with Progress(transient=True) as bar:
        task = bar.add_task("Drawing frames", total=None)
        dataset = write_sample(out, seed, size, lambda done, total: bar.update(task, completed=done, total=total))
    print(f"{dataset.root}: {len(dataset.motions)} motions, {len(dataset.views)} views, {dataset.frames} frames")


def data_convert(source: Positional[Path], out: Positional[Path], frames: int | None = None) -> None:
    """Write a dataset of any layout that can be read (DIMO's authors', folders of videos) in dimo's own layout.

    Args:
        source: Folder of the dataset to read.
        out: Folder to make.
        frames: Frames to take of every video, for a folder of videos.
    """
    from dimo_ns.data.format import load
    from dimo_ns.data.frames import convert

    dataset = convert(load(source, frames=frames), out)
    print(f"{dataset.root}: {len(dataset.motions)} motions, {len(dataset.views)} views, {dataset.frames} frames")


def export_scene(run: Positional[Path], out: Path | None = None) -> None:
    """Write a trained scene to share: scene.safetensors and scene.json, which load with torch alone.

    Args:
        run: Folder of a training run, the one with config.yml.
        out: Folder to write to; by default the run's own.
    """
    from dimo_ns.export.scene import export_run

    print(export_run(run, out))


def demo(out: Path = Path("demo")) -> None:
    """Train on the sample dataset, without a GPU too, and export pictures, a video and a page to play with.

    Args:
        out: Folder for everything that is made.
    """
    import dimo_ns.demo

    dimo_ns.demo.run(out)


def report(run: Positional[Path]) -> None:
    """Write the report of a training run: what it was, how long it took, how good it became.

    Args:
        run: Folder of a training run, the one with config.yml.
    """
    from dimo_ns.training.report import write_report

    print(write_report(run))


def _choice(**commands: Callable[..., Any]) -> Any:
    """A type that tyro turns into a choice of commands."""
    choices = [Annotated[Any, tyro.conf.subcommand(name, constructor=item)] for name, item in commands.items()]
    return Union[tuple([*choices, Annotated[None, tyro.conf.Suppress]])]  # noqa: UP007 (a union of one is no choice)


@dataclass
class Data:
    """Look at a dataset, make one, or convert one."""

    command: _choice(check=data_check, sample=data_sample, convert=data_convert)  # pyright: ignore
    """what to do"""


@dataclass
class Export:
    """Write what was trained in a form for other programs."""

    command: _choice(scene=export_scene)  # pyright: ignore
    """what to write"""


def main(args: list[str] | None = None) -> None:
    """Entry point: exits with 2 and one sentence on stderr after a user's error, with 130 after Ctrl-C."""
    commands = _choice(data=Data, export=Export, demo=demo, report=report)
    markers = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    try:
        tyro.cli(
            commands, prog="dimo", description="One model of an object and all its motions.", args=args, config=markers
        )
    except DimoError as error:
        print(f"dimo: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
