"""A page of a viewer in a browser: its controls, by their labels, and what it shows."""

import io
import re
import time

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route

from dimo_ns.viewer.panel import Panel

WIDTH, HEIGHT, PANEL = 900, 440, 400
"""The size of the page, and the part of its width that the panel may take."""
VISERS_OWN = ("ERR_NAME_NOT_RESOLVED", "ERR_INTERNET", "computeBoundingSphere", "GPU stall", "GroupMarkerNotSet")
"""What viser's page says of itself, without a network and without a GPU."""

NO_NOTICES = ".mantine-Notifications-root, .mantine-Notification-root { display: none }"
"""viser says over the scene that WebGL runs in software."""


def open_page(browser: Browser, address: str) -> Page:
    """A page that draws all pixels that it has; what goes wrong in it is noted in `errors`."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-US")
    page.set_default_timeout(15_000)
    page.errors = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)  # type: ignore[attr-defined]
    page.add_init_script(
        f"""addEventListener("DOMContentLoaded", () => {{
            document.head.appendChild(document.createElement("style")).textContent = "{NO_NOTICES}";
        }})"""
    )
    # On a slow machine viser draws fewer pixels; 1.x can be told not to, in 0.2.7 the line that does it is taken out.
    page.route(re.compile(r"/assets/index-[^/]*\.js$"), draw_all_pixels)
    page.goto(f"{address}?fixedDpr=1")
    return page


def draw_all_pixels(route: Route) -> None:
    """Answers with viser 0.2.7's script, without the factor by which it has fewer pixels drawn."""
    answer = route.fetch()
    text, count = re.subn(r"(window\.devicePixelRatio)\*\(\.2\+\.8\*\w+\)", r"\1", answer.text())
    assert count == 1
    route.fulfill(response=answer, body=text)


def until(condition, page: Page, seconds: float = 30.0) -> None:
    """Asks until it is so; the page goes on meanwhile."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(20)


def pixels(page: Page) -> np.ndarray:
    """The scene, left of the panel."""
    clip = {"x": 0, "y": 0, "width": WIDTH - PANEL, "height": HEIGHT}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)


def changed(a: np.ndarray, b: np.ndarray) -> float:
    """The share of the pixels that differ by more than the compression does."""
    return float((np.abs(a - b).max(-1) > 40).mean())


def control(page: Page, label: str, what: str = "input:not([type=hidden])") -> Locator:
    """What stands beside a label."""
    named = page.locator("label", has_text=re.compile(f"^{re.escape(label)}$")).filter(visible=True)
    return named.locator("xpath=../../..").locator(what).last


def choose(page: Page, label: str, option: str) -> None:
    control(page, label).click()
    page.get_by_role("option", name=option, exact=True).click()


def name_it(page: Page, panel: Panel, name: str) -> None:
    """Types the name for what is saved, and waits until the server has it: viser's page forgets the last value of a
    control when another one is touched within 50 ms."""
    control(page, "Name").fill(name)
    until(lambda: panel._handles["name"].value == name, page)


def drag(page: Page, label: str, share: float) -> None:
    """Moves a slider with the mouse."""
    slider = control(page, label, "[role=slider]")
    slider.scroll_into_view_if_needed()
    thumb, track = slider.bounding_box(), slider.locator("xpath=..").bounding_box()
    assert thumb
    assert track
    y = thumb["y"] + thumb["height"] / 2
    page.mouse.move(thumb["x"] + thumb["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + share * track["width"], y, steps=8)
    page.mouse.up()
