"""How quick the viewer is, and whether it lasts: `dimo view` and ns-viewer on one run, with a browser that looks.

    python -m benchmarks.viewer RUN                  # a minute
    python -m benchmarks.viewer RUN --soak 10        # then so many minutes of random use of every control, of each
    python -m benchmarks.viewer RUN --training DATA  # how much an open viewer that nobody looks at slows training

Chromium, headless, with WebGL in software, on the same processor. RUN is a folder of ns-train; it is copied, and
what is saved goes to the copy. With a text.safetensors beside it (`dimo text fit RUN`) the box of words is used too.
"""

import argparse
import ctypes
import gc
import io
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dimo_ns.runs import open_space
from dimo_ns.viewer.serve import SceneViewer, free_port
from tests.export.browser import launched
from tests.viewer.pages import control, open_page

SECONDS, CHANGES = 10.0, 200
WORDS = ("jump", "walk slowly", "turn and look around", "")
SAVES = 6
"""At most, in a soak: every one becomes a motion."""


@dataclass
class Subject:
    """A viewer, as this script sees it."""

    name: str
    address: str
    gui: Any
    """viser's, with all controls."""
    panel: Any
    state: Any
    pictures: Callable[[], int]
    """Made so far."""


@contextmanager
def dimo_view(run: Path):
    viewer = SceneViewer(open_space(run), 7600)
    yield Subject(
        "dimo view", viewer.address, viewer.server.gui, viewer.panel, viewer.state, lambda: viewer.player.pictures
    )
    viewer.close()


@contextmanager
def ns_viewer(run: Path):
    """What nerfstudio's command of that name sets up."""
    from nerfstudio.utils import writer
    from nerfstudio.utils.eval_utils import eval_setup
    from nerfstudio.viewer.viewer import Viewer

    config, pipeline, _, step = eval_setup(run / "config.yml", test_mode="test")
    config.viewer.websocket_host, config.viewer.websocket_port = "127.0.0.1", free_port("127.0.0.1", 7700)
    viewer = Viewer(
        config.viewer, run / "viewer.log", pipeline.datamanager.get_datapath(), pipeline, train_lock=threading.Lock()
    )
    config.logging.local_writer.enable = False
    writer.setup_local_writer(config.logging, max_iter=config.max_num_iterations)
    assert pipeline.datamanager.train_dataset is not None
    viewer.init_scene(pipeline.datamanager.train_dataset, "completed", pipeline.datamanager.eval_dataset)
    viewer.update_scene(step)
    model: Any = pipeline.model
    made = [0]
    render = model.get_outputs_for_camera

    def counted(*arguments, **named):
        outputs = render(*arguments, **named)
        made[0] += 1
        return outputs

    object.__setattr__(model, "get_outputs_for_camera", counted)
    address = f"http://127.0.0.1:{config.viewer.websocket_port}"
    yield Subject("ns-viewer", address, viewer.viser_server.gui, model.panel.panel, model.panel.state, lambda: made[0])
    viewer.viser_server.stop()


def look(browser, subject: Subject):
    """A page of about 256 x 256 pixels beside the panel."""
    page = open_page(browser, subject.address)
    page.set_viewport_size({"width": 256 + 320, "height": 256 + 50})
    if subject.name == "ns-viewer":
        page.get_by_role("tab", name="Motion").click()
    control(page, "Motion").wait_for()
    page.wait_for_timeout(3000)
    return page


def rate(subject: Subject, page) -> float:
    """Pictures per second in playing."""
    subject.state.play(True)
    page.wait_for_timeout(2000)
    before, start = subject.pictures(), time.perf_counter()
    page.wait_for_timeout(1000 * SECONDS)
    found = (subject.pictures() - before) / (time.perf_counter() - start)
    subject.state.play(False)
    page.wait_for_timeout(1500)
    return found


def latencies(subject: Subject, page) -> list[float]:
    """Milliseconds from a changed latent to its picture, at the server, from rest."""
    found = []
    for i in range(CHANGES):
        before, start = subject.pictures(), time.perf_counter()
        subject.state.shift(i % len(subject.state.sigmas), 2.0 * random.random() - 1.0)
        while subject.pictures() == before and time.perf_counter() - start < 5:
            time.sleep(0.0005)
        found.append(1000 * (time.perf_counter() - start))
        page.wait_for_timeout(60)
    return found


# --- does it last -----------------------------------------------------------------------------------------------------


class Listening(io.TextIOBase):
    """Hands on what is said, and counts the exceptions in it."""

    def __init__(self, out):
        self.out, self.exceptions = out, 0

    def write(self, text: str) -> int:
        self.exceptions += text.count("Traceback")
        return self.out.write(text)

    def flush(self) -> None:
        self.out.flush()


