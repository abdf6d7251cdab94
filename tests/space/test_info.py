"""What is known of a scene goes through JSON and back; what it does not know of is kept."""

import json

import numpy as np
import pytest

from dimo_ns.data.dataset import Motion, orbit_view
from dimo_ns.data.placement import Placement
from dimo_ns.errors import DimoError
from dimo_ns.space.info import SceneInfo

FULL = SceneInfo(
    (Motion("walk", "it walks", "train", True, (0.0, 0.1)), Motion("sit", "", "held_out", False, (0.0, 0.3))),
    2,
    10.0,
    object="fox",
    prompt="a fox",
    licence="CC0-1.0",
    views=(orbit_view("view_00", "train", 30.0, 10.0, 64),),
    background=(1.0, 1.0, 1.0),
    dataset_hash="abc",
    method="dimo-laptop",
    step=7,
    seed=42,
    versions={"torch": "2"},
    metrics={"psnr": 30.5},
    placement=Placement((1.0, -2.0, 3.0), 2.5),
    extra={"notes": ["kept"]},
)


def test_everything_goes_through_json_and_back():
    values = json.loads(json.dumps(FULL.to_json(), allow_nan=False))
    again = SceneInfo.read(values, "scene.json")
    assert again.to_json() == FULL.to_json()
    assert again.motions == FULL.motions
    assert np.array_equal(again.views[0].c2w, FULL.views[0].c2w)
    assert again.placement == FULL.placement
    assert again.extra == {"notes": ["kept"]}


def test_the_names_in_scene_json_are_these_in_this_order():
    """Files of earlier versions have them, and programs of others read them."""
    assert list(FULL.to_json()) == [
        "object", "prompt", "licence", "motions", "frames", "fps", "cameras", "background", "dataset_hash", "method",
        "step", "seed", "versions", "metrics", "placement", "notes",
    ]  # fmt: skip


def test_what_is_not_said_is_not_written():
    values = {"motions": [{"name": "walk"}], "frames": 3}
    info = SceneInfo.read(values, "scene.json")
    assert (info.object, info.step, info.views, info.versions) == (None, None, (), None)
    assert list(info.to_json()) == ["motions", "frames", "fps"]
    assert info.motions[0].times_s == (0.0, 0.125, 0.25)  # eight a second, where nothing else is said


@pytest.mark.parametrize("key", ["cameras", "versions", "metrics", "step", "fps", "background", "object", "placement"])
def test_false_is_nothing_that_a_scene_can_have(key: str):
    with pytest.raises(DimoError, match=f"'{key}' is false; expected"):
        SceneInfo.read(FULL.to_json() | {key: False}, "scene.json")


def test_what_describes_the_file_is_not_taken_for_something_unknown():
    described = {"format": "dimo-scene", "version": 1, "decoder": {}, "latent_dim": 3, "keypoints": 4, "gaussians": 5}
    info = SceneInfo.read(FULL.to_json() | described | {"sha256": "0f"}, "scene.json")
    assert info.extra == FULL.extra
    assert info.sha256 == "0f"
    assert info.to_json() == FULL.to_json()
