"""Every export of a scene in one folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dimo_ns.export.camera_paths import Around
from dimo_ns.export.gltf import export_gltf
from dimo_ns.export.html import save_html
from dimo_ns.export.ply import export_ply
from dimo_ns.export.video import Look, export_video
from dimo_ns.files.output import Progress, check_free
from dimo_ns.space.motion_space import Clip, MotionSpace
from dimo_ns.space.trajectory_files import TRAJECTORIES, save_trajectories

GLTF, HTML, PLY, MOTIONS, TRAILS = "scene.glb", "scene.html", "ply", "motions.mp4", "trails.mp4"
TILE = (256, 256)


def export_all(
    space: MotionSpace,
    clips: Sequence[Clip],
    folder: Path,
    overwrite: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> list[Path]:
    """Writes trajectories.npz, scene.glb, scene.html, ply/, motions.mp4 and trails.mp4 into `folder`; returns them.

    `progress` is asked for a function for each file by its name. Nothing is written if one of them must not be. Raises
    DimoError.
    """
    names = [clip.name for clip in clips]
    check_free(folder, [TRAJECTORIES, GLTF, HTML, MOTIONS, TRAILS], overwrite)
    check_free(folder / PLY, ["canonical.ply", *names], overwrite)

    def counter(name: str) -> Progress | None:
        return progress(name) if progress else None

    def video(name: str, look: Look) -> Path:
        arguments = {"side_by_side": True, "overwrite": overwrite, "look": look, "progress": counter(name)}
        return export_video(space, clips, folder / name, Around(size=TILE), **arguments)

    return [
        save_trajectories(space, clips, folder / TRAJECTORIES, overwrite),
        export_gltf(space, clips, folder / GLTF, overwrite),
        save_html(space, folder / HTML, names, overwrite),
        export_ply(space, clips, folder / PLY, overwrite, progress=counter(PLY)),
        video(MOTIONS, Look()),
        video(TRAILS, Look(overlay="trails")),
    ]
