"""One program at a time in a folder: who comes second is told so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dimo_ns.errors import DimoError

NAME = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within it, no other program that asks is in the folder, which is made if need be. However a program ends, the
    system lets the next one in. Raises DimoError if another one is there, or if the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / NAME, blocking=False)
        lock.acquire()
    except Timeout as error:
        raise DimoError(
            f"Another program is at work in {folder}; wait for its end, or choose another place."
        ) from error
    except OSError as error:
        raise DimoError(
            f"The folder {folder} cannot be written to ({error.strerror}); choose another place."
        ) from error
    try:
        yield
    finally:
        lock.release()
