"""Whether a preset can run on this machine: packages, memory, weights, licences, and what is to be downloaded.

Of weights only the headers are read.
"""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dimo_ns.errors import DimoError
from dimo_ns.generate import checkpoints, views
from dimo_ns.generate.multiview.variants import variant_named
from dimo_ns.generate.presets import Preset

NEEDED = {
    "torch": "2.6",
    "diffusers": "0.42",
    "transformers": "5",
    "accelerate": "1",
    "safetensors": "0.4",
    "ftfy": "6",
}
OPTIONAL = {
    "bitsandbytes": ("presets in 4 bits", "pip install bitsandbytes"),
    "openai": ("--endpoint", "pip install 'dimo-ns[generate]'"),
    "rembg": ("--matting rembg:MODEL", "pip install 'rembg[cpu]'"),
}
"""What each is for, and the command that gets it."""
MULTIVIEW_LICENCE = "Stability AI community licence: free below 1 million US dollars of revenue a year; read it first"


@dataclass(frozen=True)
class Finding:
    """One line."""

    what: str
    state: str
    """ok, note or missing."""
    text: str
    command: str = ""
    """That gets what is missing."""


def examine(preset: Preset, weights: Path | None, multiview_weights: Path | None) -> list[Finding]:
    """All that was found; nothing is raised."""
    return [
        *packages(preset),
        memory(preset),
        main_memory(preset),
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
            found.append(Finding(name, "missing", f"{have} is too old", f"pip install '{name}>={least}'"))
        else:
            lacks = Finding(name, "missing", "not installed", "pip install 'dimo-ns[generate]'")
            found.append(Finding(name, "ok", have) if have else lacks)
    for name, (use, command) in OPTIONAL.items():
        have = installed(name)
        needed = name == "bitsandbytes" and bool(preset.quantise)
        lacks = Finding(name, "note", f"not installed; for {use}: {command}")
        if needed:
            lacks = Finding(name, "missing", f"not installed; for {use}", command)
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


def main_memory(preset: Preset) -> Finding:
    """Where networks wait while they are not on the GPU."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    state = "ok" if total >= preset.main_gb else "missing"
    return Finding("main memory", state, f"{total:.1f} GB; '{preset.name}' needs about {preset.main_gb:g}")


def video_weights(preset: Preset, weights: Path | None) -> Finding:
    try:
        folder = checkpoints.find(preset.model, weights)
        about = checkpoints.check(preset.model, folder)
    except DimoError as error:
        return Finding("video model", "missing", str(error), preset.model.download)
    return Finding("video model", "ok", f"{preset.model.name} in {folder}, commit {about['commit'] or 'unknown'}")


def multiview(variant: str, weights: Path | None) -> Finding:
    try:
        path = views.find(weights, variant)
        views.check(path, variant)
    except DimoError as error:
        return Finding("multi-view model", "missing", str(error), variant_named(variant).download)
    return Finding("multi-view model", "ok", f"{variant} in {path}")


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def older(have: str, least: str) -> bool:
    from packaging.version import Version

    return Version(have) < Version(least)
