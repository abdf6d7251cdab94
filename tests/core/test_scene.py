"""A scene as a whole: posing in batches, and its state."""

import pytest
import torch

from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.core.skinning import skin_by_radii
from dimo_ns.core.types import RigidTransforms

KEYPOINTS = 12


def scene(kind: str, seed: int = 0) -> Scene:
    torch.manual_seed(seed)
    decoder = MLPDecoder(4) if kind == "mlp" else LowRankDecoder(KEYPOINTS, 4, rank=5, width=16)
    gaussians = CanonicalGaussians(
        torch.randn(50, 3), torch.rand(50, 3) + 0.01, torch.full((50,), 0.5), torch.rand(50, 3), torch.randn(50, 4)
    )
    made = Scene(MotionLatents(3, 4), decoder, torch.randn(KEYPOINTS, 3), torch.rand(KEYPOINTS) + 0.5, gaussians)
    with torch.no_grad():
        for parameter in [*made.decoder.parameters(), *made.latents.parameters()]:
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("kind", ["mlp", "low_rank"])
def test_posing_a_batch_is_posing_one_at_a_time(kind):
    made = scene(kind).double()  # in float32 the last digits depend on how a processor sums rows of one or of five
    z, t = torch.randn(5, 4).double(), torch.rand(5).double()
    together = made.pose(z, t)

    assert together.means.shape == (5, 50, 3)
    assert together.means.std(0).min() > 1e-4  # the poses differ
    for i in range(5):
        alone = made.pose(z[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(together.means[i], alone.means[0])
        torch.testing.assert_close(together.quats[i], alone.quats[0])


def test_only_means_and_quats_are_posed():
    made = scene("low_rank")
    rest, posed = made.gaussians(), made.pose(torch.randn(2, 4), torch.rand(2))
    for name in ("scales", "opacities", "colors"):
        assert torch.equal(getattr(rest, name), getattr(posed, name))


def test_identity_transforms_carry_nothing_anywhere():
    made = scene("mlp")
    rest, posed = made.gaussians(), made.carry(RigidTransforms.identity(1, KEYPOINTS))
    torch.testing.assert_close(posed.means[0], rest.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(posed.quats[0], rest.quats, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mlp", "low_rank"])
def test_a_scene_loaded_from_its_state_poses_the_same(kind):
    made, other = scene(kind), scene(kind, seed=1)
    other.load_state_dict(made.state_dict())

    z, t = torch.randn(2, 4), torch.rand(2)
    a, b = made.pose(z, t), other.pose(z, t)
    assert torch.equal(a.means, b.means)
    assert torch.equal(a.quats, b.quats)


def test_gradients_reach_every_parameter():
    made = scene("low_rank")
    posed = made.pose(made.latents.draw(torch.tensor([0, 1, 2])), torch.rand(3))
    parts = (posed.means, posed.quats, posed.scales, posed.opacities, posed.colors)
    torch.stack([(x * torch.randn_like(x)).sum() for x in parts]).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_a_scene_is_posed_by_the_skinning_that_it_was_given():
    calls = []

    def counted(*arguments):
        calls.append(len(arguments))
        return skin_by_radii(*arguments)

    made, z, t = scene("low_rank"), torch.randn(2, 4), torch.rand(2)
    other = Scene(made.latents, made.decoder, made.keypoints, made.log_radii.exp(), made.gaussians, counted)
    assert made.skin is skin_by_radii  # torch's own, unless another is given
    torch.testing.assert_close(other.pose(z, t).means, made.pose(z, t).means)
    assert calls == [6]
