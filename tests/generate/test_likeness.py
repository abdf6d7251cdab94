"""How much a clip looks like the picture: exact for the picture itself, blind to place and size."""

from pathlib import Path

import numpy as np
import pytest

from dimo_ns.errors import DimoError
from dimo_ns.generate.clip_checks import Figures, Limits, flags
from dimo_ns.generate.likeness import Likeness, cropped
from dimo_ns.generate.matting import plain
from tests.generate.clips import disc
from tests.generate.stub_makers import SIZE, StubVideos, stub_generation

FINE = Figures(motion=5, camera=0, plain=1, touching=0, smallest=0.2, largest=0.2, jump=0)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="needs the 'generate' extra")
    from tests.tiny_networks import save_networks

    return save_networks(tmp_path_factory.mktemp("networks"))["clip"]


def test_the_picture_itself_is_like_it_wherever_it_lies(clip_folder):
    likeness = Likeness(clip_folder, disc(48, 48, 20))
    moved = plain(np.stack([disc(48, 48, 20), disc(30, 60, 20)]))
    assert likeness(moved) == pytest.approx(1, abs=1e-3)
    other = moved.copy()
    other[1, ..., :3] = 255 - other[1, ..., :3]
    assert likeness(other) < likeness(moved) - 1e-3  # the frame that is least like it counts


def test_framed_by_itself_an_object_fills_its_share_and_nothing_is_white():
    frames = plain(np.stack([disc(20, 30, 8), disc(60, 50, 24)]))
    frames = np.concatenate([frames, np.zeros_like(frames[:1])])
    small, large, nothing = (np.flatnonzero((frame[..., 2] < 200).any(0)) for frame in cropped(frames))
    assert np.ptp(small) == pytest.approx(0.9 * 224, abs=16)  # the edge is a pixel of 16
    assert np.ptp(large) == pytest.approx(0.9 * 224, abs=8)
    assert not len(nothing)


def test_it_is_flagged_below_the_limit_and_never_without_a_figure():
    from dataclasses import replace

    assert flags(FINE) == flags(replace(FINE, likeness=0.9)) == {}
    assert "likeness of 0.31" in flags(replace(FINE, likeness=0.31))["unlike"]
    assert flags(replace(FINE, likeness=0.31), Limits(least_likeness=0.3)) == {}


def test_clips_without_the_comparison_stay_what_they_were_and_those_with_it_are_others(tmp_path, clip_folder):
    likeness = Likeness(clip_folder, disc(32, 32, 12, side=SIZE))
    without = stub_generation(tmp_path / "a.work", 1)
    without.make_clips()
    videos = StubVideos()
    with_it = stub_generation(tmp_path / "a.work", 1, videos=videos, likeness=likeness)
    with_it.make_clips()
    assert videos.calls == []
    (plain_clip,), (compared,) = without.tries.of(without.motions[0]), with_it.tries.of(with_it.motions[0])
    assert plain_clip.figures.likeness is None
    assert -1 <= compared.figures.likeness <= 1
    assert plain_clip.item != compared.item


def test_what_is_no_clip_model_is_refused(tmp_path):
    with pytest.raises(DimoError, match="No CLIP model in"):
        Likeness(tmp_path, disc(48, 48, 20))
