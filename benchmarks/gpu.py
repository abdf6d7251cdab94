"""What only a GPU can tell, in one call of less than 8 minutes: agreement with the CPU, the tests that need a GPU,
where the time of a step goes, whole trainings with their quality and memory, and how fast motions become pictures.

    python -m benchmarks.gpu --data FOLDER --out gpu.json     # FOLDER holds datasets called fox, fox_512 and robot
    python -m benchmarks.gpu --data FOLDER --part "dimo-paper on fox"
    python -m benchmarks.gpu --small                          # on any machine: does every part run?

Every part is a process of its own with a limit of its own; one that fails or takes too long is reported, and the others
go on. Prints a table and writes what each part said as JSON.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

Figures = dict[str, Any]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gib() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def median_ms(work: Callable[[], Any], repetitions: int) -> float:
    """Of a call with nothing else under way, after some to warm up."""
    times: list[float] = []
    for number in range(repetitions + 5):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times += [1e3 * (time.perf_counter() - start)] if number >= 5 else []
    return statistics.median(times)


# --- parts -----------------------------------------------------------------------------------------------------------


def machine(_: argparse.Namespace) -> Figures:
    """What is measured; gsplat's kernels are compiled, if they are still to be."""
    from importlib.metadata import version

    from dimo_ns import gpu
    from dimo_ns.training.device import draw_something

    start = time.monotonic()
    draw_something(device())
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    versions = {package: version(package) for package in ("dimo-ns", "torch", "gsplat", "nerfstudio")}
    usable = gpu.usable(torch.zeros(1, device=device()))
    return {"name": name, **versions, "triton kernels": usable, "first picture s": time.monotonic() - start}


def agreement(options: argparse.Namespace) -> Figures:
    """Pictures and gradients of anisotropic Gaussians against the CPU's: 99.9 % of the values are at most so far off,
    relative to the largest."""
    from dimo_ns.core.cameras import orbit
    from dimo_ns.rasterize import rasterization

    count, generator = 500 if options.small else 20_000, torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    scales = 0.02 * torch.exp(0.8 * draw(count, 3))
    leaves = [0.25 * draw(count, 3), draw(count, 4), scales, torch.sigmoid(draw(count)), draw(count, 3)]
    cameras = orbit(torch.tensor([0.0, 120.0]), 15.0, (256, 256))
    results = []
    for place in (torch.device("cpu"), device()):
        inputs = [leaf.clone().to(place).requires_grad_() for leaf in leaves]
        seen = cameras.to(place)
        image, alpha, _ = rasterization(*inputs, seen.viewmats, seen.Ks, 256, 256)
        weight = torch.linspace(0, 1, image.numel(), device=place).view(image.shape)
        ((image * weight).sum() + alpha.square().sum()).backward()
        results.append([t.detach().cpu() for t in (image, alpha, *(leaf.grad for leaf in inputs))])
    names = ("image", "alpha", "means", "quats", "scales", "opacities", "colors")
    off = [((b - a).abs() / a.abs().max()).flatten() for a, b in zip(*results, strict=True)]
    return {
        name: float(x[torch.randperm(len(x))[:1_000_000]].quantile(0.999)) for name, x in zip(names, off, strict=True)
    }


def tests(options: argparse.Namespace) -> Figures:
    """The tests that need CUDA, and those of the kernels."""

    def outcome(*arguments: str) -> Figures:
        command = [sys.executable, "-m", "pytest", "-q", "--tb=line", *arguments]
        said = subprocess.run(command, capture_output=True, text=True).stdout.strip().splitlines()
        return {"said": said[-1], "failed": [line for line in said if line.startswith(("FAILED", "ERROR", "/", "E "))]}

    needing = outcome("-m", "gpu", "tests/rasterize", "tests/training/test_replay.py")
    return {"marked gpu": needing, "kernels": outcome("tests/gpu")}


