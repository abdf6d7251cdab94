"""`dimo export`: what was trained, for other programs."""

from dataclasses import dataclass
from pathlib import Path

from dimo_ns.cli.commands import Positional, choice


def export_scene(run: Positional[Path], out: Path | None = None) -> None:
    """Write a trained scene to share: scene.safetensors and scene.json, which load with torch alone.

    Args:
        run: Folder of a training run, the one with config.yml.
        out: Folder to write to; by default the run's own.
    """
    from dimo_ns.export.scene import export_run

    print(export_run(run, out))


@dataclass
class Export:
    """Write what was trained in a form for other programs."""

    command: choice(scene=export_scene)  # pyright: ignore
    """what to write"""
