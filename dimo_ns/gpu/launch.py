"""How a kernel is made of a function, and started on the device of its tensors."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles for the device when it is first started there."""
    return triton.jit(
        inspect.unwrap(function)
    )  # Triton wants it bare; import hooks that check types may have wrapped it


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Tensor | float, **constants: int | bool) -> None:
    """Starts a Triton kernel with so many programs. `arguments`: contiguous tensors, and numbers; `constants`: what
    the kernel is compiled for."""
    start(kernel, grid, arguments, constants)


def start(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """`launch`, in the one place where it happens."""
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    with torch.cuda.device_of(first):
        kernel[grid](*arguments, **constants)


def programs(count: int, block: int) -> int:
    """How many programs of so many rows each it takes for all rows."""
    return -(-count // block)
