"""Cameras, images and what is dropped for guidance, as numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimo_ns.generate.multiview.conditioning import (
    Condition,
    camera_vectors,
    from_images,
    on_white,
    to_images,
)
from dimo_ns.generate.multiview.encoders import shrink

AZIMUTHS, ELEVATIONS = [0.0, 60.0, 120.0, 180.0, 240.0], [0.0] * 5


def test_a_camera_is_augmentation_polar_angle_and_azimuth_as_cosines_and_sines():
    """Element k of each half: of the angle times 10,000^(-k / half)."""
    vectors = camera_vectors(AZIMUTHS, [0.0, 0.0, 30.0, -30.0, 0.0])
    assert vectors.shape == (4, 1280)
    for row, (azimuth, polar) in enumerate([(60, 90), (120, 60), (180, 120), (240, 90)]):
        for start, dim, value in ((0, 256, 1e-5), (256, 512, math.radians(polar)), (768, 512, math.radians(azimuth))):
            half = dim // 2
            for k in (0, 1, half - 1):
                angle = value * 10_000 ** (-k / half)
                assert vectors[row, start + k].item() == pytest.approx(math.cos(angle), abs=1e-6)
                assert vectors[row, start + half + k].item() == pytest.approx(math.sin(angle), abs=1e-6)


@given(st.integers(-720, 720), st.integers(-30, 30))
def test_only_angles_relative_to_the_input_matter(turn: int, lift: int):
    turned = camera_vectors([a + turn for a in AZIMUTHS], [e + lift for e in ELEVATIONS])
    torch.testing.assert_close(turned, camera_vectors(AZIMUTHS, ELEVATIONS), atol=1e-5, rtol=0)


def test_guidance_leads_away_from_the_angles_alone():
    """As in the published code, which drops the inputs' frames together with the noise level that belongs to them."""
    cameras = camera_vectors(AZIMUTHS, ELEVATIONS)
    full = Condition(torch.ones(3, 4, 2, 2), torch.ones(3, 16), cameras, torch.ones(4, 4, 2, 2))
    dropped = full.dropped()
    assert not any(part.any() for part in (dropped.frames, dropped.clip, dropped.views, dropped.cameras[:, :256]))
    assert torch.equal(dropped.cameras[:, 256:], cameras[:, 256:])
    assert full.cameras[:, :128].min() > 0.99  # cosines of almost nothing, and not changed in place


def test_what_is_transparent_is_white():
    frames = np.array([[[[200, 0, 100, 0], [200, 0, 100, 255], [0, 0, 0, 51]]]], np.uint8)
    pixels = on_white(frames)[0, :, 0].T
    torch.testing.assert_close(pixels[0], torch.ones(3))
    torch.testing.assert_close(pixels[1], torch.tensor([200, 0, 100]) / 127.5 - 1)
    torch.testing.assert_close(pixels[2], torch.full((3,), 2 * 0.8 - 1))


def test_images_survive_the_way_to_pixels_and_back():
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert np.array_equal(to_images(from_images(images)), images)
    assert to_images(torch.tensor([-7.0, 0.0, 7.0]).view(3, 1, 1)).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("side", [64, 100, 224, 576])
def test_images_shrink_as_diffusers_shrinks_them_for_clip(side: int):
    pipelines = pytest.importorskip(
        "diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion",
        reason="needs the 'generate' extra",
    )
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = pipelines._resize_with_antialiasing(images, (224, 224))
    torch.testing.assert_close(shrink(images, 224), expected, atol=1e-5, rtol=0)
