"""The whole model, tiny: sampling against diffusers' scheduler, chunks that know each other, resuming, refusals."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dimo_ns.errors import DimoError
from dimo_ns.generate.multiview.conditioning import camera_vectors, from_images, to_images
from dimo_ns.generate.multiview.model import MultiView
from tests.generate.multiview_nets import SIZE, TINY, some_clip, tiny_model

NAMES = ("sv4d2", "sv4d2_8views")
STEPS = 2


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> MultiView:
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def eight() -> MultiView:
    return tiny_model("sv4d2_8views")


def test_a_clip_becomes_one_clip_per_view(model: MultiView):
    frames = 2 * model.variant.frames
    made = model(some_clip(frames), seed=1, steps=STEPS)
    assert made.shape == (model.variant.views, frames, SIZE, SIZE, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(made, model(some_clip(frames), seed=1, steps=STEPS))
    assert made.std() > 5
    for other in ({"seed": 2}, {"azimuths_deg": range(model.variant.views + 1)}):
        assert not np.array_equal(made, model(some_clip(frames), **{"seed": 1, "steps": STEPS, **other}))


def test_a_run_that_was_broken_off_goes_on_to_the_same_end(eight: MultiView):
    clip = some_clip(4)
    whole = list(eight.chunks(clip, seed=3, steps=STEPS))
    assert len(whole) == 3
    for done in range(4):
        rest = list(eight.chunks(clip, seed=3, steps=STEPS, finished=whole[:done]))
        assert len(rest) == 3 - done
        assert all(np.array_equal(a, b) for a, b in zip(rest, whole[done:], strict=True))


def test_the_first_chunk_knows_no_views_and_the_next_what_the_last_made(
    model: MultiView, monkeypatch: pytest.MonkeyPatch
):
    """Zeros in the place of latents, which are not the latents of any image; then the latents of the shared frame."""
    seen = []
    monkeypatch.setattr(model, "sample", lambda condition, *rest: seen.append(condition) or sample(condition, *rest))
    sample = type(model).sample.__get__(model)
    window = model.variant.frames
    chunks = list(model.chunks(some_clip(2 * window - 1), steps=1))
    assert not seen[0].views.any()
    with torch.no_grad():
        expected = model.encoders.encode(from_images(chunks[0][:, window - 1]))
    torch.testing.assert_close(seen[1].views, expected)
    assert not torch.equal(seen[0].frames, seen[1].frames)


def test_latents_are_those_of_diffusers_scheduler_and_the_published_guidance(model: MultiView):
    """Each image's weight as the published code computes it, in the order frame by frame, view by view."""
    from diffusers import EulerDiscreteScheduler

    t, v = model.variant.frames, model.variant.views
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        sigma_min=0.002,
        sigma_max=700.0,
        use_karras_sigmas=True,
        timestep_type="continuous",
        timestep_spacing="leading",
        steps_offset=1,
    )
    scheduler.set_timesteps(3)
    if model.variant.name == "sv4d2":
        scale = torch.linspace(1.0, 2.0, t * v)
    else:
        s = torch.linspace(0, 1, v)
        triangle = 2 * (s - torch.floor(s + 0.5)).abs()
        scale = ((torch.linspace(0, 1, t)[:, None] * 0.5 + triangle * 0.5) * (2.5 - 1.5) + 1.5).flatten()

    cameras = camera_vectors(model.variant.azimuths_deg, [0.0] * (v + 1))
    noise = model.noise(seed=0, chunk=0, size=8)
    with torch.no_grad():
        full = model.condition(some_clip(t), cameras, known=np.full((v, SIZE, SIZE, 3), 99, np.uint8))
        expected = noise * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            x = scheduler.scale_model_input(expected, time)
            v_under, v_without = (
                model.unet(
                    torch.cat([x, c.frames[:, None].repeat(1, v, 1, 1, 1)], 2),
                    time,
                    c.cameras[None].repeat(t, 1, 1),
                    c.clip,
                    c.views,
                )
                for c in (full, full.dropped())
            )
            guided = v_without + scale.view(t, v, 1, 1, 1) * (v_under - v_without)
            expected = scheduler.step(guided, time, expected)[0]
        found = model.sample(full, noise, 3)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_images_are_sorted_by_view_then_frame(eight: MultiView):
    latents = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = eight.decode(latents)
        for frame, view in ((0, 2), (1, 0)):
            alone = to_images(eight.encoders.decode(latents[frame, view][None]))[0]
            assert np.abs(made[view, frame].astype(int) - alone).max() <= 1


