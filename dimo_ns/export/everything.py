"""Every export of a scene in one folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dimo_ns.export.camera_paths import Around
from dimo_ns.export.gltf import BESIDE, export_gltf
from dimo_ns.export.html import save_html
from dimo_ns.export.ply import CANONICAL, export_ply
from dimo_ns.export.video import Look, export_video
from dimo_ns.files.output import Progress, complete
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
    """Writes trajectories.npz, scene.glb, splats.glb, scene.html, ply/, motions.mp4 and trails.mp4 into `folder`;
    returns them.

    `progress` is asked for a function for each file by its name. All are written or none. Raises DimoError.
    """
    names = [clip.name for clip in clips]
    files = [TRAJECTORIES, GLTF, BESIDE, HTML, MOTIONS, TRAILS]
    frames = [f"{PLY}/{name}" for name in (f"{CANONICAL}/{CANONICAL}.ply", *names)]

    def counter(name: str) -> Progress | None:
        return progress(name) if progress else None

    with complete(folder, [*files, *frames], overwrite) as partial:
        save_trajectories(space, clips, partial / TRAJECTORIES)
        export_gltf(space, clips, partial / GLTF)
        save_html(space, partial / HTML, names)
        export_ply(space, clips, partial / PLY, progress=counter(PLY))
        for name, look in ((MOTIONS, Look()), (TRAILS, Look(overlay="trails"))):
            around = Around(size=TILE)
            export_video(space, clips, partial / name, around, side_by_side=True, look=look, progress=counter(name))
    return [folder / name for name in (TRAJECTORIES, GLTF, BESIDE, HTML, PLY, MOTIONS, TRAILS)]
