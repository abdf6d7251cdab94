"""Gaussians as files for programs of 3D Gaussian splatting: at rest, and in every frame of every motion.

    <folder>/canonical/canonical.ply
    <folder>/<motion>/frame0001.ply ...       a sequence and nothing else, as SuperSplat plays it

Vertices are float32: x y z, nx ny nz (zeros), f_dc_0..2 with colour = 0.5 + 0.28209479 f_dc, opacity as a logit,
scale_0..2 as logarithms, rot_0..3 as wxyz. A comment says the frame, the frame rate, and which way is up. In place of
them, compressed.py makes .spz or .sog files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from plyfile import PlyData, PlyElement
from torch import Tensor

from dimo_ns.core.gaussians import SH0
from dimo_ns.core.geometry import quat_multiply, quat_to_matrix
from dimo_ns.errors import DimoError
from dimo_ns.export.colours import displayed
from dimo_ns.export.compressed import FORMATS, Format, converter
from dimo_ns.files.fields import check_unique, is_name
from dimo_ns.files.output import Progress, complete, frame_name
from dimo_ns.space.motion_space import Clip, MotionSpace

Up = Literal["y-down", "y", "z"]
TURNS = {"y-down": (0.5, 0.5, -0.5, 0.5), "y": (0.5, -0.5, -0.5, -0.5), "z": (1.0, 0.0, 0.0, 0.0)}
"""wxyz, of what takes our axes to those of a file: (x, y, z) to (-y, -z, x), to (y, z, x), or left as they are."""
CANONICAL = "canonical"
BATCH = 16
PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


@torch.no_grad()
def export_ply(
    space: MotionSpace,
    clips: Sequence[Clip],
    folder: Path,
    overwrite: bool = False,
    min_opacity: float = 0.0,
    progress: Progress | None = None,
    up: Up = "y-down",
    format: Format = "ply",
) -> Path:
    """Writes the Gaussians at rest and in every frame of these clips into `folder`, and returns it; those less opaque
    than `min_opacity` are left out. `up`: which axis points up in the files; "y-down" is the convention of 3D Gaussian
    splatting, in which y points down. Raises DimoError if names are none of folders, if no Gaussian is left, if what
    makes files of the format is not there or fails, or if nothing can be written."""
    names = [clip.name for clip in clips]
    check_unique(names, "Two of the motions are named")
    for name in names:
        if not is_name(name) or name == CANONICAL:
            raise DimoError(f"The motion '{name}' cannot name a folder; export it under another name.")
    rows, convert = opaque(space, min_opacity), converter(format)
    total = 1 + sum(map(len, clips))
    at_rest = [f"{CANONICAL}/{CANONICAL}.{each}" for each in FORMATS]  # of another format, it is replaced too
    with complete(folder, [*at_rest, *names], overwrite) as partial:
        for name in (CANONICAL, *names):
            (partial / name).mkdir()
        for done, frame in enumerate(frames(space, clips), 1):
            path = partial / frame.path
            write(space, rows, frame, up, path)
            convert(path)
            if progress:
                progress(done, total)
    return folder


@dataclass(frozen=True, eq=False)
class Frame:
    """A file to be: where it lies in the folder, what it says, and where the Gaussians are in it."""

    path: str
    comment: str
    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]


def frames(space: MotionSpace, clips: Sequence[Clip]) -> Iterator[Frame]:
    """The object at rest, and then in every frame of every clip."""
    rest = space.scene.gaussians()
    yield Frame(f"{CANONICAL}/{CANONICAL}.ply", "at rest", rest.means, rest.quats)
    for clip in clips:
        for start in range(0, len(clip), BATCH):
            posed = space.scene.carry(clip.transforms[start : start + BATCH])
            for number, (means, quats) in enumerate(zip(posed.means, posed.quats, strict=True), start):
                comment = f"frame {number + 1} of {len(clip)}, {clip.fps:g} frames per second"
                yield Frame(f"{clip.name}/{frame_name(number, '.ply')}", comment, means, quats)


def opaque(space: MotionSpace, min_opacity: float) -> Int[Tensor, " m"]:
    """The rows of the Gaussians that are at least so opaque. Raises DimoError if there are none."""
    opacities = torch.sigmoid(space.scene.gaussians.logit_opacities.detach())
    rows = torch.nonzero(opacities >= min_opacity)[:, 0]
    if not len(rows):
        most = float(opacities.max()) if len(opacities) else 0.0
        raise DimoError(
            f"No Gaussian is left: none is as opaque as {min_opacity:g} (the most opaque has {most:.3g}); lower "
            "--min-opacity."
        )
    return rows


def write(space: MotionSpace, rows: Int[Tensor, " m"], frame: Frame, up: Up, path: Path) -> None:
    """One file: these rows of the space's Gaussians, as they are in a frame."""
    canonical, turn = space.scene.gaussians, torch.tensor(TURNS[up], device=rows.device)
    means = frame.means @ quat_to_matrix(turn).mT
    columns = torch.cat(
        [
            means,
            torch.zeros_like(means),
            (displayed(canonical()).colors - 0.5) / SH0,
            canonical.logit_opacities[:, None],
            canonical.log_scales,
            quat_multiply(turn, frame.quats),
        ],
        1,
    )
    table = columns[rows].detach().cpu().numpy().astype("<f4")
    vertices = np.ascontiguousarray(table).view([(name, "<f4") for name in PROPERTIES])[:, 0]
    comments = [f"dimo: {frame.comment}, up is {'-y' if up == 'y-down' else up}"]
    PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<", comments=comments).write(str(path))
