"""How much of a space is measured: a YAML file like configs/evaluate.yaml."""

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Fields

MAX_PROTOCOL_BYTES = 2**16


@dataclass(frozen=True)
class Protocol:
    """What is measured, and how much of it."""

    seed: int = 0
    samples: int = 256
    """Drawn from the fitted density; 0: none."""
    temperature: float = 1.0
    interpolation_steps: int = 20
    """Between every two training motions; 0: none."""
    fit: bool = True
    """Whether held-out motions are fitted: from all training views, and from one."""
    adapt_rank: int = 16
    single_view: str = ""
    """The view of the fits from one view; empty: the first training view."""
    repeats: int = 20
    """How often each time is measured; 0: not at all."""

    @staticmethod
    def read(path: Path) -> "Protocol":
        """From YAML. Raises DimoError."""
        try:
            with path.open("rb") as file:
                text = file.read(MAX_PROTOCOL_BYTES)
            values = yaml.safe_load(text)
        except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise DimoError(f"The protocol {path} cannot be read ({error}).") from error
        if not isinstance(values, dict):
            raise DimoError(f"The protocol {path} holds no fields; expected lines like 'samples: 256'.")
        known = {field.name: field.default for field in fields(Protocol)}
        unknown = [name for name in values if name not in known]
        if unknown:
            raise DimoError(f"The protocol {path} has '{unknown[0]}'; the fields are {', '.join(known)}.")
        given = Fields(values, f"The protocol {path}")
        return Protocol(
            seed=given.integer("seed", 0, 2**31, 0),
            samples=given.integer("samples", 0, 100_000, 256),
            temperature=given.number("temperature", 1.0),
            interpolation_steps=given.integer("interpolation_steps", 0, 10_000, 20),
            fit=given.flag("fit", True),
            adapt_rank=given.integer("adapt_rank", 0, 1024, 16),
            single_view=given.text("single_view", ""),
            repeats=given.integer("repeats", 0, 10_000, 20),
        )
