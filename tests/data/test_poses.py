"""Cameras that are wrong are said, by what is wrong with them; right ones are not blamed; poses are mended."""

from pathlib import Path

import numpy as np
import pytest

from dimo_ns import cli
from dimo_ns.data.check import check
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.format import load
from dimo_ns.data.placement import Placement
from dimo_ns.data.poses import check_cameras, put_right
from dimo_ns.data.samples import Moment, Samples
from dimo_ns.data.silhouettes import Rig, fit
from dimo_ns.errors import DimoError
from tests.data.posed_sets import PosedSet, opencv, posed, right, ring, seesaw, shifted, wrong


def positions(views: tuple[View, ...] | list[View]) -> np.ndarray:
    return np.stack([view.c2w[:3, 3] for view in views])


@pytest.mark.parametrize("name", wrong())
def test_what_is_wrong_is_said(tmp_path: Path, name: str):
    case = wrong()[name]
    report = check(case.write(tmp_path / "cub").root)
    assert not report.ok
    assert case.said in "\n".join([*report.fatal, *report.problems])


@pytest.mark.parametrize("name", right())
def test_what_is_right_is_not_blamed(tmp_path: Path, name: str):
    report = check(right()[name].write(tmp_path / "cub").root)
    assert report.fatal == ()
    assert [p for p in report.problems if "one training view only" not in p] == []


def test_silhouettes_of_a_ball_fit_and_a_view_that_is_moved_is_the_one_to_blame():
    """Before cameras at distance 2 that look at its middle, a ball is a disc in the middle of each picture. Eight of
    them fit; one that is moved by four pixels is out of what the others allow by at most four on its one side and
    none on the other: by the mean of the positive half of a cosine around its outline, 4/pi = 1.3. It is less, because
    the hull of seven views is larger than the ball."""
    views, moved = ring(8, 10, size=128), 5
    y, x = np.mgrid[:128, :128] + 0.5 - 64
    disc = np.where(np.hypot(x, y) < 40, 255, 0).astype(np.uint8)
    masks = np.stack([disc] * 8)
    found = fit(Rig.of(views), masks)
    assert found.misfit == 0
    # Pixels are 0.01 wide there, and cameras at 10 degrees see the upper end 1.5 % lower.
    np.testing.assert_allclose(found.high - found.low, 2 * np.sin(np.arctan(40 / views[0].fl_x)) * 2, atol=0.04)

    masks[moved] = np.roll(disc, 4, axis=1)
    found = fit(Rig.of(views), masks)
    assert 0.3 < found.blame[moved] < 4 / np.pi
    assert np.delete(found.blame, moved).max() < 0.5 * found.blame[moved]


def test_views_that_show_nothing_do_not_count():
    views = ring(6)
    y, x = np.mgrid[:64, :64] + 0.5 - 32
    masks = np.stack([np.where(np.hypot(x, y) < 20, 255, 0).astype(np.uint8)] * 6)
    masks[2] = 0
    found = fit(Rig.of(views), masks)
    assert found.misfit == 0
    assert found.pixels[2] == 0


def test_poses_of_another_convention_are_taken_as_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture):
    """The remedy that the check names makes of OpenCV poses those that the cameras had."""
    true = seesaw()
    dataset = PosedSet(true, posed(opencv)).write(tmp_path / "cub")
    cli.main(["data", "convert", str(dataset.root), str(tmp_path / "right"), "--poses", "opencv-c2w"])
    converted = load(tmp_path / "right")
    for found, view in zip(converted.views, true, strict=True):
        np.testing.assert_allclose(found.c2w, view.c2w, atol=1e-12)
    assert check(converted.root).ok
    assert "problem" not in capsys.readouterr().out
    with pytest.raises(DimoError, match="no convention 'colmap' of poses; expected one of opengl-c2w, opencv-c2w"):
        put_right(dataset, "colmap")


def test_an_object_that_is_elsewhere_is_brought_to_the_origin_and_back(tmp_path: Path):
    """Its size and place are found within a tenth; what is on disk stays in the world of the cameras."""
    elsewhere = PosedSet(seesaw(), shifted(5, -7, 2, scale=3)).write(tmp_path / "cub")
    dataset, verdict = put_right(elsewhere, "opengl-c2w")
    assert verdict.fatal == verdict.problems == ()
    np.testing.assert_allclose(dataset.placement.centre, (5, -7, 2), atol=0.5)
    assert 1.2 < dataset.placement.radius < 1.8  # the animal has 0.55 and stands in the ball of all its motions
    placed = positions(dataset.views)
    assert np.abs(np.linalg.norm(placed, axis=1) - 2 * 3 / dataset.placement.scale).max() < 0.3
    again = write_like(dataset, tmp_path / "again")
    assert again.placement == dataset.placement
    np.testing.assert_allclose(positions(again.views), placed, atol=1e-9)
    assert "is brought to the origin" in again.remarks[0]


def write_like(dataset: Dataset, root: Path) -> Dataset:
    from dimo_ns.data.frames import convert

    return convert(dataset, root)


def test_tracks_go_where_the_object_goes(tmp_path: Path):
    elsewhere = PosedSet(ring(), shifted(1, 2, 3, scale=2)).write(tmp_path / "cub")
    tracks = np.random.default_rng(0).uniform(-1, 1, (1, 2, 5, 3)).astype(np.float32) + np.float32([1, 2, 3])
    np.savez(elsewhere.root / "tracks.npz", tracks=tracks, canonical=tracks[0, 0])
    placed = load(elsewhere.root).placed(Placement((1.0, 2.0, 3.0), 1.0))
    np.testing.assert_allclose(placed.read_tracks()["tracks"], (tracks - [1, 2, 3]) / 2, atol=1e-6)
    again = write_like(placed, tmp_path / "again")
    np.testing.assert_allclose(again.read_tracks()["tracks"], (tracks - [1, 2, 3]) / 2, atol=1e-6)
    with np.load(again.root / "tracks.npz") as stored:
        np.testing.assert_allclose(stored["tracks"], tracks, atol=1e-6)


def test_a_placement_within_another_is_the_two_after_each_other():
    outer, inner = Placement((1.0, -2.0, 0.5), 3.0), Placement((0.1, 0.2, -0.3), 0.25)
    points = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_allclose(inner.within(outer).place(points), inner.place(outer.place(points)), atol=1e-12)
    np.testing.assert_allclose(outer.undo(outer.place(points)), points, atol=1e-12)


def test_training_looks_at_the_same_and_reads_few_frames(tmp_path: Path):
    verdict = check_cameras(PosedSet(ring(), posed(opencv)).write(tmp_path / "cub"))
    assert "the poses are OpenCV camera-to-world" in verdict.fatal[0]
    assert "--poses opencv-c2w" in verdict.fatal[0]


def test_frames_that_are_missing_are_left_out(tmp_path: Path):
    dataset = PosedSet(ring(8)).write(tmp_path / "cub")
    for path in (dataset.root / "walk" / "view_03").iterdir():
        path.unlink()
    samples = Samples(load(dataset.root), [Moment("walk", 0)])
    assert not samples.masks(Moment("walk", 0)).any()
    assert check_cameras(load(dataset.root)).fatal == ()
