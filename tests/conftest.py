"""Checks array shapes at run time in the core and the rasterizer, seeds every test, and skips GPU tests where there is
no CUDA device."""

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook(["dimo_ns.core", "dimo_ns.rasterize"], "beartype.beartype")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws without a generator of its own is the same every time and in every order."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs CUDA"))
