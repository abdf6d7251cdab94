"""A training recipe: phases in order, each with its batches, resolutions, learning rates and loss weights.

Recipes are data: the files in configs/recipes, or one that a user has copied and edited. Which phase a step belongs to,
and everything about it, is a function of the step and the number of motions alone, so a run can be resumed at any step.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from dimo_ns.errors import DimoError
from dimo_ns.files.configs import CONFIGS
from dimo_ns.files.dataclass_fields import Between, read_dataclass
from dimo_ns.files.fields import MAX_YAML_BYTES, Fields, parse_yaml, read_bytes
from dimo_ns.files.opening import expanded

FOLDER = CONFIGS / "recipes"
GAUSSIAN_GROUPS = ("means", "quats", "scales", "opacities", "colors")
GROUPS = (*GAUSSIAN_GROUPS, "keypoints", "radii", "latents", "decoder", "basis", "translations", "rotations")
"""Parameter groups; `basis` is there with the low-rank decoder, `translations` and `rotations` with a table."""
Count = Annotated[int, Between(0)]
AtLeastOne = Annotated[int, Between(1)]
Share = Annotated[float, Between(0, 1)]
Weight = Annotated[float, Between(0)]


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; zero: not computed."""

    l1: Weight = 0.0
    mse: Weight = 0.0
    """Both on colours over white, weighted by `reference` on view 0 and frame 0; when the decoder learns the table
    (`Phase.lesson`), `mse` is the weight of its error."""
    pyramid: Count = 0
    """Halvings of the picture that the L1 loss is averaged over, beside the picture itself."""
    reference: Annotated[float, Between(1e-6)] = 1.0
    """Weight of the reference view and frame against 1 for all others."""
    mask: Weight = 0.0
    """Squared difference of alpha."""
    ssim: Weight = 0.0
    lpips: Weight = 0.0
    arap: Weight = 0.0
    """Per edge, in units of the mean squared edge length."""
    arap_robust: Weight = 0.0
    """Scale beyond which an edge's energy grows linearly, so that parts may separate; zero: quadratic everywhere."""
    acceleration: Weight = 0.0
    """Second difference in time of the table's key points, in units of the mean squared edge length."""
    anchor: Weight = 0.0
    """Squared distance to where the paper's first stage had a key point."""
    kl: Weight = 0.0
    """Per motion, in nats."""
    depth: Weight = 0.0
    normal: Weight = 0.0
    """Edge-aware smoothness of the rendered maps."""


@dataclass(frozen=True)
class Density:
    """Adding and removing Gaussians during a phase; steps are fractions of the phase."""

    grow_at: tuple[Share, ...] = ()
    """When to split the Gaussians whose projections are pulled most, evenly up to `target`."""
    target: Count = 0
    prune_at: tuple[Share, ...] = ()
    """When to drop those that are fainter than `min_opacity`."""
    min_opacity: Share = 0.02
    clone_every: Count = 0
    """The paper's stage 1: every so many steps, clone small and split large points that are pulled strongly."""
    clone_pull: Weight = 0.02
    """Mean screen-space gradient, in pixels of the picture, beyond which that is."""
    clone_below: Weight = 0.04
    """Scale, in world units, up to which points are cloned."""
    farthest_at: tuple[Share, ...] = ()
    """When to cut back to the number of key points by farthest-point sampling."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training."""

    name: str
    mover: Literal["rest", "table", "decoder", "points"]
    """What moves the Gaussians: nothing; explicit trajectories; the decoder through the key points; the decoder
    directly, the Gaussians being the key points."""
    steps: Count
    steps_per_motion: Count = 0
    begin: Literal["", "hull", "tree", "distill", "ball", "around"] = ""
    """How it starts: Gaussians on the visual hull; key points and the order of tracking; basis and latents from the
    table; points in a ball; Gaussians around each key point."""
    lesson: Literal["", "coordinates", "rows"] = ""
    """Nothing is rendered and the decoder learns the table: by the coordinates of its principal components (the
    low-rank decoder), or by random rows of it (the paper's)."""
    sampler: Literal["reference", "tree", "random"] = "random"
    """Which frames a step sees: the first of the first motion; those of a level of the tree; random ones."""
    motions: AtLeastOne = 4
    times: AtLeastOne = 2
    views: AtLeastOne = 2
    sizes: tuple[tuple[Share, AtLeastOne], ...] = ((0.0, 256),)
    """(fraction of the phase, or of each level of the tree; resolution) in order."""
    lr: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Learning rates by parameter group: at the phase's first step, at its last; log-linear between. Groups that are
    not named are left as they are."""
    weights: Weights = Weights()
    density: Density = Density()
    smoothing: tuple[Weight, ...] = ()
    """Diffusion of the table's gradients over the key point graph, in equal parts of the phase (or tree level)."""
    calibrate_at: tuple[Share, ...] = ()
    """When to find out what is wrong with the views; fractions of the phase."""

    def __post_init__(self) -> None:
        for name, rates in self.lr.items():
            if name not in GROUPS:
                raise ValueError(f"'lr' has a rate for '{name}'; the groups are {', '.join(GROUPS)}")
            if not min(rates) > 0:
                raise ValueError(f"'lr' of '{name}' is {list(rates)}; expected two positive numbers")
        starts = [start for start, _ in self.sizes]
        if not starts or starts[0] != 0 or starts != sorted(starts):
            raise ValueError("'sizes' must begin at fraction 0 and be in order, as in [[0.0, 128], [0.5, 256]]")
        if self.calibrate_at and (self.mover not in ("table", "decoder") or self.lesson):
            raise ValueError("'calibrate_at' needs the mover 'table' or 'decoder', and pictures")
        if self.mover != "table" and (self.sampler == "tree" or self.lesson or self.smoothing):
            raise ValueError("the sampler 'tree', 'lesson' and 'smoothing' need the mover 'table'")

    def length(self, motions: int) -> int:
        """Steps of the phase; at least one, in which it begins."""
        return max(1, self.steps + self.steps_per_motion * motions)

    @property
    def renders(self) -> bool:
        """Whether pictures are looked at."""
        return not self.lesson


