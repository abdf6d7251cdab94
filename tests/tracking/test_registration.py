"""Faults that were put into pictures are found again. The object is a sum of blobs that move: what it shows at any
place and time is known, so that renders and pictures are made of it without a renderer."""

import math

import torch

from dimo_ns.core.view_faults import DRIFTS, TERMS, drifts, polynomials
from dimo_ns.tracking.registration import Difference, register

SIDE, FRAMES, BLOBS = 64, 21, 12
PIXEL = 2 / SIDE
IDS = torch.arange(FRAMES)
NOTHING = Difference(torch.zeros(2, DRIFTS, TERMS), torch.zeros(2), torch.zeros(3))


def places() -> torch.Tensor:
    side = (torch.arange(SIDE) + 0.5 - SIDE / 2) * PIXEL
    return torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)


def shown(at: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    """The object [t, h, w, 4] at places [t, h, w, 2], at times in frames."""
    generator = torch.Generator().manual_seed(3)
    first, way = 0.8 * torch.rand(2, BLOBS, 2, generator=generator) - 0.4
    colors = torch.rand(BLOBS, 3, generator=generator)
    centres = first + way * torch.sin(frame / FRAMES * math.pi)[:, None, None]
    weights = torch.exp(-0.5 * ((at[..., None, :] - centres[:, None, None]) / 0.1).square().sum(-1))
    alpha = 1 - torch.exp(-2 * weights.sum(-1, keepdim=True))
    return torch.cat([weights @ colors / (weights.sum(-1, keepdim=True) + 1e-6) * alpha, alpha], -1)


def displaced(coefficients: torch.Tensor) -> torch.Tensor:
    """Where what is seen at each place [t, h, w, 2] comes from: a displacement d(x) carries x - d(x) there, nearly."""
    fields = torch.einsum("tr,arp,hwp->thwa", drifts(IDS / FRAMES), coefficients, polynomials(places()))
    return places() - fields


def found_in(pictures: torch.Tensor, rounds: int = 5) -> Difference:
    """As training does: what is found goes into the renders of the next round."""
    known = NOTHING
    for _ in range(rounds):
        moments = (known.clock[0] + (1 + known.clock[1]) * IDS).clamp(0, FRAMES - 1)
        renders = shown(displaced(known.displacement), moments)
        renders[..., :3] *= known.exposure.exp()
        known = register(pictures, renders, moments, IDS.float(), IDS / FRAMES, known, 0.15)
    return known


def test_right_pictures_have_no_faults():
    found = found_in(shown(places().expand(FRAMES, -1, -1, -1), IDS.float()), rounds=1)
    for name in ("displacement", "clock", "exposure"):
        assert getattr(found, name).abs().max() < 1e-5


def test_an_exposure_is_found_within_a_hundredth():
    pictures = shown(places().expand(FRAMES, -1, -1, -1), IDS.float())
    gains = torch.tensor([1.1, 0.95, 0.9])
    pictures[..., :3] *= gains
    torch.testing.assert_close(found_in(pictures).exposure.exp(), gains, atol=0.01, rtol=0)


def test_a_shift_is_found_within_a_fifth_of_a_pixel_of_256():
    coefficients = torch.zeros(2, DRIFTS, TERMS)
    coefficients[:, 0, 0] = torch.tensor([2.0, -1.5]) / 128
    found = found_in(shown(displaced(coefficients), IDS.float()))
    drawn = shown(places().expand(FRAMES, -1, -1, -1), IDS.float())[..., 3] > 0.5
    off = (displaced(found.displacement) - displaced(coefficients))[drawn] * 128
    assert off.mean(0).norm() < 0.2


def test_a_late_and_slow_view_is_found_within_a_fifth_of_a_frame():
    moments = (-1.4 + 0.95 * IDS).clamp(0, FRAMES - 1)
    found = found_in(shown(places().expand(FRAMES, -1, -1, -1), moments), rounds=8)
    times = (found.clock[0] + (1 + found.clock[1]) * IDS).clamp(0, FRAMES - 1)
    assert (times - moments).square().mean().sqrt() < 0.2


def test_a_smooth_displacement_that_drifts_is_found():
    torch.manual_seed(1)
    coefficients = torch.zeros(2, DRIFTS, TERMS)
    coefficients[:, :3, :6] = torch.randn(2, 3, 6) * 0.6 / 128  # some two pixels of 256
    found = found_in(shown(displaced(coefficients), IDS.float()))
    drawn = shown(places().expand(FRAMES, -1, -1, -1), IDS.float())[..., 3] > 0.5
    true, ours = ((displaced(c) - places())[drawn].flatten() for c in (coefficients, found.displacement))
    assert torch.corrcoef(torch.stack([true, ours]))[0, 1] > 0.8


def test_all_at_once_are_told_apart():
    coefficients = torch.zeros(2, DRIFTS, TERMS)
    coefficients[:, 0, 0] = torch.tensor([1.5, 1.0]) / 128
    moments = (1.0 + IDS).clamp(0, FRAMES - 1)
    pictures = shown(displaced(coefficients), moments)
    pictures[..., :3] *= 1.08
    found = found_in(pictures, rounds=8)
    times = (found.clock[0] + (1 + found.clock[1]) * IDS).clamp(0, FRAMES - 1)
    assert (times - moments).square().mean().sqrt() < 0.2
    torch.testing.assert_close(found.exposure.exp(), torch.full((3,), 1.08), atol=0.01, rtol=0)
