"""Texts from outside within viser's markdown, which runs what it takes for a script: they are shown as they are."""

import re

JOINER = "\u2060"
"""Takes no place: within what GitHub's markdown makes a link of without being asked to."""
LINKED = re.compile(r"://|www\.|@", re.IGNORECASE)


def as_markdown(text: str) -> str:
    """Markdown that shows this very text, in one paragraph.

    Every character that could begin markup, HTML or an expression is written as a reference to it, and so is the first
    one: some versions of viser run a paragraph that begins with "import" or "export".
    """
    line = LINKED.sub(lambda found: found[0][0] + JOINER + found[0][1:], " ".join(text.split()))
    return "".join(c if i and (c.isalnum() or c == " ") else f"&#{ord(c)};" for i, c in enumerate(line))
