"""Who imports whom: the core torch alone, every room only what EDGES says, the registry's entry point little."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dimo_ns

PACKAGE = Path(dimo_ns.__file__).parent
EDGES = {
    "errors": "",
    "files": "errors",
    "core": "",
    "gpu": "core",
    "rasterize": "core gpu files errors",
    "tracking": "core gpu errors",
    "data": "core files errors",
    "metrics": "core rasterize data errors",
    "space": "core rasterize data files errors",
    "draw": "core rasterize data files errors",
    # Four siblings; none imports another.
    "training": "core gpu rasterize tracking data metrics draw space files errors",
    "apps": "core rasterize tracking data metrics draw space files errors",
    "generate": "data metrics files errors",
    "export": "core data draw space files errors",
    # Above them.
    "viewer": "core draw space apps errors training",
    "runs": "config core space training files errors",
    "reports": "draw training runs",
    "config": "files training viewer",
    "demo": "config data export files reports runs space training",
    "cli": "apps data demo errors export files generate metrics reports runs space viewer",
}
"""What each room of the house may import, beside itself."""
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(path: Path) -> Iterator[str]:
    """Absolute names of everything that a file imports, at its top or later, relative imports resolved."""
    parts = ["dimo_ns", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*(parts[: -node.level] if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer(module: str) -> str | None:
    """The group of dimo_ns that a module belongs to; None for other people's."""
    parts = module.split(".")
    return parts[1] if parts[0] == "dimo_ns" and len(parts) > 1 else None


def room_of(path: Path) -> str:
    """The room of a file of the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_room_may(path):
    own = room_of(path)
    if own == "__init__":
        assert not [m for m in imported_modules(path) if layer(m)]  # importing dimo_ns imports nothing
        return
    assert own is not None
    allowed = (None, own, *EDGES[own].split())
    assert [m for m in imported_modules(path) if layer(m) not in allowed] == []


def test_every_edge_is_used():
    """One that is not is an edge that nobody decided on."""
    used = {(room_of(path), layer(module)) for path in FILES for module in imported_modules(path)}
    assert [(room, to) for room, edges in EDGES.items() for to in edges.split() if (room, to) not in used] == []


def test_nerfstudio_is_imported_by_training_and_what_plugs_it_in_alone():
    """What opens, edits and exports scenes does without it."""
    at_home = {"training", "config", "demo"}
    strangers = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if room_of(path) not in at_home and any(m.split(".")[0] == "nerfstudio" for m in imported_modules(path))
    ]
    assert sorted(set(strangers) - {"viewer/nerfstudio.py"}) == []


def test_relative_imports_are_seen_too():
    found = set(imported_modules(PACKAGE / "core" / "scene.py"))
    assert {"dimo_ns.core.types.Gaussians", "torch.Tensor"} <= found


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda path: path.name)
def test_the_core_imports_itself_torch_and_the_standard_library_alone(path):
    allowed = sys.stdlib_module_names | {"torch", "jaxtyping"}
    foreign = [m for m in imported_modules(path) if layer(m) != "core" and m.split(".")[0] not in allowed]
    assert foreign == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_annotations_stay_objects_for_the_check_of_shapes(path):
    # `from __future__ import annotations` turns them into strings, which the check does not see.
    assert "__future__.annotations" not in set(imported_modules(path))


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_loading_the_core_loads_nothing_of_nerfstudio_or_the_rasterizers():
    modules = [f"dimo_ns.core.{path.stem}" for path in (PACKAGE / "core").glob("*.py") if path.stem != "__init__"]
    heavy = ["nerfstudio", "gsplat", "numba", "viser", "PIL", "scipy", "dimo_ns.rasterize", "dimo_ns.training"]
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    assert run(code).strip() == "[]"


def test_the_registrys_entry_point_costs_every_nerfstudio_command_little():
    # CPU time beyond what nerfstudio itself takes, so that a busy machine does not matter; measured: 0.5 s.
    code = """
import sys, time
import nerfstudio.engine.trainer
before, start = set(sys.modules), time.process_time()
import dimo_ns.config
print(time.process_time() - start)
import torch
print(torch.cuda.is_initialized())
print([m for m in ("diffusers", "transformers", "torchmetrics") if m in set(sys.modules) - before])
"""
    seconds, cuda, heavy = run(code).strip().splitlines()[-3:]
    assert float(seconds) < 2
    assert cuda == "False"
    assert heavy == "[]"
