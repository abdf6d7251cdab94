"""`dimo interpolate`: what lies between motions of a trained scene."""

from dimo_ns.cli.commands import Out, Positional, Scene, say


def interpolate(
    scene: Scene,
    motions: Positional[tuple[str, ...]],
    out: Out,
    steps: int = 5,
    spherical: bool = False,
    transition: bool = False,
    frames: int | None = None,
    loop: bool = False,
    overwrite: bool = False,
) -> None:
    """Make the motions between motions, or one clip that passes from each to the next.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        motions: Two or more, in order: names, or FILE:ROW for a row of a file of latents, as 'dimo sample' writes it.
        out: Folder to make, with a video, the latents and the trajectories.
        steps: From each motion to the next.
        spherical: Go along great circles instead of straight lines.
        transition: Make one clip that starts in the first motion and ends in the last; one named twice is played once.
        frames: Of the transition; by default as many as a motion has, for each passage.
        loop: Close every clip, so that its end flows into its start.
        overwrite: Replace what an earlier call wrote to the same folder.
    """
    from itertools import pairwise

    from rich.table import Table

    from dimo_ns.apps import interpolate as app
    from dimo_ns.apps.clips import VIDEO, VIDEO_CLIPS, write_clips
    from dimo_ns.files.output import check_free
    from dimo_ns.runs import open_space

    check_free(out, overwrite=overwrite)
    space = open_space(scene)
    names, latents = app.chosen(space, motions)
    path = app.latent_path(space, latents, steps, spherical)
    if transition:
        clips, about = [app.transition(space, latents, frames)], {"transition": {"motions": names}}
    else:
        clips, about = app.blends(space, path, names)
    if loop:
        clips = [app.looped(clip) for clip in clips]
    write_clips(space, clips, out, overwrite, about)
    if not transition:
        table = Table("from", "to", "largest step / mean", "acceleration", "length / straight")
        for i, (a, b) in enumerate(pairwise(names)):
            even = app.smoothness(space, path[i * steps : (i + 1) * steps + 1])
            table.add_row(a, b, f"{even.largest_step:.2f}", f"{even.acceleration:.2f}", f"{even.length:.2f}")
        say(table)
    shown = f", which shows the first {VIDEO_CLIPS}" if len(clips) > VIDEO_CLIPS else ""
    say(f"{out}: {len(clips)} motions of {len(clips[0])} frames, {VIDEO}{shown}")
