"""The terminal that the commands print on, where a text is that text, whatever is in it."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress, ProgressColumn, Task
from rich.segment import Segment
from rich.text import Text

from dimo_ns.errors import printable


class Terminal(Console):
    """Takes no text for markup or for the name of an emoji; of what would steer the terminal it prints the code."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class Name(ProgressColumn):
    """What a bar is of: a text too."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


def progress(*columns: ProgressColumn) -> Progress:
    """Bars on the terminal, gone at the end; none where nobody sees them."""
    terminal = Terminal()
    return Progress(
        Name(), *(columns or Progress.get_default_columns()[1:]), console=terminal, transient=True,
        disable=not terminal.is_interactive,
    )  # fmt: skip
