"""Bad values at every place of JSON, YAML, arrays and checkpoints; each is a change of one file."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save

from tests.hostile_texts import TEXTS

Change = Callable[[Path], object]
Named = tuple[str, Change]
"""What is changed in a file, and how."""
Trail = tuple[Any, ...]
"""The keys that lead to a place."""

NAMES = [
    *TEXTS[::4],
    "",
    "..",
    "../up",
    "/etc/passwd",
    "a\nb",
    "a\x1b[31mb",
    "\x00",
    "x" * 5000,
    "\ud800",
    "\u202e",
    "C:\\x",
]
NUMBERS = [0, -1, 0.5, 1e-300, 1e29, 3e38, 1e308, float("inf"), float("nan"), 10**20, 2**63, -(2**31)]
VALUES = [*NUMBERS, *NAMES, None, True, [], {}, [None], {"a": 1}, [0] * 3, "1", [[0.0] * 4] * 4]
DEEP = "[" * 100_000 + "]" * 100_000


class Code:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("was-run", "w")


def places(tree: Any, trail: Trail = ()) -> Iterator[Trail]:
    """The places of a tree of lists and mappings, of a list its first and its last entry alone."""
    yield trail
    keys = (
        list(tree) if isinstance(tree, dict) else sorted({0, len(tree) - 1}) if isinstance(tree, list) and tree else []
    )
    for key in keys:
        yield from places(tree[key], (*trail, key))


def at(tree: Any, trail: Trail, change: Callable[[Any, Any], object]) -> Any:
    """A copy of a tree, once `change(parent, key)` was done to one of its places."""
    root = {"": copy.deepcopy(tree)}
    parent, key = root, ""
    for step in trail:
        parent, key = parent[key], step
    change(parent, key)
    return root.get("")


def put(value: Any) -> Callable[[Any, Any], object]:
    return lambda parent, key: parent.__setitem__(key, value)


def twice(parent: Any, key: Any) -> None:
    """An entry of a list stands there twice; a mapping has its value under another name too."""
    if isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[f"{key}_"] = parent[key]


def changed_trees(tree: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What makes copies of a tree with something wrong in one place, and what that is."""
    for trail in places(tree):
        where = "/".join(map(str, trail))
        for value in VALUES:
            yield f"{where} = {str(value)[:20]!r}", partial(at, tree, trail, put(value))
        if trail:
            yield f"{where} left out", partial(at, tree, trail, lambda parent, key: parent.pop(key))
            yield f"{where} twice", partial(at, tree, trail, twice)


def of_json(path: Path) -> Iterator[Named]:
    """Of a JSON file."""
    text = path.read_text()
    for what, tree in changed_trees(json.loads(text)):
        yield what, lambda place, tree=tree: place.write_text(json.dumps(tree()))
    inner = text.strip()[1:-1]
    raw = {
        "every key twice": f"{{{inner},{inner}}}",
        "deep": DEEP,
        "deep value": text.replace("{", f'{{"deep": {DEEP},', 1),
        "no end": text.strip()[:-1],
        "comment": f"// {text}",
        "long number": text.replace("{", '{"n": ' + "9" * 5000 + ",", 1),
        "UTF-16": text.encode("utf-16"),
        "BOM": text.encode("utf-8-sig"),
        "Latin-1": text.replace("{", '{"ä": 1,', 1).encode("latin-1"),
    }
    for what, content in raw.items():
        yield what, writes(content)


def of_yaml(path: Path) -> Iterator[Named]:
    """Of a YAML file."""
    text = path.read_text()
    for what, tree in changed_trees(yaml.safe_load(text)):
        yield what, lambda place, tree=tree: place.write_text(as_yaml(tree()))
    bomb = "\n".join([f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(9)])
    raw = {
        "code": "!!python/object/apply:os.system ['touch was-run']",
        "bomb": f"a0: &a0 [x]\n{bomb}",
        "circle": "a: &a [*a]",
        "binary": "a: !!binary aGVsbG8=",
        "set": "!!set {a, b}",
        "tabs": "a:\n\t- b",
        "two": f"{text}\n---\n{text}",
        "no alias": "a: *b",
        "number as a name": "1: 1",
        "truth as a name": "yes: 1",
        "deep": DEEP,
        "UTF-16": text.encode("utf-16"),
    }
    for what, content in raw.items():
        yield what, writes(content)


