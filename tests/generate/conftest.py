"""Checks array shapes at run time in what computes (what a user's input meets first has checks of its own), and uses
one thread: the networks are tiny."""

from collections.abc import Iterator

import pytest
import torch
from jaxtyping import install_import_hook

MODULES = ("blocks", "unet", "sampler", "conditioning", "encoders", "chunks")
install_import_hook([f"dimo_ns.generate.multiview.{name}" for name in MODULES], "beartype.beartype")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
