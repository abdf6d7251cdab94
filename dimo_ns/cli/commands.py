"""What the commands share: arguments, and how they talk to their user.

A command prints through `say`, `note` and `warn`, and shows how far it is with `bars`. The rest of the package never
prints: what it has to say goes to a function that it is given, or into its result; what interests a developer alone is
logged.
Training runs inside nerfstudio, and prints to its console.
"""

import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args

import tyro

from dimo_ns.errors import DimoError, on_one_line, printable

if TYPE_CHECKING:
    from dimo_ns.data.dataset import Dataset

Positional = tyro.conf.Positional
Scene = Positional[Path]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
OutOrNone = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


@dataclass(frozen=True)
class Command:
    """A command in a choice: its name, and the function that it calls or the dataclass whose `command` is a choice."""

    name: str
    item: Callable[..., Any]


def choice(**commands: Callable[..., Any]) -> Any:
    """A type that tyro turns into a choice of commands."""
    choices = [
        Annotated[Any, tyro.conf.subcommand(name, constructor=item), Command(name, item)]
        for name, item in commands.items()
    ]
    return Union[tuple([*choices, Annotated[None, tyro.conf.Suppress]])]  # noqa: UP007 (a union of one is no choice)


def check_command(words: Sequence[str], commands: Any, group: str = "") -> None:
    """Raises DimoError, with the nearest name, unless a command line of these words begins with a command of this
    `choice`, or with an option; tyro sees to the rest. `group` is what the user typed before."""
    if not words or words[0].startswith("-"):
        return
    parts = [part for kind in get_args(commands) for part in get_args(kind)]
    known = {part.name: part.item for part in parts if isinstance(part, Command)}
    name = words[0].replace("_", "-")  # as tyro reads it
    if name not in known:
        close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = f"did you mean '{group}{close[0]}'?" if close else f"expected one of {', '.join(known)}."
        raise DimoError(f"There is no command '{group}{words[0]}'; {hint}")
    if is_dataclass(known[name]):
        check_command(words[1:], known[name].__annotations__["command"], f"{group}{name} ")


def is_command(word: str, commands: Sequence[str]) -> bool:
    """Whether what could also be a file is one of these commands, or one of them misspelt."""
    return word in commands or (not Path(word).exists() and bool(difflib.get_close_matches(word, commands, 1, 0.65)))


def say(*items: object) -> None:
    """Prints each on a line of its own: words as they are, tables and the like as rich draws them."""
    from rich.text import Text

    from dimo_ns.cli.terminal import Terminal

    terminal = Terminal()
    for item in items:
        words = item if isinstance(item, Text) else printable(str(item)) if isinstance(item, (str, Path)) else None
        terminal.print(item if words is None else words, soft_wrap=words is not None)


def note(text: str) -> None:
    """Prints what a user should know, on stderr."""
    print(f"dimo: {on_one_line(text)}", file=sys.stderr)


def warn(text: str) -> None:
    """Prints a warning, on stderr."""
    print(f"dimo: warning: {on_one_line(text)}", file=sys.stderr)


def say_dataset(dataset: "Dataset") -> None:
    """Prints where a dataset is and what it holds."""
    say(f"{dataset.root}: {len(dataset.motions)} motions, {len(dataset.views)} views, {dataset.frames} frames")


@contextmanager
def bars() -> Iterator[Callable[[str], Callable[..., None]]]:
    """Within it, what is yielded makes a bar with a name, and with it a function that is told how much is done, of how
    much, and under what other name. All are gone at the end; there are none where nobody sees them."""
    from dimo_ns.cli.terminal import progress

    with progress() as shown:

        def bar(name: str) -> Callable[..., None]:
            task = shown.add_task(name, total=None)

            def update(done: float, total: float, name: str | None = None) -> None:
                shown.update(task, completed=done, total=total, description=name)

            return update

        yield bar
