"""`dimo fit`: a motion that the scene was not trained on, from pictures of it."""

from pathlib import Path

from dimo_ns.cli.commands import Positional


def fit(
    scene: Positional[Path],
    data: Path,
    motion: str,
    out: Path,
    views: tuple[str, ...] = (),
    adapt: bool = False,
    rank: int = 16,
    align: bool = False,
    seed: int = 0,
    frames: int | None = None,
    overwrite: bool = False,
) -> None:
    """Reconstruct a motion that the scene was not trained on, from its frames in many views, or in one.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        data: Dataset that shows the motion, in any layout: also a folder of videos.
        motion: Its name there.
        out: Folder to make, with the motion, figures and pictures.
        views: Views to look at; by default all training views.
        adapt: Also change the decoder a little, for motions that no latent gives.
        rank: Of that change; 0 is no change.
        align: First find where the object stands, how it is turned and how large it is.
        seed: Of what is drawn at random.
        frames: Frames to take of every video, for a folder of videos.
        overwrite: Replace what an earlier call wrote to the same folder.
    """
    import json
    import sys
    from dataclasses import asdict

    from rich.progress import Progress

    from dimo_ns.apps.clips import check_out, write_clips
    from dimo_ns.apps.fit import fit_motion, measure, observe
    from dimo_ns.apps.fit.pictures import comparison_sheet, comparison_video
    from dimo_ns.data.format import load
    from dimo_ns.export.trajectories import FILE, save_trajectories
    from dimo_ns.files.output import complete
    from dimo_ns.runs import open_space
    from dimo_ns.space.file import FILE as SCENE

    check_out(out, overwrite)
    space, dataset = open_space(scene), load(data, frames=frames)
    seen = observe(dataset, motion, views or None, space.device)
    with Progress(transient=True) as bar:
        task = bar.add_task("", total=1.0)
        found = fit_motion(
            space, seen, adapt, rank, align, seed,
            lambda what, done: bar.update(task, description=what, completed=done),
        )  # fmt: skip
    held_out = [view for view in dataset.test_views if view.name not in seen.views]
    report = found.to_json()
    if held_out:
        report["held_out_views"] = asdict(measure(space, dataset, found, held_out))
    adapted = found.adapted(space)
    report["scene"] = SCENE if adapted is not None else None
    write_clips(space, [found.clip], out, overwrite, {motion: {"fitted": True}})
    save_trajectories(space, [found.clip], out / FILE, overwrite)
    names = ["fit.json", "comparison.mp4", *(["comparison.png"] if held_out else [])]
    names += [SCENE, str(Path(SCENE).with_suffix(".json"))] if adapted is not None else []
    with complete(out, names, overwrite) as folder:
        (folder / "fit.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        comparison_video(space, seen, found, folder / "comparison.mp4")
        if held_out:
            comparison_sheet(space, dataset, found, held_out, folder / "comparison.png")
        if adapted is not None:
            adapted.save(folder / SCENE)

    shown = report.get("held_out_views", {"best_training": found.best_training, **report["seen_views"]})
    where = "views that were not seen" if held_out else "the views that were seen"
    before, after = shown["before"]["psnr"], shown["after"]["psnr"]
    print(f"{motion}: {after:.1f} dB in {where}; {shown['best_training']} in its place: {before:.1f} dB.")
    if found.change is not None:
        kept = (
            "scene.safetensors" if adapted is not None else "no scene: this decoder cannot hold it, trajectories only"
        )
        print(f"Change of rank {found.change.rank}, {found.change.parameters:,} numbers ({kept}).")
    for warning in found.warnings:
        print(f"dimo: warning: {warning}", file=sys.stderr)
    print(f"{out}: {found.seconds:.0f} s")
