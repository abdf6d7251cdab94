"""The one family of errors that a user meets: what is wrong, where, what was expected, how to mend it; and how a
program ends with one."""

import sys
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


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turns a DimoError into its sentence on stderr and exit status 2, and Ctrl-C into 130."""
    try:
        yield
    except DimoError as error:
        print(f"dimo: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error


def first_line(error: Exception) -> str:
    """The first line of what a library says, to be quoted within a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
