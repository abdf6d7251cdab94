"""One web page that holds the object and all its motions, and plays them: offline, and without a request to anyone."""

from dimo_ns.export.html.page import save_html

__all__ = ["save_html"]
