"""Words find their motions: the mathematics against brute force, the rest with an encoder that counts words, the
figures with the real one."""

import copy
import hashlib
import importlib.util
import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from dimo_ns import cli
from dimo_ns.apps import language
from dimo_ns.apps.language import (
    Paraphrases,
    Projector,
    fit_projector,
    language_figures,
    load_encoder,
    load_projector,
    measure_projector,
    read_paraphrases,
    save_projector,
)
from dimo_ns.apps.language.file import FILE
from dimo_ns.apps.language.projector import left_out, rare_similarity, ridge, simplex
from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.latents import MotionLatents
from dimo_ns.data.creature.motions import CLIPS
from dimo_ns.errors import DimoError
from dimo_ns.space.motion_space import MotionSpace
from tests.spaces import KEYPOINTS, NAMES, a_motion, some_space

CONFIGS = Path(__file__).parents[2] / "configs" / "paraphrases"
PARAPHRASES = {
    "walk": Paraphrases(("walk stroll", "stroll slowly"), ("stroll",)),
    "run": Paraphrases(("run sprint", "sprint away"), ("sprint",)),
    "sit": Paraphrases(("sit seat", "take seat"), ("seat",)),
    "wave": Paraphrases(("wave greet", "greet friend"), ("greet",)),
}
"""In words that no two motions share."""


class WordCounter:
    """A random direction for every word but its plural s, and a text is the sum of its words."""

    name, revision = "word-counter", "1"

    def __call__(self, texts):
        rows = [sum(self.direction(word.rstrip("s")) for word in text.lower().split()) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)

    @staticmethod
    @cache
    def direction(word: str) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
        return torch.nn.functional.normalize(torch.randn(512, generator=torch.Generator().manual_seed(seed)), dim=0)


@pytest.fixture
def space(tmp_path: Path) -> MotionSpace:
    space = some_space()
    space.source = tmp_path
    space.info = replace(space.info, dataset_hash="abc")
    return space


@pytest.fixture
def projector(space: MotionSpace) -> Projector:
    return fit_projector(space, PARAPHRASES, WordCounter())


def space_of(names: list[str], dim: int, source: Path | None = None) -> MotionSpace:
    """A space of so many motions with random latents; nothing of what it makes is asked for."""
    space = some_space()
    scene = copy.deepcopy(space.scene)
    scene.decoder = LowRankDecoder(KEYPOINTS, dim, rank=6, width=24)
    scene.latents = MotionLatents(len(names), dim)
    scene.latents.mu.data = torch.randn(len(names), dim, generator=torch.Generator().manual_seed(0))
    return MotionSpace(scene, replace(space.info, motions=tuple(map(a_motion, names))), source)


# --- the mathematics ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.01, 0.3, 10.0])
def test_leaving_each_row_out_in_closed_form_is_fitting_without_it(strength: float):
    x, y = torch.randn(12, 30), torch.rand(12, 4, dtype=torch.float64)
    found = left_out(x, y, strength)
    # Both solve with K = rows rows^T + strength, whose error is n eps cond(K) for answers of size 1 (Higham 2002, 7.1);
    # the closed form then divides by 1 - hat_ii, which is small where so many dimensions fit every row.
    rows = x.double() - x.double().mean(0)
    gram = rows @ rows.T
    kernel = gram + strength * torch.eye(len(x), dtype=gram.dtype)
    left = 1 - (kernel.inverse() @ gram).diagonal() - 1 / len(x)
    bound = len(x) * torch.finfo(gram.dtype).eps * float(torch.linalg.cond(kernel) / left.min())
    assert bound < 1e-5  # the test says something
    for row in range(len(x)):
        others = torch.arange(len(x)) != row
        slope, offset = ridge(x[others], y[others], strength)
        torch.testing.assert_close(found[row], x[row].double() @ slope + offset, atol=bound, rtol=0)


def test_ridge_is_least_squares_with_rows_that_pull_the_slope_to_zero():
    x, y, strength = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64), 0.7
    rows = torch.cat([torch.cat([x, torch.ones(9, 1)], 1), strength**0.5 * torch.eye(6, dtype=torch.float64)[:5]])
    expected = torch.linalg.lstsq(rows, torch.cat([y, torch.zeros(5, 3, dtype=torch.float64)])).solution
    slope, offset = ridge(x, y, strength)
    torch.testing.assert_close(torch.cat([slope, offset[None]]), expected)


