"""The page in a browser: it computes what the scene computes, obeys its controls, and asks no one for anything."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.spaces import DIM, FRAMES, KEYPOINTS, NAMES, a_motion, some_space

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Error, Page

from dimo_ns.core.cameras import Cameras, orbit, project
from dimo_ns.core.latent_axes import AXES, REACH, LatentAxes
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.export.html import save_html
from dimo_ns.rasterize import rasterization
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.viewer.state import State
from tests.export.browser import chromium, launched, open_page, pixels, psnr
from tests.export.html_payload import Unpacked, read_page
from tests.hostile_texts import TEXTS

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: install it, or 'playwright install chromium'")

SIZE = 128
K = [[1.7 * SIZE, 0.0, SIZE / 2], [0.0, 1.6 * SIZE, SIZE / 2 + 3], [0.0, 0.0, 1.0]]


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    """One whose key points are turned every way, their quaternions of either sign."""
    space = some_space()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        space.scene.decoder.offset[:, 3:] = torch.randn(KEYPOINTS, 4, generator=generator)
    return space


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def path(space: MotionSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_html(space, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def unpacked(space: MotionSpace, path: Path) -> Unpacked:
    return Unpacked(read_page(path)[1], space)


@pytest.fixture(scope="module")
def shared(browser: Browser, path: Path):
    page = open_page(browser, path)
    yield page
    assert page.errors == []


@pytest.fixture
def page(shared: Page) -> Page:
    """The page, paused in the first frame of the first motion, before its own camera."""
    shared.evaluate("dimo.pause(); dimo.setMotion(0); dimo.setTime(0); dimo.setCamera()")
    return shared


def cameras(*azimuths: float) -> torch.Tensor:
    return orbit(torch.tensor(azimuths), 20.0, (SIZE, SIZE)).viewmats


def look(page: Page, viewmat: torch.Tensor) -> None:
    page.evaluate("([viewmat, K, size]) => dimo.setCamera(viewmat, K, size, size)", [viewmat.tolist(), K, SIZE])


# --- what it computes -------------------------------------------------------------------------------------------------


def test_the_decoder_is_the_scenes(page: Page, space: MotionSpace, unpacked: Unpacked):
    """With the numbers that the page holds, to within float32; with the scene's, to within 16-bit floats."""
    generator = torch.Generator().manual_seed(0)
    z, t = torch.randn(12, DIM, generator=generator), torch.rand(12, generator=generator)
    found = torch.tensor(page.evaluate("([z, t]) => z.map((row, i) => dimo.pose(row, t[i]))", [z.tolist(), t.tolist()]))
    found = found.view(12, KEYPOINTS, 7)
    same = unpacked.decode(z, t)
    torch.testing.assert_close(found[..., :3], same.translations, atol=2e-6, rtol=0)
    torch.testing.assert_close(found[..., 3:], same.quats, atol=2e-6, rtol=0)
    exact = space.scene.trajectory(z, t)
    assert (found[..., :3] - exact.translations).norm(dim=-1).max() < 2e-3 * space.diameter


def test_splats_are_skinned_projected_and_ordered_as_the_rasterizer_has_them(page: Page, unpacked: Unpacked):
    """From the corners of what is drawn: the centre, and the axes times the distance at which alpha is 1/255."""
    (viewmat,) = cameras(70.0)
    look(page, viewmat)
    for motion, frame in ((0, 0), (2, 5)):
        page.evaluate("([motion, t]) => (dimo.setMotion(motion), dimo.setTime(t))", [motion, frame / FRAMES])
        z = torch.tensor(page.evaluate("dimo.latent"))
        posed = unpacked.carry(unpacked.decode(z[None], torch.tensor([frame / FRAMES])))
        _, _, meta = rasterization(
            posed.means[0], posed.quats[0], posed.scales, posed.opacities, posed.colors,
            viewmat[None], torch.tensor([K]), SIZE, SIZE,
        )  # fmt: skip
        drawn = page.evaluate("dimo.splats()")
        order, corners = torch.tensor(drawn["order"]), torch.tensor(drawn["corners"]).view(-1, 4, 2)
        depths = meta["depths"][0][order]
        step = (depths.max() - depths.min()) / 65535  # the order is of depths in 16 bits
        assert (depths.diff() < 1.01 * step).all()
        assert (meta["radii"] > 0).all()
        torch.testing.assert_close(corners.mean(1), meta["means2d"][0][order], atol=2e-3, rtol=0)
        sigmas = (2 * (255 * posed.opacities[order]).log()).sqrt()[:, None, None]
        axes = torch.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], -1) / (2 * sigmas)
        a, b, c = meta["conics"][0][order].unbind(-1)
        covariance = torch.linalg.inv(torch.stack([a, b, b, c], -1).unflatten(-1, (2, 2)))
        torch.testing.assert_close(axes @ axes.mT, covariance, atol=1e-3, rtol=1e-3)


