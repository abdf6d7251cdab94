"""The page for those who use no mouse, or open it where not everything is allowed: keys, names, sizes, plain words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.spaces import some_space

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Error, Page

from dimo_ns.export.html import save_html
from tests.export.browser import chromium, launched, open_page, pixels

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: install it, or 'playwright install chromium'")

SMALL = 24
"""Pixels that a target has at least (WCAG 2.2, 2.5.8)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_html(some_space(), tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def shared(browser: Browser, path: Path) -> Iterator[Page]:
    page = open_page(browser, path)
    yield page
    assert page.errors == []  # pyright: ignore


@pytest.fixture
def page(shared: Page) -> Page:
    """The page, paused in the first frame of the first motion, with nothing in focus."""
    shared.evaluate("document.activeElement.blur(); dimo.pause(); dimo.setMotion(0); dimo.setTime(0)")
    shared.locator("#home").click()
    shared.evaluate("document.activeElement.blur()")
    return shared


def served(browser: Browser, path: Path, policy: str) -> Page:
    """The page from a server with a policy of its own."""
    page = browser.new_page()
    page.route("**/*", lambda route: route.fulfill(path=path, headers={"Content-Security-Policy": policy}))
    page.goto("http://page.test/")
    return page


# --- where not everything is allowed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["default-src 'self'", "script-src 'none'", "sandbox"])
def test_where_scripts_are_forbidden_the_page_says_so(browser: Browser, path: Path, policy: str):
    page = served(browser, path, policy)
    message = page.locator("#message")
    assert message.is_visible()
    assert "forbidden where this page comes from: save the page and open it from disk" in " ".join(
        message.inner_text().split()
    )


def test_once_there_is_a_picture_nothing_is_said(page: Page):
    assert page.locator("#message").text_content() == ""
    assert not page.locator("#message").is_visible()


def test_where_workers_are_forbidden_the_page_says_so_and_can_be_read(browser: Browser, path: Path):
    """Dark on white, and not on what a canvas is before its first picture."""
    page = served(browser, path, "worker-src 'none'")
    with pytest.raises(Error, match="workers are forbidden"):
        page.evaluate("dimo.ready.then(() => null)")
    message = page.locator("#message")
    assert message.inner_text().startswith("The page cannot be shown: workers are forbidden, by this browser or where")
    assert message.evaluate("(e) => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#canvas").is_visible()


# --- without a mouse --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("there", "back"), ["da", "ws", "+-"])
def test_keys_turn_the_camera_and_zoom(page: Page, there: str, back: str):
    before = pixels(page)
    page.keyboard.press(there)
    assert not np.array_equal(pixels(page), before)
    page.keyboard.press(back)
    page.keyboard.press("0")
    assert np.array_equal(pixels(page), before)


def test_d_goes_around_the_object_counter_clockwise_and_w_up(page: Page):
    """As dragging to the left and down does: what was to the right of the middle comes to the front."""
    shots = []
    for key in "dw":
        page.keyboard.press(key)
        shots.append(pixels(page))
        page.keyboard.press("0")
        box = page.locator("#canvas").bounding_box()
        assert box
        distance = 10 * min(box["width"], box["height"]) / 220
        page.mouse.move(400, 300)
        page.mouse.down()
        page.mouse.move(*((400 - distance, 300) if key == "d" else (400, 300 + distance)))
        page.mouse.up()
        assert np.abs(pixels(page).astype(int) - shots[-1]).mean() < 0.2  # pixels of the mouse are whole
        page.keyboard.press("0")


def test_tab_goes_to_the_chosen_button_of_a_group_and_arrows_to_the_others(page: Page):
    for group, names in (("#motions", ["walk", "run", "sit", "wave"]), ("#backgrounds", ["White", "Grey", "Black"])):
        buttons = page.locator(f"{group} [role=radio]")
        assert buttons.evaluate_all("(all) => all.map((e) => e.tabIndex)") == [0, *[-1] * (len(names) - 1)]
        buttons.first.focus()
        page.keyboard.press("Shift+Tab")  # so that the focus is one of the keyboard
        page.keyboard.press("Tab")
        for key, expected in (("ArrowRight", 1), ("ArrowDown", 2), ("ArrowLeft", 1), ("ArrowUp", 0), ("ArrowUp", -1)):
            page.keyboard.press(key)
            page.evaluate("dimo.arrive()")
            focused = page.evaluate("[document.activeElement.textContent || document.activeElement.title]")
            assert focused == [names[expected]]
            assert page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
        buttons.first.click()


def test_arrows_wander_on_the_map(page: Page):
    """Each by a twentieth of it."""

    def place() -> np.ndarray:
        page.evaluate("dimo.arrive()")
        ring, box = (page.locator(name).bounding_box() for name in ("#map .here", "#map"))
        assert ring
        assert box
        x, y = ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2
        return np.array([(x - box["x"]) / box["width"], 1 - (y - box["y"]) / box["height"]])

    page.evaluate("dimo.setPlace(0.5, 0.5)")
    page.locator("#map").focus()
    for key, expected in (("ArrowRight", (0.55, 0.5)), ("ArrowUp", (0.55, 0.55)), ("ArrowLeft", (0.5, 0.55))):
        page.keyboard.press(key)
        np.testing.assert_allclose(place(), expected, atol=0.01)


def test_everything_that_is_used_has_a_name_of_its_own(page: Page):
    """By which a screen reader calls it, as the browser works it out."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "radio", "radiogroup", "slider", "combobox", "checkbox", "application"}
    found = [(n["role"]["value"], n["name"]["value"]) for n in nodes if n.get("role", {}).get("value") in used]
    assert {role for role, _ in found} == used
    assert all(name for _, name in found)
    assert len(set(found)) == len(found)
    assert [name for role, name in found if role == "application"] == [
        page.locator(place).get_attribute("aria-label") for place in ("#canvas", "#map")
    ]
    assert (
        torch.tensor([page.locator(place).evaluate("(e) => e.tabIndex") for place in ("#canvas", "#map")]).eq(0).all()
    )


@pytest.mark.parametrize(("width", "height"), [(320, 568), (667, 375), (1280, 800)])
def test_targets_are_large_enough(browser: Browser, path: Path, width: int, height: int):
    page = open_page(browser, path, width, height)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, #map, #canvas")]
            .filter((e) => e.checkVisibility())
            .map((e) => [e.id || e.textContent, e.getBoundingClientRect().width, e.getBoundingClientRect().height])"""
    )
    assert len(sizes) > 20
    assert [size for size in sizes if min(size[1:]) < SMALL] == []


@pytest.mark.parametrize(("width", "height", "beside"), [(667, 375, True), (568, 320, True), (390, 844, False)])
def test_the_panel_is_beside_the_object_where_it_is_low(
    browser: Browser, path: Path, width: int, height: int, beside: bool
):
    page = open_page(browser, path, width, height)
    stage, panel = (page.locator(name).bounding_box() for name in ("#stage", "#panel"))
    assert stage
    assert panel
    assert (panel["x"] >= stage["x"] + stage["width"]) == beside
    assert (panel["height"] == height) == beside
    assert stage["width"] * stage["height"] > 0.4 * width * height
