"""The order of tracking against scipy, and the pieces that move key points together, each where its result is known."""

import copy

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree

from dimo_ns.core.cameras import orbit_c2w, viewmats_from_c2w
from dimo_ns.core.geometry import nearest_neighbours
from dimo_ns.tracking.frame_adam import FrameAdam
from dimo_ns.tracking.graph import DiffuseGradient, connect, diffusion
from dimo_ns.tracking.tree import frame_distances, silhouette_centres, spanning_tree, triangulate

INF = float("inf")


def random_distances(count: int, seed: int) -> torch.Tensor:
    upper = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)).triu(1) + 0.1
    upper = upper.triu(1)
    return upper + upper.T


def check_hangs_together(tree, root: int) -> None:
    assert tree.parents[root] == root
    assert tree.depths[root] == 0
    for node, parent in enumerate(tree.parents.tolist()):
        if node != root:
            assert tree.depths[node] == tree.depths[parent] + 1  # so every chain of parents ends at the root


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("root", [0, 7])
def test_the_spanning_tree_is_as_light_as_scipys(seed, root):
    distances = random_distances(30, seed)
    tree = spanning_tree(distances, root)
    weight = sum(float(distances[n, p]) for n, p in enumerate(tree.parents.tolist()) if n != root)

    assert weight == pytest.approx(minimum_spanning_tree(distances.numpy()).sum(), rel=1e-5)
    check_hangs_together(tree, root)


@pytest.mark.parametrize("root", [0, 5])
def test_frames_that_share_no_view_with_any_other_hang_at_the_root(root):
    distances = random_distances(12, 0)
    distances[:, 8:] = distances[8:] = INF
    distances[10, 11] = distances[11, 10] = 0.3  # two that share a view with each other only
    tree = spanning_tree(distances, root)

    check_hangs_together(tree, root)
    assert tree.parents[[8, 9, 10]].tolist() == [root] * 3
    assert tree.parents[11] == 10


def test_a_chain_is_its_own_spanning_tree():
    x = torch.tensor([0.0, 1.0, 3.0, 6.0])
    tree = spanning_tree((x[:, None] - x).abs())
    assert tree.parents.tolist() == [0, 0, 1, 2]
    assert tree.depths.tolist() == [0, 1, 2, 3]


def disc(x: float, y: float, radius: float, h: int = 48, w: int = 64) -> torch.Tensor:
    columns, rows = torch.arange(w) + 0.5, torch.arange(h)[:, None] + 0.5
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).float()


def test_the_centre_of_a_disc_is_its_centre_and_of_nothing_the_images():
    alpha = torch.stack([disc(20, 15, 8), 0.4 * disc(40.5, 30.5, 5), torch.zeros(48, 64)])[None]
    expected = torch.tensor([[[20.0, 15.0], [40.5, 30.5], [32.0, 24.0]]])
    torch.testing.assert_close(silhouette_centres(alpha), expected, atol=1e-3, rtol=0)


