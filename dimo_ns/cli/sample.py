"""`dimo sample`: new motions of a trained scene."""

from typing import Annotated

import tyro

from dimo_ns.cli.commands import Out, Scene, say


def sample(
    scene: Scene,
    out: Out,
    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 16,
    seed: int = 0,
    temperature: float = 1.0,
    prior: bool = False,
    overwrite: bool = False,
) -> None:
    """Make new motions: drawn at random around those that the scene was trained on.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: Folder to make, with a video, the latents and the trajectories.
        count: How many.
        seed: Another seed is another set; motion number i is the same however many are made.
        temperature: Below 1 they are calmer and more alike, above 1 wilder.
        prior: Draw from the standard normal distribution instead of one that was fitted to the scene's motions.
        overwrite: Replace what an earlier call wrote to the same folder.
    """
    from rich.table import Table

    from dimo_ns.apps.clips import VIDEO, VIDEO_CLIPS, write_clips
    from dimo_ns.apps.sample import draw_samples, quality
    from dimo_ns.files.output import check_free
    from dimo_ns.runs import open_space

    check_free(out, overwrite=overwrite)
    space = open_space(scene)
    samples = draw_samples(space, count, seed, temperature, prior)
    write_clips(space, samples.clips, out, overwrite, samples.about())
    table = Table("motion", "nearest", "distance", "log density", "strain", "rejected")
    for name, row in samples.about().items():
        figures = f"{row['distance']:.1%}", f"{row['log_density']:.1f}", f"{row['strain']:.2f}", str(row["rejected"])
        table.add_row(name, row["nearest"], *figures)
    say(table)
    if len(space.motions) > 1:
        found = quality(space, samples)
        say(
            f"Training motions covered: {found.coverage:.0%}. Near copies of one: {found.copies:.0%} (of the training "
            f"motions themselves {found.trained_copies:.0%}). Diversity: {found.diversity:.2f} of theirs."
        )
    else:
        say("The scene has one motion: these are draws of its own posterior.")
    shown = f", which shows the first {VIDEO_CLIPS}" if count > VIDEO_CLIPS else ""
    say(f"{out}: {count} motions, {VIDEO}{shown}")
