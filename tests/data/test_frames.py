"""The frame store against direct decoding, the reduction against a brute-force mean, the budget, errors in threads."""

from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimo_ns.data import frames as frames_module
from dimo_ns.data.format import load, orbit_view
from dimo_ns.data.frames import FrameStore, premultiplied, read_clip
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import FRAMES, MOTIONS, SIZE, all_frames, disc, write_tiny

VIEWS = ("view_00", "view_01")


def random_rgba(seed: int, h: int, w: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 4)).astype(np.uint8)


def brute_force(rgba: np.ndarray, h: int, w: int) -> np.ndarray:
    """The exact mean over each target pixel's area of the premultiplied picture, weights by covered area."""
    image = np.concatenate([rgba[..., :3] * (rgba[..., 3:] / 255.0), rgba[..., 3:]], axis=-1)

    def overlap(n: int, m: int) -> np.ndarray:
        edges, cells = np.arange(n + 1) * m / n, np.arange(m)
        low, high = np.maximum(edges[:-1, None], cells), np.minimum(edges[1:, None], cells + 1)
        return np.clip(high - low, 0, None) * n / m

    return np.einsum("ij,jkc,lk->ilc", overlap(h, image.shape[0]), image, overlap(w, image.shape[1]))


@pytest.mark.parametrize("shape", [(32, 32), (24, 36), (25, 33), (7, 1)])
@pytest.mark.parametrize("size", [(32, 32), (16, 16), (8, 6), (20, 20), (24, 12), (5, 33), (7, 1), (1, 1)])
def test_reduction_is_the_mean_over_the_area(shape: tuple[int, int], size: tuple[int, int]):
    """For whole and other ratios: within the half level of one rounding."""
    size = min(size[0], shape[0]), min(size[1], shape[1])
    rgba = random_rgba(sum(shape), *shape)
    assert np.abs(premultiplied(rgba, size) - brute_force(rgba, *size)).max() <= 0.5 + 1e-9


def test_colour_of_transparent_pixels_has_no_weight():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = [200, 100, 50, 255]
    rgba[1, 1] = [0, 0, 255, 0]
    np.testing.assert_array_equal(premultiplied(rgba, (1, 1))[0, 0], [50, 25, 13, 64])


@pytest.mark.parametrize("budget", [2**30, 40_000, 0])
@pytest.mark.parametrize("size", [None, (16, 16), (20, 8)])
def test_batches_are_the_directly_decoded_frames(tiny: Path, budget: int, size: tuple[int, int] | None):
    """Whatever is kept (all, some, none), prefetched or not, first or second time."""
    store = FrameStore(load(tiny), MOTIONS, VIEWS, budget)
    draw = np.random.default_rng(0)
    for step in range(8):
        ids = draw.integers(0, 2, 3), draw.integers(0, FRAMES, 3), draw.integers(0, 2, (3, 2))
        if step % 2:
            store.prefetch(*ids, size)
        got = store.batch(*ids, size)
        assert got.dtype == torch.uint8
        assert got.shape == (3, 2, *(size or (SIZE, SIZE)), 4)
        for b, (m, f) in enumerate(zip(*ids[:2], strict=True)):
            for c, v in enumerate(ids[2][b]):
                np.testing.assert_array_equal(got[b, c], premultiplied(disc(int(m), int(v), int(f)), size))
    assert store.held_bytes <= budget


def test_ids_may_be_tensors(tiny: Path):
    store = FrameStore(load(tiny), MOTIONS, VIEWS)
    ids = torch.tensor([1]), torch.tensor([2]), torch.tensor([[1, 0]])
    np.testing.assert_array_equal(store.batch(*ids)[0, 0], premultiplied(disc(1, 1, 2)))


