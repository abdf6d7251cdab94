"""Our files in the software of others: each is opened there, its pictures and its bones are compared with ours.

    python -m benchmarks.foreign SCENE OUT [--modules FOLDER] [--bpy PYTHON]   # some five minutes

Needs Chromium and npm, which fetches three.js, Babylon.js, PlayCanvas, Spark, splat-transform and axe into a temporary
folder (`--modules`: into this one, to be used again); `--bpy`: a Python that has Blender's bpy. Pictures are 512 x 512,
of the object at rest, from 4 sides, PSNR against our own renderer with colours clamped; the worst is said. Bones: the
farthest any key point is in any frame from where trajectories.npz has it. The web page is photographed into OUT at the
sizes of phones and screens, and axe goes over it. Exits with 1 where one is below what is asked for.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, Route, sync_playwright

from dimo_ns.core.cameras import FOVY_DEG, orbit
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.export.colours import displayed
from dimo_ns.export.compressed import FORMATS
from dimo_ns.export.everything import GLTF, HTML
from dimo_ns.export.gltf import BESIDE, export_gltf
from dimo_ns.export.html import save_html
from dimo_ns.export.ply import CANONICAL, export_ply
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.space.trajectory_files import TRAJECTORIES, save_trajectories
from tests.export.browser import ARGUMENTS, chromium, psnr

HERE = Path(__file__).parent
PACKAGES = (
    *("three@0.187.0", "babylonjs@9.28.0", "babylonjs-loaders@9.28.0", "playcanvas@2.23.3", "@sparkjsdev/spark@2.2.0"),
    *("@playcanvas/splat-transform@2.7.1", "fflate@0.8.2", "axe-core@4.14.1"),
)
AZIMUTHS, ELEVATION, SIZE = (20.0, 110.0, 200.0, 290.0), 15.0, (512, 512)
LEAST, MOST = {"three": 32.0, "spark": 33.0, "playcanvas": 33.0, "babylon": 33.0}, 1e-4
"""dB of pictures, and world units of bones: what is asked for. three.js leaves out what of a Gaussian is farther from
its middle than two standard deviations."""
ALIKE = 4
"""Pictures one after another, half a second apart, that have to be the same."""
VIEWPORTS = ((320, 568), (390, 844), (667, 375), (1280, 800))
Y_UP = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
"""Our axes in those of glTF and of files with y up."""
TURNED = np.diag([-1, 1, -1])
"""Files of .spz have y up: splat-transform turns those of y down, about x."""
MIRRORED = np.diag([-1, 1, 1])
"""Babylon's world is left-handed: what it turns over has the front where it was, and its sides exchanged."""
UPSIDE_DOWN = np.diag([1, -1, 1])
"""Babylon turns every file of splats over, and by that puts .spz on its head unless it is told `flipY`."""
PICTURES = (
    ("three", "y.ply", Y_UP),
    ("three", BESIDE, Y_UP),
    ("spark", "y.ply", Y_UP),
    ("spark", "y-down.spz", TURNED @ Y_UP),
    ("spark", "y.sog", Y_UP),
    ("playcanvas", "y.ply", Y_UP),
    ("playcanvas", "y.sog", Y_UP),
    ("playcanvas", BESIDE, Y_UP),
    ("babylon", "y-down.ply", MIRRORED @ Y_UP),
    ("babylon", "y-down.spz", UPSIDE_DOWN @ TURNED @ Y_UP),
    ("babylon", "y-down.sog", MIRRORED @ Y_UP),
    ("babylon", BESIDE, MIRRORED @ Y_UP),
)
"""Program, file, and our axes in its world."""
BONES = (("three", Y_UP), ("playcanvas", Y_UP), ("babylon", MIRRORED @ Y_UP))
BLENDER = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
"""glTF's front, z, is Blender's -y."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.foreign")
    parser.add_argument("scene", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--modules", type=Path)
    parser.add_argument("--bpy")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    space = MotionSpace.open(asked.scene)
    with tempfile.TemporaryDirectory() as scratch:
        modules = install(asked.modules or Path(scratch) / "npm")
        files = Path(scratch) / "files"
        export(space, files, modules)
        results = list(all_results(space, files, modules, asked.out, asked.bpy))
    return int(not all(results))


def install(folder: Path) -> Path:
    """The packages, in a folder; the folder that holds them."""
    modules = folder / "node_modules"
    if not all((modules / package.rpartition("@")[0]).is_dir() for package in PACKAGES):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return modules


def export(space: MotionSpace, folder: Path, modules: Path) -> None:
    """Everything that is opened: FILES of the object at rest, glTF, the page, trajectories."""
    export_gltf(space, space.clips(), folder / GLTF)
    save_html(space, folder / HTML)
    save_trajectories(space, space.clips(), folder / TRAJECTORIES, False)
    os.environ["PATH"] += f"{os.pathsep}{modules / '.bin'}"  # where splat-transform is
    for up in ("y", "y-down"):
        for kind in FORMATS:
            made = export_ply(space, [], folder / up / kind, up=up, format=kind) / CANONICAL / f"{CANONICAL}.{kind}"
            made.rename(folder / f"{up}.{kind}")
    for path in sorted(folder.iterdir()):
        if path.is_file():
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def all_results(space: MotionSpace, files: Path, modules: Path, out: Path, bpy: str | None) -> Iterator[bool]:
    """Prints each figure; whether it is as good as asked for."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        for program, name, axes in PICTURES:
            worst = closeness(space, browser, files, modules, program, name, axes, out)
            print(f"{program} {name}: {worst:.1f} dB", flush=True)
            yield worst >= LEAST[program]
        for program, axes in BONES:
            apart = bones_apart(space, opened(browser, files, modules, program), axes)
            print(f"{program} {GLTF}: bones within {apart:.1e}", flush=True)
            yield apart <= MOST
        yield from of_page(browser, files / HTML, modules, out)
        browser.close()
    if bpy:
        yield in_blender(space, files, bpy)


