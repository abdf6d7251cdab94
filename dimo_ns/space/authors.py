"""Checkpoints of the method's authors, brought into a scene of ours.

    point_cloud.ply               the canonical Gaussians, as 3D Gaussian splatting has them
    point_cloud_c.ply             the key points: c_x c_y c_z, c_radius (a logarithm)
    mu.pth, log_var.pth           the posteriors of the latents; or latent_codes.pth, plain codes
    timenet.pth                   the decoder: deformnet.0..7, pts_layers.{0,2}, rot_layers.{0,2}

Their network is our MLPDecoder but for the order of the Fourier features: theirs go by frequency, then sine or cosine,
then coordinate; ours by coordinate, then sine or cosine, then frequency. Their world is y-up; (x, y, z) -> (z, x, y)
takes it to ours, as it does with their data. Both become permutations of rows and columns of the weights, so that the
scene does exactly what their network does.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from plyfile import PlyData, PlyParseError
from torch import Tensor

from dimo_ns.core.decoder import MLPDecoder
from dimo_ns.core.gaussians import SH0, CanonicalGaussians
from dimo_ns.core.geometry import quat_multiply
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.data.dataset import Motion
from dimo_ns.data.layouts.reading import MAX_FRAMES, PLAYBACK_FPS
from dimo_ns.errors import DimoError
from dimo_ns.files.fields import check_unique, is_name
from dimo_ns.files.opening import MAX_TENSOR_BYTES, regular
from dimo_ns.files.output import check_free
from dimo_ns.rasterize.skinning import fused_skin
from dimo_ns.space.file import FILE, check_numbers, save_scene
from dimo_ns.space.info import SceneInfo

FRAMES = 21
CYCLE = [2, 0, 1]
"""Our coordinates x, y, z are theirs with these numbers."""
TURN = (0.5, 0.5, 0.5, 0.5)
"""The same as a rotation, wxyz."""
DISTRUST = 1e-8
"""The variance of a plain code, which has none."""


def import_authors(
    folder: Path, out: Path, names: Sequence[str] = (), frames: int = FRAMES, overwrite: bool = False
) -> tuple[Path, list[str]]:
    """Writes the checkpoint in `folder` as a scene: to `out`, a .safetensors file or a folder for it. Returns the file
    and what should be known of it, one sentence each. The motions get these names, else motion_00, motion_01, ...;
    `frames` is how many each of them has. No code in the files is run. Raises DimoError."""
    path = out if out.suffix == ".safetensors" else out / FILE
    check_free(path.parent, [path.name, path.with_suffix(".json").name], overwrite)
    if not 0 < frames <= MAX_FRAMES:
        raise DimoError(f"A motion cannot have {frames} frames; expected 1 to {MAX_FRAMES}.")
    scene, notes = read_authors(folder)
    count = len(scene.latents.mu)
    names = list(names) or [f"motion_{i:02d}" for i in range(count)]
    if len(names) != count:
        raise DimoError(
            f"The checkpoint {folder} has {count} motions, and {len(names)} names were given; name each one."
        )
    check_unique(names, "Two of the motions are named")
    for name in names:
        if not is_name(name):
            raise DimoError(f"'{name}' cannot name a motion; expected the name of a folder.")
    times = tuple(frame / PLAYBACK_FPS for frame in range(frames))
    info = SceneInfo(
        tuple(Motion(name, name.replace("_", " "), "train", False, times) for name in names),
        frames,
        object=folder.resolve().name,
        background=(1.0, 1.0, 1.0),
        method="authors' checkpoint",
    )
    return save_scene(scene, info.to_json(), path), notes


def read_authors(folder: Path) -> tuple[Scene, list[str]]:
    """The scene of a checkpoint, and what should be known of it. Raises DimoError."""
    gaussians, notes = read_gaussians(folder / "point_cloud.ply")
    points = read_ply(folder / "point_cloud_c.ply", ("c_x", "c_y", "c_z", "c_radius"))
    keypoints, log_radii = points[:, :3][:, CYCLE], points[:, 3]
    latents = read_latents(folder)
    decoder = read_decoder(folder / "timenet.pth", latents.mu.shape[1])
    scene = Scene(latents, decoder, keypoints, log_radii.exp(), gaussians, fused_skin)
    check_numbers(scene, f"The checkpoint {folder}")
    return scene.eval(), notes


def read_gaussians(path: Path) -> tuple[CanonicalGaussians, list[str]]:
    """The canonical Gaussians, in our axes."""
    scales, turns = [f"scale_{i}" for i in range(3)], [f"rot_{i}" for i in range(4)]
    table = read_ply(path, ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *scales, *turns))
    gaussians = CanonicalGaussians.blank(len(table))
    gaussians.load_state_dict(
        {
            "means": table[:, :3][:, CYCLE],
            "colors": (0.5 + SH0 * table[:, 3:6]).clamp(min=0),  # as their renderer has it
            "logit_opacities": table[:, 6],
            "log_scales": table[:, 7:10],
            "quats": quat_multiply(torch.tensor(TURN), table[:, 10:]),
        }
    )
    rest = [name for name in ply_properties(path) if name.startswith("f_rest_")]
    seen_from_all_sides = f"{path} has colours that depend on the view; their constant part alone is taken."
    return gaussians, [seen_from_all_sides] if rest and bool(read_ply(path, rest).any()) else []


def read_latents(folder: Path) -> MotionLatents:
    """Means and variances, of mu.pth and log_var.pth where they are, else of latent_codes.pth."""
    plain = not (folder / "mu.pth").exists()
    mu = read_codes(folder / ("latent_codes.pth" if plain else "mu.pth"))
    logvar = torch.full_like(mu, DISTRUST).log() if plain else read_codes(folder / "log_var.pth")
    if logvar.shape != mu.shape:
        raise DimoError(f"log_var.pth in {folder} is {list(logvar.shape)}, and mu.pth {list(mu.shape)}.")
    latents = MotionLatents(*mu.shape)
    latents.load_state_dict({"mu": mu, "logvar": logvar})
    return latents


def read_codes(path: Path) -> Float[Tensor, "m d"]:
    """Codes, a row per motion: one tensor, or several one after another, by themselves or as a module's state."""
    content = read_pth(path)
    parts = list(content.values()) if isinstance(content, Mapping) else content
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    if not parts or not all(isinstance(part, Tensor) and part.ndim in (1, 2) for part in parts):
        raise DimoError(f"The file {path} does not hold latents; expected a tensor with a row per motion.")
    if len({part.shape[-1] for part in parts}) > 1 or not all(part.numel() for part in parts):
        raise DimoError(f"The latents in {path} differ in length, or are empty.")
    rows = [part.detach().float().reshape(-1, part.shape[-1]) for part in parts]
    return torch.cat(rows)


