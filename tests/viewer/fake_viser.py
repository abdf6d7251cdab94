"""Stand-ins for viser: controls that remember, browsers that count what they are sent."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import viser


class Handle:
    """A control; `hand` is what a user does to it."""

    def __init__(self, label: str, value: Any = None, options: Any = ()):
        self.label, self.value, self.content = label, value, ""
        self.options: Any = tuple(options)
        self.callback = None
        self.tell = lambda value: None
        """What sets the value is told to browsers."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "value" and "tell" in vars(self):
            self.tell(value)

    def on_update(self, callback):
        self.callback = callback

    on_click = on_update

    def hand(self, value: Any = None) -> None:
        self.value = value
        self.callback(SimpleNamespace(client_id=0, target=self))


class Gui(viser.GuiApi):
    """Controls by their labels."""

    def __init__(self):
        self.controls: dict[str, Handle] = {}

    def __getitem__(self, label: str) -> Handle:
        return self.controls[label]

    def _add(self, label: str, value: Any = None, options: tuple[str, ...] = ()) -> Handle:
        assert label not in self.controls, label
        self.controls[label] = Handle(label, value, options)
        return self.controls[label]

    def add_markdown(self, content: str, **_: Any) -> Handle:
        return Handle("markdown", content)

    def add_dropdown(self, label, options, initial_value):
        assert initial_value in options
        return self._add(label, initial_value, options)

    def add_checkbox(self, label, initial_value):
        return self._add(label, initial_value)

    def add_slider(self, label, min, max, step, initial_value):
        assert min < max
        assert min <= initial_value <= max
        slider = self._add(label, initial_value)
        slider.min, slider.max = min, max
        return slider

    def add_button_group(self, label, options):
        return self._add(label, None, options)

    def add_button(self, label):
        return self._add(label)

    def add_text(self, label, initial_value):
        return self._add(label if label not in self.controls else f"{label} (text)", initial_value)

    @contextmanager
    def add_folder(self, _: str):
        yield


class Scene(viser.SceneApi):
    """Objects by their names."""

    def __init__(self):
        self.objects: dict[str, Any] = {}

    def _add(self, name: str, *args: Any, **options: Any) -> Any:
        handle = Handle(name)
        handle.args, handle.options = args, options
        handle.remove = lambda: self.objects.pop(name)
        self.objects[name] = handle
        return handle

    add_point_cloud = add_image = _add


class Camera(viser.CameraHandle):
    """One that looks from (0, -2, 0) along +y, z up."""

    update_timestamp: Any = None
    aspect: Any = None
    image_height: Any = None
    fov: Any = None
    wxyz: Any = None
    position: Any = None

    def __init__(self, aspect: float):
        self.update_timestamp, self.aspect, self.fov = 1.0, aspect, 0.7
        self.wxyz, self.position = np.array([np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0]), np.array([0.0, -2.0, 0.0])


class Client:
    """A browser that looks from (0, -2, 0)."""

    def __init__(self, client_id: int, aspect: float = 1.5):
        self.client_id, self.images, self.gone = client_id, [], False
        self.poses: list[tuple[np.ndarray, ...]] = []
        """What it was sent to draw itself."""
        self.awake = threading.Event()
        """While it is not, it answers nothing."""
        self.awake.set()
        self.camera = Camera(aspect)
        self.scene = SimpleNamespace(set_background_image=self._receive, add_gaussian_splats=self._add_splats)
        self.local_storage = SimpleNamespace(get_item=lambda key, timeout: self.awake.wait(timeout))

    def _receive(self, image: np.ndarray | None, **_: Any) -> None:
        if self.gone:
            raise RuntimeError("connection closed")
        self.images.append(image)

    def _add_splats(self, name: str, *arrays: np.ndarray, visible: bool) -> Any:
        self.poses.append(arrays)
        self.splats = SimpleNamespace(visible=visible, set_gaussians=lambda *arrays: self.poses.append(arrays))
        return self.splats


class Server(viser.ViserServer):
    def __init__(self, *clients: Client):
        self.clients = {client.client_id: client for client in clients}

    def get_clients(self):
        return dict(self.clients)
