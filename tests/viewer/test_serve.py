"""`dimo view`'s server: where it listens, and what it says about that."""

import socket
from http.client import HTTPConnection

import pytest
import viser

from dimo_ns import cli
from dimo_ns.errors import DimoError
from dimo_ns.viewer.serve import PORTS, SceneViewer, free_port, is_loopback
from tests.spaces import some_space


def test_a_port_in_use_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port
        viewer = SceneViewer(some_space(), port)
        try:
            assert viewer.port != port
            assert viewer.address == f"http://127.0.0.1:{viewer.port}"
            with socket.create_connection(("127.0.0.1", viewer.port), timeout=5):
                pass
        finally:
            viewer.close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", 70000), ("no-such-host.invalid", 7007)])
def test_places_where_nobody_can_listen_are_said(host: str, port: int):
    with pytest.raises(DimoError):
        free_port(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_opening_it_up_is_said_in_one_line(host: str, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys):
    space = some_space()
    space.save(tmp_path / "scene.safetensors")

    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SceneViewer, "wait", interrupted)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    with pytest.raises(SystemExit) as ended:
        cli.main(["view", str(tmp_path), "--host", host, "--port", str(port)])
    assert ended.value.code == 130
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Open to everyone who can reach 0.0.0.0") for line in lines) == (host == "0.0.0.0")
    (address,) = (line for line in lines if line.startswith(f"http://{host}:"))
    assert port <= int(address.split(":")[2].split()[0].rstrip("/")) < port + PORTS  # the next one where it was taken


def test_nothing_outside_of_the_page_is_served():
    viewer = SceneViewer(some_space(), free_port("127.0.0.1", 7460))
    try:
        outside = ["/../../__init__.py", "/%2e%2e/%2e%2e/__init__.py", f"/{viser.__file__}"]  # of viser
        assert [asked(viewer.port, path) for path in ("/", *outside)] == [200, 403, 403, 403]
    finally:
        viewer.close()


def asked(port: int, path: str) -> int:
    """The status of the answer to a path that is sent as it is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    return connection.getresponse().status


def test_loopback_is_this_machine_alone():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "example.org")] == [False] * 4
