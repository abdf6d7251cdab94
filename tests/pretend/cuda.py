"""A stand-in for a CUDA device, for machines without one: finds tensors that are on the wrong device, operations that
wait for the device, and how many kernels a step launches.

What is "on cuda" is a tensor of the CPU in a wrapper that says device=cuda:0. Every call of torch is looked at: one
that mixes such tensors with others of more than zero dimensions raises what CUDA raises, `.numpy()` raises, `.cpu()`
and `.to()` move. All is computed on the CPU, with its results. In gsplat's place stands our CPU backend.

    with pretend_cuda():
        ...  # whatever asks for "cuda" gets it, in the threads that are started here too
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # which has to be there before anything is replaced
from torch import Tensor
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")

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


class _Here(threading.local):
    """What the present thread is doing."""

    inside = False
    """In a call on pretended tensors: what is made there is on their device."""
    called = ""
    """The function of torch that is being called."""
    may_wait = True
    launches: Counter[str] | None = None


_here = _Here()


class Pretended(Tensor):
    """A tensor of the CPU that says that it is on cuda:0."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, requires_grad: bool = False):
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CPU,
            requires_grad=requires_grad,
        )
        made.inner = inner
        return made

    device = property(lambda self: CUDA)  # pyright: ignore
    is_cuda = property(lambda self: True)  # pyright: ignore
    is_cpu = property(lambda self: False)  # pyright: ignore
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    def get_device(self) -> int:
        return 0

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        with _plainly():
            return f"Pretended({self.inner!r})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to the host.")

    __array__ = numpy

    def tolist(self) -> Any:
        _wait("tolist")
        with _plainly():
            return self.inner.detach().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.dim() == 0 else repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        with _plainly():
            return self.inner.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pretended":
        with _plainly():
            made = Pretended(self.inner.detach().clone(), self.requires_grad)
        if getattr(self, "_is_param", False):  # an nn.Parameter
            made._is_param = True  # pyright: ignore[reportAttributeAccessIssue]
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


@contextmanager
def _plainly() -> Iterator[None]:
    """Within it, calls of torch are not looked at."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():  # pyright: ignore
        yield


# --- operations -------------------------------------------------------------------------------------------------------


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Computes on what is inside; what comes of pretended tensors, or is made in a call on them, is pretended."""
    pretended = [x for x in _tensors((args, kwargs)) if isinstance(x, Pretended)]
    if not pretended and not _here.inside:
        return func(*args, **kwargs)
    if _waits(func, args, kwargs):
        _wait(_here.called or str(func))
    if not (func.is_view or "empty" in str(func) or func in _NO_KERNEL):
        _launch(str(func))
    same = {id(x.inner): x for x in pretended}
    inner = partial(_with_tensors, lambda x: x.inner if isinstance(x, Pretended) else x)
    out = func(*inner(args), **inner(kwargs))
    if torch.Tag.inplace_view in func.tags:  # such as squeeze_: the wrapper has to change its shape too
        with torch._C._DisableTorchDispatch():  # pyright: ignore
            return func(*args, **kwargs)
    return _with_tensors(lambda x: same[id(x)] if id(x) in same else Pretended(x), out)


