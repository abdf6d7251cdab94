"""A stand-in for a CUDA device, for machines without one: finds tensors that are on the wrong device, operations that
wait for the device, and how many kernels a step launches.

What is "on cuda" is a tensor of the CPU in a wrapper that says device=cuda:0. Every call of torch is looked at: one
that mixes such tensors with others of more than zero dimensions raises what CUDA raises, `.numpy()` raises, `.cpu()`
and `.to()` move. All is computed on the CPU, with its results. In gsplat's place stands our CPU backend.

    with pretend_cuda():
        ...  # whatever asks for "cuda" gets it, in the threads that are started here too
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # which has to be there before anything is replaced
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype
from torch.utils._python_dispatch import TorchDispatchMode

from tests.pretend.graphs import make_graphed_callables
from tests.pretend.pretended import (
    CPU,
    Move,
    Pretended,
    all_tensors,
    compute,
    copied,
    going_back,
    here,
    inside,
    launch,
    move,
    plainly,
    wait,
)

GSPLAT_LAUNCHES = {
    # The projection is one kernel; its backward is one too, after the gradients of means, quats, scales and viewmats
    # have been set to zero.
    "project": (1, 5),
    # Tiles are counted, summed up (2), listed, sorted by radix (a histogram, a sum, four passes), and their beginnings
    # found; then pixels are composed. Backward is one kernel, after the gradients of centres, their absolute values,
    # conics, colours and opacities have been set to zero.
    "composite": (12, 6),
}
"""How many kernels gsplat launches for a batch, forward and backward; here each call is one of the CPU backend."""


@contextmanager
def no_waiting() -> Iterator[None]:
    """Within it, in this thread, whatever brings values of pretended tensors to the host raises AssertionError."""
    before, here.may_wait = here.may_wait, False
    try:
        yield
    finally:
        here.may_wait = before


@contextmanager
def launches() -> Iterator[Counter[str]]:
    """Counts by their names the operations that this thread gives to the pretended device, each for one kernel or one
    copy between host and device; views and allocations are none."""
    before, here.launches = here.launches, Counter()
    try:
        yield here.launches
    finally:
        here.launches = before


# --- calls ------------------------------------------------------------------------------------------------------------

_READ = "device is_cuda shape dtype grad requires_grad data grad_fn is_leaf ndim"
_ASKED = (
    "dim size stride __len__ numel requires_grad_ untyped_storage data_ptr is_floating_point is_complex __repr__ "
    "register_hook retain_grad __hash__ detach"
)
_NOT_LOOKED_AT = {
    *(getattr(Tensor, name).__get__ for name in _READ.split()),
    *(getattr(Tensor, name) for name in _ASKED.split()),
    Tensor.grad.__set__,  # pyright: ignore
    Tensor.requires_grad.__set__,  # pyright: ignore
}
_BACKWARD = {Tensor.backward, torch.autograd.backward, torch.autograd.grad}
_COPIES = {Tensor.copy_, Tensor.__setitem__}
_MAY_MIX = {
    Tensor.__getitem__,
    Tensor.index_put_,
    Tensor.index_put,
    torch.index_put,
} | _COPIES  # indices may be the host's


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Devices as arguments, moves, and the check that nothing is mixed."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _BACKWARD:
            with going_back(any(isinstance(x, Pretended) for x in all_tensors((args, kwargs)))):
                return func(*args, **kwargs)
        if func in _NOT_LOOKED_AT:
            return func(*args, **kwargs)
        if func in (Tensor.cpu, Tensor.cuda, Tensor.to):
            return move(func, args, kwargs)
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.numpy and isinstance(args[0], Pretended):
            return args[0].numpy()
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            return _made(func, args, kwargs)
        if func is torch._has_compatible_shallow_copy_type:
            return isinstance(args[0], Pretended) == isinstance(args[1], Pretended)
        if func is torch.nn.functional.embedding_bag and isinstance(args[0], Pretended):
            return _embedding_bag(*args, **kwargs)
        tensors = list(all_tensors((args, kwargs)))
        pretended = any(isinstance(x, Pretended) for x in tensors)
        if pretended and any(x.dim() > 0 and not isinstance(x, Pretended) for x in tensors):
            _check_mix(func, args)
        with inside(pretended, getattr(func, "__name__", "")):
            return func(*args, **kwargs)


def _check_mix(func: Any, args: Any) -> None:
    if func not in _MAY_MIX:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")
    if not isinstance(args[0], Pretended):
        if func not in _COPIES:
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        wait(func.__name__)


def _made(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A tensor that is made on cuda."""
    if kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    wants_grad = kwargs.pop("requires_grad", False)
    kwargs.pop("pin_memory", None)
    with inside(False, func.__name__):
        made = func(*args, **kwargs | {"device": CPU})
    if not isinstance(made, Tensor):
        return made
    if "empty" not in func.__name__:
        launch(func.__name__)
    return (made if isinstance(made, Pretended) else copied(made, True)).requires_grad_(wants_grad)