def test_projecting_onto_the_simplex_takes_one_number_off_all_and_cuts_at_zero():
    scores = 2 * torch.randn(50, 6, dtype=torch.float64)
    found = simplex(scores)
    low, high = scores.min(1).values - 1, scores.max(1).values
    for _ in range(60):  # by bisection for the number
        middle = (low + high) / 2
        above = (scores - middle[:, None]).clamp(min=0).sum(1) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    torch.testing.assert_close(found, (scores - low[:, None]).clamp(min=0), atol=1e-9, rtol=0)
    torch.testing.assert_close(simplex(found), found)
    known = simplex(torch.tensor([[0.6, 0.6, -1.0], [3.0, 1.0, 2.0]]))
    torch.testing.assert_close(known, torch.tensor([[0.5, 0.5, 0], [1, 0, 0]]))  # a lead of 1 is everything


def test_rare_similarity_looks_at_texts_of_the_same_motion_alone():
    """Four texts on a circle, two of each motion, 60 and 90 degrees apart; the motions nearly coincide."""
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 1.0, 91.0]))
    embeddings = torch.stack([angles.cos(), angles.sin()], 1)
    labels = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]]).double()
    assert rare_similarity(embeddings, labels) == pytest.approx(0.0, abs=1e-6)  # cos 90, of two of the four
    assert rare_similarity(embeddings[:3], labels[:3]) == pytest.approx(0.5)  # cos 60; the third has no other


# --- what words mean ------------------------------------------------------------------------------------------------


def test_words_of_one_motion_give_its_latent(space: MotionSpace, projector: Projector):
    texts = ["stroll slowly", "Sprint away", "sit", "wave greet"]
    torch.testing.assert_close(projector.latent(texts), space.mu, atol=1e-5, rtol=0)
    assert [projector.ask(text).motions for text in texts] == [[(name, pytest.approx(1))] for name in NAMES]


def test_words_of_two_motions_land_between_them():
    space = space_of(list(NAMES), 32)
    projector = fit_projector(space, PARAPHRASES, WordCounter())
    z = projector.latent(["stroll sprint"])[0]
    found = dict(projector.ask("stroll sprint").motions)
    assert set(found) == {"walk", "run"}
    assert found["walk"] == pytest.approx(0.5, abs=0.15)
    torch.testing.assert_close(z, found["walk"] * space.mu[0] + found["run"] * space.mu[1])
    distances = (z - space.mu).norm(dim=1)
    assert distances[:2].max() < distances[2:].min()


def test_names_alone_are_enough(tmp_path: Path):
    names = ["lift_right_hand", "sit-down", "3"]
    space = space_of(names, 5)
    projector = fit_projector(space, {}, WordCounter())
    assert projector.texts == ["lift right hand", "sit down", "3"]
    for name, text in zip(names, ("lift right hand", "SIT down", "3"), strict=True):
        assert projector.ask(text).motions[0] == (name, pytest.approx(1, abs=0.1))
    alone = space_of(["turn"], 5)
    torch.testing.assert_close(fit_projector(alone, {}, WordCounter()).latent(["whatever"]), alone.mu)


def test_the_nearest_known_texts_come_with_their_motion_and_similarity(projector: Projector):
    (first, motion, similarity), (second, _, less), *others = projector.nearest("stroll  slowly")
    assert (first, motion, similarity) == ("stroll slowly", "walk", pytest.approx(1))
    assert (second, less) == ("walk stroll", pytest.approx(0.5, abs=0.15))
    assert len(others) == 3


def test_words_far_from_everything_known_are_said_to_be_so(projector: Projector):
    assert projector.ask("stroll").is_known
    assert not projector.ask("recipe for soup").is_known


@pytest.mark.parametrize(
    ("text", "complaint"), [("", "is empty"), (" \n\t", "is empty"), ("so " * 400, "1199 letters")]
)
def test_texts_that_say_nothing_or_too_much_are_refused(projector: Projector, text: str, complaint: str):
    with pytest.raises(DimoError, match=complaint):
        projector.latent(["walk", text])
    with pytest.raises(DimoError, match=complaint):
        projector.nearest(text)


def test_paraphrases_of_an_unknown_motion_are_refused_with_the_nearest_one(space: MotionSpace):
    with pytest.raises(DimoError, match="no motion 'wlak'; did you mean 'walk'"):
        fit_projector(space, {"wlak": Paraphrases(("stroll",))}, WordCounter())


# --- the file -------------------------------------------------------------------------------------------------------


