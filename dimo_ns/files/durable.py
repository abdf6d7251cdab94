"""Files that outlast a crash or a loss of power: made under another name, flushed to the disk, renamed into place."""

import errno
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

FLUSHES = 8
"""How many go on at a time: a disk commits many together."""


def place(made: Mapping[Path, Path]) -> None:
    """Renames files and folders to where they belong, once all of their content is on the disk; a file takes the place
    of another, a folder that of an empty one. Raises OSError, before anything is renamed if a folder is in the way."""
    for path, target in made.items():
        if target.is_dir() and not path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    with ThreadPoolExecutor(FLUSHES) as workers:
        list(workers.map(flush, (part for path in made for part in (path, *path.rglob("*")))))
    for path, target in made.items():
        path.replace(target)
    for folder in {target.parent for target in made.values()}:
        flush(folder)


def flush(path: Path) -> None:
    """Waits until the disk has what was written to a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def there(folder: Path) -> Iterator[None]:
    """Within it there is this folder. If anything fails, it and those above it that were made for it are gone again,
    unless something else is in them by then."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def write_new(path: Path, content: Any) -> None:
    """Writes bytes to a file that is new, whatever bore its name before: a link is replaced and not followed."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)


def write_files(contents: Mapping[Path, Any], partial: Path | None = None) -> None:
    """Writes the bytes of each file, all or none of them. Each is made beside its place, or as `partial` where it is a
    single one, whose folder must be on the same disk. Raises OSError, and then leaves what was there before."""
    made = {partial or path.with_name(f".{path.name}.partial"): path for path in contents}
    with ExitStack() as folders:
        for folder in {path.parent for path in contents}:
            folders.enter_context(there(folder))
        try:
            for beside, path in made.items():
                write_new(beside, contents[path])
            place(made)
        except OSError:
            for beside in made:
                with suppress(OSError):
                    beside.unlink()
            raise
