"""Where exports are written: nothing is replaced unasked, and what appears is complete."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dimo_ns.errors import DimoError

Progress = Callable[[int, int], object]
"""Called with what is done and what there is to do."""
FRAME = re.compile(r"frame\d{4,}\.\w+")


def frame_name(index: int, suffix: str) -> str:
    """The name of a numbered frame, counted from 1: frame0001.ply."""
    return f"frame{index + 1:04d}{suffix}"


def check_free(folder: Path, names: Sequence[str], overwrite: bool = False) -> None:
    """Raises DimoError if one of these is in the folder already; with `overwrite`, if it must not be replaced: a folder
    may only hold numbered frames, so that nothing else is lost."""
    try:
        if folder.exists() and not folder.is_dir():
            raise DimoError(f"There is a file at {folder}, where a folder was to be made; choose another place.")
        for path in (folder / name for name in names):
            if path.is_dir():
                held = [item.name for item in path.iterdir()]
                foreign = [name for name in held if not FRAME.fullmatch(name)]
                if foreign:
                    raise DimoError(f"The folder {path} also holds '{min(foreign)}'; choose another place.")
                if held and not overwrite:
                    raise DimoError(f"The folder {path} is not empty; choose another place, or add --overwrite.")
            elif path.exists() and not overwrite:
                raise DimoError(f"The file {path} is there already; choose another place, or add --overwrite.")
    except OSError as error:
        raise DimoError(f"The folder {folder} cannot be read ({error.strerror}); choose another place.") from error


@contextmanager
def complete(folder: Path, names: Sequence[str], overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty folder in which files or folders of these names are to be made; if nothing fails they are then
    renamed into `folder`, else nothing is left of them. Raises DimoError as `check_free`, and if the disk refuses."""
    check_free(folder, names, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
            partial, replaced = Path(temporary) / "new", Path(temporary) / "old"
            partial.mkdir()
            replaced.mkdir()
            yield partial
            for name in names:
                if (folder / name).is_dir():
                    (folder / name).replace(replaced / name)
                (partial / name).replace(folder / name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DimoError(
            f"{folder / names[0]} could not be written ({reason}); make room, or choose another place."
        ) from error
