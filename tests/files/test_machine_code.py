"""Compiled loops are kept where the user has a place for them, for their sources alone, and work without one."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from dimo_ns.files import caches
from dimo_ns.files.machine_code import Kernels
from dimo_ns.rasterize.cpu.jit import KERNELS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _asked_anew():
    caches.ours.cache_clear()
    yield
    caches.ours.cache_clear()


def test_kernels_are_kept_in_a_folder_of_their_own_and_numbas_setting_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kernels = Kernels([Path(__file__)])
    assert kernels.kernel(plus_one)(1) == 2
    assert list((tmp_path / "dimo_ns" / kernels.name).rglob("*.nbi"))
    assert kernels.name not in str(numba.config.CACHE_DIR)  # pyright: ignore[reportAttributeAccessIssue]


def plus_one(x):
    return x + 1


def test_the_folder_changes_with_any_of_the_sources_and_with_what_else_counts(tmp_path):
    """numba itself would notice an edit in the kernel's file only, not in the files that it inlines."""
    sources = [tmp_path / name for name in ("a.py", "b.py")]
    for source in sources:
        source.write_text("x = 1\n")
    before = Kernels(sources).name
    assert Kernels(reversed(sources)).name == before
    assert Kernels(sources, "8").name != before
    sources[1].write_text("x = 2\n")
    assert Kernels(sources).name != before
    rasterizer = ROOT / "dimo_ns" / "rasterize" / "cpu"
    assert KERNELS.name == Kernels(rasterizer.glob("*.py"), os.environ.get("DIMO_NS_LANES", "")).name


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert Kernels([]).kernel(plus_one)(1) == 2
    assert "compiled anew in every process" in caplog.text


def test_libraries_get_a_place_for_theirs_where_the_user_has_none_and_it_is_gone_at_the_end(tmp_path):
    """Set where they are not yet, and for this process alone."""
    names = [name for name in caches.LIBRARIES if name != "NUMBA_CACHE_DIR"]
    script = f"""
import os
from dimo_ns.files.caches import settle
settle()
print(*(os.environ.get(name) for name in {names!r}), sep="\\n")
"""
    (tmp_path / "home").touch()

    def places(home: Path) -> list[str]:
        bare = {key: value for key, value in os.environ.items() if key not in (*caches.LIBRARIES, "XDG_CACHE_HOME")}
        environment = bare | {"HOME": str(home), "MPLCONFIGDIR": "mine", "PYTHONPATH": str(ROOT)}
        return subprocess.check_output([sys.executable, "-c", script], env=environment, text=True).splitlines()

    mine, *others = places(tmp_path / "home")
    assert mine == "mine"
    assert len({Path(place).parent for place in others}) == 1
    assert not Path(others[0]).parent.exists()
    assert places(tmp_path) == ["mine", *["None"] * len(others)]


def test_every_kernel_is_compiled_by_the_one_guard():
    """numba's own cache fails at import where neither the installation nor a home can be written, and makes a folder
    named ~ where it stands without a home."""
    with_numba = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dimo_ns").rglob("*.py")
        if "njit" in path.read_text() or "cache=True" in path.read_text()
    ]
    assert with_numba == ["dimo_ns/files/machine_code.py"]
