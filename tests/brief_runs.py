"""Runs of ns-train that are over in seconds, on a small dataset."""

from pathlib import Path

import tyro
from nerfstudio.scripts import train as ns_train
from nerfstudio.utils import writer

from dimo_ns.data.creature import write_sample
from dimo_ns.data.creature.motions import CLIPS

LENGTH = "0.006"  # of the laptop's recipe: 60 steps or so, through all of its phases


def write_animal(path: Path) -> Path:
    """Two training motions and a held-out one of the sample animal, small."""
    write_sample(path, size=48, clips=[clip for clip in CLIPS if clip.name in ("walk", "jump", "wave")])
    return path


def train(dataset: Path, out: Path, *extra: str) -> Path:
    """ns-train in this process; the folder of the run."""
    writer.EVENT_WRITERS.clear()
    arguments = ["dimo-laptop", "--data", str(dataset), "--output-dir", str(out), "--vis", "tensorboard"]
    arguments += ["--experiment-name", "e", "--timestamp", "t", "--pipeline.model.length", LENGTH, *extra]
    ns_train.main(tyro.cli(ns_train.AnnotatedBaseConfigUnion, args=arguments))
    return out / "e" / "dimo-laptop" / "t"
