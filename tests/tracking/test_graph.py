"""The key point graph: its kernels and its unit by their definitions, on edges whose lengths are known."""

import pytest
import torch

from dimo_ns.core.geometry import nearest_neighbours
from dimo_ns.core.types import RigidTransforms
from dimo_ns.tracking.graph import KeypointGraph, diffusion, smoothed

POINTS = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
PATH = torch.tensor([[1, 0], [0, 2], [1, 2]])  # edges to the point itself where a point has one neighbour only


def test_a_kernel_is_the_diffusion_of_its_edges_and_computed_once():
    edges = nearest_neighbours(torch.randn(25, 3), 4)
    graph = KeypointGraph(edges)
    for strength in (50.0, 0.5):
        assert torch.equal(graph.kernel(strength), diffusion(edges, strength))
        assert graph.kernel(strength) is graph.kernel(strength)


def test_the_unit_is_the_mean_squared_edge_with_empty_edges_counted():
    # 0-1 and back: 9 each; 1-2 and back: 16 each; two edges of a point to itself: 0.
    assert float(KeypointGraph(PATH).edge_length_squared(POINTS)) == pytest.approx((9 + 9 + 16 + 16) / 6)


def test_the_unit_has_no_gradient_and_is_never_zero():
    points = POINTS.clone().requires_grad_()
    assert not KeypointGraph(PATH).edge_length_squared(points).requires_grad
    assert float(KeypointGraph(PATH).edge_length_squared(torch.zeros(3, 3))) == pytest.approx(1e-8)


def test_rigidity_is_measured_in_the_unit_and_so_does_not_change_with_size():
    moved = RigidTransforms.identity(1, 3)
    moved.translations[0, 2, 1] = 1.0  # the edge 1-2 is 1 longer, seen from both its ends
    energy = KeypointGraph(PATH).arap(POINTS, moved)[0]
    unit = 50 / 6
    torch.testing.assert_close(energy, torch.tensor([[0, 0], [0, 1 / unit], [1 / unit, 0]]))
    larger = RigidTransforms(10 * moved.translations, moved.quats)
    torch.testing.assert_close(KeypointGraph(PATH).arap(10 * POINTS, larger)[0], energy)


def test_the_key_points_get_a_gradient_of_the_energy_alone():
    points, moved = POINTS.clone().requires_grad_(), RigidTransforms.identity(3)
    moved.translations[2, 1] = 1.0
    moved.quats[2] = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5])
    (grad,) = torch.autograd.grad(KeypointGraph(PATH).arap(points, moved).sum(), points)
    assert grad[2].abs().sum() > 0
    assert grad[0].abs().sum() == 0  # no edge of it has changed


def test_smoothing_changes_gradients_alone():
    graph, strength = KeypointGraph(nearest_neighbours(torch.randn(25, 3), 4)), 2.0
    translations, quats = torch.randn(3, 25, 3, requires_grad=True), 2 * torch.randn(3, 25, 4)
    kernel = graph.kernel(strength)
    moved = smoothed(translations, quats, kernel)
    assert torch.equal(moved.translations, translations)
    assert torch.equal(moved.quats, torch.nn.functional.normalize(quats, dim=-1))

    pull = torch.randn(3, 25, 3)
    (moved.translations * pull).sum().backward()
    torch.testing.assert_close(translations.grad, (kernel @ kernel.T) @ pull)