def steps(options: argparse.Namespace, method: str) -> Figures:
    """By phase of a method on fox_512: milliseconds of a step, of it the device's and the host's; kernel launches,
    copies and waits."""
    found: Figures = {}
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    with trainer_of(method, dataset(options, "fox_512"), 0.002 if options.small else 0.05) as trainer:
        pipeline, train_step = trainer.pipeline, trainer._train_step
        hold_all(pipeline)
        lengths = [phase.length(len(pipeline.model.motion_names)) for phase in pipeline.model.recipe.phases]
        ends = list(itertools.accumulate(lengths))
        now: Figures = {}

        def step(number: int) -> None:
            """The last steps of a phase are looked at: at first timed, then profiled."""
            index = next(index for index, end in enumerate(ends) if number < end)
            left, count = ends[index] - number, max(1, min(10, lengths[index] // 2))
            if left == 2 * count or (lengths[index] == 1 and left == 1):
                wait()
                now["start"] = time.perf_counter()
            if left == count:
                wait()
                now["ms"] = 1e3 * (time.perf_counter() - now["start"]) / count
                now["profiler"] = torch.profiler.profile(activities=activities)
                now["profiler"].__enter__()
            train_step(number)
            if left == 1:
                wait()
                now["profiler"].__exit__(None, None, None)
                found[pipeline.phase] = {"ms": now["ms"]} | profiled(now["profiler"], count)
                found[pipeline.phase]["gaussians"] = len(pipeline.model.scene.gaussians)

        trainer._train_step = step
        trainer.train()
    return found


def hold_all(pipeline: Any) -> None:
    """Reads the frames, in the sizes that the recipe wants: a whole training does so once, in its first steps."""
    manager = pipeline.datamanager
    motion_ids, frame_ids, view_ids = map(torch.from_numpy, manager.frames.available.nonzero())
    for resolution in {size for phase in pipeline.model.recipe.phases for _, size in phase.sizes}:
        manager.resident.rows(motion_ids, frame_ids, view_ids[:, None], manager.size_at(resolution))


def profiled(profiler: Any, count: int) -> Figures:
    """Of a profile over so many steps, by step."""
    events = profiler.key_averages()
    on_device = [e for e in events if "CPU" not in str(e.device_type)]

    def calls(*names: str) -> float:
        return sum(e.count for e in events if e.key.startswith(names)) / count

    def dearest(events: Any, cost: str) -> dict[str, float]:
        most = sorted(events, key=lambda e: -getattr(e, cost))[:12]
        return {e.key[:60]: getattr(e, cost) / count / 1e3 for e in most}

    return {
        "device ms": sum(e.self_device_time_total for e in on_device) / count / 1e3,
        "host ms": sum(e.self_cpu_time_total for e in events) / count / 1e3,
        "launches": calls("cudaLaunchKernel", "cuLaunchKernel"),
        "copies": calls("cudaMemcpyAsync"),
        "waits": calls("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
        "dearest on the device, ms": dearest(on_device, "self_device_time_total"),
        "dearest on the host, ms": dearest(events, "self_cpu_time_total"),
    }


def whole(options: argparse.Namespace, method: str, name: str) -> Figures:
    """A training from its start to its last checkpoint, and what ns-eval says of it."""
    start = time.monotonic()
    with trainer_of(method, dataset(options, name), 0.002 if options.small else 1.0) as trainer:
        begun: dict[str, float] = {"set up": start, "the first step": time.monotonic()}
        train_step = trainer._train_step

        def step(number: int) -> None:
            train_step(number)
            begun.setdefault(trainer.pipeline.phase, time.monotonic())

        trainer._train_step = step
        trainer.train()
        wait()
        ends = [*begun.values(), time.monotonic()]
        seconds = ends[-1] - start
        by_phase = {name: after - before for name, (before, after) in zip(begun, itertools.pairwise(ends), strict=True)}
        figures = trainer.pipeline.get_average_eval_image_metrics()
        kept = {key: figures[key] for key in ("psnr", "foreground_psnr", "ssim", "gaussians") if key in figures}
        return {
            "train s": seconds,
            "of it by phase, s": by_phase,
            "peak GiB": peak_gib(),
            **kept,
            "tracks %": figures.get("track_error_percent"),
        }


def pictures(options: argparse.Namespace) -> Figures:
    """From a latent to a posed motion and to a picture of 512 x 512, and how many a viewer could send."""
    from dimo_ns.core.cameras import orbit
    from dimo_ns.rasterize.render import render

    scene = made_up(1_000 if options.small else 100_000, 10).to(device())
    z, repetitions = scene.latents.mu[:1], 3 if options.small else 100
    camera = orbit(torch.tensor([30.0]), 10.0, (512, 512)).to(device())
    t, times = torch.tensor([0.3], device=device()), torch.arange(21, device=device()) / 21

    def show() -> torch.Tensor:
        return render(scene.pose(z, t), camera[None]).over(1.0).clamp(0, 1)

    with torch.no_grad():
        return {
            "latent to 512 x 512 ms": median_ms(show, repetitions),
            "pictures a second on the host": 1e3 / median_ms(lambda: (show() * 255).byte().cpu(), repetitions),
            "latent to 21 frames ms": median_ms(lambda: scene.pose(z.expand(21, -1), times), repetitions),
        }


def growth(options: argparse.Namespace) -> Figures:
    """Milliseconds of decoding and posing a batch of 8, forward and backward with Adam, by the number of motions."""
    from dimo_ns.training.movers import draw
    from dimo_ns.training.optim import step_all

    found: Figures = {}
    for motions in (10, 1000):
        scene = made_up(1_000 if options.small else 20_000, motions).to(device())
        optimizers = [torch.optim.Adam(scene.parameters(), lr=1e-5, fused=True)]
        motion_ids, times = torch.arange(8, device=device()), torch.rand(8, device=device())
        fine = torch.zeros((), device=device())

        def work(scene=scene, optimizers=optimizers, motion_ids=motion_ids, times=times, fine=fine) -> None:
            z, divergence = draw(scene.latents, motion_ids)
            posed = scene.carry(scene.trajectory(z, times))
            (posed.means.square().mean() + 1e-6 * divergence).backward()
            step_all(optimizers, fine)
            scene.zero_grad()

        found[f"{motions} motions ms"] = median_ms(work, 3 if options.small else 50)
    return found


# --- what they need --------------------------------------------------------------------------------------------------


def made_up(gaussians: int, motions: int) -> Any:
    """A scene of the full size with random motions."""
    from dimo_ns.core.decoder import LowRankDecoder
    from dimo_ns.core.gaussians import init_around_keypoints
    from dimo_ns.core.latents import MotionLatents
    from dimo_ns.core.scene import Scene
    from dimo_ns.rasterize.skinning import fused_skin

    generator, keypoints = torch.Generator().manual_seed(0), 512
    places = 0.5 * torch.nn.functional.normalize(torch.randn(keypoints, 3, generator=generator), dim=-1)
    radii, colors = torch.full((keypoints,), 0.05), torch.rand(keypoints, 3, generator=generator)
    splats = init_around_keypoints(places, radii, colors, gaussians // keypoints, generator=generator)
    decoder = LowRankDecoder(keypoints, rank=128, width=512)
    return Scene(MotionLatents(motions), decoder, places, radii, splats, fused_skin)


def dataset(options: argparse.Namespace, name: str) -> Path:
    """One of the datasets, or with --small a small one in its place."""
    if not options.small:
        return options.data / name
    from dimo_ns.data.creature import write_sample
    from dimo_ns.data.creature.motions import CLIPS

    folder = Path(tempfile.gettempdir()) / "dimo-gpu-small"
    if not folder.exists():
        write_sample(folder, size=48, clips=CLIPS[:3])
    return folder


@contextmanager
def trainer_of(method: str, data: Path, length: float) -> Iterator[Any]:
    """nerfstudio's trainer of a method, set up."""
    import copy

    from nerfstudio.configs.method_configs import all_methods

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # events are still being written
        config: Any = copy.deepcopy(all_methods[method])
        config.data = config.pipeline.datamanager.data = data.resolve()
        config.output_dir, config.vis, config.timestamp = Path(folder), "tensorboard", "t"
        config.pipeline.model.length = length
        config.steps_per_eval_image = config.steps_per_eval_batch = config.steps_per_eval_all_images = 10**9
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        yield trainer


PARTS: dict[str, tuple[int, Callable[[argparse.Namespace], Figures]]] = {
    "machine": (200, machine),
    "agreement": (30, agreement),
    "tests": (90, tests),
    "pictures": (30, pictures),
    "growth": (30, growth),
    "steps of dimo": (60, lambda options: steps(options, "dimo")),
    "steps of dimo-laptop": (60, lambda options: steps(options, "dimo-laptop")),
    "steps of dimo-paper": (60, lambda options: steps(options, "dimo-paper")),
    "dimo-laptop on robot": (120, lambda options: whole(options, "dimo-laptop", "robot")),
    "dimo on fox_512": (240, lambda options: whole(options, "dimo", "fox_512")),
}
"""Seconds that each may take, and what does it; the cheapest and most telling first."""
PARTS_BY_NAME = PARTS | {"dimo-paper on fox": (300, lambda options: whole(options, "dimo-paper", "fox"))}
"""With what is done only when it is asked for."""


def run_part(name: str, options: argparse.Namespace) -> Figures:
    """In a process of its own: what it found, or why it found nothing."""
    limit = PARTS[name][0] * (5 if options.small else 1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "part.json"
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--out", str(out)]
        command += ["--small"] if options.small else ["--data", str(options.data)]
        start = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {limit} s"}
        if done.returncode or not out.exists():
            return {"failed": "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])}
        return json.loads(out.read_text()) | {"seconds": round(time.monotonic() - start, 1)}


def show(name: str, figures: Figures, indent: str = "") -> None:
    print(f"{indent}{name}")
    for key, value in figures.items():
        if isinstance(value, dict):
            show(key, value, indent + "  ")
        else:
            print(f"{indent}  {key:32} {f'{value:.4g}' if isinstance(value, float) else value}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the datasets fox, fox_512 and robot")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="JSON file that is written")
    parser.add_argument(
        "--part",
        choices=PARTS_BY_NAME,
        help="this part alone, in this process",
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, on any machine")
    options = parser.parse_args()
    if not options.small and not torch.cuda.is_available():
        parser.error("there is no CUDA device; try --small")
    if not options.small and options.data is None:
        parser.error("give --data FOLDER, with fox, fox_512 and robot in it")
    if options.part:
        options.out.write_text(json.dumps(PARTS_BY_NAME[options.part][1](options)))
        return
    found: Figures = {}
    for name in PARTS:
        found[name] = run_part(name, options)
        show(name, found[name])
        options.out.write_text(json.dumps(found, indent=1))
    sys.exit(any("failed" in figures for figures in found.values()))


if __name__ == "__main__":
    main()
