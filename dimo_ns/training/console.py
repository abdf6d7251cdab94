"""How training speaks: on nerfstudio's console, where a text is that text, whatever is in it."""

from nerfstudio.utils.rich_utils import CONSOLE

from dimo_ns.errors import printable


def tell(text: str, end: str = "\n") -> None:
    """Prints a line, as a terminal may have it."""
    CONSOLE.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True, end=end)