def test_what_is_loaded_says_the_same_as_what_was_saved(space: MotionSpace, projector: Projector):
    path = save_projector(projector)
    assert path == space.source / FILE
    loaded = load_projector(space, encoder=WordCounter())
    texts = ["stroll sprint", "greet", "something else"]
    torch.testing.assert_close(loaded.latent(texts), projector.latent(texts))
    for text in texts:
        for found, expected in zip(loaded.nearest(text), projector.nearest(text), strict=True):
            assert found == (*expected[:2], pytest.approx(expected[2], abs=1e-5))
    assert loaded.threshold == projector.threshold
    assert list(space.source.iterdir()) == [path]


def test_motions_are_known_by_name_in_whatever_order_they_are(space: MotionSpace, projector: Projector):
    save_projector(projector)
    order = [2, 0, 3, 1]
    scene = copy.deepcopy(space.scene)
    scene.latents.mu.data = space.mu[order]
    info = replace(space.info, motions=tuple(space.motions[i] for i in order))
    shuffled = MotionSpace(scene, info, space.source)
    loaded = load_projector(shuffled, encoder=WordCounter())
    texts = ["stroll", "sprint", "seat greet"]
    torch.testing.assert_close(loaded.latent(texts), projector.latent(texts))
    assert loaded.ask("greet").motions[0][0] == "wave"


def test_a_projector_of_another_scene_or_encoder_is_refused(space: MotionSpace, projector: Projector):
    path = save_projector(projector)
    other = MotionSpace(space.scene, replace(space.info, dataset_hash="def"), space.source)
    with pytest.raises(DimoError, match=f"belongs to another scene; fit it again: dimo text fit {space.source}"):
        load_projector(other, encoder=WordCounter())
    renamed = replace(space.info, motions=tuple(replace(m, name=f"{m.name}ing") for m in space.motions))
    with pytest.raises(DimoError, match="another scene"):
        load_projector(MotionSpace(space.scene, renamed), path, WordCounter())

    Other = type("Other", (WordCounter,), {"direction": staticmethod(lambda word: WordCounter.direction(f"{word}!"))})
    with pytest.raises(DimoError, match=r"another text encoder \(word-counter, 1\)"):
        load_projector(space, encoder=Other())


def test_without_a_projector_the_command_to_fit_one_is_said(space: MotionSpace):
    with pytest.raises(DimoError, match=f"first: dimo text fit {space.source}"):
        load_projector(space)