def test_pictures_are_the_renderers(page: Page, space: MotionSpace, unpacked: Unpacked):
    """At least 30 dB is what was asked for; what is reached differs by the blending of 8-bit colours."""
    for viewmat in cameras(20.0, 140.0, 260.0):
        look(page, viewmat)
        for name in ("run", "wave"):
            for frame in (0, 4, FRAMES - 1):
                t = frame / FRAMES
                page.evaluate("([name, t]) => (dimo.setMotion(name), dimo.setTime(t))", [name, t])
                drawn, z = pixels(page), space.latents(name)
                for posed, least in (
                    (unpacked.carry(unpacked.decode(z, torch.tensor([t]))), 45),
                    (space.scene.pose(z, torch.tensor([t])), 38),
                ):
                    (expected,) = take_pictures(posed, Cameras(viewmat[None], torch.tensor([K]), (SIZE, SIZE)))
                    assert psnr(drawn, expected.image) > least


def test_a_cycle_goes_back_to_its_start_between_the_last_frame_and_the_first(page: Page):
    look(page, cameras(30.0)[0])
    page.evaluate("dimo.setMotion('walk')")
    shots = []
    for t in (0.0, (FRAMES - 1) / FRAMES, (FRAMES - 0.5) / FRAMES, 1.0):
        page.evaluate("(t) => dimo.setTime(t)", t)
        shots.append(pixels(page))
    first, last, between, again = shots
    assert np.array_equal(first, again)
    assert min(psnr(between, first), psnr(between, last)) > psnr(first, last)


def test_a_decoder_that_is_too_heavy_is_blended_and_the_page_says_so(browser: Browser, tmp_path: Path):
    """Its latents are weights of the motions: half of each is half way between their key points."""
    space = some_space("mlp")
    page = open_page(browser, save_html(space, tmp_path / "page.html", ["run", "sit"]))
    assert "too heavy" in page.locator("#note").inner_text()
    assert page.locator("#axes input").count() == 0
    assert not page.locator("#random").is_visible()
    found = torch.tensor(page.evaluate(f"[[1, 0], [0, 1], [0.5, 0.5]].map((w) => dimo.pose(w, 2.5 / {FRAMES}))"))
    run, sit, half = found.view(3, KEYPOINTS, 7)
    torch.testing.assert_close((run + sit)[:, :3] / 2, half[:, :3], atol=1e-6, rtol=0)
    exact = space.motion(space.latents("run", "sit"), torch.tensor([2.0, 3.0]) / FRAMES)
    torch.testing.assert_close(run[:, :3], exact.translations[0].mean(0), atol=1e-3, rtol=0)
    turn = torch.nn.functional.normalize(exact.quats[1].sum(0), dim=-1)  # the decoder's own signs do not jump
    torch.testing.assert_close((sit[:, 3:] * turn).sum(-1).abs(), torch.ones(KEYPOINTS), atol=1e-5, rtol=0)
    before = pixels(page)
    page.locator("#blend").fill("0.6")
    assert not np.array_equal(settled(page), before)
    assert page.errors == []


@pytest.mark.parametrize("frames", [1, FRAMES])
def test_a_scene_of_one_motion_has_nothing_to_blend_or_explore(browser: Browser, tmp_path: Path, frames: int):
    space = some_space()
    scene = space.scene
    scene.latents = type(scene.latents)(1, DIM)
    info = replace(space.info, motions=(a_motion("walk", frames=frames, loop=True),), frames=frames)
    page = open_page(browser, save_html(MotionSpace(scene, info), tmp_path / "page.html"))
    assert not page.locator("#blending").is_visible()
    assert not page.locator("#exploring").is_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("r")
    page.evaluate("dimo.setTime(0)")
    assert page.evaluate("dimo.latent") == [0] * DIM
    assert (settled(page) < 250).any()
    assert page.errors == []


# --- what it asks for, and what it believes ---------------------------------------------------------------------------


