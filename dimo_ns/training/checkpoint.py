"""Checkpoints on disk: written so that a crash, a kill or a full disk never costs the last good one.

Files bear nerfstudio's names, hold tensors and plain Python values only (`torch.load(weights_only=True)`), and are
alone in their folder, since nerfstudio reads every name there as a step.
"""

import io
import os
import random
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimo_ns.errors import DimoError, first_line
from dimo_ns.files.durable import write_files
from dimo_ns.files.opening import regular
from dimo_ns.training.console import tell

MAX_BYTES = 2**36
_NAME = re.compile(r"step-(\d+)\.ckpt")


def steps(directory: Path) -> dict[int, Path]:
    """Checkpoints in a folder, by step, newest first."""
    names = os.listdir(directory) if directory.is_dir() else []
    found = {int(match[1]): directory / name for name in names if (match := _NAME.fullmatch(name))}
    return dict(sorted(found.items(), reverse=True))


def save(directory: Path, state: Mapping[str, Any], keep_only_latest: bool) -> Path:
    """Write `state` as the checkpoint of `state["step"]`, then delete the others if `keep_only_latest`.

    At every moment the folder holds either the old checkpoints or the new one, complete. Raises DimoError when it
    cannot be written (full disk, no permission); the old ones are then untouched.
    """
    path = directory / f"step-{state['step']:09d}.ckpt"
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    try:
        write_files({path: buffer.getbuffer()}, directory.parent / f".{directory.name}.partial")
        if keep_only_latest:
            for other in steps(directory).values():
                if other != path:
                    other.unlink()
    except OSError as error:
        kept = next(iter(steps(directory).values()), None)
        raise DimoError(
            f"The checkpoint {path} could not be written ({error.strerror}); "
            + (f"{kept} is kept: make room and continue from it." if kept else "make room and start again.")
        ) from error
    return path


def load(path: Path, mend: str = "use another one") -> dict[str, Any]:
    """Read one checkpoint onto the CPU. Raises DimoError when it is absent, broken, or not one of ours; `mend` is then
    said to be what may be done."""
    if not regular(path, MAX_BYTES).exists():
        raise DimoError(f"There is no checkpoint {path}; give the path of a file named step-NNNNNNNNN.ckpt.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it wrote
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise DimoError(f"The checkpoint {path} cannot be read, it is damaged; {mend}.") from error
    if not isinstance(state, dict) or "manifest" not in state:
        raise DimoError(f"The checkpoint {path} was not written by dimo training; {mend}.")
    try:
        check_state(state)
    except Exception as error:  # so can what is in it
        raise DimoError(f"The checkpoint {path} is damaged ({first_line(error)}); {mend}.") from error
    return state


PARTS = {"step": int} | dict.fromkeys(("pipeline", "optimizers", "scalers", "sampler", "rng", "manifest"), dict)
"""What a checkpoint consists of."""
MANIFEST = {"motions": list, "dataset_hash": str, "seed": int, "versions": dict}


def check_state(state: Mapping[str, Any]) -> None:
    """Raises, of whatever kind, unless these are all the parts that a run is continued from, their numbers finite."""
    for parts, kinds in ((state, PARTS), (state["manifest"], MANIFEST)):
        for name, kind in kinds.items():
            if not isinstance(parts.get(name), kind) or isinstance(parts[name], bool):
                raise ValueError(f"'{name}' is no {kind.__name__}")
    if not isinstance(state["manifest"].get("scene", {}), dict):  # older ones have none
        raise ValueError("'scene' is no dict")
    if not 0 <= state["step"] < 10**9:
        raise ValueError(f"its step is {state['step']}")
    if not all(isinstance(motion, str) for motion in state["manifest"]["motions"]):
        raise ValueError("its motions have no names")
    if any({"state", "param_groups"} - optimizer.keys() for optimizer in state["optimizers"].values()):
        raise ValueError("an optimizer is not whole")
    for name, tensor in state["pipeline"].items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"'{name}' has numbers that are not finite")
    torch_state, _, numpy_state, python_state = unpack_rng(state["rng"])
    torch.Generator().set_state(torch_state)
    np.random.RandomState().set_state(numpy_state)
    random.Random().setstate(python_state)


def load_newest(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Read the newest checkpoint of a folder that can be read, saying in one line which ones cannot.

    Raises DimoError when there is none.
    """
    found = list(steps(directory).values())
    if not found:
        raise DimoError(
            f"There is no checkpoint in {directory}; give the nerfstudio_models folder of a dimo training run."
        )
    *newer, oldest = found
    for path in newer:
        try:
            return path, load(path, "the one before it is tried")
        except DimoError as error:
            tell(str(error))
    return oldest, load(oldest, "there is none before it: bring one back from a copy, or train anew")


def check_manifest(path: Path, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other motions or of a changed dataset: raises DimoError."""
    if list(saved["motions"]) != list(current["motions"]):
        raise DimoError(
            f"The checkpoint {path} was trained on the motions {', '.join(saved['motions'])}, but the dataset has "
            f"{', '.join(current['motions'])}: give --data with the dataset that it was trained on, or train anew."
        )
    if saved["dataset_hash"] != current["dataset_hash"]:
        raise DimoError(
            f"The checkpoint {path} was trained on another version of the dataset (its hash was "
            f"{saved['dataset_hash'][:12]} and is now {current['dataset_hash'][:12]}): restore it, or train anew."
        )


@contextmanager
def misfits(path: Path) -> Iterator[None]:
    """Within it, what a checkpoint holds is taken over: raises DimoError where it is not of this run's recipe."""
    try:
        yield
    except (RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DimoError(
            f"The checkpoint {path} does not fit the run ({first_line(error)}): give --load-dir with one of the same "
            "method, recipe and length, or train anew."
        ) from error


def rng_state() -> dict[str, Any]:
    """State of the global random number generators of torch, CUDA, numpy and Python, as tensors and plain values."""
    _, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 (nerfstudio seeds the global one)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }


def unpack_rng(state: Mapping[str, Any]) -> tuple[Tensor, list[Tensor], tuple[Any, ...], tuple[Any, ...]]:
    """What the generators of torch, CUDA, numpy and Python take."""
    keys, position, has_gauss, gauss = state["numpy"]
    numpy_state = ("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    return state["torch"], state["cuda"], numpy_state, state["python"]


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Undo of `rng_state`. CUDA generators are left alone when the state has none, or more than this machine."""
    torch_state, cuda, numpy_state, python_state = unpack_rng(state)
    torch.set_rng_state(torch_state)
    if cuda and len(cuda) <= torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)
