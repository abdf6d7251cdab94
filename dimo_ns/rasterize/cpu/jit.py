"""How kernels are compiled (numba) and where their machine code is kept between runs.

numba's disk cache notices a change only in the file that holds a kernel, but kernels here inline code of other files
(simd.py above all). So the cache directory carries a digest of every source in this package, of numba's version and of
the vector width: any edit lands in a fresh directory, and other users of numba in the process are left alone.
"""

import contextlib
import hashlib
import inspect
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numba

_log = logging.getLogger(__name__)

# No nnan or ninf: bad input must compare false and drop out, not become undefined behaviour.
FAST = ("contract", "nsz", "arcp", "reassoc")
_OPTIONS: dict[str, Any] = {"fastmath": set(FAST), "error_model": "numpy", "boundscheck": False, "nogil": True}


def _user_cache() -> Path:
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        return Path(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _find_cache_directory() -> Path | None:
    """The directory for this state of the sources, or None where it cannot be written."""
    digest = hashlib.sha256(f"{numba.__version__} {os.environ.get('DIMO_NS_LANES', '')}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    try:
        directory = _user_cache() / "dimo_ns" / f"kernels-{digest.hexdigest()[:16]}"
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        _log.warning("The CPU rasterizer compiles its kernels anew in every process: no cache directory (%s).", error)
        return None
    return directory


CACHE_DIRECTORY = _find_cache_directory()


@contextlib.contextmanager
def _numba_cache_directory() -> Generator[None, None, None]:
    """numba reads CACHE_DIR when a function is decorated, so the setting is ours for that moment only."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(CACHE_DIRECTORY)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, cached on disk. Every array argument is C-contiguous."""
    function = inspect.unwrap(function)  # numba wants it bare, import hooks that check types may have wrapped it
    if CACHE_DIRECTORY is None:
        return numba.njit(**_OPTIONS)(function)
    with _numba_cache_directory():
        return numba.njit(cache=True, **_OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A helper that is pasted into the kernels that call it."""
    return numba.njit(inline="always", **_OPTIONS)(inspect.unwrap(function))
