"""What the object shall do: a label and a prompt for every motion, from templates, a file or a language model.

motions = from_templates("biped", 50, subject="a red robot")
motions = read(Path("motions.yaml"), subject="a red robot")
motions = ask(endpoint(...), picture, 50)
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import yaml

from dimo_ns.errors import DimoError
from dimo_ns.files import configs
from dimo_ns.files.durable import write_files
from dimo_ns.files.fields import parse_yaml, read_bytes, read_yaml, shown

CONFIGS = configs.CONFIGS / "generate"
AMPLITUDES = ("large", "medium", "small")
SUFFIX = (
    "One continuous movement, in place, the whole body always in the frame, plain pure white background, even light, "
    "no shadow, fixed camera on a tripod, static shot, no zoom."
)
NEGATIVE = (
    "camera movement, pan, zoom, cut, text, watermark, other objects, people, scenery, shadow, coloured background, "
    "blur, deformed, extra limbs, out of frame, static image"
)
LABEL_TOKENS = 25
"""What the language model of the trained scene reads."""
MAX_BYTES = 2**20


@dataclass(frozen=True)
class MotionPrompt:
    """One motion."""

    name: str
    """The name of its folder, made of the label."""
    label: str
    """What it does in a few words, at most 25 tokens."""
    prompt: str
    """For the video model."""


Ask = Callable[[str, str], str]
"""Is given the system's text and the user's, and answers; the picture that goes along is its own affair."""


# --- templates ------------------------------------------------------------------------------------------------------


def categories() -> list[str]:
    return sorted(path.stem for path in (CONFIGS / "prompts").glob("*.yaml"))


def from_templates(category: str, count: int, subject: str = "") -> list[MotionPrompt]:
    """So many motions of that category, spread over the parts of the body and the amplitudes; fewer if it has fewer.

    `subject`: the object in a few words. Raises DimoError for a category that is not there.
    """
    if category not in categories():
        raise DimoError(f"There is no category '{category}'; choose one of {', '.join(categories())}.")
    template = read_yaml(CONFIGS / "prompts" / f"{category}.yaml").values
    subject = subject or template.pop("subject")
    template.pop("subject", None)
    parts = list(template.values())
    cells = (part[AMPLITUDES[(i + turn) % 3]] for turn in range(3) for i, part in enumerate(parts))
    phrases = [phrase for phrase in chain.from_iterable(zip_longest(*cells)) if phrase]
    return build([{"label": phrase} for phrase in phrases[:count]], subject, f"the templates of '{category}'")


# --- files ----------------------------------------------------------------------------------------------------------


def read(path: Path, subject: str = "") -> list[MotionPrompt]:
    """Motions of a file: YAML (a list of texts, or of {label, prompt}) or a text with one motion a line, # for remarks.

    Empty lines and repetitions are left out. Raises DimoError for what is not such a file.
    """
    content = read_bytes(path, MAX_BYTES)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        entries = parse_yaml(content, str(path))
        entries = entries.get("motions") if isinstance(entries, dict) else entries
    else:
        try:
            lines = content.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DimoError(f"The prompts {path} are not text in UTF-8 ({error}).") from error
        entries = [line for line in lines if not line.lstrip().startswith("#")]
    if not isinstance(entries, list):
        raise DimoError(f"The prompts {path} are not a list of motions; expected one on each line, or a YAML list.")
    motions = build([{"label": e} if isinstance(e, str) else e for e in entries if e], subject, str(path))
    if not motions:
        raise DimoError(f"The file of prompts {path} names no motion.")
    return motions


def write(motions: Sequence[MotionPrompt], path: Path) -> None:
    """Writes a YAML file that `read` reads, to be edited."""
    rows = [{"label": motion.label, "prompt": motion.prompt} for motion in motions]
    text = yaml.safe_dump({"motions": rows}, sort_keys=False, allow_unicode=True, width=120)
    write_files({path: text.encode()})


def build(entries: Iterable[Any], subject: str, where: str) -> list[MotionPrompt]:
    """Motions of {label, prompt} entries; without a prompt, one is made of subject and label. Repeated labels are left
    out, those that are too long are cut. Raises DimoError for entries of another kind."""
    motions: dict[str, MotionPrompt] = {}
    for number, entry in enumerate(entries, 1):
        label, prompt = (entry.get(k) or "" for k in ("label", "prompt")) if isinstance(entry, dict) else (None, None)
        if not isinstance(label, str) or not isinstance(prompt, str) or not (label + prompt).strip():
            raise DimoError(
                f"Motion {number} of {where} is {shown(entry)}; expected a text, or a 'label' and a 'prompt'."
            )
        label = shorten(label or prompt)
        name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:60].strip("_") or f"motion_{number:02d}"
        if any(same(label, other.label) for other in motions.values()):
            continue
        name = name if name not in motions else f"{name}_{number:02d}"
        who = subject or "the object"
        body = " ".join(prompt.split()) or f"{who[:1].upper()}{who[1:]} {label}."
        motions[name] = MotionPrompt(name, label, body if SUFFIX in body else f"{body.rstrip('.')}. {SUFFIX}")
    return list(motions.values())


def same(a: str, b: str) -> bool:
    """Whether two labels have the same words."""
    return words(a) == words(b)


def words(label: str) -> list[str]:
    return [word for word in re.findall(r"\w+", label.lower()) if word not in ("a", "an", "the", "its")]


def tokens(label: str) -> int:
    """The number of tokens, at least as many as a usual word piece tokenizer makes of it: one for every six letters of
    a word or fewer, one for each other sign, and two at the ends."""
    return 2 + sum(-(-len(piece) // 6) for piece in re.findall(r"\w+|[^\w\s]", label))


def shorten(label: str) -> str:
    """The label in one line, whole words, at most 25 tokens."""
    kept = " ".join(label.split()).rstrip(".")
    while tokens(kept) > LABEL_TOKENS and " " in kept:
        kept = kept.rsplit(" ", 1)[0]
    return kept[:100]


# --- language models ------------------------------------------------------------------------------------------------

SYSTEM = (
    "You write motion prompts for an image-to-video model. Answer with JSON alone: "
    '{"caption": "the object in one phrase", "motions": [{"label": "verb phrase, at most 12 words", '
    '"prompt": "one to three sentences that describe the object and its one continuous movement"}]}. '
    "Spread the motions over locomotion, appendages, head, body axis, posture and fine detail; a third of them large, "
    "a third medium, a third small. The object stays in place and in the frame, the camera never moves, the background "
    "is plain white. No two motions are alike."
)
AT_ONCE = 20
TRIES = 4
"""Answers in a row that bring nothing new before the rest is given up."""


def ask(model: Ask, count: int, subject: str = "") -> list[MotionPrompt]:
    """So many motions from a language model, 20 at a time; it is told which there are, and asked again for what is
    missing. Raises DimoError if it does not bring any; fewer than wanted are better than none."""
    entries: list[dict[str, str]] = []
    motions: list[MotionPrompt] = []
    failures, reason = 0, ""
    while len(motions) < count and failures < TRIES:
        missing = min(AT_ONCE, count - len(motions))
        known = "".join(f"\n- {motion.label}" for motion in motions)
        about = f"The object is {subject}. " if subject else ""
        again = f" Not these again:{known}" if known else ""
        answer = model(SYSTEM, f"{about}Write {missing} motions of it.{again}")
        found, reason = parse(answer)
        entries += found
        before = len(motions)
        motions = build(entries, subject, "the answer")[:count]
        failures = failures + 1 if len(motions) == before else 0
    if not motions:
        raise DimoError(
            f"The language model did not give motions in {TRIES} answers ({reason or 'it gave none'}); try another "
            "one, or the templates: --category."
        )
    return motions


def parse(answer: str) -> tuple[list[dict[str, str]], str]:
    """The usable motions of an answer, and why there are none. A fence around the JSON is no matter."""
    found = answer[answer.find("{") : answer.rfind("}") + 1] if "{" in answer else ""
    try:
        content = json.loads(found) if found else None
    except (ValueError, RecursionError) as error:
        return [], f"not JSON: {error}"
    rows = content.get("motions") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        return [], f"no list of motions in {answer[:60]!r}"
    usable = [
        {"label": row["label"], "prompt": str(row.get("prompt") or "")}
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("label"), str) and row["label"].strip()
    ]
    return usable, "" if usable else "its motions have no labels"
