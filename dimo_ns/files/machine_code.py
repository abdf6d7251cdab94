"""How loops are compiled (numba), and where their machine code is kept between processes.

numba's disk cache notices a change only in the file that holds a kernel, but kernels inline code of other files. So the
folder of the cache carries a digest of all of these files and of numba's version: any edit lands in a fresh one, and
other users of numba in the process are left alone.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba

from dimo_ns.files import caches


class Kernels:
    """Compiles the functions of some files with the same options; without the GIL."""

    def __init__(self, sources: Iterable[Path], key: str = "", **options: Any) -> None:
        """`key` is what the machine code depends on beside the files and the options of numba."""
        digest = hashlib.sha256(f"{numba.__version__} {key}".encode())
        for source in sorted(sources):
            digest.update(source.read_bytes())
        self.name = f"kernels-{digest.hexdigest()[:16]}"
        self.options = {"error_model": "numpy", "nogil": True, **options}

    def kernel(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles a function, kept on disk where there is a folder for that. Every array that it is given is
        C-contiguous."""
        kept = caches.ours()
        if kept is None:
            return numba.njit(**self.options)(bare(function))
        with _numba_writes_to(kept / self.name):
            return numba.njit(cache=True, **self.options)(bare(function))

    def inlined(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A helper that is pasted into the kernels that call it."""
        return numba.njit(inline="always", **self.options)(bare(function))


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as numba wants it: import hooks that check types may have wrapped it."""
    return inspect.unwrap(function)


@contextmanager
def _numba_writes_to(folder: Path) -> Iterator[None]:
    """numba reads CACHE_DIR when a function is decorated, so the setting is ours for that moment only."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
