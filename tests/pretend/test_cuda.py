"""The stand-in for a CUDA device catches the mistakes that it is there for, and computes what the CPU does."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from dimo_ns.core.cameras import orbit
from dimo_ns.errors import DimoError
from dimo_ns.rasterize.render import render
from tests.pretend.cuda import GSPLAT_LAUNCHES, launches, no_waiting
from tests.pretend.pretended import CPU, CUDA
from tests.spaces import some_space

pytestmark = pytest.mark.usefixtures("cuda")


def some() -> Tensor:
    return torch.tensor([3.0, -1.0, 2.0], device="cuda")


def counts() -> Tensor:
    return torch.tensor([1, 0, 2], device="cuda")


# --- devices ----------------------------------------------------------------------------------------------------------


def test_tensors_say_where_they_are_and_what_is_made_of_them_is_there():
    x = some()
    made = (
        x,
        x + 1,
        x[:2],
        x.new_zeros(2),
        torch.zeros_like(x),
        torch.cat([x, x]),
        x.double(),
        torch.where(x > 0, x, 0),
    )
    assert {y.device for y in made} == {CUDA}
    assert x.is_cuda
    assert not x.is_cpu
    assert x.cpu().device == x.to("cpu").device == x.to(torch.zeros(1)).device == CPU
    assert not x.cpu().is_cuda
    assert x.cpu().tolist() == x.tolist() == [3.0, -1.0, 2.0]
    assert x.cpu().to("cuda", torch.float64).dtype == torch.float64
    assert f"{x.sum():.1f} {x[0]}" == "4.0 3.0"


def test_operations_that_change_shapes_in_place_do():
    x = some()[None]
    assert x.squeeze_(0).shape == x.shape == (3,)
    assert (x @ torch.ones(3, 2, device="cuda")).shape == (2,)  # which squeezes its product in place


MIXED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda x, y: x + y,
    "product of matrices": lambda x, y: x[None] @ y[:, None],
    "in place": lambda x, y: x.mul_(y),
    "into one of the CPU": lambda x, y: y.add_(x),
    "cat": lambda x, y: torch.cat([x, y]),
    "where": lambda x, y: torch.where(y > 0, x, 0.0),
    "gather": lambda x, y: x.gather(0, y.abs().long() * 0),
    "index of one on the CPU": lambda x, y: y[x.abs().long() * 0],
    "a function of torch.nn": lambda x, y: torch.nn.functional.linear(x, y[None]),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_do_not_mix(name: str):
    with pytest.raises(RuntimeError, match="same device"):
        MIXED[name](some(), torch.ones(3))


def test_what_cuda_allows_is_allowed():
    """Numbers of no dimensions, copies, indices on the CPU."""
    x = some()
    assert (x * torch.tensor(2.0)).tolist() == [6.0, -2.0, 4.0]
    assert x[torch.tensor([2, 0])].tolist() == [2.0, 3.0]
    x[:2] = torch.zeros(2)
    assert torch.zeros(3).copy_(x).tolist() == [0.0, 0.0, 2.0]


def test_numpy_takes_none():
    for take in (Tensor.numpy, torch.Tensor.__array__):
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            take(some())


def test_random_numbers_of_the_cpu_are_not_drawn_on_cuda():
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device="cuda", generator=torch.Generator())


def test_gsplat_and_render_refuse_what_is_on_the_cpu():
    scene = some_space(gaussians=5).scene.to("cuda")
    posed = scene.pose(scene.latents.mu[:1], torch.zeros(1, device="cuda"))
    with pytest.raises(DimoError, match="device"):
        render(posed, orbit(torch.zeros(1), 0.0, (8, 8))[None])


def test_gradients_flow_across_moves():
    leaf = torch.tensor([1.0, 2.0], requires_grad=True)
    there = leaf.to("cuda") ** 2
    there.retain_grad()
    (3 * there.cpu()).sum().backward()
    assert there.grad.device == CUDA
    assert leaf.grad.device == CPU
    assert leaf.grad.tolist() == [6.0, 12.0]
    made = torch.ones(2, device="cuda", requires_grad=True)
    (made**2).sum().backward()
    assert made.grad.device == CUDA


def test_a_module_moves_and_keeps_its_kinds():
    module = torch.nn.Linear(2, 2).to("cuda")
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad and p.device == CUDA for p in module.parameters())
    assert all(type(value) is torch.Tensor for value in module.cpu().state_dict().values())


@pytest.mark.parametrize("start", ["thread", "pool"])
def test_threads_that_are_started_see_the_device_too(start: str):
    found = []

    def work() -> None:
        try:
            _ = some() + torch.ones(3)
        except RuntimeError as error:
            found.append(str(error))

    if start == "thread":
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()
    assert len(found) == 1
    assert "same device" in found[0]


def test_pictures_and_gradients_are_the_cpus():
    results = []
    for place in ("cpu", "cuda"):
        scene = some_space(gaussians=20).scene.to(place)
        camera = orbit(torch.tensor([30.0]), 10.0, (16, 16)).to(place)
        picture = render(scene.pose(scene.latents.mu[:1], torch.zeros(1, device=place)), camera[None], depth=True)
        picture.color.square().sum().backward()
        results.append((picture.color, picture.alpha, picture.depth, scene.gaussians.means.grad))
    for expected, found in zip(*results, strict=True):
        assert found.device == CUDA
        torch.testing.assert_close(found.detach().cpu(), expected.detach(), atol=1e-5, rtol=1e-4)


# --- waiting ----------------------------------------------------------------------------------------------------------

WAITS: dict[str, Callable[[], object]] = {
    "item": lambda: some().sum().item(),
    "__bool__": lambda: bool(some().sum() > 0),
    "__float__": lambda: float(some().sum()),
    "__int__": lambda: int(some().sum()),
    "tolist": lambda: some().tolist(),
    "cpu": lambda: some().cpu(),
    "to": lambda: some().to("cpu"),
    "nonzero": lambda: some().nonzero(),
    "where": lambda: torch.where(some() > 0),
    "argwhere": lambda: torch.argwhere(some()),
    "__getitem__": lambda: some()[some() > 0],
    "__setitem__": lambda: some().__setitem__(some() > 0, some()[:2]),
    "masked_select": lambda: some().masked_select(some() > 0),
    "unique": lambda: torch.unique(some()),
    "unique_consecutive": lambda: torch.unique_consecutive(some()),
    "repeat_interleave": lambda: some().repeat_interleave(counts()),
    "bincount": lambda: torch.bincount(counts()),
    "equal": lambda: torch.equal(some(), some()),
    "allclose": lambda: torch.allclose(some(), some()),
    "copy_": lambda: torch.zeros(3).copy_(some()),
    "linalg_inv": lambda: torch.linalg.inv(torch.eye(3, device="cuda")),
    "__index__": lambda: range(counts().sum()),
}


@pytest.mark.parametrize("name", WAITS)
def test_waiting_for_the_device_is_found_and_named(name: str):
    WAITS[name]()
    with no_waiting(), pytest.raises(AssertionError, match=f"{name} waits for the device"):
        WAITS[name]()
    WAITS[name]()


def test_what_does_not_wait_passes():
    x = some()
    with no_waiting():
        x.clone()[x > 0] = 0.0
        x.repeat_interleave(2)
        x.repeat_interleave(counts(), output_size=3)
        _ = x[counts()], x[torch.tensor([0, 2])]
        torch.where(x > 0, x, 0.0)
        x.masked_fill(x > 0, 1.0)
        torch.ones(2).to("cuda")
        torch.ones(2).tolist()  # which is the CPU's own
        assert bool(torch.ones(1))


# --- launches ---------------------------------------------------------------------------------------------------------


def test_launches_are_counted_without_views_and_allocations():
    x = some()
    with launches() as counted:
        _ = (x[1:] + x[:2].view(2)).mul_(2)
        torch.empty(3, device="cuda")
        x.new_empty(3)
        x.detach().expand(4, 3).transpose(0, 1)
        _ = torch.ones(3) + 1
    assert counted == {"aten.add.Tensor": 1, "aten.mul_.Tensor": 1}
    _ = x + 1
    assert counted.total() == 2
    with launches() as counted:
        torch.zeros(3, device="cuda").cpu()
        torch.ones(3).to("cuda")
    assert counted == {"zeros": 1, "to cpu": 1, "to cuda": 1}


def test_gsplat_is_counted_as_what_it_launches_once_forward_and_once_backward():
    scene = some_space(gaussians=5).scene.to("cuda")
    posed = scene.pose(scene.latents.mu[:2], torch.zeros(2, device="cuda"))
    cameras = orbit(torch.zeros(2), 0.0, (8, 8)).to("cuda")[:, None]
    with launches() as counted:
        seen = render(posed, cameras)
    for name, (forward, _) in GSPLAT_LAUNCHES.items():
        assert counted[f"gsplat {name}"] == forward
        assert f"gsplat {name} backward" not in counted
    assert not any("to c" in name for name in counted)
    with launches() as counted:
        seen.color.sum().backward()
    for name, (_, backward) in GSPLAT_LAUNCHES.items():
        assert counted[f"gsplat {name} backward"] == backward
        assert f"gsplat {name}" not in counted


def test_optimizers_launch_for_all_parameters_at_once():
    parameters = [torch.ones(2, device="cuda", requires_grad=True) for _ in range(5)]
    optimizer = torch.optim.Adam(parameters, fused=True)
    torch.stack(parameters).square().sum().backward()
    optimizer.step()  # which makes the moments
    with launches() as counted:
        optimizer.step()
    assert counted["aten._fused_adam_.default"] == 1
    assert counted.total() <= 3
