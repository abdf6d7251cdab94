"""Checks array shapes at run time in the core and the rasterizer, and skips GPU tests where there is no CUDA device."""

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook(["dimo_ns.core", "dimo_ns.rasterize"], "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs CUDA"))
