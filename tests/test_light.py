"""An installation without extras: what it can do, and what it says of the rest.

The packages that `pip install dimo-ns` would not bring are hidden from a process of its own.
"""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dimo_ns.space.file import FILE
from tests.spaces import some_space

HIDE = "import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
COMMANDS = """
from dimo_ns.cli import main
for arguments in {commands!r}:
    main(arguments)
"""
EXPORTS = {"html": "page.html", "glb": "thing.glb", "ply": "splats", "trajectories": "paths.npz", "all": "all"}
VIEW = """
from dimo_ns.runs import open_space
from dimo_ns.viewer.serve import SceneViewer, free_port
SceneViewer(open_space({scene!r}), free_port("127.0.0.1", 7480)).close()
"""


def brought_by(package: str, found: set[str]) -> set[str]:
    """A package and, without extras, everything that it requires, by their canonical names."""
    name = canonicalize_name(package)
    if name not in found:
        found.add(name)
        try:
            wanted = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # one that pyproject.toml leaves out
            wanted = []
        for one in wanted:
            if not one.marker or one.marker.evaluate({"extra": ""}):
                brought_by(one.name, found)
    return found


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run in a process that cannot import what an installation without extras has not."""
    light = brought_by("dimo-ns", set())
    hidden = [
        module
        for module, owners in packages_distributions().items()
        if not light & {canonicalize_name(owner) for owner in owners}
    ]
    assert {"nerfstudio", "cv2", "scipy"} <= set(hidden)
    return subprocess.run([sys.executable, "-c", HIDE.format(hidden=hidden) + code], capture_output=True, text=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_space().save(tmp_path_factory.mktemp("scene") / FILE)


def test_scenes_are_viewed_sampled_blended_rendered_and_exported(scene: Path, tmp_path: Path):
    commands = [
        ["sample", scene, "-n", "1", "--out", tmp_path / "sampled"],
        ["interpolate", scene, "walk", "run", "--steps", "1", "--out", tmp_path / "between"],
        ["render", scene, "--motions", "walk", "--size", "64", "64", "--out", tmp_path / "walk.mp4"],
        *(["export", kind, scene, "--motions", "walk", "--out", tmp_path / name] for kind, name in EXPORTS.items()),
        ["data", "sample", tmp_path / "animal", "--size", "32"],
    ]
    texts = [[str(part) for part in command] for command in commands]
    done = python(COMMANDS.format(commands=texts) + VIEW.format(scene=str(scene)))
    assert done.returncode == 0, done.stderr
    for made in ("sampled", "between", "walk.mp4", *EXPORTS.values(), "animal"):
        assert (tmp_path / made).exists(), made


NEEDS = {
    "demo": (["demo", "--out", "{folder}/demo"], "train"),
    "report": (["report", "{run}"], "train"),
    "export scene": (["export", "scene", "{run}"], "train"),
    "render": (["render", "{run}", "--out", "{folder}/run.mp4"], "train"),
    "generate": (["generate", "{folder}/fox.png", "--out", "{folder}/fox"], "generate"),
    "text fit": (["text", "fit", "{scene}"], "text"),
}
"""Commands, and the extra that each needs."""
REFUSED = """
import contextlib, io, json
from dimo_ns.cli import main
said = {{}}
for name, arguments in {commands!r}.items():
    with contextlib.redirect_stderr(io.StringIO()) as words:
        try:
            main(arguments)
        except SystemExit as end:
            said[name] = end.code, words.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def refused(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """The exit status of each of these commands, and what it said."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "config.yml").write_text("")
    places = {"folder": folder, "run": folder, "scene": scene}
    commands = {name: [part.format(**places) for part in command] for name, (command, _) in NEEDS.items()}
    done = python(REFUSED.format(commands=commands))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NEEDS)
def test_what_needs_an_extra_says_so_in_one_sentence(name: str, refused: dict[str, tuple[int, str]]):
    code, said = refused[name]
    assert code == 2
    assert f"pip install 'dimo-ns[{NEEDS[name][1]}]'" in said
    assert len(said.splitlines()) == 1


def test_importing_a_space_and_asking_for_help_are_quick():
    # CPU time, so that a busy machine does not matter; beside torch's own, which is half a second to three.
    space = "import time, torch; start = time.process_time(); import dimo_ns.space.motion_space"
    seconds = python(f"{space}; print(time.process_time() - start)").stdout
    assert float(seconds) < 1.5
    shown = "import time; start = time.process_time(); from dimo_ns.cli import main\ntry: main(['--help'])"
    done = python(f"{shown}\nexcept SystemExit: print(time.process_time() - start, 'torch' in sys.modules)")
    seconds, torch_is_loaded = done.stdout.splitlines()[-1].split()
    assert float(seconds) < 1.5
    assert torch_is_loaded == "False"
