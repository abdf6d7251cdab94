"""Parts that the whole cannot show: the tile lists, the narrow vectors of older CPUs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dimo_ns.rasterize import rasterization
from dimo_ns.rasterize.cpu import simd, tiles
from tests.rasterize.raster_oracle import cloud, look_around


def _random_splats(seed: int, N: int, size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sigma = np.exp(rng.normal(np.log([1.0, 3.0, 8.0][seed % 3]), 0.5 + 0.5 * (seed // 3), (N, 2))) + 0.55
    angle = rng.uniform(0, np.pi, N)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(N, 2, 2)
    precision = np.linalg.inv(turn @ (sigma[:, :, None] ** 2 * np.eye(2)) @ turn.transpose(0, 2, 1))
    return {
        "means2d": rng.uniform(-0.2, 1.2, (1, N, 2)) * size,
        "conics": precision.reshape(1, N, 4)[..., [0, 1, 3]],
        "depths": rng.uniform(1, 3, (1, N)),
        "opacities": rng.uniform(0, 1, (1, N)),
    }


@pytest.mark.parametrize("seed", range(6))
def test_tile_lists_hold_every_tile_that_a_gaussian_is_seen_in_nearest_first(seed):
    # Oracle: alpha at every pixel centre in float64. A tile too many costs time only; few may be.
    N, size = 300, 90
    columns = -(-size // tiles.TILE)
    splats = _random_splats(seed, N, size)
    lists = tiles.build(
        **{k: v.astype(np.float32) for k, v in splats.items()}, radii=np.ones((1, N, 2), np.int32),
        features=np.zeros((1, N, 3), np.float32), with_depth=False, padded=4, width=size, height=size,
        keep_sources=True,
    )  # fmt: skip

    centres = np.arange(size) + 0.5
    dx = centres[None, None, :] - splats["means2d"][0, :, 0, None, None]
    dy = centres[None, :, None] - splats["means2d"][0, :, 1, None, None]
    A, B, C = (splats["conics"][0, :, k, None, None] for k in range(3))
    alpha = splats["opacities"][0, :, None, None] * np.exp(-0.5 * (A * dx * dx + 2 * B * dx * dy + C * dy * dy))
    padded = np.zeros((N, columns * tiles.TILE, columns * tiles.TILE), bool)
    padded[:, :size, :size] = alpha >= 1 / 255 * (1 + 1e-4)
    seen = padded.reshape(N, columns, tiles.TILE, columns, tiles.TILE).any((2, 4)).reshape(N, -1)

    listed = np.zeros_like(seen)
    for tile in range(columns**2):
        ranks = lists.ranks[lists.starts[tile] : lists.starts[tile + 1]]
        assert (np.diff(ranks) > 0).all()
        listed[lists.order[ranks], tile] = True
    assert not (seen & ~listed).any()
    assert listed.sum() < 1.05 * seen.sum() + 20
    assert (np.diff(splats["depths"][0, lists.order[: lists.visible[0]]].astype(np.float32)) >= 0).all()
    assert len(np.unique(lists.sources)) == len(lists.ranks) == lists.used[: lists.visible[0]].sum()


SCRIPT = """
import sys
from tests.rasterize.test_kernels import small_render
import torch
torch.save(small_render(), sys.argv[1])
"""


def small_render() -> tuple[torch.Tensor, torch.Tensor, int]:
    """An image, the gradient of the means, and how many lanes a vector has."""
    args = [t.float() for t in (*cloud(N=100, opacity=2.0), *look_around((1,), 40, 30))]
    args[0].requires_grad_()
    out = rasterization(*args, 40, 30, backend="numba")[0]
    out.square().sum().backward()
    assert args[0].grad is not None
    return out.detach(), args[0].grad, simd.LANES


def test_narrow_vectors_give_the_same_picture(tmp_path):
    # LLVM lowers eight lanes to AVX, SSE or NEON; sums are taken in another order, so only rounding may differ.
    result = tmp_path / "result.pt"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(result)], cwd=Path(__file__).parents[2],
        env=os.environ | {"DIMO_NS_LANES": "8"}, timeout=600, check=True,
    )  # fmt: skip
    out, gradient, lanes = torch.load(result)
    expected, expected_gradient, _ = small_render()
    assert lanes == 8
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5 * float(expected_gradient.abs().max()), rtol=0)
