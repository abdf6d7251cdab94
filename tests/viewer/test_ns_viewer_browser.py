"""`ns-viewer` on a run, in a browser: the tab Motion poses what nerfstudio renders."""

import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts.viewer import run_viewer
from nerfstudio.viewer.render_panel import CameraPath
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer.viewer import Viewer
from PIL import Image

from tests.brief_runs import train, write_animal

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Page

from dimo_ns.runs import open_space
from dimo_ns.space.latent_files import read_latents
from dimo_ns.viewer.panel import Panel
from dimo_ns.viewer.serve import free_port
from dimo_ns.viewer.state import State
from tests.export.browser import chromium, launched
from tests.viewer.pages import (
    HEIGHT,
    PANEL,
    VISERS_OWN,
    WIDTH,
    changed,
    choose,
    control,
    drag,
    name_it,
    open_page,
    pixels,
    until,
)  # fmt: skip

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: install it, or 'playwright install chromium'")

STILL = 0.003
"""The share of pixels that may differ between pictures of the same: they are scaled, and compressed."""
ROWS = slice(60, 380)
"""Between nerfstudio's name at the top and viser's axes at the bottom."""


@dataclass(frozen=True)
class Picture:
    """What nerfstudio has drawn for a browser."""

    version: int
    """The state's when it was begun."""
    time: float
    full: bool
    """Whether it is as large as nerfstudio draws them."""
    image: np.ndarray


