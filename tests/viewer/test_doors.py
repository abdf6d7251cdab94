"""A viewer answers to its user's programs and to its own pages alone."""

import gc
import http.client
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import viser
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dimo_ns.viewer.doors import guard_viewers, refusal
from dimo_ns.viewer.serve import free_port

HOME, EVERYWHERE = "127.0.0.1", "0.0.0.0"
MACHINE = socket.gethostname()
PROTOCOLS: Any = [f"viser-v{viser.__version__}"] if hasattr(viser, "__version__") else None


@pytest.mark.parametrize(
    ("bound", "host", "origins", "answers"),
    [
        # No page asks: a program of the user's.
        (HOME, "127.0.0.1:7007", [], True),
        (HOME, "localhost:7007", [], True),
        (HOME, "LocalHost:7007", [], True),
        (HOME, "[::1]:7007", [], True),
        (HOME, "localhost", [], True),
        # The viewer's own page, also through a tunnel to another port.
        (HOME, "localhost:7007", ["http://localhost:7007"], True),
        (HOME, "localhost:9999", ["http://localhost:9999"], True),
        (HOME, "localhost:9999", ["https://LOCALHOST:9999"], True),
        ("192.168.0.7", "192.168.0.7:7007", ["http://192.168.0.7:7007"], True),
        ("box.lan", "Box.lan:7007", ["http://box.lan:7007"], True),
        (EVERYWHERE, "192.168.0.7:7007", ["http://192.168.0.7:7007"], True),
        (EVERYWHERE, f"{MACHINE}:7007", [f"http://{MACHINE}:7007"], True),
        ("::", "[fe80::1]:7007", ["http://[fe80::1]:7007"], True),
        # Another page, on this machine or elsewhere, or one without a place.
        (HOME, "localhost:7007", ["http://evil.example"], False),
        (HOME, "localhost:7007", ["http://localhost:8888"], False),
        (HOME, "localhost:7007", ["http://localhost:7007.evil.example"], False),
        (HOME, "localhost:7007", ["http://127.0.0.1:7007"], False),
        (HOME, "localhost:7007", ["null"], False),
        (HOME, "localhost:7007", [""], False),
        (HOME, "localhost:7007", ["file://"], False),
        (HOME, "localhost:7007", ["http://localhost:7007", "http://evil.example"], False),
        (EVERYWHERE, "192.168.0.7:7007", ["http://evil.example"], False),
        # A page whose name resolves to this machine: both say the same, and it is not ours.
        (HOME, "evil.example:7007", ["http://evil.example:7007"], False),
        (HOME, "evil.example:7007", [], False),
        (HOME, "192.168.0.7:7007", [], False),
        (EVERYWHERE, "evil.example:7007", ["http://evil.example:7007"], False),
        (EVERYWHERE, "127.0.0.1.evil.example", [], False),
        # What is no name.
        (HOME, "", [], False),
        (HOME, "localhost:7007, evil.example", [], False),
        (HOME, "[::1", [], False),
        (HOME, "localhost@evil.example", [], False),
    ],
)
def test_names_and_pages_that_are_answered(bound: str, host: str, origins: list[str], answers: bool):
    assert (refusal("/", host, origins, bound) is None) == answers


@pytest.mark.parametrize(
    "path", ["/../x", "/a/../../x", "/%2e%2e/x", "/..%2fx", "/..\\x", "//..//x", "/a/..", "//etc/passwd"]
)
def test_paths_that_lead_out_are_refused(path: str):
    assert refusal(path, "localhost", [], HOME) is not None
    assert refusal("/assets/index.js?v=..", "localhost", [], HOME) is None


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    guard_viewers()
    guard_viewers()  # once is enough, and twice does no harm
    server = viser.ViserServer(host=HOME, port=free_port(HOME, 7650), verbose=False)
    yield server.get_port()
    server.stop()


def fetched(port: int, path: str, host: str) -> tuple[int, bytes]:
    """Over a socket: libraries mend such paths on the way."""
    with socket.create_connection((HOME, port), timeout=10) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        return answer.status, answer.read()


def test_the_page_is_served_to_its_own_names_alone(port: int):
    status, page = fetched(port, "/", f"localhost:{port}")
    assert status == 200
    assert b"<html" in page
    status, said = fetched(port, "/", "evil.example")
    assert status == 403
    assert b"not known by that name" in said


@pytest.mark.parametrize("path", ["/../../../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"])
def test_no_file_of_the_users_is_served(port: int, path: str):
    status, content = fetched(port, path, f"localhost:{port}")
    assert status in (403, 404)
    assert b"root:" not in content


def messages() -> list[bytes | str]:
    """What no page sends: no msgpack, no message, none that there is, too few fields, values of other kinds."""
    looks = {"wxyz": ["a"] * 4, "position": None, "fov": "wide", "aspect": [], "look_at": 1, "up_direction": {}}
    sizes = {"near": 0, "far": 1, "image_height": -1, "image_width": "x"}
    kinds: list[Any] = [1, [], {}, {"type": 5}, {"type": "Nope"}, {"type": "GuiUpdateMessage"}]
    kinds += [{"type": "ViewerCameraMessage", **looks, **sizes}]
    kinds += [{"type": "GuiUpdateMessage", "uuid": "none", "updates": updates} for updates in (5, {"value": None})]
    return [b"", b"\xff", b"\xdf" * 100, b"{}", "text", *map(msgspec.msgpack.encode, kinds)]


def test_what_is_no_message_harms_nobody_and_prints_nothing(port: int, capfd, caplog):
    def browser() -> ClientConnection:
        return connect(f"ws://localhost:{port}/", subprotocols=PROTOCOLS)

    with browser() as other:
        assert other.recv(timeout=10)
        for message in messages():
            with browser() as ours:
                ours.send(message)
                with suppress(ConnectionClosed, TimeoutError):
                    while True:
                        ours.recv(timeout=0.2)
        assert other.ping().wait(10)
        with browser() as another:
            assert another.recv(timeout=10)
    gc.collect()  # what went wrong in a task is told when that is forgotten
    assert "Traceback" not in "".join(capfd.readouterr())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_page_from_elsewhere_gets_no_socket_and_our_own_does(port: int):
    address = f"ws://localhost:{port}/"
    with connect(address, origin=f"http://localhost:{port}", subprotocols=PROTOCOLS) as ours:  # pyright: ignore
        assert ours.recv(timeout=10)
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin="http://evil.example", subprotocols=PROTOCOLS)  # pyright: ignore
    assert refused.value.response.status_code == 403
