"""The cases: for every command, bad files in the place of good ones, bad arguments, and bad places for its output."""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load

from benchmarks.hostile import files, trees
from benchmarks.hostile.commands import COMMANDS, Command, Words
from benchmarks.hostile.material import CHECKPOINT
from benchmarks.hostile.trees import NAMES, Change, Named
from dimo_ns.space.file import sizes

EACH = 5
"""Cases of a command with one of its files changed, for every way to change it."""
FEW = 2
"""Cases of a command with one of its arguments changed."""


@dataclass(frozen=True)
class Case:
    """A call of a command with something wrong."""

    command: Command
    kind: str
    what: str
    words: Words
    """Arguments other than those of the command that works."""
    prepare: Change
    """Is given the folder of the case, and makes what is wrong in it."""


Format = Callable[[Path], Iterator[Named]]
SCENES = tuple(name for name, command in COMMANDS.items() if command.words.get("scene") == "@scene")
DATA: dict[str, Words] = {
    "data check": {},
    "data convert": {},
    "fit": {},
    "evaluate": {},
    "render": {"data": "@data", "view": "view_00"},
}
LATENTS: dict[str, Words] = {
    "render": {"motions": ["@scene/latents.safetensors:0"]},
    "export trajectories": {"motions": ["@scene/latents.safetensors:walk"]},
    "export html": {"motions": ["@scene/latents.safetensors:1", "walk:0.5,@scene/latents.safetensors:0:0.5"]},
    "interpolate": {"motions": ["@scene/latents.safetensors:0", "@scene/latents.safetensors:1"]},
}


def given(names: Iterable[str], **words: str) -> dict[str, Words]:
    """The same arguments for several commands."""
    return {name: dict(words) for name in names}


def targets() -> Iterator[tuple[str, str, Format, dict[str, Words]]]:
    """Kind, file of the material, how it is changed, and the commands that read it with their arguments."""
    seen = given(("data check", "data convert"), **{})
    ours, theirs = {"path": "@authors_data"}, {"source": "@authors_data"}
    opened = given(("export scene", "report"), **{}) | given(("view", "export glb"), scene="@run")
    yield "scene", "scene/scene.json", trees.of_json, given(SCENES)
    yield "scene", "scene/scene.safetensors", trees.of_safetensors, given(SCENES)
    yield "scene", "scene", files.of_folder, given(SCENES)
    for name in ("motions.json", "cameras.json"):
        yield "dataset", f"data/{name}", trees.of_json, DATA
    yield "dataset", "data/walk/view_00/01.png", files.of_image, DATA
    yield "dataset", "data/tracks.npz", trees.of_npz, {name: DATA[name] for name in (*seen, "evaluate", "fit")}
    yield "dataset", "data", files.of_folder, DATA
    layouts: dict[str, Words] = {"data check": ours, "data convert": theirs}  # pyright: ignore
    yield "dataset", "authors_data/info.json", trees.of_json, layouts
    yield "dataset", "authors_data/walk/view_00/01.png", files.of_image, layouts
    yield "dataset", "authors_data/walk/view_00/01_mask.npy", trees.of_npy, layouts
    clips: dict[str, Words] = {
        "data check": {"path": "@videos", "frames": "3"},
        "data convert": {"source": "@videos", "frames": "3"},
        "fit": {"data": "@videos", "frames": "3"},
        "data from-videos": {},
    }
    yield "dataset", "videos/walk/view_00.mp4", files.of_video, clips
    yield "dataset", "videos", files.of_folder, clips
    yield "run", "run/config.yml", trees.of_config, opened
    yield "run", f"run/{CHECKPOINT}", trees.of_torch, opened
    yield "run", "run", files.of_folder, opened
    yield "file", "scene/latents.safetensors", trees.of_safetensors, LATENTS
    yield "file", "spoken/text.safetensors", trees.of_safetensors, given(["text ask"])
    yield "file", "path.json", trees.of_json, given(["render"], camera_path="@path.json")
    yield "file", "protocol.yaml", trees.of_yaml, given(["evaluate"])
    said = given(["text fit"]) | given(["evaluate"], paraphrases="@paraphrases.yaml")
    yield "file", "paraphrases.yaml", trees.of_yaml, said
    yield "file", "prompts.yaml", trees.of_yaml, given(["generate run"])
    presets = given(("generate run", "generate doctor", "data from-videos"), preset="@preset.yaml")
    yield "file", "preset.yaml", trees.of_yaml, presets
    yield (
        "file",
        "picture.png",
        files.of_image,
        given(["generate run"]) | given(["generate prompts"], image="@picture.png"),
    )
    for name in ("point_cloud.ply", "point_cloud_c.ply"):
        yield "file", f"checkpoint/{name}", files.of_ply, given(["import authors"])
    for name in ("timenet.pth", "mu.pth", "log_var.pth"):
        yield "file", f"checkpoint/{name}", trees.of_torch, given(["import authors"])