def test_it_plays_at_once_and_asks_for_nothing_but_itself(browser: Browser, path: Path):
    page = open_page(browser, path)
    count = page.evaluate("dimo.pictures")
    page.wait_for_function("(count) => dimo.pictures > count + 5", arg=count)
    assert page.requests[0] == path.as_uri()
    assert [url for url in page.requests[1:] if not url.startswith("blob:null/")] == []  # the worker, from memory
    refused = page.evaluate("fetch('https://example.org').then(() => 'answered', () => 'refused')")
    assert refused == "refused"


def test_hostile_names_are_shown_and_not_run(browser: Browser, tmp_path: Path):
    space = some_space()
    hostile = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
    motions = tuple(replace(motion, prompt=hostile) for motion in space.motions)
    info = replace(space.info, object=hostile, prompt=hostile, licence=hostile, motions=motions)
    page = open_page(browser, save_html(MotionSpace(space.scene, info), tmp_path / "page.html"))
    assert page.evaluate("window.pwned === undefined")
    assert page.title() == f"{hostile}: {hostile}"
    for place in ("h1", "#prompt", "#caption"):
        assert page.locator(place).text_content() == hostile
    assert hostile in page.locator("#credits").text_content()
    assert page.locator("img").count() == 0
    assert page.errors == []


@pytest.mark.parametrize("first", range(0, len(TEXTS), 3 + len(NAMES)))
def test_texts_are_shown_and_not_run(browser: Browser, tmp_path: Path, first: int):
    space = some_space()
    texts = (TEXTS[first:] + TEXTS)[: 3 + len(NAMES)]
    motions = tuple(replace(motion, prompt=text) for motion, text in zip(space.motions, texts[3:], strict=True))
    info = replace(space.info, object=texts[0], prompt=texts[1], licence=texts[2], motions=motions)
    page = open_page(browser, save_html(MotionSpace(space.scene, info), tmp_path / "page.html"))
    elements = page.locator("*").count()
    for motion in motions:
        page.get_by_role("radio", name=motion.name).click()
        page.evaluate("dimo.arrive()")
        assert page.locator("#caption").text_content() == motion.prompt
    assert page.title() == f"{texts[0]}: {texts[1]}"
    assert [page.locator(place).text_content() for place in ("h1", "#prompt")] == texts[:2]
    assert texts[2] in page.locator("#credits").text_content()
    assert page.locator("*").count() == elements
    assert page.locator("img, iframe, p script, b, style ~ style").count() == 0
    assert page.errors == []


def test_a_browser_without_webgl_or_scripts_is_told(browser: Browser, path: Path):
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(path.as_uri())
    page.wait_for_selector("#message:not(:empty)")
    assert "no WebGL 2" in page.locator("#message").inner_text()
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(path.as_uri())
    assert "scripts are switched off in this browser" in plain.locator("#message").inner_text()


# --- what one does with it --------------------------------------------------------------------------------------------


def settled(page: Page) -> np.ndarray:
    """What is on the page where the controls point, once it is there."""
    page.evaluate("dimo.arrive()")
    return pixels(page)


def turns(page: Page, count: int) -> None:
    """The page has had so many turns at drawing what has changed."""
    page.evaluate(
        """async (count) => {
            for (let i = 0; i < count; i++) await new Promise(requestAnimationFrame);
        }""",
        count,
    )


def test_choosing_a_motion_goes_to_its_latent(page: Page, space: MotionSpace):
    before = settled(page)
    page.get_by_role("radio", name="sit").click()
    after = settled(page)
    torch.testing.assert_close(torch.tensor(page.evaluate("dimo.latent")), space.latents("sit")[0], atol=1e-6, rtol=0)
    assert page.locator("#caption").inner_text() == "a thing that sits"
    assert not np.array_equal(before, after)
    page.keyboard.press("ArrowDown")
    settled(page)
    assert page.locator("#caption").inner_text() == "a thing that waves"


def test_the_time_slider_scrubs_and_a_pause_holds(page: Page):
    shots = []
    for value in ("0", "4.5"):
        page.locator("#time").fill(value)
        shots.append(settled(page))
    assert not np.array_equal(*shots)
    assert page.locator("#clock").inner_text() == "0.56 s"  # at 8 frames a second
    turns(page, 10)
    assert np.array_equal(pixels(page), shots[1])
    page.locator("#play").click()
    page.wait_for_function("(before) => document.getElementById('clock').textContent !== before", arg="0.56 s")
    assert not np.array_equal(pixels(page), shots[1])
    page.keyboard.press(" ")
    held = pixels(page)
    turns(page, 10)
    assert np.array_equal(pixels(page), held)


