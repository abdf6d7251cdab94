"""How many operations a training step gives to a GPU, by recipe and phase, with our Triton kernels and without.

    python -m benchmarks.launches [RECIPE ...]      # minutes: what is counted runs on the CPU, in Triton's interpreter

Counted on a stand-in for a CUDA device, in tiny sizes: every operation that is not a view or an allocation is one, and
gsplat's are as many as its source has (`tests/pretend/cuda.py`). The number does not depend on sizes.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels' modules are imported

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch

from dimo_ns.training.recipe import names
from dimo_ns.training.trainer import DimoTrainer
from tests.brief_runs import train, write_animal
from tests.pretend.cuda import launches, pretend_cuda
from tests.pretend.small_recipes import write_small


def counts(recipe: str, kernels: bool, dataset: Path, folder: Path) -> dict[str, int]:
    """Of a step of each phase that is not its first: forward, backward and optimizers."""
    found: dict[str, int] = {}
    iteration = DimoTrainer.train_iteration

    def counted(trainer: DimoTrainer, step: int):
        with launches() as seen:
            result = iteration(trainer, step)
        found[str(trainer.pipeline.phase)] = seen.total()
        return result

    out = folder / f"{recipe}-{kernels}"
    out.mkdir()
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet, pretend_cuda(kernels=kernels), mock.patch.object(DimoTrainer, "train_iteration", counted):
        train(dataset, out, "--pipeline.model.recipe", str(write_small(recipe, out)), "--pipeline.model.length", "1")
    return found


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'recipe':12} {'phase':14} {'kernels':>8} {'torch':>8}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # events are still being written
        dataset = write_animal(Path(folder) / "animal")
        for recipe in sys.argv[1:] or names():
            ours, torchs = (counts(recipe, kernels, dataset, Path(folder)) for kernels in (True, False))
            for phase in ours:
                print(f"{recipe:12} {phase:14} {ours[phase]:8} {torchs[phase]:8}", flush=True)


if __name__ == "__main__":
    main()
