"""kill -9 while something is trained, exported, converted or generated: nothing is lost, and the rerun completes it.

    python -m benchmarks.kills [--kills N] [--seed S]     # some ten minutes for a hundred
    python -m benchmarks.kills --job NAME

Each job is done once undisturbed, then again in new folders, where its process is killed over and over, in turn at a
random moment and just before a random one of its changes to files, and done again by what a user would type. After each
kill its input is as it was, what it had finished is still there, and what it promises to write at once is whole or
absent. It ends with the same bytes, killed or not; of a checkpoint, with the same numbers to the bit.
"""

import argparse
import copy
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from nerfstudio.scripts.train import train_loop
from nerfstudio.utils import writer

from benchmarks.hostile.__main__ import make_material, prepare
from benchmarks.hostile.commands import COMMANDS
from benchmarks.hostile.judge import Listing, exit_code, listing
from dimo_ns import demo
from dimo_ns.cli import main as dimo
from dimo_ns.config import dimo_laptop, dimo_paper
from dimo_ns.space.file import FILE
from dimo_ns.training import checkpoint
from tests.brief_runs import write_animal
from tests.generate.stub_makers import StubVideos, StubViews, do_all, stub_generation

EXPORTS = ("scene", "trajectories", "ply", "glb", "html", "all")
COMMANDS_THAT_WRITE = (
    *(f"export {form}" for form in EXPORTS),
    "data convert", "data from-videos", "render", "sample", "interpolate", "fit", "import authors",
)  # fmt: skip
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
TIMED = ("out/fit.json",)
"""What says how long it took, and so is never the same."""
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Job:
    """Something that is done in a folder, and done again after it was killed."""

    name: str
    do: Callable[[Path, Path], Any]
    """Takes the folder of the material, which it only reads, and that of the job."""
    share: int
    """How many of a hundred kills it gets."""
    result: Callable[[Path], dict[str, Any]]
    """What it ends with: equal, whether it was killed or not."""
    kept: Callable[[Path], set[Any]]
    """What is finished in its folder; none of it is ever lost. Raises if something there is broken."""
    at_once: bool = True
    """The result is there whole, or nothing of it."""


def command(name: str, share: int) -> Job:
    """A command of `dimo` whose output is complete or absent."""

    def do(material: Path, folder: Path) -> None:
        if not outputs(folder):
            line = COMMANDS[name].line({})
            dimo([word.replace("@out", f"{folder}/out").replace("@", f"{material}/") for word in line])

    def outputs(folder: Path) -> Listing:
        return {path: entry for path, entry in listing(folder).items() if path.startswith("out") and path not in TIMED}

    return Job(name, do, share, outputs, lambda folder: set(outputs(folder)))


def training(method: Any, length: float, save_every: int, share: int) -> Job:
    """A method of a length, that goes on from its last checkpoint."""

    def do(material: Path, folder: Path) -> None:
        config = copy.deepcopy(method.config)
        config.data = config.pipeline.datamanager.data = material / "animal"
        config.pipeline.model.length, config.steps_per_save = length, save_every
        config.output_dir, config.experiment_name, config.timestamp = folder, "e", "t"
        config.vis = "tensorboard"
        if checkpoint.steps(checkpoints(folder)):
            config.load_dir = checkpoints(folder)
        config.save_config()
        train_loop(local_rank=0, world_size=1, config=config)

    def checkpoints(folder: Path) -> Path:
        return folder / "e" / method.config.method_name / "t" / "nerfstudio_models"

    def kept(folder: Path) -> set[int]:
        """Every step up to that of the newest checkpoint, which is read whole."""
        found = next(iter(checkpoint.steps(checkpoints(folder)).values()), None)
        return set(range(checkpoint.load(found)["step"] + 1)) if found else set()

    def result(folder: Path) -> dict[str, Any]:
        return flat(checkpoint.load(next(iter(checkpoint.steps(checkpoints(folder)).values()))))

    return Job(method.config.method_name, do, share, result, kept, at_once=False)


def generation() -> Job:
    """A dataset of generated motions, by makers without models, that does what is not done yet."""

    def do(_: Path, folder: Path) -> None:
        if not (folder / "set").exists():
            makers = {"videos": StubVideos(pause_s=0.01), "views": StubViews(pause_s=0.01)}
            do_all(stub_generation(folder / "set.work", 6, **makers), folder / "set")

    def result(folder: Path) -> Listing:
        return {path: entry for path, entry in listing(folder).items() if Path(path).parts[0] == "set"}

    def kept(folder: Path) -> set[str]:
        return {str(path) for path in (folder / "set.work").glob("[vc]*/**/item.json")} if not result(folder) else set()

    return Job("generate", do, 12, result, kept)


def demonstration() -> Job:
    """`dimo demo`, on a small dataset, and short."""

    def do(_: Path, folder: Path) -> None:
        small = mock.patch.object(demo, "write_sample", lambda path, progress: opened(write_animal(path)))
        with small, mock.patch.object(demo, "LENGTH", 0.006):
            dimo(["demo", "--out", str(folder / "demo")])

    def opened(path: Path) -> Any:
        return demo.load(path)

    def home(folder: Path) -> Path:
        return folder / "demo" / "training" / "dimo-laptop" / "demo"

    def result(folder: Path) -> Listing:
        found = listing(folder / "demo")
        return {
            name: found[name] for name in found if name.startswith("sample") or Path(name).name in (FILE, demo.PAGE)
        }

    def kept(folder: Path) -> set[int]:
        return set(range(max(checkpoint.steps(home(folder) / "nerfstudio_models"), default=-1) + 1))

    return Job("demo", do, 5, result, kept, at_once=False)


