"""The CPU kernel of skinning is the same function as the torch one in core, forward and backward."""

import pytest
import torch
import torch.nn.functional as F

from dimo_ns.core import skinning
from dimo_ns.core.types import RigidTransforms
from dimo_ns.rasterize.cpu.skinning import blend
from dimo_ns.rasterize.skinning import fused_skin


def inputs(count: int, keypoints: int, batch: int, seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    means, quats = torch.randn(count, 3, generator=g), F.normalize(torch.randn(count, 4, generator=g), dim=-1)
    weights = torch.softmax(torch.randn(count, 4, generator=g), -1)
    affine = torch.randn(batch, keypoints, 12, generator=g)
    turns = F.normalize(torch.randn(batch, keypoints, 4, generator=g), dim=-1)  # signs of neighbours disagree
    return [means, quats, weights, affine, turns]


@pytest.mark.parametrize(("count", "keypoints", "batch"), [(1, 4, 1), (37, 9, 3), (2000, 50, 4)])
def test_it_equals_torch_forward_and_backward(count: int, keypoints: int, batch: int):
    indices = torch.stack([torch.randperm(keypoints)[:4] for _ in range(count)])
    results = []
    for work, dtype in ((blend, torch.float32), (skinning.blend, torch.float64)):
        leaves = [t.to(dtype).requires_grad_() for t in inputs(count, keypoints, batch)]
        posed, turned = work(*leaves, indices)
        g = torch.Generator().manual_seed(1)
        pull = [torch.randn(x.shape, generator=g).to(dtype) for x in (posed, turned)]
        torch.autograd.backward([posed, turned], pull)
        results.append([posed, turned, *(leaf.grad for leaf in leaves)])
    for ours, oracle in zip(*results, strict=True):
        error = (ours.double() - oracle).abs().max() / oracle.abs().max()
        assert error < 2e-5  # float32 against float64; a nearly cancelled blend loses some digits


def test_results_do_not_depend_on_the_number_of_threads():
    indices, results = torch.randint(0, 50, (3000, 4)), []
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            leaves = [t.requires_grad_() for t in inputs(3000, 50, 2)]
            posed, turned = blend(*leaves, indices)
            (posed.sum() + turned.square().sum() + turned[..., 0].sum()).backward()
            results.append([posed, turned, *(leaf.grad for leaf in leaves)])
    finally:
        torch.set_num_threads(threads)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_torch_skins_where_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch):
    means, quats, _, _, turns = inputs(30, 9, 2)
    keypoints, indices = torch.randn(9, 3), torch.randint(0, 9, (30, 4))
    transforms = RigidTransforms(torch.randn(2, 9, 3), turns)
    args = means, quats, keypoints, torch.zeros(9), indices, transforms
    fused, plain = fused_skin(*args), skinning.skin_by_radii(*args)
    assert all(torch.equal(x, y) for x, y in zip(fused, skinning.skin_by_radii(*args, blend), strict=True))
    monkeypatch.setattr("dimo_ns.rasterize.skinning.has_numba", lambda: False)
    assert all(torch.equal(x, y) for x, y in zip(fused_skin(*args), plain, strict=True))
    meta = RigidTransforms(transforms.translations.to("meta"), turns.to("meta"))
    assert all(x.device.type == "meta" for x in fused_skin(*(x.to("meta") for x in args[:5]), meta))
