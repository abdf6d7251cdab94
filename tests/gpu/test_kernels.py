"""The Triton kernels are the functions that they stand for, forward and backward: on a CUDA device where there is one,
else in Triton's interpreter."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dimo_ns.core import losses, skinning
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.types import RigidTransforms
from dimo_ns.gpu import adam, frame_adam, latents, pixel_errors, rigidity, weighted_square
from dimo_ns.gpu.skinning import skin
from dimo_ns.tracking.frame_adam import FrameAdam
from dimo_ns.tracking.graph import KeypointGraph

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EXACT = 2e-6
"""Relative to the largest value: float32 sums of some hundred terms against float64."""


def outcome(work: Callable[..., tuple[Tensor, ...]], leaves: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Results of `work`, and the gradients of the leaves under a fixed random pull of the results."""
    inputs = [t.to(DEVICE, dtype).clone().requires_grad_() for t in leaves]
    results = work(*inputs)
    g = torch.Generator().manual_seed(7)
    pulls = [torch.randn(r.shape, generator=g, dtype=torch.float64).to(r) for r in results]
    grads = torch.autograd.grad(results, inputs, pulls)
    return [t.detach().cpu().double() for t in (*results, *grads)]


def assert_same(kernel: Callable, oracle: Callable, leaves: list[Tensor]) -> None:
    got, expected = outcome(kernel, leaves, torch.float32), outcome(oracle, leaves, torch.float64)
    for number, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        assert theirs.abs().max() > 0, number
        assert (ours - theirs).abs().max() < EXACT * theirs.abs().max(), number


def transforms(batch: int, keypoints: int) -> list[Tensor]:
    return [0.1 * torch.randn(batch, keypoints, 3), F.normalize(torch.randn(batch, keypoints, 4), dim=-1)]


@pytest.mark.parametrize(("count", "keypoints", "batch"), [(1, 4, 1), (64, 5, 2), (150, 20, 3)])
def test_skinning(count: int, keypoints: int, batch: int):
    means, rest = 0.3 * torch.randn(count, 3), 0.3 * torch.randn(keypoints, 3)
    indices = skinning.find_neighbours(means, rest).to(DEVICE)
    leaves = [means, F.normalize(torch.randn(count, 4), dim=-1), rest, 0.3 * torch.randn(keypoints) - 1.5]
    leaves += transforms(batch, keypoints)  # turns at random: many neighbours' quaternions are to be flipped

    def of(function: Callable) -> Callable:
        return lambda m, q, k, r, t, turns: function(m, q, k, r, indices, RigidTransforms(t, turns))

    assert_same(of(skin), of(skinning.skin_by_radii), leaves)


@pytest.mark.parametrize("robust", [0.0, 0.1])
@pytest.mark.parametrize(("keypoints", "edges", "batch"), [(3, 2, 1), (40, 8, 3), (33, 5, 2)])
def test_rigidity(robust: float, keypoints: int, edges: int, batch: int):
    rest, neighbours = torch.randn(keypoints, 3), torch.randint(0, keypoints, (keypoints, edges)).to(DEVICE)
    neighbours[0, 0] = 0  # an edge to itself, as `connect` makes them
    unit = KeypointGraph(neighbours).edge_length_squared(rest.to(DEVICE))

    def kernel(rest: Tensor, t: Tensor, turns: Tensor) -> tuple[Tensor]:
        return (rigidity.mean_arap(rest, neighbours, RigidTransforms(t, turns), unit, robust),)

    def oracle(rest: Tensor, t: Tensor, turns: Tensor) -> tuple[Tensor]:
        energy = losses.arap(rest, neighbours, RigidTransforms(t, turns)) / unit.double()
        return ((losses.charbonnier(energy, robust) if robust else energy).mean(),)

    assert_same(kernel, oracle, [rest, *transforms(batch, keypoints)])


@pytest.mark.parametrize("channels", [3, 4])
def test_pixel_errors(channels: int):
    """Also of the colours in a wider picture, as they come where depth is drawn too."""
    shape = (2, 2, 33, 40)
    rgba, importance = torch.rand(*shape, 4).to(DEVICE), torch.rand(2, 2).to(DEVICE)
    weights = losses.ErrorWeights(l1=1.0, mse=5.0, mask=0.5)

    def kernel(picture: Tensor, alpha: Tensor) -> tuple[Tensor]:
        return (pixel_errors.pixel_errors(picture[..., :3], alpha, rgba, importance, weights),)

    def oracle(picture: Tensor, alpha: Tensor) -> tuple[Tensor]:
        return (losses.pixel_errors(picture[..., :3], alpha, rgba.double(), importance.double(), weights),)

    assert_same(kernel, oracle, [torch.rand(*shape, channels), torch.rand(*shape, 1)])


