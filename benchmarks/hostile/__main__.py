"""Bad input to every command of `dimo`: each is to end with a sentence and exit code 2, or to be taken with 0.

    python -m benchmarks.hostile [--limit N] [--seed S]     # some ten minutes for all
    python -m benchmarks.hostile --case N                   # one case, with what it said

A case fails if a command ends otherwise, with a traceback or not at all within 60 s, takes 2 GB more than it had, says
more than a sentence on stderr, or changes anything beside its output; after a refusal, anything at all. Each runs in a
process that is forked off one that has imported everything. Fits take few steps, and a viewer ends at once.
"""

import argparse
import gc
import importlib
import os
import pkgutil
import shlex
import sys
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}

import torch

import dimo_ns
from benchmarks.hostile import judge, material
from benchmarks.hostile.cases import Case, cases

HEAVY = ("sentence_transformers", "matplotlib.pyplot")
FIT = {
    "latent.SMALL_STEPS": 3, "latent.FULL_STEPS": 3, "latent.CANDIDATES": 6, "align.STEPS": 3, "align.TURNS": 3,
    "align.POSES": 2, "align.STARTS": 1, "adapt.TRACK_STEPS": 3, "adapt.TRACK_STEPS_FEW": 3, "adapt.REFINE_STEPS": 3,
}  # fmt: skip


def prepare() -> None:
    """Imports what commands import, and makes short what would take long. No thread is started: each case is forked."""
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(dimo_ns.__path__, "dimo_ns."):
        if not module.name.startswith("dimo_ns.gpu"):
            importlib.import_module(module.name)
    for name in HEAVY:
        importlib.import_module(name)
    for name, value in FIT.items():
        mock.patch(f"dimo_ns.apps.fit.{name}", value).start()
    mock.patch("dimo_ns.viewer.serve.SceneViewer.wait", return_value=None).start()
    gc.collect()
    gc.freeze()


def make_material(folder: Path) -> None:
    """Makes the good input in a process of its own, for it starts threads."""
    folder.mkdir()
    process = os.fork()
    if not process:
        with open(os.devnull, "w") as nowhere:
            sys.stdout = nowhere
            material.make(folder)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise SystemExit("The good input could not be made.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="an even sample of so many cases")
    parser.add_argument("--case", type=int, help="one case, and all that it says")
    options = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        root = Path(scratch)
        make_material(root / "material")
        every = cases(root / "material", options.seed)
        if options.case is not None:
            outcome = judge.run(every[options.case], root / "material", root / "case")
            told(options.case, every[options.case], outcome)
            print(f"{outcome.out}{outcome.err}exit code {outcome.code}, {outcome.seconds:.1f} s")
            raise SystemExit(bool(outcome.faults))
        count = min(options.limit or len(every), len(every))
        failed = judged(
            {i * len(every) // count: every[i * len(every) // count] for i in range(count)}, root, options.seed
        )
    gc.unfreeze()
    raise SystemExit(failed > 0)


def judged(chosen: dict[int, Case], root: Path, seed: int) -> int:
    """Runs these cases, prints those that fail and the table of all; how many failed."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    before = judge.listing(root / "material")
    slowest = 0.0
    print(f"{len(chosen)} cases", flush=True)
    for number, case in chosen.items():
        outcome = judge.run(case, root / "material", root / "case")
        slowest = max(slowest, outcome.seconds)
        row = counts.setdefault((case.command.name, case.kind), Counter())
        row.update(["cases", f"exit {outcome.code}", *(["failures"] if outcome.faults else [])])
        if outcome.faults:
            told(number, case, outcome)
            print(f"    python -m benchmarks.hostile --seed {seed} --case {number}", flush=True)
    if judge.listing(root / "material") != before:
        raise SystemExit("The material was changed.")
    columns = ("cases", "exit 2", "exit 0", "failures")
    print(f"\n{'command':20} {'kind':10}" + "".join(f"{column:>10}" for column in columns))
    rows = {**counts, ("all", ""): sum(counts.values(), Counter())}
    for (command, kind), row in sorted(rows.items(), key=lambda item: (item[0][0] == "all", item[0])):
        print(f"{command:20} {kind:10}" + "".join(f"{row[column]:>10}" for column in columns))
    print(f"The slowest took {slowest:.1f} s.")
    return rows["all", ""]["failures"]


def told(number: int, case: Case, outcome: judge.Outcome) -> None:
    """Prints what a case is, and what is wrong with how it ended."""
    faults = "; ".join(outcome.faults) or "as it should be"
    print(f"{number} {case.command.name}, {case.kind}: {case.what!a}: {faults}")
    print(f"    dimo {shlex.join(outcome.line)[:300]!a}")


if __name__ == "__main__":
    main()
