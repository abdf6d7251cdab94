"""Weights on disk, looked at without loading them: the headers of their safetensors files say all that is needed."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimo_ns.errors import DimoError
from dimo_ns.generate.items import digest
from dimo_ns.generate.presets import Model

MAX_HEADER_BYTES = 100 * 2**20
TOLERANCE = 0.02
"""How far the number of parameters may be off, as a share."""


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file."""

    shapes: dict[str, list[int]]
    size_bytes: int
    """How large the whole file must be."""

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())


def read_header(path: Path) -> Header:
    """Raises DimoError if the file is not a whole safetensors file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MAX_HEADER_BYTES:
                raise ValueError("it does not begin with a header")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        shapes = {name: list(entry["shape"]) for name, entry in entries.items()}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DimoError(f"The file {path} is not a safetensors file ({error}).") from error
    if size != end:
        raise DimoError(f"The file {path} has {size:,} bytes and must have {end:,}: it is cut off or damaged.")
    return Header(shapes, end)


def find(model: Model, folder: Path | None) -> Path:
    """The folder of a model's weights: the one given, or where `hf download` put it. Raises DimoError."""
    if folder is None:
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(model.repo, revision=model.revision, local_files_only=True))
        except Exception as error:  # huggingface_hub has a dozen kinds
            raise DimoError(f"The weights of {model.name} are not on this machine; {get(model)}.") from error
    if not (folder / "model_index.json").is_file():
        raise DimoError(f"There are no weights of {model.name} in {folder}: model_index.json is missing; {get(model)}.")
    return folder


def get(model: Model) -> str:
    return f"get them (about {model.gigabytes:g} GB) with '{model.download}'"


def check(model: Model, folder: Path) -> dict[str, Any]:
    """What the weights are: commit, and a digest of their headers. Raises DimoError if a file is missing or cut off, or
    if they are those of another model."""
    index = _json(folder / "model_index.json", model)
    found = index.get("_class_name")
    if found != model.pipeline:
        raise DimoError(f"The weights in {folder} are for {found}, not for {model.pipeline}; {get(model)}.")
    headers: dict[str, dict[str, list[int]]] = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or entry[0] is None:
            continue
        part = folder / name
        if not part.is_dir():
            raise DimoError(f"The weights of {model.name} are incomplete: {part} is missing; {get(model)}.")
        for file in _files(part, model):
            headers[f"{name}/{file.name}"] = _whole(file, model).shapes
    for name, billions in model.parameters.items():
        shapes = [shape for file, all_ in headers.items() if file.startswith(f"{name}/") for shape in all_.values()]
        have = sum(math.prod(shape) for shape in shapes) / 1e9
        if not shapes:
            raise DimoError(f"The weights of {model.name} have no '{name}' in {folder}; {get(model)}.")
        if abs(have / billions - 1) > TOLERANCE:
            raise DimoError(
                f"The weights in {folder} are not those of {model.name}: '{name}' has {have:.2f} billion parameters, "
                f"expected {billions:.2f}; {get(model)}."
            )
    commit = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None
    return {"repo": model.repo, "commit": commit, "headers": digest(headers)[:16]}


def _files(part: Path, model: Model) -> list[Path]:
    """The safetensors files of a component; none for tokenizers and the like."""
    files = sorted(part.glob("*.safetensors"))
    for index in part.glob("*.safetensors.index.json"):
        needed = set(_json(index, model).get("weight_map", {}).values())
        missing = sorted(needed - {file.name for file in files})
        if missing:
            raise DimoError(
                f"The weights of {model.name} are incomplete: {part / missing[0]} is missing; {get(model)}."
            )
        files = [file for file in files if file.name in needed]
    if not files and list(part.glob("*.bin")):
        raise DimoError(
            f"{part} has weights in .bin files only, which can run code; expected .safetensors; {get(model)}."
        )
    is_network = (part / "config.json").is_file()
    if is_network and not files:
        raise DimoError(f"The weights of {model.name} are incomplete: {part} has no .safetensors; {get(model)}.")
    return files


def _whole(path: Path, model: Model) -> Header:
    try:
        return read_header(path)
    except DimoError as error:
        raise DimoError(f"{str(error).rstrip('.')}; {get(model)}.") from error


def _json(path: Path, model: Model) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DimoError(f"{path} cannot be read ({error}); {get(model)}.") from error
    if not isinstance(content, dict):
        raise DimoError(f"{path} does not hold an object; {get(model)}.")
    return content
