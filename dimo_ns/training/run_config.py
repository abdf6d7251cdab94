"""config.yml of a run: YAML that names Python classes, of which those alone are made that our methods consist of.

nerfstudio's own commands read the same file with a loader that calls whatever it names: there, a run from somebody else
is a program from somebody else.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import yaml

from dimo_ns.errors import DimoError, first_line
from dimo_ns.files import fields
from dimo_ns.files.fields import MAX_YAML_BYTES, load_yaml, read_bytes

PYTHON = "tag:yaml.org,2002:python/"
PATHS = ("pathlib.PosixPath", "pathlib.WindowsPath")
"""What a path was on the machine that wrote it; here it is a Path."""


def read_config(path: Path, methods: Iterable[Any]) -> Any:
    """The configuration that a file holds, of the classes that those of `methods` consist of, and plain values.

    Runs nothing that the file names. Raises DimoError if it is missing, too large, not YAML, or names anything else.
    """
    known: dict[str, Any] = {}
    for method in methods:
        collect(method, known)

    class Loader(fields.Loader):
        pass

    def named(suffix: str) -> Any:
        if suffix not in known:
            raise DimoError(
                f"The file {path} names {suffix}, which no configuration of dimo consists of: it was not read further. "
                "If the run is your own, write its scene with the version of dimo that trained it."
            )
        return known[suffix]

    def make_object(loader: yaml.SafeLoader, suffix: str, node: yaml.MappingNode) -> Any:
        kind = named(suffix)
        if not is_dataclass(kind):
            raise DimoError(f"The file {path} has {suffix} made from fields, which it has none of.")
        made = object.__new__(kind)  # pyright: ignore[reportArgumentType]
        yield made
        vars(made).update(loader.construct_mapping(node, deep=True))

    def call(loader: yaml.SafeLoader, suffix: str, node: yaml.SequenceNode) -> Any:
        values = loader.construct_sequence(node, deep=True)
        if suffix in PATHS and all(isinstance(part, str) for part in values):
            return Path(*values)
        kind = named(suffix)
        if not (isinstance(kind, type) and issubclass(kind, Enum) and len(values) == 1):
            raise DimoError(f"The file {path} has {suffix} called, which nothing of a configuration is.")
        return kind(values[0])

    def make_tuple(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    Loader.add_multi_constructor(f"{PYTHON}object:", make_object)
    Loader.add_multi_constructor(f"{PYTHON}object/apply:", call)
    Loader.add_multi_constructor(f"{PYTHON}name:", lambda loader, suffix, node: named(suffix))
    Loader.add_constructor(f"{PYTHON}tuple", make_tuple)  # pyright: ignore[reportArgumentType]
    return load_yaml(read_bytes(path, MAX_YAML_BYTES), str(path), Loader)


@contextmanager
def unfit_values(path: Path) -> Iterator[None]:
    """Within it, what a file describes is made: raises DimoError where a value is of a kind that its field has not."""
    try:
        yield
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise DimoError(
            f"The file {path} holds a value that does not belong there ({first_line(error)}); restore the one that "
            "ns-train wrote."
        ) from error


def collect(value: Any, known: dict[str, Any]) -> None:
    """Adds the classes and functions that a configuration consists of, by the names that YAML gives them."""
    if isinstance(value, type) or callable(value):
        known[f"{value.__module__}.{value.__name__}"] = value
    elif isinstance(value, dict):
        for item in value.values():
            collect(item, known)
    elif isinstance(value, list | tuple):
        for item in value:
            collect(item, known)
    elif is_dataclass(value):
        collect(type(value), known)
        collect(vars(value), known)
    elif isinstance(value, Enum):
        collect(type(value), known)
    elif not isinstance(value, str | int | float | PurePath | None):
        raise TypeError(f"{type(value).__name__} in a configuration")