def cameras(views: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    viewmats = viewmats_from_c2w(orbit_c2w(torch.arange(views) * 360.0 / views, torch.linspace(-20, 40, views), 2.0))
    K = torch.tensor([[100.0, 0, 32], [0, 110, 24], [0, 0, 1]])
    return viewmats, K.expand(views, 3, 3)


def project(points: torch.Tensor, viewmats: torch.Tensor, Ks: torch.Tensor) -> torch.Tensor:
    camera = torch.einsum("vij,nj->nvi", viewmats[:, :3, :3], points) + viewmats[:, :3, 3]
    image = torch.einsum("vij,nvj->nvi", Ks, camera)
    return image[..., :2] / image[..., 2:]


def test_triangulation_recovers_points_from_their_projections():
    torch.manual_seed(0)
    viewmats, Ks = cameras()
    points = torch.randn(20, 3) * 0.2
    found = triangulate(project(points, viewmats, Ks), viewmats, Ks, torch.ones(20, 6))
    torch.testing.assert_close(found, points, atol=1e-3, rtol=0)  # the pull towards the origin: 1e-3 in some 4


def test_views_of_weight_zero_do_not_count():
    torch.manual_seed(0)
    viewmats, Ks = cameras()
    points = torch.randn(5, 3) * 0.2
    pixels, weights = project(points, viewmats, Ks), torch.ones(5, 6)
    pixels[:, [1, 4]], weights[:, [1, 4]] = 1e3 * torch.rand(5, 2, 2), 0.0

    torch.testing.assert_close(triangulate(pixels, viewmats, Ks, weights), points, atol=1e-3, rtol=0)


def test_one_ray_gives_the_point_on_it_nearest_to_the_origin_and_none_the_origin():
    viewmats, Ks = cameras(1)
    point = torch.tensor([[0.3, 0.2, -0.1]])
    pixels = project(point, viewmats, Ks)
    eye = -viewmats[0, :3, :3].T @ viewmats[0, :3, 3]
    ray = torch.nn.functional.normalize(point[0] - eye, dim=0)
    expected = eye - (eye @ ray) * ray

    torch.testing.assert_close(triangulate(pixels, viewmats, Ks, torch.ones(1, 1))[0], expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(triangulate(pixels, viewmats, Ks, torch.zeros(1, 1)), torch.zeros(1, 3))


def patch_at(x: int, y: int, colour: float) -> torch.Tensor:
    """A textured square on nothing, 64 x 64 premultiplied RGBA, away from the border."""
    image = torch.zeros(64, 64, 4)
    image[y : y + 16, x : x + 12, :3] = colour * torch.rand(16, 12, 3, generator=torch.Generator().manual_seed(0))
    image[y : y + 16, x : x + 12, 3] = 1
    return image


def test_shifted_copies_look_the_same_and_others_do_not():
    frames = torch.stack([patch_at(24, 20, 1.0), patch_at(30, 29, 1.0), patch_at(24, 20, 0.3)])[:, None]
    distances = frame_distances(frames, torch.ones(3, 1))

    torch.testing.assert_close(distances, distances.T)
    assert distances[0, 1] < 1e-3
    assert distances[0, 2] > 0.02
    torch.testing.assert_close(distances[0, 2], distances[1, 2], atol=1e-4, rtol=0)


def test_distances_are_the_rms_over_the_views_that_both_frames_have():
    # One view all black, one all white, everywhere opaque so that nothing is shifted; alpha does not differ.
    black, white = torch.zeros(32, 32, 4), torch.ones(32, 32, 4)
    black[..., 3] = 1
    frames = torch.stack([torch.stack([black, black]), torch.stack([black, white]), torch.stack([white, white])])
    everything = frame_distances(frames, torch.ones(3, 2))
    torch.testing.assert_close(everything[0], torch.tensor([0.0, (0.75 / 2) ** 0.5, 0.75**0.5]), atol=1e-4, rtol=1e-4)

    available = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    some = frame_distances(frames, available)
    torch.testing.assert_close(some[0], torch.tensor([0.0, 0.0, 0.75**0.5]), atol=1e-4, rtol=1e-4)
    assert some[1, 2] == INF


def two_legs() -> tuple[torch.Tensor, torch.Tensor]:
    """Key points of two upright rods 0.3 apart, 0.08 from each to the next, and six views' masks of the rods."""
    z = torch.arange(5) * 0.08 - 0.16
    rods = [torch.stack([torch.zeros(5), torch.full((5,), y), z], -1) for y in (-0.15, 0.15)]
    along = torch.linspace(-0.2, 0.2, 200)
    solid = torch.cat([torch.stack([0 * along, torch.full_like(along, y), along], -1) for y in (-0.15, 0.15)])
    pixels = project(solid, *cameras())
    columns, rows = torch.arange(64) + 0.5, torch.arange(48)[:, None] + 0.5
    gaps = (columns - pixels[..., 0, None, None]) ** 2 + (rows - pixels[..., 1, None, None]) ** 2
    return torch.cat(rods), (gaps.amin(0) < 2).float()


def test_key_points_are_connected_through_the_object_only():
    keypoints, alpha = two_legs()
    plain, found = nearest_neighbours(keypoints, 5), connect(keypoints, alpha, *cameras(), 5)
    leg, own = torch.arange(10) // 5, torch.arange(10)[:, None]
    across = leg[plain] != leg[:, None]

    assert across.any()  # four others in one's own leg, the fifth nearest is in the other
    assert torch.equal(found, torch.where(across, own, plain))


def test_where_everything_is_object_neighbours_are_the_nearest():
    keypoints, alpha = two_legs()
    found = connect(keypoints, torch.ones_like(alpha), *cameras(), 5)
    assert torch.equal(found, nearest_neighbours(keypoints, 5))


def test_no_key_point_is_left_alone():
    keypoints, alpha = two_legs()
    alone = torch.cat([keypoints, torch.tensor([[0.0, 0.0, 0.0]])])  # between the legs, in no mask
    assert torch.equal(connect(alone, alpha, *cameras(), 5)[10, :2], nearest_neighbours(alone, 5)[10, :2])


def test_an_edge_to_the_point_itself_neither_pulls_nor_diffuses():
    edges = torch.tensor([[1, 0], [0, 2], [1, 2]])  # a path of three
    expected = torch.linalg.inv(torch.eye(3) + torch.tensor([[1.0, -1, 0], [-0.5, 1, -0.5], [0, -1, 1]]))
    torch.testing.assert_close(diffusion(edges, 1.0), expected)


@pytest.fixture
def graph():
    torch.manual_seed(0)
    return nearest_neighbours(torch.randn(25, 3), 4)


@pytest.mark.parametrize("strength", [0.5, 10.0, 50.0])
def test_diffusion_keeps_constants_and_smooths_the_rest(graph, strength):
    kernel = diffusion(graph, strength)
    torch.testing.assert_close(kernel.sum(-1), torch.ones(25), atol=1e-4, rtol=0)
    assert (kernel > -1e-5).all()  # an average

    noise = torch.randn(25)
    assert (kernel @ noise).std() < 0.8 * noise.std()


def test_diffusion_solves_the_implicit_heat_equation(graph):
    neighbours = {(i, int(j)) for i in range(25) for j in graph[i]}
    neighbours |= {(j, i) for i, j in neighbours}
    x = torch.randn(25)
    y = diffusion(graph, 3.0) @ x
    for i in range(25):
        around = [float(y[j]) for k, j in neighbours if k == i]
        assert float(y[i] + 3.0 * (y[i] - np.mean(around))) == pytest.approx(float(x[i]), abs=1e-4)


def test_diffusion_of_strength_zero_is_the_identity(graph):
    torch.testing.assert_close(diffusion(graph, 0.0), torch.eye(25))


def test_more_strength_spreads_wider(graph):
    spread = [float(diffusion(graph, s).diagonal().mean()) for s in (0.1, 1.0, 10.0)]
    assert spread == sorted(spread, reverse=True)


def test_a_diffused_gradient_is_smoothed_twice_and_the_value_is_untouched(graph):
    kernel, x, g = diffusion(graph, 2.0), torch.randn(3, 25, 4, requires_grad=True), torch.randn(3, 25, 4)
    y = DiffuseGradient.apply(x, kernel)
    assert torch.equal(y, x)
    y.backward(g)
    torch.testing.assert_close(x.grad, (kernel @ kernel.T) @ g)


def table(seed: int = 0) -> torch.nn.Parameter:
    torch.manual_seed(seed)
    return torch.nn.Parameter(torch.randn(2, 3, 5, 4))  # motions, frames, key points, numbers


def gradient(seen: list[tuple[int, int]], seed: int) -> torch.Tensor:
    g = torch.zeros(2, 3, 5, 4)
    for m, t in seen:
        g[m, t] = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed + 10 * m + t))
    return g


