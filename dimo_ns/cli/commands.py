"""What the commands share: arguments, and how they talk to their user.

A command prints through `say` and `warn`, and shows how far it is with `bars`. The rest of the package never prints:
what it has to say goes to a function that it is given, or into its result; what interests a developer alone is logged.
Training runs inside nerfstudio, and prints to its console.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro

from dimo_ns.errors import on_one_line

if TYPE_CHECKING:
    from dimo_ns.data.dataset import Dataset

Positional = tyro.conf.Positional
Scene = Positional[Path]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
OutOrNone = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


def choice(**commands: Callable[..., Any]) -> Any:
    """A type that tyro turns into a choice of commands."""
    choices = [Annotated[Any, tyro.conf.subcommand(name, constructor=item)] for name, item in commands.items()]
    return Union[tuple([*choices, Annotated[None, tyro.conf.Suppress]])]  # noqa: UP007 (a union of one is no choice)


def say(*items: object) -> None:
    """Prints each on a line of its own: words as they are, tables and the like as rich draws them."""
    from rich.console import Console
    from rich.text import Text

    console = Console(markup=False, emoji=False, highlight=False)
    for item in items:
        words = item if isinstance(item, Text) else str(item) if isinstance(item, (str, Path)) else None
        console.print(item if words is None else words, soft_wrap=words is not None)


def warn(text: str) -> None:
    """Prints a warning, on stderr."""
    print(f"dimo: warning: {on_one_line(text)}", file=sys.stderr)


def say_dataset(dataset: "Dataset") -> None:
    """Prints where a dataset is and what it holds."""
    say(f"{dataset.root}: {len(dataset.motions)} motions, {len(dataset.views)} views, {dataset.frames} frames")


@contextmanager
def bars() -> Iterator[Callable[[str], Callable[..., None]]]:
    """Within it, what is yielded makes a bar with a name, and with it a function that is told how much is done, of how
    much, and under what other name. All are gone at the end."""
    from rich.progress import Progress

    with Progress(transient=True) as shown:

        def bar(name: str) -> Callable[..., None]:
            task = shown.add_task(name, total=None)

            def update(done: float, total: float, name: str | None = None) -> None:
                shown.update(task, completed=done, total=total, description=name)

            return update

        yield bar