def cases(material: Path, seed: int = 0) -> list[Case]:
    """All cases; the same ones for the same seed."""
    found = list(of_files(material, seed))
    for command in COMMANDS.values():
        found += of_arguments(command, random.Random(f"{seed} {command.name}"))
        found += of_output(command)
    return found


def of_files(material: Path, seed: int) -> Iterator[Case]:
    """Cases with a file or a folder that is changed."""
    for kind, name, form, commands in targets():
        rng = random.Random(f"{seed} {name}")
        whole, path = list(form(material / name)), material / name
        broken = [] if path.is_dir() else [*files.of_bytes(path, rng), *files.of_place(path)]
        for command, words in commands.items():
            chosen = rng.sample(whole, min(EACH, len(whole))) + rng.sample(broken, min(EACH // 2, len(broken)))
            for what, change in chosen:
                yield Case(COMMANDS[command], kind, f"{name}: {what}", words, changing(name, change))


def changing(name: str, change: Change) -> Change:
    """The change of a file among the inputs of a case; a scene is then signed again."""

    def prepare(folder: Path) -> None:
        path = folder / "in" / name
        change(path)
        if path.name == "scene.safetensors" and path.is_file() and not path.is_symlink():
            sign(path)

    return prepare


def sign(path: Path) -> None:
    """Lets scene.json describe the tensors that are there, as far as they can be described."""
    if path.stat().st_size > 2**28:
        return
    about = path.with_suffix(".json")
    info = json.loads(about.read_text()) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    with suppress(Exception):  # what is no scene has no sizes
        info |= sizes(load(path.read_bytes()))
    about.write_text(json.dumps(info))


NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "1e30", "1" + "0" * 20, "-1" + "0" * 20, "1e-300", "", "abc", "0x10", "9" * 5000,
    "\u0661", "None", "1.5",
)  # fmt: skip
TEXTS = (*(name for name in NAMES if "\0" not in name and "\ud800" not in name), "\udcff", "-", "--", "no")
CHOICES = (
    "walk:0.5", "walk:nan,jump:1", "walk:1,jump:-1", "walk:1e400,jump:1", ",", "walk,jump", "walk:,jump:",
    "@scene/latents.safetensors:99", "@scene/latents.safetensors:-1", "@scene/latents.safetensors:", "@scene:0",
    "a:b:c", "/dev/zero:0", "/proc/self/mem:0", "walk:0.5," * 500, "walk:1e38,jump:1e38", "walk:-1e30,jump:1",
)  # fmt: skip
PLACES = (
    "", "/", ".", "/dev/null", "/dev/zero", "/dev/null/x", "/proc/self/mem", "nothing", "x" * 5000, "a\nb",
    "~nosuchuser/x", "<b>[red]{x}", "\udcff", "@scene", "@data", "@videos", "@authors_data", "@run", "@checkpoint",
    "@picture.png",
    "@prompts.yaml", "@spoken", "@path.json", "@protocol.yaml", "@paraphrases.yaml", "@preset.yaml",
    "@scene/scene.safetensors", "@scene/scene.json",
    "@scene/latents.safetensors", "@run/config.yml", "@data/motions.json", "@data/tracks.npz",
    "@videos/walk/view_00.mp4", "@checkpoint/mu.pth",
)  # fmt: skip


def of_arguments(command: Command, rng: random.Random) -> Iterator[Case]:
    """Cases with another value for one argument."""
    for name, types in command.types().items():
        if name in ("out", "sheet"):
            continue
        values: tuple[str, ...] = ()
        for kind, some in ((int, NUMBERS), (float, NUMBERS), (Path, PLACES), (str, TEXTS)):
            values += some if kind in types else ()
        values += CHOICES if name == "motions" else ()
        values += ("nope", "") if not values and bool not in types else ()
        many = tuple in map(type, types) or any(getattr(kind, "__origin__", None) is tuple for kind in types)
        for value in rng.sample(values, min(FEW * (1 + (name == "motions")), len(values))):
            given = [value, value] if many and rng.random() < 0.5 else value
            yield Case(command, "argument", f"--{name} {value[:40]!r}", {name: given}, lambda folder: None)


def of_output(command: Command) -> Iterator[Case]:
    """Cases with another place for the output."""
    argument = next((name for name in ("out", "sheet") if name in command.hints()), None)
    if argument is None:
        return
    usual = command.words.get("out", "@out.png")
    assert isinstance(usual, str)
    suffix = usual.removeprefix("@out")
    for what, (place, make) in outputs(suffix).items():
        if command.name != "demo" or what in UNUSABLE:
            words: Words = {argument: place}
            yield Case(command, "output", what, words, lambda folder, make=make: make(folder / f"out{suffix}"))
            if what in TAKEN and "overwrite" in command.hints():
                words = words | {"overwrite": []}
                what = f"{what}, to be overwritten"
                yield Case(command, "output", what, words, lambda folder, make=make: make(folder / f"out{suffix}"))


def outputs(suffix: str) -> dict[str, tuple[str, Change]]:
    """Places for output, as they are given, and what makes them from the place that is usual."""
    here = f"@out{suffix}"

    def full(path: Path) -> None:
        path.mkdir()
        (path / "precious").write_text("x")

    def linked(target: str) -> Change:
        return lambda path: path.symlink_to(path.parent / "elsewhere" / target)

    def led(path: Path) -> None:
        full(path.with_name("out_there"))
        path.symlink_to("out_there")

    def nothing(path: Path) -> None:
        pass

    folder = {} if suffix else {"an empty folder": (here, lambda path: path.mkdir())}
    return folder | {
        "a file": (here, lambda path: path.write_text("x")),
        "a full folder": (here, full),
        "a pipe": (here, os.mkfifo),
        "a link to itself": (here, lambda path: path.symlink_to(path)),
        "a link to nothing": (here, linked("nothing")),
        "a link to a file": (here, linked("precious")),
        "a link to a folder": (here, led),
        "below a file": (f"{here}/x{suffix}", lambda path: path.write_text("x")),
        "below a device": (f"/dev/null/x{suffix}", nothing),
        "a device": ("/dev/full", nothing),
        "in /proc": (f"/proc/dimo{suffix}", nothing),
        "the root": ("/", nothing),
        "nothing": ("", nothing),
        "a dot": ("." if suffix else "@out/.", nothing),
        "a long name": (f"@out/{'x' * 300}{suffix}", nothing),
        "a long path": (f"@out/{'x/' * 3000}{suffix}", nothing),
        "two lines": (f"@out/a\nb{suffix}", nothing),
        "markup": (f"@out/<b>[red]{{x}}{suffix}", nothing),
        "a colour": (f"@out/\x1b[31m{suffix}", nothing),
        "not Unicode": (f"@out/\udcff{suffix}", nothing),
        "another suffix": ("@out/x.nope", nothing),
        "suffix alone": ("@out/.mp4", nothing),
        "up": (f"@out/../out/x/../y{suffix}", nothing),
    }


UNUSABLE = (
    "a file",
    "below a file",
    "below a device",
    "a device",
    "in /proc",
    "a link to itself",
    "a long name",
    "a pipe",
)
TAKEN = ("a file", "a full folder", "a link to a file", "a link to a folder", "a link to nothing", "a pipe")
