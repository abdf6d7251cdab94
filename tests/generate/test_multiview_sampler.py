"""The sampler against diffusers' scheduler, against a problem with a known solution; guidance against known values."""

import math

import pytest
import torch

from dimo_ns.generate.multiview.sampler import (
    denoise,
    linear_guidance,
    noise_levels,
    ramp_and_triangle_guidance,
    sample,
)


def test_noise_falls_from_700_to_0_in_so_many_steps():
    levels = noise_levels(50)
    assert len(levels) == 51
    assert levels[0] == pytest.approx(700)
    assert levels[-2] == pytest.approx(0.002)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    roots = levels[:-1] ** (1 / 7)
    torch.testing.assert_close(roots.diff(), torch.full((49,), float(roots[-1] - roots[0]) / 49, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 5, 25])
def test_latents_are_those_of_diffusers_euler_scheduler(steps: int):
    """With the options that make it EDM's Euler method under v-prediction, and a network of no meaning."""
    diffusers = pytest.importorskip("diffusers", reason="needs the 'generate' extra")

    def network(x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return torch.tanh(1.7 * x + c_noise) + 0.1 * x.roll(1)

    scheduler = diffusers.EulerDiscreteScheduler(
        prediction_type="v_prediction",
        sigma_min=0.002,
        sigma_max=700.0,
        use_karras_sigmas=True,
        timestep_type="continuous",
        timestep_spacing="leading",
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
    )
    scheduler.set_timesteps(steps)
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0))
    expected = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        v = network(scheduler.scale_model_input(expected, t), t)
        expected = scheduler.step(v, t, expected).prev_sample
    found = sample(lambda x, sigma: denoise(network, x, sigma), noise, steps)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_samples_of_a_normal_distribution_converge_to_the_solution():
    """For data N(0, s^2), D(x) = x s^2 / (s^2 + sigma^2), and x falls with sqrt(s^2 + sigma^2); Euler is of order 1."""
    s = 0.8
    noise = torch.tensor([-1.3, 0.4, 2.0], dtype=torch.float64)
    solution = noise * math.sqrt(1 + 700**2) * s / math.sqrt(s**2 + 700**2)

    def error(steps: int) -> float:
        found = sample(lambda x, sigma: x * s**2 / (s**2 + sigma**2), noise, steps)
        return float((found / solution - 1).abs().max())

    assert error(400) < 0.01
    assert 1.8 < error(200) / error(400) < 2.2


def test_the_network_is_given_unit_variance_and_a_quarter_of_the_log_of_the_noise():
    seen = []

    def network(x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        seen.append((x, c_noise))
        return torch.zeros_like(x)

    found = denoise(network, torch.tensor([10.0]), 3.0)
    assert seen[0][0].item() == pytest.approx(10 / math.sqrt(10))
    assert seen[0][1].item() == pytest.approx(math.log(3) / 4)
    assert found.item() == pytest.approx(1)


def test_it_can_be_stopped_after_any_step():
    steps = []

    def after_step() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(lambda x, sigma: x / 2, torch.ones(1), 10, after_step)
    assert len(steps) == 3


def test_guidance_of_four_views_rises_along_all_images():
    weights = linear_guidance(12, 4)
    assert weights.shape == (12, 4)
    torch.testing.assert_close(weights.flatten(), 1 + torch.arange(48) / 47)


def test_guidance_of_eight_views_rises_in_time_and_peaks_opposite_the_input():
    """By hand: half the fifth's share of the frames, half the distance to the nearer end of the views."""
    weights = ramp_and_triangle_guidance(5, 8)
    assert weights[0].tolist() == pytest.approx([1.5 + min(i, 7 - i) / 7 for i in range(8)])
    assert weights[:, 0].tolist() == pytest.approx([1.5, 1.625, 1.75, 1.875, 2.0])
    assert weights[4, 3].item() == pytest.approx(2 + 3 / 7)
