"""In the place of `torch.cuda.make_graphed_callables`: what is replayed is computed anew each time, and counts as one
launch forward, one backward, and a copy for whatever comes in; what a CUDA graph cannot hold raises AssertionError."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from tests.pretend.pretended import Pretended, copied, here, launch


@contextmanager
def recorded() -> Iterator[None]:
    """Within it, in this thread, nothing is counted, and neither a wait for the device nor a copy to it is possible."""
    before = here.recording, here.may_wait, here.launches
    here.recording, here.may_wait, here.launches = True, False, None
    try:
        yield
    finally:
        here.recording, here.may_wait, here.launches = before


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: Callable[..., list[Tensor]], count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        launch("into a graph", count)
        launch("graph")
        inputs = [x.detach().requires_grad_(x.requires_grad) for x in tensors[:count]]
        with recorded(), torch.enable_grad():
            ctx.out = work(*inputs)
        ctx.leaves = *inputs, *tensors[count:]
        return tuple(x.detach() for x in ctx.out)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        pulled = [n for n, x in enumerate(ctx.out) if x.requires_grad]
        given = [grads[n] if isinstance(grads[n], Pretended) else copied(grads[n], True) for n in pulled]
        launch("into a graph", len(pulled))
        launch("graph backward")
        wanted = [n for n, x in enumerate(ctx.leaves) if x.requires_grad]
        outputs, leaves = [ctx.out[n] for n in pulled], [ctx.leaves[n] for n in wanted]
        with recorded():
            found = torch.autograd.grad(outputs, leaves, given, allow_unused=True)
        by_leaf = dict(zip(wanted, found, strict=True))
        return None, None, *(by_leaf.get(n) for n in range(len(ctx.leaves)))


def make_graphed_callables(module: nn.Module, inputs: tuple[Tensor, ...], allow_unused_input: bool) -> nn.Module:
    """The module, replayed."""
    assert allow_unused_input
    parameters, work = tuple(module.parameters()), module.forward
    assert all(isinstance(x, Pretended) for x in (*inputs, *parameters))
    wanting = [p.requires_grad for p in parameters]
    recorded_for = [(x.shape, x.dtype, x.requires_grad) for x in inputs]
    before, here.launches = here.launches, None
    work(*inputs)  # to warm up, where it may still wait
    here.launches = before
    with recorded():
        _, form = tree_flatten(work(*inputs))

    def replay(*now: Tensor) -> Any:
        assert [(x.shape, x.dtype, x.requires_grad) for x in now] == recorded_for
        assert [p.requires_grad for p in parameters] == wanting
        found = _Replay.apply(lambda *x: tree_leaves(work(*x)), len(now), *now, *parameters)
        return tree_unflatten(found, form)  # pyright: ignore[reportArgumentType]

    module.forward = replay
    return module