@dataclass(frozen=True)
class Moment:
    """Where a step lies."""

    phase: Phase
    index: int
    """The number of the phase, from 0."""
    step: int
    """Within the phase."""
    length: int

    @property
    def fraction(self) -> float:
        """How far the phase has come, in [0, 1)."""
        return self.step / self.length

    def resolution(self, fraction: float | None = None) -> int:
        """Longer side of the pictures, by how far the phase has come, or its present part."""
        fraction = self.fraction if fraction is None else fraction
        return [size for start, size in self.phase.sizes if start <= fraction][-1]

    def is_at(self, fractions: tuple[float, ...]) -> int | None:
        """Which of the given fractions of the phase begins at this step, if any."""
        steps = [round(f * self.length) for f in fractions]
        return steps.index(self.step) if self.step in steps else None


@dataclass(frozen=True)
class Recipe:
    """Phases in order, and the sizes of the model that they train."""

    phases: tuple[Phase, ...]
    keypoints: AtLeastOne = 512
    gaussians: AtLeastOne = 4000
    """How many the first phase starts with."""
    decoder: Literal["mlp", "low_rank"] = "low_rank"
    rank: AtLeastOne = 96
    width: AtLeastOne = 512

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("'phases' is empty; expected at least one phase")
        lesson = {"low_rank": "coordinates", "mlp": "rows"}[self.decoder]
        begun = set()
        for phase in self.phases:
            begun.add(phase.begin)
            if phase.lesson not in ("", lesson):
                raise ValueError(f"the lesson of '{phase.name}' is '{phase.lesson}'; this decoder learns by '{lesson}'")
            if phase.mover == "table" and "tree" not in begun:
                raise ValueError(f"'{phase.name}' moves by a table that no phase has begun; begin with 'tree'")
            if phase.begin == "distill" and "tree" not in begun:
                raise ValueError(f"'{phase.name}' learns from a table that no phase has begun; begin with 'tree'")
        maps = any(phase.weights.depth or phase.weights.normal for phase in self.phases)
        if maps and any(phase.calibrate_at for phase in self.phases):
            raise ValueError("'calibrate_at' does not go together with the weights 'depth' and 'normal' of any phase")
        if self.phases[0].begin not in ("hull", "ball"):
            raise ValueError(f"the first phase, '{self.phases[0].name}', must begin with 'hull' or 'ball'")

    @property
    def has_table(self) -> bool:
        """Whether some phase moves by explicit trajectories."""
        return any(phase.mover == "table" for phase in self.phases)

    def length(self, motions: int) -> int:
        """Steps of the whole recipe."""
        return sum(phase.length(motions) for phase in self.phases)

    def scaled(self, factor: float) -> "Recipe":
        """The same recipe, every phase `factor` times as long."""
        phases = tuple(
            replace(p, steps=round(p.steps * factor), steps_per_motion=round(p.steps_per_motion * factor))
            for p in self.phases
        )
        return replace(self, phases=phases)

    def at(self, step: int, motions: int) -> Moment:
        """The phase of a step; the last one goes on beyond its end."""
        index = 0
        while step >= (length := self.phases[index].length(motions)) and index < len(self.phases) - 1:
            step, index = step - length, index + 1
        return Moment(self.phases[index], index, min(step, length - 1), length)


def names() -> list[str]:
    """The recipes that come with dimo."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipe_text(name: str) -> str:
    """The YAML of a recipe that comes with dimo, by its name, or of a user's file. Raises DimoError."""
    path = expanded(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in names():
            raise DimoError(f"There is no recipe '{name}'; there are {', '.join(names())}, or give a file NAME.yaml.")
        path = FOLDER / f"{name}.yaml"
    try:
        return read_bytes(path, MAX_YAML_BYTES).decode()
    except UnicodeDecodeError as error:
        raise DimoError(f"The recipe {path} is not UTF-8 text ({error.reason}).") from error


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe that a YAML text holds. Raises DimoError with file, key and what was expected."""
    return read_dataclass(Recipe, Fields.of(parse_yaml(text, where), where))


def read_recipe(name: str) -> Recipe:
    """A recipe by its name or from a user's file; see `recipe_text` and `parse_recipe`."""
    return parse_recipe(recipe_text(name), f"The recipe {name}")
