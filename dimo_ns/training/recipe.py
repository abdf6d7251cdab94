"""A training recipe as data: phases in order, each with its batches, resolutions, learning rates and loss weights.

Which phase a step belongs to, and everything about it, is a function of the step and the number of motions alone, so a
run can be resumed at any step. `PAPER` is the recipe of the paper, `LAPTOP` finds motions as explicit trajectories
first and takes minutes on two cores, `LAPTOP_MLP` is the same with the paper's decoder.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

Groups = dict[str, tuple[float, float]]
"""Learning rates by parameter group: at the phase's first step, at its last; log-linear between."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; zero: not computed."""

    l1: float = 0.0
    mse: float = 0.0
    """Both on colours over white, weighted by `reference` on view 0 and frame 0."""
    pyramid: int = 0
    """Halvings of the picture that the L1 loss is averaged over, beside the picture itself."""
    reference: float = 1.0
    """Weight of the reference view and frame against 1 for all others."""
    mask: float = 0.0
    """Squared difference of alpha."""
    ssim: float = 0.0
    lpips: float = 0.0
    arap: float = 0.0
    """Per edge, in units of the mean squared edge length."""
    arap_robust: float = 0.0
    """Scale beyond which an edge's energy grows linearly, so that parts may separate; zero: quadratic everywhere."""
    acceleration: float = 0.0
    """Second difference in time of the key points, in units of the mean squared edge length."""
    anchor: float = 0.0
    kl: float = 0.0
    """Per motion, in nats."""
    depth: float = 0.0
    normal: float = 0.0


@dataclass(frozen=True)
class Density:
    """Adding and removing Gaussians during a phase; steps are fractions of the phase."""

    grow_at: tuple[float, ...] = ()
    """When to split the Gaussians whose projections are pulled most, evenly up to `target`."""
    target: int = 0
    prune_at: tuple[float, ...] = ()
    min_opacity: float = 0.02
    clone_every: int = 0
    """The paper's stage 1: every so many steps, clone small and split large points that are pulled strongly."""
    farthest_at: tuple[float, ...] = ()
    """When to cut back to the number of key points by farthest-point sampling."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training."""

    name: str
    motion: Literal["rest", "table", "decoder", "points", "coordinates", "rows"]
    """What moves the Gaussians: nothing; explicit trajectories; the decoder through the key points; the decoder
    directly, the Gaussians being the key points. `coordinates`, `rows`: nothing is rendered, the decoder learns the
    table, by the coordinates of its principal components or by random rows of it."""
    steps: int
    steps_per_motion: int = 0
    begin: Literal["", "hull", "tree", "distill", "ball", "around"] = ""
    """How it starts: Gaussians on the visual hull; key points and the order of tracking; basis and latents from the
    table; points in a ball; Gaussians around each key point."""
    sampler: Literal["reference", "tree", "random"] = "random"
    motions: int = 4
    times: int = 2
    views: int = 2
    sizes: tuple[tuple[float, int], ...] = ((0.0, 256),)
    """(fraction of the phase, or of each level of the tree; resolution) in order."""
    lr: Groups = field(default_factory=dict)
    weights: Weights = Weights()
    density: Density = Density()
    smoothing: tuple[float, ...] = ()
    """Diffusion of the table's gradients over the key point graph, in equal parts of the phase (or tree level)."""

    def length(self, motions: int) -> int:
        """Steps of the phase; at least one, in which it begins."""
        return max(1, self.steps + self.steps_per_motion * motions)


@dataclass(frozen=True)
class Moment:
    """Where a step lies."""

    phase: Phase
    index: int
    """Of the phase."""
    step: int
    """Within the phase."""
    length: int

    @property
    def renders(self) -> bool:
        """Whether pictures are looked at."""
        return self.phase.motion not in ("coordinates", "rows")

    @property
    def fraction(self) -> float:
        return self.step / self.length

    def resolution(self, fraction: float | None = None) -> int:
        """Of the pictures, by how far the phase has come, or its present part."""
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
    keypoints: int = 512
    gaussians: int = 4000
    """How many the first phase starts with."""
    decoder: Literal["mlp", "low_rank"] = "low_rank"
    rank: int = 96
    width: int = 512

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
        for index, phase in enumerate(self.phases):
            length = phase.length(motions)
            if step < length or index == len(self.phases) - 1:
                return Moment(phase, index, min(step, length - 1), length)
            step -= length
        raise ValueError("a recipe needs a phase")


def gaussian_rates(scale: float, end: float) -> Groups:
    """Learning rates of the canonical Gaussians, falling to `end` of their start."""
    rates = {"means": 5e-4, "quats": 5e-3, "scales": 1e-2, "opacities": 3e-2, "colors": 1e-2}
    return {name: (rate * scale, rate * scale * end) for name, rate in rates.items()}


