"""The figures are what their names say: by flat pictures and rigid motions."""

import math

import pytest
import torch

from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.core.types import RigidTransforms
from dimo_ns.metrics.images import compare
from dimo_ns.metrics.tracks import ride


def test_foreground_is_where_either_is_opaque():
    """A quarter of the image is wrong by .5, and it is all of the foreground: mse .25 inside, .0625 over everything."""
    target, image = torch.ones(40, 40, 3), torch.ones(40, 40, 3)
    image[:20, :20] = 0.5
    alpha, mask = torch.zeros(40, 40, 1), torch.zeros(40, 40, 1)
    alpha[:20, :20] = 1
    for covers in ((alpha, mask), (mask, alpha)):
        figures = compare(image, covers[0], target, covers[1])
        assert figures["psnr"] == pytest.approx(-10 * math.log10(0.0625), abs=1e-4)
        assert figures["foreground_psnr"] == pytest.approx(-10 * math.log10(0.25), abs=1e-4)
        assert figures["foreground_ssim"] < figures["ssim"] < 1
    nothing = compare(target, mask, target, mask)
    assert nothing == {"psnr": pytest.approx(100.0), "ssim": pytest.approx(1.0)}


def test_points_ride_rigidly_on_key_points_that_move_rigidly():
    """If everything moves by x -> R_t x + T_t, frame 0 included, points that ride on key points go along exactly."""
    generator = torch.Generator().manual_seed(0)
    quats = torch.nn.functional.normalize(torch.randn(5, 1, 4, generator=generator), dim=-1)
    rotations, shifts = quat_to_matrix(quats), torch.randn(5, 1, 3, generator=generator)
    keypoints, points = torch.randn(20, 3, generator=generator), torch.randn(50, 3, generator=generator)

    def moved(x):
        return (rotations @ x[None, ..., None]).squeeze(-1) + shifts

    transforms = RigidTransforms(moved(keypoints) - keypoints, quats.expand(5, 20, 4))
    torch.testing.assert_close(ride(moved(points)[0], keypoints, transforms), moved(points), atol=1e-5, rtol=0)
