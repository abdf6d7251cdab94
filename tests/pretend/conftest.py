"""Tests on a pretended CUDA device: everything is small, and one thread is enough."""

from collections.abc import Iterator

import pytest
import torch

from tests.pretend.cuda import pretend_cuda


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cuda() -> Iterator[None]:
    """There is a CUDA device while the test runs."""
    with pretend_cuda():
        yield