def as_yaml(tree: Any) -> str:
    return json.dumps(tree).replace("NaN", ".nan").replace("Infinity", ".inf")


def of_config(path: Path) -> Iterator[Named]:
    """Of config.yml, whose values are of Python classes."""
    text = path.read_text()
    for i, node in enumerate(nodes(yaml.compose(text))):
        was = node.value[:20] if isinstance(node, yaml.ScalarNode) else node.tag.rpartition(":")[2]
        for value in TAGGED:
            what = f"node {i} ({was}) = {value.tag[-20:]} {str(value.value)[:20]}"
            yield what, lambda place, i=i, value=value: place.write_text(swapped(text, i, value))


def swapped(text: str, index: int, value: yaml.Node) -> str:
    """A YAML text with another node in the place of that one."""
    root = yaml.compose(text)
    old = list(nodes(root))[index]

    def swap(node: Any) -> Any:
        if node is old:
            return value
        if isinstance(node, yaml.CollectionNode):
            node.value = [tuple(map(swap, part)) if isinstance(part, tuple) else swap(part) for part in node.value]
        return node

    return yaml.serialize(swap(root))


def nodes(node: Any) -> Iterator[Any]:
    """All nodes of a YAML document, names included."""
    yield node
    if isinstance(node, yaml.CollectionNode):
        for entry in node.value:
            for part in entry if isinstance(entry, tuple) else (entry,):
                yield from nodes(part)


