"""One case: its folder, the command in a process of its own, and what is to be said against how it ended."""

import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from benchmarks.hostile.cases import Case
from dimo_ns.cli import main

SECONDS, BYTES = 60, 2 * 10**9
BOX = re.compile(r"^╭─.*?─╮$.*?^╰─+╯$\n?", re.DOTALL | re.MULTILINE)
"""What tyro prints about arguments that it cannot take."""
REMARKS = ("dimo: warning: ", "LPIPS is left out: ")
Listing = dict[str, tuple[int, object]]
"""Paths, each with its mode and its content."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    line: list[str]
    code: int
    out: str
    err: str
    seconds: float
    faults: list[str]
    """What should not have been; none if the case passed."""


def run(case: Case, material: Path, folder: Path) -> Outcome:
    """Runs a case in a new folder: in/ its inputs, out* its output, elsewhere/ and cwd/ what is to stay."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("in", "cwd", "tmp", "elsewhere", "said"):
        (folder / name).mkdir(parents=True)
    (folder / "elsewhere" / "precious").write_text("x")
    line = case.command.line(case.words)
    for source in material.iterdir():
        if any(re.search(rf"@{source.name}\b", word) for word in line):
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "in" / source.name)
            line = [word.replace(f"@{source.name}", f"{folder}/in/{source.name}") for word in line]
    line = [word.replace("@out", f"{folder}/out") for word in line]
    case.prepare(folder)
    before = listing(folder)
    start = time.monotonic()
    code, faults = in_process(line, folder)
    seconds = time.monotonic() - start
    out, err = ((folder / "said" / name).read_text(errors="replace") for name in ("out", "err"))
    faults += [*of_words(code, err), *of_files(case, code, before, listing(folder))]
    return Outcome(line, code, out, err, seconds, faults)


def in_process(line: list[str], folder: Path) -> tuple[int, list[str]]:
    """The exit code of a command in a forked process, and what it took too much of."""
    sys.stdout.flush()
    start, base, most = time.monotonic(), rss(os.getpid()), 0
    process = os.fork()
    if not process:
        os._exit(in_child(line, folder))
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        most = max(most, rss(process) - base)
        if most > BYTES or time.monotonic() - start > SECONDS:
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.005)
    faults = [f"took {most / 1e9:.1f} GB"] if most > BYTES else []
    if time.monotonic() - start > SECONDS:
        faults.append(f"went on for {SECONDS} s")
    return os.waitstatus_to_exitcode(status), faults


def in_child(line: list[str], folder: Path) -> int:
    """Runs the command with its words in files, its temporary files in the folder, and no network; its exit code."""
    os.setsid()
    os.chdir(folder / "cwd")
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / "said" / name, os.O_WRONLY | os.O_CREAT), number)
    os.environ |= {"TMPDIR": str(folder / "tmp")}
    tempfile.tempdir = None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return exit_code(lambda: main(line))


def exit_code(act: Callable[[], object]) -> int:
    """What a process that does this ends with; a traceback goes to stderr."""
    code = 0
    try:
        act()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def rss(process: int) -> int:
    """Bytes of memory that a process holds."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def of_words(code: int, err: str) -> list[str]:
    """What is wrong with an exit code and what was said on stderr."""
    rest = [line for line in BOX.sub("", err).splitlines() if not line.startswith(REMARKS)]
    if code not in (0, 2):
        return [f"exit code {code}: {rest[-1] if rest else 'not a word'}"]
    if "Traceback" in err:
        return ["a traceback"]
    sentences = [line for line in rest if line.startswith("dimo: ")]
    noise = [line for line in rest if "Warning:" in line]
    if code == 0 and noise:
        return [f"says on stderr: {noise[0]}"]
    if code == 2 and not (BOX.search(err) and not rest) and not len(sentences) == len(rest) == 1:
        return [f"{len(rest)} lines on stderr: {rest[0] if rest else ''}"]
    wild = next((letter for letter in err if not letter.isprintable() and letter != "\n"), None)
    return [f"{wild!r} on stderr"] if wild else []


def listing(folder: Path) -> Listing:
    """Every path below a folder but what was said: its mode, and its content or where it leads."""
    found: Listing = {}
    for home, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(home) / name
            about = path.lstat()
            content: object = None
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                content = about.st_size if about.st_size > 2**28 else sha256(path.read_bytes()).digest()
            found[str(path.relative_to(folder))] = (about.st_mode, content)
    return {name: entry for name, entry in found.items() if Path(name).parts[0] != "said"}


def of_files(case: Case, code: int, before: Listing, after: Listing) -> list[str]:
    """What a command changed that it should not have: anything but its output; after a refusal, anything."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    output = ("out", "cwd") if "" in case.words.values() else ("out",)

    def may(name: str) -> bool:
        is_new = "overwrite" in case.words or name not in before
        return code == 0 and ((name.startswith(output) and is_new) or fnmatch(name, case.command.beside))

    strange = sorted(name for name in changed if not may(name))
    kind = "refused, but" if code else "also"
    return [f"{kind} changed {', '.join(map(repr, strange[:3]))} ({len(strange)})"] if strange else []
