"""Linear blend skinning against a double loop, and the motions under which its result is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from dimo_ns.core.geometry import quat_multiply, quat_to_matrix
from dimo_ns.core.skinning import find_neighbours, skin, skinning_weights, weighted_rows
from dimo_ns.core.types import RigidTransforms, SkinningWeights


@pytest.fixture
def parts():
    """40 Gaussians, 12 key points, 3 sets of transforms, in float64."""
    torch.manual_seed(0)
    means, keypoints = torch.randn(40, 3).double(), torch.randn(12, 3).double()
    quats = F.normalize(torch.randn(40, 4).double(), dim=-1)
    log_radii = torch.randn(12).double() * 0.3
    transforms = RigidTransforms(torch.randn(3, 12, 3).double(), F.normalize(torch.randn(3, 12, 4).double(), dim=-1))
    skinning = skinning_weights(means, keypoints, log_radii, find_neighbours(means, keypoints))
    return means, quats, keypoints, log_radii, transforms, skinning


def rotations_of(quats: torch.Tensor) -> torch.Tensor:
    return quat_to_matrix(quats)  # q and -q are one rotation


def test_weights_are_of_the_nearest_four_nearest_first_positive_and_sum_to_one(parts):
    means, _, keypoints, _, _, _ = parts
    skinning = skinning_weights(means, keypoints, torch.zeros(12).double(), find_neighbours(means, keypoints))
    distances = torch.cdist(means, keypoints)

    assert skinning.indices.shape == (40, 4)
    assert torch.equal(skinning.indices, distances.argsort(dim=-1)[:, :4])
    torch.testing.assert_close(skinning.weights.sum(-1), torch.ones(40).double())
    assert (skinning.weights > 0).all()
    assert (skinning.weights.diff(dim=-1) <= 0).all()  # equal radii: the nearer one counts more


def test_fewer_key_points_than_four_all_carry():
    indices = find_neighbours(torch.randn(5, 3), torch.randn(2, 3))
    assert indices.sort(-1).values.tolist() == [[0, 1]] * 5


def test_a_gaussian_out_of_reach_of_all_radii_is_carried_by_equal_parts():
    # Where every exponential underflows, the floor of 1e-7 decides, and no weight is NaN.
    keypoints = torch.rand(4, 3)
    skinning = skinning_weights(
        torch.full((1, 3), 100.0), keypoints, torch.full((4,), -5.0), torch.tensor([[0, 1, 2, 3]])
    )
    torch.testing.assert_close(skinning.weights, torch.full((1, 4), 0.25))


def test_skin_equals_the_sum_over_neighbours_written_out(parts):
    means, quats, keypoints, log_radii, transforms, skinning = parts
    posed_means, posed_quats = skin(means, quats, skinning, keypoints, transforms)

    for b in range(3):
        for i in range(40):
            near = sorted(range(12), key=lambda j, i=i: float((means[i] - keypoints[j]).norm()))[:4]
            w = [math.exp(-float((means[i] - keypoints[j]).square().sum()) / (2 * math.exp(2 * log_radii[j]))) + 1e-7
                 for j in near]  # fmt: skip
            mean, turn = torch.zeros(3).double(), torch.zeros(4).double()
            for j, weight in zip(near, w, strict=True):
                q = transforms.quats[b, j]
                R = torch.from_numpy(Rotation.from_quat(q[[1, 2, 3, 0]].numpy()).as_matrix())
                share = weight / sum(w)
                mean += share * (R @ (means[i] - keypoints[j]) + keypoints[j] + transforms.translations[b, j])
                turn += share * (q if q @ transforms.quats[b, near[0]] >= 0 else -q)
            torch.testing.assert_close(posed_means[b, i], mean)
            torch.testing.assert_close(posed_quats[b, i], quat_multiply(turn / turn.norm(), quats[i]))


def test_identity_transforms_change_nothing(parts):
    means, quats, keypoints, _, _, skinning = parts
    identity = RigidTransforms.identity(2, 12)
    identity = RigidTransforms(identity.translations.double(), identity.quats.double())
    posed_means, posed_quats = skin(means, quats, skinning, keypoints, identity)

    torch.testing.assert_close(posed_means, means.expand(2, -1, -1))
    torch.testing.assert_close(posed_quats, quats.expand(2, -1, -1))


def test_a_rigid_motion_of_all_key_points_moves_every_gaussian_rigidly(parts):
    means, quats, keypoints, _, _, skinning = parts
    q = F.normalize(torch.randn(4).double(), dim=0)
    R, shift = quat_to_matrix(q), torch.randn(3).double()
    moved = keypoints @ R.T + shift
    transforms = RigidTransforms((moved - keypoints)[None], q.expand(1, 12, 4))
    posed_means, posed_quats = skin(means, quats, skinning, keypoints, transforms)

    torch.testing.assert_close(posed_means[0], means @ R.T + shift)
    torch.testing.assert_close(rotations_of(posed_quats[0]), R @ rotations_of(quats))


def test_the_sign_of_no_key_points_quaternion_matters(parts):
    means, quats, keypoints, _, transforms, skinning = parts
    signs = torch.where(torch.rand(3, 12, 1) < 0.5, -1.0, 1.0).double()
    flipped = RigidTransforms(transforms.translations, transforms.quats * signs)
    means_a, quats_a = skin(means, quats, skinning, keypoints, transforms)
    means_b, quats_b = skin(means, quats, skinning, keypoints, flipped)

    torch.testing.assert_close(means_a, means_b)
    torch.testing.assert_close(rotations_of(quats_a), rotations_of(quats_b))


def test_turns_of_170_and_minus_170_degrees_blend_to_180_and_not_to_none():
    half = math.radians(85)
    z = torch.tensor([[math.cos(half), 0, 0, math.sin(half)], [math.cos(half), 0, 0, -math.sin(half)]])
    skinning = SkinningWeights(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
    _, posed = skin(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), skinning, torch.zeros(2, 3),
        RigidTransforms(torch.zeros(1, 2, 3), z[None]),
    )  # fmt: skip
    torch.testing.assert_close(rotations_of(posed[0, 0]), torch.diag(torch.tensor([-1.0, -1.0, 1.0])))


def test_posed_quaternions_are_unit(parts):
    means, quats, keypoints, _, transforms, skinning = parts
    posed = skin(means, quats, skinning, keypoints, transforms)[1]
    torch.testing.assert_close(posed.norm(dim=-1), torch.ones(3, 40).double())


def test_weighted_rows_is_a_weighted_sum():
    table, indices, weights = torch.randn(6, 5), torch.randint(6, (9, 3)), torch.rand(9, 3)
    torch.testing.assert_close(weighted_rows(table, indices, weights), (table[indices] * weights[..., None]).sum(1))


def test_gradients_of_everything_that_is_learned():
    torch.manual_seed(1)
    means, keypoints = torch.randn(5, 3).double(), torch.randn(6, 3).double()
    indices = find_neighbours(means, keypoints)

    def pose(means, log_radii, keypoints, quats, translations, turns):
        skinning = skinning_weights(means, keypoints, log_radii, indices)
        transforms = RigidTransforms(translations, F.normalize(turns, dim=-1))
        return skin(means, F.normalize(quats, dim=-1), skinning, keypoints, transforms)

    inputs = means, torch.zeros(6), keypoints, torch.randn(5, 4), torch.randn(2, 6, 3), torch.randn(2, 6, 4)
    assert torch.autograd.gradcheck(pose, [x.double().requires_grad_() for x in inputs])
