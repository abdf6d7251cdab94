"""The device is what the machine has; what is missing is said in one sentence, before training begins."""

import threading
from pathlib import Path

import pytest
import torch

from dimo_ns.errors import DimoError
from dimo_ns.training import device
from dimo_ns.training.device import check_gpu, choose_device, out_of_memory
from dimo_ns.training.threads import sleep_sooner
from tests.brief_runs import train


def test_the_device_is_chosen_by_what_the_machine_has(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    assert "no CUDA device" in capsys.readouterr().out
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert choose_device("auto") == choose_device("cuda") == "cuda"


def test_cuda_asked_for_by_name_and_missing_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DimoError, match=r"built without CUDA; install a CUDA build .*--machine.device-type cpu"):
        choose_device("cuda")


def test_a_driver_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def too_old(*_, **__):
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update.")

    monkeypatch.setattr(device.torch, "zeros", too_old)
    with pytest.raises(DimoError, match=r"too old \(found version 11040\); install a driver for CUDA 13.0"):
        choose_device("cuda")


def test_a_gsplat_that_cannot_be_compiled_is_found_before_training(monkeypatch):
    def no_ninja(_):
        raise RuntimeError("Ninja is required to load C++ extensions\nlong log")

    monkeypatch.setattr(device, "draw_something", no_ninja)
    with pytest.raises(DimoError, match=r"gsplat does not work on this GPU: Ninja is required .*nvcc.*device-type cpu"):
        check_gpu(torch.device("cuda"))
    check_gpu(torch.device("cpu"))  # needs none


def test_a_full_gpu_says_what_to_lower():
    error = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
    said = str(out_of_memory(120, "joint", 100, error))
    assert "step 120, phase 'joint'" in said
    assert "'motions', 'sizes' or the density's 'target'" in said
    assert "the checkpoint of step 100 is kept" in said
    assert "\n" not in said
    assert "there is no checkpoint yet" in str(out_of_memory(20, "rest", -1, error))


def test_torchs_threads_get_a_second_team_that_stays(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)

    def teams() -> int:
        return sum(thread.name == "second team" and thread.daemon for thread in threading.enumerate())

    threads, before = torch.get_num_threads(), teams()
    try:
        torch.set_num_threads(1)
        sleep_sooner()
        assert teams() == before  # nothing waits for anything
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
        sleep_sooner()
        assert teams() == before  # the user has said how to wait
        monkeypatch.delenv("OMP_WAIT_POLICY")
        sleep_sooner()
        assert teams() == before + 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--machine.num-devices", "2"), "dimo trains on one device; drop --machine.num-devices"),
        (("--machine.num-machines", "2"), "dimo trains on one device; drop --machine.num-devices"),
        (("--machine.device-type", "mps"), "dimo trains on a CUDA device or a CPU; give"),
    ],
)
def test_what_it_cannot_train_on_is_refused_before_anything_is_written(tmp_path: Path, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path / "data", tmp_path, *words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"dimo: {said}")
    assert list(tmp_path.iterdir()) == []
