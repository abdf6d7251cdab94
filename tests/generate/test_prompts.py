"""Prompts: golden lists from the templates, spread over parts and amplitudes; files with faults; labels that fit."""

import pytest
import yaml

from dimo_ns.errors import DimoError
from dimo_ns.generate import prompts
from dimo_ns.generate.prompts import (
    AMPLITUDES,
    CONFIGS,
    LABEL_TOKENS,
    SUFFIX,
    build,
    from_templates,
    read,
    shorten,
    tokens,
)

GOLDEN = {
    "biped": [
        "runs in place with high knees", "waves with one hand", "tilts its head to one side",
        "turns around once on the spot", "lunges forward with one leg", "breathes calmly",
        "walks in place with long strides",
    ],
    "rigid": [
        "jumps up and down", "turns to the left and right", "settles on the ground", "shakes strongly", "hops in place",
    ],
}  # fmt: skip


@pytest.mark.parametrize("category", GOLDEN)
def test_the_first_motions_of_a_category_are_these(category):
    expected = GOLDEN[category]
    assert [motion.label for motion in from_templates(category, len(expected))] == expected


def test_a_prompt_says_who_does_what_and_that_the_camera_is_still():
    (motion,) = from_templates("biped", 1, subject="a red robot")
    assert motion.prompt == f"A red robot runs in place with high knees. {SUFFIX}"
    assert motion.name == "runs_in_place_with_high_knees"
    assert from_templates("biped", 1)[0].prompt.startswith("A character on two legs runs")


@pytest.mark.parametrize("category", ["biped", "bird", "fish", "quadruped", "rigid", "soft", "vehicle"])
def test_templates_are_distinct_short_and_spread(category):
    assert category in prompts.categories()
    template = yaml.safe_load((CONFIGS / "prompts" / f"{category}.yaml").read_text())
    template.pop("subject")
    place = {phrase: (part, size) for part, sizes in template.items() for size in sizes for phrase in sizes[size]}
    motions = from_templates(category, 1000)
    assert len(motions) == sum(len(sizes[size]) for sizes in template.values() for size in AMPLITUDES)
    assert len(motions) >= (36 if category == "rigid" else 50)
    assert all(tokens(motion.label) <= LABEL_TOKENS for motion in motions)
    assert len({motion.name for motion in motions}) == len(motions)
    cells = 3 * len(template)
    assert len({place[motion.label] for motion in motions[:cells]}) == cells
    first = [place[motion.label] for motion in from_templates(category, len(template))]
    assert {part for part, _ in first} == set(template)
    assert len({size for _, size in first}) == 3


def test_another_category_is_refused():
    with pytest.raises(DimoError, match="no category 'dragon'; choose one of biped, bird"):
        from_templates("dragon", 3)


def test_a_file_with_empty_lines_remarks_and_repetitions(tmp_path):
    path = tmp_path / "motions.txt"
    path.write_text("# mine\nwalks\n\n  Walks. \njumps  high\n\nwalks fast\nthe walks\n")
    motions = read(path, "a fox")
    assert [motion.label for motion in motions] == ["walks", "jumps high", "walks fast"]
    assert motions[1].prompt == f"A fox jumps high. {SUFFIX}"


def test_a_file_that_was_written_is_read_back_the_same(tmp_path):
    motions = from_templates("bird", 30, "a wren")
    prompts.write(motions, tmp_path / "m.yaml")
    assert read(tmp_path / "m.yaml") == motions


def test_long_prompts_are_kept_and_labels_made_to_fit(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        yaml.safe_dump([{"label": "word " * 40, "prompt": "A fox  walks\nslowly."}, {"prompt": "It jumps."}])
    )
    first, second = read(path)
    assert first.prompt == f"A fox walks slowly. {SUFFIX}"
    assert tokens(first.label) <= LABEL_TOKENS
    assert second.label == "It jumps"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.yaml", b"motions: 3", "are not a list"),
        ("a.yaml", b"- [1, 2", "is not valid YAML"),
        ("a.yaml", b"- 17", "Motion 1 of .* is 17; expected a text"),
        ("a.yaml", b"- {label: 3}", "Motion 1"),
        ("a.txt", b"\xff\xfe\x00", "not text in UTF-8"),
        ("a.txt", b"\n\n# nothing\n", "names no motion"),
        ("a.txt", b"x" * 2**21, "larger than"),
    ],
)
def test_what_is_no_file_of_prompts_is_refused(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DimoError, match=complaint):
        read(path)
    with pytest.raises(DimoError, match="is missing"):
        read(tmp_path / "absent.txt")


def test_names_are_folders_of_a_dataset_whatever_the_label_is():
    from dimo_ns.files.fields import is_name

    motions = build(
        [{"label": label} for label in ("../up", "läuft", "löuft", "跳", "a/b\\c:d", "x" * 300)], "", "here"
    )
    assert len(motions) == 6
    assert len({motion.name for motion in motions}) == 6
    assert all(is_name(motion.name) for motion in motions)
    assert tokens(shorten("x" * 300)) <= LABEL_TOKENS
