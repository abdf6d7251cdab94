"""Smaller files of Gaussians, .spz and .sog, made of .ply files by PlayCanvas' splat-transform where that is there."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from dimo_ns.errors import DimoError

Format = Literal["ply", "spz", "sog"]
FORMATS: tuple[Format, ...] = get_args(Format)
PROGRAM = "splat-transform"
OPTIONS = ("--quiet", "--gpu", "cpu", "--spz-version", "3")
"""It needs no graphics card for this, and version 4 of .spz is not read by Spark and others yet."""


def converter(format: Format) -> Callable[[Path], None]:
    """What makes a file of this format of a .ply file, in its place and by its name but for the ending; for "ply",
    nothing. Raises DimoError if the program is not installed, and so does what is returned if it fails."""
    if format == "ply":
        return lambda path: None
    program = shutil.which(PROGRAM)
    if program is None:
        raise DimoError(
            f"Files of the format {format} are made by {PROGRAM}, which is not installed: npm install -g "
            f"@playcanvas/{PROGRAM}, or export ply."
        )

    def convert(path: Path) -> None:
        made = path.with_suffix(f".{format}")
        command = [program, *OPTIONS, str(path.absolute()), str(made.absolute())]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if result.returncode or not made.is_file():
            said = (result.stderr or result.stdout).strip().splitlines()
            raise DimoError(f"{PROGRAM} could not make {made.name} ({said[-1] if said else 'it says nothing'}).")
        path.unlink()

    return convert
