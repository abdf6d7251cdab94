"""Modules that are recorded: when they are made anew, and that what is replayed is what would be computed."""

import pytest
import torch
from torch import Tensor, nn

from dimo_ns.training.replay import Replay, replayed


class Bent(nn.Module):
    """Some operations with parameters, one of which is not used, on inputs with and without gradients."""

    def __init__(self):
        super().__init__()
        self.inside, self.unused = nn.Linear(5, 4), nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.inside(x).sin()
        return y, {"mean": y[rows].mean(), "rows": rows}


def test_it_is_made_anew_where_something_else_is_in_its_place():
    made: list[nn.Module] = []
    parts: list[object] = ["a part", None]

    def make() -> nn.Module:
        made.append(Bent())
        return made[-1]

    replay, x, rows = Replay(make, lambda: tuple(parts)), torch.randn(6, 5), torch.tensor([1, 2])
    for changes, change in (
        (1, lambda: None),
        (0, lambda: None),
        (1, lambda: parts.__setitem__(1, "another part")),
        (0, lambda: None),
        (1, lambda: parts.append("one more")),
    ):
        change()
        before = len(made)
        found, _ = replay(x, rows)
        assert torch.equal(found, made[-1](x, rows)[0])
        assert len(made) - before == changes
    shapes = ((torch.randn(7, 5), rows), (x, torch.tensor([1, 2, 3])), (x.clone().requires_grad_(), rows))
    for changes in (1, 0):  # one for each shape, which stays
        for others in shapes:
            before = len(made)
            replay(*others)
            replay(*others)
            assert len(made) - before == changes


@pytest.mark.gpu
def test_what_is_replayed_is_what_is_computed():
    """Also after parameters were changed in place, and with other inputs: they are read where they are."""
    module, twin = Bent().cuda(), Bent().cuda()
    module.unused.requires_grad_(False)
    x, rows = torch.randn(6, 5, device="cuda", requires_grad=True), torch.tensor([1, 2], device="cuda")
    replay = replayed(module, x, rows)
    assert replay != twin.__call__
    for _ in range(3):
        with torch.no_grad():
            module.inside.weight.mul_(1.3)
        twin.load_state_dict(module.state_dict())
        x, rows = torch.randn(6, 5, device="cuda", requires_grad=True), torch.randint(6, (2,), device="cuda")
        grads = []
        for work, inside in ((replay, module.inside), (twin, twin.inside)):
            y, others = work(x, rows)
            grads.append([y, others["mean"], *torch.autograd.grad(y.sum() + others["mean"], [x, inside.weight])])
            assert torch.equal(others["rows"], rows)
        for ours, expected in zip(*grads, strict=True):
            torch.testing.assert_close(ours, expected)


@pytest.mark.gpu
def test_what_cannot_be_recorded_is_computed(caplog: pytest.LogCaptureFixture):
    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.sum())  # brings a value to the host

    x = torch.ones(2, device="cuda")
    assert replayed(Waits(), x)(3 * x).tolist() == [18.0, 18.0]
    assert "No CUDA graphs here" in caplog.text
    assert replayed(Bent().cuda(), torch.ones(6, 5, device="cuda"), torch.tensor([0], device="cuda"))