def test_frames_without_gradient_are_left_alone_bitwise_with_their_moments():
    p = table()
    optimizer = FrameAdam([p], lr=0.1)
    p.grad = gradient([(0, 1), (1, 2)], 0)
    optimizer.step()
    before, moments = p.detach().clone(), {k: v.clone() for k, v in optimizer.state[p].items()}

    p.grad = gradient([(0, 1)], 1)
    optimizer.step()
    moved = (p != before).flatten(2).any(-1)
    assert moved.tolist() == [[False, True, False], [False, False, False]]
    for name, value in optimizer.state[p].items():
        changed = (value != moments[name]).flatten(2).any(-1)
        assert changed.tolist() == moved.tolist(), name


def test_the_first_step_of_a_frame_is_lr_in_its_largest_entry_whenever_it_comes():
    p = table()
    optimizer = FrameAdam([p], lr=0.1)
    p.grad = gradient([(0, 1)], 0)
    for _ in range(5):
        optimizer.step()

    before = p.detach().clone()
    p.grad = 1e-4 * gradient([(1, 0)], 7)
    optimizer.step()
    step = (before - p.detach())[1, 0]
    assert float(step.abs().max()) == pytest.approx(0.1, rel=1e-4)
    torch.testing.assert_close(step, 0.1 * p.grad[1, 0] / p.grad[1, 0].abs().max(), rtol=1e-3, atol=1e-6)


def test_later_steps_are_adams_with_one_second_moment_per_frame():
    p = table()
    optimizer = FrameAdam([p], lr=0.1, betas=(0.9, 0.98))
    start, mean, square, expected = p.detach()[0, 1].clone(), torch.zeros(5, 4), 0.0, None
    expected = start
    for n in range(1, 6):
        p.grad = gradient([(0, 1)], n)
        optimizer.step()
        g = p.grad[0, 1]
        mean = 0.9 * mean + 0.1 * g
        square = 0.98 * square + 0.02 * float(g.abs().max()) ** 2
        expected = expected - 0.1 * (mean / (1 - 0.9**n)) / (square / (1 - 0.98**n)) ** 0.5
    torch.testing.assert_close(p.detach()[0, 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), INF])
def test_found_inf_skips_everything(bad):
    p = table()
    optimizer = FrameAdam([p], lr=0.1)
    p.grad = gradient([(0, 1), (1, 1)], 0)
    optimizer.step()
    before, moments = p.detach().clone(), {k: v.clone() for k, v in optimizer.state[p].items()}

    p.grad = gradient([(0, 1), (0, 2)], 1)
    p.grad[0, 2, 0, 0] = bad
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(p, before)
    assert all(torch.equal(value, moments[name]) for name, value in optimizer.state[p].items())

    optimizer.found_inf = torch.tensor(0.0)
    p.grad = gradient([(0, 1)], 1)
    optimizer.step()
    assert not torch.equal(p, before)


def test_loaded_state_continues_bitwise():
    p = table()
    optimizer = FrameAdam([p], lr=0.1)

    def go_on(p: torch.nn.Parameter, optimizer: FrameAdam, steps: range) -> None:
        for n in steps:
            p.grad = gradient([(n % 2, n % 3)], n)
            optimizer.step()

    go_on(p, optimizer, range(8))
    q = torch.nn.Parameter(p.detach().clone())
    other = FrameAdam([q], lr=0.5)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as from a file
    go_on(p, optimizer, range(8, 20))
    go_on(q, other, range(8, 20))
    assert torch.equal(p, q)