@dataclass
class Served:
    """The command, in a thread of this process so that it can be asked."""

    viewer: Any
    """nerfstudio's."""
    wrong: list[str]
    """What went wrong in its threads."""

    @property
    def panel(self) -> Panel:
        model: Any = self.viewer.pipeline.model
        return model.panel.panel

    @property
    def state(self) -> State:
        return self.panel.state

    @property
    def picture(self) -> Picture | None:
        """The last one that a browser was sent."""
        machines = list(self.viewer.render_statemachines.values())
        return getattr(machines[0], "sent", None) if machines else None

    def sends_another(self, than: Picture | None) -> bool:
        """Whether a browser was sent a later picture than this one, in full."""
        picture = self.picture
        return picture is not None and picture is not than and picture.full


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ns_viewer")
    return train(write_animal(folder / "animal"), folder / "runs")


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[Served]:
    """`ns-viewer`; in the end, nothing has gone wrong in it."""
    served, there, over = Served(None, []), threading.Event(), threading.Event()
    render, send = RenderStateMachine._render_img, RenderStateMachine._send_output_to_viewer

    def opened(*args: Any, **options: Any) -> Viewer:
        served.viewer = Viewer(*args, **options)
        there.set()
        return served.viewer

    def rendered(machine: Any, camera: Any) -> Any:
        machine.begun = served.state.version, served.viewer.control_panel.time
        return render(machine, camera)

    def sent(machine: Any, outputs: dict[str, torch.Tensor], **options: Any) -> None:
        send(machine, outputs, **options)
        image = outputs[served.viewer.control_panel.output_render].cpu().numpy()
        version, time = machine.begun
        machine.sent = Picture(version, time, machine.state == "high", image)

    def command() -> None:
        try:
            with suppress(SystemExit):
                run_viewer.entrypoint()
        finally:
            there.set()

    def slept(_: float) -> None:
        over.wait()
        raise SystemExit

    port = free_port("127.0.0.1", 7500)
    arguments = ["ns-viewer", "--load-config", str(run / "config.yml")]
    arguments += ["--viewer.websocket-port", str(port), "--viewer.websocket-host", "127.0.0.1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_viewer, "ViewerState", opened)
        patch.setattr(run_viewer, "time", SimpleNamespace(sleep=slept))  # what it does once all is set up
        patch.setattr(RenderStateMachine, "_render_img", rendered)
        patch.setattr(RenderStateMachine, "_send_output_to_viewer", sent)
        patch.setattr(threading, "excepthook", lambda said: served.wrong.append(in_full(said.exc_value)))
        patch.setattr(traceback, "print_exc", lambda *_, **__: served.wrong.append(traceback.format_exc()))
        patch.setattr(traceback, "print_exception", lambda *said, **_: served.wrong.append(repr(said)))
        patch.setattr(sys, "argv", arguments)
        thread = threading.Thread(target=command, daemon=True)
        thread.start()
        there.wait()
        assert served.wrong == []
        yield served
        over.set()
        thread.join()
        served.viewer.viser_server.stop()
    assert served.wrong == []


@pytest.fixture(scope="module")
def page(served: Served) -> Iterator[Page]:
    """The tab Motion."""
    with launched() as browser:
        page = open_page(browser, f"http://127.0.0.1:{served.viewer.viser_server.get_port()}")
        page.get_by_role("tab", name="Motion").click()
        control(page, "A to B").wait_for()
        yield page
        assert [e for e in page.errors if not any(own in e for own in VISERS_OWN)] == []  # type: ignore[attr-defined]


def in_full(error: BaseException | None) -> str:
    return "".join(traceback.TracebackException.from_exception(error).format()) if error else "no error"


def settled(page: Page, served: Served) -> np.ndarray:
    """The scene, once nerfstudio has sent the present state in full, and the page shows what was sent."""
    seen = pixels(page)

    def agrees() -> bool:
        nonlocal seen
        picture, state = served.picture, served.state
        if picture is None or not picture.full or (picture.version, picture.time) != (state.version, state.time):
            return False
        seen = pixels(page)
        box = page.locator("canvas").first.bounding_box()
        assert box
        left, top, width, height = (round(box[key]) for key in ("x", "y", "width", "height"))
        image = Image.fromarray((picture.image * 255).astype(np.uint8)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        whole = Image.new("RGB", (WIDTH, HEIGHT))
        whole.paste(image, (left, top))
        return changed(seen[ROWS], np.asarray(whole)[ROWS, : WIDTH - PANEL].astype(int)) < STILL

    until(agrees, page, 60)
    return seen[ROWS]


def test_the_panel_changes_the_picture_and_rest_is_rest(page: Page, served: Served, monkeypatch: pytest.MonkeyPatch):
    plain = settled(page, served)
    assert (plain[:40, :40] > 245).all()
    choose(page, "Picture", "skinning")
    until(lambda: served.state.look.layer == "skinning", page)
    assert changed(plain, settled(page, served)) > 0.01
    picture, looks, follow = served.picture, [], served.panel.follow
    monkeypatch.setattr(served.panel, "follow", lambda: (follow(), looks.append(1)))
    until(lambda: len(looks) == 3, page)  # so often has the tab looked for something to do
    assert served.picture is picture
    choose(page, "Picture", "rgb")
    until(lambda: served.state.look.layer == "rgb", page)
    assert changed(plain, settled(page, served)) < STILL


def test_motions_are_chosen_and_played(page: Page, served: Served):
    state, frame = served.state, control(page, "Frame")
    choose(page, "Motion", "jump")
    until(lambda: state.motion == "jump", page)
    first = settled(page, served)
    drag(page, "Frame", 0.5)
    until(lambda: round(state.frame, 1) == float(frame.input_value()) > 0, page)
    assert changed(first, settled(page, served)) > STILL
    before = frame.input_value()
    control(page, "Play").click()
    until(lambda: frame.input_value() != before, page)
    control(page, "Play").click()
    until(lambda: not state.playing, page)
    settled(page, served)


def saved(page: Page, run: Path, name: str) -> tuple[float, np.ndarray]:
    """What the panel says was saved, as a share of the way from walk to jump, and how far along that way it is."""
    said = page.get_by_text(re.compile(f"Saved to .*{name}: "))
    said.wait_for()
    found = re.search(r": (\d+)% walk, (\d+)% jump$", said.inner_text())
    assert found
    assert int(found[1]) + int(found[2]) == 100
    space = open_space(run)
    z = read_latents(run / "saved" / name, space)[name]
    a, b = space.latents("walk", "jump")
    return int(found[2]) / 100, ((z - a) / (b - a)).numpy()


def test_a_blend_is_saved_beside_the_run(page: Page, served: Served, run: Path):
    choose(page, "A", "walk")
    choose(page, "B", "jump")
    drag(page, "A to B", 0.5)
    slider = control(page, "A to B")
    until(lambda: served.state.blend == ("walk", "jump", float(slider.input_value())), page)
    share = float(slider.input_value())
    assert 0.3 < share < 0.7
    name_it(page, served.panel, "mine")
    page.get_by_role("button", name="Save this motion").click()
    said, along = saved(page, run, "mine")
    assert said == share
    np.testing.assert_allclose(along, share, atol=1e-3)
    until(lambda: control(page, "Motion").input_value() == "mine", page)
    page.screenshot(path=run / "ns_viewer.png")


def test_a_blend_that_is_saved_at_once_is_what_is_said_and_shown(page: Page, served: Served, run: Path):
    """The button is pressed as soon as the slider is let go, which may be before the server has heard of its last move,
    or while a picture is drawn."""
    choose(page, "A", "walk")
    choose(page, "B", "jump")
    for i, share in enumerate((0.3, 0.8, 0.4)):
        name_it(page, served.panel, f"quick {i}")
        button = page.get_by_role("button", name="Save this motion")
        drag(page, "A to B", share)
        button.evaluate("(button) => button.click()")
        said, along = saved(page, run, f"quick {i}")
        np.testing.assert_allclose(along, said, atol=1e-3)
        settled(page, served)
        slider = control(page, "A to B")
        until(lambda slider=slider: float(slider.input_value()) == served.state.blend[2], page)


def test_a_camera_path_is_made_of_key_frames(page: Page, served: Served, monkeypatch: pytest.MonkeyPatch):
    added, add = [], CameraPath.add_camera
    monkeypatch.setattr(CameraPath, "add_camera", lambda *args, **options: (add(*args, **options), added.append(1)))
    page.get_by_role("tab", name="Render").click()
    for i, x in enumerate((200, 300)):
        page.get_by_role("button", name="Add Keyframe").click()
        until(lambda i=i: len(added) == i + 1, page)
        before = served.picture
        page.mouse.move(x, 300)
        page.mouse.down()
        page.mouse.move(x + 60, 320, steps=5)
        page.mouse.up()
        until(lambda before=before: served.sends_another(before), page)
    control(page, "Preview frame").wait_for()
    before = served.picture
    page.get_by_role("button", name="Preview Render").click()
    until(lambda: served.sends_another(before), page)
    plain = pixels(page)
    control(page, "Preview frame", "[role=slider]").press("End")  # one move: nerfstudio trips over two at once
    until(lambda: changed(plain, pixels(page)) > STILL, page)
    page.get_by_role("button", name="Exit Render Preview").click()
