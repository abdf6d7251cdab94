"""Quaternions against matrices and scipy, searches against brute force, cameras against known poses."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from dimo_ns.core.geometry import (
    align_rotation,
    farthest_points,
    look_at,
    matrix_to_quat,
    nearest,
    nearest_neighbours,
    orbit_c2w,
    quat_multiply,
    quat_to_matrix,
    take,
    viewmats_from_c2w,
)


def random_quats(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 4, dtype=torch.float64, generator=generator), dim=-1)


def random_points(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


# Half turns have w = 0: Shepperd's other three branches, and their ties.
HALF_TURNS = F.normalize(
    torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [0, 1, -1, 1], [1e-9, 0, 1, 1]]).double(),
    dim=-1,
)


def test_quat_to_matrix_agrees_with_scipy():
    quats = torch.cat([random_quats(500), HALF_TURNS])
    expected = Rotation.from_quat(quats[:, [1, 2, 3, 0]].numpy()).as_matrix()
    np.testing.assert_allclose(quat_to_matrix(quats), expected, atol=1e-12)


def test_matrix_to_quat_undoes_quat_to_matrix_up_to_the_sign_that_makes_w_positive():
    quats = torch.cat([random_quats(2000), HALF_TURNS])
    back = matrix_to_quat(quat_to_matrix(quats))

    assert (back[:, 0] >= 0).all()
    torch.testing.assert_close(back.norm(dim=-1), torch.ones(len(quats)).double())
    torch.testing.assert_close((back * quats).sum(-1).abs(), torch.ones(len(quats)).double())


def test_quat_multiply_is_the_product_of_matrices_and_broadcasts():
    a, b = random_quats(50, 1)[:, None], random_quats(20, 2)
    product = quat_multiply(a, b)

    assert product.shape == (50, 20, 4)
    torch.testing.assert_close(quat_to_matrix(product), quat_to_matrix(a) @ quat_to_matrix(b))


def test_align_rotation_recovers_a_known_rotation():
    rotations = quat_to_matrix(random_quats(100))
    source = random_points(700).double().view(100, 7, 3)
    torch.testing.assert_close(align_rotation(source, source @ rotations.mT), rotations)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_align_rotation_is_never_a_reflection(count):
    # Mirrored, coplanar and single vectors all admit an equally good or better reflection.
    source = random_points(200 * count).double().view(200, count, 3)
    target = source * torch.tensor([1.0, 1.0, -1.0])
    rotations = align_rotation(source, target)

    torch.testing.assert_close(torch.det(rotations), torch.ones(200).double())
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(200, 3, 3))


def test_align_rotation_is_the_best_of_all_rotations():
    source, target = random_points(5, 3).double(), random_points(5, 4).double()

    def error(rotation: torch.Tensor) -> torch.Tensor:
        return (target - source @ rotation.mT).square().sum((-1, -2))

    assert error(align_rotation(source, target)) <= error(quat_to_matrix(random_quats(5000))).min()


def test_nearest_agrees_with_brute_force_also_in_chunks():
    queries, points = random_points(37, 1), random_points(50, 2)
    distances, indices = nearest(queries, points, 6, chunk=10)

    brute = (queries[:, None] - points).norm(dim=-1)
    expected, order = brute.sort(dim=-1)
    assert torch.equal(indices, order[:, :6])
    torch.testing.assert_close(distances, expected[:, :6])


def test_nearest_neighbours_leave_the_point_itself_out_even_where_points_coincide():
    points = random_points(30)
    points[7] = points[3]
    neighbours = nearest_neighbours(points, 5)

    for i, row in enumerate(neighbours):
        others = sorted(float((points[i] - points[j]).norm()) for j in range(30) if j != i)
        assert i not in row
        torch.testing.assert_close((points[i] - points[row]).norm(dim=-1), torch.tensor(others[:5]))
    assert neighbours[3, 0] == 7
    assert neighbours[7, 0] == 3


def test_farthest_points_are_the_greedy_maximum_of_the_minimum_distance():
    points = random_points(60)
    chosen = farthest_points(points, 20, start=11).tolist()

    expected = [11]
    while len(expected) < 20:
        gaps = [min(float((p - points[j]).norm()) for j in expected) for p in points]
        expected.append(int(np.argmax(gaps)))
    assert chosen == expected


def test_farthest_points_of_a_line_are_its_ends_then_its_middle():
    line = torch.stack([torch.linspace(0, 1, 9), torch.zeros(9), torch.zeros(9)], -1)
    assert farthest_points(line, 3).tolist() == [0, 8, 4]


@pytest.mark.parametrize(
    ("azimuth", "elevation", "eye", "right", "up"),
    [
        (0.0, 0.0, [2, 0, 0], [0, 1, 0], [0, 0, 1]),
        (90.0, 0.0, [0, 2, 0], [-1, 0, 0], [0, 0, 1]),
        (180.0, 0.0, [-2, 0, 0], [0, -1, 0], [0, 0, 1]),
        (0.0, 30.0, [math.sqrt(3), 0, 1], [0, 1, 0], [-0.5, 0, math.sqrt(3) / 2]),
        (0.0, 90.0, [0, 0, 2], [0, 1, 0], [-1, 0, 0]),  # from the top, as a camera that climbed there arrives
        (90.0, 90.0, [0, 0, 2], [-1, 0, 0], [0, -1, 0]),
        (0.0, -90.0, [0, 0, -2], [0, 1, 0], [1, 0, 0]),
    ],
)
def test_orbit_cameras_of_known_place(azimuth, elevation, eye, right, up):
    c2w = orbit_c2w(torch.tensor(azimuth), torch.tensor(elevation), 2.0)
    back = torch.tensor(eye) / 2.0  # OpenGL cameras look along -z, here at the origin
    expected = torch.stack([torch.tensor(right).float(), torch.tensor(up).float(), back, torch.tensor(eye).float()], -1)

    torch.testing.assert_close(c2w[:3], expected.float(), atol=1e-6, rtol=0)
    assert c2w[3].tolist() == [0, 0, 0, 1]


def test_orbit_agrees_with_look_at_where_that_has_an_up():
    azimuth, elevation = torch.linspace(0, 360, 13), torch.linspace(-80, 80, 13)
    c2w = orbit_c2w(azimuth, elevation, 1.5)
    torch.testing.assert_close(c2w, look_at(c2w[:, :3, 3], torch.zeros(3)))


@pytest.mark.parametrize("z", [-3.0, 3.0])
def test_looking_straight_up_or_down_still_gives_a_rotation(z):
    c2w = look_at(torch.tensor([0.1, 0.2, z]), torch.tensor([0.1, 0.2, 0.0]))
    torch.testing.assert_close(c2w[:3, :3].T @ c2w[:3, :3], torch.eye(3))
    torch.testing.assert_close(torch.det(c2w[:3, :3]), torch.tensor(1.0))


def test_viewmats_invert_c2w_up_to_the_flip_of_y_and_z():
    c2w = orbit_c2w(torch.linspace(0, 350, 8), torch.linspace(-60, 60, 8), 2.0)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    torch.testing.assert_close(viewmats_from_c2w(c2w), flip @ torch.linalg.inv(c2w), atol=1e-6, rtol=0)


def test_orbit_cameras_see_the_origin_in_the_centre_and_up_as_up():
    viewmats = viewmats_from_c2w(orbit_c2w(torch.linspace(0, 350, 8), torch.linspace(-60, 60, 8), 2.0))
    origin, above = viewmats[:, :3, 3], viewmats[:, :3, 3] + 0.1 * viewmats[:, :3, 2]

    torch.testing.assert_close(origin, torch.tensor([0.0, 0.0, 2.0]).expand(8, 3), atol=1e-6, rtol=0)
    assert (above[:, 1] < 0).all()  # y is down in OpenCV axes
    torch.testing.assert_close(above[:, 0], torch.zeros(8), atol=1e-6, rtol=0)


def test_gradients_of_taken_rows_do_not_depend_on_the_threads():
    """Many indices per row: sums in another order would differ in their last bits."""
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(50, (200, 300), generator=generator)
    weights = torch.randn(200, 300, 24, generator=generator)

    def gradient(threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        table = torch.zeros(50, 24, requires_grad=True)
        (take(table, indices) * weights).sum().backward()
        torch.set_num_threads(before)
        assert table.grad is not None
        return table.grad

    alone = gradient(1)
    assert all(torch.equal(gradient(4), alone) for _ in range(10))
    expected = torch.zeros(50, 24, dtype=torch.float64)
    expected.index_add_(0, indices.flatten(), weights.double().flatten(0, 1))
    torch.testing.assert_close(alone.double(), expected, atol=1e-4, rtol=1e-5)
