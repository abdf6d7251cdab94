"""`dimo import`: what others trained."""

from dataclasses import dataclass
from pathlib import Path

from dimo_ns.cli.commands import Out, Positional, choice, say


def import_authors(
    folder: Positional[Path],
    out: Out,
    names: tuple[str, ...] = (),
    frames: int = 21,
    overwrite: bool = False,
) -> None:
    """Turn a checkpoint of DIMO's authors into a scene. Nothing in its files is run.

    Args:
        folder: Folder with point_cloud.ply, point_cloud_c.ply, timenet.pth, and mu.pth and log_var.pth or
            latent_codes.pth.
        out: File to write, such as scene.safetensors, or a folder for it.
        names: Of the motions, in their order; by default motion_00, motion_01, ...
        frames: Of every motion.
        overwrite: Replace the scene if it is there.
    """
    from dimo_ns.space import authors

    path, notes = authors.import_authors(folder, out, names, frames, overwrite)
    say(path, *notes)


@dataclass
class Import:
    """Bring in what others trained."""

    command: choice(authors=import_authors)  # pyright: ignore
    """what to read"""
