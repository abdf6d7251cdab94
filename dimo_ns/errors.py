"""The one family of errors that a user meets: what is wrong, where, what was expected, how to mend it; and how a
program ends with one."""

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager


class DimoError(Exception):
    """Bad input or an operation that cannot go on. The message is one sentence; the command line exits with 2."""


MOST_SEED = 2**63 - 1


def check_number(what: str, value: float, low: float, high: float) -> None:
    """Raises DimoError unless a number that a user chose lies between these, both included: before work begins."""
    if not low <= value <= high:
        raise DimoError(f"{what} is {value:,}; expected {low:,} to {high:,}.")


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
    """Turns a DimoError, and what only the machine can be blamed for, into one sentence on stderr and exit status 2;
    Ctrl-C into 130. A reader of stdout that has gone, as `head` does, ends the program without a word."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    except EXPECTED as error:
        print(f"dimo: {on_one_line(sentence(error))}", file=sys.stderr)
        raise SystemExit(2) from error


EXPECTED = (DimoError, OSError, MemoryError, RecursionError, UnicodeError)


def sentence(error: Exception) -> str:
    """What is said of it: a DimoError's own words; of another one what it was about and what may be done."""
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"The system refused: {error.strerror or first_line(error)}{place}; mend that, or choose another place."
    if isinstance(error, MemoryError):
        return "The memory of this machine is not enough; close other programs, or ask for less at once."
    if isinstance(error, RecursionError):
        return "Something in a file that was given is nested too deeply to be read; give one that is flatter."
    if isinstance(error, UnicodeError):
        return f"A text or a file name that was given is not valid Unicode ({first_line(error)}); mend it."
    return str(error)


def on_one_line(text: str) -> str:
    """A text from outside as a terminal may have it, its lines joined."""
    return printable(re.sub(r"\s*[\r\n]\s*", " ", text))


def printable(text: str) -> str:
    """A text from outside as a terminal may have it: what is no letter, space or new line is written as its code."""
    return "".join(letter if is_shown(letter) else ascii(letter)[1:-1] for letter in text)


def is_shown(letter: str) -> bool:
    """Whether a terminal may have it: also the spaces and joiners without which names in many languages are others."""
    return letter.isprintable() or letter in "\n\u200c\u200d" or unicodedata.category(letter) == "Zs"


def first_line(error: Exception) -> str:
    """The first line of what a library says, to be quoted within a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
