"""Settings in YAML become frozen dataclasses; whatever does not fit is named with file, key and what was expected."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from dimo_ns.errors import DimoError
from dimo_ns.files import fields
from dimo_ns.files.dataclass_fields import Between, read_dataclass
from dimo_ns.files.fields import read_yaml


@dataclass(frozen=True)
class Weights:
    l1: Annotated[float, Between(0)] = 0.5
    kl: float = 0.0


@dataclass(frozen=True)
class Phase:
    name: str
    mover: Literal["rest", "table"]
    steps: Annotated[int, Between(0)] = 10
    sizes: tuple[tuple[float, int], ...] = ((0.0, 256),)
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    weights: Weights = Weights()
    loop: bool = False


@dataclass(frozen=True)
class Recipe:
    phases: tuple[Phase, ...]
    rank: int | None = 96
    tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        if not self.phases:
            raise ValueError("a recipe needs a phase")


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_dataclass(Recipe, read_yaml(path))


def test_what_is_given_is_taken_and_the_rest_is_the_dataclass_s_own(tmp_path: Path):
    found = read(
        tmp_path,
        """
rank: null
tags: [a, b]
phases:
- {name: first, mover: rest, weights: {kl: 1e-5}}
- {name: second, mover: table, steps: 0, loop: true, sizes: [[0, 64], [0.5, 128]], rates: {means: [1, 1.0e-3]}}
""",
    )
    first = Phase("first", "rest", weights=Weights(l1=0.5, kl=1e-5))  # YAML 1.1 would take 1e-5 for a text
    second = Phase("second", "table", 0, ((0.0, 64), (0.5, 128)), {"means": (1.0, 0.001)}, loop=True)
    assert found == Recipe((first, second), None, ["a", "b"])
    assert type(found.phases[1].sizes[0][0]) is float  # a whole number where any number may stand


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("phases: [{name: a, mover: rest, steps: -1}]", r"phases 0 \(a\): 'steps' is -1; .* number of at least 0"),
        ("phases: [{name: a, mover: rest, steps: 1.5}]", r"'steps' is 1\.5; expected a whole number"),
        ("phases: [{name: a, mover: rest, steps: true}]", r"'steps' is true; expected a whole number"),
        ("phases: [{name: a}]", r"phases 0 \(a\): 'mover' is missing; expected 'rest' or 'table'"),
        ("phases: [{name: a, mover: rset}]", r"'mover' is \"rset\"; expected 'rest' or 'table'"),
        ("phases: [{name: 5, mover: rest}]", r"'name' is 5; expected a text"),
        ("phases: [{name: a, mover: rest, loop: 1}]", r"'loop' is 1; expected true or false"),
        ("phases: [{name: a, mover: rest, weights: {l2: 1}}]", r"\(a\), weights: there is no field 'l2'.* l1, kl"),
        ("phases: [{name: a, mover: rest, weights: {l1: -0.1}}]", r"weights: 'l1' is -0\.1; .* of at least 0"),
        ("phases: [{name: a, mover: rest, weights: {kl: .nan}}]", r"weights: 'kl' is NaN; expected a finite number"),
        ("phases: [{name: a, mover: rest, weights: 5}]", r"'weights' is 5; expected an object with the fields l1, kl"),
        ("phases: [{name: a, mover: rest, sizes: [[0, 1, 2]]}]", r"'sizes' is .* each entry a list of 2"),
        ("phases: [{name: a, mover: rest, rates: {means: 1}}]", r"'rates' is .* under each name"),
        ("phases: [3]", r"'phases' is \[3\]; expected a list, each entry an object with the fields name, mover"),
        ("phases: {a: 1}", "'phases' is .* expected a list"),
        ("phases: []", r"recipe\.yaml: a recipe needs a phase\."),
        ("steps: 3", r"recipe\.yaml: there is no field 'steps'; the fields are phases, rank, tags\."),
        ("rank: 3", r"recipe\.yaml: 'phases' is missing; expected a list"),
        ("{phases: [{name: a, mover: rest}], rank: few}", r"'rank' is \"few\"; expected a whole number, or nothing"),
        ("phases: 2020-01-01", r"'phases' is \"2020-01-01\"; expected a list"),
        ("- a", r"recipe\.yaml holds a list; expected an object"),
        ("", r"recipe\.yaml holds nothing; expected an object"),
        ("a: b: c", r"recipe\.yaml is not valid YAML: mapping values"),
        ("a: !!python/object/apply:os.getcwd []", r"not valid YAML: could not determine a constructor"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_a_misfit_is_named_with_its_place_and_what_was_expected(tmp_path: Path, text: str, words: str):
    with pytest.raises(DimoError, match=words):
        read(tmp_path, text)


def test_a_file_is_missing_a_folder_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DimoError, match=r"absent\.yaml is missing"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(DimoError, match="is a folder; expected a regular file"):
        read_yaml(tmp_path)
    monkeypatch.setattr(fields, "MAX_YAML_BYTES", 100)
    with pytest.raises(DimoError, match="larger than 100 bytes"):
        read(tmp_path, "# " + "x" * 200)
