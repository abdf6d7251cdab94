"""The figures of a space on datasets that are its own renders are known beforehand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dimo_ns.apps.evaluate import Protocol, evaluate_space
from dimo_ns.cli import main
from dimo_ns.data.dataset import Dataset
from dimo_ns.errors import DimoError
from dimo_ns.reports.space_page import draw_space_page
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace
from tests.apps.photographed import photograph
from tests.spaces import NAMES, a_motion, some_space
from tests.tiny_networks import save_networks

QUICK = Protocol(samples=6, interpolation_steps=3, fit=False, repeats=1)


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


@pytest.fixture(scope="module")
def dataset(space: MotionSpace, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photograph(space, tmp_path_factory.mktemp("data") / "thing")


def quiet(text: str) -> None:
    pass


def test_a_space_is_perfect_on_its_own_renders(space: MotionSpace, dataset: Dataset, tmp_path: Path):
    """What is left is the rounding to 8 bits, beyond 50 dB; tracks are those of the key points, which ride on
    themselves without error."""
    figures = evaluate_space(space, dataset, QUICK, say=quiet)
    found = figures["reconstruction"]
    assert found["psnr"] > 50
    assert set(found["by_motion"]) == set(NAMES)
    assert set(found["by_view"]) == {"test_00"}
    assert all(error < 1e-3 for error in found["track_error_percent"].values())
    assert set(figures["interpolation"]["pairs"]) == {f"{a} - {b}" for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]}
    assert len(figures["samples"]["distances"]) == 6
    assert {"held_out", "language", "clip", "fvd"} <= set(figures["skipped"])  # named, not passed over
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    with Image.open(draw_space_page(figures, tmp_path / "page.png")) as page:
        assert min(page.size) > 600


def test_a_scene_of_shorter_motions_is_posed_at_the_times_of_the_dataset(space: MotionSpace, dataset: Dataset):
    """Time goes from 0 to 1, however many frames a motion has."""
    shorter = replace(space.info, motions=tuple(a_motion(name, frames=5) for name in NAMES), frames=5)
    found = evaluate_space(MotionSpace(space.scene, shorter), dataset, QUICK, say=quiet)["reconstruction"]
    assert found["psnr"] > 50
    assert all(error < 1e-3 for error in found["track_error_percent"].values())


def test_the_same_protocol_gives_the_same_figures(space: MotionSpace, dataset: Dataset):
    first, second = (evaluate_space(space, dataset, replace(QUICK, repeats=0), say=quiet) for _ in range(2))
    for figures in (first, second):
        del figures["samples"]["seconds"]
    assert first == second


def test_pretrained_networks_find_a_spaces_own_renders_alike(space: MotionSpace, dataset: Dataset, tmp_path: Path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    folders = save_networks(tmp_path)
    space.save(tmp_path / FILE)
    protocol, out = tmp_path / "protocol.yaml", tmp_path / "out"
    protocol.write_text("{samples: 0, interpolation_steps: 0, fit: false, repeats: 0}")
    command = ["evaluate", str(tmp_path), "--data", str(dataset.root), "--out", str(out), "--protocol", str(protocol)]
    main([*command, "--clip", str(folders["clip"]), "--fvd", str(folders["video"])])
    figures = json.loads((out / "evaluation.json").read_text())
    assert figures["reconstruction"]["clip"] == pytest.approx(1, abs=1e-3)
    assert figures["reconstruction"]["fvd"] == pytest.approx(0, abs=1e-3)
    assert figures["reconstruction"]["fvd_videos"] == len(NAMES)
    assert not {"clip", "fvd"} & set(figures["skipped"])


def test_another_objects_dataset_is_refused(space: MotionSpace, tmp_path: Path):
    other = some_space()
    renamed = tuple(replace(m, name=f"other_{m.name}") for m in other.motions)
    other.info = replace(other.info, motions=renamed)
    with pytest.raises(DimoError, match="None of the scene's motions"):
        evaluate_space(space, photograph(other, tmp_path / "set"), QUICK, say=quiet)


def test_the_protocol_that_is_shipped_is_the_default():
    assert Protocol.read(Path(__file__).parents[2] / "configs" / "evaluate.yaml") == Protocol()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("samples: -1", "'samples' is -1"),
        ("sample: 3", "there is no field 'sample'; the fields are seed, samples"),
        ("- 3", "holds a list; expected an object with named fields"),
        ("samples: [", "is not valid YAML"),
        ("fit: 3", "'fit' is 3"),
    ],
)
def test_protocols_that_say_nothing_are_refused(text: str, complaint: str, tmp_path: Path):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(DimoError, match=complaint):
        Protocol.read(tmp_path / "p.yaml")


def test_the_command_writes_one_json_and_one_page(space: MotionSpace, dataset: Dataset, tmp_path: Path, capsys):
    space.save(tmp_path / FILE)
    (tmp_path / "p.yaml").write_text("samples: 4\ninterpolation_steps: 2\nfit: false\nrepeats: 1")
    command = ["evaluate", str(tmp_path), "--data", str(dataset.root), "--out", str(tmp_path / "e")]
    command += ["--protocol", str(tmp_path / "p.yaml")]
    main(command)
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == ["evaluation.json", "evaluation.png"]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "--overwrite" in capsys.readouterr().err
