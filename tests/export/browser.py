"""A browser for the tests of pages: Chromium by Playwright, with WebGL 2 in software."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """The browser that the system has, or the one that 'playwright install chromium' put there; None for neither."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        with sync_playwright() as playwright:
            own = Path(playwright.chromium.executable_path)
        found = str(own) if own.exists() else None
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


def open_page(browser: Browser, path: Path, width: int = 1000, height: int = 700, **options) -> Any:
    """The page once its first picture is drawn; what went wrong in it and what it asked for are noted on it."""
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    page.errors, page.requests = [], []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    page.on("console", lambda message: page.errors.append(message.text))  # type: ignore[attr-defined]
    page.on("request", lambda request: page.requests.append(request.url))  # type: ignore[attr-defined]
    page.goto(path.as_uri())
    page.evaluate("dimo.ready.then(() => null)")
    return page


def pixels(page: Page) -> np.ndarray:
    """What the page draws now: [h, w, 3] bytes."""
    encoded, height, width = page.evaluate(
        """async () => {
            const { data, width, height } = await dimo.pixels();
            let text = "";
            for (let i = 0; i < data.length; i += 4096) text += String.fromCharCode(...data.subarray(i, i + 4096));
            return [btoa(text), height, width];
        }"""
    )
    return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(height, width, 4)[..., :3]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """In dB, of bytes."""
    return float(10 * np.log10(255**2 / max(((a.astype(float) - b.astype(float)) ** 2).mean(), 1e-9)))
