"""A viewer of a scene's own: viser, the panel, and the object. No dataset, no run."""

import contextlib
import io
import ipaddress
import socket
import threading

import viser

from dimo_ns.errors import DimoError
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.viewer import draw
from dimo_ns.viewer.doors import guard_viewers
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.panel import Panel
from dimo_ns.viewer.player import Player
from dimo_ns.viewer.splats import browsers_draw
from dimo_ns.viewer.state import State

PORTS = 100
"""So many are tried."""


class SceneViewer:
    """Serves until it is closed."""

    def __init__(self, space: MotionSpace, port: int, host: str = "127.0.0.1"):
        """Takes the first free port from `port` on. Raises DimoError if there is none, or no such host."""
        self.state = State(space)
        self.host, self.port = host, free_port(host, port)
        guard_viewers()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a table of addresses
            self.server = viser.ViserServer(host=host, port=self.port, label="dimo", verbose=False)
        self.port = self.server.get_port()
        self.server.gui.configure_theme(control_width="large", brand_color=(51, 98, 141), show_logo=False)
        self.server.scene.set_up_direction("+z")
        splats = browsers_draw(self.server.scene)
        with self.server.gui.add_tab_group().add_tab("Motion"):
            overlays = Overlays(self.server.scene)
            self.panel = Panel(self.server.gui, self.state, overlays, browsers_draw=splats)
        self.player = Player(self.server, self.state, self.panel, overlays, splats)
        self.server.on_client_connect(self._greet)
        self.server.on_client_disconnect(lambda _: self.player.wake())
        self.player.start()

    @property
    def address(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}"

    def wait(self) -> None:
        """Until Ctrl-C."""
        threading.Event().wait()

    def close(self) -> None:
        self.player.stop()
        self.server.stop()

    def _greet(self, client: viser.ClientHandle) -> None:
        look_from_outside(client)
        client.camera.on_update(lambda _: self.player.wake())
        self.player.wake()


def look_from_outside(client: viser.ClientHandle, scale: float = 1.0) -> None:
    """Puts a browser's camera where it sees the object whole, z up."""
    with client.atomic():
        client.camera.up_direction = (0.0, 0.0, 1.0)
        client.camera.position = draw.first_camera() * scale
        client.camera.look_at = (0.0, 0.0, 0.0)
        client.camera.fov = draw.FOV


def free_port(host: str, port: int) -> int:
    """The first port from this one on that nothing listens on. Raises DimoError."""
    if not 0 < port < 65536:
        raise DimoError(f"The port is {port}; expected a number from 1 to 65535.")
    for candidate in range(port, min(port + PORTS, 65536)):
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, candidate))
            return candidate
        except socket.gaierror as error:
            raise DimoError(
                f"There is no host '{host}' to listen on; leave --host out for this machine alone."
            ) from error
        except OSError as error:
            failed = error
    raise DimoError(f"None of the ports from {port} on can be opened on {host} ({failed.strerror}); choose others.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
