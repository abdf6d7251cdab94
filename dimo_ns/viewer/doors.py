"""Who may speak to a viewer: programs of its user's, and pages that came from this very server.

Any page that a user looks at can make their browser open a websocket to their own machine, or have its own name
resolve to it. A browser says which page asks (Origin), and by which name (Host): both are checked before viser sees a
request. So are paths, which old versions of viser follow out of their folder. Whoever sends what is no message is cut
off.
"""

import asyncio
import functools
import inspect
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

from viser.infra import _infra

log = logging.getLogger(__name__)
HOME = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("", "0.0.0.0", "::")


def guard_viewers() -> None:
    """From now on, every server that viser starts in this process checks who asks; nothing if that was done before."""
    module: Any = _infra
    if not isinstance(module.websockets, Guarded):
        module.websockets = Guarded(module.websockets)


class Guarded:
    """The package websockets as viser sees it: all as it is, but that what its `serve` starts checks who asks."""

    def __init__(self, module: ModuleType):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, ModuleType):
            return Guarded(found)
        return guarded(found) if name == "serve" else found


def guarded(serve: Callable[..., Any]) -> Callable[..., Any]:
    """`serve` of websockets, before or since its version 14, refusing what `refusal` says."""

    @functools.wraps(serve)
    def checked(handler: Any, host: str, port: int, *, process_request: Callable[..., Any], **options: Any) -> Any:
        async def ask(asked: Any, request: Any) -> Any:
            path, headers = (asked, request) if isinstance(asked, str) else (request.path, request.headers)
            refused = refusal(path, ", ".join(headers.get_all("Host")), headers.get_all("Origin"), host)
            if refused is None:
                answer = process_request(asked, request)
                return await answer if inspect.isawaitable(answer) else answer
            if isinstance(asked, str):
                return HTTPStatus.FORBIDDEN, [], refused.encode()
            return asked.respond(HTTPStatus.FORBIDDEN, refused)

        async def hear(connection: Any, *path: Any) -> None:
            asyncio.get_running_loop().set_exception_handler(not_understood)
            try:
                await handler(connection, *path)
            except Exception as error:
                log.info("A browser was cut off for what it sent.", exc_info=error)
                await connection.close(1007, "That is no message.")

        own_names(host)  # no request waits for them
        return serve(hear, host, port, process_request=ask, **options)

    return checked


def not_understood(_: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
    """Notes what went wrong with a message after it was read: its values are of kinds that viser does not expect."""
    log.info("%s", about["message"], exc_info=about.get("exception"))


def refusal(path: str, host: str, origins: Sequence[str], bound: str) -> str | None:
    """Why a request to a server that listens on the address `bound` is refused, in a sentence; None if it is not.

    It must call the server by a name that is surely its own: one of the loopback, `bound`, or, where that is every
    address of the machine, any address or the machine's name. A page that asks must have been served under that name.
    """
    name = hostname(host)
    if name not in own_names(bound) and not (bound in EVERYWHERE and is_address(name)):
        return "This viewer is not known by that name; open the address that it was started with."
    if any(origin.partition("://")[2].lower() != host.lower() for origin in origins):
        return "This viewer answers to its own pages alone, and another page has asked."
    parts = unquote(path.partition("?")[0]).replace("\\", "/").split("/")
    if ".." in parts or "" in parts[1:-1]:
        return "There is no such file."
    return None


@functools.cache
def own_names(bound: str) -> frozenset[str]:
    """The names of a server that listens on this address, in small letters; the machine's may take a while to find."""
    machine = (socket.gethostname(), socket.getfqdn()) if bound in EVERYWHERE else ()
    return frozenset(name.lower() for name in (*HOME, bound, *machine))


def hostname(host: str) -> str:
    """The name in a Host header, without port or brackets, in small letters; empty if that is not all there is."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises ValueError if it is no number
    except ValueError:
        return ""
    return "" if "@" in host else parts.hostname or ""


def is_address(name: str) -> bool:
    """Whether this is a number and not a name, which somebody else may have resolve to any number."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
