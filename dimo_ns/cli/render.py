"""`dimo render`: videos of a trained scene."""

from pathlib import Path
from typing import Literal

from dimo_ns.cli.commands import Out, Scene, bars, say


def render(
    scene: Scene,
    out: Out,
    motions: tuple[str, ...] = (),
    transition: bool = False,
    side_by_side: bool = False,
    azimuth: float = 40.0,
    elevation: float = 15.0,
    turns: float = 0.0,
    camera_path: Path | None = None,
    view: str | None = None,
    data: Path | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    repeat: int = 1,
    background: str = "white",
    overlay: Literal["none", "keypoints", "trails", "trails-by-time"] = "none",
    overwrite: bool = False,
) -> None:
    """Make a video of motions: from any side, along a path, or beside the truth.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: Video to write, an .mp4, .webm or .gif file; without a suffix it is a folder of numbered pictures.
        motions: What to show, by default all motions: names, FILE:ROW for a row of a file of latents, as 'dimo sample'
            writes it, or blends such as walk:0.5,run:0.5.
        transition: Show one clip that passes from each motion to the next.
        side_by_side: Show all motions at once, each in its tile, instead of one after another.
        azimuth: Degrees around the object, counter-clockwise seen from above; its front is at 0.
        elevation: Degrees above it.
        turns: How many times the camera goes around the object in the whole video.
        camera_path: File that nerfstudio's viewer saved from its Render tab.
        view: Camera of the dataset to look through.
        data: Dataset whose frames are shown beside the render; without --view in its first test view.
        size: Width and height in pixels; by default 512 512, or what the view or the camera path has.
        fps: Frames per second; by default those of the motions, or of the camera path.
        repeat: How often each motion is played.
        background: A colour: a name, #rrggbb, or none for transparent, which an .mp4 cannot be.
        overlay: What to draw over the object: all key points, or the way that some of them came.
        overwrite: Replace the video, or the pictures, if they are there.
    """
    from dimo_ns.apps.interpolate import passage
    from dimo_ns.export import camera_paths
    from dimo_ns.export.video import Look, colour, export_video
    from dimo_ns.runs import open_space
    from dimo_ns.space.choosing import chosen_clips

    space = open_space(scene)
    clips = [passage(space, motions)] if transition else chosen_clips(space, motions)
    around = camera_paths.Around(azimuth, elevation, turns)
    shape = (size[1], size[0]) if size else None
    seen_from, truth = camera_paths.choose(space, around, camera_path, view, data, shape)
    with bars() as bar:
        path = export_video(
            space,
            clips,
            out,
            seen_from,
            fps,
            repeat,
            side_by_side,
            Look(colour(background), overlay),
            truth,
            overwrite,
            bar("Rendering"),
        )
    say(path)
