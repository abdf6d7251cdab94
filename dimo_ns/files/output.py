"""Where a program writes for its user: nothing is replaced unasked, and what appears is complete."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dimo_ns.errors import DimoError
from dimo_ns.files.durable import place, there

Progress = Callable[[int, int], object]
"""Called with what is done and what there is to do."""
FRAME = re.compile(r"frame\d{4,}\.\w+")
MEND = "make room, or choose another place"


def frame_name(index: int, suffix: str) -> str:
    """The name of a numbered frame, counted from 1: frame0001.ply."""
    return f"frame{index + 1:04d}{suffix}"


def check_free(folder: Path, names: Sequence[str] | None = None, overwrite: bool | None = False) -> None:
    """Raises DimoError if one of these is in the folder already, or, without names, anything: for a command to ask
    before it works for long. With `overwrite`, only if it must not be replaced: a folder among them may hold numbered
    frames alone, so that nothing else is lost. None: this command has no --overwrite that could be added."""
    mend = "choose another place" + ("" if overwrite is None else ", or add --overwrite")
    try:
        for home in (folder, *((folder / name).parent for name in names or ())):
            if home.exists() and not home.is_dir():
                raise DimoError(f"There is a file at {home}, where a folder was to be made; choose another place.")
        if "" in (names or ()):
            raise DimoError(f"The folder {folder} is given where a file is to be written; add the name of a file.")
        if names is None and not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise DimoError(f"The folder {folder} is not empty; {mend}.")
        for path in (folder / name for name in names or ()):
            if path.is_dir():
                held = [item.name for item in path.iterdir()]
                foreign = [name for name in held if not FRAME.fullmatch(name)]
                if foreign:
                    raise DimoError(f"The folder {path} also holds '{min(foreign)}'; choose another place.")
                if held and not overwrite:
                    raise DimoError(f"The folder {path} is not empty; {mend}.")
            elif os.path.lexists(path) and not overwrite:
                raise DimoError(f"The file {path} is there already; {mend}.")
    except OSError as error:
        raise DimoError(f"The folder {folder} cannot be read ({error.strerror}); choose another place.") from error


@contextmanager
def complete(
    folder: Path, names: Sequence[str], overwrite: bool | None = False, what: str | None = None
) -> Iterator[Path]:
    """Yields an empty folder in which files or folders of these names, a name may be FOLDER/NAME, are to be made. If
    nothing fails they are then renamed into `folder`, in one step where that is new, and what else bore one of the
    names is gone; if anything fails, all is as it was. Raises DimoError as `check_free`, and if the disk refuses;
    `what` is then said of it."""
    check_free(folder, names, overwrite)
    with refusals(what, folder if what and len(names) > 1 else folder / names[0]):
        new = not folder.exists()
        home, name = (folder.parent, folder.name) if new else (folder, Path(names[0]).name)
        with there(home), tempfile.TemporaryDirectory(prefix=f".{name}.partial-", dir=home) as scratch:
            partial, replaced = Path(scratch) / "new", Path(scratch) / "old"
            partial.mkdir()
            try:
                yield partial
            except DimoError as error:  # may name a place that is gone by now
                raise DimoError(str(error).replace(str(partial), str(folder))) from error
            if new:
                place({partial: folder})
                return
            replaced.mkdir()
            made = {partial / name: folder / name for name in names if (partial / name).exists()}
            for number, target in enumerate(folder / name for name in names):
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir() or (target.exists() and target not in made.values()):
                    target.replace(replaced / str(number))
            place(made)


@contextmanager
def refusals(what: str | None, path: Path, mend: str = MEND) -> Iterator[None]:
    """Within it, a disk that refuses is a DimoError that says what could not be written to `path`, and why."""
    try:
        yield
    except OSError as error:
        subject = f"{what} could not be written to {path}" if what else f"{path} could not be written"
        raise DimoError(f"{subject} ({error.strerror or error}); {mend}.") from error
