"""Every command of `dimo`, as a call that works on the material."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from dimo_ns.cli import data, evaluate, export, fit, generate, importing, interpolate, render, runs, sample, text, view

Words = dict[str, str | list[str]]
"""What is given for each argument; @NAME stands for an input of that name, @out for a place for output."""


@dataclass(frozen=True)
class Command:
    """A command, its function, a call that works, and what it may write beside its output."""

    name: str
    function: Callable[..., Any]
    words: Words
    beside: str = ""

    def line(self, changes: Words) -> list[str]:
        """The words of the call with some arguments changed."""
        hints, line = self.hints(), self.name.split()
        for key, value in (self.words | changes).items():
            values = value if isinstance(value, list) else [value]
            positional = get_origin(hints[key]) is Annotated and hints[key].__metadata__ == POSITIONAL
            line += values if positional else [f"--{key.replace('_', '-')}", *values]
        return line

    def hints(self) -> dict[str, Any]:
        hints = get_type_hints(self.function, include_extras=True)
        return {name: hint for name, hint in hints.items() if name != "return"}

    def types(self) -> dict[str, tuple[Any, ...]]:
        """For each argument, all types that its type is made of."""
        return {name: tuple(parts(hint)) for name, hint in self.hints().items()}


POSITIONAL = tyro.conf.Positional[int].__metadata__  # pyright: ignore


def parts(hint: Any) -> list[Any]:
    """A type, and what it consists of."""
    return [hint, *(part for inner in get_args(hint) for part in parts(inner))]


SEEN: Words = {"scene": "@scene"}
WALK: Words = {"motions": ["walk"]}
COMMANDS = {
    command.name: command
    for command in (
        Command("data check", data.data_check, {"path": "@data"}),
        Command("data convert", data.data_convert, {"source": "@data", "out": "@out"}),
        Command("data sample", data.data_sample, {"out": "@out", "size": "16"}),
        Command(
            "data from-videos",
            generate.data_from_videos,
            {"source": "@videos", "out": "@out", "size": "64", "frames": "3"},
        ),
        Command("export scene", export.export_scene, {"run": "@run", "out": "@out"}),
        Command("export trajectories", export.export_trajectories, SEEN | WALK | {"out": "@out.npz"}),
        Command("export ply", export.export_ply, SEEN | WALK | {"out": "@out"}),
        Command("export glb", export.export_glb, SEEN | WALK | {"out": "@out.glb"}, beside="splats.glb"),
        Command("export html", export.export_html, SEEN | {"out": "@out.html"}),
        Command("export all", export.export_all, SEEN | WALK | {"out": "@out"}),
        Command("render", render, SEEN | WALK | {"size": ["16", "16"], "out": "@out.mp4"}),
        Command("view", view, SEEN),
        Command("sample", sample, SEEN | {"out": "@out", "count": "1"}),
        Command("interpolate", interpolate, SEEN | {"motions": ["walk", "sit"], "out": "@out", "steps": "1"}),
        Command("text fit", text.text_fit, SEEN | {"prompts": "@paraphrases.yaml"}, "in/*/text.safetensors"),
        Command("text ask", text.text_ask, {"scene": "@spoken", "words": "walk", "out": "@out"}),
        Command("fit", fit, SEEN | {"data": "@data", "motion": "walk", "out": "@out"}),
        Command(
            "evaluate",
            evaluate,
            SEEN | {"data": "@data", "out": "@out", "protocol": "@protocol.yaml"},
        ),
        Command("demo", runs.demo, {"out": "@out"}),
        Command("report", runs.report, {"run": "@run"}, "in/run/report*"),
        Command("import authors", importing.import_authors, {"folder": "@checkpoint", "out": "@out"}),
        Command(
            "generate run",
            generate.generate_run,
            {"image": "@picture.png", "out": "@out", "prompts": "@prompts.yaml", "preset": "12gb", "dry_run": []},
        ),
        Command("generate prompts", generate.generate_prompts, {"out": "@out.yaml", "motions": "3"}),
        Command("generate doctor", generate.generate_doctor, {"preset": "12gb"}),
    )
}
