"""Our own viewer's worker: one thread that plays, draws for every browser, and sleeps while there is nothing to do.

A browser that draws Gaussians itself is sent the posed object. For others, and for layers that no browser draws, a
picture is made when the one before is done, so that nothing queues up; it is small while something changes, as small as
keeps up with the hand, and sharp once that rests.
"""

import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import viser
from viser.transforms import SO3

from dimo_ns.core.cameras import Cameras, from_fov, orbit, viewmats_from_c2w
from dimo_ns.viewer import draw
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.panel import Panel
from dimo_ns.viewer.splats import SplatArrays, Splats, splats_of
from dimo_ns.viewer.state import Look, Shown, State

FASTEST = 1 / 30
"""Seconds between two pictures, at least."""
BUDGET = 1 / 40
"""Seconds that a picture may take while something changes."""
REST = 0.2
"""Seconds without change after which the picture is made sharp."""
SHARP, SHARPEST, COARSE = 720, 1080, 256
"""Pixels from top to bottom: of a sharp picture where viser does not say how high the browser's is, of the largest, and
of the smallest one."""

FARTHEST = 1e6
"""Numbers of a camera that are not smaller are no place to look from."""


@dataclass
class Watcher:
    """A browser, and what it has last been sent."""

    client: Any
    splats: Splats
    version: int = -1
    camera: float = -1.0
    sharp: bool = False


class Player(threading.Thread):
    """Serves a state to the browsers of a viser server until it is stopped."""

    def __init__(
        self, server: viser.ViserServer, state: State, panel: Panel, overlays: Overlays, browsers_draw: bool = False
    ):
        """`browsers_draw`: whether they can."""
        super().__init__(daemon=True, name="dimo-player")
        self.server, self.state, self.panel, self.overlays = server, state, panel, overlays
        self.browsers_draw = browsers_draw
        self.watchers: dict[int, Watcher] = {}
        self.pictures = 0
        """Pictures and poses that were sent so far."""
        self.seconds_per_pixel = 1e-7
        self._stopped = self._woken = False
        self._settled = -1
        """The version for which everything is done; -1 while there may be something to do."""
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection")  # of a browser that has just left

    def stop(self) -> None:
        """Ends the thread, and waits for its end."""
        self._stopped = True
        self.wake()
        self.join()

    def wake(self) -> None:
        """A browser came, went, has moved its camera, or has taken in a pose."""
        with self.state.changed:
            self._woken = True
            self.state.changed.notify_all()

    def settled(self, seconds: float) -> bool:
        """Waits until every browser has been sent, in full, what there is to see, and the controls say what is; False
        if that takes longer."""
        with self.state.changed:
            return self.state.changed.wait_for(lambda: self._settled == self.state.version and not self._woken, seconds)

    def run(self) -> None:
        """Plays, draws and sends until it is stopped."""
        self._warm_up()
        last = touched = time.monotonic()
        while not self._stopped:
            with self.state.changed:
                self._woken, version, playing = False, self.state.version, self.state.playing
                self._settled = -1
            clients = self.server.get_clients()
            self.watchers = {
                i: self.watchers.get(i) or Watcher(client, Splats(client, self.wake)) for i, client in clients.items()
            }
            ready = [watcher for watcher in self.watchers.values() if watcher.splats.ready]
            blurred = any(not watcher.sharp for watcher in ready)
            moving = bool(ready) and (playing or any(map(self._moved, ready)))
            now = time.monotonic()
            if moving or (blurred and now - touched >= REST):
                touched = now if moving else touched
                self.state.tick(min(now - last, 1.0))
                self._guard(self._send, ready, moving)
                time.sleep(max(0.0, now + FASTEST - time.monotonic()))
                last = now
            else:
                behind = bool(clients) and self.panel.behind
                if behind:
                    self._guard(self.panel.follow)
                with self.state.changed:
                    if not (self._woken or self._stopped or self.state.version != version):
                        if len(ready) == len(self.watchers) and not (blurred or behind):
                            self._settled = version
                            self.state.changed.notify_all()
                        self.state.changed.wait(REST / 4 if blurred or behind else None)
                if not (clients and playing):
                    last = time.monotonic()

    def _warm_up(self) -> None:
        """Draws once for nobody: kernels are compiled or loaded before somebody waits for them."""
        draw.draw(self.state.space, self.state.shown(), orbit(torch.tensor(0.0), 0.0, (COARSE, COARSE)))

    def _in_browser(self, look: Look) -> bool:
        """Whether browsers draw the object, so that their cameras do not matter here."""
        return self.browsers_draw and look.drawn_by == "browser" and look.layer in ("rgb", "skinning")

    def _moved(self, watcher: Watcher) -> bool:
        if watcher.version != self.state.version:
            return True
        return not self._in_browser(self.state.look) and watcher.camera != watcher.client.camera.update_timestamp

    def _send(self, ready: list[Watcher], moving: bool) -> None:
        """The object for every browser that has not the present one; the rest of what there is to see for all."""
        shown = self.state.shown()
        self.overlays.update(self.state, shown)
        behind = [watcher for watcher in ready if self._moved(watcher) or not watcher.sharp]
        if behind and self._in_browser(shown.look):
            arrays = splats_of(self.state.space, shown)
            for watcher in behind:
                self._send_splats(watcher, shown, arrays)
        else:
            for watcher in behind:
                self._send_picture(watcher, shown, moving)
        self.panel.follow()

    def _send_splats(self, watcher: Watcher, shown: Shown, arrays: SplatArrays) -> None:
        watcher.splats.show(arrays)
        self.pictures += 1
        watcher.version, watcher.sharp = shown.version, True

    def _send_picture(self, watcher: Watcher, shown: Shown, moving: bool) -> None:
        camera = watcher.client.camera
        stamp = camera.update_timestamp
        if not is_drawable(camera):
            watcher.version, watcher.camera, watcher.sharp = shown.version, stamp, True
            return
        aspect, sharp = min(max(float(camera.aspect), 0.2), 5.0), min(int(height_of(camera)), SHARPEST)
        high = min(sharp, int((BUDGET / self.seconds_per_pixel / aspect) ** 0.5)) if moving else sharp
        high = max(high, COARSE)
        size = high, max(round(high * aspect), 1)
        start = time.perf_counter()
        image = draw.draw(self.state.space, shown, seen_by(camera, size))
        spent = (time.perf_counter() - start) / (size[0] * size[1])
        self.seconds_per_pixel += 0.2 * (spent - self.seconds_per_pixel)
        watcher.client.scene.set_background_image(image, format="jpeg", jpeg_quality=75 if moving else 92)
        watcher.splats.hide()
        self.pictures += 1
        watcher.version, watcher.camera, watcher.sharp = shown.version, stamp, not moving or high >= sharp

    def _guard(self, work: Callable[..., None], *args: Any) -> None:
        """A browser may leave at any moment; nothing that goes wrong ends the others' playing."""
        try:
            work(*args)
        except Exception:
            if self.watchers.keys() <= self.server.get_clients().keys():
                traceback.print_exc()
                time.sleep(1.0)