def test_drawing_latents():
    made = MotionLatents(5, 12).to(DEVICE)
    ids = torch.tensor([3, 1, 1, 0, 4, 3, 3] * 6).to(DEVICE)  # motion 2 is not drawn; 42 rows: more than a tile

    def kernel(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        return latents.draw(mu, logvar, ids)

    def oracle(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        noise = torch.randn(5, 12, device=DEVICE).double()
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(-1)
        return (mu + noise * torch.exp(0.5 * logvar))[ids], kl.mean()

    leaves = [torch.randn(5, 12), torch.randn(5, 12)]
    assert_same(kernel, oracle, leaves)
    made.mu.data, made.logvar.data = (t.to(DEVICE) for t in leaves)
    torch.manual_seed(1)
    z, kl = made.draw(ids), made.kl().mean()
    torch.testing.assert_close(kernel(made.mu, made.logvar), (z, kl))


def test_weighted_square():
    target, weights = torch.randn(50, 96).to(DEVICE), torch.rand(96).to(DEVICE)

    def kernel(x: Tensor) -> tuple[Tensor]:
        return (weighted_square.weighted_square(x, target, weights),)

    def oracle(x: Tensor) -> tuple[Tensor]:
        return (losses.weighted_square(x, target.double(), weights.double()),)

    assert_same(kernel, oracle, [torch.randn(50, 96)])


def adams(tensors: list[Tensor]) -> list[torch.optim.Adam]:
    """One for each, with rates of their own."""
    return [torch.optim.Adam([torch.nn.Parameter(t.clone())], lr=0.01 * (n + 1)) for n, t in enumerate(tensors)]


def parameter(optimizer: torch.optim.Optimizer) -> torch.nn.Parameter:
    return optimizer.param_groups[0]["params"][0]


def test_adam():
    """As torch has it, over steps whose gradients grow a thousandfold; one of them is skipped, and one tensor has no
    gradient at first."""
    tensors = [torch.randn(shape, device=DEVICE) for shape in ((1500, 3), (7,), (2048,))]
    ours, theirs = adams(tensors), adams(tensors)
    for step in range(6):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            grad = torch.randn_like(tensors[number]) * 10.0 ** (step - 3)
            parameter(a).grad, parameter(b).grad = (None, None) if number == 1 and step < 2 else (grad, grad.clone())
        skip = step == 3
        adam.step(ours, torch.tensor(float(skip), device=DEVICE))
        for b in [] if skip else theirs:
            b.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(parameter(a), parameter(b), rtol=1e-6, atol=1e-6)
        mine, torchs = a.state[parameter(a)], b.state[parameter(b)]
        assert float(mine["step"]) == float(torchs["step"]) > 0
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(mine[name], torchs[name])
    theirs[0].load_state_dict(ours[0].state_dict())  # torch goes on from where the kernel was
    parameter(theirs[0]).grad = torch.ones_like(tensors[0])
    theirs[0].step()


def test_adam_frame_by_frame(monkeypatch: pytest.MonkeyPatch):
    table = torch.randn(2, 3, 20, 4, device=DEVICE)
    p, q = torch.nn.Parameter(table.clone()), table.clone()
    monkeypatch.setattr("dimo_ns.gpu.usable", lambda _: False)
    optimizer = FrameAdam([p], lr=0.1)
    moments = torch.zeros_like(q), torch.zeros(2, 3, 1, 1, device=DEVICE), torch.zeros(2, 3, 1, 1, device=DEVICE)
    for step in range(5):
        p.grad = torch.randn_like(p)
        p.grad[step % 2, step % 3] = 0  # a frame that was not seen
        optimizer.found_inf = torch.tensor(float(step == 2), device=DEVICE)
        optimizer.step()
        frame_adam.step(q, p.grad, *moments, optimizer.found_inf, 0.1, (0.9, 0.98), 1e-15)
    torch.testing.assert_close(q, p.detach(), rtol=1e-6, atol=1e-6)
    for mine, name in zip(moments, ("mean", "square", "count"), strict=True):
        torch.testing.assert_close(mine, optimizer.state[p][name])


@pytest.mark.skipif(DEVICE.type == "cuda", reason="the tests above have compiled them")
def test_every_kernel_compiles_for_gpus():
    """To machine code, by the compiler that Triton brings: no GPU is needed for that."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.gpu.compile_kernels"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == 12
