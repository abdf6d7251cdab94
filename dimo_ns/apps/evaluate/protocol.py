"""How much of a space is measured: a YAML file like configs/evaluate.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dimo_ns.files.dataclass_fields import Between, read_dataclass
from dimo_ns.files.fields import read_yaml


@dataclass(frozen=True)
class Protocol:
    """What is measured, and how much of it."""

    seed: Annotated[int, Between(0, 2**31)] = 0
    samples: Annotated[int, Between(0, 100_000)] = 256
    """Drawn from the fitted density; 0: none."""
    temperature: float = 1.0
    interpolation_steps: Annotated[int, Between(0, 10_000)] = 20
    """Between every two training motions; 0: none."""
    fit: bool = True
    """Whether held-out motions are fitted: from all training views, and from one."""
    adapt_rank: Annotated[int, Between(0, 1024)] = 16
    single_view: str = ""
    """The view of the fits from one view; empty: the first training view."""
    repeats: Annotated[int, Between(0, 10_000)] = 20
    """How often every time is measured; 0: not at all."""

    @staticmethod
    def read(path: Path) -> "Protocol":
        """Reads a YAML file; what it leaves out is as above. Raises DimoError."""
        return read_dataclass(Protocol, read_yaml(path))