def test_the_arrows_step_from_frame_to_frame(page: Page):
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", -1)):
        page.locator("#canvas").press(key)
        settled(page)
        assert float(page.locator("#time").input_value()) == frame % FRAMES


def test_the_blend_is_half_way_between_the_latents(page: Page, space: MotionSpace):
    before = settled(page)
    page.locator("#to").select_option(label="wave")
    page.locator("#blend").fill("0.5")
    after = settled(page)
    half = space.latents("walk", "wave").mean(0)
    torch.testing.assert_close(torch.tensor(page.evaluate("dimo.latent")), half, atol=1e-6, rtol=0)
    assert page.locator("#caption").inner_text() == "50 % walk, 50 % wave"
    assert not np.array_equal(before, after)


def test_an_axis_moves_the_latent_by_its_standard_deviations(page: Page, space: MotionSpace, path: Path):
    _, arrays = read_page(path)
    page.locator("#axes input").nth(1).fill("-1.5")
    settled(page)
    expected = space.mu[0] - 1.5 * torch.tensor(arrays["sigmas"][1] * arrays["axes"][1])
    torch.testing.assert_close(torch.tensor(page.evaluate("dimo.latent")), expected, atol=1e-5, rtol=0)
    axes = LatentAxes.of(space.scene.latents)
    np.testing.assert_array_equal(arrays["axes"], axes.axes.numpy())
    np.testing.assert_array_equal(arrays["sigmas"], axes.sigmas.numpy())


def test_a_place_and_sigmas_are_the_same_latent_as_in_the_viewer(page: Page, space: MotionSpace):
    """Wherever one goes on the map, and however far from there along the axes, to the end of the sliders and beyond."""
    state = State(space)
    places = [(0.5, 0.5), (0.1, 0.85), (1.0, 0.0), *state.map.places.tolist()]
    for i, (x, y) in enumerate(places):
        sigmas = {0: 0.7 * i - 1.5, i % AXES: 1.0, AXES - 1: 9.0}
        state.go_to(x, y)
        page.evaluate("([x, y]) => dimo.setPlace(x, y)", [x, y])
        for axis, amount in [(0, 0.0), *sigmas.items()]:  # at first, the map alone
            state.shift(axis, amount)
            page.evaluate("([axis, amount]) => dimo.setAxis(axis, amount)", [axis, amount])
            found = torch.tensor(page.evaluate("dimo.latent"))
            torch.testing.assert_close(found, state.latent, atol=1e-5, rtol=0)
    sliders = page.locator("#axes input")
    assert sliders.count() == len(state.sigmas)
    assert sliders.first.get_attribute("max") == str(int(REACH))
    with pytest.raises(Error, match="no axis 6; the page has 6"):
        page.evaluate("dimo.setAxis(6, 1)")


def test_the_map_goes_to_a_motion_and_to_what_lies_between(page: Page, space: MotionSpace):
    """A click on a dot is that motion; a click elsewhere is a latent that lies at that very place of the map."""
    dot = page.locator("#map circle:not(.here)").nth(2)
    dot.click(force=True)
    settled(page)
    torch.testing.assert_close(torch.tensor(page.evaluate("dimo.latent")), space.latents("sit")[0], atol=1e-6, rtol=0)
    box = page.locator("#map").bounding_box()
    place = (box["x"] + 0.41 * box["width"], box["y"] + 0.37 * box["height"])
    page.mouse.click(*place)
    settled(page)
    ring = page.locator("#map .here").bounding_box()
    assert ring["x"] + ring["width"] / 2 == pytest.approx(place[0], abs=1)
    assert ring["y"] + ring["height"] / 2 == pytest.approx(place[1], abs=1)
    assert not (torch.tensor(page.evaluate("dimo.latent")) - space.mu).norm(dim=-1).min() < 0.05
    assert page.locator("#caption").inner_text().startswith("A new motion")


