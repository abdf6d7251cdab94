"""What sharing one model costs: all motions of a dataset together against one model for each, by the same recipe with
the same steps per motion.

    python -m benchmarks.joint_vs_single DATASET RUN      # RUN: a finished dimo-laptop run on all motions
    python -m benchmarks.joint_vs_single DATASET RUN --whole

Every phase of a single model is as long as the joint run's, divided by the number of motions (the static first phase
is as long as it was); with --whole, as long as the recipe has it for a dataset of one motion, which is several times
as many steps per motion. Prints held-out PSNR per motion, joint and single.
"""

import argparse
import copy
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dimo_ns.config import dimo_laptop
from dimo_ns.runs import load_run
from dimo_ns.training.evaluation import evaluate_model
from dimo_ns.training.recipe import Recipe


def shared_out(recipe: Recipe, motions: int) -> Recipe:
    """The recipe of one of so many models."""
    first, *others = recipe.phases
    return replace(
        recipe,
        phases=(first, *(replace(p, steps=p.length(motions) // motions, steps_per_motion=0) for p in others)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--whole", action="store_true")
    arguments = parser.parse_args()

    joint = load_run(arguments.run).pipeline
    together = evaluate_model(joint.model, joint.datamanager, None)["motions"]
    names = joint.model.motion_names
    alone = {}
    with tempfile.TemporaryDirectory() as folder:  # of all, since the event files are written from other threads
        for name in names:
            config: Any = copy.deepcopy(dimo_laptop.config)
            config.data = config.pipeline.datamanager.data = arguments.dataset
            config.pipeline.datamanager.dataparser.motions = (name,)
            config.output_dir, config.vis, config.timestamp = Path(folder), "tensorboard", name
            if not arguments.whole:
                config.pipeline.model.recipe_text = yaml.safe_dump(asdict(shared_out(joint.model.recipe, len(names))))
            trainer = config.setup(local_rank=0, world_size=1)
            trainer.setup()
            trainer.train()
            alone[name] = evaluate_model(trainer.pipeline.model, trainer.pipeline.datamanager, None)["motions"][name]
            print(
                f"{name:12} joint {together[name]['psnr']:6.2f} dB   single {alone[name]['psnr']:6.2f} dB", flush=True
            )
    means = [np.mean([figures[name]["psnr"] for name in names]) for figures in (together, alone)]
    print(f"{'mean':12} joint {means[0]:6.2f} dB   single {means[1]:6.2f} dB   {len(names)} motions")


if __name__ == "__main__":
    main()
