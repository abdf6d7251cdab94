"""Results on disk that are made once: folders named after what they are and what they depend on.

An item's folder appears complete, by a rename; one that was broken off at any point, or killed, leaves finished items
and perhaps a partial one, which is thrown away when the item is made again. Another input is another folder: nothing is
replaced. Several processes can work on one store: an item is locked while it is made, and its maker's end, however it
comes, unlocks it (which needs a file system that knows flock, as local disks do).
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dimo_ns.errors import DimoError
from dimo_ns.files.durable import place

FILE = "item.json"


@dataclass(frozen=True)
class Item:
    """What is to be there."""

    name: str
    """A path: videos/walk."""
    inputs: Mapping[str, Any]
    """All that its content depends on."""

    @property
    def key(self) -> str:
        return digest({"name": self.name, "inputs": self.inputs})


class Items:
    """The store."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, item: Item) -> Path:
        return self.root / f"{item.name}-{item.key[:10]}"

    def has(self, item: Item) -> bool:
        """Raises DimoError if it is there but not as it was made."""
        path = self.path(item)
        if not path.is_dir():
            return False
        try:
            for name, size in json.loads((path / FILE).read_text())["files"].items():
                if (path / name).stat().st_size != size:
                    raise DimoError(f"The file {path / name} was changed since it was made; remove the folder {path}.")
        except (OSError, ValueError, KeyError) as error:
            raise DimoError(f"{path} is incomplete ({error}); remove that folder, and it is made again.") from error
        return True

    def make(self, item: Item, fill: Callable[[Path], None]) -> bool:
        """Has `fill` make the files in an empty folder, if they are not there. False if another process is at it."""
        with self.lock(item.name) as mine:
            if not mine:
                return False
            if self.has(item):
                return True
            partial = self.root / ".partial" / flat(self.path(item).relative_to(self.root).as_posix())
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                fill(partial)
                sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
                write_json(partial / FILE, {"name": item.name, "inputs": item.inputs, "files": sizes})
                self.path(item).parent.mkdir(parents=True, exist_ok=True)
                place({partial: self.path(item)})
            except OSError as error:
                raise DimoError(f"{self.path(item)} cannot be written: {error.strerror or error}.") from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            return True

    def replace(self, name: str, write: Callable[[Path], None]) -> None:
        """A file beside the items, which is not one: written elsewhere, then renamed into its place."""
        partial = self.root / ".partial" / f"{os.getpid()}-{name}"
        partial.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        place({partial: self.root / name})

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Whether nobody else has it; it is held meanwhile."""
        path = self.root / ".locks" / flat(name)
        with _opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def tidy(self) -> None:
        """Removes what only unfinished work needs."""
        for name in (".partial", ".locks"):
            shutil.rmtree(self.root / name, ignore_errors=True)


def _opened(path: Path) -> IO[str]:
    """Another process that is done may remove the folder at any moment."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("w")
        except FileNotFoundError:
            continue


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def flat(name: str) -> str:
    return name.replace("/", "__")