def test_random_motions_are_draws_from_the_gaussian_of_the_latents(page: Page, space: MotionSpace):
    """The squared distances of n draws in d dimensions, in standard deviations, have the mean d with the standard error
    sqrt(2 d / n); what leaves the span of the motions' means is as wide as their posteriors, of variance exp(-4)."""
    drawn = page.evaluate(
        """async () => {
            const drawn = [];
            for (let i = 0; i < 40; i++) {
                document.querySelector("#random").click();
                await dimo.arrive();
                drawn.push(Array.from(dimo.latent));
            }
            return drawn;
        }"""
    )
    z, axes = torch.tensor(drawn), LatentAxes.of(space.scene.latents)
    assert torch.pdist(z).min() > 1e-2
    squared = ((z - axes.centre) @ axes.axes.T / axes.sigmas).square().sum(-1)
    assert float(squared.mean()) == pytest.approx(DIM, abs=5 * (2 * DIM / len(z)) ** 0.5)
    directions = torch.linalg.svd(space.mu - space.mu.mean(0), full_matrices=False).Vh[: len(NAMES) - 1]
    off = (z - space.mu.mean(0)) - (z - space.mu.mean(0)) @ directions.T @ directions
    width = (off.square().sum(-1).mean() / (DIM - len(NAMES) + 1)).sqrt()
    assert float(width) == pytest.approx(math.exp(-4 / 2), rel=0.25)


@pytest.mark.parametrize("key", ["k", "t", "b"])
def test_overlays_and_background_change_the_picture_and_back(page: Page, key: str):
    page.evaluate("dimo.setTime(0.5)")
    before = settled(page)
    page.locator("#canvas").press(key)
    assert not np.array_equal(settled(page), before)
    for _ in range(2 if key == "b" else 1):
        page.locator("#canvas").press(key)
    assert np.array_equal(settled(page), before)


def test_key_points_are_drawn_where_they_are(page: Page, unpacked: Unpacked):
    """A disc's middle has the colour of its key point, which tells where that lies at rest along each axis."""
    (viewmat,) = cameras(70.0)
    look(page, viewmat)
    page.locator("#canvas").press("k")
    drawn = settled(page)
    page.locator("#canvas").press("k")
    z = torch.tensor(page.evaluate("dimo.latent"))
    positions = unpacked.keypoints + unpacked.decode(z[None], torch.zeros(1)).translations[0]
    places = project(positions, viewmat, torch.tensor(K))[:, :2]
    c = unpacked.keypoints
    tints = 255 * (0.08 + 0.84 * (c - c.min(0).values) / (c.max(0).values - c.min(0).values))
    apart = torch.cdist(places, places) + 99 * torch.eye(KEYPOINTS)
    alone = apart.min(1).values > 9  # no other disc above it
    assert alone.sum() > 5
    found = torch.tensor(drawn.copy())[places[alone, 1].long(), places[alone, 0].long()].float()
    torch.testing.assert_close(found, tints[alone], atol=2, rtol=0)


def test_dragging_turns_and_the_wheel_zooms(page: Page):
    before = settled(page)
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 320)
    page.mouse.up()
    turned = settled(page)
    page.mouse.wheel(0, -300)
    nearer = settled(page)
    assert not np.array_equal(before, turned)
    assert (nearer < 250).any(-1).sum() > 1.2 * (turned < 250).any(-1).sum()
    page.locator("#home").click()
    assert np.array_equal(settled(page), before)


CONTROLS = "header, #transport > *, #panel button, #panel select, #panel input, #map, #credits"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568), (844, 390), (667, 375), (1280, 800)])
def test_nothing_overlaps_and_nothing_is_cut_off(browser: Browser, path: Path, tmp_path: Path, width: int, height: int):
    page = open_page(browser, path, width, height, has_touch=width < 1000)
    page.screenshot(path=tmp_path / "page.png")
    boxes = page.evaluate(
        """(controls) => [...document.querySelectorAll(controls)].filter((e) => e.checkVisibility()).map((e) => {
            const { left, top, right, bottom } = e.getBoundingClientRect();
            return [e.id || e.textContent.trim(), left, top, right, bottom];
        })""",
        CONTROLS,
    )
    assert len(boxes) > 20
    for (a, l1, t1, r1, b1), (b, l2, t2, r2, b2) in combinations(boxes, 2):
        assert r1 <= l2 + 0.5 or r2 <= l1 + 0.5 or b1 <= t2 + 0.5 or b2 <= t1 + 0.5, f"{a} overlaps {b}"
    assert all(left >= 0 and right <= width for _, left, _, right, _ in boxes)
    stage = page.locator("#stage").bounding_box()
    page.locator("#fold").click()
    page.locator("#panel").wait_for(state="hidden")
    larger = page.locator("#stage").bounding_box()
    assert larger["width"] * larger["height"] > 1.25 * stage["width"] * stage["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
