"""Figures by motion and by view, of renders that show nothing: the error is that of the true picture against white."""

import math

import numpy as np
import pytest
import torch

from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.data.dataset import Dataset, Motion, orbit_view
from dimo_ns.data.format import write
from dimo_ns.metrics.images import Shot, Stills
from dimo_ns.metrics.reconstruction import frechet, reconstruct
from dimo_ns.metrics.tracks import track_errors

SIZE = 16
VIEWS = [orbit_view(f"view_{i}", "train", 90.0 * i, 10.0, SIZE) for i in range(2)]
GREYS = {("walk", 0): 51, ("walk", 1): 102, ("jump", 0): 153, ("jump", 1): 204}
TIMES = (0.0, 0.1)
HALF = 10 * math.log10(2)
"""Decibels that an error in half of the picture has less than one in all of it."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The left half of every picture is grey, the same in both views; two points, one of which moves by a tenth."""

    def frames():
        for motion, frame in GREYS:
            for view in VIEWS:
                rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
                rgba[:, : SIZE // 2] = [*[GREYS[motion, frame]] * 3, 255]
                yield motion, view.name, frame, rgba

    tracks = np.zeros((2, 2, 2, 3), np.float32)
    tracks[:, :, 1, 2], tracks[:, 1, 0, 0] = 1.0, 0.1
    return write(
        tmp_path_factory.mktemp("data") / "set",
        object="thing",
        prompt="",
        licence="CC0-1.0",
        views=VIEWS,
        motions=[Motion(name, "", "train", False, TIMES) for name in ("walk", "jump")],
        frames=frames(),
        tracks={"tracks": tracks},
    )


def nothing(motion: str, frame: int) -> Gaussians:
    """A splat that is far behind every camera."""
    one = torch.ones(1)
    far = torch.tensor([[[0.0, 0.0, 100.0]]])
    return Gaussians(far, torch.eye(1, 4)[None], 0.01 * torch.ones(1, 3), 0.5 * one, torch.ones(1, 3))


def decibels(*greys: int) -> float:
    """Mean PSNR of white against pictures that are half of these greys, half white."""
    return float(np.mean([HALF - 20 * math.log10(1 - grey / 255) for grey in greys]))


def test_means_are_over_all_images_by_motion_and_by_view(dataset: Dataset):
    shown = []
    found = reconstruct(dataset, ["walk", "jump"], VIEWS, nothing, each=lambda shot: shown.append(shot))
    assert found.mean["psnr"] == pytest.approx(decibels(51, 102, 153, 204), abs=1e-4)
    assert found.by_motion["walk"]["psnr"] == pytest.approx(decibels(51, 102), abs=1e-4)
    assert found.by_motion["jump"]["psnr"] == pytest.approx(decibels(153, 204), abs=1e-4)
    assert set(found.by_view) == {"view_0", "view_1"}
    assert found.by_view["view_1"]["psnr"] == pytest.approx(found.mean["psnr"], abs=1e-4)
    assert (found.images, found.pixels) == (8, 8 * SIZE * SIZE)
    assert [(s.motion, s.frame, s.view) for s in shown[:3]] == [
        ("walk", 0, "view_0"), ("walk", 0, "view_1"), ("walk", 1, "view_0"),
    ]  # fmt: skip


def test_only_what_is_asked_for_is_looked_at(dataset: Dataset):
    found = reconstruct(dataset, ["jump"], VIEWS[:1], nothing, stride=2, still=False)
    assert found.images == 1  # the first frame of two
    assert found.mean["psnr"] == pytest.approx(decibels(153), abs=1e-4)
    assert set(found.mean) == {"psnr", "ssim", "foreground_psnr", "foreground_ssim"}
    assert found.still == {}


def test_a_held_picture_scores_what_the_truth_has_moved(dataset: Dataset):
    """From one grey to the next is a fifth, in half of the picture, beside the render of nothing on the same images."""
    found = reconstruct(dataset, ["walk", "jump"], VIEWS, nothing)
    still = found.still["first_frame"]
    assert still["psnr"] == pytest.approx(HALF + 20 * math.log10(5), abs=1e-3)
    assert still["model_psnr"] == pytest.approx(decibels(102, 204), abs=1e-4)
    assert found.by_motion["walk"]["still_psnr"] == pytest.approx(still["psnr"], abs=1e-3)


def test_frames_that_are_equal_to_the_held_one_say_nothing():
    """A motion that begins late would score 100 dB there, and its mean would be far from what not moving is worth."""
    stills = Stills("walk")
    empty = torch.zeros(8, 8, 1)
    frames = [torch.full((8, 8, 3), grey) for grey in (0.0, 0.0, 0.1)]
    found = [
        stills.compare(Shot("walk", "view", f, frame, empty, frame, empty, 0.0), 30.0 + f)
        for f, frame in enumerate(frames)
    ]
    assert found == [{}, {}, {"still_psnr": pytest.approx(20)}]  # -10 log10(0.1^2)
    expected = {"psnr": pytest.approx(20), "model_psnr": 32.0, "images": 1}
    assert stills.figures() == {"first_frame": expected, "first_motion": expected}


def test_one_video_has_no_distance_and_the_same_videos_have_none():
    features = [torch.randn(8).expand(2, 8) for _ in range(3)]
    assert frechet(features[:1]) == {}
    assert frechet(features) == {"fvd": pytest.approx(0.0, abs=1e-5), "fvd_videos": 3}


def test_tracks_of_key_points_that_rest(dataset: Dataset):
    """One of two points moves by .1 of a diameter of 1, so that the mean is 5 %, with riding or without."""
    keypoints = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = RigidTransforms.identity(2, 2)
    found = track_errors(dataset, keypoints, {"jump": moved})
    assert set(found) == {"jump"}
    assert found["jump"].percent == pytest.approx(5.0)
    assert found["jump"].still_percent == pytest.approx(5.0)
    moved.translations[1, 0, 0] = 0.1
    assert track_errors(dataset, keypoints, {"jump": moved})["jump"].percent == pytest.approx(0.0, abs=1e-4)