def opened(browser: Browser, files: Path, modules: Path, program: str) -> Page:
    """A page in which this program is loaded; it has our files and asks no host."""
    folders = {"modules": modules, "foreign": HERE, "files": files}

    def answer(route: Route) -> None:
        first, _, rest = route.request.url.removeprefix("http://localhost:9/").partition("/")
        path = folders.get(first, files) / rest
        types = {".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html", ".wasm": "application/wasm"}
        if path.is_file():
            route.fulfill(body=path.read_bytes(), content_type=types.get(path.suffix, "application/octet-stream"))
        else:
            route.fulfill(status=404)

    page = browser.new_page(viewport={"width": SIZE[1], "height": SIZE[0]})
    page.on("pageerror", lambda error: print(f"  {program}: {error}", file=sys.stderr))
    page.route("http://localhost:9/**", answer)
    page.goto("http://localhost:9/foreign/view.html")
    page.evaluate("(program) => load(program).then(() => null)", program)
    return page


def closeness(
    space: MotionSpace,
    browser: Browser,
    files: Path,
    modules: Path,
    program: str,
    name: str,
    axes: np.ndarray,
    out: Path,
) -> float:
    """The worst PSNR of the object at rest, from all sides; the last picture is kept in `out`, ours beside it."""
    worst = np.inf
    rest = displayed(space.scene.gaussians())
    rest.means, rest.quats = rest.means[None], rest.quats[None]
    for azimuth in AZIMUTHS:
        camera = orbit(torch.tensor([azimuth]), ELEVATION, SIZE)
        (ours,) = take_pictures(rest, camera)
        eye = axes @ camera.centres[0].numpy()
        look = {"eye": eye.tolist(), "target": [0, 0, 0], "up": (axes @ [0, 0, 1]).tolist(), "fov": FOVY_DEG}
        page = opened(browser, files, modules, program)
        page.evaluate("([url, look]) => splats(url, look)", [f"/files/{name}", look])
        theirs = settled(page)
        page.close()
        worst = min(worst, psnr(theirs, ours.image))
        both = Image.fromarray(np.concatenate([ours.image, theirs], 1))
        both.save(out / f"{program} {name.replace('.', ' ')}.png")
    return worst


def settled(page: Page) -> np.ndarray:
    """What is on a page once it stands still: programs sort splats beside, and draw what is sorted."""
    shots = [np.zeros(0)] * ALIKE
    for _ in range(60):
        page.wait_for_timeout(500)
        shots = [*shots[1:], np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB"))]
        if all(np.array_equal(shot, shots[0]) for shot in shots):
            break
    return shots[-1]


def bones_apart(space: MotionSpace, page: Page, axes: np.ndarray) -> float:
    """How far any joint is from where its key point is, in all motions and frames."""
    farthest = 0.0
    for clip in space.clips():
        times = (np.arange(len(clip)) / clip.fps).tolist()
        found = page.evaluate("([url, name, times]) => bones(url, name, times)", [f"/files/{GLTF}", clip.name, times])
        apart = np.array(found) - clip.positions.cpu().numpy() @ axes.T
        farthest = float(np.maximum(farthest, np.abs(apart).max()))  # NaN is kept
    page.close()
    return farthest


def in_blender(space: MotionSpace, files: Path, python: str) -> bool:
    """The same of the bones of Blender's armature."""
    found = files / "blender.json"
    subprocess.run([python, HERE / "blender.py", files / GLTF, found], check=True, stdout=subprocess.DEVNULL)
    said = json.loads(found.read_text())
    farthest = 0.0
    for clip in space.clips():
        (name,) = (name for name in said["bones"] if name == clip.name or name.startswith(f"{clip.name}_"))
        places = np.array(said["bones"][name])[: len(clip)]
        apart = places - clip.positions.cpu().numpy() @ BLENDER.T
        farthest = float(np.maximum(farthest, np.abs(apart).max()))
    print(
        f"Blender {said['version']} {GLTF}: bones within {farthest:.1e}; meshes {said['meshes']}, excluded "
        f"{said['excluded']}"
    )
    return farthest <= MOST


def of_page(browser: Browser, path: Path, modules: Path, out: Path) -> Iterator[bool]:
    """Pictures of the web page at each size, and what axe has against it, in each of its backgrounds."""
    axe = (modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    for width, height in VIEWPORTS:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(path.as_uri())
        page.evaluate("dimo.ready.then(() => null)")
        page.screenshot(path=out / f"page {width}x{height}.png")
        page.evaluate(axe)
        for _ in range(3):
            violations = page.evaluate("axe.run().then(({ violations }) => violations)")
            for each in violations:
                print(f"  axe: {each['id']}: {[node['html'][:120] for node in each['nodes']]}")
            print(f"page {width} x {height}: {len(violations)} violations found by axe", flush=True)
            yield not violations
            page.keyboard.press("b")
        page.close()


if __name__ == "__main__":
    raise SystemExit(main())
