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

FASTEST = 1 / 30
"""Seconds between two pictures, at least."""
IDLE = 0.5
"""Seconds between two looks at whether somebody is there."""
LEARNING = "Until training has come to the decoder, only the motion and the time are shown; the rest has no effect yet."


class MotionTab(ViewerControl):
    """Set up by nerfstudio once its viewer is there."""

    def __init__(self, model: "DimoModel"):
        self.model = model
        self._is_set_up = False

    def _setup(self, viewer: "Viewer") -> None:
        super()._setup(viewer)
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO as SCALE

        from dimo_ns.space.info import SceneInfo
        from dimo_ns.space.motion_space import MotionSpace
        from dimo_ns.viewer.overlays import Overlays
        from dimo_ns.viewer.panel import Panel
        from dimo_ns.viewer.serve import look_from_outside
        from dimo_ns.viewer.state import State

        metadata, server = self.model.kwargs["metadata"], viewer.viser_server
        dataset = metadata["dataset"]
        info = SceneInfo(
            tuple(metadata["motions"]),
            dataset.frames,
            dataset.fps,
            object=dataset.object,
            dataset_hash=dataset.hash,
        )
        self.state = State(MotionSpace(self.model.scene, info, viewer.log_filename.parent))
        self.state.select(self.model.motion.value)
        self.overlays = Overlays(server.scene, SCALE)
        with motion_tab(server.gui):
            lock = viewer.train_lock or nullcontext()
            self.panel = Panel(server.gui, self.state, self.overlays, ("rgb", "skinning"), lock)
        self.panel.notice = lambda: "" if self._decodes else LEARNING
        self.panel.message.content = self.panel.notice()
        # Its depth takes half of the time of a picture, and hides key points and trails, which lie inside the object.
        viewer.control_panel._layer_depth.value = False
        self._follow_nerfstudio()
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

    def _follow_nerfstudio(self) -> None:
        """What is chosen in nerfstudio's own controls is chosen in the panel too."""
        motion, slider, state = self.model.motion, self.viewer.control_panel._time, self.state
        rerender, choose = slider.cb_hook, motion.cb_hook

        def chosen(element: Any) -> None:
            choose(element)
            if element.value != state.motion and element.value != self._sent_motion:
                state.select(element.value)

        def moved(element: Any) -> None:
            if element.value != self._sent_time:
                state.seek(element.value)
            rerender(element)

        self._sent_time, self._sent_motion = slider.value, motion.value
        motion.cb_hook, slider.cb_hook = chosen, moved

    def _run(self) -> None:
        """Plays, and has nerfstudio render what has changed: a picture is asked for once the one before is begun."""
        state, viewer = self.state, self.viewer
        last, version, step = time.monotonic(), -1, -1
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
            if viewer.step != step:
                step = viewer.step
                state.learned()
            shown = state.shown()
            if shown.version != version:
                version = shown.version
                with suppress(KeyError):  # of a browser that has just left
                    self._tell_nerfstudio(shown.time)
                self.overlays.update(state, shown)
            self.panel.follow()
            time.sleep(max(0.0, now + FASTEST - time.monotonic()))

    def _tell_nerfstudio(self, time: float) -> None:
        motion = self.model.motion
        if self.state.motion in self.state.space.names and motion.value != self.state.motion:
            self._sent_motion = motion.value = self.state.motion
        if self.viewer.control_panel.time != time:
            self._sent_time = time
            self.viewer.control_panel.time = time  # which renders
        else:
            self.viewer._trigger_rerender()


def motion_tab(gui: Any) -> Any:
    """A tab beside nerfstudio's, where viser says which group those are in; else one in a group of its own."""
    containers = getattr(gui, "_container_handle_from_uuid", None) or getattr(gui, "_container_handle_from_id", {})
    groups = (getattr(container, "_parent", None) for container in containers.values())
    group = next((group for group in groups if hasattr(group, "add_tab")), None)
    return (group or gui.add_tab_group()).add_tab("Motion")
