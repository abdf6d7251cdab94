"""Checks arguments, results and array shapes of all of dimo_ns at run time, seeds every test, and skips GPU tests where
there is no CUDA device."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read where a kernel is made, when its module is imported

# As in every type checker (PEP 484), an int is a float.
jaxtyping.install_import_hook("dimo_ns", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# Examples are the same every time, and how long they take says nothing: the machine may be busy.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws without a generator of its own is the same every time and in every order."""
    torch.manual_seed(0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have it: no check of types, so that wrong ones meet what the function itself says of them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """Within it, the disk has room for the beginning of a file alone."""
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux")

    def write(path: Path, content: memoryview) -> None:
        path.write_bytes(content[:100])
        Path("/dev/full").write_bytes(content)  # whoever writes there gets "no space left on device"

    @contextmanager
    def full() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr("dimo_ns.files.durable.write_new", write)
            yield

    return full


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits that are not good, but soon done."""
    fit = "dimo_ns.apps.fit"
    for name in ("latent.SMALL_STEPS", "latent.FULL_STEPS", "align.STEPS"):
        monkeypatch.setattr(f"{fit}.{name}", 3)
    for name in ("adapt.TRACK_STEPS", "adapt.TRACK_STEPS_FEW", "adapt.REFINE_STEPS"):
        monkeypatch.setattr(f"{fit}.{name}", 3)
    monkeypatch.setattr(f"{fit}.latent.CANDIDATES", 6)
    monkeypatch.setattr(f"{fit}.align.TURNS", 3)
    monkeypatch.setattr(f"{fit}.align.POSES", 2)
    monkeypatch.setattr(f"{fit}.align.STARTS", 1)


def pytest_collection_finish() -> None:
    """What was imported is no garbage. It is looked for whenever a video is closed, which takes 0.3 s otherwise."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "browser" not in item.path.stem)  # the longest files: last, they would be waited for
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs CUDA"))