def test_everything_is_decoded_once(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    decoded = []
    read = frames_module.read_rgba
    store = FrameStore(load(tiny), MOTIONS, VIEWS)
    monkeypatch.setattr(frames_module, "read_rgba", lambda source: decoded.append(source.path) or read(source))
    for _ in range(3):
        for f in range(FRAMES):
            store.prefetch([0, 1, 1], [f, f, f], [[0, 1]] * 3, (8, 8))
            store.batch([0, 1, 1], [f, f, f], [[0, 1]] * 3, (8, 8))
    assert len(decoded) == len(set(decoded)) == 2 * 2 * FRAMES


def test_prefetch_that_nobody_takes_is_forgotten(tiny: Path):
    store = FrameStore(load(tiny), MOTIONS, VIEWS, budget_bytes=0)
    for step in range(50):
        store.prefetch([step % 2], [step % FRAMES], [[0, 1]])
    assert len(store._pending) <= 2 * frames_module.PREFETCH_DEPTH
    np.testing.assert_array_equal(store.batch([1], [1], [[1]])[0, 0], premultiplied(disc(1, 1, 1)))


def test_prefetch_does_the_work(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    """After it nothing is left to decode: a decoder that fails is not called any more."""
    store = FrameStore(load(tiny), MOTIONS, VIEWS)
    store.prefetch([0], [0], [[0, 1]])
    wait(store._pending.values())
    monkeypatch.setattr(frames_module, "read_rgba", None)
    np.testing.assert_array_equal(store.batch([0], [0], [[0, 1]])[0, 1], premultiplied(disc(0, 1, 0)))


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.sampled_from([8, 16, 32])), max_size=20),
    st.integers(0, 60_000),
)
@settings(max_examples=15)
def test_the_budget_is_kept(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, int, int]], budget: int
):
    root = tmp_path_factory.getbasetemp() / "budget"
    data = load(root) if root.exists() else write_tiny(root)
    store = FrameStore(data, MOTIONS, VIEWS, budget)
    for m, f, side in requests:
        got = store.batch([m], [f], [[0]], (side, side))
        np.testing.assert_array_equal(got[0, 0], premultiplied(disc(m, 0, f), (side, side)))
        assert store.held_bytes <= budget


def test_exact(tiny: Path):
    store = FrameStore(load(tiny), MOTIONS, VIEWS)
    got = store.exact("jump", "test_00", 3)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, disc(1, 2, 3).astype(np.float32) / 255)
    with pytest.raises(DimoError, match="no frame 9 of jump/test_00"):
        store.exact("jump", "test_00", 9)


def test_missing_frames(tiny: Path):
    (tiny / "walk/view_01/02.png").unlink()
    store = FrameStore(load(tiny), MOTIONS, VIEWS)
    assert store.available.shape == (2, FRAMES, 2)
    assert np.argwhere(~store.available).tolist() == [[0, 2, 1]]
    with pytest.raises(DimoError, match="no frame 2 of walk/view_01"):
        store.batch([0], [2], [[1]])


def test_larger_than_the_images(tiny: Path):
    with pytest.raises(DimoError, match="Images of 64 x 64 are asked for"):
        FrameStore(load(tiny), MOTIONS, VIEWS).batch([0], [0], [[0]], (64, 64))


def test_views_of_several_sizes(tmp_path: Path):
    """One size for all is fine; their own sizes do not fit in one tensor."""
    views = [orbit_view("view_00", "train", 0, 0, 32), orbit_view("view_01", "train", 90, 0, 24)]
    frames = [
        (m, v.name, f, disc(i, j, f, v.w))
        for i, m in enumerate(MOTIONS)
        for j, v in enumerate(views)
        for f in range(FRAMES)
    ]
    store = FrameStore(write_tiny(tmp_path / "disc", views=views, frames=frames), MOTIONS, VIEWS)
    got = store.batch([1], [2], [[0, 1]], (24, 24))
    np.testing.assert_array_equal(got[0, 1], premultiplied(disc(1, 1, 2, 24)))
    with pytest.raises(DimoError, match="differ in size"):
        store.batch([1], [2], [[0, 1]])


def test_a_damaged_frame_is_named_when_it_is_used(tiny: Path):
    path = tiny / "walk/view_01/03.png"
    path.write_bytes(path.read_bytes()[:-30])
    store = FrameStore(load(tiny), MOTIONS, VIEWS)
    store.batch([0], [0], [[0, 1]])
    for _ in range(2):
        store.prefetch([0], [3], [[1]])
        wait(store._pending.values())
        with pytest.raises(DimoError, match=r"walk/view_01/03.png is damaged"):
            store.batch([0], [3], [[1]])


def test_a_motion_that_shows_nothing(tmp_path: Path):
    """Fatal if all of its masks are empty; one frame with something in it is enough."""
    blank = np.zeros((SIZE, SIZE, 4), np.uint8)
    some = [
        (m, v, f, disc(0, 0, 0) if (m, v, f) == ("walk", "view_01", 2) or m == "jump" else blank)
        for m, v, f, _ in all_frames()
    ]
    FrameStore(write_tiny(tmp_path / "some", frames=some), MOTIONS, VIEWS)
    none = [(m, v, f, blank if m == "walk" else rgba) for m, v, f, rgba in all_frames()]
    with pytest.raises(DimoError, match=r"'walk' in .* shows nothing"):
        FrameStore(write_tiny(tmp_path / "none", frames=none), MOTIONS, VIEWS)


def test_read_clip(tiny: Path):
    (tiny / "jump/view_00/01.png").unlink()
    path = tiny / "jump/view_00/02.png"
    path.write_bytes(path.read_bytes()[:-30])
    got = dict(read_clip(load(tiny), "jump", "view_00"))
    assert list(got) == [0, 2, 3]
    assert isinstance(got[2], DimoError)
    np.testing.assert_array_equal(got[3], disc(1, 0, 3))
