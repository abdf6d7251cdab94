"""The panel: viser's controls bound to a State. The same in nerfstudio's viewer and in `dimo view`."""

import base64
import io
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import viser

from dimo_ns.apps.language import Projector, load_projector
from dimo_ns.apps.language.file import FILE as PROJECTOR
from dimo_ns.core.latent_axes import REACH
from dimo_ns.errors import DimoError
from dimo_ns.viewer.draw import latent_map
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.state import LAYERS, Layer, State

SELDOM = 0.1
"""Seconds at least between two pictures of the map, and between two moves of the slider of frames."""

UNNAMED = "–"
"""In place of a motion's name where the latent is that of none."""


class Panel:
    """Made within the container (a tab, a folder) where its controls are to be."""

    def __init__(
        self,
        gui: viser.GuiApi,
        state: State,
        overlays: Overlays,
        layers: Sequence[Layer] = LAYERS,
        lock: AbstractContextManager | None = None,
        browsers_draw: bool = False,
    ):
        """`layers`: the pictures to choose from. `lock`: held while a control acts. `browsers_draw`: whether they can
        draw the object."""
        self.state, self.overlays, self.lock = state, overlays, lock or nullcontext()
        self._handles: dict[str, Any] = {}
        self._mapped: tuple[tuple[float, float], bool] | None = None
        self._last = -1.0
        self._projector: Projector | None = None
        names = state.names
        self.notice: Callable[[], str] = lambda: ""
        """What stands at the top beside what a control says."""
        self.message = gui.add_markdown("")
        self._add("motion", gui.add_dropdown("Motion", [*names, UNNAMED], initial_value=names[0]), self._select)
        self._add("playing", gui.add_checkbox("Play", False), lambda h: state.play(h.value))
        self._add("loop", gui.add_checkbox("Loop", True), lambda h: setattr(state, "loop", h.value))
        end = max(state.space.frames - 1, 1)
        self._add("frame", gui.add_slider("Frame", 0.0, float(end), 0.1, 0.0), self._seek)
        self._button(gui.add_button_group("Step", ("back", "forward")), self._step)
        self._add("speed", gui.add_slider("Speed", 0.1, 4.0, 0.1, 1.0), lambda h: setattr(state, "speed", h.value))
        with gui.add_folder("Show"):
            look = state.look
            self._add(
                "layer",
                gui.add_dropdown("Picture", layers, initial_value=look.layer),
                lambda h: state.show(layer=h.value),
            )
            self._add("keypoints", gui.add_checkbox("Key points", False), lambda h: state.show(keypoints=h.value))
            self._add("trails", gui.add_checkbox("Trails", False), lambda h: state.show(trails=h.value))
            length = gui.add_slider("Trail (frames)", 1, max(2, state.space.frames), 1, look.trail_frames)
            self._add("trail", length, lambda h: state.show(trail_frames=h.value))
            self._add("canonical", gui.add_checkbox("Canonical", False), lambda h: state.show(canonical=h.value))
            if browsers_draw:
                drawn_by = gui.add_dropdown("Drawn by", ("browser", "server"), initial_value=look.drawn_by)
                self._add("drawn_by", drawn_by, lambda h: state.show(drawn_by=h.value))
        with gui.add_folder("Blend"):
            self._add("a", gui.add_dropdown("A", names, initial_value=state.blend[0]), self._mix)
            self._add("b", gui.add_dropdown("B", names, initial_value=state.blend[1]), self._mix)
            self._add("share", gui.add_slider("A to B", 0.0, 1.0, 0.01, 0.0), self._mix)
        with gui.add_folder("Map"):
            self.map = gui.add_markdown(" ", image_root=Path("."))
            for name in "xy":
                self._add(name, gui.add_slider(f"Map {name}", 0.0, 1.0, 0.005, 0.5), self._go)
            self._add("plate", gui.add_checkbox("In the scene", False), lambda h: state.show(plate=h.value))
        with gui.add_folder("Around it"):
            for i in range(len(state.sigmas)):
                slider = gui.add_slider(f"Axis {i + 1} (σ)", -REACH, REACH, 0.05, 0.0)
                self._add(f"axis {i}", slider, lambda h, i=i: state.shift(i, h.value))
            self._button(gui.add_button("Reset"), lambda h: state.reset())
            self._add("temperature", gui.add_slider("Temperature", 0.1, 3.0, 0.1, 1.0), lambda h: None)
            self._button(gui.add_button("Random"), lambda h: state.random(self._handles["temperature"].value))
        if state.space.source is not None and (state.space.source / PROJECTOR).is_file():
            with gui.add_folder("In words"):
                self._handles["words"] = gui.add_text("Motion", "")
                self._button(gui.add_button("Ask"), self._ask)
        with gui.add_folder("Save"):
            self._handles["name"] = gui.add_text("Name", "")
            self._button(gui.add_button("Save this motion"), self._save)
        self.follow()

    # --- from the state to the controls -----------------------------------------------------------------------------

    def follow(self) -> None:
        """Shows in the controls what the state is, after something else than they have changed it."""
        state, now = self.state, time.monotonic()
        with state.changed:
            values: dict[str, Any] = {
                "motion": state.motion or UNNAMED,
                "playing": state.playing,
                "share": state.blend[2],
                **{f"axis {i}": sigma for i, sigma in enumerate(state.sigmas)},
            }
            frame, place, plate = round(state.frame, 1), state.place, state.look.plate
        if now - self._last >= SELDOM:
            self._last = now
            values["frame"] = frame
            if (place, plate) != self._mapped:
                self._mapped = (place, plate)
                values |= {name: min(max(round(where, 3), 0.0), 1.0) for name, where in zip("xy", place, strict=True)}
                self._show_map(plate)
        for name, value in values.items():
            if self._handles[name].value != value:
                self._handles[name].value = value

    @property
    def behind(self) -> bool:
        """Whether there is something that `follow` has left for later."""
        mapped = self.state.place, self.state.look.plate
        return mapped != self._mapped or self._handles["frame"].value != round(self.state.frame, 1)

    def _show_map(self, plate: bool) -> None:
        picture, content = latent_map(self.state), io.BytesIO()
        picture.save(content, "PNG")
        encoded = base64.b64encode(content.getvalue()).decode()
        self.map.content = f"![Map of the latents](data:image/png;base64,{encoded})"
        if plate:
            self.overlays.show_plate(picture, self.state.go_to)
        else:
            self.overlays.hide_plate()

    # --- from the controls to the state -----------------------------------------------------------------------------

    def _add(self, name: str, handle: Any, changed: Callable[[Any], Any]) -> None:
        self._handles[name] = handle
        handle.on_update(self._careful(changed))

    def _button(self, handle: Any, pressed: Callable[[Any], Any]) -> None:
        handle.on_click(self._careful(pressed))

    def _careful(self, act: Callable[[Any], Any]) -> Callable[[Any], None]:
        """A hand's doing, not that of `follow`; what it says, or why it could not be done, is shown."""

        def acted(event: Any) -> None:
            if event.client_id is None:
                return
            try:
                with self.lock:
                    said = act(event.target)
            except DimoError as error:
                said = f"**{error}**"
            except Exception:
                traceback.print_exc()
                said = "**Something went wrong; the terminal says what.**"
            said = " ".join(filter(None, [said, self.notice()]))
            if said != self.message.content:
                self.message.content = said

        return acted

    def _select(self, handle: Any) -> None:
        if handle.value != UNNAMED:
            self.state.select(handle.value)

    def _seek(self, handle: Any) -> None:
        self.state.seek(handle.value / self.state.space.frames)

    def _step(self, handle: Any) -> None:
        self.state.step(-1 if handle.value == "back" else 1)

    def _mix(self, _: Any) -> None:
        self.state.mix(*(self._handles[name].value for name in ("a", "b", "share")))

    def _go(self, _: Any) -> None:
        self.state.go_to(self._handles["x"].value, self._handles["y"].value)

    def _ask(self, _: Any) -> str:
        if self._projector is None:
            self.message.content = "Loading the text encoder ..."
            self._projector = load_projector(self.state.space)
        return self.state.ask(self._projector, self._handles["words"].value)

    def _save(self, _: Any) -> str:
        out = self.state.save(self._handles["name"].value)
        for name in ("motion", "a", "b"):
            value = self._handles[name].value
            self._handles[name].options = (*self.state.names, *([UNNAMED] if name == "motion" else []))
            self._handles[name].value = value
        return f"Saved to `{out}`"
