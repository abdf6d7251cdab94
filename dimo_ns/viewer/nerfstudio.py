"""The panel in nerfstudio's viewer: a tab "Motion" in ns-viewer and ns-train.

Imported by every ns-* command: the rest of the viewer is imported when one is opened."""

import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nerfstudio.viewer.viewer_elements import ViewerControl

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

    from dimo_ns.core.types import Gaussians
    from dimo_ns.training.model import DimoModel
    from dimo_ns.viewer.state import State

FASTEST = 1 / 30
"""Seconds between two pictures, at least."""
IDLE = 0.5
"""Seconds between two looks at whether somebody is there, and at what training has learned."""
LEARNING = "Until training has come to the decoder, only the motion and the time are shown; the rest has no effect yet."


class MotionTab(ViewerControl):
    """Made before nerfstudio's viewer is, and set up by nerfstudio once that is there."""

    def __init__(self, model: "DimoModel"):
        from dimo_ns.viewer.doors import guard_viewers

        guard_viewers()
        self.model = model
        self._is_set_up = False

    def _setup(self, viewer: "Viewer") -> None:
        super()._setup(viewer)
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO as SCALE

        from dimo_ns.space.motion_space import MotionSpace
        from dimo_ns.viewer.overlays import Overlays
        from dimo_ns.viewer.panel import Panel
        from dimo_ns.viewer.serve import look_from_outside
        from dimo_ns.viewer.state import State

        server = viewer.viser_server
        self.state = State(MotionSpace(self.model.scene, self.model.known, viewer.log_filename.parent))
        self.state.select(self.model.motion.value)
        self.overlays = Overlays(server.scene, SCALE)
        with motion_tab(server.gui):
            lock = viewer.train_lock or nullcontext()
            self.panel = Panel(server.gui, self.state, self.overlays, ("rgb", "skinning"), lock)
        self.panel.notice = lambda: "" if self._decodes else LEARNING
        self.panel.message.content = self.panel.notice()
        # Its depth takes half of the time of a picture, and hides key points and trails, which lie inside the object.
        viewer.control_panel._layer_depth.value = False
        self._theirs = TheirControls(self.model.motion, viewer.control_panel._time, self.state)
        server.on_client_connect(lambda client: look_from_outside(client, SCALE))
        self._is_set_up = True
        threading.Thread(target=self._run, daemon=True, name="dimo-motion-tab").start()

    @property
    def _decodes(self) -> bool:
        return self.model.mover.decodes

    def shown(self, time: float) -> "tuple[Any, Gaussians] | None":
        """The latent and the posed Gaussians that are to be seen at a time; None while the decoder poses nothing."""
        from dimo_ns.viewer.draw import posed

        if not self._is_set_up or not self._decodes:
            return None
        shown = replace(self.state.shown(), time=time)
        return shown.z, posed(self.state.space, shown)

    def _run(self) -> None:
        """Plays, and has nerfstudio render what has changed: a picture is asked for once the one before is begun."""
        state, viewer = self.state, self.viewer
        last = learned = time.monotonic()
        version = step = -1
        while True:
            with state.changed:
                state.changed.wait_for(
                    lambda seen=version: state.version != seen or state.playing, FASTEST if self.panel.behind else IDLE
                )
            machines, now = list(viewer.render_statemachines.values()), time.monotonic()
            if not machines:
                time.sleep(IDLE)
                last = time.monotonic()
                continue
            if state.playing and any(machine.next_action is not None for machine in machines):
                time.sleep(0.005)
                continue
            state.tick(min(now - last, 1.0))
            last = now
            if viewer.step != step and now - learned >= IDLE:
                step, learned = viewer.step, now
                state.learned()
            shown = state.shown()
            if shown.version != version:
                version = shown.version
                with suppress(KeyError):  # of a browser that has just left
                    if not self._theirs.tell():
                        viewer._trigger_rerender()
                self.overlays.update(state, shown)
            self.panel.follow()
            time.sleep(max(0.0, now + FASTEST - time.monotonic()))


class TheirControls:
    """nerfstudio's own controls of motion and time: what is chosen in them is chosen in the panel, and the other way.

    nerfstudio calls back for what they are told as for what a hand does, later and in another thread. `known_motion`
    and `known_time` are what both sides agreed on last: a control with another value was moved by a hand, whose call
    back is still to come, and a state with another value by the panel.
    """

    def __init__(self, motion: Any, slider: Any, state: "State"):
        """Stands between the controls and what nerfstudio does when they change."""
        self.motion, self.slider, self.state = motion, slider, state
        self.known_motion, self.known_time = motion.value, slider.value
        self._choose, self._rerender = motion.cb_hook, slider.cb_hook
        motion.cb_hook, slider.cb_hook = self._chosen, self._moved

    def tell(self) -> bool:
        """Shows in them what the panel changed: the motion, where it has a name that they know, and the time; whether
        this renders."""
        state = self.state
        with state.changed:
            if state.motion != self.known_motion and state.motion in state.space.names:
                self.known_motion = self.motion.value = state.motion
            if state.time == self.known_time:
                return False
            self.known_time = self.slider.value = state.time
            return True

    def _chosen(self, element: Any) -> None:
        self._choose(element)
        with self.state.changed:
            if element.value != self.known_motion:
                self.known_motion = element.value
                self.state.select(element.value)

    def _moved(self, element: Any) -> None:
        with self.state.changed:
            if element.value != self.known_time:
                self.known_time = element.value
                self.state.seek(element.value)
        self._rerender(element)


def motion_tab(gui: Any) -> Any:
    """A tab beside nerfstudio's, where viser says which group those are in; else one in a group of its own."""
    containers = getattr(gui, "_container_handle_from_uuid", None) or getattr(gui, "_container_handle_from_id", {})
    groups = (getattr(container, "_parent", None) for container in containers.values())
    group = next((group for group in groups if hasattr(group, "add_tab")), None)
    return (group or gui.add_tab_group()).add_tab("Motion")
