"""What a program writes appears complete or not at all, and replaces nothing unasked."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dimo_ns.errors import DimoError
from dimo_ns.files.durable import write_files
from dimo_ns.files.output import check_free, complete


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def fail_to_write(out: Path, error: Callable[[Path], BaseException]) -> None:
    with complete(out, ["x"], overwrite=True) as partial:
        (partial / "x").write_text("half")
        raise error(partial / "x")


def test_a_new_folder_appears_in_one_step(tmp_path: Path):
    out = tmp_path / "a" / "out"
    with complete(out, ["x", "sub"]) as partial:
        (partial / "x").write_text("1")
        (partial / "sub").mkdir()
        (partial / "sub" / "frame0001.txt").write_text("2")
        assert not out.exists()
    assert tree(tmp_path) == {"a/out/x": "1", "a/out/sub/frame0001.txt": "2"}
    assert oct(out.stat().st_mode) == oct((tmp_path / "a").stat().st_mode)  # as any folder, not as a temporary one


def test_what_fails_leaves_nothing_of_a_new_folder_and_all_of_an_old_one(tmp_path: Path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x").write_text("before")
    for out in (tmp_path / "new", tmp_path / "old"):
        with pytest.raises(DimoError, match=f"{out.name}/x is too sharp"):  # names the place that the user knows
            fail_to_write(out, lambda path: DimoError(f"{path} is too sharp."))
        with pytest.raises(KeyboardInterrupt):
            fail_to_write(out, lambda _: KeyboardInterrupt())
    assert tree(tmp_path) == {"old/x": "before"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]


def test_folders_that_were_made_for_what_fails_are_gone_again(tmp_path: Path):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "a" / "b" / ("x" * 300), tmp_path / "there" / "b" / ("x" * 300)):
        with pytest.raises(DimoError, match="File name too long"):
            fail_to_write(out, lambda path: DimoError(f"{path} was made."))
        with pytest.raises(OSError, match="File name too long"):
            write_files({out: b"x"})
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_file_without_a_name_is_refused(tmp_path: Path):
    with pytest.raises(DimoError, match="add the name of a file"):
        check_free(tmp_path, [Path().name], overwrite=True)


def test_a_link_to_nothing_is_not_replaced_unasked(tmp_path: Path):
    (tmp_path / "x").symlink_to("nothing")
    with pytest.raises(DimoError, match=r"The file .*x is there already"):
        check_free(tmp_path, ["x"])
    check_free(tmp_path, ["x"], overwrite=True)


def test_in_a_folder_that_is_there_only_the_names_are_replaced(tmp_path: Path):
    for name in ("x", "y", "mine"):
        (tmp_path / name).write_text("before")
    with complete(tmp_path, ["x", "y", "z"], overwrite=True) as partial:
        (partial / "x").write_text("after")
        (partial / "z").write_text("after")
    # y is of what was replaced, and was not made again
    assert tree(tmp_path) == {"mine": "before", "x": "after", "z": "after"}


def test_a_disk_that_refuses_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DimoError, match=r"There is a file at .*file, where a folder"), complete(tmp_path / "file", []):
        pass
    with (
        pytest.raises(
            DimoError, match=r"^The fit could not be written to .*/out \(No space left on device\); make room"
        ),
        complete(tmp_path / "out", ["x", "y"], what="The fit"),
    ):
        raise OSError(28, os.strerror(28))
    with (
        pytest.raises(DimoError, match=r"^.*/out/x could not be written \(No space left on device\); make room"),
        complete(tmp_path / "out", ["x", "y"]),
    ):
        raise OSError(28, os.strerror(28))


def test_a_writer_that_is_killed_leaves_no_output_and_the_next_call_works(tmp_path: Path):
    out = tmp_path / "out"
    child = os.fork()
    if child == 0:
        with complete(out, ["x"]) as partial:
            (partial / "x").write_text("half")
            (tmp_path / "begun").touch()
            time.sleep(60)
        os._exit(0)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not out.exists()
    with complete(out, ["x"]) as partial:
        (partial / "x").write_text("whole")
    assert tree(out) == {"x": "whole"}


def test_several_files_are_written_or_none(tmp_path: Path):
    write_files({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_files({tmp_path / "a": b"3", tmp_path / "taken": b"4"})
    assert tree(tmp_path) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("names", "overwrite", "complaint"),
    [
        (None, False, "out is not empty; choose another place, or add --overwrite."),
        (None, None, "out is not empty; choose another place."),
        (None, True, None),
        (["x"], False, "out/x is there already; choose another place, or add --overwrite."),
        (["x"], None, "out/x is there already; choose another place."),
        (["x"], True, None),
        (["y"], False, None),
        (["frames"], False, "out/frames is not empty; choose another place, or add --overwrite."),
        (["frames"], True, None),
        (["mixed"], True, "out/mixed also holds 'mine'; choose another place."),
        (["empty"], False, None),
    ],
)
def test_whether_the_output_is_free(tmp_path: Path, names: list[str] | None, overwrite: bool | None, complaint):
    out = tmp_path / "out"
    for name in ("x", "frames/frame0001.png", "mixed/frame0001.png", "mixed/mine"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("")
    (out / "empty").mkdir()
    if complaint is None:
        check_free(out, names, overwrite)
    else:
        with pytest.raises(DimoError, match=f"{re.escape(complaint)}$"):
            check_free(out, names, overwrite)
    check_free(tmp_path / "absent", names, overwrite)
