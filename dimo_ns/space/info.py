"""What is known of a trained scene beside its tensors: SceneInfo, read from and written to scene.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dimo_ns.data.dataset import Dataset, Motion, View
from dimo_ns.data.layouts.reading import MAX_FRAMES, PLAYBACK_FPS, read_motion, read_view
from dimo_ns.data.placement import AT_HOME, Placement
from dimo_ns.files.fields import Fields, check_unique, is_finite

OF_THE_FILE = ("format", "version", "decoder", "latent_dim", "keypoints", "gaussians", "sha256")
"""Fields of scene.json that describe the file and its tensors; `save_scene` adds them."""
MAX_COUNT = 2**63


@dataclass(frozen=True, eq=False)
class SceneInfo:
    """The motions, cameras and origin of a scene. None: scene.json does not say."""

    motions: tuple[Motion, ...]
    """In the order of the latents."""
    frames: int
    """How many every motion has."""
    fps: float = PLAYBACK_FPS
    object: str | None = None
    prompt: str | None = None
    licence: str | None = None
    views: tuple[View, ...] = ()
    """The cameras of the dataset."""
    background: tuple[float, ...] | None = None
    """The colour that the renders of training were over, in [0, 1]."""
    dataset_hash: str | None = None
    method: str | None = None
    step: int | None = None
    """Where training was when the scene was taken from it."""
    seed: int | None = None
    versions: dict[str, str] | None = None
    """The programs that trained it, by name."""
    metrics: dict[str, Any] | None = None
    """The figures of its report."""
    placement: Placement = AT_HOME
    """Where the object was in the world that the dataset's cameras had on disk."""
    sha256: str | None = None
    """The hash of the file that the scene was read from."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What scene.json also says."""

    @staticmethod
    def read(values: Mapping[str, Any], where: str) -> "SceneInfo":
        """The content of scene.json, checked; `where` begins a complaint. Raises DimoError."""
        fields = Fields(dict(values), where)
        frames, fps = fields.integer("frames", 1, MAX_FRAMES), fields.number("fps", PLAYBACK_FPS)
        if fps <= 0:
            raise fields.error("fps", "a positive number")
        motions = tuple(read_motion(entry, frames, fps) for entry in fields.entries("motions"))
        check_unique([motion.name for motion in motions], f"{where} names two motions")
        cameras = [] if values.get("cameras") in (None, []) else fields.entries("cameras")

        def known(key: str, take: Callable[[str], Any]) -> Any:
            return None if values.get(key) is None else take(key)

        def text(key: str) -> str | None:
            return known(key, lambda key: fields.text(key, ""))

        def count(key: str) -> int | None:
            return known(key, lambda key: fields.integer(key, -MAX_COUNT, MAX_COUNT))

        def table(key: str) -> dict[str, Any] | None:
            return known(key, lambda key: fields.object(key).values)

        return SceneInfo(
            motions,
            frames,
            fps,
            object=text("object"),
            prompt=text("prompt"),
            licence=text("licence"),
            views=tuple(read_view(entry, fields) for entry in cameras),
            background=known("background", lambda key: _colour(fields, key)),
            dataset_hash=text("dataset_hash"),
            method=text("method"),
            step=count("step"),
            seed=count("seed"),
            versions=table("versions"),
            metrics=table("metrics"),
            placement=Placement.read(fields, "placement"),
            sha256=text("sha256"),
            extra={key: value for key, value in values.items() if key not in (*KNOWN, *OF_THE_FILE)},
        )

    @property
    def names(self) -> list[str]:
        """The motions' names."""
        return [motion.name for motion in self.motions]

    @staticmethod
    def of(dataset: Dataset, motions: Sequence[Motion]) -> "SceneInfo":
        """What a dataset says of a scene that is trained on these of its motions, over white."""
        return SceneInfo(
            tuple(motions),
            dataset.frames,
            dataset.fps,
            object=dataset.object,
            prompt=dataset.prompt,
            licence=dataset.licence,
            views=dataset.views,
            background=(1.0, 1.0, 1.0),
            dataset_hash=dataset.hash,
            placement=dataset.placement,
        )

    def to_json(self) -> dict[str, Any]:
        """What `save_scene` takes: `read` of it gives the same again, but for what describes the file."""
        values = {
            "object": self.object,
            "prompt": self.prompt,
            "licence": self.licence,
            "motions": [asdict(motion) for motion in self.motions],
            "frames": self.frames,
            "fps": self.fps,
            "cameras": [view.to_json() for view in self.views] or None,
            "background": None if self.background is None else list(self.background),
            "dataset_hash": self.dataset_hash,
            "method": self.method,
            "step": self.step,
            "seed": self.seed,
            "versions": self.versions,
            "metrics": self.metrics,
            "placement": None if self.placement == AT_HOME else asdict(self.placement),
        }
        return {key: value for key, value in values.items() if value is not None} | self.extra


KNOWN = (
    "object", "prompt", "licence", "motions", "frames", "fps", "cameras", "background", "dataset_hash", "method",
    "step", "seed", "versions", "metrics", "placement",
)  # fmt: skip
"""The fields of scene.json that SceneInfo has."""


def _colour(fields: Fields, key: str) -> tuple[float, ...]:
    value = fields.values[key]
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(map(is_finite, value)):
        raise fields.error(key, "three numbers")
    return tuple(float(part) for part in value)
