"""The viewer in a browser: what a user's hand does changes what the page shows, and nothing else does."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.spaces import NAMES, some_space

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Page

from dimo_ns.viewer import draw
from dimo_ns.viewer.markdown import JOINER, as_markdown
from dimo_ns.viewer.player import seen_by
from dimo_ns.viewer.serve import SceneViewer, look_from_outside
from tests.export.browser import chromium, launched, psnr
from tests.hostile_texts import TEXTS
from tests.viewer import pages
from tests.viewer.pages import HEIGHT, PANEL, VISERS_OWN, WIDTH, changed, choose, control, drag, name_it, pixels, until

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: install it, or 'playwright install chromium'")

NO_SPLATS = "this viser's browsers do not draw Gaussians that change"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SceneViewer]:
    space = some_space()
    with torch.no_grad():
        space.scene.decoder.basis.mul_(5)  # motions that nobody could mistake for each other
    space.source = tmp_path_factory.mktemp("scene")
    viewer = SceneViewer(space, 7300)
    yield viewer
    viewer.close()


@pytest.fixture(scope="module")
def opened(browser: Browser, viewer: SceneViewer) -> Page:
    return open_page(browser, viewer)


@pytest.fixture
def page(opened: Page, viewer: SceneViewer) -> Page:
    """At the beginning of the first motion."""
    viewer.state.play(False)
    viewer.state.show(keypoints=False, trails=False, canonical=False, plate=False, layer="rgb", drawn_by="browser")
    viewer.state.select(NAMES[0])
    viewer.state.seek(0.0)
    shown(opened, viewer)
    return opened


def open_page(browser: Browser, viewer: SceneViewer) -> Page:
    page = pages.open_page(browser, viewer.address)
    control(page, "Motion").wait_for()
    return page


def shown(page: Page, viewer: SceneViewer) -> np.ndarray:
    """The scene once it is what our renderer draws from the browser's own camera, key points and trails left out: the
    same place, the same way up, the same colours, on white."""
    seen = pixels(page)

    def agrees() -> bool:
        nonlocal seen
        assert viewer.player.settled(30)
        clients = list(viewer.server.get_clients().values())
        if len(clients) != 1:
            return False
        seen, size = pixels(page), (HEIGHT, WIDTH)
        expected = draw.draw(viewer.state.space, viewer.state.shown(), seen_by(clients[0].camera, size))
        return psnr(seen, expected[:, : WIDTH - PANEL]) > 40

    until(agrees, page)
    return seen


def at_rest(page: Page, viewer: SceneViewer) -> bool:
    """Whether, when the player is woken for nothing, it sends nothing, and the page stays as it is."""
    before, sent = shown(page, viewer), viewer.player.pictures
    viewer.player.wake()
    assert viewer.player.settled(30)
    return viewer.player.pictures == sent and changed(before, pixels(page)) < 0.002


def test_the_object_stands_in_the_middle_of_a_white_page(page: Page, viewer: SceneViewer):
    scene = shown(page, viewer)
    assert (scene[:40, :40] > 245).all()
    middle = scene[HEIGHT // 2 - 40 : HEIGHT // 2 + 40, WIDTH // 2 - 40 : WIDTH // 2 + 40]
    assert (middle.min(-1) < 200).mean() > 0.5
    page.screenshot(path=viewer.state.space.source / "page.png")


@pytest.mark.parametrize("look", [{}, {"layer": "skinning"}, {"canonical": True}, {"layer": "depth"}])
@pytest.mark.parametrize("drawn_by", ["browser", "server"])
def test_the_page_shows_what_our_renderer_draws(page: Page, viewer: SceneViewer, look: dict, drawn_by: str):
    if drawn_by == "browser" and not viewer.player.browsers_draw:
        pytest.skip(NO_SPLATS)
    viewer.state.seek(0.5)
    viewer.state.show(drawn_by=drawn_by, **look)
    shown(page, viewer)


def test_the_camera_orbits_in_the_browser_alone(page: Page, viewer: SceneViewer):
    if not viewer.player.browsers_draw:
        pytest.skip(NO_SPLATS)
    before, sent = pixels(page), viewer.player.pictures
    page.mouse.move(250, 300)
    page.mouse.down()
    page.mouse.move(350, 250, steps=5)
    page.mouse.up()
    until(lambda: changed(before, pixels(page)) > 0.01, page)
    shown(page, viewer)  # the server has heard where the camera is
    assert viewer.player.pictures == sent
    for client in viewer.server.get_clients().values():
        look_from_outside(client)


def test_another_motion_is_another_picture_and_rest_is_rest(page: Page, viewer: SceneViewer):
    viewer.state.seek(0.5)
    first = shown(page, viewer)
    choose(page, "Motion", NAMES[2])
    until(lambda: viewer.state.motion == NAMES[2], page)
    assert changed(first, shown(page, viewer)) > 0.004
    assert at_rest(page, viewer)


def test_playing_moves_and_pausing_stops(page: Page, viewer: SceneViewer):
    box = control(page, "Play")
    box.click()
    until(lambda: viewer.state.playing, page)
    count = viewer.player.pictures
    until(lambda: viewer.player.pictures > count + 5, page)
    until(lambda: float(control(page, "Frame").input_value() or 0) > 0, page)
    box.click()
    until(lambda: not viewer.state.playing, page)
    assert at_rest(page, viewer)


def test_the_blend_and_the_axes_are_dragged(page: Page, viewer: SceneViewer):
    choose(page, "A", NAMES[0])
    choose(page, "B", NAMES[3])
    drag(page, "A to B", 0.5)
    slider = control(page, "A to B")
    until(lambda: viewer.state.blend[2] == float(slider.input_value()) > 0.3, page)
    assert viewer.player.settled(30)
    share = viewer.state.blend[2]
    assert 0.3 < share < 0.7
    assert float(slider.input_value()) == share
    a, b = viewer.state.space.latents(NAMES[0], NAMES[3])
    torch.testing.assert_close(viewer.state.latent, torch.lerp(a, b, share))
    drag(page, "Axis 1 (σ)", 0.9)
    until(lambda: viewer.state.sigmas[0] > 1.5, page)
    page.get_by_role("button", name="Reset").click()
    until(lambda: viewer.state.sigmas[0] == 0, page)


def test_the_canonical_pose_does_not_move(page: Page, viewer: SceneViewer):
    control(page, "Canonical").click()
    until(lambda: viewer.state.look.canonical, page)
    still = shown(page, viewer)
    page.get_by_role("button", name="forward").click()
    until(lambda: round(viewer.state.frame) == 1, page)
    assert changed(still, shown(page, viewer)) < 0.002


def test_pictures_and_overlays_change_what_is_seen(page: Page, viewer: SceneViewer):
    plain = shown(page, viewer)
    for option in ("depth", "skinning"):
        choose(page, "Picture", option)
        until(lambda option=option: viewer.state.look.layer == option, page)
        assert changed(plain, shown(page, viewer)) > 0.01
    choose(page, "Picture", "rgb")
    until(lambda: viewer.state.look.layer == "rgb", page)
    viewer.state.seek(0.8)
    plain = shown(page, viewer)
    for label, there in (("Key points", lambda look: look.keypoints), ("Trails", lambda look: look.trails)):
        control(page, label).click()
        until(lambda there=there: there(viewer.state.look), page)
        until(lambda: changed(plain, pixels(page)) > 0.001, page)
    page.screenshot(path=viewer.state.space.source / "overlays.png")


def test_a_click_on_the_map_goes_there(page: Page, viewer: SceneViewer):
    plain = shown(page, viewer)
    control(page, "In the scene").click()
    until(lambda: changed(plain, pixels(page)) > 0, page)  # white but for its edge and dots
    plate = viewer.panel.overlays.plate
    (client,) = viewer.server.get_clients().values()
    right, down, _ = plate.axes.T
    spot = plate.centre + 0.25 * plate.size[0] * right + 0.2 * plate.size[1] * down
    camera = seen_by(client.camera, (HEIGHT, WIDTH))
    ((x, y, _),) = camera.project(torch.from_numpy(spot)[None].float()).tolist()

    def clicked() -> bool:  # viser takes clicks a moment after it shows what is clicked on
        page.mouse.click(x, y)
        return viewer.state.place == pytest.approx((0.75, 0.3), abs=0.03)

    until(clicked, page)
    until(lambda: float(control(page, "Map x").input_value()) == pytest.approx(viewer.state.place[0], abs=0.002), page)


def test_a_new_motion_is_saved_and_there_after_a_reload(page: Page, viewer: SceneViewer):
    page.get_by_role("button", name="Random").click()
    page.get_by_text("a new motion, nearest to").wait_for()
    z = viewer.state.latent
    name_it(page, viewer.panel, "mine")
    page.get_by_role("button", name="Save this motion").click()
    page.get_by_text("Saved to").wait_for()
    page.reload()
    control(page, "Motion").wait_for()
    choose(page, "Motion", NAMES[1])
    until(lambda: viewer.state.motion == NAMES[1], page)
    choose(page, "Motion", "mine")
    until(lambda: viewer.state.motion == "mine", page)
    assert torch.equal(viewer.state.latent, z)


MARKUP = "img, script, iframe, style, a, b, strong, em, code, h1, blockquote, li, table"


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_runs_or_is_markup(opened: Page, viewer: SceneViewer, text: str):
    """What a scene names its motions, what a user types, and paths, all come to the message, through one function."""
    opened.once("dialog", lambda dialog: pytest.fail(dialog.message))
    title, before, end = opened.title(), opened.locator(MARKUP).count(), f" end {TEXTS.index(text)}"
    viewer.panel.message.content = as_markdown(text) + end
    said = opened.get_by_text(re.compile(f"{end}$"))
    said.wait_for()
    assert said.inner_text().replace(JOINER, "") == " ".join(text.split()) + end
    assert opened.title() == title
    assert opened.locator(MARKUP).count() == before
    viewer.panel.message.content = ""


def test_two_look_and_one_leaves_in_mid_play(page: Page, viewer: SceneViewer, browser: Browser):
    other = open_page(browser, viewer)
    until(lambda: len(viewer.player.watchers) == 2, page)
    control(other, "Play").click()
    until(lambda: viewer.state.playing, page)
    other.close()
    until(lambda: len(viewer.player.watchers) == 1, page)
    count = viewer.player.pictures
    until(lambda: viewer.player.pictures > count + 3, page)
    viewer.state.play(False)


def test_nothing_went_wrong_in_the_page(page: Page):
    assert [e for e in page.errors if not any(own in e for own in VISERS_OWN)] == []  # type: ignore[attr-defined]