def read_decoder(path: Path, latent_dim: int) -> MLPDecoder:
    """The network, in the order of our features and in our axes."""
    state = read_pth(path)
    with torch.random.fork_rng(devices=[]):
        decoder = MLPDecoder(latent_dim)
    order = feature_order(latent_dim)
    ours: dict[str, Tensor] = {}
    try:
        for name in decoder.state_dict():
            module, index, kind = name.split(".")
            theirs = {"layers": "deformnet", "translation_head": "pts_layers", "rotation_head": "rot_layers"}[module]
            value = state[f"{theirs}.{index}.{kind}"].float()
            if module == "layers" and kind == "weight" and int(index) in (0, decoder.SKIP):
                value = torch.cat([value[:, : len(order)][:, order], value[:, len(order) :]], 1)
            if index == "2" and module == "translation_head":
                value = value[CYCLE]
            if index == "2" and module == "rotation_head":
                value = value[[0, *(1 + i for i in CYCLE)]]
            ours[name] = value
        decoder.load_state_dict(ours)
    except (KeyError, AttributeError, TypeError, IndexError, RuntimeError) as error:
        raise DimoError(
            f"The file {path} is not the decoder of the method with latents of {latent_dim} numbers ({error})."
        ) from error
    return decoder


def feature_order(latent_dim: int) -> list[int]:
    """The number that each of our decoder's inputs has among theirs."""
    position = [
        6 * k + 3 * is_cosine + axis
        for axis in CYCLE
        for is_cosine in (0, 1)
        for k in range(MLPDecoder.POSITION_FREQUENCIES)
    ]
    time = [2 * k + is_cosine for is_cosine in (0, 1) for k in range(MLPDecoder.TIME_FREQUENCIES)]
    return [
        *position,
        *(len(position) + i for i in time),
        *range(len(position) + len(time), len(position) + len(time) + latent_dim),
    ]


def read_pth(path: Path) -> Any:
    """A file of torch.save; what could run code is refused."""
    regular(path, MAX_TENSOR_BYTES)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DimoError(
            f"There is no {path.name} in {path.parent}, or it cannot be read ({error.strerror})."
        ) from error
    except pickle.UnpicklingError as error:
        raise DimoError(f"The file {path} holds more than tensors, which could run code, and is not read.") from error
    except Exception as error:  # a damaged archive fails in many ways
        raise DimoError(f"The file {path} cannot be read ({error}); copy it again.") from error


def ply_properties(path: Path) -> list[str]:
    """The names of what the vertices of a .ply file have."""
    return [p.name for p in _vertices(path).properties]


def read_ply(path: Path, names: Sequence[str]) -> Float[Tensor, "n c"]:
    """Columns of the vertices of a .ply file. Raises DimoError."""
    vertices = _vertices(path)
    missing = [name for name in names if name not in {p.name for p in vertices.properties}]
    if missing:
        raise DimoError(f"The file {path} has no '{missing[0]}'; expected {', '.join(names)}.")
    if not len(vertices.data):
        raise DimoError(f"The file {path} holds no points.")
    return torch.from_numpy(np.stack([np.asarray(vertices[name], np.float32) for name in names], -1))


def _vertices(path: Path):
    try:
        return PlyData.read(str(regular(path, MAX_TENSOR_BYTES)))["vertex"]
    except OSError as error:
        raise DimoError(
            f"There is no {path.name} in {path.parent}, or it cannot be read ({error.strerror})."
        ) from error
    except (PlyParseError, KeyError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise DimoError(f"The file {path} is not a .ply file of points ({error}).") from error
