"""Samples: reproducible one by one, within the bounds that are promised, and what is said of them is so."""

from dataclasses import replace

import pytest
import torch

from dimo_ns.apps import sample as app
from dimo_ns.apps.sample import draw_samples, examine, isolation, quality
from dimo_ns.core.decoder import LowRankDecoder
from dimo_ns.core.latents import MotionLatents
from dimo_ns.errors import DimoError
from dimo_ns.space.motion_space import MotionSpace
from tests.spaces import DIM, NAMES, some_space


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space(gaussians=40)


def constant_space(scale: float) -> MotionSpace:
    """Whatever the latent, the object is as many times its size."""
    space = some_space(gaussians=40)
    decoder = space.scene.decoder
    assert isinstance(decoder, LowRankDecoder)
    with torch.no_grad():
        decoder.basis.zero_()
        decoder.offset.copy_(torch.tensor([0.0, 0, 0, 1, 0, 0, 0]))
        decoder.offset[:, :3] = (scale - 1) * space.scene.keypoints
    return space


def test_a_draw_depends_on_the_seed_and_its_number_alone(space: MotionSpace):
    few, many = draw_samples(space, 3, seed=7), draw_samples(space, 6, seed=7)
    assert torch.equal(few.latents, many.latents[:3])
    assert [clip.name for clip in few.clips] == [clip.name for clip in many.clips[:3]]
    latents = [few.latents, *(draw_samples(space, 3, seed).latents for seed in (0, 1, 7 + 2**32))]
    differ = torch.cdist(torch.cat(latents), torch.cat(latents)) > 1e-3
    assert differ[~torch.eye(12, dtype=torch.bool)].all()  # seeds that agree in their low 32 bits, too


def test_what_is_said_of_each_is_what_the_space_says(space: MotionSpace):
    samples = draw_samples(space, 5)
    trajectories = space.positions(samples.latents)
    torch.testing.assert_close(torch.stack([clip.positions for clip in samples.clips]), trajectories)
    distances, motions = space.distances(trajectories, space.trained_positions).min(1)
    assert samples.nearest == [space.names[i] for i in motions.tolist()]
    torch.testing.assert_close(samples.distances, distances, rtol=1e-4, atol=0)
    posteriors = space.scene.latents
    density = app.LatentDensity.fit(posteriors.mu, posteriors.logvar)
    torch.testing.assert_close(samples.log_density, density.log_prob(samples.latents))
    assert list(samples.about()) == [clip.name for clip in samples.clips]
    assert samples.about()["sample_003"]["nearest"] == samples.nearest[3]


def test_strain_of_a_change_of_size_is_known():
    """Every edge is 1.1 times as long and not turned: what is left of each is a tenth, its square a hundredth."""
    for scale, expected in ((1.1, 0.01), (1.0, 0.0)):
        space = constant_space(scale)
        strains, distances = examine(space, torch.randn(20, DIM))
        torch.testing.assert_close(strains, torch.full((20,), expected), atol=1e-6, rtol=1e-4)
        assert float(distances.max()) < 1e-6


def test_draws_outside_the_bounds_are_not_kept(space: MotionSpace):
    trained_strains, between = examine(space, space.mu)
    kept = draw_samples(space, 40, temperature=6.0)
    assert sum(kept.rejected) > 0
    strains, distances = examine(space, kept.latents)
    assert float(strains.max()) <= 1.5 * float(trained_strains.max()) * (1 + 1e-5)
    assert float(distances.min(1).values.max()) <= float(isolation(between).max()) * (1 + 1e-5)
    torch.testing.assert_close(kept.strain, strains / trained_strains.max())


def test_a_temperature_at_which_nothing_is_kept_is_said(space: MotionSpace, monkeypatch):
    monkeypatch.setattr(app, "MOST_STRAIN", -1.0)
    with pytest.raises(DimoError, match=r"For 3 of 3 motions, 100 draws at temperature 1\.0.*lower temperature"):
        draw_samples(space, 3)


def test_a_low_temperature_gives_draws_that_are_alike(space: MotionSpace):
    cool, warm = (draw_samples(space, 16, temperature=temperature).latents.std(0).mean() for temperature in (0.1, 1.0))
    assert 8 < float(warm / cool) < 12


def test_the_prior_is_drawn_from_on_request(space: MotionSpace):
    samples = draw_samples(space, 4, prior=True)
    density = app.LatentDensity.prior(DIM)
    torch.testing.assert_close(samples.log_density, density.log_prob(samples.latents))


def test_of_one_motion_the_draws_are_its_posteriors():
    space = some_space(gaussians=40)
    space.scene.latents = MotionLatents(1, DIM)
    with torch.no_grad():
        space.scene.latents.mu.fill_(2.0)
        space.scene.latents.logvar.fill_(-6.0)
    alone = MotionSpace(space.scene, replace(space.info, motions=space.motions[:1]))
    samples = draw_samples(alone, 64)
    assert set(samples.nearest) == {NAMES[0]}
    torch.testing.assert_close(samples.latents.mean(), torch.tensor(2.0), atol=0.02, rtol=0)
    torch.testing.assert_close(samples.latents.std(), torch.tensor(-3.0).exp(), atol=0.01, rtol=0)


def test_a_scene_in_which_nothing_moves_can_be_sampled():
    space = constant_space(1.0)
    samples = draw_samples(space, 3)
    assert len(samples.clips) == 3
    assert quality(space, samples).diversity == 0


def test_the_training_motions_as_samples_cover_copy_and_differ_as_they_do(space: MotionSpace):
    samples = draw_samples(space, len(NAMES))
    exact = replace(samples, clips=space.clips(), distances=torch.zeros(len(NAMES)))
    found = quality(space, exact)
    assert (found.coverage, found.copies) == (1.0, 1.0)
    assert found.diversity == pytest.approx(1.0)


def test_one_training_motion_again_and_again_covers_itself_alone(space: MotionSpace):
    """One that is no other's nearest, so that all others have a nearer neighbour."""
    between = space.distances(space.trained_positions, space.trained_positions).fill_diagonal_(torch.inf)
    lonely = min(set(range(len(NAMES))) - set(between.argmin(1).tolist()))
    samples = draw_samples(space, 5)
    same = replace(samples, clips=[space.clips()[lonely]] * 5, distances=torch.zeros(5))
    found = quality(space, same)
    assert found.coverage == pytest.approx(1 / len(NAMES))
    assert found.diversity == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "expected 1 to"),
        ({"n": 2, "temperature": 0.0}, "a positive number"),
        ({"n": 2, "temperature": float("nan")}, "a positive number"),
        ({"n": 2, "temperature": float("inf")}, "a positive number"),
        ({"n": 2, "temperature": 1e300}, "lower temperature"),
        ({"n": 2, "seed": -1}, "seed is -1; expected 0 to"),
    ],
)
def test_requests_without_meaning_are_refused(space: MotionSpace, options: dict, complaint: str):
    with pytest.raises(DimoError, match=complaint):
        draw_samples(space, **options)
