"""Where a step of `dimo-laptop`'s last phase spends its time: 8 poses x 2 views at 256, 20,000 Gaussians.

Every part is timed forward and backward by itself; medians over interleaved repetitions. Run: make bench

    python -m benchmarks.training_step --beside 1      # with so many other processes that are busy all the time
"""

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dimo_ns.config import dimo_laptop
from dimo_ns.core.gaussians import gaussians_on
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.data.creature import write_sample
from dimo_ns.data.creature.motions import CLIPS
from dimo_ns.rasterize.render import render
from dimo_ns.training.objective import importance_of, picture_terms
from dimo_ns.training.pipeline import DimoPipeline

GAUSSIANS, REPETITIONS = 20_000, 15


def build(folder: Path) -> DimoPipeline:
    """A pipeline in the joint phase, with as many Gaussians on the hull of the sample animal."""
    write_sample(folder / "sample", clips=CLIPS[:4])
    config = copy.deepcopy(dimo_laptop.config)
    config.data = config.pipeline.datamanager.data = folder / "sample"
    config.output_dir, config.vis, config.timestamp = folder, "tensorboard", "t"
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    pipeline = trainer.pipeline
    pipeline.before_step(0)
    phases = pipeline.model.recipe.phases
    starts = [sum(p.length(4) for p in phases[:i]) for i in range(len(phases))]
    pipeline.before_step(starts[1])
    points = pipeline.model.scene.gaussians.means.detach().repeat(GAUSSIANS // 4000, 1)
    pipeline.population.replace(gaussians_on(points + 0.004 * torch.randn_like(points)))
    pipeline.before_step(starts[-1])
    return pipeline


def step(pipeline: DimoPipeline, number: int) -> dict[str, float]:
    """One step, part by part: seconds."""
    model, spent, clock = pipeline.model, {}, time.perf_counter

    def leaf(*tensors: torch.Tensor) -> list[torch.Tensor]:
        return [t.detach().requires_grad_() for t in tensors]

    def part(name: str, work):
        start = clock()
        result = work()
        spent[name] = spent.get(name, 0.0) + clock() - start
        return result

    number += pipeline.length - 400
    now, following = pipeline.request(number), pipeline.request(number + 1)
    assert now is not None
    assert following is not None
    batch = part("data", lambda: pipeline.datamanager.fetch(now))
    pipeline.datamanager.prefetch(following)
    poses = batch.poses
    transforms = part("decode", lambda: model.scene.trajectory(model.scene.latents.draw(poses.motion_ids), poses.times))
    moved = leaf(transforms.translations, transforms.quats)
    posed = part("skin", lambda: model.scene.carry(RigidTransforms(*moved)))
    fields = ("means", "quats", "scales", "opacities", "colors")
    drawn = leaf(*(getattr(posed, name) for name in fields))
    gaussians = Gaussians(*drawn)
    seen = part("rasterize", lambda: render(gaussians, batch.cameras))
    rendered = leaf(seen.color, seen.alpha)

    weights = model.moment.phase.weights

    def loss() -> torch.Tensor:
        terms = picture_terms(batch.rgba, importance_of(batch, weights), *rendered, (), weights, None)
        return torch.stack(list(terms.values())).sum()

    part("loss", lambda: loss().backward())
    part("rasterize", lambda: torch.autograd.backward([seen.color, seen.alpha], [r.grad for r in rendered]))
    outputs = [(getattr(posed, name), d.grad) for name, d in zip(fields, drawn, strict=True)]
    part("skin", lambda: torch.autograd.backward([output for output, _ in outputs], [grad for _, grad in outputs]))
    part(
        "decode", lambda: torch.autograd.backward([transforms.translations, transforms.quats], [m.grad for m in moved])
    )
    optimizers = pipeline.population.optimizers
    part("optimizer", lambda: ([o.step() for o in optimizers.optimizers.values()], optimizers.zero_grad_all()))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside", type=int, default=0, help="other processes that are busy meanwhile")
    busy = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(busy) for _ in range(parser.parse_args().beside)]
    try:
        measure()
    finally:
        for other in others:
            other.kill()


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pipeline = build(Path(folder))
        step(pipeline, 0)
        runs = [step(pipeline, n) for n in range(1, REPETITIONS + 1)]
    medians = {name: 1e3 * statistics.median(run[name] for run in runs) for name in runs[0]}
    total = 1e3 * statistics.median(sum(run.values()) for run in runs)
    print(f"threads {torch.get_num_threads()}, {GAUSSIANS} Gaussians, 16 renders of 256 x 256")
    for name, value in medians.items():
        print(f"{name:10} {value:7.1f} ms  {value / total:5.1%}")
    print(f"{'step':10} {total:7.1f} ms")


if __name__ == "__main__":
    main()
