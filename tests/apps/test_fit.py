"""Motions are found again in pictures whose truth is known: they are renders of the same scene, or of a changed one."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dimo_ns.apps.fit import Fit, Observations, Seen, Similarity, fit_motion, measure, observe
from dimo_ns.apps.fit.adapt import differences
from dimo_ns.apps.fit.align import align
from dimo_ns.apps.fit.change import fold, project, raw_poses
from dimo_ns.apps.fit.output import write_fit
from dimo_ns.cli import main
from dimo_ns.core.cameras import Cameras
from dimo_ns.core.geometry import quat_to_matrix
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset
from dimo_ns.errors import DimoError
from dimo_ns.space.file import FILE
from dimo_ns.space.motion_space import Clip, MotionSpace
from tests.apps.photographed import photograph
from tests.spaces import DIM, FRAMES, KEYPOINTS, a_motion, some_space


def stretched(space: MotionSpace) -> Clip:
    """A motion that no latent gives: half of the object swings away by more than its own size of motion."""
    clip = space.clip("swing", space.mu[0])
    swing = 0.15 * torch.sin(torch.arange(FRAMES) / FRAMES * torch.pi)
    moved = (space.scene.keypoints.detach()[:, 0] > 0).float()
    clip.transforms.translations = clip.transforms.translations.clone()
    clip.transforms.translations[..., 2] += swing[:, None] * moved
    return clip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Pictures this small are not worth sharing out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


@pytest.fixture(scope="module")
def dataset(space: MotionSpace, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photograph(space, tmp_path_factory.mktemp("data") / "thing", {"swing": stretched(space)})


@pytest.fixture(scope="module")
def plain(space: MotionSpace, dataset: Dataset) -> Fit:
    return fit_motion(space, observe(dataset, "swing"))


@pytest.fixture(scope="module")
def adapted(space: MotionSpace, dataset: Dataset) -> Fit:
    return fit_motion(space, observe(dataset, "swing"), adapt=True)


def distance(space: MotionSpace, a: torch.Tensor, b: torch.Tensor) -> float:
    return float(space.distances(a[None], b[None]))


# --- by a latent alone ------------------------------------------------------------------------------------------------


def test_a_training_motion_is_recovered_from_its_own_frames(space: MotionSpace, dataset: Dataset):
    """And nothing of the scene changes."""
    before = {name: value.clone() for name, value in space.scene.state_dict().items()}
    found = fit_motion(space, observe(dataset, "sit"))
    assert distance(space, found.clip.positions, space.trained_positions[space.index("sit")]) < 0.01
    assert found.after.psnr > 45  # 8 bits
    assert found.best_training == "sit"
    assert not found.warnings
    after = space.scene.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.requires_grad and p.grad is None for p in space.scene.parameters())


def test_a_fit_is_at_least_as_good_as_the_best_training_motion_in_its_place(plain: Fit):
    assert plain.after.psnr >= plain.before.psnr - 0.01
    assert plain.clip.latents is not None
    assert torch.equal(plain.clip.latents, plain.latent.expand(FRAMES, -1))


def test_the_same_seed_gives_the_same_fit(space: MotionSpace, dataset: Dataset, few_steps: None):
    once, again = (fit_motion(space, observe(dataset, "swing")) for _ in range(2))
    assert torch.equal(once.latent, again.latent)
    assert once.curves == again.curves


def test_rank_0_is_the_plain_fit(space: MotionSpace, dataset: Dataset, few_steps: None):
    plain = fit_motion(space, observe(dataset, "swing"))
    none = fit_motion(space, observe(dataset, "swing"), adapt=True, rank=0)
    assert torch.equal(none.clip.positions, plain.clip.positions)
    assert none.change is None
    assert none.adapted(space) is None


def test_any_number_of_frames_will_do_and_they_span_the_whole_motion(space: MotionSpace, dataset: Dataset):
    """Frames 0, 3 and 6 of 9 are at the times 0, 1/3 and 2/3, as those of a video of three frames are."""
    every = observe(dataset, "run")
    few = replace(every, images=every.images[::3], exist=every.exist[::3])
    found = fit_motion(space, few)
    assert len(found.clip) == 3
    assert distance(space, found.clip.positions, space.trained_positions[space.index("run")][::3]) < 0.02


# --- with a change of the decoder -------------------------------------------------------------------------------------


def test_a_change_shows_what_no_latent_does(space: MotionSpace, dataset: Dataset, plain: Fit, adapted: Fit):
    held_out = [measure(space, dataset, found, dataset.test_views) for found in (plain, adapted)]
    assert held_out[1].after["psnr"] > held_out[0].after["psnr"] + 2
    assert held_out[1].after["track_percent"] < 0.5 * held_out[1].before["track_percent"]
    assert held_out[0].before == held_out[1].before
    best = held_out[0].training_psnr
    assert held_out[0].before["psnr"] == pytest.approx(max(best.values()))


def test_one_view_and_missing_frames_are_enough_to_see_that_it_swings(space: MotionSpace, dataset: Dataset):
    seen = observe(dataset, "swing", ["view_00"])
    seen.exist[4] = False
    seen.images[4] = 0
    found = fit_motion(space, seen, adapt=True)
    figures = measure(space, dataset, found, dataset.test_views)
    assert figures.after["psnr"] > figures.before["psnr"] + 1


def test_a_change_of_full_rank_is_exact_and_lower_ones_are_worse(space: MotionSpace):
    target, z = stretched(space).transforms, space.mu[1]
    errors, decoded = [], space.motion(z[None])[0].translations.detach()
    for rank in (0, 1, 3, FRAMES):
        change, poses = project(space, z, space.times, target, rank)
        assert change.parameters == rank * (FRAMES + 7 * KEYPOINTS)
        errors.append(float((poses.translations - target.translations).square().sum()))
    assert errors == sorted(errors, reverse=True)
    torch.testing.assert_close(poses.translations, target.translations, atol=1e-5, rtol=0)
    torch.testing.assert_close((poses.quats * target.quats).sum(-1).abs(), torch.ones(FRAMES, KEYPOINTS))
    assert errors[0] == pytest.approx(float((decoded - target.translations).square().sum()))


def test_signs_of_quaternions_do_not_matter(space: MotionSpace):
    target = stretched(space).transforms
    signs = torch.where(torch.rand(FRAMES, KEYPOINTS, 1, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    flipped = RigidTransforms(target.translations, signs * target.quats)
    one, other = (project(space, space.mu[0], space.times, x, 3)[1] for x in (target, flipped))
    torch.testing.assert_close(one.quats, other.quats, atol=1e-5, rtol=0)


def test_a_folded_change_is_exact_for_the_new_motion_and_nothing_for_the_others(space: MotionSpace, tmp_path: Path):
    change, poses = project(space, space.mu[1], space.times, stretched(space).transforms, 4)
    more = fold(space, space.mu[1], change, a_motion("swing"))
    assert more.names == [*space.names, "swing"]
    found = more.motion(more.mu[-1:])[0]
    torch.testing.assert_close(found.translations, poses.translations, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.quats, poses.quats, atol=1e-5, rtol=0)
    torch.testing.assert_close(more.trained_positions[:-1], space.trained_positions, atol=1e-6, rtol=0)
    path = more.save(tmp_path / FILE)  # in the format of every scene
    again = MotionSpace.open(path)
    assert torch.equal(again.trained_positions, more.trained_positions)


def test_between_frames_a_folded_change_stays_between_its_neighbours(space: MotionSpace):
    change, _ = project(space, space.mu[1], space.times, stretched(space).transforms, 4)
    more = fold(space, space.mu[1], change, a_motion("swing"))
    middle = space.times[:-1] + 0.5 / FRAMES
    added = raw_poses(more, more.mu[-1], middle) - raw_poses(space, space.mu[1], middle)
    known = torch.einsum("tr,rkc->tkc", change.times, change.basis)
    lower, upper = torch.minimum(known[1:], known[:-1]), torch.maximum(known[1:], known[:-1])
    slack = 0.15 * float(known.abs().max())
    assert bool(((added > lower - slack) & (added < upper + slack)).all())


def test_the_mlp_decoder_keeps_trajectories_only():
    other = some_space("mlp")
    target = stretched(other).transforms
    change, poses = project(other, other.mu[0], other.times, target, FRAMES)
    torch.testing.assert_close(poses.translations, target.translations, atol=1e-5, rtol=0)
    clip = Clip("swing", other.scene.keypoints.detach(), poses, 8.0)
    assert Fit(other.mu[0], clip, "walk", Seen(0.0, 0.0), Seen(0.0, 0.0), 0.0, 0, {}, change).adapted(other) is None


# --- alignment --------------------------------------------------------------------------------------------------------

KNOWN = Similarity(1.2, F.normalize(torch.tensor([0.85, 0.02, 0.0, 0.5]), dim=0), torch.tensor([0.06, -0.04, 0.05]))


def test_cameras_seen_from_the_scene_show_the_moved_object(dataset: Dataset):
    """A point and its image under the similarity have the same pixel; so has the camera of the dataset."""
    seen = observe(dataset, "walk")
    points = 0.2 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    moved = KNOWN.scale * points @ quat_to_matrix(KNOWN.quat).T + KNOWN.translation

    def pixels(cameras: Cameras, x: torch.Tensor) -> torch.Tensor:
        return cameras.project(x)[..., :2]

    expected = pixels(seen.cameras, moved)
    torch.testing.assert_close(pixels(KNOWN.cameras(seen.cameras), points), expected, atol=1e-3, rtol=0)
    turned = replace(dataset, views=tuple(KNOWN.view(view) for view in dataset.views))
    torch.testing.assert_close(pixels(observe(turned, "walk").cameras, points), expected, atol=1e-3, rtol=0)


def elsewhere(space: MotionSpace, dataset: Dataset) -> Observations:
    """The motion "wave" of an object that was moved by `KNOWN`."""
    seen = observe(dataset, "wave")
    true = replace(seen, cameras=KNOWN.cameras(seen.cameras))
    views = torch.arange(len(seen.views)).expand(FRAMES, -1)
    with torch.no_grad():
        picture = true.render(space.scene.carry(space.clips(["wave"])[0].transforms), views)
    return replace(seen, images=torch.cat([picture.color, picture.alpha], -1))


def test_alignment_recovers_a_known_shift_turn_and_size(space: MotionSpace, dataset: Dataset):
    found = align(space, elsewhere(space, dataset), lambda *_: None)
    assert found.scale == pytest.approx(KNOWN.scale, abs=0.02)
    assert float((found.quat * KNOWN.quat).sum().abs()) > 0.999  # within 5 degrees
    torch.testing.assert_close(found.translation, KNOWN.translation, atol=0.02, rtol=0)


def test_a_moved_object_is_fitted_in_the_scenes_own_frame(space: MotionSpace, dataset: Dataset):
    seen = elsewhere(space, dataset)
    found = fit_motion(space, seen, align=True)
    assert found.alignment is not None
    assert found.best_training == "wave"
    assert distance(space, found.clip.positions, space.trained_positions[space.index("wave")]) < 0.05
    assert found.after.psnr > 30
    unchanged = observe(dataset, "wave").cameras.viewmats
    assert torch.equal(seen.cameras.viewmats, unchanged)


# --- what pictures say ------------------------------------------------------------------------------------------------


def test_smaller_pictures_are_renders_of_a_smaller_camera(space: MotionSpace, dataset: Dataset):
    small = observe(dataset, "walk").at(20)
    assert small.size == (20, 20)
    views = torch.arange(3)[None]
    with torch.no_grad():
        image = small.render(space.scene.carry(space.clips(["walk"])[0].transforms[:1]), views).over()
    truth = small.rgba(torch.zeros(1, 3, dtype=torch.long), views)
    assert float((image - (truth[..., :3] + 1 - truth[..., 3:])).square().mean().sqrt()) < 0.03


def test_pictures_without_a_common_view_are_infinitely_different():
    rgba = torch.rand(3, 2, 16, 16, 4, generator=torch.Generator().manual_seed(0))
    there = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = differences(rgba, there)
    assert torch.isinf(found[0, 1])
    assert torch.isfinite(found[[0, 1], [2, 2]]).all()
    torch.testing.assert_close(found, found.T)


def test_a_video_of_another_object_is_told(space: MotionSpace, dataset: Dataset):
    seen = observe(dataset, "walk")
    seen.images[:] = 0
    seen.images[:, :, :8, :8] = 255  # a white box in a corner
    for adapt in (False, True):  # a change bends the object into any shape, and is told all the same
        (warning,) = fit_motion(space, seen, adapt=adapt).warnings
        assert "is this the object of the scene" in warning


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("motion", "views", "complaint"),
    [
        ("swng", None, "no motion 'swng'; did you mean 'swing'"),
        ("swing", ["view_0"], "no view 'view_0'; did you mean 'view_0"),
        ("swing", ["xyz"], "no view 'xyz'; it has view_00"),
        ("swing", [], "No view of 'swing' was named"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(dataset: Dataset, motion: str, views, complaint: str):
    with pytest.raises(DimoError, match=complaint):
        observe(dataset, motion, views)


def test_views_without_frames_of_the_motion_are_refused(dataset: Dataset):
    without = {key: source for key, source in dataset.sources.items() if key[0] != "swing"}
    with pytest.raises(DimoError, match="'swing' has no frames in view_00"):
        observe(replace(dataset, sources=without), "swing")


@pytest.mark.usefixtures("unchecked")
def test_observations_that_show_nothing_or_do_not_fit_together_are_refused(dataset: Dataset):
    seen = observe(dataset, "walk")
    with pytest.raises(DimoError, match="shows nothing"):
        replace(seen, images=torch.zeros_like(seen.images))
    with pytest.raises(DimoError, match="Observations are images"):
        replace(seen, cameras=seen.cameras[:1])
    with pytest.raises(DimoError, match="Observations are images"):
        replace(seen, cameras=seen.cameras.resized((20, 20)))


def test_views_of_different_sizes_are_refused(dataset: Dataset):
    views = (replace(dataset.views[0], w=20, h=20), *dataset.views[1:])
    with pytest.raises(DimoError, match="differ in size"):
        observe(replace(dataset, views=views), "walk")


def test_a_negative_rank_is_refused(space: MotionSpace, dataset: Dataset):
    with pytest.raises(DimoError, match="rank of a change is -1"):
        fit_motion(space, observe(dataset, "walk"), adapt=True, rank=-1)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_motion_its_figures_and_the_adapted_scene(
    space: MotionSpace, dataset: Dataset, few_steps: None, tmp_path: Path, capsys
):
    space.save(tmp_path / FILE)
    out = tmp_path / "swing"
    command = ["fit", str(tmp_path), "--data", str(dataset.root), "--motion", "swing", "--views", "view_00", "view_01"]
    command += ["--adapt", "--rank", "4", "--out", str(out)]
    main(command)
    files = {"clips.json", "clips.mp4", "trajectories.npz", "fit.json", "comparison.mp4", "comparison.png"}
    assert files | {FILE, "scene.json"} == {path.name for path in out.iterdir()}
    report = json.loads((out / "fit.json").read_text())
    assert report["change"] == {"rank": 4, "parameters": 4 * (FRAMES + 7 * KEYPOINTS)}
    assert len(report["latent"]) == DIM
    assert report["held_out_views"]["after"]["psnr"] > report["held_out_views"]["before"]["psnr"]
    more = MotionSpace.open(out)
    with np.load(out / "trajectories.npz") as arrays:
        torch.testing.assert_close(
            more.trained_positions[more.index("swing")], torch.from_numpy(arrays["positions"][0]), atol=1e-5, rtol=0
        )
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_fit_whose_video_cannot_be_written_leaves_nothing_in_the_way_of_the_next_call(
    space: MotionSpace, dataset: Dataset, plain: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    seen = observe(dataset, "swing", ["view_00"])
    with monkeypatch.context() as patch:
        patch.setattr("dimo_ns.apps.fit.output.comparison_video", full)
        with pytest.raises(DimoError, match=r"The fit could not be written to .*No space left on device"):
            write_fit(space, dataset, seen, plain, tmp_path / "swing")
    assert list(tmp_path.iterdir()) == []  # though its clips and figures were there before the video was begun
    report = write_fit(space, dataset, seen, plain, tmp_path / "swing")
    assert json.loads((tmp_path / "swing" / "fit.json").read_text()) == report
    assert (tmp_path / "swing" / "comparison.mp4").stat().st_size > 0
