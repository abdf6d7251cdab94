"""`ns-viewer` on a run, in a browser: the tab Motion poses what nerfstudio renders."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brief_runs import train, write_animal

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Page

from dimo_ns.runs import open_space
from dimo_ns.space.latent_files import read_latents
from dimo_ns.viewer.serve import free_port
from tests.export.browser import chromium, launched
from tests.viewer.pages import VISERS_OWN, changed, choose, control, drag, open_page, pixels, until

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: install it, or 'playwright install chromium'")

STILL = 0.003
"""The share of pixels that may differ between pictures of the same: nerfstudio sends them at several resolutions."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ns_viewer")
    return train(write_animal(folder / "animal"), folder / "runs")


@pytest.fixture(scope="module")
def page(run: Path) -> Iterator[Page]:
    """The tab Motion; in the end, what the command has said holds no exception."""
    port, log = free_port("127.0.0.1", 7500), run / "ns-viewer.log"
    command = [Path(sys.executable).with_name("ns-viewer"), "--load-config", run / "config.yml"]
    command += ["--viewer.websocket-port", str(port), "--viewer.websocket-host", "127.0.0.1"]
    with log.open("w") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        end = time.monotonic() + 120
        while not answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        with launched() as browser:
            page = open_page(browser, f"http://127.0.0.1:{port}")
            page.get_by_role("tab", name="Motion").click()
            control(page, "A to B").wait_for()
            yield page
            assert [e for e in page.errors if not any(own in e for own in VISERS_OWN)] == []  # type: ignore[attr-defined]
    finally:
        server.terminate()
        server.wait()
    assert "Traceback" not in log.read_text()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as page:
            return page.status == 200
    except urllib.error.URLError:
        return False


def settled(page: Page):
    """The scene once it no longer changes: nerfstudio sharpens it in steps."""
    before, same = pixels(page), 0
    for _ in range(200):
        page.wait_for_timeout(150)
        after = pixels(page)
        same = same + 1 if changed(before, after) < STILL else 0
        before = after
        if same == 4:
            return after
    raise AssertionError("the page does not come to rest")


def test_the_panel_changes_the_picture_and_rest_is_rest(page: Page):
    until(lambda: (pixels(page)[80:120, :40] > 245).all(), page, 60)  # below the bar with nerfstudio's name
    plain = settled(page)
    choose(page, "Picture", "skinning")
    until(lambda: changed(plain, pixels(page)) > 0.01, page)
    coloured = settled(page)
    page.wait_for_timeout(500)
    assert changed(coloured, pixels(page)) < STILL
    choose(page, "Picture", "rgb")
    until(lambda: changed(plain, pixels(page)) < STILL, page)


def test_motions_are_chosen_and_played(page: Page):
    choose(page, "Motion", "jump")
    drag(page, "Frame", 0.0)
    first = settled(page)
    drag(page, "Frame", 0.5)
    until(lambda: changed(first, pixels(page)) > STILL, page)
    settled(page)
    frame = control(page, "Frame")
    before = frame.input_value()
    control(page, "Play").click()
    until(lambda: frame.input_value() != before, page)
    control(page, "Play").click()
    settled(page)


def test_a_blend_is_saved_beside_the_run(page: Page, run: Path):
    choose(page, "A", "walk")
    choose(page, "B", "jump")
    drag(page, "A to B", 0.5)
    until(lambda: 0.3 < float(control(page, "A to B").input_value()) < 0.7, page)
    settled(page)  # the slider's last move has been shown
    share = float(control(page, "A to B").input_value())
    control(page, "Name").fill("mine")
    page.get_by_role("button", name="Save this motion").click()
    page.get_by_text("Saved to").wait_for()
    space = open_space(run)
    z = read_latents(run / "saved" / "mine", space)["mine"]
    a, b = space.latents("walk", "jump")
    assert float((z - a.lerp(b, share)).abs().max()) < 1e-4
    choose(page, "Motion", "mine")
    page.screenshot(path=run / "ns_viewer.png")


def test_a_camera_path_is_made_of_key_frames(page: Page):
    page.get_by_role("tab", name="Render").click()
    for x in (200, 300):
        page.get_by_role("button", name="Add Keyframe").click()
        control(page, "Preview frame").wait_for() if x == 300 else page.wait_for_timeout(300)
        page.mouse.move(x, 300)
        page.mouse.down()
        page.mouse.move(x + 60, 320, steps=5)
        page.mouse.up()
        settled(page)
    page.get_by_role("button", name="Preview Render").click()
    plain = settled(page)
    drag(page, "Preview frame", 0.5)
    until(lambda: changed(plain, pixels(page)) > STILL, page)
    page.get_by_role("button", name="Exit Render Preview").click()
