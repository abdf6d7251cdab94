"""What must hold for any scene: symmetries, odd sizes, bad input, batching, threads, the interface."""

import importlib.util
import inspect
import logging
import multiprocessing
import os

import numpy as np
import pytest
import torch

from dimo_ns.errors import DimoError
from dimo_ns.rasterize import common, rasterization
from dimo_ns.rasterize.cpu.pool import parallel_for
from tests.rasterize.raster_oracle import cloud, error, look_around, render, rotation_from_quaternion

W, H = 50, 37
BACKENDS = pytest.mark.parametrize("backend", ["numba", "torch"])


def _scene(*batch: int, cameras: int = 1, **options) -> list[torch.Tensor]:
    return [t.float() for t in (*cloud(*batch, **options), *look_around((*batch, cameras), W, H))]


def _leaves(args: list[torch.Tensor]) -> list[torch.Tensor]:
    return [t.clone().requires_grad_() for t in args[:5]] + args[5:]


def _quaternion_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    (w, u), (v, x) = (a[..., :1], a[..., 1:]), (b[..., :1], b[..., 1:])
    return torch.cat(
        [w * v - (u * x).sum(-1, keepdim=True), w * x + v * u + torch.linalg.cross(*torch.broadcast_tensors(u, x))], -1
    )


@BACKENDS
def test_moving_scene_and_cameras_together_changes_nothing(backend):
    # x -> R x + t for the Gaussians, and the cameras' inverse on the right, leave every camera coordinate as it was.
    means, quats, scales, opacities, colors, viewmats, Ks = _scene(cameras=2)
    turn = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.7, 0.2]), dim=0)
    move = torch.eye(4)
    move[:3, :3], move[:3, 3] = rotation_from_quaternion(turn), torch.tensor([3.0, -1.0, 2.0])
    before = rasterization(means, quats, scales, opacities, colors, viewmats, Ks, W, H, backend=backend)
    after = rasterization(
        means @ move[:3, :3].T + move[:3, 3], _quaternion_product(turn.expand_as(quats), quats), scales, opacities,
        colors, viewmats @ torch.linalg.inv(move), Ks, W, H, backend=backend,
    )  # fmt: skip
    for a, b in zip(before[:2], after[:2], strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=0)


@BACKENDS
def test_order_of_gaussians_does_not_matter(backend):
    args = _scene(N=300)
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    before = rasterization(*args, W, H, backend=backend)
    after = rasterization(*(t[shuffled] for t in args[:5]), *args[5:], W, H, backend=backend)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2]["radii"][:, shuffled], after[2]["radii"])


@BACKENDS
def test_quaternions_of_any_norm_and_sign(backend):
    args = _scene()
    before = rasterization(*args, W, H, backend=backend)[0]
    args[1] = -7 * args[1]
    torch.testing.assert_close(rasterization(*args, W, H, backend=backend)[0], before, atol=1e-5, rtol=0)


@BACKENDS
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 15), (3, 70), (64, 33)])
def test_any_image_size(backend, size):
    inputs, (viewmats, Ks) = cloud(1, N=60, size=0.1), look_around((1, 1), *size)
    out, alpha, meta = rasterization(
        *(t.float() for t in (*inputs, viewmats, Ks)), *size, render_mode="RGB", backend=backend
    )
    expected, expected_alpha = render(*inputs, viewmats, Ks, *size)
    assert out.shape == (1, 1, size[1], size[0], 3)
    assert (meta["width"], meta["height"], meta["n_cameras"]) == (*size, 1)
    torch.testing.assert_close(out.double(), expected[..., :3], atol=1e-4, rtol=0)
    torch.testing.assert_close(alpha.double(), expected_alpha, atol=1e-4, rtol=0)


@BACKENDS
@pytest.mark.parametrize("N", [0, 5])
def test_nothing_to_see_shows_the_background(backend, N):
    # No Gaussians at all, or all of them behind the camera: gradients are zero, not missing.
    args = _leaves(_scene(N=N))
    with torch.no_grad():
        args[0][:] = args[5][0, :3, :3].T @ torch.tensor([0.0, 0.0, -5.0])
    background = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    out, alpha, meta = rasterization(*args, W, H, backgrounds=background, absgrad=True, backend=backend)
    assert (out == background).all()
    assert not alpha.any()
    assert not meta["radii"].any()
    out.sum().backward()
    for leaf in args[:5]:
        assert leaf.grad is not None
        assert not leaf.grad.any()
    torch.testing.assert_close(background.grad, torch.full((1, 3), float(W * H)))


