"""Checkpoints on disk: written so that a crash, a kill or a full disk never costs the last good one.

Files bear nerfstudio's names, hold tensors and plain Python values only (`torch.load(weights_only=True)`), and are
alone in their folder, since nerfstudio reads every name there as a step.
"""

import io
import os
import random
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE

from dimo_ns.errors import DimoError
from dimo_ns.files.durable import write_files
from dimo_ns.files.opening import regular

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


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint onto the CPU. Raises DimoError when it is absent, broken, or not one of ours."""
    if not path.is_file():
        raise DimoError(f"There is no checkpoint {path}; give the path of a file named step-NNNNNNNNN.ckpt.")
    try:
        # torch does not look at the checksums that it wrote
        with zipfile.ZipFile(regular(path, MAX_BYTES)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise DimoError(f"The checkpoint {path} cannot be read; it is damaged: use another one.") from error
    if not isinstance(state, dict) or "manifest" not in state:
        raise DimoError(f"The checkpoint {path} was not written by dimo; give one from a dimo training run.")
    return state


def load_newest(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Read the newest checkpoint of a folder that can be read, saying in one line which ones cannot.

    Raises DimoError when there is none.
    """
    for path in steps(directory).values():
        try:
            return path, load(path)
        except DimoError as error:
            CONSOLE.print(f"{error} Trying the one before it.", markup=False, soft_wrap=True)
    raise DimoError(
        f"There is no readable checkpoint in {directory}; give the nerfstudio_models folder of a dimo training run."
    )


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


def rng_state() -> dict[str, Any]:
    """State of the global random number generators of torch, CUDA, numpy and Python, as tensors and plain values."""
    _, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 (nerfstudio seeds the global one)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Undo of `rng_state`. CUDA generators are left alone when the state has none, or more than this machine."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) <= torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    random.setstate(state["python"])
