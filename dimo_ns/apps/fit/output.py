"""What is kept of a fit: a folder with the motion, figures and pictures, and what there is to say about it.

clips.json, latents.safetensors, trajectories.npz, clips.mp4    the motion (apps/clips.py)
fit.json                                                        figures
comparison.mp4, comparison.png                                  beside the truth: what was seen, and what was not
scene.safetensors, scene.json                                   the scene with the motion, where that was adapted
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dimo_ns.apps.clips import FILES, fill_folder
from dimo_ns.apps.fit.fitting import Fit, measure
from dimo_ns.apps.fit.observations import Observations
from dimo_ns.apps.fit.pictures import comparison_sheet, comparison_video
from dimo_ns.data.dataset import Dataset
from dimo_ns.files.output import check_free, complete
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace

FIT, VIDEO, SHEET = "fit.json", "comparison.mp4", "comparison.png"


def write_fit(
    space: MotionSpace,
    dataset: Dataset,
    observations: Observations,
    found: Fit,
    out: Path,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes a fit to `observations` of the dataset into the folder `out`, all of it or nothing; returns what fit.json
    says. Test views that were not fitted to are measured. Raises DimoError if the folder is not empty, unless
    `overwrite` is given, or cannot be written."""
    check_free(out, overwrite=overwrite)
    held_out = [view for view in dataset.test_views if view.name not in observations.views]
    report, adapted = found.to_json(), found.adapted(space)
    if held_out:
        report["held_out_views"] = asdict(measure(space, dataset, found, held_out))
    report["scene"] = None if adapted is None else FILE
    names = [*FILES, FIT, VIDEO, *([SHEET] if held_out else [])]
    names += [] if adapted is None else [FILE, str(Path(FILE).with_suffix(".json"))]
    with complete(out, names, overwrite=True, what="The fit") as folder:
        fill_folder(space, [found.clip], folder, {found.clip.name: {"fitted": True}})
        (folder / FIT).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        comparison_video(space, observations, found, folder / VIDEO)
        if held_out:
            comparison_sheet(space, dataset, found, held_out, folder / SHEET)
        if adapted is not None:
            adapted.save(folder / FILE)
    return report


def summary(found: Fit, report: dict[str, Any]) -> list[str]:
    """The figures that matter, a sentence each, of a fit and what `write_fit` said of it."""
    unseen = report.get("held_out_views")
    figures = unseen or {"best_training": found.best_training, **report["seen_views"]}
    where = "views that were not seen" if unseen else "the views that were seen"
    before, after = figures["before"]["psnr"], figures["after"]["psnr"]
    lines = [f"{found.clip.name}: {after:.1f} dB in {where}; {figures['best_training']} in its place: {before:.1f} dB."]
    if found.change is not None:
        kept = report["scene"] or "no scene: this decoder cannot hold it, trajectories only"
        lines.append(f"Change of rank {found.change.rank}, {found.change.parameters:,} numbers ({kept}).")
    return lines
