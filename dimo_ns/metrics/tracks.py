"""Key point trajectories against the true tracks of surface points."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.core.geometry import nearest, quat_to_matrix
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset
from dimo_ns.errors import DimoError


@dataclass(frozen=True)
class TrackError:
    """How far points are from where they should be, in % of the object's diameter: the mean over points and frames."""

    percent: float
    """Points that ride on the key points."""
    still_percent: float
    """Points that stay where they are."""


class Truth:
    """The true tracks of a dataset. `Truth.read` gives None without any."""

    def __init__(self, tracks: Float[Tensor, "m t p 3"], canonical: Float[Tensor, "p 3"], motions: list[str]):
        """Raises DimoError if the points are all in one place, or none."""
        self.tracks, self.motions = tracks, motions
        diameter = float(torch.cdist(canonical, canonical).max()) if len(canonical) else 0.0
        if not diameter:
            raise DimoError("The true tracks are those of a single point; expected points all over the object.")
        self.percent = 100 / diameter
        """What turns a distance into % of the object's diameter."""

    @staticmethod
    def read(dataset: Dataset) -> "Truth | None":
        """From tracks.npz. Raises DimoError if that is damaged."""
        arrays = dataset.read_tracks()
        if not arrays:
            return None
        tracks = torch.from_numpy(arrays["tracks"]).float()
        canonical = torch.from_numpy(arrays["canonical"]).float() if "canonical" in arrays else tracks[0, 0]
        return Truth(tracks, canonical, [motion.name for motion in dataset.motions])

    def error(self, motion: str, keypoints: Float[Tensor, "k 3"], transforms: RigidTransforms) -> TrackError:
        """The error of true surface points that ride on key points, over the frames after the first."""
        true = self.tracks[self.motions.index(motion)].to(keypoints.device)
        ridden = ride(true[0], keypoints, transforms)
        return TrackError(
            percent=self.percent * float((ridden - true)[1:].norm(dim=-1).mean()),
            still_percent=self.percent * float((true[0] - true)[1:].norm(dim=-1).mean()),
        )


def track_errors(
    dataset: Dataset, keypoints: Float[Tensor, "k 3"], motions: Mapping[str, RigidTransforms]
) -> dict[str, TrackError]:
    """The error of each motion, given how the key points move in it; empty for a dataset without true tracks. Raises
    DimoError if these are damaged."""
    truth = Truth.read(dataset)
    return {} if truth is None else {name: truth.error(name, keypoints, moved) for name, moved in motions.items()}


@torch.no_grad()
def ride(
    start: Float[Tensor, "p 3"], keypoints: Float[Tensor, "k 3"], transforms: RigidTransforms
) -> Float[Tensor, "t p 3"]:
    """Where points go that are fixed, at time 0, to the key point that is then nearest: by its rotation and place
    relative to time 0, so that they start exactly where they were put."""
    positions = keypoints + transforms.translations
    rotations = quat_to_matrix(transforms.quats)
    carrier = nearest(start, positions[0], 1)[1][:, 0]
    turn = rotations[:, carrier] @ rotations[0, carrier].mT
    lever = (start - positions[0, carrier])[..., None]
    return (turn @ lever).squeeze(-1) + positions[:, carrier]
