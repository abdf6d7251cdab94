"""Runs a kernel over [0, n) in chunks on a small thread pool: no OpenMP, safe after a fork, thread count as torch's.

Chunks are handed out as threads get free, and kernels write disjoint outputs, so results do not depend on the number
of threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_CHUNKS_PER_THREAD = 8
_pool: ThreadPoolExecutor | None = None
_pool_size, _pool_pid = 0, 0


def thread_count() -> int:
    return torch.get_num_threads()


def _get_pool(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size, _pool_pid
    if _pool is None or _pool_size < size or _pool_pid != os.getpid():
        _pool, _pool_size, _pool_pid = ThreadPoolExecutor(size, "rasterize"), size, os.getpid()
    return _pool


def parallel_for(kernel: Callable[..., None], n: int, *args: Any, grain: int = 1) -> None:
    """Call ``kernel(start, stop, *args)`` over chunks of at least ``grain`` that together cover [0, n)."""
    threads = thread_count()
    step = max(grain, -(-n // (threads * _CHUNKS_PER_THREAD)))
    if threads == 1 or n <= step:
        if n > 0:
            kernel(0, n, *args)
        return
    starts = iter(range(0, n, step))  # next() on it is atomic under the GIL

    def work() -> None:
        for start in starts:
            kernel(start, min(start + step, n), *args)

    helpers = [_get_pool(threads).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()