def jobs() -> list[Job]:
    return [
        training(dimo_laptop, 0.006, 8, 20),
        training(dimo_paper, 0.0005, 2, 12),
        generation(),
        demonstration(),
        *(command(name, 4) for name in COMMANDS_THAT_WRITE),
    ]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries and lists by their paths; of a tensor its type and bytes."""
    if isinstance(value, dict):
        pairs: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    elif isinstance(value, torch.Tensor):
        return {name: (value.dtype, value.shape, value.numpy().tobytes())}
    else:
        return {name: value}
    return {path: leaf for key, inner in pairs for path, leaf in flat(inner, f"{name}.{key}").items()}


# --- one process ------------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """A process that does a job: how it ended, and how many changes to files it made."""

    status: int
    seconds: float
    changes: int

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


def live(job: Job, material: Path, folder: Path, after_s: float = PATIENCE_S, before_change: int = 0) -> Life:
    """Does a job in a process of its own that is killed after so long, or before that change, counted from 1."""
    counter = mmap.mmap(-1, 8)
    start = time.monotonic()
    process = os.fork()
    if not process:
        os._exit(in_child(job, material, folder, counter, before_change))
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() - start > after_s:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.001)
    return Life(os.waitstatus_to_exitcode(ended[1]), time.monotonic() - start, *struct.unpack("q", counter[:]))


def in_child(job: Job, material: Path, folder: Path, counter: mmap.mmap, before_change: int) -> int:
    """The exit code of a job; what it says goes to a file."""
    os.setsid()
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and str(arguments[0]).startswith(str(folder)):
            (count,) = struct.unpack("q", counter[:])
            counter[:] = struct.pack("q", count + 1)
            if count + 1 == before_change:
                os.kill(os.getpid(), signal.SIGKILL)

    writer.EVENT_WRITERS.clear()
    sys.addaudithook(look)
    return exit_code(lambda: job.do(material, folder))


# --- many lives -------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of a job."""

    kills: int = 0
    with_nothing: int = 0
    """Kills before anything was finished."""
    folders: int = 0
    faults: list[str] = field(default_factory=list)


def torment(job: Job, material: Path, root: Path, kills: int, chance: random.Random) -> Tally:
    """Kills a job that many times, in folders where it is brought to its end after at most four."""
    tally, untouched = Tally(), listing(material)
    whole = fresh(root, "whole")
    first = live(job, material, whole)
    if first.status:
        return Tally(faults=[f"fails undisturbed: {last_words(whole)}"])
    expected = job.result(whole)
    if not expected:
        return Tally(faults=["leaves no result"])
    while tally.kills < kills and not tally.faults:
        tally.folders += 1
        folder = fresh(root, str(tally.folders))
        for _ in range(min(4, kills - tally.kills)):
            had = job.kept(folder)
            if tally.kills % 2:
                life = live(job, material, folder, after_s=chance.uniform(0, first.seconds))
            else:
                life = live(job, material, folder, before_change=chance.randint(1, first.changes))
            if not life.was_killed:
                tally.faults += [f"was refused after a kill: {last_words(folder)}"] if life.status else []
                break
            tally.kills += 1
            try:
                has = job.kept(folder)
            except Exception as error:
                tally.faults.append(f"left something broken: {error}")
                break
            tally.with_nothing += not has
            if job.at_once and job.result(folder) not in ({}, expected):
                tally.faults.append("left an output that is not whole")
            if had - has:
                tally.faults.append(f"lost {len(had - has)} things, as {sorted(map(str, had - has))[0]:.80}")
        last = live(job, material, folder)
        if last.status:
            tally.faults.append(f"does not complete: {last_words(folder)}")
        elif job.result(folder) != expected:
            got = job.result(folder)
            other = [name for name in {**expected, **got} if expected.get(name) != got.get(name)]
            tally.faults.append(f"ends otherwise in {len(other)} places, as {min(other)}")
        if listing(material) != untouched:
            tally.faults.append("changed its input")
    return tally


def fresh(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    return root / name


def last_words(folder: Path) -> str:
    return (folder / "said").read_text(errors="replace").strip()[-400:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100, help="how many in all, some more by rounding up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", help="only this one")
    options = parser.parse_args()
    prepare()
    chosen = [job for job in jobs() if options.job in (None, job.name)]
    share = sum(job.share for job in chosen)
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        root = Path(scratch)
        make_material(root / "material")
        write_animal(root / "material" / "animal")
        for job in chosen:
            start = time.monotonic()
            kills = -(-options.kills * job.share // share)
            tally = torment(
                job, root / "material", root / job.name.replace(" ", "-"), kills, random.Random(options.seed)
            )
            print(
                f"{job.name:20} {tally.kills:3} kills, {tally.with_nothing:3} before anything was finished, "
                f"{tally.folders:2} times brought to its end, {time.monotonic() - start:4.0f} s: "
                f"{'; '.join(tally.faults) or 'nothing lost, the same end'}",
                flush=True,
            )
            total.kills += tally.kills
            total.faults += tally.faults
    print(f"{total.kills} kills, {len(total.faults)} faults")
    raise SystemExit(bool(total.faults))


if __name__ == "__main__":
    main()