LAPTOP = Recipe(
    phases=(
        Phase(
            "rest", "rest", 200, begin="hull", sampler="reference", sizes=((0.0, 128),), lr=gaussian_rates(1.0, 0.3),
            weights=Weights(l1=1.0, mask=0.5),
        ),
        Phase(
            "track", "table", 600, steps_per_motion=60, begin="tree", sampler="tree", views=5, sizes=((0.0, 128),),
            lr={"translations": (0.02, 0.003), "rotations": (0.06, 0.009)}, smoothing=(50.0, 12.0, 3.0, 0.7),
            weights=Weights(l1=1.0, pyramid=3, mask=0.5, arap=0.05, arap_robust=0.1),
        ),
        Phase(
            "trajectories", "table", 600, steps_per_motion=120, motions=8, times=1, sizes=((0.0, 128), (0.25, 256)),
            lr={**gaussian_rates(1.0, 0.1), "radii": (5e-3, 5e-4), "translations": (2e-3, 2e-4),
                "rotations": (6e-3, 6e-4)}, smoothing=(0.5,),
            weights=Weights(l1=1.0, mask=0.5, arap=0.05, arap_robust=0.1, acceleration=0.005),
            density=Density(grow_at=(0.15, 0.3, 0.45), target=10000, prune_at=(0.15, 0.3, 0.45, 0.8)),
        ),
        Phase(
            "distill", "coordinates", 5000, steps_per_motion=100, begin="distill",
            lr={"decoder": (4e-3, 1e-4), "latents": (5e-3, 5e-6)}, weights=Weights(mse=1.0, kl=1e-5),
        ),
        Phase(
            "joint", "decoder", 300, steps_per_motion=100, motions=8, times=1,
            lr={**gaussian_rates(0.2, 0.1), "radii": (1e-3, 1e-4), "decoder": (1e-4, 1e-5), "basis": (1e-5, 1e-6),
                "latents": (3e-4, 3e-5)},
            weights=Weights(l1=1.0, mask=0.5, arap=0.05, arap_robust=0.1, kl=1e-6),
        ),
    ),
)  # fmt: skip

LAPTOP_MLP = replace(
    LAPTOP,
    phases=tuple(
        replace(p, motion="rows", steps=1000, steps_per_motion=100, lr={**p.lr, "decoder": (1e-3, 5e-5)})
        if p.name == "distill"
        else p
        for p in LAPTOP.phases
    ),
    decoder="mlp",
)
"""The same with the paper's decoder."""

_LOSSES = Weights(mse=5.0, reference=2.0, lpips=1.0, ssim=0.5, mask=0.5, kl=5e-5)
_SMOOTH = replace(_LOSSES, depth=0.1, normal=5e-5)
_RIGID = replace(_SMOOTH, arap=0.01)
_POINTS = {"colors": (0.01, 0.01), "opacities": (0.05, 0.05), "scales": (0.01, 0.01), "latents": (5e-3, 5e-3),
           "decoder": (2e-4, 2e-4)}  # fmt: skip
_JOINT = {"colors": (0.01, 0.01), "opacities": (0.05, 0.05), "scales": (5e-3, 5e-3), "quats": (5e-3, 5e-3),
          "keypoints": (2e-6, 2e-6), "radii": (5e-3, 5e-3)}  # fmt: skip

PAPER = Recipe(
    phases=(
        Phase(
            "points", "points", 500, begin="ball", sizes=((0.0, 128), (0.6, 256), (0.9, 512)),
            lr={**_POINTS, "means": (0.01, 2e-4)}, weights=_LOSSES, density=Density(clone_every=100),
        ),
        Phase(
            "points settle", "points", 1500, sizes=((0.0, 512),), lr={**_POINTS, "means": (2e-4, 2e-4)},
            weights=_SMOOTH, density=Density(clone_every=100, farthest_at=(1 / 3,)),
        ),
        Phase(
            "points rigid", "points", 800, sizes=((0.0, 512),), lr={**_POINTS, "means": (2e-4, 2e-4)},
            weights=_RIGID, density=Density(farthest_at=(0.0,)),
        ),
        Phase(
            "joint", "decoder", 5000, begin="around", sizes=((0.0, 128), (0.06, 256), (0.09, 512)),
            lr={**_JOINT, "means": (2e-4, 2e-5), "latents": (5e-3, 1e-3), "decoder": (2e-4, 2e-5)},
            weights=replace(_RIGID, anchor=0.01), density=Density(prune_at=(0.2, 0.4, 0.6, 0.8)),
        ),
        Phase(
            "joint fine", "decoder", 5000, sizes=((0.0, 512),),
            lr={**_JOINT, "means": (2e-5, 2e-6), "latents": (1e-3, 2e-4), "decoder": (2e-5, 2e-6)},
            weights=replace(_SMOOTH, anchor=0.01),
        ),
    ),
    decoder="mlp",
    gaussians=512,
)  # fmt: skip

RECIPES = {"paper": PAPER, "laptop": LAPTOP, "laptop-mlp": LAPTOP_MLP}
