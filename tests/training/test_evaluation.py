"""The figures are what their names say: by renders of the model itself, and by flat pictures."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dimo_ns.metrics.images import render_views
from dimo_ns.training.evaluation import evaluate_model, posed
from tests.training.tiny_runs import MOTIONS, SIZE, flat, open_set, write_set


def test_a_model_is_perfect_on_its_own_renders(tmp_path: Path):
    """What is left is the rounding of colours and alpha to 8 bits, about 1/255/sqrt(12) each: beyond 50 dB. The stills
    are worse, since the renders move."""
    model, _ = open_set(write_set(tmp_path / "first", lambda m, v, f: flat(9), frames=3))

    def photograph(motion, view, frame):
        image, alpha = render_views(posed(model, MOTIONS.index(motion), frame), [view])[0]
        straight = (image - (1 - alpha)) / alpha.clamp(min=1e-6)
        return (torch.cat([straight, alpha], -1).clamp(0, 1) * 255).round().byte().numpy()

    dataset = write_set(tmp_path / "second", photograph, frames=3)
    figures = evaluate_model(*open_set(dataset), tmp_path / "images")
    assert figures["psnr"] > 50
    assert figures["foreground_psnr"] > 45
    assert figures["ssim"] > 0.999
    assert figures["foreground_ssim"] > 0.999
    assert figures["train_views"]["psnr"] > 50
    assert figures["train_views"]["images"] == 2 * 3 * 2
    assert figures["images"] == 2 * 3  # motions x frames of the one test view
    assert figures["still"]["first_frame"]["psnr"] < 40
    assert set(figures["motions"]) == set(MOTIONS)
    assert set(figures["views"]) == {"test_00"}
    assert figures["psnr"] == pytest.approx(np.mean([m["psnr"] for m in figures["motions"].values()]))
    assert figures["still"]["first_frame"]["model_psnr"] > 50
    assert (figures["gaussians"], figures["keypoints"], figures["decoder"]) == (200, 512, "low_rank")
    assert figures["dataset_hash"] == dataset.hash
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures  # plain values only: ns-eval writes JSON
    names = sorted(p.name for p in (tmp_path / "images").iterdir())
    assert names == [f"eval_img_{i:04d}.png" for i in range(6)]
    with Image.open(tmp_path / "images" / names[0]) as picture:
        assert picture.size == (3 * SIZE, SIZE)


def test_stills_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Greys in half of the image: walk 51, 102; jump 102, 153. A step of 51/255 = .2 is a mean square of .2^2 / 2, that
    is 16.99 dB; one of .4 is 10.97 dB. Jump's first frame is not walk's first, which `first_motion` holds."""
    greys = {("walk", 0): 51, ("walk", 1): 102, ("jump", 0): 102, ("jump", 1): 153}
    points = np.zeros((2, 2, 2, 3), np.float32)
    points[:, :, 1, 2] = 1.0  # two points, 1 apart; both move by .1 in motion 0 and by .3 in motion 1
    points[0, 1, :, 0], points[1, 1, :, 1] = 0.1, 0.3
    dataset = write_set(tmp_path / "set", lambda m, v, f: flat(greys[m, f]), frames=2, tracks={"tracks": points})
    model, manager = open_set(dataset)
    with torch.no_grad():
        model.scene.decoder.basis.zero_()  # nothing moves
    capsys.readouterr()
    figures = evaluate_model(model, manager)
    assert capsys.readouterr().out == ""  # no bar, and no line in its place, where nobody sees it
    one, two = -10 * math.log10(0.2**2 / 2), -10 * math.log10(0.4**2 / 2)
    still = figures["still"]
    assert still["first_frame"]["psnr"] == pytest.approx(one, abs=1e-4)
    assert still["first_frame"]["images"] == 2
    assert still["first_motion"]["psnr"] == pytest.approx((one + one + two) / 3, abs=1e-4)
    assert still["first_motion"]["images"] == 3
    assert figures["motions"]["jump"]["still_psnr"] == pytest.approx(one, abs=1e-4)
    for name, percent in (("walk", 10.0), ("jump", 30.0)):
        assert figures["track_errors"][name]["still_percent"] == pytest.approx(percent, rel=1e-5)
        assert figures["track_errors"][name]["percent"] == pytest.approx(percent, rel=1e-5)
    assert figures["track_error_percent"] == pytest.approx(20.0, rel=1e-5)
