"""A projector beside its scene: text.safetensors, the embeddings of the known texts and, as metadata, all the rest."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dimo_ns.apps.language.encoder import Encoder, load_encoder
from dimo_ns.apps.language.projector import Projector
from dimo_ns.errors import DimoError
from dimo_ns.files.durable import write_files
from dimo_ns.files.fields import Fields
from dimo_ns.files.opening import MAX_TENSOR_BYTES, regular
from dimo_ns.files.output import refusals
from dimo_ns.space.motion_space import MotionSpace

FILE = "text.safetensors"
FORMAT, VERSION = "dimo-text", 1
SAME = 0.999
"""Cosine similarity of a text's embedding to itself, computed elsewhere by the same encoder."""


def save_projector(projector: Projector, path: Path | None = None) -> Path:
    """Writes a projector beside its scene, or to `path`; beside and renamed into place. Raises DimoError."""
    path = path or place(projector.space)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "scene": mark(projector.space),
        "encoder": projector.encoder.name,
        "revision": projector.encoder.revision,
        "texts": projector.texts,
        "motions": projector.motions,
        "strength": projector.strength,
        "sharpness": projector.sharpness,
        "threshold": projector.threshold,
    }
    content = save({"embeddings": projector.embeddings.contiguous()}, metadata={"about": json.dumps(about)})
    with refusals("The projector", path):
        write_files({path: content})
    return path


def load_projector(space: MotionSpace, path: Path | None = None, encoder: Encoder | None = None) -> Projector:
    """The projector that was fitted to a space, from beside it or from `path`; motions may have another order since.

    The encoder is the one that it was fitted with, loaded where none is given: takes seconds. Raises DimoError if there
    is none, if the file is damaged, or if scene or encoder are others than then.
    """
    path = path or place(space)
    again = f"fit it again: dimo text fit {space.source or 'SCENE'}"
    try:
        with safe_open(regular(path, MAX_TENSOR_BYTES), framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
            embeddings = file.get_tensor("embeddings")
    except FileNotFoundError as error:
        raise DimoError(f"This scene has not learned any words yet; first: dimo text fit {space.source}") from error
    except OSError as error:
        raise DimoError(f"The projector {path} cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise DimoError(f"The file {path} is not a projector of dimo ({error}); {again}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT or about.get("version") != VERSION:
        raise DimoError(f"The file {path} is not a projector that this version of dimo reads; {again}")
    if about.get("scene") != mark(space):
        raise DimoError(f"The projector {path} belongs to another scene; {again}")
    fields = Fields(about, f"The projector {path}")
    texts, motions = read_texts(fields, "texts"), read_texts(fields, "motions")
    if (
        embeddings.ndim != 2
        or not len(texts) == len(motions) == len(embeddings)
        or set(motions) != set(space.names)
        or embeddings.dtype != torch.float32
        or not torch.isfinite(embeddings).all()
        or fields.number("strength") <= 0
    ):
        raise DimoError(f"What the projector {path} holds does not fit together; {again}")
    name, revision = fields.text("encoder", ""), about.get("revision")
    encoder = encoder or load_encoder(name, revision and str(revision))
    found = encoder(texts[:1])
    if found.shape[1] != embeddings.shape[1] or float(found[0] @ embeddings[0]) < SAME:
        raise DimoError(f"The projector {path} was fitted with another text encoder ({name}, {revision}); {again}")
    numbers = [fields.number(key) for key in ("strength", "sharpness", "threshold")]
    return Projector(space, encoder, texts, motions, embeddings, *numbers)


def read_texts(fields: Fields, key: str) -> list[str]:
    value = fields.values.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise fields.error(key, "a list of texts")
    return value


def place(space: MotionSpace) -> Path:
    """Where the projector that belongs to a space is. Raises DimoError if the space is in no folder."""
    if space.source is None:
        raise DimoError("This scene lies in no folder; say where the projector is to be.")
    return space.source / FILE


def mark(space: MotionSpace) -> dict[str, Any]:
    """What a projector knows its scene by: the dataset, or the file where that is not known, and the motions' names.

    Latents are no part of it: a projector goes with every training on the same motions.
    """
    return {"hash": space.info.dataset_hash or space.info.sha256, "motions": sorted(space.names)}
