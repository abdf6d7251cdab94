"""A training run as a scene to share."""

from pathlib import Path

from dimo_ns.space.file import FILE, save_scene
from dimo_ns.space.run import scene_of_run


def export_run(run: Path, out: Path | None = None) -> Path:
    """Writes the scene of a run of ns-train into the folder `out`, by default the run's own. Raises DimoError."""
    folder, scene, info = scene_of_run(run)
    return save_scene(scene, info, (out or folder) / FILE)
