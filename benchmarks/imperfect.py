"""What views that disagree cost, as those of video models do: trained clean and spoiled, measured on true views.

    python -m benchmarks.imperfect DATASET ... --out FOLDER            # hours; goes on where it was stopped
    python -m benchmarks.imperfect DATASET --out FOLDER --small        # clean and spoiled, briefly: ten minutes

Training views are spoiled in proportion to their angle from view 0, every motion of every view in its own way, by all
kinds of faults together and by each alone; view 0, test views and tracks stay true. Trained by dimo-laptop. FOLDER
keeps the figures (results.jsonl) and, while it is trained on, one spoiled dataset.
"""

import argparse
import copy
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from nerfstudio.scripts.train import train_loop
from nerfstudio.utils import writer
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from dimo_ns.config import dimo_laptop
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.format import load
from dimo_ns.data.frames import convert, read_clip
from dimo_ns.runs import load_run
from dimo_ns.training.evaluation import evaluate_model

KINDS = ("time", "warp", "shift", "colour", "texture", "blur", "mask")
RESULTS = "results.jsonl"
Clip = Float[np.ndarray, "t h w 4"]


# --- faults -----------------------------------------------------------------------------------------------------------


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], grid: int) -> Float[np.ndarray, "h w"]:
    """A field of about unit variance that is as smooth as a grid of so many points a side."""
    coarse = rng.standard_normal((grid, grid))
    places = np.meshgrid(*(np.linspace(0, grid - 1, side) for side in size), indexing="ij")
    return ndimage.map_coordinates(coarse, places, order=3, mode="nearest")


def spoil(clip: Clip, kinds: Sequence[str], amount: float, rng: np.random.Generator) -> Clip:
    """A clip, straight alpha in [0, 1], with faults of these kinds. `amount`: 1 is as bad as a video model's view from
    behind; the clip is then late by up to 1.5 frames and slower by up to 15 %, displaced by 2 pixels of 256 (standard
    deviation) along a field that drifts, shifted by up to 2 of them and larger by up to 2 %, lighter or darker by up
    to 10 % in each colour and 3 % in each frame, of another texture by 8 %, blurred by 1.2 pixels, and its mask too
    wide or too narrow by a quarter in alpha. What is drawn does not depend on `kinds`."""
    frames, h, w, _ = clip.shape
    s = {kind: amount * (kind in kinds) for kind in KINDS}
    pixel = max(h, w) / 256
    delay, slower = rng.uniform(-1.5, 1.5) * s["time"], 1 - rng.uniform(0, 0.15) * s["time"]
    shift, larger = rng.uniform(-2, 2, 2) * pixel * s["shift"], 1 + rng.uniform(-0.02, 0.02) * s["shift"]
    gain, flicker = rng.uniform(-0.1, 0.1, 3) * s["colour"], rng.uniform(-0.03, 0.03, frames) * s["colour"]
    wider = rng.uniform(-0.25, 0.25) * s["mask"]
    texture = 0.08 * s["texture"] * smooth_noise(rng, (h, w), 12)
    begin, later = (np.stack([smooth_noise(rng, (h, w), 5) for _ in "yx"]) for _ in range(2))

    middle = np.array([h, w])[:, None, None] / 2
    places = (np.mgrid[:h, :w] - middle) / larger + middle + shift[:, None, None]
    shown = np.clip(np.round(slower * np.arange(frames) + delay), 0, frames - 1).astype(int)
    spoiled = []
    for frame, turn in enumerate(2 * np.pi * np.arange(frames) / frames):
        picture = clip[shown[frame]]
        rgba = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], -1)
        at = places + 2 * pixel * s["warp"] * (np.cos(turn) * begin + np.sin(turn) * later)
        rgba = np.stack([ndimage.map_coordinates(channel, at, order=1) for channel in np.moveaxis(rgba, -1, 0)], -1)
        rgba = ndimage.gaussian_filter(rgba, (1.2 * pixel * s["blur"],) * 2 + (0,))
        rgb, alpha = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-3), rgba[..., 3:]
        if s["mask"]:
            alpha = np.clip(1.3 * (alpha - 0.5) + 0.5 + wider, 0, 1) * (alpha > 0.02)
        rgb = rgb * (1 + gain) * (1 + flicker[frame]) * (1 + texture[..., None])
        spoiled.append(np.concatenate([np.clip(rgb, 0, 1), alpha], -1))
    return np.stack(spoiled)