def rewrite(path: Path, change) -> None:
    """The same file with `change` applied to its tensors and to what it says."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as file:
        tensors, about = {"embeddings": file.get_tensor("embeddings")}, json.loads(file.metadata()["about"])
    change(tensors, about)
    save_file(tensors, path, metadata={"about": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda tensors, about: about.update(format="other"), "not a projector that this version"),
        (lambda tensors, about: about.update(version=99), "not a projector that this version"),
        (lambda tensors, about: about.update(texts=3), "'texts' is 3; expected a list of texts"),
        (lambda tensors, about: about.pop("motions"), "'motions' is missing"),
        (lambda tensors, about: about["texts"].pop(), "does not fit together"),
        (lambda tensors, about: about["motions"].__setitem__(0, "fly"), "does not fit together"),
        (lambda tensors, about: about.update(strength=-1.0), "does not fit together"),
        (lambda tensors, about: about.update(sharpness=None), "'sharpness' is null"),
        (lambda tensors, about: tensors["embeddings"].fill_(float("nan")), "does not fit together"),
        (lambda tensors, about: tensors.update(embeddings=tensors["embeddings"][0].clone()), "does not fit together"),
        (lambda tensors, about: tensors.update(embeddings=torch.tensor(1.0)), "does not fit together"),
        (
            lambda tensors, about: tensors.update(embeddings=tensors["embeddings"][:, :9].clone()),
            "another text encoder",
        ),
        (lambda tensors, about: tensors.update(other=tensors.pop("embeddings")), "is not a projector of dimo"),
    ],
)
def test_a_projector_that_lies_is_refused(space: MotionSpace, projector: Projector, change, complaint: str):
    rewrite(save_projector(projector), change)
    with pytest.raises(DimoError, match=complaint):
        load_projector(space, encoder=WordCounter())


@pytest.mark.parametrize("keep", [0, 5, 500, 20_000])
def test_a_projector_that_was_cut_off_is_refused(space: MotionSpace, projector: Projector, keep: int):
    path = save_projector(projector)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DimoError, match="fit it again"):
        load_projector(space, encoder=WordCounter())


def test_what_cannot_be_written_is_said_and_leaves_nothing_behind(projector: Projector, tmp_path: Path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(DimoError, match=r"could not be written to .*taken \(Is a directory\)"):
        save_projector(projector, tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# --- paraphrases ----------------------------------------------------------------------------------------------------


def test_paraphrases_are_read_as_they_stand_even_of_motions_called_yes_and_no(tmp_path: Path):
    path = tmp_path / "words.yaml"
    path.write_text("no:\n  train: [refuse, off, 12]\nyes:\n  train:\n    -  nod\n      twice\n  held_out: [true]\n")
    assert read_paraphrases(path) == {
        "no": Paraphrases(("refuse", "off", "12")),
        "yes": Paraphrases(("nod twice",), ("true",)),
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds nothing; expected an object"),
        ("{}", "not a mapping"),
        ("- walk", "holds a list; expected an object"),
        ("{[a]: {train: [x]}}", "not a mapping|not valid YAML"),
        ("walk: [", "not valid YAML"),
        ("walk: {train: [\0]}", "not valid YAML"),
        (b"walk: {train: [\xff\xfe]}", "not valid YAML"),
        ("[" * 100_000, "not valid YAML"),
        ("walk: stroll", "'walk' is something else than 'train' and 'held_out'"),
        ("walk: {trian: [stroll]}", "'walk' is something else"),
        ("walk: {train: stroll}", "'walk': 'train' is not a list of texts"),
        ("walk: {train: [[stroll]]}", "'train' is not a list of texts"),
        ("walk: {train: []}", "'walk' has no texts to train on"),
        ("walk: {held_out: [stroll]}", "'walk' has no texts to train on"),
        ("walk: {train: [' ']}", "'walk': a text of 'train' is empty"),
        ("walk: {train: [go], held_out: [Go]}", "'Go' stands there twice"),
        ("walk: {train: [go]}\nrun: {train: [go]}", "'go' stands there twice"),
        ("#" * 2**18 + "#", "larger than 262,144 bytes"),
    ],
)
def test_paraphrases_of_another_form_are_refused(tmp_path: Path, content: str | bytes, complaint: str):
    path = tmp_path / "words.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DimoError, match=complaint):
        read_paraphrases(path)


def test_paraphrases_that_are_not_there_are_said(tmp_path: Path):
    with pytest.raises(DimoError, match=r"absent\.yaml is missing"):
        read_paraphrases(tmp_path / "absent.yaml")


# --- figures --------------------------------------------------------------------------------------------------------


def test_figures_count_the_texts_that_find_their_motion(space: MotionSpace):
    """Of eight held-out texts six are in words of their motion, one in those of another, one in none that is known."""
    extra = {"walk": ("slowly stroll", "fast sprint"), "run": ("away sprint", "recipe for soup")}
    paraphrases = {
        name: Paraphrases(entry.train, entry.held_out + extra.get(name, ())) for name, entry in PARAPHRASES.items()
    }
    projector = fit_projector(space, paraphrases, WordCounter())
    found = measure_projector(projector, paraphrases)
    assert found["texts"] == 8
    assert found["warned"] == 1 / 8
    soup = (projector.latent(["recipe for soup"]) - space.mu).norm(dim=1)
    assert found["top_1"] == (6 + int(soup.argmin() == 1)) / 8
    astray = (space.mu[1] - space.mu).norm(dim=1)  # from run, where "fast sprint" lands
    third = int(astray[0] <= astray.sort().values[2]) + int(soup[1] <= soup.sort().values[2])
    assert found["top_3"] == (6 + third) / 8
    assert found["known_texts"] == 4 * 4
    assert language_figures(space, paraphrases, WordCounter()) == found


def test_mixtures_of_clear_words_land_between_in_latents_and_in_motion(projector: Projector):
    found = measure_projector(projector, PARAPHRASES)
    assert (found["mixtures"], found["mixtures_in_motion"]) == (1, 1)
    assert found["norm"] == pytest.approx(1, abs=1e-4)


def test_figures_want_texts_that_were_held_out(projector: Projector):
    with pytest.raises(DimoError, match="No paraphrase was held out"):
        measure_projector(projector, {"walk": Paraphrases(("stroll",))})
    with pytest.raises(DimoError, match="'Walk' of 'walk' is held out and known"):
        measure_projector(projector, {"walk": Paraphrases(("stroll",), ("Walk",))})


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(space: MotionSpace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A scene on disk, for commands that count words."""

    monkeypatch.setattr(language, "load_encoder", lambda *_: WordCounter())
    monkeypatch.setattr("dimo_ns.apps.language.file.load_encoder", lambda *_: WordCounter())
    return space.save(tmp_path / "scene.safetensors").parent


