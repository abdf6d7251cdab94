"""The web page of a scene: how large, how quick to open, how fast, how close to our own renderer.

    python -m benchmarks.html_player [SCENE ...]   # a minute per scene; on an idle machine, or the speeds mean little

Chromium, headless, from file://, with WebGL in software (SwiftShader). "first picture": from asking for the page until
its first picture is drawn, in a browser that is running. "rate": pictures of 512 x 512 drawn in five seconds of
playing. "PSNR": pictures of 512 x 512 before 3 cameras, at 3 times, of 2 motions, against dimo_ns.draw.pictures; the
worst of them. Then the same without pictures for two made-up scenes of the paper's size, whose numbers are random and
so hardly get smaller by compression: one with each decoder.
"""

import base64
import gzip
import math
import sys
import tempfile
import time
from pathlib import Path

import torch

from dimo_ns.core.cameras import Cameras, orbit
from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.data.dataset import Motion
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.export.html import save_html
from dimo_ns.export.html.pack import pack
from dimo_ns.rasterize.skinning import fused_skin
from dimo_ns.space.info import SceneInfo
from dimo_ns.space.motion_space import MotionSpace
from tests.export.browser import launched, open_page, pixels, psnr

SIZE, FOCAL, SECONDS = 512, 1.64 * 512, 5.0
K = [[FOCAL, 0.0, SIZE / 2], [0.0, FOCAL, SIZE / 2], [0.0, 0.0, 1.0]]
MOTIONS, FRAMES, KEYPOINTS, GAUSSIANS = 51, 21, 512, 100_000


def made_up(kind: str) -> MotionSpace:
    """As large as the paper's, and random throughout."""
    torch.manual_seed(0)
    keypoints = 0.2 * torch.randn(KEYPOINTS, 3)
    scene = Scene(
        MotionLatents(MOTIONS),
        MLPDecoder() if kind == "mlp" else LowRankDecoder(KEYPOINTS, rank=96, width=512),
        keypoints,
        torch.full((KEYPOINTS,), 0.05),
        CanonicalGaussians(
            keypoints.repeat(GAUSSIANS // KEYPOINTS + 1, 1)[:GAUSSIANS] + 0.03 * torch.randn(GAUSSIANS, 3),
            0.002 + 0.006 * torch.rand(GAUSSIANS, 3),
            0.1 + 0.8 * torch.rand(GAUSSIANS),
            torch.rand(GAUSSIANS, 3),
            torch.randn(GAUSSIANS, 4),
        ),
        fused_skin,
    )
    with torch.no_grad():
        scene.latents.mu.normal_()
        for parameter in scene.decoder.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    times = tuple(f / 8 for f in range(FRAMES))
    motions = tuple(Motion(f"motion_{i}", "", "train", False, times) for i in range(MOTIONS))
    return MotionSpace(scene, SceneInfo(motions, FRAMES, object=kind))


def measure(name: str, space: MotionSpace, browser, folder: Path, compared: bool) -> None:
    start = time.perf_counter()
    path = save_html(space, folder / f"{len(list(folder.iterdir()))}.html")
    made = time.perf_counter() - start
    raw = pack(space, dict(zip(space.names, space.mu, strict=True)))
    print(f"{name}: {len(space.names)} motions, {len(space.scene.gaussians):,} Gaussians")
    sizes = path.stat().st_size, len(raw), len(gzip.compress(raw, mtime=0)), path.stat().st_size - payload_bytes(path)
    print(
        "  {:.2f} MB; payload {:.2f} MB, {:.2f} MB compressed; the player {:.3f} MB".format(*(s / 1e6 for s in sizes))
    )
    start = time.perf_counter()
    page = open_page(browser, path)
    print(f"  made in {made:.1f} s, first picture after {time.perf_counter() - start:.2f} s")
    foreign = [url for url in page.requests[1:] if not url.startswith("blob:")]
    print(f"  requests but for itself and its worker: {len(foreign)}; errors: {page.errors}")
    look(page, orbit(torch.tensor(40.0), 15.0, (SIZE, SIZE)).viewmats)
    page.evaluate("document.body.classList.add('folded')")
    page.wait_for_timeout(500)
    before, start = page.evaluate("dimo.pictures"), time.perf_counter()
    page.wait_for_timeout(1000 * SECONDS)
    print(f"  rate {(page.evaluate('dimo.pictures') - before) / (time.perf_counter() - start):.1f} per second")
    if compared:
        print(
            f"  PSNR {closeness(space, page):.1f} dB, decoder off by {decoder_error(space, page):.1e} of the diameter"
        )
    page.close()


def payload_bytes(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    start = text.index(">", text.index('<script id="payload"')) + 1
    encoded = text[start : text.index("<", start)]
    assert base64.b64decode(encoded[:4])[:2] == b"\x1f\x8b"
    return len(encoded)


def look(page, viewmat: torch.Tensor) -> None:
    page.evaluate("([viewmat, K, size]) => dimo.setCamera(viewmat, K, size, size)", [viewmat.tolist(), K, SIZE])


@torch.no_grad()
def closeness(space: MotionSpace, page) -> float:
    worst = math.inf
    for viewmat in orbit(torch.tensor([40.0, 160.0, 280.0]), 15.0, (SIZE, SIZE)).viewmats:
        look(page, viewmat)
        for motion in (0, len(space.names) - 1):
            for t in space.times[[0, space.frames // 2, space.frames - 1]]:
                page.evaluate("([motion, t]) => (dimo.setMotion(motion), dimo.setTime(t))", [motion, float(t)])
                posed = space.scene.pose(space.mu[motion : motion + 1], t[None])
                (expected,) = take_pictures(posed, Cameras(viewmat[None], torch.tensor([K]), (SIZE, SIZE)))
                worst = min(worst, psnr(pixels(page), expected.image))
    return worst


@torch.no_grad()
def decoder_error(space: MotionSpace, page) -> float:
    """The largest at 64 random times, of latents drawn about those of the motions."""
    generator = torch.Generator().manual_seed(0)
    z = space.mu.mean(0) + space.mu.std(0) * torch.randn(64, space.mu.shape[1], generator=generator)
    t = torch.rand(64, generator=generator)
    found = page.evaluate("([z, t]) => z.map((row, i) => dimo.pose(row, t[i]))", [z.tolist(), t.tolist()])
    translations = torch.tensor(found).view(64, -1, 7)[..., :3]
    return float((translations - space.scene.trajectory(z, t).translations).norm(dim=-1).max()) / space.diameter


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        for scene in sys.argv[1:]:
            measure(scene, MotionSpace.open(scene), browser, Path(folder), compared=True)
        for kind in ("low_rank", "mlp"):
            measure(f"made up, {kind}", made_up(kind), browser, Path(folder), compared=False)


if __name__ == "__main__":
    main()