def test_half_the_precision_gives_nearly_the_same():
    """bfloat16 has 8 bits; latents come out in float32, and half precision is nowhere mixed with it."""
    model = tiny_model("sv4d2_8views")
    t, v = model.variant.frames, model.variant.views
    cameras = camera_vectors(model.variant.azimuths_deg, [0.0] * (v + 1))
    made = []
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            model.unet.to(dtype)
            condition = model.condition(some_clip(t), cameras, known=None)
            made.append(model.sample(condition, model.noise(seed=0, chunk=0, size=8), STEPS))
    assert made[1].dtype == torch.float32
    assert (made[1] - made[0]).std() < 0.03 * made[0].std()


def test_fewer_images_at_once_give_the_same(eight: MultiView, monkeypatch: pytest.MonkeyPatch):
    images = torch.rand(5, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        latents, embedded = eight.encoders.encode(images), eight.encoders.embed(images)
        pixels = eight.encoders.decode(latents)
        monkeypatch.setattr(eight.encoders, "images_at_once", 1)
        torch.testing.assert_close(eight.encoders.encode(images), latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(eight.encoders.embed(images), embedded, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(eight.encoders.decode(latents), pixels, atol=1e-5, rtol=1e-5)


def test_progress_counts_the_steps_of_all_chunks_and_may_stop(eight: MultiView):
    seen: list[tuple[int, int]] = []
    chunks = eight.chunks(some_clip(3), steps=STEPS, progress=lambda *count: seen.append(count))
    first = next(chunks)
    assert seen == [(1, 4), (2, 4)]

    def stop(done: int, steps: int) -> None:
        raise KeyboardInterrupt(f"{done} of {steps}")

    with pytest.raises(KeyboardInterrupt, match="3 of 4"):
        list(eight.chunks(some_clip(3), steps=STEPS, finished=[first], progress=stop))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"frames": some_clip(1)}, "at least 2"),
        ({"frames": some_clip(3)[:, :60]}, "64 x 60 pixels"),
        ({"frames": some_clip(3)[..., :3]}, r"\[3, 64, 64, 3\]; expected uint8"),
        ({"azimuths_deg": [0, 30]}, "needs 4 finite azimuths, the input's view first; 2 were given"),
        ({"elevations_deg": [0, 0, 0, float("nan")]}, "4 finite elevations"),
        ({"finished": [np.zeros((3, 2, SIZE, SIZE, 3), np.uint8)] * 3}, "not of this clip: it has 2"),
        ({"finished": [np.zeros((4, 2, SIZE, SIZE, 3), np.uint8)]}, "not of this clip"),
        ({"steps": 0}, "0 steps"),
    ],
)
def test_what_does_not_fit_is_refused(eight: MultiView, wrong: dict, complaint: str):
    arguments = {"frames": some_clip(3), "steps": 1, **wrong}
    with pytest.raises(DimoError, match=complaint):
        next(eight.chunks(**arguments))


def test_importing_it_imports_neither_diffusers_nor_transformers():
    code = "import sys, dimo_ns.generate.multiview.model; print({'diffusers', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_tiny_variants_differ_from_the_published_only_in_size():
    assert [TINY[name].across_views for name in NAMES] == [False, True]
