"""One program at a time in a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from dimo_ns.errors import DimoError
from dimo_ns.files.durable import write_files
from dimo_ns.files.lock import alone

HOLD = """
import sys, time
from pathlib import Path
from dimo_ns.files.lock import alone
with alone(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def test_who_comes_second_is_told_so_and_a_kill_lets_the_next_one_in(tmp_path: Path):
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdout.readline() == b"in\n"
        with pytest.raises(DimoError, match=r"Another program is at work in .*run"), alone(folder):
            pass
        first.kill()
    with alone(folder):
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DimoError, match=r"cannot be written to"), alone(tmp_path / "file" / "run"):
        pass


def test_a_link_in_the_place_of_a_partial_file_is_not_followed(tmp_path: Path):
    (tmp_path / "precious").write_bytes(b"kept")
    (tmp_path / ".new.partial").symlink_to(tmp_path / "precious")
    write_files({tmp_path / "new": b"written"})
    assert (tmp_path / "precious").read_bytes() == b"kept"
    assert (tmp_path / "new").read_bytes() == b"written"
    assert not (tmp_path / ".new.partial").is_symlink()
