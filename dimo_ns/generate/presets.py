"""Which models a run uses and how they fit a GPU: configs/generate/models.yaml and presets/*.yaml, or a user's file."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from dimo_ns.errors import DimoError
from dimo_ns.generate.multiview.variants import variant_named
from dimo_ns.generate.prompts import CONFIGS

PIPELINES = ("WanImageToVideoPipeline", "CogVideoXImageToVideoPipeline", "HunyuanVideo15ImageToVideoPipeline")
OFFLOADS = ("none", "model", "group")


@dataclass(frozen=True)
class Model:
    """An image-to-video model."""

    name: str
    pipeline: str
    repo: str
    licence: str
    parameters: dict[str, float]
    """Billions, of each transformer; empty: not checked."""
    gigabytes: float
    frame_step: int
    """It makes k times this many frames, and one."""
    most_frames: int
    multiple: int
    """Of the sides, in pixels."""
    fps: float
    patch: int
    """Pixels along the side of a token."""
    layers: int
    channels: int
    fixed_size: Sequence[int] | None = None
    """Height and width, if it makes no other."""
    revision: str | None = None

    @property
    def download(self) -> str:
        """The command that gets the weights."""
        return f"hf download {self.repo}" + (f" --revision {self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Preset:
    """A model and how it is run."""

    name: str
    needs_gb: float
    """Free memory of the GPU."""
    model: Model
    height: int
    width: int
    frames: int
    steps: int
    guidance: float
    offload: str
    tiling: bool
    multiview: str
    images_at_once: int
    quantise: list[str] = field(default_factory=list)
    multiview_steps: int = 50
    main_gb: float = 0.0
    """Main memory for all networks at once, computed; 0: unknown."""
    automatic: bool = True
    """Whether it may be chosen by the free memory."""

    def check(self) -> None:
        """Raises DimoError for what cannot be made to fit."""
        m, where = self.model, f"The preset '{self.name}'"
        if self.offload not in OFFLOADS:
            raise DimoError(f"{where} has the offload '{self.offload}'; choose one of {', '.join(OFFLOADS)}.")
        size = self.height, self.width
        if m.fixed_size and size != tuple(m.fixed_size):
            high, wide = m.fixed_size
            raise DimoError(f"{where} wants {size[1]} x {size[0]} pixels; {m.name} makes {wide} x {high} only.")
        if min(size) < m.multiple or any(side % m.multiple for side in size):
            raise DimoError(f"{where} wants {size[1]} x {size[0]} pixels; {m.name} makes multiples of {m.multiple}.")
        if self.steps < 1 or self.multiview_steps < 1 or self.frames < 1:
            raise DimoError(f"{where} has {self.steps} steps and {self.frames} frames; both must be at least 1.")

    def fitted(self) -> tuple["Preset", list[str]]:
        """With a number of frames that the model can make, and what was changed."""
        self.check()
        notes = []
        frames = rounded(self.frames, self.model)
        if frames != self.frames:
            step = self.model.frame_step
            notes.append(
                f"{self.model.name} makes {step}k+1 frames, {self.model.most_frames} at most: {frames} are made."
            )
        return replace(self, frames=frames), notes


def rounded(frames: int, model: Model) -> int:
    """The nearest number of frames that the model makes."""
    step = model.frame_step
    most = (model.most_frames - 1) // step
    return min(max(1, round((frames - 1) / step)), most) * step + 1


def names() -> list[str]:
    """Those that come with dimo, by the memory that they need."""
    return [preset.name for preset in all_presets()]


def all_presets() -> list[Preset]:
    presets = [read(path) for path in sorted((CONFIGS / "presets").glob("*.yaml"))]
    return sorted(presets, key=lambda preset: (not preset.automatic, preset.needs_gb, preset.name))


def preset_named(name: str) -> Preset:
    """One that comes with dimo, or a file. Raises DimoError for others."""
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    if name not in names():
        raise DimoError(f"There is no preset '{name}'; choose one of {', '.join(names())}, or a file NAME.yaml.")
    return read(CONFIGS / "presets" / f"{name}.yaml")


def fitting(free_gb: float, wanted: str | None = None) -> Preset:
    """The preset of that name, or the largest for which there is memory. Raises DimoError if it does not fit."""
    fits = [preset for preset in all_presets() if preset.automatic and preset.needs_gb <= free_gb]
    largest = f"'{fits[-1].name}' fits" if fits else "none of the presets fits"
    if wanted is None:
        if not fits:
            least = all_presets()[0]
            raise DimoError(
                f"The GPU has {free_gb:.1f} GB free; the smallest preset, '{least.name}', needs {least.needs_gb:g} GB."
            )
        return fits[-1]
    preset = preset_named(wanted)
    if preset.needs_gb > free_gb:
        raise DimoError(
            f"The preset '{preset.name}' needs {preset.needs_gb:g} GB and the GPU has {free_gb:.1f} GB free; {largest}."
        )
    return preset


def models() -> dict[str, Model]:
    content = yaml.safe_load((CONFIGS / "models.yaml").read_text())
    return {name: made(Model, {"name": name, **entry}, "models.yaml") for name, entry in content.items()}


def read(path: Path) -> Preset:
    """Raises DimoError for what is not a preset."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DimoError(f"The preset {path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise DimoError(f"The preset {path} is not a list of settings; copy one of {CONFIGS / 'presets'}.")
    model = content.get("model")
    if isinstance(model, dict):
        content["model"] = made(Model, {"name": path.stem, **model}, f"{path}, model")
    elif model in (known := models()):
        content["model"] = known[model]
    else:
        raise DimoError(f"{path}: 'model' is {model!r}; choose one of {', '.join(known)}.")
    preset = made(Preset, {"name": path.stem, **content}, str(path))
    if preset.model.pipeline not in PIPELINES:
        raise DimoError(f"{path}: 'pipeline' is {preset.model.pipeline!r}; choose one of {', '.join(PIPELINES)}.")
    variant_named(preset.multiview)
    preset.check()
    return preset


def made(kind: Any, content: dict[str, Any], where: str) -> Any:
    """A dataclass of such fields. Raises DimoError if one is missing, unknown or of another type."""
    known = {f.name: f for f in fields(kind)}
    for name, entry in content.items():
        if name not in known:
            raise DimoError(f"{where}: there is no setting '{name}'; there are {', '.join(known)}.")
        wanted = known[name].type
        types = {"int": int, "float": (int, float), "str": str, "bool": bool, "list[str]": list}.get(
            getattr(wanted, "__name__", str(wanted)) if not str(wanted).startswith("list") else "list[str]"
        )
        if types and (not isinstance(entry, types) or (types is not bool and isinstance(entry, bool))):
            raise DimoError(f"{where}: '{name}' is {entry!r}; expected a {getattr(wanted, '__name__', wanted)}.")
    missing = [
        n for n, f in known.items() if n not in content and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise DimoError(f"{where}: '{missing[0]}' is missing.")
    return kind(**content)
