"""Chamfer distances by points whose nearest are known, and by scipy's trees and matrices."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.data.dataset import Motion, orbit_view
from dimo_ns.data.format import write
from dimo_ns.errors import DimoError
from dimo_ns.metrics.chamfer import POINTS, Chamfer, align, chamfer, chamfers, distance, surface
from tests.spaces import some_space


def cloud(seed: int, count: int, frames: int = 1) -> torch.Tensor:
    return torch.rand(frames, count, 3, generator=torch.Generator().manual_seed(seed))


def values(found: Chamfer) -> tuple[float, float, float]:
    return found.cd_3d, found.cd_4d, found.cd_m


def turned(points: torch.Tensor, angle: float) -> torch.Tensor:
    half = torch.tensor(angle / 2)
    quat = torch.stack([half.cos(), torch.zeros(()), 0.6 * half.sin(), 0.8 * half.sin()])
    return points @ quat_to_matrix(quat).mT


def test_the_distance_is_that_of_scipys_trees():
    """Sum of the two mean distances, not squared, over frames; ours is asked for in the cube of the truth."""
    tree = pytest.importorskip("scipy.spatial").KDTree
    made, true = cloud(0, 70, 3), cloud(1, 50, 3)
    frames = [tree(b).query(a)[0].mean() + tree(a).query(b)[0].mean() for a, b in zip(made, true, strict=True)]
    assert distance(made, true) == pytest.approx(np.mean(frames), rel=1e-4)
    ahead, back = tree(true[0]).query(made[0])[1], tree(made[0]).query(true[0])[1]
    moved = (made - true[:, ahead]).norm(dim=-1).mean() + (made[:, back] - true).norm(dim=-1).mean()
    assert distance(made, true, paired=made[:1]) == pytest.approx(float(moved), rel=1e-4)


def test_what_moves_as_the_truth_does_is_at_no_distance():
    true = torch.stack([turned(cloud(0, 300)[0], 0.4 * frame) for frame in range(4)])
    assert values(chamfer(true, true)) == pytest.approx((0, 0, 0), abs=1e-5)


def test_a_wrong_place_turn_and_size_in_all_frames_costs_nothing():
    """As ActionBench has it: what the first frame is brought to the truth by, the others are too."""
    true = torch.stack([turned(cloud(0, 300)[0] - 0.5, 0.4 * frame) for frame in range(4)])
    other = turned(true, -0.05) * torch.tensor([1.05, 0.95, 1.02]) + torch.tensor([0.02, -0.03, 0.01])
    assert values(chamfer(other, true)) == pytest.approx((0, 0, 0), abs=2e-4)


def test_a_frame_that_is_shifted_has_its_shape_still():
    """By .02 in the last of two frames, in a cube of side 1 whose half is the unit: .04. The nearest are the right ones
    since no two points are as close, so that either way it is .04, in one frame of two."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 6)] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    true = grid.expand(2, -1, -1)
    made = true + torch.tensor([[[0.0]], [[0.02]]]) * torch.tensor([1.0, 0, 0])
    assert values(chamfer(made, true)) == pytest.approx((0, 0.04, 0.04), abs=1e-4)


def test_points_that_change_places_keep_the_shape_and_not_the_motion():
    """Two far corners exchange their points: the sets are equal, and two of eight are off by the diagonal,
    2 sqrt 3, in one frame of two, both ways: 1/4 x 2 sqrt 3 x 1/2 x 2."""
    corners = torch.tensor([[float(i & 1), float(i >> 1 & 1), float(i >> 2)] for i in range(8)])
    true = corners.expand(2, -1, -1)
    made = true.clone()
    made[1, [0, 7]] = corners[[7, 0]]
    assert values(chamfer(made, true)) == pytest.approx((0, 0, 3**0.5 / 2), abs=1e-4)


def test_the_unit_is_half_of_the_longest_side_whatever_the_worlds():
    true, made = cloud(0, 60, 2), cloud(1, 60, 2)
    assert values(chamfer(7 * made + 30, 7 * true + 30)) == pytest.approx(values(chamfer(made, true)), rel=1e-2)


def test_aligning_undoes_a_turn_a_stretch_and_a_shift():
    """Every true point is found again, since the way is shorter than half of the distance between points."""
    true = cloud(3, 40)
    found = align(turned(true, 0.03) * torch.tensor([1.03, 0.98, 1.0]) + 0.01, true)
    assert torch.linalg.det(found.turn[0]) == pytest.approx(1, abs=1e-5)
    flat = true * torch.tensor([1.0, 1.0, 0.0])  # no size along z
    torch.testing.assert_close(align(flat, flat)(flat), flat, atol=1e-5, rtol=0)
    mirrored = align(true * torch.tensor([1.0, 1.0, -1.0]), true)
    assert torch.linalg.det(mirrored.turn[0]) == pytest.approx(1, abs=1e-5)  # a rotation, never a reflection


def test_gaussians_stand_for_the_surface_by_opacity_and_area():
    """Three of four are invisible, or have no area, being needles without width; so are half of all that remain."""
    count = 4 * POINTS
    ones = torch.ones(count)
    scales, opacities = torch.ones(count, 3), ones.clone()
    opacities[1::4] = 1e-12
    scales[2::4, :2] = 1e-12
    chosen = surface(Gaussians(torch.zeros(count, 3), torch.eye(1, 4).expand(count, 4), scales, opacities, scales))
    assert len(chosen.unique()) == POINTS
    assert set((chosen % 4).tolist()) == {0, 3}


def test_a_motion_of_a_dataset_is_measured_against_its_tracks(tmp_path: Path):
    """Of Gaussians that are the true points themselves, which nothing moves."""
    space = some_space()
    scene = space.scene
    centres = scene.gaussians.means.detach()
    name, times = "walk", (0.0, 0.1)
    still = RigidTransforms.identity(2, len(scene.keypoints))
    with torch.no_grad():
        true = scene.carry(still).means.numpy()
    assert len(centres) <= POINTS
    view = orbit_view("view_0", "train", 0.0, 0.0, 16)
    dataset = write(
        tmp_path / "set",
        object="thing",
        prompt="",
        licence="CC0-1.0",
        views=[view],
        motions=[Motion(name, "", "train", False, times)],
        frames=((name, view.name, frame, np.zeros((16, 16, 4), np.uint8)) for frame in range(2)),
        tracks={"tracks": true[None]},
    )
    assert values(chamfers(dataset, scene, {name: still})[name]) == pytest.approx((0, 0, 0), abs=1e-4)


def test_true_points_in_one_place_are_refused():
    with pytest.raises(DimoError, match="single point at rest"):
        chamfer(cloud(0, 5, 2), torch.ones(2, 4, 3))
