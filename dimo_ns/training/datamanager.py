"""Feeds training: batches of motions x times x views, decoded ahead at the resolution that the step needs."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.data.datamanagers.base_datamanager import DataManager
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from torch import Tensor

from dimo_ns.core.cameras import Cameras
from dimo_ns.data.dataset import View, cameras_of
from dimo_ns.data.frames import FrameStore
from dimo_ns.data.images import read_rgba
from dimo_ns.training.dataparser import DimoDataParserConfig
from dimo_ns.training.resident import ResidentFrames


@dataclass
class Request:
    """Which frames a step wants: B (motion, time) pairs, each seen by C views, at a size in pixels."""

    motion_ids: Int[Tensor, " b"]
    frame_ids: Int[Tensor, " b"]
    view_ids: Int[Tensor, "b c"]
    picture_ids: Int[Tensor, "b c"]
    """The picture of each view that shows that frame: the one of its number, unless the view is late."""
    size: tuple[int, int]


@dataclass
class Poses:
    """In which poses a step has the object: B (motion, time) pairs, on the training device."""

    motion_ids: Int[Tensor, " b"]
    frame_ids: Int[Tensor, " b"]
    times: Float[Tensor, " b"]


@dataclass
class Batch:
    """A request with what it asked for, on the training device."""

    poses: Poses
    view_ids: Int[Tensor, "b c"]
    picture_times: Float[Tensor, "b c"]
    """When the pictures were taken, in [0, 1)."""
    rgba: Float[Tensor, "b c h w 4"]
    """Premultiplied, in [0, 1]."""
    cameras: Cameras
    """[b, c], for images of the size of `rgba`."""


class MotionImages(InputDataset):
    """Frames as nerfstudio's dataset: RGB over white."""

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        motion, frame, view = self.metadata["items"][image_idx]
        source = self.metadata["dataset"].sources[
            self.metadata["motions"][motion].name, self.metadata["views"][view].name, frame
        ]
        rgba = read_rgba(source)
        alpha = rgba[..., 3:].astype(np.float32) / 255
        return np.round(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


@dataclass
class DimoDataManagerConfig(FullImageDatamanagerConfig):
    """Nothing is cached as float and nothing is pinned: frames stay encoded or as bytes until a step needs them."""

    _target: type = field(default_factory=lambda: DimoDataManager)
    dataparser: DimoDataParserConfig = field(default_factory=DimoDataParserConfig)  # pyright: ignore
    """The dataset."""
    memory_gb: float = 1.0
    """Host memory for decoded frames."""


class DimoDataManager(DataManager):
    """Frames of the training views as batches; whole images of the test views for evaluation."""

    config: DimoDataManagerConfig
    train_dataset: MotionImages
    eval_dataset: MotionImages
    includes_time = True

    def __init__(
        self, config: DimoDataManagerConfig, device: str | torch.device = "cpu", test_mode: str = "val", **_: Any
    ):
        self.config, self.device, self.test_mode = config, torch.device(device), test_mode
        self.world_size = 1
        if config.data is not None:
            config.dataparser.data = Path(config.data)
        self.dataparser = config.dataparser.setup()
        self.train_dataparser_outputs = self.dataparser.get_dataparser_outputs(split="train")
        self.test_split = "test"
        self.train_dataset = MotionImages(self.train_dataparser_outputs)
        self.eval_dataset = MotionImages(self.dataparser.get_dataparser_outputs(split="test"))
        self.eval_dataloader = FixedIndicesEvalDataloader(self.eval_dataset, device=device)
        self.dataset, self.motions = self.dataparser.dataset, self.dataparser.motions
        self.views: tuple[View, ...] = self.dataset.train_views
        self._cameras: dict[tuple[int, int], Cameras] = {}
        super().__init__()

    def setup_train(self) -> None:
        pass

    def setup_eval(self) -> None:
        pass

    @cached_property
    def frames(self) -> FrameStore:
        """The training frames; opened when the first step asks."""
        return FrameStore(
            self.dataset,
            [m.name for m in self.motions],
            [v.name for v in self.views],
            budget_bytes=int(self.config.memory_gb * 2**30),
        )

    @cached_property
    def resident(self) -> ResidentFrames:
        """Those of them that stay on the device."""
        return ResidentFrames(self.frames, self.device)

    @property
    def fixed_indices_eval_dataloader(self) -> FixedIndicesEvalDataloader:
        return self.eval_dataloader

    def cameras(self, size: tuple[int, int]) -> Cameras:
        """The cameras of the training views [v] for images of this size, on the device."""
        if size not in self._cameras:
            self._cameras[size] = cameras_of(self.views, size).to(self.device)
        return self._cameras[size]

    def size_at(self, resolution: int) -> tuple[int, int]:
        """Height and width whose longer side is at most `resolution`, in the shape of the images."""
        h, w = self.views[0].h, self.views[0].w
        scale = min(1.0, resolution / max(h, w))
        return max(1, round(h * scale)), max(1, round(w * scale))

    def prefetch(self, request: Request) -> None:
        """Starts decoding what `fetch` of the same request will want."""
        if not self.resident.holds_all(request.size):
            self.frames.prefetch(request.motion_ids, request.picture_ids, request.view_ids, request.size)

    def fetch(self, request: Request) -> Batch:
        """The frames of a request with their cameras, on the device."""
        pictures = request.picture_ids, request.view_ids
        parts = [request.motion_ids, request.frame_ids, *(ids.flatten() for ids in pictures)]
        parts.append(self.resident.rows(request.motion_ids, *pictures, request.size))
        ids = torch.cat(parts).to(self.device, non_blocking=True)
        motion_ids, frame_ids, picture_ids, views, rows = ids.split([len(part) for part in parts])
        picture_ids, views = picture_ids.view(request.view_ids.shape), views.view(request.view_ids.shape)
        held = self.resident.frames(request.size)
        rgba = self._uploaded(request) if held is None else held[rows].unflatten(0, views.shape)
        return Batch(
            poses=Poses(motion_ids, frame_ids, frame_ids / self.dataset.frames),
            view_ids=views,
            picture_times=picture_ids / self.dataset.frames,
            rgba=rgba.float() * (1 / 255),
            cameras=self.cameras(request.size)[views],
        )

    def _uploaded(self, request: Request) -> UInt8[Tensor, "b c h w 4"]:
        rgba = self.frames.batch(request.motion_ids, request.picture_ids, request.view_ids, request.size)
        rgba = rgba.pin_memory() if self.device.type == "cuda" else rgba  # the copy of what is pinned is not waited for
        return rgba.to(self.device, non_blocking=True)

    def next_train(self, step: int) -> tuple[Any, dict]:
        raise NotImplementedError("DimoPipeline asks for requests instead.")

    def next_eval(self, step: int) -> tuple[NerfstudioCameras, dict]:
        return self.next_eval_image(step)

    def next_eval_image(self, step: int) -> tuple[NerfstudioCameras, dict]:
        index = (step * 7919) % len(self.eval_dataset)
        camera = self.eval_dataset.cameras[index : index + 1].to(self.device)
        return camera, {"image": self.eval_dataset[index]["image"].to(self.device), "image_idx": index}

    def get_train_rays_per_batch(self) -> int:
        return 1

    def get_eval_rays_per_batch(self) -> int:
        return 1

    def get_datapath(self) -> Path:
        return self.dataset.root

    def get_param_groups(self) -> dict:
        return {}
