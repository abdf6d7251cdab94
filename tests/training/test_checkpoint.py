"""Checkpoints survive kills, full disks and damaged files, and hold nothing but tensors and plain values."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from dimo_ns.errors import DimoError
from dimo_ns.training import checkpoint

MANIFEST = {"motions": ["walk", "jump"], "dataset_hash": "a" * 64, "seed": 42, "versions": {"torch": "2"}}


def state_at(step: int) -> dict:
    """All that a run is continued from."""
    return {
        "step": step,
        "pipeline": {"means": torch.full((4, 3), float(step))},
        "optimizers": {"means": {"state": {}, "param_groups": []}},
        "scalers": {},
        "sampler": {"seed": 42},
        "rng": checkpoint.rng_state(),
        "manifest": MANIFEST,
    }


def without(state: dict, *path: str) -> dict:
    """A copy that lacks what lies there."""
    first, *rest = path
    return {k: without(v, *rest) if k == first else v for k, v in state.items() if k != first or rest}


RNG = checkpoint.rng_state()
BROKEN = {
    **{f"no {'.'.join(path)}": without(state_at(2), *path) for path in (
        ("step",), ("pipeline",), ("optimizers",), ("sampler",), ("rng",), ("rng", "torch"),
        ("rng", "numpy"), ("rng", "python"), ("manifest", "motions"), ("manifest", "dataset_hash"),
        ("manifest", "seed"), ("manifest", "versions"), ("optimizers", "means", "state"))},
    "a step of text": state_at(2) | {"step": "2"},
    "a step that is true": state_at(2) | {"step": True},
    "a step below zero": state_at(2) | {"step": -1},
    "a step that nobody takes": state_at(2) | {"step": 10**9},
    "no number": state_at(2) | {"pipeline": {"means": torch.tensor([0.0, float("nan")])}},
    "no end": state_at(2) | {"pipeline": {"means": torch.tensor([0.0, float("inf")])}},
    "no tensor": state_at(2) | {"pipeline": {"means": "a"}},
    "a list of parts": state_at(2) | {"pipeline": [1]},
    "a scene that is none": state_at(2) | {"manifest": MANIFEST | {"scene": [1]}},
    "motions of numbers": state_at(2) | {"manifest": MANIFEST | {"motions": [1, 2]}},
    "another generator": state_at(2) | {"rng": RNG | {"torch": torch.zeros(3, dtype=torch.uint8)}},
    "a generator of text": state_at(2) | {"rng": RNG | {"python": "a"}},
    "a short generator": state_at(2) | {"rng": RNG | {"numpy": RNG["numpy"][:2]}},
}  # fmt: skip


@pytest.mark.parametrize("state", BROKEN.values(), ids=BROKEN.keys())
def test_a_checkpoint_that_is_not_whole_is_skipped_for_the_one_before_it(tmp_path, capsys, state):
    """Before anything of it is used: what is there is what goes on, and generators are where they were."""
    before = torch.get_rng_state()
    checkpoint.save(tmp_path / "m", state_at(1), keep_only_latest=False)
    torch.save(state, tmp_path / "m" / "step-000000002.ckpt")
    path, found = checkpoint.load_newest(tmp_path / "m")
    assert (path.name, found["step"]) == ("step-000000001.ckpt", 1)
    assert "step-000000002.ckpt is damaged" in capsys.readouterr().out.replace("\n", " ")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_was_saved_is_loaded_and_the_newest_is_found(tmp_path):
    folder = tmp_path / "nerfstudio_models"
    for step in (7, 100, 20):
        checkpoint.save(folder, state_at(step), keep_only_latest=False)

    path, state = checkpoint.load_newest(folder)

    assert path.name == "step-000000100.ckpt"
    assert state["step"] == 100
    assert torch.equal(state["pipeline"]["means"], torch.full((4, 3), 100.0))


def test_only_checkpoints_are_ever_in_the_folder_and_keeping_the_latest_deletes_the_others(tmp_path):
    # nerfstudio parses every name in the folder as a step and crashes on any other name.
    folder = tmp_path / "nerfstudio_models"
    checkpoint.save(folder, state_at(1), keep_only_latest=False)
    checkpoint.save(folder, state_at(2), keep_only_latest=False)
    assert sorted(file.name for file in folder.iterdir()) == ["step-000000001.ckpt", "step-000000002.ckpt"]

    checkpoint.save(folder, state_at(3), keep_only_latest=True)

    assert [file.name for file in folder.iterdir()] == ["step-000000003.ckpt"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped"])
def test_a_damaged_newest_checkpoint_is_skipped_and_said(tmp_path, capsys, damage):
    checkpoint.save(tmp_path / "m", state_at(1), keep_only_latest=False)
    newest = checkpoint.save(tmp_path / "m", state_at(2), keep_only_latest=False)
    data = newest.read_bytes()
    at = data.index(np.full(12, 2.0, np.float32).tobytes())
    flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    damaged = {"truncated": data[: len(data) // 2], "empty": b"", "text": b"hello", "flipped": flipped}
    newest.write_bytes(damaged[damage])

    path, state = checkpoint.load_newest(tmp_path / "m")

    assert path.name == "step-000000001.ckpt"
    assert state["step"] == 1
    assert str(newest) in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("state", [{"manifest": MANIFEST}, {"step": 1}, None])
def test_one_before_a_damaged_checkpoint_is_promised_where_there_is_one_alone(tmp_path, capsys, state):
    for step in (1, 2):
        torch.save(state, tmp_path / f"step-00000000{step}.ckpt")
    (tmp_path / "step-000000003.ckpt").touch()
    with pytest.raises(DimoError, match=r"step-000000001\.ckpt .*; there is none before it: .* or train anew\.$"):
        checkpoint.load_newest(tmp_path)
    third, second = capsys.readouterr().out.splitlines()
    assert third.endswith("step-000000003.ckpt cannot be read, it is damaged; the one before it is tried.")
    assert "step-000000002.ckpt" in second
    assert second.endswith("; the one before it is tried.")


def test_no_checkpoint_at_all_is_one_clear_error(tmp_path):
    with pytest.raises(DimoError, match="There is no checkpoint in"):
        checkpoint.load_newest(tmp_path / "absent")
    with pytest.raises(DimoError, match="There is no checkpoint"):
        checkpoint.load(tmp_path / "step-000000001.ckpt")
    torch.save({"step": 1}, tmp_path / "step-000000001.ckpt")
    with pytest.raises(DimoError, match="not written by dimo"):
        checkpoint.load(tmp_path / "step-000000001.ckpt")


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "step-000000001.ckpt")
    with pytest.raises(DimoError, match="is a pipe"):
        checkpoint.load(tmp_path / "step-000000001.ckpt")


def test_loading_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    torch.save({"manifest": MANIFEST, "evil": Evil()}, tmp_path / "step-000000001.ckpt")
    with pytest.raises(DimoError, match="cannot be read"):
        checkpoint.load(tmp_path / "step-000000001.ckpt")


def test_a_full_disk_is_an_error_that_keeps_the_last_checkpoint(tmp_path, full_disk):
    folder = tmp_path / "nerfstudio_models"
    checkpoint.save(folder, state_at(1), keep_only_latest=True)

    with full_disk(), pytest.raises(DimoError, match=r"No space left on device.*step-000000001.ckpt is kept"):
        checkpoint.save(folder, state_at(2), keep_only_latest=True)

    assert checkpoint.load_newest(folder)[1]["step"] == 1
    assert list(tmp_path.iterdir()) == [folder]
    assert checkpoint.save(folder, state_at(2), keep_only_latest=True).exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"motions": ["walk", "sit"]}, "walk, jump"),
        ({"motions": ["jump", "walk"]}, "walk, jump"),  # latents are rows: the order counts
        ({"dataset_hash": "b" * 64}, "another version of the dataset"),
    ],
)
def test_other_motions_or_a_changed_dataset_are_refused(tmp_path, change, words):
    checkpoint.check_manifest(tmp_path, MANIFEST, dict(MANIFEST))
    with pytest.raises(DimoError, match=words):
        checkpoint.check_manifest(tmp_path, MANIFEST, {**MANIFEST, **change})


def test_random_generators_continue_where_they_were_saved(tmp_path):
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()  # noqa: NPY002

    np.random.randn()  # noqa: NPY002 (leaves the second Gaussian of a pair in the state)
    path = checkpoint.save(tmp_path / "m", {**state_at(1), "rng": checkpoint.rng_state()}, keep_only_latest=True)
    expected = draw()
    checkpoint.set_rng_state(checkpoint.load(path)["rng"])
    assert draw() == expected


# Forks a process that saves as fast as it can and kills it at a random moment, 60 times.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from dimo_ns.training import checkpoint

folder = Path(sys.argv[1]) / "nerfstudio_models"
partial = folder.parent / ".nerfstudio_models.partial"
whole = {
    "optimizers": {}, "scalers": {}, "sampler": {"seed": 0}, "rng": checkpoint.rng_state(),
    "manifest": {"motions": [], "dataset_hash": "", "seed": 0, "versions": {}},
}

def save(step):
    # 400 kB: large enough that a kill often hits the writing
    pipeline = {"means": torch.full((100_000,), float(step))}
    checkpoint.save(folder, {**whole, "step": step, "pipeline": pipeline}, keep_only_latest=True)

save(0)
random.seed(0)
last, interrupted, kills = 0, 0, 0
while kills < 60 or last <= 60 or interrupted <= 10:  # a slow machine saves less between two kills
    kills += 1
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        for step in range(last + 1, last + 1000):
            save(step)
        os._exit(1)
    time.sleep(random.uniform(0.002, 0.03))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child must still have been saving"
    interrupted += partial.exists()
    path, state = checkpoint.load_newest(folder)
    assert path == next(iter(checkpoint.steps(folder).values())), "the newest file was broken"
    assert state["step"] >= last and bool((state["pipeline"]["means"] == state["step"]).all())
    last = state["step"]
"""


def test_kill_9_while_saving_never_loses_the_last_checkpoint(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
