"""Before a file from outside is opened: where it is, that it is a regular one, and not larger than its kind ever is."""

import stat
from pathlib import Path

from dimo_ns.errors import DimoError

MAX_TENSOR_BYTES = 2**30
"""Of a file of tensors: a scene of ten million Gaussians is smaller."""


def expanded(path: Path | str) -> Path:
    """The absolute path that a user means: ~ is a home. Raises DimoError where there is no such user."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise DimoError(f"There is no home of the user that {path} begins with; write the folder out.") from error


def resolved(path: Path | str) -> Path:
    """As `expanded`, and links are followed. Raises DimoError for a circle of links too."""
    try:
        return expanded(path).resolve()
    except RuntimeError as error:
        raise DimoError(f"The link {path} leads in a circle; give the file or the folder itself.") from error


def regular(path: Path, at_most: int) -> Path:
    """`path` unchanged, unless it leads to a folder, a pipe or a device, whose content has no end, or to more bytes
    than `at_most`: then DimoError. One that is missing is left to whoever opens it."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return path
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise DimoError(f"{path} is {kind}; expected a regular file.")
    if found.st_size > at_most:
        raise too_large(path, at_most)
    return path


def too_large(path: Path, at_most: int) -> DimoError:
    """What is said of a file with more bytes than that."""
    size = f"{at_most // 2**20:,} MB" if at_most >= 2**20 else f"{at_most:,} bytes"
    return DimoError(f"The file {path} is larger than {size}, which no file of its kind needs.")
