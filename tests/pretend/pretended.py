"""Tensors that say that they are on a CUDA device: what is computed with them, how they move, what is noted of that."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


class _Here(threading.local):
    """What the present thread is doing."""

    inside = False
    """In a call on pretended tensors: what is made there is on their device."""
    going_back = False
    """In a backward pass, where autograd makes zeros for gradients that there are none of, and makes them plain."""
    called = ""
    """The function of torch that is being called."""
    may_wait = True
    recording = False
    """What a CUDA graph replays: it can hold no copy from the host."""
    launches: Counter[str] | None = None


here = _Here()


@contextmanager
def inside(there: bool, called: str) -> Iterator[None]:
    before = here.inside, here.called
    here.inside, here.called = there, called
    try:
        yield
    finally:
        here.inside, here.called = before


@contextmanager
def going_back(there: bool) -> Iterator[None]:
    before, here.going_back = here.going_back, there
    try:
        yield
    finally:
        here.going_back = before


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

    def data_ptr(self) -> int:
        with plainly():
            return self.inner.data_ptr()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        with plainly():
            return f"Pretended({self.inner!r})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to the host.")

    __array__ = numpy

    def tolist(self) -> Any:
        wait("tolist")
        with plainly():
            return self.inner.detach().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.dim() == 0 else repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        with plainly():
            return self.inner.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pretended":
        with plainly():
            made = Pretended(self.inner.detach().clone(), self.requires_grad)
        if getattr(self, "_is_param", False):  # an nn.Parameter
            made._is_param = True  # pyright: ignore[reportAttributeAccessIssue]
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


@contextmanager
def plainly() -> Iterator[None]:
    """Within it, calls of torch are not looked at."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():  # pyright: ignore
        yield


# --- operations -------------------------------------------------------------------------------------------------------


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Computes on what is inside; what comes of pretended tensors, or is made in a call on them, is pretended."""
    pretended = [x for x in all_tensors((args, kwargs)) if isinstance(x, Pretended)]
    if not pretended and not here.inside:
        return func(*args, **kwargs)
    if _waits(func, args, kwargs):
        wait(here.called or str(func))
    if not (func.is_view or "empty" in str(func) or func in _NO_KERNEL):
        launch(str(func))
    same = {id(x.inner): x for x in pretended}
    inner = partial(_with_tensors, lambda x: x.inner if isinstance(x, Pretended) else x)
    out = func(*inner(args), **inner(kwargs))
    if torch.Tag.inplace_view in func.tags:  # such as squeeze_: the wrapper has to change its shape too
        with torch._C._DisableTorchDispatch():  # pyright: ignore
            return func(*args, **kwargs)
    return _with_tensors(lambda x: same[id(x)] if id(x) in same else Pretended(x), out)


def all_tensors(x: Any) -> Iterator[Tensor]:
    """All tensors in arguments."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (tuple, list)):
        for item in x:
            yield from all_tensors(item)
    elif isinstance(x, dict):
        yield from all_tensors(list(x.values()))


def _with_tensors(change: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Arguments, or what came of them, with other tensors."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, (tuple, list)) and any(True for _ in all_tensors(x)):
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


def wait(name: str) -> None:
    assert here.may_wait, f"{name} waits for the device"


def launch(name: str, count: int = 1) -> None:
    if here.launches is not None:
        here.launches[name] += count


# --- moves ------------------------------------------------------------------------------------------------------------


def copied(x: Tensor, to_cuda: bool, dtype: torch.dtype | None = None) -> Tensor:
    with plainly():
        inner = (x.inner if isinstance(x, Pretended) else x).detach()
        inner = inner.to(dtype or inner.dtype, copy=True)
        return Pretended(inner) if to_cuda else inner


class Move(torch.autograd.Function):
    """To cuda, or back, with gradients that move the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, to_cuda: bool, dtype: torch.dtype | None = None) -> Tensor:
        ctx.back = not to_cuda, x.dtype
        return copied(x, to_cuda, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return Move.apply(grads[0], *ctx.back), None, None


def move(func: Any, args: Any, kwargs: Any) -> Tensor:
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
        with inside(to_cuda, "to"):
            return aten._to_copy(x, dtype=dtype or x.dtype)
    if is_there:
        wait(func.__name__)
    assert not (to_cuda and here.recording), "a copy from the host is not replayed"
    launch("to cuda" if to_cuda else "to cpu")
    if x.requires_grad and torch.is_grad_enabled():
        return Move.apply(x, to_cuda, dtype)  # pyright: ignore[reportReturnType]
    return copied(x, to_cuda, dtype)
