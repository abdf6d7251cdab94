"""The sample creature: exact geometry against independent oracles, motions that hold together, a set that loads."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from dimo_ns.data import format
from dimo_ns.data.creature.coat import distance
from dimo_ns.data.creature.motions import CLIPS
from dimo_ns.data.creature.raycast import RAYS, cast, first_hits
from dimo_ns.data.creature.skeleton import Pose, feet, place, rotation, surface
from dimo_ns.data.creature.write import FRAMES, TEST_FRAMES, TRACKS, cameras, make, photograph, track, write_sample
from dimo_ns.errors import DimoError

SIZE = 48


@pytest.fixture(scope="module")
def cub():
    return make(0)


@pytest.fixture(scope="module")
def tracks(cub):
    return track(cub, CLIPS, cameras(SIZE))


def _camera(view):
    return np.ascontiguousarray(view.c2w), view.fl_x, view.cx, view.cy


def _coverage(axes, center, solid, view):
    fragments, _ = cast(axes, np.linalg.inv(axes), center, solid, _camera(view), view.w, view.h)
    return fragments[:, 3].sum() / RAYS


def test_lone_sphere_covers_its_analytic_area():
    """A ball of radius r at distance d on the axis is a disc of radius f r / sqrt(d^2 - r^2) pixels."""
    view, r = cameras(128)[0], 0.3
    area = np.pi * (view.fl_x * r / np.sqrt(4 - r * r)) ** 2
    covered = _coverage(r * np.eye(3)[None], np.zeros((1, 3)), np.array([[1.0, 1.0, 0.0]]), view)
    assert covered == pytest.approx(area, rel=2e-3)


def test_hits_agree_with_marching_along_the_ray():
    """Sphere tracing the distance function of random round cones, an independent method, finds the same hits."""
    rng = np.random.default_rng(0)
    hit = 0
    for _ in range(60):
        ra, rb = rng.uniform(0.05, 0.3, 2)
        solid = np.array([[ra, rb, rng.choice([0.0, abs(ra - rb) + rng.uniform(0.02, 0.5)])]])
        solid[0, 1] = rb if solid[0, 2] else ra
        turn = np.ascontiguousarray(rotation(*rng.uniform(-3, 3, 3)))[None]
        center, eye = rng.uniform(-0.2, 0.2, (1, 3)), np.array([2.0, 0.3, -0.4])
        target = rng.uniform(-0.3, 0.3, (1, 3))
        way = target[0] - eye
        t = 0.0
        for _ in range(400):
            t += distance(*(eye + t * way), 0, turn.transpose(0, 2, 1), center, solid)[0] / np.linalg.norm(way)
        found = first_hits(target, eye, turn.transpose(0, 2, 1), center, solid)[0]
        hit += t < 10
        assert found == pytest.approx(t, abs=1e-6) if t < 10 else found == np.inf
    assert 10 < hit < 60, "the rays should try both hits and misses"


def test_surface_points_are_on_the_surface(cub):
    local, parts = surface(cub.solid, 64), place(cub, Pose())
    points = parts.center[:, None] + local @ parts.axes.transpose(0, 2, 1)
    gaps = [distance(*p, i, parts.inverse, parts.center, cub.solid)[0] for i in range(len(points)) for p in points[i]]
    assert np.abs(gaps).max() < 1e-9


def test_every_motion_begins_at_rest_and_loops_return_to_it(cub):
    rest = place(cub, Pose())
    for clip in CLIPS:
        for t in (0.0, 1.0) if clip.loop else (0.0,):
            assert np.allclose(place(cub, clip.pose(t)).center, rest.center, atol=1e-6), (clip.name, t)


def test_feet_go_where_they_should_and_never_below_the_ground(cub):
    for clip in CLIPS:
        for f in range(FRAMES):
            is_at, wanted = feet(cub, clip.pose(f / FRAMES))
            assert np.abs(is_at - wanted).max() < 0.02, (clip.name, f)
            assert is_at[:, 2].min() > feet(cub, Pose())[1][:, 2].min() - 1e-6, (clip.name, f)


def test_motions_are_pairwise_distinct_and_inside_the_ball(tracks):
    moved = tracks["tracks"]
    assert np.linalg.norm(moved, axis=-1).max() < 0.56
    for a, b in combinations(range(len(CLIPS)), 2):
        gap = np.linalg.norm(moved[a] - moved[b], axis=-1).mean(1).max()
        assert gap > 0.03, (CLIPS[a].name, CLIPS[b].name, gap)


def test_tracks_start_at_rest_and_keep_their_distances_within_a_part(tracks):
    moved, part = tracks["tracks"], tracks["part"]
    assert np.abs(moved[:, 0] - tracks["canonical"]).max() < 1e-6
    head = np.flatnonzero(part == np.bincount(part).argmax())
    spacing = np.linalg.norm(moved[:, :, head, None] - moved[:, :, None, head], axis=-1)
    assert np.ptp(spacing, axis=(0, 1)).max() < 1e-5, "points of one rigid part keep their distances"


def test_tracks_are_on_the_pictures_and_at_their_depth_where_visible(cub, tracks):
    """Every point projects into the silhouette; a visible one is as deep as the nearest surface in its pixel."""
    visible = np.unpackbits(tracks["visible"], axis=-1).astype(bool).reshape(tracks["visible_shape"])
    checked = 0
    for m, v, f in ((0, 0, 5), (2, 3, 10), (5, 7, 9), (8, 9, 12), (9, 11, 20)):
        view, points = cameras(512)[v], tracks["tracks"][m, f].astype(float)
        local = (points - view.c2w[:3, 3]) @ view.c2w[:3, :3]
        u = (view.cx - view.fl_x * local[:, 0] / local[:, 2]).astype(int)
        w = (view.cy + view.fl_y * local[:, 1] / local[:, 2]).astype(int)
        parts = place(cub, CLIPS[m].pose(f / FRAMES))
        fragments, hits = cast(*parts, cub.solid, _camera(view), view.w, view.h)
        depth = np.full((view.h, view.w), np.inf)
        np.minimum.at(depth, (fragments[:, 2], fragments[:, 1]), -((hits - view.c2w[:3, 3]) @ view.c2w[:3, 2]))
        assert np.isfinite(depth[w, u]).mean() > 0.99, "all but points on the very outline"
        seen = visible[m, v, f] & np.isfinite(depth[w, u])
        gap = -local[:, 2] - depth[w, u]
        assert np.quantile(np.abs(gap[seen]), 0.9) < 0.01, "within a pixel on a slope"
        assert np.mean(gap[~visible[m, v, f]] > -0.005) > 0.98, "hidden points are behind what is seen"
        checked += seen.sum()
    assert checked > 500


def test_picture_has_no_colour_where_it_is_empty_and_soft_edges(cub):
    rgba = photograph(cub, place(cub, Pose()), cameras(SIZE)[1])
    assert np.all(rgba[rgba[..., 3] == 0] == 0)
    assert np.unique(rgba[..., 3]).size > 8
    assert np.all(rgba[[0, -1]] == 0)
    assert np.all(rgba[:, [0, -1]] == 0)


def test_another_seed_is_another_creature(cub):
    view, other = cameras(SIZE)[0], make(1)
    mine, theirs = photograph(cub, place(cub, Pose()), view), photograph(other, place(other, Pose()), view)
    assert np.abs(mine.astype(int) - theirs).mean() > 1


def test_the_written_set_loads_and_is_the_same_for_the_same_seed(tmp_path):
    few = [replace(c, split=split) for c, split in ((CLIPS[3], "train"), (CLIPS[8], "held_out"))]
    told = []
    write_sample(tmp_path / "a", size=32, clips=few, progress=lambda *step: told.append(step))
    write_sample(tmp_path / "b", size=32, clips=few)
    loaded = format.load(tmp_path / "a")
    total = 2 * (9 * FRAMES + 4 * len(TEST_FRAMES))
    assert len(loaded.sources) == total
    assert told[-1] == (total, total)
    assert [m.name for m in loaded.train_motions] == ["sit"]
    assert [m.name for m in loaded.held_out_motions] == ["wave"]
    assert (len(loaded.train_views), len(loaded.test_views), loaded.frames) == (9, 4, FRAMES)
    assert loaded.tracks is not None
    assert np.load(loaded.tracks)["tracks"].shape == (2, FRAMES, TRACKS, 3)
    for path in sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*")):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
    with pytest.raises(DimoError):
        write_sample(tmp_path / "a", size=32, clips=few)
