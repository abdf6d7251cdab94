"""`dimo export`, `dimo render` and `dimo import` as a user types them."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from plyfile import PlyData

from dimo_ns import cli
from dimo_ns.cli.export import export_ply
from dimo_ns.core.cameras import orbit
from dimo_ns.export import everything
from dimo_ns.export.compressed import Format
from dimo_ns.export.ply import Up
from dimo_ns.rasterize.render import render
from dimo_ns.space.file import FILE
from tests.spaces import FRAMES, some_space


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = some_space()
    return space.save(tmp_path_factory.mktemp("scene") / FILE)


def dimo(*arguments: str | Path) -> None:
    cli.main([str(argument) for argument in arguments])


def test_everything_is_exported_at_once(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dimo("export", "all", scene, "-o", tmp_path / "out", "--motions", "walk", "sit")
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {"trajectories.npz", "scene.glb", "splats.glb", "scene.html", "ply", "motions.mp4", "trails.mp4"}
    assert {p.name for p in (tmp_path / "out" / "ply").iterdir()} == {"canonical", "walk", "sit"}
    shown = capsys.readouterr().out
    assert all(name in shown for name in written)
    with pytest.raises(SystemExit) as exit_info:
        dimo("export", "all", scene, "-o", tmp_path / "out")
    assert exit_info.value.code == 2
    assert "--overwrite" in capsys.readouterr().err


def test_on_a_full_disk_everything_is_as_it_was(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    dimo("export", "all", scene, "-o", tmp_path / "old", "--motions", "walk")

    def files() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*") if path.is_file()}

    before = files()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(everything, "export_video", full)
    for words in (("new",), ("old", "--overwrite")):
        with pytest.raises(SystemExit) as exit_info:
            dimo("export", "all", scene, "-o", tmp_path / words[0], *words[1:], "--motions", "walk", "sit")
        assert exit_info.value.code == 2
        assert "No space left on device" in capsys.readouterr().err
        assert files() == before
        assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_everything_replaces_its_own_and_nothing_else(scene: Path, tmp_path: Path):
    out = tmp_path / "out"
    dimo("export", "all", scene, "-o", out, "--motions", "walk")
    (out / "ply" / "mine.ply").write_text("mine")
    old = (out / "motions.mp4").read_bytes()
    dimo("export", "all", scene, "-o", out, "--motions", "walk", "sit", "--overwrite")
    assert {path.name for path in (out / "ply").iterdir()} == {"canonical", "walk", "sit", "mine.ply"}
    assert (out / "motions.mp4").read_bytes() != old
    assert not list(out.rglob(".*"))


def test_each_export_takes_motions_and_blends(scene: Path, tmp_path: Path):
    motions = ("--motions", "sit", "walk:0.5,run:0.5")
    dimo("export", "trajectories", scene, "-o", tmp_path / "a.npz", "--json", *motions)
    with np.load(tmp_path / "a.npz") as file:
        assert list(file["names"]) == json.loads((tmp_path / "a.json").read_text())["names"]
        assert list(file["names"]) == ["sit", "walk_0.5_run_0.5"]
    dimo("export", "ply", scene, "-o", tmp_path / "ply", "--min-opacity", "0.5", *motions)
    assert len(list((tmp_path / "ply" / "walk_0.5_run_0.5").iterdir())) == FRAMES
    assert PlyData.read(str(tmp_path / "ply" / "canonical" / "canonical.ply"))["vertex"]["opacity"].min() >= 0
    dimo("export", "glb", scene, "-o", tmp_path / "a.glb", *motions)
    assert (tmp_path / "a.glb").read_bytes()[:4] == b"glTF"
    dimo("render", scene, "-o", tmp_path / "frames", "--size", "40", "32", "--transition", *motions)
    assert len(list((tmp_path / "frames").iterdir())) == FRAMES


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("render SCENE -o OUT.mp4 --size 32 32", ["OUT.mp4"]),
        ("export ply SCENE -o OUT", ["OUT"]),
        ("export glb SCENE -o OUT.glb", ["OUT.glb", "splats.glb"]),
        ("export trajectories SCENE -o OUT.npz", ["OUT.npz"]),
        ("export trajectories SCENE -o OUT.npz --json", ["OUT.npz", "OUT.json"]),
    ],
)
def test_stdout_names_what_was_written_and_nothing_else(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, written: list[str]
):
    """A line for each, for a program that reads them: bars are for terminals."""
    out = str(tmp_path / "out")
    dimo(*words.replace("SCENE", str(scene)).replace("OUT", out).split(), "--motions", "sit")
    paths = [str(tmp_path / name.replace("OUT", "out")) for name in written]
    assert capsys.readouterr().out.splitlines() == paths
    assert {path.name for path in tmp_path.iterdir()} == {name.replace("OUT", "out") for name in written}


def test_the_frame_rate_is_said_to_who_is_to_play_the_frames(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dimo("export", "ply", scene, "-o", tmp_path / "ply", "--motions", "sit")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "dimo: programs that play the frames are to be told their rate: 8 per second."


def test_choices_of_the_command_are_those_of_what_it_calls():
    """They stand there once more, so that the command imports nothing before it works."""
    asked = get_type_hints(export_ply)
    assert (asked["up"], asked["format"]) == (Up, Format)


def test_what_clamping_costs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of 300 Gaussians one is out of range: 0.3 %."""
    space = some_space()
    with torch.no_grad():
        space.scene.gaussians.colors[7, 1] = 3.0
    space.save(tmp_path / "scene" / FILE)
    for words in (("glb", "-o", tmp_path / "a.glb"), ("html", "-o", tmp_path / "a.html")):
        dimo("export", words[0], tmp_path / "scene", *words[1:])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("dimo: warning: 0.3% of the Gaussians have colours outside [0, 1]")
        before, after = space.scene.gaussians(), space.scene.gaussians()
        after.colors = after.colors.clamp(0, 1)
        cameras = orbit(torch.tensor([0.0, 90.0, 180.0, 270.0]), 15.0, (256, 256))
        with torch.no_grad():
            a, b = (render(each, cameras).over(1.0).clamp(0, 1).mul(255).round() for each in (before, after))
        assert f"by {10 * math.log10(255**2 / float((a - b).square().mean())):.1f} dB" in line


MISTAKES = {
    "no such motion": (["export", "ply", "SCENE", "-o", "OUT", "--motions", "wlak"], "did you mean 'walk'"),
    "no scene": (["export", "glb", "OUT/absent", "-o", "OUT/a.glb"], "There is no scene"),
    "nothing left": (["export", "glb", "SCENE", "-o", "OUT/a.glb", "--min-opacity", "1"], "No Gaussian is left"),
    "no video": (["render", "SCENE", "-o", "OUT/a.avi"], "neither"),
    "no view": (["render", "SCENE", "-o", "OUT/a.mp4", "--view", "left"], "no cameras are known"),
    "no checkpoint": (["import", "authors", "OUT/absent", "-o", "OUT/scene"], "There is no point_cloud.ply"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence_and_leave_nothing(
    scene: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    arguments, complaint = MISTAKES[name]
    with pytest.raises(SystemExit) as exit_info:
        dimo(*(a.replace("SCENE", str(scene)).replace("OUT", str(tmp_path / "out")) for a in arguments))
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not list(tmp_path.iterdir())
