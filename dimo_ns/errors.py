"""The one family of errors that a user meets: what is wrong, where, what was expected, how to mend it."""

from collections.abc import Iterator
from contextlib import contextmanager


class DimoError(Exception):
    """Bad input or an operation that cannot go on. The message is one sentence; the command line exits with 2."""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Say what is to be installed where a package is missing: around imports, or as a decorator. Raises DimoError."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").split(".")[0] == "dimo_ns":
            raise
        raise DimoError(
            f"{what} needs the extra '{extra}' ({first_line(error)}); get it with: pip install 'dimo-ns[{extra}]'"
        ) from error


def first_line(error: Exception) -> str:
    """Of what a library says, to be quoted within a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
