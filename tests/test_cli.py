"""The `dimo` command: quick to start, one sentence and exit status 2 for a user's error, a hint for a typo."""

import subprocess
import sys

import pytest

from dimo_ns import cli


def test_help_names_the_commands_and_imports_nothing_heavy():
    code = "import sys; from dimo_ns.cli import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("data", "export", "render", "sample", "interpolate", "demo", "report", "import"):
        assert f"• {command} " in result.stdout


def test_a_user_error_is_one_line_and_exit_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "check", str(tmp_path / "absent")])
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimo: There is no dataset at")


def test_ctrl_c_is_exit_status_130(tmp_path, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dimo_ns.data.check.check", interrupted)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "check", str(tmp_path)])
    assert exit_info.value.code == 130


@pytest.mark.parametrize(
    ("args", "hint"),
    [(["dta"], "Available subcommands: data,"), (["data", "check", "folder", "--shet", "x"], "--sheet")],
)
def test_a_typo_gives_a_hint(args, hint, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(args)
    assert exit_info.value.code == 2
    assert hint in capsys.readouterr().err