def _embedding_bag(rows: Tensor, table: Tensor, *_: Any, per_sample_weights: Tensor, **__: Any) -> Tensor:
    """Weighted sums of rows: the CPU has no such operation that takes wrappers."""
    return (torch.nn.functional.embedding(rows, table) * per_sample_weights[..., None]).sum(-2)


# --- the device -------------------------------------------------------------------------------------------------------


def _instead(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Work of gsplat's, done by the CPU."""
    forward, backward = GSPLAT_LAUNCHES[name]

    def call(*args: Any) -> Any:
        for x in args:
            if isinstance(x, Tensor) and not isinstance(x, Pretended):
                raise RuntimeError(f"gsplat: must be a CUDA tensor (shape {list(x.shape)})")
        launch(f"gsplat {name}", forward)
        out = work(*(Move.apply(x, False) if isinstance(x, Tensor) else x for x in args))
        out = tuple(Move.apply(x, True) if isinstance(x, Tensor) else x for x in out)
        pulled = [x for x in out if isinstance(x, Tensor) and x.requires_grad]
        if pulled:
            count = lambda _: launch(f"gsplat {name} backward", backward)  # noqa: E731
            torch.autograd.graph.register_multi_grad_hook(pulled, count, mode="any")
        return out

    return call


def _start(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """One of our Triton kernels, in Triton's interpreter."""
    if not here.going_back and any(isinstance(x, Tensor) and not isinstance(x, Pretended) for x in arguments):
        raise ValueError("Pointer argument cannot be accessed from Triton (cpu tensor?)")
    launch(f"triton {kernel.fn.__module__}.{kernel.fn.__name__}")
    with plainly():
        kernel[grid](*(x.inner if isinstance(x, Pretended) else x for x in arguments), **constants)


def _grouped(tensors: Any, with_indices: bool = False) -> Any:
    """What optimizers work on at once; torch's own says where the tensors really are."""
    groups = _group_tensors_by_device_and_dtype(tensors, with_indices)
    return {(lists[0][0].device, dtype): (lists, indices) for (_, dtype), (lists, indices) in groups.items()}


_DEVICE: dict[str, Callable[..., Any]] = {
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda *_: "a pretended GPU",
    "mem_get_info": lambda *_: (60 << 30, 80 << 30),
    "max_memory_allocated": lambda *_: 0,
    "get_rng_state": lambda *_: torch.get_rng_state(),
    "get_rng_state_all": list,
    "synchronize": lambda *_: None,
    "empty_cache": lambda: None,
    "set_device": lambda _: None,
    "manual_seed": lambda _: None,
    "manual_seed_all": lambda _: None,
    "set_rng_state": lambda *_: None,
    "set_rng_state_all": lambda _: None,
}
"""What torch.cuda says of it."""


@contextmanager
def _looking() -> Iterator[None]:
    with _Dispatch(), _Calls():
        yield


@contextmanager
def pretend_cuda(kernels: bool = False) -> Iterator[None]:
    """While entered, there is a CUDA device: for this thread, and for those that are started meanwhile. `kernels`: our
    Triton kernels run, in Triton's interpreter, which is slow; else torch does without them."""
    from dimo_ns import gpu
    from dimo_ns.rasterize import gsplat_backend
    from dimo_ns.rasterize.cpu import backend

    optimizer: Any = sys.modules[Optimizer.__module__]
    start = threading.Thread.start

    def start_looking(thread: threading.Thread) -> None:
        run = thread.run

        def look_and_run() -> None:
            with _looking():
                run()

        thread.run = look_and_run
        start(thread)

    changes: list[tuple[Any, str, Any]] = [(torch.cuda, name, fake) for name, fake in _DEVICE.items()]
    changes.append((torch.cuda, "make_graphed_callables", make_graphed_callables))
    changes += [(gsplat_backend, name, _instead(name, getattr(backend, name))) for name in GSPLAT_LAUNCHES]
    if kernels:
        from dimo_ns.gpu import launch as starting

        changes.append((starting, "start", _start))
    else:
        changes.append((gpu, "_works", lambda _: False))
    changes.append((threading.Thread, "start", start_looking))
    changes.append((Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(_grouped)))
    changes.append((optimizer, "_foreach_supported_types", [*optimizer._foreach_supported_types, Pretended]))
    conversion = torch.__future__
    previous = conversion.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for owner, name, new in changes:
            stack.enter_context(mock.patch.object(owner, name, new))
        stack.callback(conversion.set_overwrite_module_params_on_conversion, previous)
        conversion.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_looking())
        yield
