"""Frames that stay on a CUDA device as bytes: each is uploaded when it is first asked for, and cut out there."""

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from dimo_ns.data.frames import FrameStore

SHARE = 3
"""The set is resident at a size if it takes at most one part in this many of the device's free memory."""


class ResidentFrames:
    """The frames of a store on a device. Where they do not fit, or the device is the CPU, none are held."""

    def __init__(self, store: FrameStore, device: torch.device):
        self.store, self.device = store, device
        numbers = np.cumsum(store.available).reshape(store.available.shape) - 1
        self._numbers = np.where(store.available, numbers, -1)
        self._frames: dict[tuple[int, int], Tensor | None] = {}
        self._here: dict[tuple[int, int], np.ndarray] = {}

    def frames(self, size: tuple[int, int]) -> UInt8[Tensor, "n h w 4"] | None:
        """Room for all frames of this size, premultiplied; None where there is none."""
        if size not in self._frames:
            count = int(self.store.available.sum())
            needed = count * size[0] * size[1] * 4
            fits = self.device.type == "cuda" and SHARE * needed <= torch.cuda.mem_get_info(self.device)[0]
            made = torch.empty(count, *size, 4, dtype=torch.uint8, device=self.device) if fits else None
            self._frames[size], self._here[size] = made, np.zeros(count, dtype=bool)
        return self._frames[size]

    def rows(
        self, motion_ids: Int[Tensor, " b"], frame_ids: Int[Tensor, "b *c"], view_ids: Int[Tensor, "b c"],
        size: tuple[int, int],
    ) -> Int[Tensor, " n"]:  # fmt: skip
        """Where the frames of a request, in its order, are in `frames`, after those that were missing were uploaded;
        none where frames of this size are not held. Raises DimoError as `FrameStore.batch`."""
        frames = self.frames(size)
        if frames is None:
            return torch.empty(0, dtype=torch.long)
        here = self._here[size]
        ids = (x.reshape(len(view_ids), -1).expand_as(view_ids) for x in (motion_ids, frame_ids, view_ids))
        keys = torch.stack([x.flatten() for x in ids])
        rows = self._numbers[tuple(keys.numpy())]
        fresh, first = np.unique(rows[~here[rows]], return_index=True)
        if len(fresh):
            motions, at, views = keys[:, np.flatnonzero(~here[rows])[first]]
            images = self.store.batch(motions, at, views[:, None], size)[:, 0].pin_memory()
            frames[torch.from_numpy(fresh).to(self.device)] = images.to(self.device, non_blocking=True)
            here[fresh] = True
        return torch.from_numpy(rows)

    def holds_all(self, size: tuple[int, int]) -> bool:
        """Whether every frame of this size is here."""
        return self.frames(size) is not None and bool(self._here[size].all())
