"""Losses at inputs whose value is known, and against loops and other people's code."""

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_msssim import ssim as reference_ssim
from scipy.spatial.transform import Rotation

from dimo_ns.core import losses
from dimo_ns.core.geometry import nearest_neighbours, quat_to_matrix
from dimo_ns.core.types import RigidTransforms


@pytest.fixture
def graph():
    torch.manual_seed(0)
    keypoints = torch.randn(15, 3).double()
    return keypoints, nearest_neighbours(keypoints, 4)


def rigid(keypoints: torch.Tensor) -> RigidTransforms:
    """Two rigid motions of everything."""
    quats = F.normalize(torch.randn(2, 4).double(), dim=-1)
    moved = keypoints @ quat_to_matrix(quats).mT + torch.randn(2, 1, 3).double()
    return RigidTransforms(moved - keypoints, quats[:, None].expand(-1, 15, -1))


def test_arap_is_zero_for_rigid_motion(graph):
    keypoints, neighbours = graph
    transforms = rigid(keypoints)
    zero = torch.zeros(2, 15, 4).double()

    torch.testing.assert_close(losses.arap(keypoints, neighbours, transforms), zero)


def test_arap_is_positive_for_stretching(graph):
    keypoints, neighbours = graph
    stretched = keypoints * torch.tensor([1.5, 1.0, 1.0]).double()
    identity = RigidTransforms.identity(15)
    transforms = RigidTransforms(stretched - keypoints, identity.quats.double())

    assert (losses.arap(keypoints, neighbours, transforms).sum(-1) > 0.001).all()


def test_arap_equals_the_sum_written_out(graph):
    keypoints, neighbours = graph
    transforms = RigidTransforms(torch.randn(2, 15, 3).double(), F.normalize(torch.randn(2, 15, 4).double(), dim=-1))
    own = losses.arap(keypoints, neighbours, transforms)
    moved = keypoints + transforms.translations

    for b in range(2):
        for i in range(15):
            q = transforms.quats[b, i]
            R = torch.from_numpy(Rotation.from_quat(q[[1, 2, 3, 0]].numpy()).as_matrix())
            near = neighbours[i].tolist()
            before = torch.stack([keypoints[j] - keypoints[i] for j in near])
            after = torch.stack([moved[b, j] - moved[b, i] for j in near])
            for n in range(4):
                torch.testing.assert_close(own[b, i, n], (after[n] - R @ before[n]).square().sum())


