"""A trained scene to share: scene.safetensors (its tensors) and scene.json (what they mean).

`load_scene` needs torch and safetensors alone, takes milliseconds, runs no code and believes nothing: names, shapes and
numbers are checked, sizes are taken from the tensors themselves.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dimo_ns.core.decoder import LowRankDecoder, MLPDecoder
from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.latents import MotionLatents
from dimo_ns.core.scene import Scene
from dimo_ns.core.types import FAR
from dimo_ns.errors import DimoError
from dimo_ns.files.durable import write_files
from dimo_ns.files.fields import Fields, read_json
from dimo_ns.files.opening import MAX_TENSOR_BYTES, regular
from dimo_ns.files.output import complete
from dimo_ns.rasterize.skinning import fused_skin

FORMAT, VERSION = "dimo-scene", 1
FILE = "scene.safetensors"
MAX_WIDTH = 4096
"""How wide a layer of the decoder may be, and how long a latent."""


def save_scene(scene: Scene, info: Mapping[str, Any], path: Path) -> Path:
    """Writes a scene to `path` (a .safetensors file) and what is known of it beside it (.json); returns `path`.

    `info` holds `motions`, one entry with a `name` per row of the latents in their order, and anything else that JSON
    can hold. Both files appear together, in place of what was there. Raises DimoError as `check_numbers`, if the
    motions are not those of the latents, or if nothing can be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in scene.state_dict().items()}
    tensors["neighbours"] = scene.neighbours.cpu().to(torch.int32).contiguous()
    check_numbers(scene, "The scene")
    rows = len(scene.latents.mu)
    if len(info["motions"]) != rows:
        raise DimoError(f"The scene has {rows} latents, but {len(info['motions'])} motions were named; name each one.")
    content = save(tensors, metadata={"format": FORMAT, "version": str(VERSION)})
    described = {
        "format": FORMAT,
        "version": VERSION,
        **info,
        **sizes(tensors),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(described, indent=1, allow_nan=False) + "\n"
    about = path.with_suffix(".json").name
    with complete(path.parent, [about, path.name], overwrite=True, what="The scene") as partial:
        write_files({partial / path.name: content, partial / about: text.encode()})
    return path


def load_scene(path: Path) -> tuple[Scene, dict[str, Any]]:
    """A scene that `save_scene` wrote, on the CPU, and its info; `path` is the .safetensors file or its folder.

    `pose` of what is loaded equals that of what was saved, bit for bit. Raises DimoError for files that are missing, of
    another format or version, changed since they were written, or that hold anything else than a scene.
    """
    given, path = path, path / FILE if path.is_dir() else path
    described = path.with_suffix(".json")
    if not described.exists():
        missing = f"{described.name} is missing" if given.exists() else "nothing is there"
        raise DimoError(
            f"There is no scene at {given}: {missing}; expected {FILE} with scene.json beside it, as "
            "'dimo export scene RUN' writes them."
        )
    info = read_info(described)
    said, motions, sha256 = described_sizes(info), info.entries("motions"), info.text("sha256", "")
    try:
        content = regular(path, MAX_TENSOR_BYTES).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DimoError(
                f"The scene {path} is not the one that its .json describes, or is damaged; export it again."
            )
        tensors = load(content)
    except OSError as error:
        raise DimoError(f"The scene {path} cannot be read ({error.strerror}); export it again.") from error
    except SafetensorError as error:
        raise DimoError(f"The scene {path} is not a safetensors file ({error}); export it again.") from error
    try:
        scene = build(tensors)
        agrees = said == sizes(tensors)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise DimoError(f"The tensors in {path} are not those of a scene ({error}); export it again.") from error
    check_numbers(scene, f"The scene {path}")
    if not agrees or len(motions) != len(scene.latents.mu):
        raise DimoError(f"The sizes in {described} are not those of the tensors; export it again.")
    return scene, info.values


def read_info(path: Path) -> Fields:
    """scene.json, once it is sure to be one that this version can read."""
    info = read_json(path)
    if info.values.get("format") != FORMAT:
        raise DimoError(f'The file {path} does not describe a scene of dimo; expected "format": "{FORMAT}".')
    version = info.values.get("version")
    if type(version) is not int:
        raise info.error("version", "a whole number")
    if version != VERSION:
        raise DimoError(
            f"The scene {path} has format version {version}, and this program reads {VERSION}; "
            "export it again, or use the version of dimo that wrote it."
        )
    return info


def sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What scene.json says about the tensors."""
    decoder: dict[str, Any] = {"kind": "mlp"}
    if "decoder.basis" in tensors:
        decoder = {
            "kind": "low_rank",
            "rank": tensors["decoder.basis"].shape[0],
            "width": tensors["decoder.trunk.0.weight"].shape[0],
        }
    return {
        "decoder": decoder,
        "latent_dim": tensors["latents.mu"].shape[1],
        "keypoints": len(tensors["keypoints"]),
        "gaussians": len(tensors["gaussians.means"]),
    }


def described_sizes(info: Fields) -> dict[str, Any]:
    """The `sizes` that scene.json says the tensors have. Raises DimoError for a value of another type."""
    decoder = info.object("decoder")
    of_decoder = [name for name in ("rank", "width") if name in decoder.values]
    return {
        "decoder": {
            "kind": decoder.choice("kind", ("mlp", "low_rank")),
            **{name: decoder.integer(name, 1, MAX_WIDTH) for name in of_decoder},
        },
        **{name: info.integer(name, 1, MAX_TENSOR_BYTES) for name in ("latent_dim", "keypoints", "gaussians")},
    }


def build(tensors: Mapping[str, Tensor]) -> Scene:
    """The Scene of these tensors. Raises RuntimeError, KeyError, IndexError or ValueError if they do not fit."""
    parameters = {name: value for name, value in tensors.items() if name != "neighbours"}
    neighbours = tensors["neighbours"].long()
    wrong = [name for name, value in parameters.items() if value.dtype != torch.float32]
    if wrong:
        raise ValueError(f"{wrong[0]} is not float32")
    dim, keypoints, gaussians = (sizes(tensors)[name] for name in ("latent_dim", "keypoints", "gaussians"))
    if neighbours.ndim != 2 or len(neighbours) != gaussians or not 0 < neighbours.shape[1] <= keypoints:
        raise ValueError(f"neighbours is {list(neighbours.shape)}")
    if len(neighbours) and not 0 <= int(neighbours.min()) <= int(neighbours.max()) < keypoints:
        raise ValueError("neighbours points to key points that are not there")
    kind = sizes(tensors)["decoder"]
    if max(dim, kind.get("rank", 0), kind.get("width", 0)) > MAX_WIDTH or any(not x.numel() for x in tensors.values()):
        raise ValueError(f"a layer is empty, or wider than {MAX_WIDTH}")
    with torch.random.fork_rng(devices=[]):
        decoder = (
            MLPDecoder(dim) if kind["kind"] == "mlp" else LowRankDecoder(keypoints, dim, kind["rank"], kind["width"])
        )
    latents, blank = MotionLatents(len(tensors["latents.mu"]), dim), CanonicalGaussians.blank(1)
    scene = Scene(latents, decoder, torch.zeros(keypoints, 3), torch.ones(keypoints), blank, fused_skin)
    scene.gaussians = CanonicalGaussians.blank(gaussians)
    scene.neighbours = torch.zeros_like(neighbours)
    scene.load_state_dict({**parameters, "neighbours": neighbours})
    return scene


def check_numbers(scene: Scene, what: str) -> None:
    """Raises DimoError for numbers that are not finite, and for places, sizes and colours beyond all bounds."""
    for name, value in scene.state_dict().items():
        if not torch.isfinite(value).all():
            raise DimoError(f"{what} has numbers that are not finite in '{name}'; train or export it again.")
    shown = {"keypoints": scene.keypoints, "radii": scene.log_radii.exp(), **vars(scene.gaussians())}
    for name, value in shown.items():
        if not (value.abs() < FAR).all():
            raise DimoError(f"{what} has numbers in '{name}' that are beyond {FAR:g}; train or export it again.")
