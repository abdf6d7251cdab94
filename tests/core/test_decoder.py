"""Both motion decoders: sizes, what they are at first, and how well the linear basis takes given trajectories."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder, fourier_features, time_features
from dimo_ns.core.types import RigidTransforms

KEYPOINTS = 9


def shaken(decoder: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The decoder in float64, away from its start, where it does nothing."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in decoder.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return decoder.double()


def both(latent_dim: int = 4) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    return [MLPDecoder(latent_dim), LowRankDecoder(KEYPOINTS, latent_dim, rank=6, width=16)]


@pytest.fixture(params=[0, 1], ids=["mlp", "low_rank"])
def decoder(request):
    return both()[request.param]


def test_the_papers_decoder_has_the_papers_size():
    assert sum(p.numel() for p in MLPDecoder(32).parameters()) == 647_431


def test_fourier_features_are_powers_of_two_without_the_raw_input():
    features = fourier_features(torch.tensor([[0.3, -1.0]]), 3)[0]
    expected = [f(v * 2**k) for v in (0.3, -1.0) for f in (np.sin, np.cos) for k in range(3)]
    torch.testing.assert_close(features, torch.tensor(expected, dtype=torch.float32))


def test_time_features_do_not_repeat_within_a_clip():
    features = time_features(torch.linspace(0, 1, 42), LowRankDecoder.TIME_FREQUENCIES)
    assert torch.pdist(features).min() > 0.05


def test_at_first_nothing_moves(decoder):
    transforms = decoder(torch.randn(KEYPOINTS, 3), torch.rand(5), torch.randn(5, 4))
    identity = RigidTransforms.identity(5, KEYPOINTS)
    tolerance = 0.0 if isinstance(decoder, MLPDecoder) else 0.01  # the basis begins small, not zero
    torch.testing.assert_close(transforms.translations, identity.translations, atol=tolerance, rtol=0)
    torch.testing.assert_close(transforms.quats, identity.quats, atol=tolerance, rtol=0)


def test_quaternions_are_unit(decoder):
    transforms = shaken(decoder)(torch.randn(KEYPOINTS, 3).double(), torch.rand(5).double(), torch.randn(5, 4).double())
    assert transforms.quats.std() > 0.01
    torch.testing.assert_close(transforms.quats.norm(dim=-1), torch.ones(5, KEYPOINTS).double())


def test_rows_of_a_batch_do_not_mix(decoder):
    shaken(decoder)
    keypoints, t, z = torch.randn(KEYPOINTS, 3).double(), torch.rand(3).double(), torch.randn(3, 4).double()
    together = decoder(keypoints, t, z)
    for i in range(3):
        alone = decoder(keypoints, t[i : i + 1], z[i : i + 1])
        torch.testing.assert_close(together.translations[i], alone.translations[0])
        torch.testing.assert_close(together.quats[i], alone.quats[0])


def test_motion_is_smooth_in_time(decoder):
    # Of a function without jumps, the largest step halves with the step in time.
    shaken(decoder)
    keypoints, z = torch.randn(KEYPOINTS, 3).double(), torch.randn(1, 4).double()

    def largest_step(samples: int) -> float:
        t = torch.linspace(0, 1, samples + 1).double()
        with torch.no_grad():
            transforms = decoder(keypoints, t, z.expand(len(t), -1))
        return float(torch.cat([transforms.translations, transforms.quats], -1).diff(dim=0).norm(dim=-1).max())

    assert 0.4 < largest_step(2048) / largest_step(1024) < 0.6


def test_the_low_rank_decoder_moves_no_faster_than_its_layers_allow():
    # |d pose / dt| <= |basis| prod |W| 1.1^2 |d features / dt|; 1.1 bounds the slope of SiLU.
    decoder = shaken(LowRankDecoder(KEYPOINTS, 4, rank=6, width=16))
    bound = torch.linalg.matrix_norm(decoder.basis.flatten(1), 2) * 1.1**2
    for layer in decoder.trunk[::2]:
        assert isinstance(layer, torch.nn.Linear)
        bound = bound * torch.linalg.matrix_norm(layer.weight, 2)
    bound = bound * (0.5 * torch.pi * torch.arange(1, decoder.TIME_FREQUENCIES + 1)).square().sum().sqrt()

    t = torch.linspace(0, 1, 200).double()
    moved = decoder(torch.zeros(KEYPOINTS, 3).double(), t, torch.randn(1, 4).double().expand(200, -1)).translations
    assert moved.flatten(1).diff(dim=0).norm(dim=-1).max() <= bound * (t[1] - t[0])


def test_gradients(decoder):
    shaken(decoder)
    keypoints = torch.randn(KEYPOINTS, 3).double()

    def pose(keypoints, t, z):
        transforms = decoder(keypoints, t, z)
        return transforms.translations, transforms.quats

    learned = isinstance(decoder, MLPDecoder)  # the other one does not look at where key points are
    inputs = keypoints.requires_grad_(learned), torch.rand(2).double(), torch.randn(2, 4).double()
    # Steps so small that no ReLU switches within one; the gradients are in the hundreds.
    inputs = (inputs[0], *(x.requires_grad_() for x in inputs[1:]))
    assert torch.autograd.gradcheck(pose, inputs, eps=1e-9, atol=1e-3)


def test_gradients_of_the_basis():
    decoder = shaken(LowRankDecoder(3, 2, rank=2, width=4))
    inputs = torch.zeros(3, 3).double(), torch.rand(2).double(), torch.randn(2, 2).double()

    def pose(basis, offset):
        transforms = torch.func.functional_call(decoder, {"basis": basis, "offset": offset}, inputs)
        return transforms.translations, transforms.quats

    learned = [p.detach().clone().requires_grad_() for p in (decoder.basis, decoder.offset)]
    assert torch.autograd.gradcheck(pose, learned)


def some_transforms(poses: int) -> RigidTransforms:
    torch.manual_seed(3)
    quats = torch.randn(poses, KEYPOINTS, 4) * 0.3 + torch.tensor([1.0, 0, 0, 0])
    return RigidTransforms(torch.randn(poses, KEYPOINTS, 3) * 0.2, F.normalize(quats, dim=-1))


def flat(transforms: RigidTransforms) -> torch.Tensor:
    return torch.cat([transforms.translations, transforms.quats], -1).flatten(1)


@pytest.mark.parametrize("rank", [9, 12])
def test_a_basis_of_full_rank_reproduces_the_trajectories_that_it_was_fitted_to(rank):
    # 10 poses span at most 9 directions about their mean.
    transforms = some_transforms(10)
    decoder = LowRankDecoder(KEYPOINTS, 4, rank=rank)
    coordinates = decoder.fit_basis(transforms)
    decoder.coordinates = lambda t, z: coordinates
    found = decoder(torch.zeros(KEYPOINTS, 3), torch.zeros(10), torch.zeros(10, 4))

    assert coordinates.shape == (10, rank)
    torch.testing.assert_close(found.translations, transforms.translations, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.quats, transforms.quats, atol=1e-5, rtol=0)


def test_coordinates_are_whitened():
    coordinates = LowRankDecoder(KEYPOINTS, 4, rank=9).fit_basis(some_transforms(10))
    torch.testing.assert_close(coordinates.mean(0), torch.zeros(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(coordinates.T @ coordinates / 10, torch.eye(9), atol=1e-5, rtol=0)


def test_what_a_smaller_basis_loses_is_the_tail_of_the_singular_values():
    transforms = some_transforms(20)
    poses = flat(transforms)
    decoder = LowRankDecoder(KEYPOINTS, 4, rank=5)
    coordinates = decoder.fit_basis(transforms)
    found = (decoder.offset.flatten() + coordinates @ decoder.basis.flatten(1)).detach()

    spectrum = np.linalg.svd((poses - poses.mean(0)).numpy(), compute_uv=False)
    assert float((found - poses).square().sum()) == pytest.approx(float((spectrum[5:] ** 2).sum()), rel=1e-4)


def test_poses_that_do_not_differ_leave_coordinates_at_zero():
    one = some_transforms(1)
    decoder = LowRankDecoder(KEYPOINTS, 4, rank=5)
    coordinates = decoder.fit_basis(RigidTransforms(one.translations.repeat(6, 1, 1), one.quats.repeat(6, 1, 1)))
    found = decoder.offset.flatten() + coordinates @ decoder.basis.flatten(1)
    torch.testing.assert_close(found, flat(one).expand(6, -1), atol=1e-5, rtol=0)
    assert coordinates.isfinite().all()
