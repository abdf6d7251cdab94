"""`dimo fit`: a motion that the scene was not trained on, from pictures of it."""

from pathlib import Path

from dimo_ns.cli.commands import Out, Scene, bars, say, warn


def fit(
    scene: Scene,
    data: Path,
    motion: str,
    out: Out,
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
    from dimo_ns.apps.fit import fit_motion, observe
    from dimo_ns.apps.fit.output import summary, write_fit
    from dimo_ns.data.format import load
    from dimo_ns.files.output import check_free
    from dimo_ns.runs import open_space

    check_free(out, overwrite=overwrite)
    space, dataset = open_space(scene), load(data, frames=frames)
    observations = observe(dataset, motion, views or None, space.device)
    with bars() as bar:
        update = bar("")
        found = fit_motion(space, observations, adapt, rank, align, seed, lambda stage, done: update(done, 1.0, stage))
    say(*summary(found, write_fit(space, dataset, observations, found, out, overwrite)))
    for warning in found.warnings:
        warn(warning)
    say(f"{out}: {found.seconds:.0f} s")
