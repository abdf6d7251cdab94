"""Gaussians as .ply files in the convention of 3D Gaussian splatting: one at rest, and one per frame of every motion.

    <folder>/canonical.ply
    <folder>/<motion>/frame0001.ply ...       SuperSplat plays a folder of this kind

Vertices are float32: x y z, nx ny nz (zeros), f_dc_0..2 with colour = 0.5 + 0.28209479 f_dc, opacity as a logit,
scale_0..2 as logarithms, rot_0..3 as wxyz. World frame, z-up.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from plyfile import PlyData, PlyElement
from torch import Tensor

from dimo_ns.core.gaussians import SH0
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import check_unique, is_name
from dimo_ns.files.output import Progress, complete, frame_name
from dimo_ns.space.motion_space import Clip, MotionSpace

CANONICAL = "canonical.ply"
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
) -> Path:
    """Writes the Gaussians at rest and in every frame of these clips into `folder`, and returns it; those less opaque
    than `min_opacity` are left out. Raises DimoError if names are none of folders, if no Gaussian is left, or if
    nothing can be written."""
    names = [clip.name for clip in clips]
    check_unique(names, "Two of the motions are named")
    for name in names:
        if not is_name(name) or name == CANONICAL:
            raise DimoError(f"The motion '{name}' cannot name a folder; export it under another name.")
    rows, scene = opaque(space, min_opacity), space.scene
    rest = scene.gaussians()
    done, total = 1, 1 + sum(map(len, clips))
    with complete(folder, [CANONICAL, *names], overwrite) as partial:
        write(space, rows, rest.means, rest.quats, partial / CANONICAL)
        for clip in clips:
            (partial / clip.name).mkdir()
            for start in range(0, len(clip), BATCH):
                posed = scene.carry(clip.transforms[start : start + BATCH])
                for frame, (means, quats) in enumerate(zip(posed.means, posed.quats, strict=True), start):
                    write(space, rows, means, quats, partial / clip.name / frame_name(frame, ".ply"))
                done += len(posed.means)
                if progress:
                    progress(done, total)
    return folder


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


def write(
    space: MotionSpace,
    rows: Int[Tensor, " m"],
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    path: Path,
) -> None:
    """One file: these rows of the space's Gaussians, at given places."""
    canonical = space.scene.gaussians
    columns = torch.cat(
        [
            means,
            torch.zeros_like(means),
            (canonical.colors - 0.5) / SH0,
            canonical.logit_opacities[:, None],
            canonical.log_scales,
            quats,
        ],
        1,
    )
    table = columns[rows].detach().cpu().numpy().astype("<f4")
    vertices = np.ascontiguousarray(table).view([(name, "<f4") for name in PROPERTIES])[:, 0]
    PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(str(path))
