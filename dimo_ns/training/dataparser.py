"""`dimo-data`: a dataset of motions as nerfstudio sees it, one camera per (motion, frame, view).

nerfstudio imports this module while its own engine is still loading: nothing from there may be imported here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dimo_ns.data.dataset import Dataset, Motion, View
from dimo_ns.data.format import load
from dimo_ns.data.images import Source
from dimo_ns.errors import DimoError
from dimo_ns.space.info import SceneInfo


@dataclass
class DimoDataParserConfig(DataParserConfig):
    """Reads a dataset of motions: ours, the authors' layout, or a folder of videos (docs/data.md)."""

    _target: type = field(default_factory=lambda: DimoDataParser)
    data: Path = Path()
    """Folder of the dataset."""
    motions: tuple[str, ...] = ()
    """Names of the motions to train on; empty: all that the dataset has for training."""
    frames: int | None = None
    """Frames to take of every video, for a folder of videos without a motions.json."""


class DimoDataParser(DataParser):
    """Every camera carries its time and, as metadata, which motion, frame and view it is."""

    config: DimoDataParserConfig
    includes_time: bool = True

    def __init__(self, config: DimoDataParserConfig):
        super().__init__(config)
        if config.data == Path():
            raise DimoError("No dataset was given: add --data FOLDER.")
        self.dataset = load(config.data, frames=config.frames)
        self.motions = choose_motions(self.dataset, config.motions)

    def _generate_dataparser_outputs(self, split: str = "train", **_) -> DataparserOutputs:
        side: Literal["train", "test"] = "train" if split == "train" else "test"
        views = (self.dataset.train_views if side == "train" else self.dataset.test_views) or self.dataset.train_views
        items = [
            (m, f, v)
            for m, motion in enumerate(self.motions)
            for f in range(self.dataset.frames)
            for v, view in enumerate(views)
            if (motion.name, view.name, f) in self.dataset.sources
        ]
        used = [views[v] for _, _, v in items]
        metadata = {
            name: torch.tensor([[item[i]] for item in items])
            for i, name in enumerate(("motion_id", "frame_id", "view_id"))
        }
        return DataparserOutputs(
            image_filenames=[
                _named(self.dataset.sources[self.motions[m].name, views[v].name, f], f) for m, f, v in items
            ],
            cameras=nerfstudio_cameras(used, torch.tensor([[f / self.dataset.frames] for _, f, _ in items]), metadata),
            scene_box=SceneBox(torch.tensor([[-0.6] * 3, [0.6] * 3])),
            metadata={
                "dataset": self.dataset,
                "motions": self.motions,
                "views": views,
                "items": items,
                "scene": SceneInfo.of(self.dataset, self.motions),
            },
        )


def _named(source: Source, frame: int) -> Path:
    """The file after which what is made of a frame is named: one for each, also where a video has many."""
    return source.path if source.video_frame is None else source.path.with_suffix("") / f"{frame:02d}.png"


def choose_motions(dataset: Dataset, names: tuple[str, ...]) -> tuple[Motion, ...]:
    """The motions to train on, in the dataset's order. Raises DimoError for names that it does not have."""
    known = {motion.name: motion for motion in dataset.motions}
    for name in names:
        if name not in known:
            raise DimoError(f"The dataset {dataset.root} has no motion '{name}'; it has {', '.join(known)}.")
    motions = tuple(m for m in dataset.motions if m.name in names) if names else dataset.train_motions
    if not motions:
        raise DimoError(f'The dataset {dataset.root} has no motion to train on; mark one with "split": "train".')
    return motions


def nerfstudio_cameras(views: list[View], times: torch.Tensor, metadata: dict[str, Any] | None = None) -> Cameras:
    """nerfstudio's cameras of given views, with times [n, 1] in [0, 1)."""

    def column(name: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([[getattr(view, name)] for view in views], dtype=dtype)

    return Cameras(
        camera_to_worlds=torch.stack([torch.from_numpy(v.c2w[:3]) for v in views]).float(),
        **{name: column(name, torch.float32) for name in ("cx", "cy")},
        fx=column("fl_x", torch.float32),
        fy=column("fl_y", torch.float32),
        width=column("w", torch.int64),
        height=column("h", torch.int64),
        camera_type=CameraType.PERSPECTIVE,
        times=times.float(),
        metadata=metadata,
    )


dimo_data = DataParserSpecification(
    config=DimoDataParserConfig(), description="Motions of one object, seen from several views."
)
