"""Which models a generation uses and how they fit a GPU: configs/generate/models.yaml and presets/*.yaml, or a user's
file."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from dimo_ns.errors import DimoError
from dimo_ns.files.dataclass_fields import Between, read_dataclass
from dimo_ns.files.fields import Fields, read_yaml
from dimo_ns.generate.multiview.variants import variant_named
from dimo_ns.generate.prompts import CONFIGS

Count = Annotated[int, Between(1)]
Size = Annotated[float, Between(0)]


@dataclass(frozen=True)
class Model:
    """An image-to-video model."""

    name: str
    pipeline: Literal["WanImageToVideoPipeline", "CogVideoXImageToVideoPipeline", "HunyuanVideo15ImageToVideoPipeline"]
    repo: str
    licence: str
    parameters: dict[str, float]
    """Billions, of each transformer; empty: not checked."""
    gigabytes: Size
    frame_step: Count
    """It makes k times this many frames, and one."""
    most_frames: Count
    multiple: Count
    """Pixels that divide both sides."""
    fps: Annotated[float, Between(0.01)]
    patch: Count
    """Pixels along the side of a token."""
    layers: Count
    channels: Count
    fixed_size: tuple[int, int] | None = None
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
    needs_gb: Size
    """Free memory of the GPU."""
    model: Model
    height: Count
    width: Count
    frames: Count
    steps: Count
    guidance: float
    offload: Literal["none", "model", "group"]
    tiling: bool
    multiview: str
    images_at_once: Count
    quantise: list[str] = field(default_factory=list)
    multiview_steps: Count = 50
    main_gb: Size = 0.0
    """Main memory for all networks at once, computed; 0: unknown."""
    automatic: bool = True
    """Whether it may be chosen by the free memory."""

    def check(self) -> None:
        """Raises DimoError for what cannot be made to fit."""
        m, where = self.model, f"The preset '{self.name}'"
        size = self.height, self.width
        if m.fixed_size and size != tuple(m.fixed_size):
            high, wide = m.fixed_size
            raise DimoError(f"{where} wants {size[1]} x {size[0]} pixels; {m.name} makes {wide} x {high} only.")
        if min(size) < m.multiple or any(side % m.multiple for side in size):
            raise DimoError(f"{where} wants {size[1]} x {size[0]} pixels; {m.name} makes multiples of {m.multiple}.")

    def fitted(self) -> tuple["Preset", list[str]]:
        """The preset with a number of frames that the model can make, and what was changed."""
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


def fitting(free_gb: float, name: str | None = None) -> Preset:
    """The preset of that name, or the largest for which there is memory. Raises DimoError if it does not fit."""
    fits = [preset for preset in all_presets() if preset.automatic and preset.needs_gb <= free_gb]
    largest = f"'{fits[-1].name}' fits" if fits else "none of the presets fits"
    if name is None:
        if not fits:
            least = all_presets()[0]
            raise DimoError(
                f"The GPU has {free_gb:.1f} GB free; the smallest preset, '{least.name}', needs {least.needs_gb:g} GB."
            )
        return fits[-1]
    preset = preset_named(name)
    if preset.needs_gb > free_gb:
        raise DimoError(
            f"The preset '{preset.name}' needs {preset.needs_gb:g} GB and the GPU has {free_gb:.1f} GB free; {largest}."
        )
    return preset


def models() -> dict[str, Model]:
    """The models that come with dimo, by their names."""
    file = read_yaml(CONFIGS / "models.yaml")
    return {
        name: read_dataclass(Model, Fields({"name": name, **entry}, f"{file.where}, {name}"))
        for name, entry in file.values.items()
    }


def read(path: Path) -> Preset:
    """A preset of a file, whose model is one that comes with dimo or is described there too. Raises DimoError for what
    is no preset."""
    given = read_yaml(path)
    model, known = given.values.get("model"), models()
    if isinstance(model, dict):
        described = {"name": path.stem, **model}
    elif model in known:
        described = asdict(known[model])
    else:
        raise given.error("model", f"one of {', '.join(known)}, or a model described with the fields of models.yaml")
    preset = read_dataclass(Preset, Fields({"name": path.stem, **given.values, "model": described}, given.where))
    variant_named(preset.multiview)
    preset.check()
    return preset
