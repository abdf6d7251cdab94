"""`dimo data`: datasets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dimo_ns.cli.commands import Positional, bars, choice, say, say_dataset, warn
from dimo_ns.cli.generate import data_from_videos
from dimo_ns.errors import DimoError


def data_check(
    path: Positional[Path], sheet: Path | None = None, frames: int | None = None, overwrite: bool = False
) -> None:
    """Look at every frame of a dataset and say what is wrong with it.

    Args:
        path: Folder of the dataset.
        sheet: Where to draw a contact sheet of all motions, a .png file; by default none is drawn.
        frames: Frames to take of every video, for a folder of videos.
        overwrite: Replace the contact sheet if it is there.
    """
    from dimo_ns.data.check import check, contact_sheet
    from dimo_ns.files.output import check_free

    if sheet is not None:
        check_free(sheet.parent, [sheet.name], overwrite)
    report = check(path, frames=frames)
    say(report)
    if sheet is not None:
        contact_sheet(report.dataset, sheet, agreement=report.agreement)
        say(f"Contact sheet: {sheet}")
    if report.fatal:
        raise DimoError(f"The dataset {path} cannot be trained on: {report.fatal[0]}")


def data_sample(out: Positional[Path], seed: int = 0, size: int = 256) -> None:
    """Make the sample dataset: a small animal that is drawn by this program, with exact cameras and point tracks.

    Args:
        out: Folder to make.
        seed: Another seed is another animal.
        size: Width and height of the images in pixels.
    """
    from dimo_ns.data.creature import write_sample

    with bars() as bar:
        dataset = write_sample(out, seed, size, bar("Drawing frames"))
    say_dataset(dataset)


Poses = Literal["opengl-c2w", "opencv-c2w", "opengl-w2c", "opencv-w2c"]


def data_convert(
    source: Positional[Path], out: Positional[Path], frames: int | None = None, poses: Poses = "opengl-c2w"
) -> None:
    """Write a dataset of any layout that can be read (the authors', transforms.json of D-NeRF or nerfstudio, folders of
    videos) in dimo's own layout. An object that is elsewhere or of another size is brought to the origin.

    Args:
        source: Folder of the dataset to read.
        out: Folder to make.
        frames: Frames to take of every video, for a folder of videos.
        poses: What the poses of the source are: camera-to-world or world-to-camera, in axes of OpenGL or OpenCV.
    """
    from dimo_ns.data.format import load
    from dimo_ns.data.frames import convert
    from dimo_ns.data.poses import put_right

    given = load(source, frames=frames)
    for problem in given.problems:
        warn(problem)
    dataset, verdict = put_right(given, poses)
    say_dataset(convert(dataset, out))
    for problem in (*verdict.fatal, *verdict.problems):
        warn(problem)


@dataclass
class Data:
    """Look at a dataset, make one, or convert one."""

    command: choice(  # pyright: ignore
        check=data_check, sample=data_sample, convert=data_convert, **{"from-videos": data_from_videos}
    )
    """what to do"""
