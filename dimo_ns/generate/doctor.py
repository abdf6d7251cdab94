"""Whether a preset can run on this machine: packages, memory, weights, licences, and what is to be downloaded.

Of weights only the headers are read.
"""

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dimo_ns.errors import DimoError
from dimo_ns.generate import checkpoints, views
from dimo_ns.generate.presets import Preset

NEEDED = {
    "torch": "2.6",
    "diffusers": "0.42",
    "transformers": "5",
    "accelerate": "1",
    "safetensors": "0.4",
    "ftfy": "6",
}
OPTIONAL = {"bitsandbytes": "presets in 4 bits", "openai": "--endpoint", "rembg": "--matting rembg:MODEL"}
MULTIVIEW_LICENCE = "Stability AI community licence: free below 1 million US dollars of revenue a year; read it first"


@dataclass(frozen=True)
class Finding:
    """One line."""

    what: str
    state: str
    """ok, note or missing."""
    text: str


def examine(preset: Preset, weights: Path | None, multiview_weights: Path | None) -> list[Finding]:
    """All that was found; nothing is raised."""
    return [
        *packages(preset),
        memory(preset),
        video_weights(preset, weights),
        Finding("licence", "note", f"{preset.model.name}: {preset.model.licence}"),
        multiview(preset.multiview, multiview_weights),
        Finding("licence", "note", f"{preset.multiview}: {MULTIVIEW_LICENCE}"),
    ]


def packages(preset: Preset) -> list[Finding]:
    found = [Finding("python", "ok", sys.version.split()[0])]
    for name, least in NEEDED.items():
        have = installed(name)
        if have and older(have, least):
            found.append(Finding(name, "missing", f"{have} is too old; pip install '{name}>={least}'"))
        else:
            found.append(
                Finding(name, "ok", have) if have else Finding(name, "missing", "pip install -e '.[generate]'")
            )
    for name, use in OPTIONAL.items():
        have = installed(name)
        needed = name == "bitsandbytes" and bool(preset.quantise)
        lacks = Finding(name, "missing" if needed else "note", f"not installed; for {use}: pip install {name}")
        found.append(Finding(name, "ok", have) if have else lacks)
    return found


def memory(preset: Preset) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "missing", "none that torch can use; see pytorch.org for a build that fits your driver")
    free, total = (value / 1e9 for value in torch.cuda.mem_get_info())
    text = (
        f"{torch.cuda.get_device_name()}, {free:.1f} of {total:.1f} GB free; '{preset.name}' needs {preset.needs_gb:g}"
    )
    return Finding("GPU", "ok" if free >= preset.needs_gb else "missing", text)


def video_weights(preset: Preset, weights: Path | None) -> Finding:
    try:
        folder = checkpoints.find(preset.model, weights)
        about = checkpoints.check(preset.model, folder)
    except DimoError as error:
        return Finding("video model", "missing", str(error))
    return Finding("video model", "ok", f"{preset.model.name} in {folder}, commit {about['commit'] or 'unknown'}")


def multiview(variant: str, weights: Path | None) -> Finding:
    try:
        path = views.find(weights, variant)
        views.check(path, variant)
    except DimoError as error:
        return Finding("multi-view model", "missing", str(error))
    return Finding("multi-view model", "ok", f"{variant} in {path}")


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def older(have: str, least: str) -> bool:
    from packaging.version import Version

    return Version(have) < Version(least)