def spoiled_set(source: Dataset, out: Path, kinds: Sequence[str], strength: float, seed: int) -> Dataset:
    """Writes a dataset like `source` whose training views, but the first, are spoiled."""
    dataset = convert(source, out)
    first, *others = dataset.train_views
    for (m, motion), (v, view) in product(enumerate(dataset.train_motions), enumerate(others, 1)):
        turned = abs((azimuth(view) - azimuth(first) + 180) % 360 - 180) / 180
        clip: dict[int, Any] = dict(read_clip(dataset, motion.name, view.name))
        straight = np.stack([clip[frame] for frame in sorted(clip)]).astype(np.float32) / 255
        spoiled = spoil(straight, kinds, strength * turned, np.random.default_rng((seed, m, v)))
        for frame, rgba in zip(sorted(clip), np.round(255 * spoiled).astype(np.uint8), strict=True):
            Image.fromarray(rgba).save(dataset.sources[motion.name, view.name, frame].path)
    return load(out)


def azimuth(view: View) -> float:
    """Of where a camera stands, in degrees."""
    return float(np.degrees(np.arctan2(view.c2w[1, 3], view.c2w[0, 3])))


# --- trainings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is trained."""

    object: str
    kinds: str
    """'none', 'all', or one of them."""
    strength: float
    seed: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Their kinds."""
        return {"none": (), "all": KINDS}.get(self.kinds, (self.kinds,))


def cases(names: Sequence[str], small: bool) -> list[Case]:
    """All of the benchmark, the most telling first."""
    if small:
        return [Case(name, kinds, 1.0, 0) for name in names for kinds in ("none", "all")]
    seeds = range(3)
    whole = [Case(name, kinds, 1.0, seed) for seed in seeds for name in names for kinds in ("none", "all")]
    single = [Case(name, kind, 1.0, seed) for seed in seeds for name in names for kind in KINDS]
    strong = [Case(name, kinds, 2.0, seed) for seed in seeds for name in names for kinds in ("all", *KINDS)]
    return [*whole, *single, *strong]


def measure(case: Case, data: Path, folder: Path, length: float) -> dict[str, Any]:
    """Trains on a dataset and measures against true views and tracks."""
    config: Any = copy.deepcopy(dimo_laptop.config)
    config.data = config.pipeline.datamanager.data = data
    config.pipeline.model.length, config.machine.seed = length, 42 + case.seed
    config.output_dir, config.experiment_name, config.timestamp, config.vis = folder, "run", "t", "tensorboard"
    writer.EVENT_WRITERS.clear()
    shutil.rmtree(folder / "run", ignore_errors=True)
    start = time.monotonic()
    config.save_config()
    train_loop(local_rank=0, world_size=1, config=config)
    seconds = time.monotonic() - start
    run = load_run(config.get_base_dir()).pipeline
    figures = evaluate_model(run.model, run.datamanager, None)
    return {
        "psnr": figures["psnr"],
        "tracks": figures.get("track_error_percent"),
        "motions": {name: found["psnr"] for name, found in figures["motions"].items()},
        "track_errors": {name: found["percent"] for name, found in figures.get("track_errors", {}).items()},
        "seconds": seconds,
    }


def table(results: Sequence[dict[str, Any]]) -> Table:
    """A row for each object, kind and strength: the mean over seeds, and how far seeds are apart."""
    shown = Table("object", "faults", "strength", "seeds", "held-out dB", "spread", "tracks %", "minutes", "worst")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results:
        case = result["case"]
        groups.setdefault((case["object"], case["kinds"], case["strength"]), []).append(result["figures"])
    for (name, kinds, strength), found in groups.items():
        psnr, tracks = ([f[key] for f in found if f[key] is not None] for key in ("psnr", "tracks"))
        worst = min(found[0]["motions"].items(), key=lambda item: item[1])
        shown.add_row(
            name,
            kinds,
            f"{strength:g}",
            str(len(found)),
            f"{np.mean(psnr):.2f}",
            f"{np.ptp(psnr):.2f}",
            f"{np.mean(tracks):.2f}" if tracks else "",
            f"{np.mean([f['seconds'] for f in found]) / 60:.1f}",
            f"{worst[0]} {worst[1]:.1f}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    length = 0.5 if options.small else 1.0
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / RESULTS
    results = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(*result["case"].values(), result["length"]) for result in results}
    sources = {root.name: load(root) for root in options.datasets}
    for case in cases(list(sources), options.small):
        if (*astuple(case), length) in done:
            continue
        source, spoiled = sources[case.object], options.out / "spoiled"
        shutil.rmtree(spoiled, ignore_errors=True)
        data = source if case.kinds == "none" else spoiled_set(source, spoiled, case.faults, case.strength, case.seed)
        figures = measure(case, data.root, options.out, length)
        results.append({"case": vars(case), "length": length, "figures": figures})
        with path.open("a") as file:
            file.write(json.dumps(results[-1]) + "\n")
        Console(width=110).print(table([result for result in results if result["length"] == length]))
    shutil.rmtree(options.out / "spoiled", ignore_errors=True)


if __name__ == "__main__":
    main()