def height_of(camera: viser.CameraHandle) -> float:
    """Of a browser's picture, in pixels."""
    return getattr(camera, "image_height", None) or SHARP


def is_drawable(camera: viser.CameraHandle) -> bool:
    """Whether there is a picture from it: whoever connects may say of their camera what they like."""
    try:
        wxyz, position, rest = (
            np.asarray(x, float) for x in (camera.wxyz, camera.position, [camera.fov, camera.aspect, height_of(camera)])
        )
    except (TypeError, ValueError):
        return False
    if (wxyz.shape, position.shape) != ((4,), (3,)) or not np.abs([*wxyz, *position, *rest]).max() < FARTHEST:
        return False
    return bool(np.linalg.norm(wxyz) > 1e-6 and (rest > 0).all() and rest[0] < np.pi)


def seen_by(camera: viser.CameraHandle, size: tuple[int, int]) -> Cameras:
    """A browser's camera, for a picture of (h, w)."""
    c2w = torch.eye(4)
    c2w[:3, :3] = torch.from_numpy(SO3(np.asarray(camera.wxyz)).as_matrix()).float()
    c2w[:3, 3] = torch.from_numpy(np.asarray(camera.position)).float()
    c2w[:3, 1:3] *= -1  # viser looks along +z as OpenCV does; ours are OpenGL's
    return Cameras(viewmats_from_c2w(c2w), from_fov(torch.rad2deg(torch.tensor(float(camera.fov))), size), size)