BAD = {
    "nan mean": (0, float("nan")),
    "infinite mean": (0, float("inf")),
    "nan quaternion": (1, float("nan")),
    "zero quaternion": (1, 0.0),
    "nan scale": (2, float("nan")),
    "infinite scale": (2, float("inf")),
    "overflowing scale": (2, 1e30),
    "nan opacity": (3, float("nan")),
    "infinite opacity": (3, float("inf")),
    "invisible opacity": (3, 0.0039),
    "nan colour": (4, float("nan")),
    "infinite colour": (4, float("-inf")),
}


@BACKENDS
@pytest.mark.parametrize("what", BAD)
def test_bad_gaussians_drop_out(backend, what):
    # Images and gradients are those of the scene without them, and their own gradients are zero.
    index, value = BAD[what]
    good = _scene(N=40)
    args = _leaves([torch.cat([t[:20], t[:7], t[20:]]) for t in good[:5]] + good[5:])
    with torch.no_grad():
        args[index][20:27] = value
    good = _leaves(good)
    out, expected = (rasterization(*a, W, H, render_mode="RGB+D", backend=backend)[0] for a in (args, good))
    # torch's exp may round a number differently by its place in a vector, and the bad ones have moved the others.
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6 if backend == "torch" else 0)
    for image in (out, expected):
        image.square().sum().backward()
    for leaf, reference in zip(args[:5], good[:5], strict=True):
        kept = torch.cat([leaf.grad[:20], leaf.grad[27:]])
        scale = float(reference.grad.abs().max())
        torch.testing.assert_close(kept, reference.grad, rtol=0, atol=(1e-4 if backend == "torch" else 1e-6) * scale)
        assert not leaf.grad[20:27].any()


@BACKENDS
def test_a_flat_gaussian_is_a_disc_not_an_error(backend):
    args = _scene(N=20)
    args[2] = args[2] * torch.tensor([1.0, 1.0, 0.0])
    args = _leaves(args)
    out = rasterization(*args, W, H, backend=backend)[0]
    out.sum().backward()
    assert out.isfinite().all()
    assert out.sum() > 0
    assert all(leaf.grad.isfinite().all() for leaf in args[:5])


@BACKENDS
def test_planes_and_radius_clip_remove_gaussians(backend):
    args = _scene(N=300)
    _, _, meta = rasterization(*args, W, H, backend=backend)
    drawn = (meta["radii"] > 0).all(-1)
    near, far = meta["depths"].quantile(0.3).item(), meta["depths"].quantile(0.6).item()
    _, _, cut = rasterization(*args, W, H, near_plane=near, far_plane=far, backend=backend)
    assert torch.equal((cut["radii"] > 0).all(-1), drawn & (meta["depths"] > near) & (meta["depths"] < far))
    image, _, clipped = rasterization(*args, W, H, radius_clip=5.0, backend=backend)
    kept = drawn & (meta["radii"] > 5).any(-1)
    assert torch.equal((clipped["radii"] > 0).all(-1), kept)
    assert 0 < kept.sum() < drawn.sum()
    without = rasterization(*(t[kept[0]] for t in args[:5]), *args[5:], W, H, backend=backend)[0]
    assert torch.equal(image, without)


@BACKENDS
def test_a_batch_is_its_elements_one_by_one(backend):
    # Also: tensors that are expanded over the batch give the sum of the gradients.
    means, quats, _, _, _, viewmats, Ks = _scene(3, cameras=2, N=50)
    scales, opacities, colors = _scene(N=50)[2:5]
    shared = [t.requires_grad_() for t in (scales, opacities, colors)]
    expanded = [t.expand(3, *t.shape) for t in shared]
    out, alpha, meta = rasterization(means, quats, *expanded, viewmats, Ks, W, H, render_mode="RGB+ED", backend=backend)
    together = torch.autograd.grad(out.square().sum(), shared)
    apart = [
        rasterization(means[b], quats[b], *shared, viewmats[b], Ks[b], W, H, render_mode="RGB+ED", backend=backend)
        for b in range(3)
    ]
    assert out.shape == (3, 2, H, W, 4)
    assert meta["radii"].shape == meta["means2d"].shape == (3, 2, 50, 2)
    torch.testing.assert_close(out, torch.stack([a[0] for a in apart]), atol=1e-4, rtol=0)
    torch.testing.assert_close(alpha, torch.stack([a[1] for a in apart]))
    for name in ("means2d", "conics", "depths", "radii", "opacities"):
        torch.testing.assert_close(meta[name], torch.stack([a[2][name] for a in apart]))
    separate = torch.autograd.grad(sum(a[0].square().sum() for a in apart), shared)
    for a, b in zip(together, separate, strict=True):
        assert error(a, b.double()) < 1e-5