def memory(trimmed: bool = False) -> float:
    """The memory of this process, MiB. `trimmed`: after the allocator has given back what is free."""
    if trimmed:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def value_for(handle: Any, frames: int) -> Any:
    """A random one that a hand could choose."""
    label, value = handle._impl.label, handle.value
    if isinstance(value, bool):
        return random.random() < 0.5
    if isinstance(value, (int, float)):
        ranges = {"Frame": (0, frames - 1), "Trail (frames)": (1, frames), "Speed": (0.1, 4), "Temperature": (0.1, 3)}
        return type(value)(random.uniform(*((-3, 3) if label.startswith("Axis") else ranges.get(label, (0, 1)))))
    return random.choice(handle.options if hasattr(handle, "options") else WORDS)


def soak(subject: Subject, browser, page, minutes: float, ours: list[Any]) -> None:
    """Random use of every control by one browser, while another comes and goes."""
    sys.stderr = heard = Listening(sys.stderr)
    frames, early, trimmed_early = subject.state.space.frames, 0.0, 0.0
    start, acts, saves, other, seen = time.monotonic(), 0, 0, None, []
    try:
        while (passed := time.monotonic() - start) < 60 * minutes:
            if passed > 60 and not early:
                early, trimmed_early = memory(), memory(trimmed=True)
            if passed > 30 * len(seen):
                seen.append(memory())
                print(f"  {passed:4.0f} s  {seen[-1]:.0f} MiB  {acts} acts  {subject.pictures()} pictures", flush=True)
            handle = random.choice(ours)
            label = handle._impl.label
            if label == "Save this motion":
                saves += 1
                if saves > SAVES:
                    continue
            if not is_button(handle):
                handle.value = f"motion {acts}" if label == "Name" else value_for(handle, frames)
            for act in handle._impl.update_cb:
                act(SimpleNamespace(client_id=0, client=None, target=handle))
            acts += 1
            if random.random() < 0.01:
                if other is None:
                    other = open_page(browser, subject.address)
                else:
                    other.close()
                    other = None
            page.wait_for_timeout(random.choice([0, 20, 50, 200, 500]))
    finally:
        sys.stderr = heard.out
    print(f"  {minutes:g} minutes, {acts} acts: {heard.exceptions} exceptions")
    print(f"  memory, MiB: {early:.0f} after a minute and {memory():.0f} in the end, of which {trimmed_early:.0f} and "
          f"{memory(trimmed=True):.0f} were in use")  # fmt: skip


def is_button(handle: Any) -> bool:
    return type(handle).__name__ == "GuiButtonHandle"


def controls(subject: Subject) -> list[Any]:
    """All of the panel's."""
    ours = {id(handle) for handle in subject.panel._handles.values()}
    buttons = {"Step", "Reset", "Random", "Ask", "Save this motion"}
    everything = subject.gui._gui_input_handle_from_id.values()
    return [handle for handle in everything if id(handle) in ours or handle._impl.label in buttons]


# --- training ---------------------------------------------------------------------------------------------------------


def training(data: Path, rounds: int = 3) -> None:
    """Seconds of short runs with a viewer that nobody looks at and without one, in turns."""
    spent: dict[str, list[float]] = {"tensorboard": [], "viewer": []}
    for _ in range(rounds):
        for vis, times in spent.items():
            with tempfile.TemporaryDirectory() as out:
                command = ["ns-train", "dimo-laptop", "--data", str(data), "--output-dir", out, "--vis", vis]
                command += ["--pipeline.model.length", "0.05", "--viewer.quit-on-train-completion", "True"]
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                times.append(time.perf_counter() - start)
    without, with_it = (statistics.median(times) for times in spent.values())
    print(f"training: {without:.1f} s without a viewer, {with_it:.1f} s with one: {with_it / without - 1:+.1%}")


# --- opening ----------------------------------------------------------------------------------------------------------


def opening(run: Path) -> float:
    """Seconds from the command to its answer."""
    start = time.perf_counter()
    with subprocess.Popen(["dimo", "view", run, "--port", "7800"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        next(line for line in process.stdout if "http" in line)
        spent = time.perf_counter() - start
        process.terminate()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--soak", type=float, default=0.0, help="minutes")
    parser.add_argument("--training", type=Path, help="a dataset")
    arguments = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(arguments.run, Path(folder) / "run"))
        scene = run / "scene.safetensors"
        print(f"dimo view answers after {min(opening(scene if scene.is_file() else run) for _ in range(3)):.1f} s")
        for opened in (dimo_view, ns_viewer):
            with opened(run) as subject, launched() as browser:
                page = look(browser, subject)
                cpu, start = time.process_time(), time.perf_counter()
                shown = rate(subject, page)
                busy = (time.process_time() - cpu) / (time.perf_counter() - start)
                print(f"{subject.name}: {shown:.1f} pictures per second in playing, {busy:.0%} of a core here")
                found = latencies(subject, page)
                middle, slow = np.quantile(found, (0.5, 0.95))
                print(f"  a change of the latent to its picture: median {middle:.0f} ms, p95 {slow:.0f} ms")
                if arguments.soak:
                    soak(subject, browser, page, arguments.soak, controls(subject))
    if arguments.training:
        training(arguments.training)


if __name__ == "__main__":
    main()
