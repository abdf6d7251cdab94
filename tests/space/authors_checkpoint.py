"""A checkpoint in the layout of DIMO's authors, written here."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plyfile import PlyData, PlyElement

MOTIONS, KEYPOINTS, GAUSSIANS, DIM = 3, 12, 40, 32
SH0 = 0.28209479177387814


def vertices(path: Path, **columns: np.ndarray) -> None:
    table = np.empty(len(next(iter(columns.values()))), [(name, "f4") for name in columns])
    for name, values in columns.items():
        table[name] = values
    PlyData([PlyElement.describe(table, "vertex")]).write(str(path))


def network(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Weights by their names and sizes; what comes out is of the size of the object."""
    inputs, width = 60 + 12 + DIM, 256
    fan_in = [inputs, *[width] * 4, width + inputs, width, width]
    sizes = {f"deformnet.{i}": (width, n) for i, n in enumerate(fan_in)}
    sizes |= {"pts_layers.0": (width, width), "pts_layers.2": (3, width)}
    sizes |= {"rot_layers.0": (width, width), "rot_layers.2": (4, width)}
    state = {}
    for name, (out, into) in sizes.items():
        state[f"{name}.weight"] = torch.from_numpy(rng.normal(0, 1.6 / np.sqrt(into), (out, into)).astype(np.float32))
        state[f"{name}.bias"] = torch.from_numpy(rng.normal(0, 0.05, out).astype(np.float32))
    return state


def write_checkpoint(folder: Path) -> dict[str, Any]:
    """Makes the folder, with all of its files; what is in them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    content = {
        "means": rng.normal(0, 0.2, (GAUSSIANS, 3)),
        "quats": rng.normal(0, 1, (GAUSSIANS, 4)),
        "colors": rng.random((GAUSSIANS, 3)),
        "opacities": rng.uniform(0.1, 0.9, GAUSSIANS),
        "scales": rng.uniform(0.01, 0.05, (GAUSSIANS, 3)),
        "keypoints": rng.normal(0, 0.2, (KEYPOINTS, 3)),
        "radii": rng.uniform(0.1, 0.3, KEYPOINTS),
        "mu": rng.normal(0, 1, (MOTIONS, DIM)),
        "logvar": rng.normal(-2, 0.5, (MOTIONS, DIM)),
        "network": network(rng),
    }
    sh, logit = (content["colors"] - 0.5) / SH0, np.log(content["opacities"] / (1 - content["opacities"]))
    vertices(
        folder / "point_cloud.ply",
        **dict(zip("xyz", content["means"].T, strict=True)),
        **{name: np.zeros(GAUSSIANS) for name in ("nx", "ny", "nz")},
        **{f"f_dc_{i}": sh[:, i] for i in range(3)},
        opacity=logit,
        **{f"scale_{i}": np.log(content["scales"])[:, i] for i in range(3)},
        **{f"rot_{i}": content["quats"][:, i] for i in range(4)},
    )
    vertices(
        folder / "point_cloud_c.ply",
        **{f"c_{axis}": content["keypoints"][:, i] for i, axis in enumerate("xyz")},
        c_radius=np.log(content["radii"]),
    )
    torch.save(OrderedDict(content["network"]), folder / "timenet.pth")
    torch.save(torch.nn.Parameter(torch.from_numpy(content["mu"]).float()), folder / "mu.pth")
    torch.save(torch.from_numpy(content["logvar"]).float(), folder / "log_var.pth")
    return content