def _everything(threads: int) -> list[torch.Tensor | None]:
    args = _leaves(_scene(cameras=2, N=9000, size=0.02))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out, alpha, meta = rasterization(*args, W, H, absgrad=True, backend="numba")
        out.square().sum().backward()
    finally:
        torch.set_num_threads(before)
    return [out.detach(), alpha.detach(), meta["means2d"].absgrad, *(leaf.grad for leaf in args[:5])]


def test_every_bit_is_the_same_for_any_number_of_threads():
    # 9000 Gaussians in one image: enough to be cut into chunks, so the parallel paths are taken.
    one = _everything(1)
    for threads in (2, 5):
        assert all(torch.equal(a, b) for a, b in zip(one, _everything(threads), strict=True))


def _sum_on_pool(numbers: np.ndarray) -> int:
    total = np.zeros(len(numbers), np.int64)

    def add(start: int, stop: int) -> None:
        total[start:stop] = numbers[start:stop]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    parallel_for(add, len(numbers))
    torch.set_num_threads(before)
    return int(total.sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_the_pool_works_in_a_forked_process():
    # Threads do not survive a fork: the child needs a pool of its own, or it would wait for ever.
    numbers = np.arange(100)
    assert _sum_on_pool(numbers) == 4950
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(_sum_on_pool(numbers)), daemon=True)
    child.start()
    try:
        assert queue.get(timeout=300) == 4950
    finally:
        child.kill()


def test_without_gradients_nothing_is_kept():
    args = _scene()
    expected = rasterization(*_leaves(args), W, H)[0]
    with torch.no_grad():
        out = rasterization(*_leaves(args), W, H)[0]
    assert out.grad_fn is None
    assert torch.equal(out, expected)


def test_backward_after_an_input_was_changed_in_place_is_an_error():
    args = _leaves(_scene())
    out = rasterization(*args, W, H)[0]
    with torch.no_grad():
        args[0].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_half_precision_is_rendered_in_single():
    args = _scene()
    args[4] = args[4].bfloat16().requires_grad_()
    out = rasterization(*args, W, H)[0]
    out.sum().backward()
    assert out.dtype == torch.float32
    assert args[4].grad.dtype == torch.bfloat16


_raw = inspect.unwrap(rasterization)  # past the shape checks that the tests install, to our own


@pytest.mark.parametrize(
    "argument",
    [
        {"sh_degree": 3}, {"packed": True}, {"rasterize_mode": "antialiased"}, {"camera_model": "fisheye"},
        {"sparse_grad": True}, {"distributed": True}, {"tile_size": 8}, {"covars": torch.eye(3)}, {"unheard_of": 1},
        {"render_mode": "RGBD"},
    ],
)  # fmt: skip
def test_unsupported_arguments_are_named(argument):
    with pytest.raises(DimoError, match=next(iter(argument))):
        _raw(*_scene(), W, H, **argument)


@pytest.mark.parametrize(
    ("index", "name"), enumerate(["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"])
)
def test_wrong_shapes_are_named(index, name):
    args = _scene(N=10)
    args[index] = torch.zeros(2, 2)
    with pytest.raises(DimoError, match=name if index else "quats|means"):
        _raw(*args, W, H)


def test_tensors_on_two_devices_are_refused_in_one_sentence():
    args = _scene(N=10)
    args[5] = args[5].to("meta")
    with pytest.raises(DimoError, match=r"^rasterization: means on cpu and viewmats on meta; all .* on one device\.$"):
        rasterization(*args, W, H)


def test_without_numba_pytorch_steps_in_and_says_so_once(monkeypatch, caplog):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "numba" else find(name, *rest))
    common.has_numba.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            images = [rasterization(*_scene(), W, H)[0] for _ in range(2)]
    finally:
        monkeypatch.undo()
        common.has_numba.cache_clear()
    assert len([r for r in caplog.records if "numba is not installed" in r.message]) == 1
    assert torch.equal(images[0], rasterization(*_scene(), W, H, backend="torch")[0])
    torch.testing.assert_close(images[0], rasterization(*_scene(), W, H, backend="numba")[0], atol=1e-5, rtol=0)
