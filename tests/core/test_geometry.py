"""Quaternions against matrices and scipy, searches against brute force, cameras against known poses."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from dimo_ns.core.geometry import (
    farthest_points,
    nearest,
    nearest_neighbours,
    quat_multiply,
    quat_to_matrix,
    take,
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


def test_quat_multiply_is_the_product_of_matrices_and_broadcasts():
    a, b = random_quats(50, 1)[:, None], random_quats(20, 2)
    product = quat_multiply(a, b)

    assert product.shape == (50, 20, 4)
    torch.testing.assert_close(quat_to_matrix(product), quat_to_matrix(a) @ quat_to_matrix(b))


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