PYTHON = "tag:yaml.org,2002:python/"
SCALAR = yaml.ScalarNode("tag:yaml.org,2002:str", "touch was-run")
PLAIN = [
    ("null", "null"), ("str", "../up"), ("str", ""), ("str", "a\nb"), ("int", "-1"), ("int", "1" * 20),
    ("float", ".nan"), ("float", "1e30"), ("bool", "true"),
]  # fmt: skip
TAGGED = [
    yaml.SequenceNode(f"{PYTHON}object/apply:os.system", [SCALAR]),
    yaml.MappingNode(f"{PYTHON}object:dimo_ns.training.trainer.DimoTrainerConfig", []),
    yaml.MappingNode(f"{PYTHON}object:nerfstudio.configs.base_config.ViewerConfig", []),
    yaml.ScalarNode(f"{PYTHON}name:torch.optim.adam.Adam", ""),
    yaml.SequenceNode("tag:yaml.org,2002:seq", []),
    yaml.MappingNode("tag:yaml.org,2002:map", []),
    *[yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", value) for kind, value in PLAIN],
]
"""What stands in the place of a node of config.yml."""


def of_safetensors(path: Path) -> Iterator[Named]:
    """Of a file of tensors and texts."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    for what, tree in changed_tensors(tensors):
        yield what, lambda place, tree=tree: place.write_bytes(save(tree, about))
    for name, text in about.items():
        for value in ("", "null", "[]", "{}", DEEP, '"x"', "[" + ",".join("0" * 9) + "]", text + " "):
            change = about | {name: value}
            yield f"text {name} = {value[:20]}", lambda place, change=change: place.write_bytes(save(tensors, change))
        if text[:1] in "[{":
            for what, tree in changed_trees(json.loads(text)):
                yield (
                    f"{name}: {what}",
                    lambda place, tree=tree, name=name: place.write_bytes(
                        save(tensors, about | {name: json.dumps(tree())})
                    ),
                )
    yield "no texts", lambda place: place.write_bytes(save(tensors))
    content = path.read_bytes()
    for size in (0, 1, 2**31, 2**63, 2**64 - 1):
        yield f"header of {size} bytes", writes(size.to_bytes(8, "little") + content[8:])
    header = DEEP.encode()
    yield "deep header", writes(len(header).to_bytes(8, "little") + header)


def changed_tensors(tensors: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies of some tensors with something wrong in one of them, and what it is."""
    for name, value in tensors.items():
        if isinstance(value, torch.Tensor):
            for what, wrong in wrong_tensors(value):
                yield f"{name}: {what}", tensors | {name: wrong.contiguous()}
        yield f"{name} left out", {key: other for key, other in tensors.items() if key != name}
    yield "one more", tensors | {"more": torch.zeros(3)}
    yield "none", {}


def wrong_tensors(value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor of other numbers, another type or another shape."""
    for number in (float("nan"), float("inf"), 3e38, -3e38, 1e20, -1.0, 0.0, 1e-42):
        if value.is_floating_point() or (np.isfinite(number) and abs(number) < 2**31):
            yield f"all {number}", torch.full_like(value, number)
            wrong = value.clone().flatten()
            wrong[-1:] = number
            yield f"the last {number}", wrong.view(value.shape)
    for kind in (torch.float16, torch.float64, torch.int64, torch.bool):
        yield str(kind), value.to(kind)
    yield "flat", value.flatten()
    yield "one more axis", value[None]
    yield "empty", value[:0] if value.ndim else value.new_zeros(0)
    yield "a number", value.flatten()[:1].sum()
    yield "wide", value.new_zeros(1, 5000)
    if value.ndim:
        yield "a row fewer", value[:-1]
        yield "a row more", torch.cat([value, value[:1]])
        yield "a column fewer", value[..., :-1]


def of_npz(path: Path) -> Iterator[Named]:
    """Of tracks.npz."""
    with np.load(path) as file:
        arrays = dict(file)
    for name, value in arrays.items():
        wrong = {
            "left out": None,
            "code": np.array([Code()], object),
            "empty": value[:0],
            "a row fewer": value[:-1],
            "one more axis": value[None],
            "texts": np.full(value.shape, "x"),
            "dates": np.zeros(value.shape, "datetime64[s]"),
            "records": np.zeros(value.shape, [("a", "f4")]),
            "complex": np.zeros(value.shape, complex),
            "many axes": np.zeros((1,) * 30, np.float32),
            "markup": np.full(value.shape, "<b>\x1b[31m"),
        }
        if value.dtype.kind == "f":
            wrong |= {str(number): np.full_like(value, number) for number in (np.nan, np.inf, 3e38, -3e38)}
        if value.dtype.kind == "i":
            wrong |= {str(number): np.full_like(value, number) for number in (-1, 0, 2**31, 2**62)}
        for what, array in wrong.items():
            tree = {key: other for key, other in (arrays | {name: array}).items() if other is not None}
            yield f"{name}: {what}", lambda place, tree=tree: np.savez_compressed(place, **tree)


def of_npy(path: Path) -> Iterator[Named]:
    """Of a mask."""
    mask = np.load(path)
    wrong = {
        "code": np.array([Code()], object), "texts": mask.astype(str), "nan": np.full(mask.shape, np.nan),
        "below zero": np.full(mask.shape, -1), "complex": mask.astype(complex), "flat": mask.ravel(), "empty": mask[:0],
        "number": np.array(1), "many axes": np.zeros((1,) * 30), "nothing": np.zeros(mask.shape), "huge": mask * 1e300,
    }  # fmt: skip
    for what, array in wrong.items():
        yield what, lambda place, array=array: np.save(place, array, allow_pickle=True)
    content = path.read_bytes()
    for what, header in {
        "lie": b"(9999999999, 9999999)",
        "negative": b"(-1,)",
        "call": b"exit()",
        "deep": b"(" * 60,
    }.items():
        yield f"shape: {what}", writes(content.replace(b"(32, 32)", header.ljust(8), 1))


def of_torch(path: Path) -> Iterator[Named]:
    """Of a checkpoint that torch wrote."""
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, torch.Tensor):
        for what, wrong in wrong_tensors(state.detach()):
            yield what, partial(torch.save, wrong)
    elif "pipeline" in state:
        rest, weights = dict(state), {"pipeline": state["pipeline"]}
        del rest["pipeline"]
        for what, wrong in changed_tensors(weights["pipeline"]):
            yield f"weights {what}", partial(torch.save, rest | {"pipeline": wrong})
        for what, tree in changed_trees(rest):
            yield what, lambda place, tree=tree: torch.save(with_weights(tree(), weights), place)
    else:
        for what, wrong in changed_tensors(state):
            yield what, partial(torch.save, wrong)
    yield "code", lambda place: torch.save({"manifest": Code()}, place)
    yield "only code", lambda place: torch.save(Code(), place)
    yield "pickle", writes(pickle.dumps(Code()))
    yield "a list", lambda place: torch.save([1], place)
    yield "old format", lambda place: torch.save(state, place, _use_new_zipfile_serialization=False)


def with_weights(tree: Any, weights: dict[str, Any]) -> Any:
    """A checkpoint of these parts."""
    return tree | weights if isinstance(tree, dict) else tree


def writes(content: str | bytes) -> Change:
    """A change that puts this in the place of the file."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return lambda path: path.write_bytes(raw)
