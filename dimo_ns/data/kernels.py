"""How the loops over pixels of this package are compiled (numba)."""

import inspect
from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function without the GIL, cached on disk."""
    # numba wants it bare; import hooks that check types may have wrapped it.
    return njit(cache=True, nogil=True, error_model="numpy")(inspect.unwrap(function))


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a helper that is pasted into the kernels that call it."""
    return njit(cache=True, nogil=True, error_model="numpy", inline="always")(inspect.unwrap(function))
