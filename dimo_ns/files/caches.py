"""Where what can be made anew is kept between processes: in the user's folder for that, if there is one."""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

_log = logging.getLogger(__name__)

LIBRARIES = (
    "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",
)  # fmt: skip
"""The variables that say where libraries keep theirs."""


def user_folder() -> Path:
    """Where this user's programs keep such things. Raises RuntimeError without a home."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return Path(os.environ["NUMBA_CACHE_DIR"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home())
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def ours() -> Path | None:
    """Our folder there, made; None, which is logged, where nothing can be written."""
    try:
        path = user_folder() / "dimo_ns"
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, RuntimeError) as error:
        _log.warning("Kernels are compiled anew in every process: there is no folder to keep them in (%s).", error)
        return None
    return path


def settle() -> None:
    """Where the user has no folder for them, gives the caches of libraries one that is gone when the process ends:
    some fail without."""
    if ours() is None:
        scratch = tempfile.mkdtemp(prefix="dimo_ns-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        for variable in LIBRARIES:
            os.environ.setdefault(variable, str(Path(scratch) / variable.lower()))
