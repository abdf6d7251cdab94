"""Errors of rendered pixels: what they are, and that the CPU's kernel is the same function as torch's."""

import pytest
import torch

from dimo_ns.core import losses
from dimo_ns.rasterize.cpu.pixel_errors import pixel_errors as on_cpu
from dimo_ns.rasterize.pixel_errors import pixel_errors

WEIGHTS = losses.ErrorWeights(l1=1.0, mse=5.0, mask=0.5)


def pictures(shape: tuple[int, int, int, int]) -> list[torch.Tensor]:
    """Rendered colour with a fourth channel, alpha, frames, importance."""
    return [torch.rand(*shape, 4), torch.rand(*shape, 1), torch.rand(*shape, 4), torch.rand(shape[:2])]


def test_they_are_the_means_over_white():
    picture, alpha, rgba, _ = pictures((1, 2, 3, 5))
    seen, true = picture[..., :3] + 1 - alpha, rgba[..., :3] + 1 - rgba[..., 3:]
    importance = torch.tensor([[1.0, 0.25]])
    l1, mse, mask = pixel_errors(picture[..., :3], alpha, rgba, importance, losses.ErrorWeights(1.0, 1.0, 1.0))
    share = importance[..., None, None, None]
    torch.testing.assert_close(l1, ((seen - true).abs() * share).mean())
    torch.testing.assert_close(mse, ((seen - true) ** 2 * share).mean())
    torch.testing.assert_close(mask, ((alpha - rgba[..., 3:]) ** 2).mean())


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 33, 40), (1, 2, 70, 90)])  # the last: two blocks an image
def test_the_kernel_is_torchs_function_forward_and_backward(shape: tuple[int, int, int, int]):
    results = []
    for function, dtype in ((on_cpu, torch.float32), (losses.pixel_errors, torch.float64)):
        torch.manual_seed(0)
        picture, alpha, rgba, importance = (t.to(dtype) for t in pictures(shape))
        leaves = [picture.requires_grad_(), alpha.requires_grad_()]
        errors = function(leaves[0][..., :3], leaves[1], rgba, importance, WEIGHTS)
        pull = torch.tensor([1.0, -2.0, 3.0], dtype=dtype)
        results.append([errors, *torch.autograd.grad(errors, leaves, pull)])
    for ours, oracle in zip(*results, strict=True):
        assert (ours.double() - oracle).abs().max() < 1e-6 * oracle.abs().max()


def test_results_do_not_depend_on_the_number_of_threads():
    picture, alpha, rgba, importance = pictures((2, 2, 80, 90))
    results, threads = [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            leaf = picture[..., :3].clone().requires_grad_()
            errors = on_cpu(leaf, alpha, rgba, importance, WEIGHTS)
            results.append([errors, *torch.autograd.grad(errors.sum(), leaf)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


def test_torch_does_what_no_kernel_does(monkeypatch: pytest.MonkeyPatch):
    picture, alpha, rgba, importance = pictures((1, 2, 8, 9))
    arguments = picture[..., :3], alpha, rgba, importance, WEIGHTS
    plain = losses.pixel_errors(*arguments)
    doubled = on_cpu(*(t.double() for t in arguments[:4]), WEIGHTS)
    torch.testing.assert_close(doubled.float(), plain)
    monkeypatch.setattr("dimo_ns.rasterize.pixel_errors.has_numba", lambda: False)
    assert torch.equal(pixel_errors(*arguments), plain)
