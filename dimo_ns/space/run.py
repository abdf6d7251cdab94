"""The scene of a training run, and what is known of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dimo_ns.core.scene import Scene


def scene_of_run(run: Path) -> tuple[Path, Scene, dict[str, Any]]:
    """The folder of a run of ns-train, its scene, and the info that goes with it. Raises DimoError.

    A run names classes that are then made, as in all of nerfstudio: open your own only.
    """
    from dimo_ns.training.runs import load_run

    loaded = load_run(run)
    dataset = loaded.pipeline.datamanager.dataset
    report = loaded.folder / "report" / "metrics.json"
    info = {
        "object": dataset.object,
        "prompt": dataset.prompt,
        "licence": dataset.licence,
        "motions": [asdict(motion) for motion in loaded.pipeline.datamanager.motions],
        "frames": dataset.frames,
        "fps": dataset.fps,
        "cameras": [asdict(view) | {"c2w": view.c2w.tolist()} for view in dataset.views],
        "background": [1.0, 1.0, 1.0],
        "dataset_hash": dataset.hash,
        "method": loaded.config.method_name,
        "step": loaded.step,
        "seed": loaded.manifest["seed"],
        "versions": loaded.manifest["versions"],
    }
    metrics = json.loads(report.read_text()) if report.is_file() else {}
    if metrics.get("step") == loaded.step:
        info["metrics"] = metrics
    return loaded.folder, loaded.scene, info
