"""JSON and YAML files that a user wrote: bounded in size, and every field taken with a type and a complaint that says
where."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dimo_ns.errors import DimoError
from dimo_ns.files.opening import regular, too_large

MAX_JSON_BYTES = 16 * 2**20
MAX_YAML_BYTES = 2**18
MAX_NAME_BYTES = 200
"""Of a folder or a file, so that a suffix has room in what file systems take."""
MAX_DEPTH, MAX_VALUES = 50, 10**6
"""How deep lists and objects may be nested, and how many values they may hold, repeated ones counted each time."""


class Loader(yaml.SafeLoader):
    """Makes plain values alone: numbers of 1e-5 too, which YAML 1.1 takes for a text, and of dates their text. Mappings
    are not merged, which a short file can let grow without end."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in yaml)
        letter: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":merge"))]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        pass


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def inside(root: Path, path: Path) -> Path:
    """`path` unchanged, if it stays inside `root` when links are followed. Raises DimoError otherwise."""
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except RuntimeError:  # a circle of links
        stays = False
    if not stays:
        raise DimoError(f"{path} leads out of the dataset {root}; links to other places are not followed.")
    return path


def read_bytes(path: Path, at_most: int) -> bytes:
    """The content of a file. Raises DimoError if it is missing, is none, cannot be read or has more bytes than that."""
    try:
        with regular(path, at_most).open("rb") as file:
            content = file.read(at_most + 1)
    except FileNotFoundError as error:
        raise DimoError(f"The file {path} is missing.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DimoError(f"The file {path} cannot be read ({reason}).") from error
    if len(content) > at_most:  # it grew, or its size was none, as of files that a system makes up
        raise too_large(path, at_most)
    return content


def read_json(path: Path) -> "Fields":
    """A JSON object of bounded size. Raises DimoError if it is missing, too large or not one."""
    try:
        data = json.loads(read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DimoError(f"The file {path} is not valid JSON: {error}.") from error
    return Fields.of(plain(data, str(path)), str(path))


def read_yaml(path: Path, loader: type = Loader) -> "Fields":
    """A YAML mapping of bounded size, read without running anything. Raises DimoError if it is missing, too large or
    not one."""
    return Fields.of(parse_yaml(read_bytes(path, MAX_YAML_BYTES), str(path), loader), str(path))


def parse_yaml(text: bytes | str, where: str, loader: type = Loader) -> Any:
    """The plain value that a YAML text holds. Raises DimoError if it is not YAML, or holds anything else."""
    return plain(load_yaml(text, where, loader), where)


def load_yaml(text: bytes | str, where: str, loader: type) -> Any:
    """What a loader makes of a YAML text. Raises DimoError if it is not YAML."""
    try:
        return yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DimoError(f"The file {where} is not valid YAML: {' '.join(str(error).split())[:300]}.") from error


def plain(value: Any, where: str) -> Any:
    """`value` unchanged, if it consists of texts, numbers, true, false and nothing, in lists and under names that are
    texts, and is not too deep or too much. Raises DimoError otherwise."""
    left, count = [(value, 0)], 0
    while left:
        item, depth = left.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise DimoError(f"The file {where} is nested over {MAX_DEPTH} deep, or unfolds to {MAX_VALUES:,} values.")
        if isinstance(item, dict):
            wrong = next((key for key in item if not isinstance(key, str)), None)
            if wrong is not None or None in item:
                raise DimoError(
                    f"The file {where} has {shown(wrong)} as a name; put names that are no texts in quotes."
                )
            left.extend((entry, depth + 1) for pair in item.items() for entry in pair)
        elif isinstance(item, list):
            left.extend((entry, depth + 1) for entry in item)
        elif isinstance(item, str):
            if not item.isascii() and any("\ud800" <= letter <= "\udfff" for letter in item):
                raise DimoError(f"The file {where} has a text that is not valid Unicode: {shown(item)}.")
        elif not isinstance(item, bool | int | float | None):
            raise DimoError(
                f"The file {where} holds a {type(item).__name__}; expected texts, numbers, lists and names."
            )
    return value


@dataclass(frozen=True)
class Fields:
    """A JSON object whose fields are taken with a type; every complaint says where."""

    values: dict[str, Any]
    where: str

    @staticmethod
    def of(value: object, where: str) -> "Fields":
        """The fields of what a file holds. Raises DimoError if that is not an object."""
        if not isinstance(value, dict):
            kind = "nothing" if value is None else f"a {type(value).__name__}"
            raise DimoError(f"The file {where} holds {kind}; expected an object with named fields.")
        return Fields(value, where)

    def error(self, key: str, expected: str) -> DimoError:
        got = f"is {shown(self.values[key])}" if key in self.values else "is missing"
        return DimoError(f"{self.where}: '{key}' {got}; expected {expected}.")

    def only(self, known: Iterable[str]) -> None:
        """Raises DimoError if there is a field of another name."""
        known = list(known)
        for key in self.values:
            if key not in known:
                raise DimoError(f"{self.where}: there is no field '{key}'; the fields are {', '.join(known)}.")

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

    def object(self, key: str) -> "Fields":
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.error(key, "an object with named fields")
        return Fields(value, f"{self.where}, {key}")

    def entries(self, key: str) -> list["Fields"]:
        value = self.values.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise self.error(key, "a list of objects, at least one")
        return [Fields(v, f"{self.where}, {key} {i} ({v.get('name', 'unnamed')})") for i, v in enumerate(value)]


def shown(value: object) -> str:
    """A value as a complaint quotes it: as JSON, cut off where it is long."""
    try:
        text = json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):  # keys of other kinds, or a value that holds itself
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def is_name(value: str) -> bool:
    """Whether this is a plain folder name, that cannot lead anywhere else."""
    fits = re.fullmatch(r"[^/\\:\x00-\x1f\x7f\ud800-\udfff]+", value) and value not in (".", "..")
    return bool(fits) and len(value.encode()) <= MAX_NAME_BYTES


def is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30  # type: ignore[operator]  # false for nan too


def check_unique(names: Sequence[str], what: str) -> None:
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise DimoError(f"{what} '{min(twice)}'; names must differ.")
