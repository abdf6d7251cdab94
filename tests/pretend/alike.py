"""Whether what was made on the pretended device is what the CPU makes: the same operations in another order, so that
numbers differ by rounding."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from plyfile import PlyData
from safetensors.numpy import load_file

from tests.export.html_payload import read_page

OTHER = {"seconds", "latency_ms", "num_rays_per_sec", "fps", "sha256"}
"""Keys of what differs between any two calls, and of what differs as soon as one bit does."""
LEVELS, VIDEO_LEVELS = 0.5, 3.0
"""So much of 255 may pictures differ in the mean; those of videos more, since the encoder, which works in several
threads, makes other pictures of the same ones from call to call, by 1.3 in small ones."""


def check_alike(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    """Two files, or two folders with files of the same names, hold the same up to a tolerance."""
    if one.is_dir():
        names = [sorted(p.relative_to(root) for p in root.rglob("*")) for root in (one, other)]
        assert names[0] == names[1]
        assert names[0]
        for name in names[0]:
            if (one / name).is_file():
                check_alike(one / name, other / name, tolerance)
        return
    a, b = (READERS[path.suffix](path) for path in (one, other))
    if one.suffix == ".mp4":
        assert a.shape == b.shape, one.name
        assert np.abs(a.astype(float) - b).mean() < VIDEO_LEVELS, one.name
    else:
        compare(a, b, tolerance, one.name)


def compare(one: Any, other: Any, tolerance: float, where: str) -> None:
    """Dictionaries and lists item by item, pictures by their mean difference, numbers by a tolerance of both kinds."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - OTHER:
            compare(one[key], other[key], tolerance, f"{where}: {key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            compare(a, b, tolerance, f"{where}: {i}")
    elif isinstance(one, np.ndarray) and one.dtype == np.uint8:
        assert one.shape == other.shape, where
        assert np.abs(one.astype(float) - other).mean() < LEVELS, where
    elif isinstance(one, np.ndarray) and one.dtype.kind == "f":
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=where)
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance), where
    else:
        assert one == other, where


def _ply(path: Path) -> dict[str, np.ndarray]:
    vertices = PlyData.read(str(path))["vertex"]
    return {p.name: np.asarray(vertices[p.name]) for p in vertices.properties}


def _bytes(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8)


def _page(path: Path) -> dict[str, Any]:
    header, arrays = read_page(path)
    return {"header": header, "arrays": arrays}


READERS = {
    ".json": lambda path: json.loads(path.read_text()),
    ".npz": lambda path: dict(np.load(path)),
    ".safetensors": load_file,
    ".ply": _ply,
    ".mp4": iio.imread,
    ".png": iio.imread,
    ".glb": _bytes,
    ".html": _page,
}
