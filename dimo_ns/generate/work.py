"""The folder in which a generation is worked on: OUT.work beside OUT, and which object it is of."""

import json
import os
from pathlib import Path

from dimo_ns.errors import DimoError
from dimo_ns.files.opening import expanded
from dimo_ns.files.output import refusals
from dimo_ns.generate.items import Items, write_json

OWNER = "run.json"
"""The file that says which object a folder of work is of."""


def work_folder(out: Path) -> Path:
    """Raises DimoError where nothing can be beside: at the root."""
    folder = Path(os.path.abspath(expanded(out)))  # the name of "." and ".."
    if not folder.name:
        raise DimoError(f"There is no room for a folder beside {out}; choose another output.")
    return folder.with_name(f"{folder.name}.work")


def check_identity(work: Path, identity: str) -> None:
    """Raises DimoError unless the folder is new or that of this object."""
    path = work / OWNER
    if work.exists() and not work.is_dir():
        raise DimoError(f"There is a file at {work}, where a folder is needed; choose another output.")
    try:
        found = json.loads(path.read_text())["object"] if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DimoError(f"{path} cannot be used ({error}); choose another output.") from error
    if found not in (None, identity):
        raise DimoError(f"The folder {work} is that of another object ({found}); choose another output.")


def claim(work: Path, identity: str) -> None:
    """Makes the folder this object's. Raises DimoError if it is another's, or cannot be written."""
    check_identity(work, identity)
    with refusals(None, work, "choose another output"):
        if not (work / OWNER).exists():
            Items(work).replace(OWNER, lambda partial: write_json(partial, {"object": identity}))