def test_the_commands_fit_and_ask(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    prompts, out = tmp_path / "words.yaml", tmp_path / "out"
    prompts.write_text("walk: {train: [walk stroll, stroll slowly], held_out: [stroll]}")
    cli.main(["text", "fit", str(saved), "--prompts", str(prompts)])
    said = capsys.readouterr().out
    assert "4 motions, 10 texts" in said
    assert "so less well: run, sit, wave." in said
    assert "Of 1 held-out texts, 100.0% find their motion first" in said
    with pytest.raises(SystemExit):
        cli.main(["text", "fit", str(saved)])
    assert "text.safetensors is there already" in capsys.readouterr().err
    long = "walk and stroll " * 3
    cli.main(["text", str(saved), long, "--out", str(out)])
    said = capsys.readouterr().out
    assert f"{long.strip()}: walk " in said
    (clip,) = json.loads((out / "clips.json").read_text())["clips"]
    assert (clip["text"], clip["known"]) == (long.strip(), True)
    assert {"clips.mp4", "latents.safetensors", "trajectories.npz"} < {path.name for path in out.iterdir()}
    numbers = [float(number) for number in said.split("latent:")[1].split("\n")[0].split()]
    expected = load_projector(MotionSpace.open(saved)).latent([long])[0].cpu()
    torch.testing.assert_close(torch.tensor(numbers), expected, atol=1e-4, rtol=0)
    cli.main(["text", "ask", str(saved), "recipe for soup"])
    assert "Far from everything" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "complaint"), [(" ", "The text is empty"), ("stroll", "first: dimo text fit")])
def test_what_cannot_be_asked_is_one_line_and_exit_status_2(saved: Path, capsys, words: str, complaint: str):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["text", str(saved), words])
    assert exit_info.value.code == 2
    assert complaint in capsys.readouterr().err


# --- the real encoder -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["weights", "library"])
def test_a_missing_encoder_names_what_installs_it(monkeypatch: pytest.MonkeyPatch, missing: str):
    if missing == "weights":
        monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    else:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(DimoError, match=r"pip install 'dimo-ns\[text\]'"):
        load_encoder()


def test_an_encoder_that_is_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with pytest.raises(DimoError, match=r"The text encoder '\.\./up' cannot be loaded"):
        load_encoder("../up")
    assert caplog.records == []  # the sentence is all
    (tmp_path / "model").mkdir()
    with pytest.raises(DimoError, match=r"The text encoder '.*model' cannot be loaded"):
        load_encoder(str(tmp_path / "model"))


@pytest.fixture(scope="module")
def encoder() -> language.Encoder:
    return load_encoder()


def test_the_default_encoder_gives_unit_vectors_by_meaning(encoder: language.Encoder):
    found = encoder(["a robot walking", "somebody is taking a stroll", "a recipe for soup"])
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    similar = found @ found.T
    assert similar[0, 1] > 2 * similar[[0, 1], 2].max()
    torch.testing.assert_close(encoder(["a robot walking"])[0], found[0], atol=1e-5, rtol=0)


def test_the_paraphrases_of_the_sample_are_of_its_motions():
    assert list(read_paraphrases(CONFIGS / "sample.yaml")) == [clip.name for clip in CLIPS if clip.split == "train"]


def test_held_out_words_find_the_robots_motions(encoder: language.Encoder):
    """Half of the texts: 80, which share hardly a word with what is learned; measured 68 % first, 80 % among the first
    three, with neither prompts nor the other half to learn from; by chance 10 % and 30 %."""
    paraphrases = {
        name: Paraphrases(entry.train[::2], entry.held_out[::2])
        for name, entry in read_paraphrases(CONFIGS / "robot.yaml").items()
    }
    found = language_figures(space_of(list(paraphrases), 32), paraphrases, encoder)
    assert found["texts"] == 80
    assert found["top_1"] > 0.6
    assert found["top_3"] > 0.72
    assert found["mixtures"] > 0.5  # by chance 2 %
    assert found["norm"] > 0.5  # a mixture of two halves has 0.7, the mean of all 0.3
