"""The panel: viser's controls bound to a State. The same in nerfstudio's viewer and in `dimo view`."""

import base64
import io
import threading
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
from dimo_ns.viewer.markdown import as_markdown
from dimo_ns.viewer.overlays import Overlays
from dimo_ns.viewer.state import LAYERS, Layer, State

SELDOM = 0.1
"""Seconds at least between two pictures of the map, and between two moves of the slider of frames."""
REST = 0.3
"""Seconds after a hand's last move in which a control is told the value that its move has come to."""

UNNAMED = "–"
"""In place of a motion's name where the latent is that of none."""


class Panel:
    """Made within the container (a tab, a folder) where its controls are to be.

    A control and the state say the same once both are at rest. viser calls back from several threads, in any order: a
    move may wait for its turn while `follow` shows the state as it was before, and a browser loses the last value of a
    slider when another control is touched within 50 ms. So a control whose value has not been acted on is left alone, a
    button acts on the values that wait before it does its own, and after a move a control is told what it came to.
    """

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
        self._acts: dict[str, Callable[[Any], Any]] = {}
        """What the controls with values do, by their names."""
        self._agreed: dict[str, Any] = {}
        """The values that were acted on, or told, last; a control that has another one waits for its turn."""
        self._moved: dict[str, float] = {}
        """When a hand was on a control that has not been told since."""
        self._turn = threading.RLock()
        """Held while values become the state's or the controls'."""
        self._mapped: tuple[tuple[float, float], bool] | None = None
        self._last = -1.0
        self._projector: Projector | None = None
        names = state.names
        self.notice: Callable[[], str] = lambda: ""
        """Markdown that stands at the top beside what a control says."""
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
        now = time.monotonic()
        seldom = now - self._last >= SELDOM
        if seldom:
            self._last = now
        with self._turn:
            values, mapped = self._values(seldom), self._place_and_plate()
            self._offer()
            for name in self._acts:
                handle = self._handles[name]
                value = values.get(name, handle.value)
                rests = now - self._moved.get(name, now) >= REST
                if not self._waits(name) and (value != handle.value or rests):
                    self._moved.pop(name, None)
                    self._agreed[name] = handle.value = value
        if seldom and mapped != self._mapped:
            self._mapped = mapped
            self._show_map(mapped[1])

    def _values(self, seldom: bool) -> dict[str, Any]:
        """What the controls should say; of those that seldom move only if that is asked for."""
        state = self.state
        with state.changed:
            values: dict[str, Any] = {
                "motion": state.motion or UNNAMED,
                "playing": state.playing,
                "share": state.blend[2],
                **{f"axis {i}": sigma for i, sigma in enumerate(state.sigmas)},
            }
            if seldom:
                values["frame"] = round(state.frame, 1)
                if self._place_and_plate() != self._mapped:
                    values |= {name: min(max(round(v, 3), 0.0), 1.0) for name, v in zip("xy", state.place, strict=True)}
        return values

    def _offer(self) -> None:
        """All motions can be chosen, also those that were saved meanwhile."""
        names = tuple(self.state.names)
        for name, options in (("motion", (*names, UNNAMED)), ("a", names), ("b", names)):
            handle = self._handles[name]
            if handle.options != options:
                value = handle.value
                handle.options = options
                handle.value = value

    def _place_and_plate(self) -> tuple[tuple[float, float], bool]:
        return self.state.place, self.state.look.plate

    @property
    def behind(self) -> bool:
        """Whether there is something that `follow` has left for later."""
        moved = bool(self._moved) or self._handles["frame"].value != round(self.state.frame, 1)
        return moved or self._place_and_plate() != self._mapped

    def _waits(self, name: str) -> bool:
        """Whether a control has a value that nothing has acted on."""
        return self._handles[name].value != self._agreed[name]

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
        self._handles[name], self._acts[name], self._agreed[name] = handle, changed, handle.value
        handle.on_update(self._careful(lambda _: self._take(name)))

    def _button(self, handle: Any, pressed: Callable[[Any], Any]) -> None:
        def act(handle: Any) -> str:
            for name in self._acts:
                self._take(name)
            return pressed(handle) or ""

        handle.on_click(self._careful(act))

    def _take(self, name: str) -> str | None:
        """Does what a control says, which needs no words; None if that was done before."""
        with self._turn:
            if not self._waits(name):
                return None
            handle = self._handles[name]
            value = handle.value
            if not can_be(handle, value):
                handle.value = self._agreed[name]
                raise DimoError(f"{name} cannot be {value!r:.40}.")
            try:
                self._acts[name](handle)
            finally:
                self._agreed[name], self._moved[name] = value, time.monotonic()
            return ""

    def _careful(self, act: Callable[[Any], str | None]) -> Callable[[Any], None]:
        """A hand's doing, not that of `follow`; what it says, or why it could not be done, is shown. Where there was
        nothing to do, what was said before stays: a slider may call back after the button that was pressed later."""

        def acted(event: Any) -> None:
            if event.client_id is None:
                return
            try:
                with self.lock:
                    said = act(event.target)
                if said is None:
                    return
                said = as_markdown(said)
            except DimoError as error:
                said = f"**{as_markdown(str(error))}**"
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
        shown = self.state.shown()
        out = self.state.save(self._handles["name"].value, shown)
        self.follow()
        return f"Saved to {out}: {shown.words}"


def can_be(handle: Any, value: Any) -> bool:
    """Whether a control has such a value: whoever connects may say what they like."""
    options, low, high = (getattr(handle, name, None) for name in ("options", "min", "max"))
    return (not options or value in options) and (low is None or low <= value <= high)
