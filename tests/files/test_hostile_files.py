"""Files that were made to do harm: each is refused in a sentence, at once, and nothing of it is run or kept."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import Loader, is_name, parse_yaml, read_bytes, read_json, read_yaml
from dimo_ns.files.opening import expanded, regular, resolved
from tests.hostile_texts import TEXTS


@pytest.fixture(autouse=True)
def quick_and_small() -> Iterator[None]:
    """The refusal comes soon, and without much memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KB


def endless(folder: Path) -> Iterator[tuple[Path, str]]:
    """Paths whose content has no end, or far too much of it, and what is said of each."""
    os.mkfifo(folder / "pipe")
    yield folder / "pipe", "is a pipe, a socket or a device"
    (folder / "zero").symlink_to("/dev/zero")
    yield folder / "zero", "is a pipe, a socket or a device"
    with (folder / "sparse").open("wb") as file:
        file.truncate(200 * 2**30)
    yield folder / "sparse", "is larger than"
    yield folder, "is a folder"


def test_paths_that_lead_nowhere_are_refused(tmp_path: Path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(DimoError, match="leads in a circle"):
        resolved(tmp_path / "circle" / "x")
    for path in (expanded, resolved):
        with pytest.raises(DimoError, match="no home of the user that ~nosuchuser/x begins with"):
            path("~nosuchuser/x")
    assert resolved("~") == Path.home().resolve()


def test_what_has_no_end_is_not_opened(tmp_path: Path):
    for path, words in endless(tmp_path):
        for opened in (lambda path: regular(path, 2**20), lambda path: read_bytes(path, 2**20), read_json, read_yaml):
            with pytest.raises(DimoError, match=words):
                opened(path)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no /proc")
def test_a_file_that_says_it_is_empty_is_not_cut_off():
    with pytest.raises(DimoError, match="larger than 100 bytes"):
        read_bytes(Path("/proc/self/maps"), 100)


@pytest.mark.parametrize("name", ["absent", "a/b\0c", "x" * 300, "\ud800"])
def test_what_is_not_there_cannot_be_read(tmp_path: Path, name: str):
    with pytest.raises(DimoError, match=r"is missing|cannot be read"):
        read_bytes(tmp_path / name, 100)


def bomb(levels: int, merged: bool) -> str:
    """Lists of ten times the list before, or mappings that take in ten times the mapping before."""
    if merged:
        rows = [
            "m0: &m0 {a: 1}",
            *(f"m{i}: &m{i} {{<<: [{', '.join(10 * [f'*m{i - 1}'])}]}}" for i in range(1, levels)),
        ]
    else:
        rows = ["m0: &m0 [1]", *(f"m{i}: &m{i} [{', '.join(10 * [f'*m{i - 1}'])}]" for i in range(1, levels))]
    return "\n".join(rows)


YAML = {
    "aliases": (bomb(12, False), "1,000,000 values"),
    "merges": (bomb(12, True), "1,000,000 values"),
    "circle": ("a: &a [*a]", "50 deep"),
    "circle of names": ("a: &a {b: *a}", "50 deep"),
    "deep": ("[" * 60 + "]" * 60, "50 deep"),
    "deeper": ("[" * 5000, "not valid YAML"),
    "binary": ("a: !!binary aGVsbG8=", "holds a bytes"),
    "set": ("!!set {a, b}", "holds a set"),
    "pairs": ("a: !!pairs [b: 1]", "holds a tuple"),
    "wrong date": ("a: !!timestamp 2001-99-99", "not valid YAML"),
    "date": ("a: !!timestamp 2001-01-01", "holds a date"),
    "truth as a name": ("yes: 1", "has true as a name"),
    "number as a name": ("1: 1", "has 1 as a name"),
    "nothing as a name": ("~: 1", "has null as a name"),
    "list as a name": ("? [a]\n: 1", "not valid YAML"),
    "surrogate": ('a: "\\ud800"', "not valid Unicode"),
    "call": ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    "long number": ("a: " + "9" * 5000, "not valid YAML"),
    "zero byte": ("a: \0", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "words"), YAML.values(), ids=YAML.keys())
def test_yaml_that_is_more_than_plain_values_is_refused(text: str, words: str):
    with pytest.raises(DimoError, match=words) as refused:
        parse_yaml(text, "hostile.yaml")
    assert "hostile.yaml" in str(refused.value)
    assert len(str(refused.value)) < 600


def test_dates_and_merges_are_texts():
    assert parse_yaml("- 2001-99-99\n- 2001-01-01\n- <<: 1", "x") == ["2001-99-99", "2001-01-01", {"<<": 1}]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_read_as_they_were_written(text: str):
    assert yaml.load(yaml.safe_dump([text]), Loader) == [text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' * 60 + "1" + "}" * 60, "50 deep"),
        ('{"a": "\\ud800"}', "not valid Unicode"),
        ('{"\\udfff": 1}', "not valid Unicode"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        (b"\xff\xfe{", "not valid JSON"),
        ("[1]", "expected an object"),
    ],
)
def test_json_that_is_more_than_a_plain_object_is_refused(tmp_path: Path, text: str | bytes, words: str):
    path = tmp_path / "hostile.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DimoError, match=words):
        read_json(path)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "c:d", "a\nb", "a\0", "a\x7f", "a\ud800", "x" * 201, "\U0001f98a" * 51]
)
def test_what_no_folder_can_be_called_is_no_name(name: str):
    assert not is_name(name)


@pytest.mark.parametrize("name", ["walk", "a b", "<b>", "{x}", "...", "\U0001f98a" * 50, "x" * 200])
def test_what_a_folder_can_be_called_is_a_name(tmp_path: Path, name: str):
    assert is_name(name)
    (tmp_path / name).mkdir()
