"""Other words for the motions, as a user writes them: YAML, motion -> train: [...], held_out: [...]."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import read_yaml

MAX_LETTERS = 1000
"""How many letters a text may have."""


@dataclass(frozen=True)
class Paraphrases:
    """The texts of one motion."""

    train: tuple[str, ...]
    """What the projector is fitted to."""
    held_out: tuple[str, ...] = ()
    """What it is only measured with."""


def read_paraphrases(path: Path | str) -> dict[str, Paraphrases]:
    """The paraphrases in a YAML file, by motion.

    Raises DimoError if it cannot be read, if it is anything else, if a motion has no text to train on, or if a text
    stands there twice.
    """
    # The loader that makes nothing but texts, lists and mappings: motions may be called yes and no.
    values = read_yaml(Path(path), yaml.BaseLoader).values
    if not values or not all(isinstance(name, str) for name in values):
        raise DimoError(f"The paraphrases {path} are not a mapping from motions to their texts.")
    found = {name: read_entry(entry, f"{path}: '{name}'") for name, entry in values.items()}
    check_different((text for entry in found.values() for text in (*entry.train, *entry.held_out)), str(path))
    return found


def read_entry(entry: object, where: str) -> Paraphrases:
    if not isinstance(entry, dict) or not set(entry) <= {"train", "held_out"}:
        raise DimoError(f"{where} is something else than 'train' and 'held_out', each a list of texts.")
    lists = {}
    for key in ("train", "held_out"):
        texts = entry.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DimoError(f"{where}: '{key}' is not a list of texts.")
        lists[key] = tuple(check_words(text, f"{where}: a text of '{key}'") for text in texts)
    if not lists["train"]:
        raise DimoError(f"{where} has no texts to train on; give it at least one under 'train', or leave it out.")
    return Paraphrases(**lists)


def check_words(text: str, where: str = "The text") -> str:
    """`text` without white space around it. Raises DimoError if nothing is left, or far too much."""
    words = " ".join(text.split())
    if not words:
        raise DimoError(f"{where} is empty; say in a few words what is to be seen, such as 'raise both arms'.")
    if len(words) > MAX_LETTERS:
        raise DimoError(f"{where} has {len(words)} letters; at most {MAX_LETTERS} are read.")
    return words


def check_different(texts: Iterable[str], where: str) -> None:
    """Raises DimoError if a text, in capitals or not, is there twice."""
    seen: set[str] = set()
    for text in texts:
        if text.lower() in seen:
            raise DimoError(f"{where}: '{text}' stands there twice; a text belongs to one motion, learned or held out.")
        seen.add(text.lower())
