"""README.md and docs/ are true: their Python runs, page by page, and their command lines parse.

A block that cannot run here has `<!-- not run: REASON -->` on the line before it; it must compile all the same.
"""

import builtins
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import tyro
from nerfstudio.scripts import eval as ns_eval
from nerfstudio.scripts import render as ns_render
from nerfstudio.scripts import train as ns_train
from nerfstudio.scripts.viewer import run_viewer as ns_viewer
from plyfile import PlyData

from dimo_ns import cli
from dimo_ns.data.dataset import Motion, orbit_view
from dimo_ns.export.ply import export_ply
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.space.trajectory_files import save_trajectories
from tests.data.tiny_sets import disc, write_tiny
from tests.spaces import KEYPOINTS, some_space

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(?:<!-- not run:(?P<reason>.*?)-->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
MOTIONS, VIEWS, FRAMES, SIZE = ("walk", "wave"), 6, 10, 128


class Block(NamedTuple):
    """Between two fences of a page."""

    where: str
    language: str
    text: str
    reason: str | None
    """Why it is not run; None if it is."""


def blocks(page: Path, language: str) -> list[Block]:
    """Those of one language, in order."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(f"{page.name}:{line}", match["language"], match["text"], match["reason"]))
    return [block for block in found if block.language == language]


def turning_space() -> MotionSpace:
    """One whose key points are turned every way, their quaternions of either sign."""
    space = some_space()
    with torch.no_grad():
        space.scene.decoder.offset[:, 3:] = torch.randn(KEYPOINTS, 4, generator=torch.Generator().manual_seed(1))
    return space


# --- Python -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all lies that pages mention: a scene, also as the folder SCENE, a dataset, trajectories, paraphrases."""
    space = turning_space()
    for path in (tmp_path / FILE, tmp_path / "SCENE" / FILE):
        path.parent.mkdir(exist_ok=True)
        space.save(path)
    save_trajectories(space, space.clips(), tmp_path / "trajectories.npz", False)
    (tmp_path / "words.yaml").write_text("walk:\n  train: [taking a stroll]\n")
    write_tiny(
        tmp_path / "fox",
        views=[orbit_view(f"view_{i:02d}", "train", 60.0 * i, 10.0, SIZE) for i in range(VIEWS)],
        motions=[Motion(name, name, "train", True, tuple(0.1 * f for f in range(FRAMES))) for name in MOTIONS],
        frames=(
            (name, f"view_{v:02d}", f, disc(m, v % 3, f % 4, SIZE))
            for m, name in enumerate(MOTIONS)
            for v in range(VIEWS)
            for f in range(FRAMES)
        ),
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("folder", "few_steps")
def test_the_python_of_a_page_runs(page: Path):
    """In order and in one namespace, as a reader would type it."""
    names: dict[str, Any] = {"__name__": "page"}
    try:
        for block in blocks(page, "python"):
            code = compile(block.text, block.where, "exec")
            if block.reason is None:
                exec(code, names)
            else:
                assert len(block.reason.split()) >= 2, f"{block.where}: say why it is not run"
    finally:
        if "viewer" in names:
            names["viewer"].close()
    check = CHECKS.get(page.name)
    if check:
        check(names)


def halfway_has_every_key_point_and_gaussian(names: dict[str, Any]) -> None:
    space = names["space"]
    assert names["clip"].positions.shape == (space.frames, len(space.scene.keypoints), 3)
    assert names["posed"].means.shape == (space.frames, len(space.scene.gaussians), 3)


def frames_are_of_the_size_that_was_asked_for(names: dict[str, Any]) -> None:
    assert names["rgba"].shape == (2, 3, 128, 128, 4)


def gaussians_are_turned_and_go_as_the_scene_has_them(names: dict[str, Any]) -> None:
    """As frames of `dimo export ply --up z` have them, made of the one at rest: to within 0.1 degrees."""
    space = turning_space()
    export_ply(space, space.clips(["walk"]), Path("frames"), up="z")
    at_rest, *frames = sorted(Path("frames").rglob("*.ply"))
    for frame in (0, len(frames) - 1):
        means, quats = (
            names[name](values, frame) for name, values in zip(("carry", "turn"), read(at_rest), strict=True)
        )
        expected_means, expected_quats = read(frames[frame])
        np.testing.assert_allclose(means, expected_means, atol=1e-5)
        expected_quats /= np.linalg.norm(expected_quats, axis=1, keepdims=True)
        apart = np.minimum(*(np.linalg.norm(quats - sign * expected_quats, axis=1) for sign in (1, -1)))
        assert np.rad2deg(4 * np.arcsin(apart / 2)).max() < 0.1


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Centres, and quaternions wxyz."""
    vertex = PlyData.read(path)["vertex"]
    places, turns = ("x", "y", "z"), [f"rot_{i}" for i in range(4)]
    return tuple(np.stack([vertex[name] for name in names], 1).astype(float) for names in (places, turns))  # type: ignore


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "README.md": halfway_has_every_key_point_and_gaussian,
    "data.md": frames_are_of_the_size_that_was_asked_for,
    "export.md": gaussians_are_turned_and_go_as_the_scene_has_them,
}
"""What a page says in words of what its Python gives."""


# --- command lines ----------------------------------------------------------------------------------------------------


class ParsedError(Exception):
    """All of a command line was understood, and the work would begin."""


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands import what does the work when they are called: there they end."""
    original = builtins.__import__

    def stop(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("dimo_ns.") and not name.startswith(("dimo_ns.cli", "dimo_ns.errors")):
            raise ParsedError
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", stop)


def dimo(arguments: list[str]) -> None:
    with pytest.raises(ParsedError):
        cli.main(arguments)


def make(arguments: list[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(arguments) <= set(targets)


PARSERS: dict[str, Callable[[list[str]], Any]] = {
    "dimo": dimo,
    "make": make,
    # nerfstudio's own: what they parse is a configuration, which does nothing until it is asked to.
    "ns-train": lambda arguments: tyro.cli(ns_train.AnnotatedBaseConfigUnion, args=arguments),
    "ns-eval": lambda arguments: tyro.cli(ns_eval.ComputePSNR, args=arguments),
    "ns-render": lambda arguments: tyro.cli(ns_render.Commands, args=arguments),
    "ns-viewer": lambda arguments: tyro.cli(tyro.conf.FlagConversionOff[ns_viewer.RunViewer], args=arguments),
}
OTHERS = ("pip", "hf")


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Of every page: where, and the words."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.text.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield block.where, words


@pytest.mark.parametrize(("where", "words"), [pytest.param(*line, id=" ".join(line[1])) for line in command_lines()])
@pytest.mark.usefixtures("no_work")
def test_a_command_line_of_the_documentation_parses(where: str, words: list[str], capsys: pytest.CaptureFixture[str]):
    program, *arguments = words
    if program in OTHERS:
        return
    assert program in PARSERS, f"{where}: {program} is no program that is known here"
    try:
        PARSERS[program](arguments)
    except SystemExit:
        pytest.fail(f"{where}: {shlex.join(words)}\n{capsys.readouterr().err}")
