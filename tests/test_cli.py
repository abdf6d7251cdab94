"""The `dimo` command: quick to start, one sentence and exit status 2 for a user's error, a hint for a typo."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from dimo_ns import cli
from dimo_ns.cli.commands import say
from dimo_ns.cli.terminal import progress
from dimo_ns.data.dataset import Motion
from dimo_ns.errors import DimoError
from dimo_ns.space.file import FILE
from dimo_ns.training.console import tell
from tests.data.tiny_sets import FRAMES, VIEWS, disc, write_tiny
from tests.spaces import some_space

ROOT = Path(__file__).parents[1]
LISTED = re.compile(r"• ([\w-]+) ")
ASK_EVERY_COMMAND = f"""
import contextlib, io, re, sys
from dimo_ns.cli import main

def ask(*names):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*names, "--help"])
    inner = re.findall({LISTED.pattern!r}, text.getvalue())
    print(" ".join(names), "|", len(text.getvalue()), "|", "torch" in sys.modules)
    for name in inner:
        ask(*names, name)

ask()
"""


@pytest.fixture(scope="module")
def commands() -> dict[str, tuple[int, bool]]:
    """Every command that the program lists, subcommands too: letters of its help, and whether torch was imported."""
    asked = subprocess.run([sys.executable, "-c", ASK_EVERY_COMMAND], capture_output=True, text=True, check=True)
    rows = [line.split(" | ") for line in asked.stdout.splitlines()]
    return {name.strip(): (int(letters), torch == "True") for name, letters, torch in rows}


def test_every_command_has_a_help_that_imports_nothing_heavy(commands):
    assert len(commands) > 20  # those of today; names and flags are held by tests/test_docs.py
    assert [name for name, (letters, _) in commands.items() if letters < 200] == []
    assert [name for name, (_, torch) in commands.items() if torch] == []


def named_in(page: Path) -> set[str]:
    """The commands that a page of the documentation names."""
    # `dimo data check|sample|convert` names three; dimo text SCENE WORDS is short for dimo text ask.
    named = {
        f"{start}{name}"
        for start, names in re.findall(r"dimo ((?:[\w-]+ )?)([\w-]+(?:\\?\|[\w-]+)*)", page.read_text())
        for name in re.split(r"\\?\|", names)
    }
    return named | {name.split()[0] for name in named} | {"", "text ask", "generate run"}


def test_every_command_is_in_the_documentation(commands):
    elsewhere = set(commands) - named_in(ROOT / "README.md")
    assert elsewhere == {"generate prompts", "generate doctor"}
    assert elsewhere <= named_in(ROOT / "docs" / "generate.md")


def test_a_user_error_is_one_line_and_exit_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "check", str(tmp_path / "absent")])
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimo: There is no dataset at")


@pytest.fixture
def check_raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """From then on, `dimo data check` comes to that."""

    def set_up(error: BaseException) -> None:
        def fails(*_args, **_options):
            raise error

        monkeypatch.setattr("dimo_ns.data.check.check", fails)

    return set_up


def test_ctrl_c_is_exit_status_130(tmp_path, check_raises):
    check_raises(KeyboardInterrupt())
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "check", str(tmp_path)])
    assert exit_info.value.code == 130


def test_what_is_printed_cannot_steer_the_terminal(capsys):
    say("\x1b]0;owned\x07walk", Path("a\x1b[2Jb"), "two\nlines")
    assert capsys.readouterr().out.splitlines() == [r"\x1b]0;owned\x07walk", r"a\x1b[2Jb", "two", "lines"]


MARKUP = [
    "robot [v2]",
    "fox [/final]",
    "[bold]x[/bold]",
    ":cat:",
    "[link=http://x]y[/link]",
    "\u79c1\u306e\u3000\u72ac",
]


@pytest.mark.parametrize("text", [*MARKUP, "a\x1b[2J", "x\u202ey"])
def test_a_text_is_that_text_however_it_is_printed(text: str, capsys):
    """Markup would vanish or fail, and the name of an emoji become one; what is no letter is shown as its code."""
    shown = text.encode("unicode_escape").decode() if text not in MARKUP else text
    table = Table(text, title=text, caption=text, width=70)
    table.add_row(text)
    with progress() as bars:
        bars.update(bars.add_task(text, total=2), description=text)
        say(text, Path(text.replace("/", "|")), Text(text, style="yellow"), table, bars.make_tasks_table(bars.tasks))
    tell(text)
    printed = capsys.readouterr().out
    assert printed.count(shown) == 9 - ("/" in text)  # the path has another letter there
    assert "\x1b" not in printed


def test_a_dataset_whose_names_look_like_markup_is_checked_and_converted(tmp_path, capsys):
    root, copy = tmp_path / "robot [v2]", tmp_path / "robot [/final]"
    motion = Motion("[bold]run", "a [red]run", "train", False, tuple(0.1 * f for f in range(FRAMES)))
    frames = ((motion.name, view, f, disc(0, v, f)) for v, view in enumerate(VIEWS) for f in range(FRAMES))
    write_tiny(root, object="fox [/final]", motions=[motion], frames=frames)
    cli.main(["data", "check", str(root)])
    cli.main(["data", "convert", str(root), str(copy)])
    printed = capsys.readouterr().out
    for text in ("fox [/final]: 1 motions", "[bold]run", str(copy)):
        assert text in printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("exprot", "'exprot'; did you mean 'export'?"),
        ("Data check folder", "'Data'; did you mean 'data'?"),
        ("export gbl scene -o out.glb", "'export gbl'; did you mean 'export glb'?"),
        ("data from-video in out", "'data from-video'; did you mean 'data from-videos'?"),
        ("text fti scene", "'text fti'; did you mean 'text fit'?"),
        ("generate promts -o out.yaml", "'generate promts'; did you mean 'generate prompts'?"),
        ("export zzz", "'export zzz'; expected one of scene, trajectories, ply, glb, html, all."),
    ],
)
def test_a_misspelt_command_is_called_a_command_and_the_nearest_is_named(words, says, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(words.split())
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"dimo: There is no command {says}\n"


def test_a_command_may_be_typed_with_an_underscore():
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "from_videos", "--help"])
    assert exit_info.value.code == 0


def test_a_misspelt_option_gives_a_hint(capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "check", "folder", "--shet", "x"])
    assert exit_info.value.code == 2
    assert "--sheet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "/x/y"), "No space left on device (/x/y)"),
        (PermissionError(13, "Permission denied"), "Permission denied;"),
        (MemoryError(), "memory of this machine"),
        (RecursionError("maximum depth"), "nested too deeply"),
        (DimoError("What a\n\tlibrary said:\x1b[31m \u202e\udcff."), "What a library said:\\x1b[31m \\u202e\\udcff."),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "not valid Unicode"),
    ],
)
def test_whatever_is_said_is_one_line_of_letters(error, says, tmp_path, check_raises, capsys):
    check_raises(error)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "check", str(tmp_path)])
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimo: ")
    assert says in line
    with pytest.raises(type(error)):
        cli.main(["data", "check", "--traceback", str(tmp_path)])


def test_a_reader_that_leaves_ends_the_program_without_a_word():
    """As in `dimo --help | head -1`."""
    program = subprocess.Popen(
        [sys.executable, "-c", "from dimo_ns.cli import main; main(['--help'])"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout
    assert program.stderr
    program.stdout.close()
    assert program.stderr.read() == b""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sample SCENE -o OUT -n 0", "The number of motions is 0; expected 1 to 2,000"),
        ("sample SCENE -o OUT -n 1000000000", "The number of motions is 1,000,000,000; expected 1 to 2,000"),
        ("sample SCENE -o OUT --seed -1", "The seed is -1; expected 0 to"),
        ("sample SCENE -o OUT --seed 99999999999999999999", "The seed is 99,999"),
        ("interpolate SCENE walk run -o OUT --steps 0", "from one motion to the next is 0; expected 1 to 2,000"),
        ("interpolate SCENE walk run -o OUT --steps 1000000000", "expected 1 to 2,000"),
        ("interpolate SCENE walk run -o OUT --transition --frames 1", "frames for 2 motions is 1; expected 2 to"),
        ("interpolate SCENE walk run -o OUT --transition --frames 1000000000", "expected 2 to 20,000"),
        ("render SCENE -o OUT.mp4 --repeat 0", "How often motions are repeated is 0; expected 1 to"),
        ("render SCENE -o OUT.mp4 --repeat 1000000000", "How often motions are repeated is 1,000,000,000"),
        ("render SCENE -o OUT.mp4 --fps 1e-300", "frames"),
        ("render SCENE -o OUT.mp4 --fps nan", "frames per second"),
        ("render SCENE -o OUT.mp4 --size 1000000 1000000", "pixels"),
        ("data sample OUT --size 1000000", "The size in pixels is 1,000,000; expected 16 to 2,048"),
        ("data sample OUT --seed -1", "The seed is -1"),
    ],
)
def test_numbers_out_of_bounds_are_refused_with_the_bounds_before_work(words, says, tmp_path, capsys):
    some_space().save(tmp_path / FILE)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(words.replace("SCENE", str(tmp_path)).replace("OUT", str(tmp_path / "out")).split())
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "scene.json"}
