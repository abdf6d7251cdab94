"""FLIP against NVIDIA's own answer for whole pictures, ST-LPIPS against the published network's."""

import importlib.util

import numpy as np
import pytest
import torch

from dimo_ns.errors import DimoError
from dimo_ns.metrics import perceptual, st_lpips
from dimo_ns.metrics.flip import flip_map
from dimo_ns.metrics.images import Shot
from dimo_ns.metrics.perceptual import Perceptual
from dimo_ns.metrics.st_lpips import BLURS, LAYERS, StLpips


def pictures(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Of noise: a render and the truth."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, size, size, generator=generator).permute(0, 2, 3, 1)
    return first, second


def shot(image: torch.Tensor, target: torch.Tensor, covered: torch.Tensor) -> Shot:
    return Shot("walk", "view", 0, target, covered[..., None], image, covered[..., None], 0.0)


@pytest.mark.parametrize("place", ["middle", "corner", "everywhere"])
def test_flip_of_the_drawn_part_is_that_of_the_whole_picture(place: str):
    """What is white all around has no error; the rest is what FLIP says of the whole."""
    flip_evaluator = pytest.importorskip("flip_evaluator")
    boxes = {"middle": np.s_[30:50, 22:60], "corner": np.s_[80:, :17], "everywhere": np.s_[:, :]}
    image, target = torch.ones(2, 96, 80, 3)
    noise, other = pictures(96)
    image[boxes[place]], target[boxes[place]] = noise[:, :80][boxes[place]], other[:, :80][boxes[place]]
    whole, mean, _ = flip_evaluator.evaluate(target.numpy(), image.numpy(), "LDR", applyMagma=False)
    errors = flip_map(image, target)
    torch.testing.assert_close(errors, torch.from_numpy(np.array(whole))[..., 0], atol=1e-5, rtol=0)
    assert float(errors.mean()) == pytest.approx(mean, abs=1e-5)
    assert mean > 0.005


def test_flip_of_equal_pictures_is_nothing_and_of_black_on_white_nearly_one():
    """0.968 is NVIDIA's figure for black against white; it is in [0, 1] by definition."""
    pytest.importorskip("flip_evaluator")
    image, target = pictures()
    assert float(flip_map(image, image).abs().max()) == 0
    assert torch.equal(flip_map(torch.ones(8, 9, 3), torch.ones(8, 9, 3)), torch.zeros(8, 9))
    assert float(flip_map(torch.zeros(64, 64, 3), torch.ones(64, 64, 3)).mean()) == pytest.approx(0.968, abs=1e-3)
    assert float(flip_map(image, target).mean()) < 1


def test_the_foregrounds_flip_is_over_what_either_shows():
    """All of the error is in a quarter of the picture, but for what reaches out of it."""
    pytest.importorskip("flip_evaluator")
    image, target = torch.ones(2, 64, 64, 3)
    image[:32, :32] = 0.5
    covered = torch.zeros(64, 64)
    covered[:32, :32] = 1
    found = Perceptual(None, None).figures(shot(image, target, covered))
    assert set(found) == {"flip", "foreground_flip"}
    assert found["flip"] < 0.5 * found["foreground_flip"]
    assert found["foreground_flip"] == pytest.approx(float(flip_map(image, target)[:32, :32].mean()))


def weights(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Random tensors of a file of weights, in the order of their names; blurs are those of the network."""
    found = {
        "scaling_layer.shift": torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1),
        "scaling_layer.scale": torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1),
    }
    row = torch.tensor([0.25, 0.5, 0.25])
    for layer, (name, (out, into, width, _)) in enumerate(LAYERS.items()):
        fan = into * width * width
        found[f"net.{name}.weight"] = torch.randn(out, into, width, width, generator=generator) * (2 / fan) ** 0.5
        found[f"net.{name}.bias"] = 0.1 * torch.randn(out, generator=generator)
        found[f"lin{layer}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=generator)
    return found | {f"net.{name}.filt": (row[:, None] * row).expand(c, 1, 3, 3) for name, c in BLURS.items()}


def test_st_lpips_is_that_of_the_published_network():
    """The expected figures are what stlpips-pytorch 0.0.2 itself gave for these random weights and pictures."""
    image, target = pictures()
    network = StLpips(weights(torch.Generator().manual_seed(1)))
    for cut, expected in ((np.s_[:, :], 0.6282541), (np.s_[:, :51], 0.6226913)):
        assert float(network(image[cut][None], target[cut][None])) == pytest.approx(expected, rel=1e-4)
    assert float(network(image[None], image[None])) == 0


@pytest.mark.skipif(not importlib.util.find_spec(st_lpips.PACKAGE), reason="needs the extra 'perceptual'")
def test_st_lpips_with_its_own_weights():
    """The figure of stlpips-pytorch 0.0.2 itself, for a pair of pictures of noise."""
    image, target = pictures()
    found = Perceptual.find()
    assert "st_lpips" not in found.missing
    figures = found.figures(shot(image, target, torch.ones(64, 64)))
    assert figures["st_lpips"] == pytest.approx(0.0378444, rel=1e-4)


def test_pictures_that_vanish_in_the_network_have_no_st_lpips():
    network = StLpips(weights(torch.Generator().manual_seed(1)))
    for size, has in ((st_lpips.SMALLEST - 1, False), (st_lpips.SMALLEST, True)):
        image, target = pictures(size)
        assert ("st_lpips" in Perceptual(None, network).figures(shot(image, target, torch.ones(size, size)))) == has


def test_weights_that_are_not_those_are_refused(tmp_path, monkeypatch):
    found = weights(torch.Generator().manual_seed(1))
    with pytest.raises(DimoError, match=r"no net\.slice3\.9\.bias of shape \[384\]"):
        StLpips(found | {"net.slice3.9.bias": torch.zeros(383)})
    package = tmp_path / st_lpips.PACKAGE
    (package / st_lpips.WEIGHTS).parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('its code is not run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DimoError, match="cannot be read"):
        StLpips.find()
    (package / st_lpips.WEIGHTS).write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(DimoError, match="cannot be read"):
        StLpips.find()
    torch.save(found, package / st_lpips.WEIGHTS)
    assert StLpips.find() is not None


def test_what_is_not_here_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(perceptual.flip, "available", lambda: False)
    found = Perceptual(None, None)
    assert found.missing.keys() == {"flip", "st_lpips", "lpips"}
    assert "dimo-ns[perceptual]" in found.missing["st_lpips"]
    assert found.figures(shot(*pictures(), torch.ones(64, 64))) == {}
