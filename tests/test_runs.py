"""What a folder is opened as: a scene before a run, and never as a program."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dimo_ns import cli
from dimo_ns.config import dimo_laptop
from dimo_ns.errors import DimoError
from dimo_ns.runs import CONFIG, export_scene, load_run, newest_step, open_space
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.training import checkpoint
from tests.spaces import NAMES, some_space


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scene of step 500 beside a run's config.yml and its checkpoints."""
    space = some_space()
    MotionSpace(space.scene, replace(space.info, step=500)).save(tmp_path / FILE)
    (tmp_path / CONFIG).write_text(yaml.dump(dimo_laptop.config))
    (tmp_path / "nerfstudio_models").mkdir()
    (tmp_path / "nerfstudio_models" / "step-000000500.ckpt").touch()
    return tmp_path


def test_a_scene_is_opened_before_a_run_and_its_configuration_is_not_looked_at(folder: Path):
    (folder / CONFIG).write_text(f"!!python/object/apply:os.system ['touch {folder}/ran']")
    assert open_space(folder).names == list(NAMES)
    with pytest.raises(DimoError, match=r"names os\.system"):
        open_space(folder / CONFIG)
    assert not (folder / "ran").exists()


def test_a_scene_that_is_older_than_its_run_is_not_shown_for_it(folder: Path):
    (folder / "nerfstudio_models" / "step-000000900.ckpt").touch()
    (folder / "nerfstudio_models" / "step-x.ckpt").touch()
    assert newest_step(folder) == 900
    with pytest.raises(DimoError, match=r"step 500, and its run .* to step 900; write it anew with 'dimo export"):
        open_space(folder)


@pytest.mark.parametrize("name", [FILE, CONFIG])
def test_a_pipe_in_a_run_is_not_passed_over(folder: Path, name: str):
    """As if there were no such file: then something else would be opened, or said to be missing."""
    (folder / FILE).unlink()
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(DimoError, match=f"{name} is a pipe"):
        open_space(folder)


def test_both_files_of_a_scene_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("dimo_ns.runs.open_run", lambda _: some_space())
    cli.main(["export", "scene", str(folder), "-o", str(folder / "out")])
    assert capsys.readouterr().out.splitlines() == [str(folder / "out" / name) for name in (FILE, "scene.json")]


def test_a_scene_is_not_replaced_unasked(folder: Path):
    before = (folder / FILE).read_bytes()
    with pytest.raises(DimoError, match=r"scene\.safetensors is there already.*--overwrite"):
        export_scene(folder)
    assert (folder / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "given",
    [
        "relative_model_dir: !!python/object/apply:pathlib.PosixPath\n- nerfstudio_models\n",
        "_target: !!python/name:dimo_ns.training.pipeline.DimoPipeline ''\n",
    ],
)
def test_a_value_of_another_kind_is_refused(folder: Path, given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "load_newest", lambda directory: (directory, {}))
    text = (folder / CONFIG).read_text()
    assert given in text
    (folder / CONFIG).write_text(text.replace(given, f"{given.partition(':')[0]}: 7\n"))
    with pytest.raises(DimoError, match=r"config\.yml holds a value that does not belong there"):
        load_run(folder)
