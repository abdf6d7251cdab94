"""JSON files that a user wrote: bounded in size, and every field taken with a type and a complaint that says where."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimo_ns.errors import DimoError

MAX_JSON_BYTES = 16 * 2**20


def inside(root: Path, path: Path) -> Path:
    """`path` unchanged, if it stays inside `root` when links are followed. Raises DimoError otherwise."""
    try:
        stays = path.resolve().is_relative_to(root)
    except RuntimeError:  # a circle of links
        stays = False
    if not stays:
        raise DimoError(f"{path} leads out of the dataset {root}; links to other places are not followed.")
    return path


def read_json(root: Path, name: str) -> Fields:
    """A JSON object of bounded size. Raises DimoError if it is missing, too large or not one."""
    path = inside(root, root / name)
    if not path.is_file():
        raise DimoError(f"The file {path} is missing.")
    with path.open("rb") as file:
        text = file.read(MAX_JSON_BYTES + 1)
    if len(text) > MAX_JSON_BYTES:
        raise DimoError(f"The file {path} is larger than {MAX_JSON_BYTES // 2**20} MB, which no list of motions needs.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DimoError(f"The file {path} is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise DimoError(f"The file {path} holds a {type(data).__name__}; expected an object with named fields.")
    return Fields(data, str(path))


@dataclass(frozen=True)
class Fields:
    """A JSON object whose fields are taken with a type; every complaint says where."""

    values: dict[str, Any]
    where: str

    def error(self, key: str, expected: str) -> DimoError:
        value = json.dumps(self.values.get(key))
        got = f"is {value if len(value) <= 80 else value[:77] + '...'}" if key in self.values else "is missing"
        return DimoError(f"{self.where}: '{key}' {got}; expected {expected}.")

    def text(self, key: str, default: str) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, "a text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.values.get(key, allowed[0])
        if value not in allowed:
            raise self.error(key, " or ".join(map(repr, allowed)))
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self.error(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if not is_finite(value):
            raise self.error(key, "a finite number")
        return float(value)

    def name(self) -> str:
        value = self.values.get("name")
        if not isinstance(value, str) or not is_name(value):
            raise self.error("name", "the name of a folder in the dataset, without '/' or '..'")
        return value

    def entries(self, key: str) -> list[Fields]:
        value = self.values.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise self.error(key, "a list of objects, at least one")
        return [Fields(v, f"{self.where}, {key} {i} ({v.get('name', 'unnamed')})") for i, v in enumerate(value)]


def is_name(value: str) -> bool:
    """Whether this is a plain folder name, that cannot lead anywhere else."""
    return bool(re.fullmatch(r"[^/\\:\x00-\x1f]{1,200}", value)) and value not in (".", "..")


def is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30  # type: ignore[operator]  # false for nan too


def check_unique(names: Sequence[str], what: str) -> None:
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise DimoError(f"{what} '{min(twice)}'; names must differ.")
