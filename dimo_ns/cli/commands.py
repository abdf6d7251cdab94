"""What the commands share."""

from collections.abc import Callable
from typing import Annotated, Any, Union

import tyro

Positional = tyro.conf.Positional


def choice(**commands: Callable[..., Any]) -> Any:
    """A type that tyro turns into a choice of commands."""
    choices = [Annotated[Any, tyro.conf.subcommand(name, constructor=item)] for name, item in commands.items()]
    return Union[tuple([*choices, Annotated[None, tyro.conf.Suppress]])]  # noqa: UP007 (a union of one is no choice)
