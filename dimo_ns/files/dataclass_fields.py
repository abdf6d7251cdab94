"""Frozen dataclasses out of checked fields: settings in YAML with the types and defaults that the dataclass declares.

class Phase:
    name: str
    steps: Annotated[int, Between(0)]
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)

phase = read_dataclass(Phase, read_yaml(path))
"""

import math
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields, is_finite

T = TypeVar("T")
MOST = 10**15
"""Whole numbers are less: each counts something."""
PLAIN = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class Between:
    """The bounds of a number, both included, for `Annotated[int, Between(0, 10)]`."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"of at least {self.low:g}"
        return f"of at most {self.high:g}" if math.isinf(self.low) else f"from {self.low:g} to {self.high:g}"


class Unfit(Exception):
    """A value is not what its type says; whoever knows the key says it."""


def read_dataclass(kind: type[T], given: Fields) -> T:
    """A dataclass with these fields, and its own defaults for the rest.

    Types may be int, float, bool, str, Literal, tuple, list, dict with names as keys, another dataclass, any of them
    or None, and a number in `Annotated` with `Between`. Raises DimoError, with file, key and what was expected, if a
    field is missing, unknown or of another type; and with what `__post_init__` says where that raises ValueError.
    """
    hints, values = get_type_hints(kind, include_extras=True), {}
    known = [field for field in fields(kind) if field.init]  # pyright: ignore[reportArgumentType]
    given.only(field.name for field in known)
    for field in known:
        hint = hints[field.name]
        if field.name in given.values:
            try:
                values[field.name] = value_of(hint, given.values[field.name], f"{given.where}, {field.name}")
            except Unfit as error:
                raise given.error(field.name, expected(hint)) from error
        elif field.default is MISSING and field.default_factory is MISSING:
            raise given.error(field.name, expected(hint))
    try:
        return kind(**values)
    except ValueError as error:
        raise DimoError(f"{given.where}: {str(error).rstrip('.')}.") from error


def value_of(hint: Any, value: Any, where: str) -> Any:
    """`value` as this type. Raises Unfit if it is another one, DimoError for what is wrong within a dataclass."""
    kind, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise Unfit
        return read_dataclass(hint, Fields(value, where))  # pyright: ignore[reportArgumentType]
    if kind is Annotated:
        found = value_of(inner[0], value, where)
        if not all(bounds.low <= found <= bounds.high for bounds in inner[1:] if isinstance(bounds, Between)):
            raise Unfit
        return found
    if kind in (Union, UnionType):
        return None if value is None and NoneType in inner else value_of(alternative(hint), value, where)
    if kind is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in inner):
            raise Unfit
        return value
    if kind in (tuple, list):
        return kind(entries(hint, value, where))
    if kind is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise Unfit
        return {key: value_of(inner[1], entry, f"{where} '{key}'") for key, entry in value.items()}
    if hint not in PLAIN:
        raise TypeError(f"no value of {hint} is read from a file")
    if not is_finite(value) if hint is float else type(value) is not hint:
        raise Unfit
    if hint is int and abs(value) >= MOST:
        raise Unfit
    return hint(value)


def entries(hint: Any, value: Any, where: str) -> list[Any]:
    """The entries of a list, each as its type. Raises as `value_of`."""
    inner = get_args(hint)
    if not isinstance(value, list | tuple):
        raise Unfit
    hints = inner if get_origin(hint) is tuple and inner[-1] is not Ellipsis else inner[:1] * len(value)
    if len(hints) != len(value):
        raise Unfit
    names = [f" ({entry['name']})" if isinstance(entry, dict) and "name" in entry else "" for entry in value]
    return [
        value_of(kind, entry, f"{where} {i}{name}")
        for i, (kind, entry, name) in enumerate(zip(hints, value, names, strict=True))
    ]


def alternative(hint: Any) -> Any:
    """The type beside None in a union of the two."""
    (other,) = (kind for kind in get_args(hint) if kind is not NoneType)
    return other


def expected(hint: Any) -> str:
    """What a type wants, as the end of a sentence."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if is_dataclass(hint):
        return f"an object with the fields {', '.join(field.name for field in fields(hint) if field.init)}"
    if kind is Annotated:
        return " ".join([expected(inner[0]), *(str(bounds) for bounds in inner[1:] if isinstance(bounds, Between))])
    if kind in (Union, UnionType):
        return f"{expected(alternative(hint))}, or nothing"
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is dict:
        return f"an object with {expected(inner[1])} under each name"
    if kind is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}: {', '.join(map(expected, inner))}"
    return f"a list, each entry {expected(inner[0])}"
