"""Everything that is made from a space of motions, measured: the figures of `dimo evaluate`, against what was aimed at.

    python -m benchmarks.space SCENE DATASET PARAPHRASES OUT    # OUT: folder for evaluation.json and evaluation.png

Times are taken with 20,000 Gaussians (the scene's own, repeated).
"""

import argparse
import json
from pathlib import Path

import torch

from dimo_ns.apps.evaluate import Protocol, evaluate_space, latency
from dimo_ns.apps.language import read_paraphrases
from dimo_ns.data.format import load
from dimo_ns.reports.space_page import draw_space_page
from dimo_ns.runs import open_space

GAUSSIANS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scene", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("paraphrases", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--protocol", type=Path, default=Path(__file__).parent.parent / "configs" / "evaluate.yaml")
    arguments = parser.parse_args()

    space = open_space(arguments.scene)
    protocol = Protocol.read(arguments.protocol)
    figures = evaluate_space(
        space, load(arguments.dataset), protocol, read_paraphrases(arguments.paraphrases), say=print
    )
    gaussians = space.scene.gaussians
    space.scene.gaussians = gaussians.select(torch.arange(GAUSSIANS) % len(gaussians))
    space.scene.refresh_neighbours()
    figures["latency_ms"] = latency(space, protocol.repeats)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw_space_page(figures, arguments.out / "evaluation.png")
    for line in summary(figures):
        print(line)


def summary(figures: dict) -> list[str]:
    """The figures that matter, a line each."""
    found, times, trained = figures["samples"], figures["latency_ms"], figures["reconstruction"]["psnr"]
    faster = 64 * times["trajectories"] / times["trajectories_of_64"]
    lines = [
        f"one latent to a motion of {GAUSSIANS:,} posed Gaussians: {times['posed_motion']:.1f} ms",
        f"key point trajectories: {times['trajectories']:.2f} ms; 64 motions at once: "
        f"{times['trajectories_of_64']:.1f} ms, {faster:.1f} times the throughput",
        f"training motions, held-out views: {trained:.2f} dB",
    ]
    for name, motion in figures.get("held_out", {}).items():
        fits = (f"{key.replace('_', ' ')} {fit['psnr']:.2f} dB in {fit['seconds']:.0f} s"
                for key, fit in motion.items() if key != "best_training_motion")  # fmt: skip
        best = motion["best_training_motion"]
        lines.append(f"{name}: {best['name']} in its place {best['psnr']:.2f} dB; " + "; ".join(fits))
    lines += [
        f"samples: strain within 1.5 times training's in {found['within_1.5_strain']:.1%}, coverage "
        f"{found['coverage']:.0%}, copies {found['copies']:.0%} (training motions: {found['trained_copies']:.0%})",
        f"interpolation: largest step {figures['interpolation']['worst']['largest_step']:.2f} times the mean step",
    ]
    if "language" in figures:
        lines.append(f"language: top 1 {figures['language']['top_1']:.0%}, top 3 {figures['language']['top_3']:.0%}")
    return lines


if __name__ == "__main__":
    main()