def _tensors(x: Any) -> Iterator[Tensor]:
    """All tensors in arguments."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (tuple, list)):
        for item in x:
            yield from _tensors(item)
    elif isinstance(x, dict):
        yield from _tensors(list(x.values()))


def _with_tensors(change: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Arguments, or what came of them, with other tensors."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, (tuple, list)) and any(True for _ in _tensors(x)):
        return type(x)(_with_tensors(change, item) for item in x)
    if isinstance(x, dict):
        return {name: _with_tensors(change, item) for name, item in x.items()}
    return x


aten = torch.ops.aten
_NO_KERNEL = {
    aten._unsafe_view.default,
    aten.lift_fresh.default,
    aten.set_.source_Tensor,
    aten._local_scalar_dense.default,
}
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


def _waits(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether the host has to know values before it can go on."""
    if func in _INDEXING:
        masks = any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in args[1])
        fills = len(args) > 2 and args[2].numel() == 1  # which CUDA does where the mask is true
        return masks and not fills
    if func is aten.repeat_interleave.Tensor:
        return kwargs.get("output_size") is None
    if func is aten._linalg_check_errors.default:
        return True
    return bool({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(func.tags))


def _wait(name: str) -> None:
    assert _here.may_wait, f"{name} waits for the device"


def _launch(name: str, count: int = 1) -> None:
    if _here.launches is not None:
        _here.launches[name] += count


@contextmanager
def no_waiting() -> Iterator[None]:
    """Within it, in this thread, whatever brings values of pretended tensors to the host raises AssertionError."""
    before, _here.may_wait = _here.may_wait, False
    try:
        yield
    finally:
        _here.may_wait = before


@contextmanager
def launches() -> Iterator[Counter[str]]:
    """Counts by their names the operations that this thread gives to the pretended device, each for one kernel or one
    copy between host and device; views and allocations are none."""
    before, _here.launches = _here.launches, Counter()
    try:
        yield _here.launches
    finally:
        _here.launches = before


# --- moves ------------------------------------------------------------------------------------------------------------


def _copied(x: Tensor, to_cuda: bool, dtype: torch.dtype | None = None) -> Tensor:
    with _plainly():
        inner = (x.inner if isinstance(x, Pretended) else x).detach()
        inner = inner.to(dtype or inner.dtype, copy=True)
        return Pretended(inner) if to_cuda else inner


class _Move(torch.autograd.Function):
    """To cuda, or back, with gradients that move the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, to_cuda: bool, dtype: torch.dtype | None = None) -> Tensor:
        ctx.back = not to_cuda, x.dtype
        return _copied(x, to_cuda, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Move.apply(grads[0], *ctx.back), None, None


def _move(func: Any, args: Any, kwargs: Any) -> Tensor:
    """`.cpu()`, `.cuda()` and `.to()`."""
    x, dtype = args[0], kwargs.get("dtype")
    target = {Tensor.cpu: CPU, Tensor.cuda: CUDA}.get(func, x.device)
    if func is Tensor.to:
        for wanted in (*args[1:], kwargs.get("device"), kwargs.get("other")):
            if isinstance(wanted, Tensor):
                target, dtype = wanted.device, wanted.dtype
            elif isinstance(wanted, torch.dtype):
                dtype = wanted
            elif isinstance(wanted, (str, torch.device)):
                target = torch.device(wanted)
    is_there, to_cuda = isinstance(x, Pretended), target.type == "cuda"
    if is_there == to_cuda:
        if (dtype is None or dtype == x.dtype) and not kwargs.get("copy"):
            return x
        with _inside(to_cuda, "to"):
            return aten._to_copy(x, dtype=dtype or x.dtype)
    if is_there:
        _wait(func.__name__)
    _launch("to cuda" if to_cuda else "to cpu")
    if x.requires_grad and torch.is_grad_enabled():
        return _Move.apply(x, to_cuda, dtype)  # pyright: ignore[reportReturnType]
    return _copied(x, to_cuda, dtype)


# --- calls ------------------------------------------------------------------------------------------------------------


@contextmanager
def _inside(inside: bool, called: str) -> Iterator[None]:
    before = _here.inside, _here.called
    _here.inside, _here.called = inside, called
    try:
        yield
    finally:
        _here.inside, _here.called = before


_READ = "device is_cuda shape dtype grad requires_grad data grad_fn is_leaf ndim"
_ASKED = (
    "dim size stride __len__ numel requires_grad_ untyped_storage data_ptr is_floating_point is_complex __repr__ "
    "register_hook retain_grad backward __hash__ detach"
)
_NOT_LOOKED_AT = {
    *(getattr(Tensor, name).__get__ for name in _READ.split()),
    *(getattr(Tensor, name) for name in _ASKED.split()),
    Tensor.grad.__set__,  # pyright: ignore
    Tensor.requires_grad.__set__,  # pyright: ignore
    torch.autograd.backward,
    torch.autograd.grad,
}
_COPIES = {Tensor.copy_, Tensor.__setitem__}
_MAY_MIX = {
    Tensor.__getitem__,
    Tensor.index_put_,
    Tensor.index_put,
    torch.index_put,
} | _COPIES  # indices may be the host's


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Devices as arguments, moves, and the check that nothing is mixed."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _NOT_LOOKED_AT:
            return func(*args, **kwargs)
        if func in (Tensor.cpu, Tensor.cuda, Tensor.to):
            return _move(func, args, kwargs)
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
        tensors = list(_tensors((args, kwargs)))
        pretended = any(isinstance(x, Pretended) for x in tensors)
        if pretended and any(x.dim() > 0 and not isinstance(x, Pretended) for x in tensors):
            _check_mix(func, args)
        with _inside(pretended, getattr(func, "__name__", "")):
            return func(*args, **kwargs)


def _check_mix(func: Any, args: Any) -> None:
    if func not in _MAY_MIX:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")
    if not isinstance(args[0], Pretended):
        if func not in _COPIES:
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        _wait(func.__name__)


def _made(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A tensor that is made on cuda."""
    if kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    wants_grad = kwargs.pop("requires_grad", False)
    kwargs.pop("pin_memory", None)
    with _inside(False, func.__name__):
        made = func(*args, **kwargs | {"device": CPU})
    if not isinstance(made, Tensor):
        return made
    if "empty" not in func.__name__:
        _launch(func.__name__)
    return (made if isinstance(made, Pretended) else _copied(made, True)).requires_grad_(wants_grad)


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
        _launch(f"gsplat {name}", forward)
        out = work(*(_Move.apply(x, False) if isinstance(x, Tensor) else x for x in args))
        out = tuple(_Move.apply(x, True) if isinstance(x, Tensor) else x for x in out)
        pulled = [x for x in out if isinstance(x, Tensor) and x.requires_grad]
        if pulled:
            count = lambda _: _launch(f"gsplat {name} backward", backward)  # noqa: E731
            torch.autograd.graph.register_multi_grad_hook(pulled, count, mode="any")
        return out

    return call


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
def pretend_cuda() -> Iterator[None]:
    """While entered, there is a CUDA device: for this thread, and for those that are started meanwhile."""
    from dimo_ns.rasterize import gsplat_backend
    from dimo_ns.rasterize.cpu import backend

    start = threading.Thread.start

    def start_looking(thread: threading.Thread) -> None:
        run = thread.run

        def look_and_run() -> None:
            with _looking():
                run()

        thread.run = look_and_run
        start(thread)

    changes: list[tuple[Any, str, Any]] = [(torch.cuda, name, fake) for name, fake in _DEVICE.items()]
    changes += [(gsplat_backend, name, _instead(name, getattr(backend, name))) for name in GSPLAT_LAUNCHES]
    changes.append((threading.Thread, "start", start_looking))
    changes.append((optimizer.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(_grouped)))
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
