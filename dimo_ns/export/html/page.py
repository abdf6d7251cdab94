"""The page: template.html with the player's own files and the packed space in it."""

import base64
import gzip
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from jaxtyping import Float
from torch import Tensor

from dimo_ns.errors import DimoError
from dimo_ns.export.html.pack import pack
from dimo_ns.files.fields import check_unique
from dimo_ns.files.output import complete
from dimo_ns.space.choosing import chosen_latent
from dimo_ns.space.motion_space import MotionSpace

SCRIPTS = ("payload.js", "motion.js", "camera.js", "renderer.js", "player.js", "controls.js", "page.js")
"""One after another they are one module; each says in its first lines what it owns."""


def save_html(space: MotionSpace, path: Path, motions: Sequence[str] = (), overwrite: bool = False) -> Path:
    """Writes a page to `path` with these motions (`export.choice.chosen_latent`), or all of the space's; returns it.

    Written beside and renamed into place. Raises DimoError for motions that the space does not have, for an object of
    which nothing can be seen, if the file is there and not to be overwritten, and if it cannot be written.
    """
    chosen = [chosen_latent(space, text) for text in dict.fromkeys(motions or space.names)]
    check_unique([name for name, _ in chosen], "Two motions are named")
    if path.is_dir():
        raise DimoError(f"There is a folder at {path}; give the page a file name, such as {path / 'scene.html'}.")
    with complete(path.parent, [path.name], overwrite) as partial:
        (partial / path.name).write_text(page(space, dict(chosen)), encoding="utf-8", newline="\n")
    return path


def page(space: MotionSpace, latents: dict[str, Float[Tensor, " d"]]) -> str:
    """The page as text. Names and prompts are other people's: they enter it as text, here or by the script."""
    name, prompt = space.info.object or "Object", space.info.prompt or ""
    style, sorter = source("player.css"), source("sorter.js")
    script = "\n".join(source(file) for file in SCRIPTS)
    return Template(source("template.html")).substitute(
        policy=policy(style, script),
        title=html.escape(f"{name}: {prompt}" if prompt else name),
        name=html.escape(name),
        prompt=html.escape(prompt),
        payload=base64.b64encode(gzip.compress(pack(space, latents), mtime=0)).decode(),
        style=style,
        sorter=sorter,
        script=script,
    )


def policy(style: str, script: str) -> str:
    """What the browser lets the page do: run its own script and nothing else, and ask no host for anything."""
    allowed = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (script, style)
    ]
    return (
        f"default-src 'none'; script-src {allowed[0]}; style-src {allowed[1]}; worker-src blob:; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def source(name: str) -> str:
    return files("dimo_ns.export.html").joinpath(name).read_text(encoding="utf-8")
