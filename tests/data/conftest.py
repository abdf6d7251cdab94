"""The tiny dataset of these tests, fresh on disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.tiny_sets import write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of a tiny dataset in our layout."""
    return write_tiny(tmp_path / "disc").root


@pytest.fixture
def edit(tiny: Path) -> Callable[[str, Callable[[dict], object]], None]:
    """edit("cameras.json", change) rewrites a JSON file of the tiny dataset after change(content)."""

    def edit(name: str, change: Callable[[dict], object]) -> None:
        content = json.loads((tiny / name).read_text())
        change(content)
        (tiny / name).write_text(json.dumps(content))

    return edit
