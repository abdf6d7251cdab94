"""`dimo export html`: one page to share."""

from dimo_ns.cli.commands import Out, Scene, say


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

    path = save_html(open_space(scene), out, motions, overwrite)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser, nothing else is needed")