def test_arap_gradients(graph):
    keypoints, neighbours = graph

    def energy(translations, quats):
        return losses.arap(keypoints, neighbours, RigidTransforms(translations, F.normalize(quats, dim=-1)))

    inputs = torch.randn(15, 3).double().requires_grad_(), torch.randn(15, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(energy, inputs)


def test_charbonnier_is_the_energy_near_zero_and_its_root_far_away():
    small, large = torch.tensor(1e-6).double(), torch.tensor(1e8).double()
    torch.testing.assert_close(losses.charbonnier(small, 0.1), small, rtol=1e-4, atol=0)
    torch.testing.assert_close(losses.charbonnier(large, 0.1), 2 * (0.1 * large).sqrt(), rtol=1e-3, atol=0)
    assert losses.charbonnier(torch.tensor(0.0), 0.1) == 0

    energy = torch.linspace(0, 10, 100).double()
    assert (losses.charbonnier(energy, 0.1) <= energy).all()
    assert (losses.charbonnier(energy, 0.1).diff() > 0).all()


def test_anchor_is_zero_at_anchors_and_counts_one_side_only():
    torch.manual_seed(0)
    anchors = torch.randn(2, 8, 3)
    positions = anchors[:, [5, 0, 2]]
    assert (losses.anchor(positions, anchors) == 0).all()  # although five anchors have nobody near them

    shifted = positions + torch.tensor([1e-3, 0, 0])
    torch.testing.assert_close(losses.anchor(shifted, anchors), torch.full((2, 3), 1e-6), rtol=1e-2, atol=0)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_anchor_is_the_squared_distance_to_the_nearest(batch):
    torch.manual_seed(0)
    positions, anchors = torch.randn(*batch, 4, 3), torch.randn(*batch, 6, 3)
    expected = (positions[..., :, None, :] - anchors[..., None, :, :]).square().sum(-1).amin(-1)
    torch.testing.assert_close(losses.anchor(positions, anchors), expected)


def test_composite_over_a_background():
    rgba = torch.tensor([[0.25, 0.0, 0.1, 0.5], [0.0, 0.0, 0.0, 0.0]])  # premultiplied
    color, alpha = losses.composite(rgba, torch.ones(3))
    torch.testing.assert_close(color, torch.tensor([[0.75, 0.5, 0.6], [1.0, 1.0, 1.0]]))
    assert alpha.tolist() == [[0.5], [0.0]]


def plain(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A map with a guide without edges and a mask that is full."""
    return value, torch.full((*value.shape[:3], 3), 0.3), torch.ones(*value.shape[:3], 1)


def test_smoothness_is_zero_for_a_constant_map_whatever_the_guide():
    guide = torch.rand(2, 6, 7, 3)
    assert losses.smoothness(torch.full((2, 6, 7, 1), 3.0), guide, torch.ones(2, 6, 7, 1)).tolist() == [0, 0]


def test_smoothness_of_a_ramp():
    # 6 x 4 steps of 0.1 along x, 5 x 5 steps of 0 along y.
    ramp = (0.1 * torch.arange(5)).expand(1, 6, 5)[..., None]
    torch.testing.assert_close(losses.smoothness(*plain(ramp)), torch.tensor([0.1 * 24 / 49]))


def test_smoothness_falls_with_the_guides_edges():
    step = (torch.arange(4) >= 2).float().expand(1, 3, 4)[..., None]
    value, _, inside = plain(step)
    expected = 3 * math.exp(-10 * 0.2) / (3 * 3 + 2 * 4)  # the one column of steps lies on an edge of 0.2
    torch.testing.assert_close(
        losses.smoothness(value, (0.2 * step).expand(-1, -1, -1, 3), inside), torch.tensor([expected])
    )


def test_smoothness_does_not_cross_the_mask_and_gradients_stay_inside():
    value = torch.rand(1, 8, 8, 2)
    inside = torch.zeros(1, 8, 8, 1)
    inside[:, 2:6, 3:7] = 1
    value[:, 2:6, 3:7] = 5.0
    value.requires_grad_()
    loss = losses.smoothness(value, torch.full((1, 8, 8, 3), 0.5), inside)
    assert loss.tolist() == [0]

    other = torch.rand(1, 8, 8, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(losses.smoothness(other, torch.full((1, 8, 8, 3), 0.5), inside).sum(), other)
    assert ((gradient != 0).any(-1, keepdim=True) <= (inside > 0)).all()


def test_smoothness_with_an_empty_mask_is_zero():
    value, guide, inside = plain(torch.rand(1, 4, 4, 1))
    assert losses.smoothness(value, guide, 0 * inside).tolist() == [0]


def test_acceleration_is_zero_for_uniform_motion_and_known_for_a_fall():
    t = torch.arange(6).double()[:, None, None]
    start, velocity = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    torch.testing.assert_close(losses.acceleration(start + velocity * t), torch.zeros(4, 4).double())

    fall = start + velocity * t + 0.5 * torch.tensor([0, 0, -3.0]).double() * t**2
    torch.testing.assert_close(losses.acceleration(fall), torch.full((4, 4), 9.0).double())


def images(height: int = 40, width: int = 31) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    image = F.interpolate(torch.rand(2, 3, 10, 8), (height, width), mode="bilinear").permute(0, 2, 3, 1)
    return image, (image + 0.1 * torch.randn_like(image)).clamp(0, 1)


def test_ssim_is_that_of_pytorch_msssim():
    image, target = images()
    ours = losses.ssim(image, target)
    theirs = reference_ssim(
        image.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2), data_range=1, win_size=11, size_average=False
    )
    assert ours.shape == (2, 30, 21, 3)
    torch.testing.assert_close(ours.mean((1, 2, 3)), theirs, atol=1e-5, rtol=0)


def test_ssim_of_equal_images_is_one():
    image, _ = images()
    torch.testing.assert_close(losses.ssim(image, image), torch.ones(2, 30, 21, 3))
    white = torch.ones(1, 20, 20, 3)
    torch.testing.assert_close(losses.ssim(white, white), torch.ones(1, 10, 10, 3), atol=1e-3, rtol=0)


def test_blur_matrix_is_a_valid_convolution():
    x = torch.arange(7) - 3.0
    kernel = torch.exp(-0.5 * (x / 1.5) ** 2)
    signal = torch.rand(2, 25)
    expected = F.conv1d(signal[:, None], (kernel / kernel.sum())[None, None])[:, 0]
    matrix = losses.blur_matrix(25, 7, 1.5, torch.device("cpu"))

    assert matrix.shape == (19, 25)
    torch.testing.assert_close(signal @ matrix.T, expected)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(19))
