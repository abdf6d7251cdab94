"""`dimo export html`: one page to share."""

from typing import TYPE_CHECKING

from dimo_ns.cli.commands import Out, Scene, say, warn

if TYPE_CHECKING:
    from dimo_ns.space.motion_space import MotionSpace


def export_html(
    scene: Scene,
    out: Out,
    motions: tuple[str, ...] = (),
    overwrite: bool = False,
) -> None:
    """Write one web page that plays the motions, blends them and makes new ones: offline, in any browser.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        out: The page to write, such as scene.html.
        motions: By default all: names, FILE:ROW for a row of a file of latents, or blends such as walk:0.5,run:0.5.
        overwrite: Replace the page if it is there.
    """
    from dimo_ns.export.html import save_html
    from dimo_ns.runs import open_space

    space = open_space(scene)
    path = save_html(space, out, motions, overwrite)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser, nothing else is needed")
    say_clamping(space)


def say_clamping(space: "MotionSpace") -> None:
    """Warns where an export for other programs clamps colours, and says what that costs."""
    from dimo_ns.export.colours import cost_of_clamping

    if cost := cost_of_clamping(space):
        warn(cost)
