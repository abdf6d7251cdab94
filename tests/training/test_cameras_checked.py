"""ns-train looks at the cameras before it trains: wrong ones end it before the first step, with the remedy."""

import re
from pathlib import Path

import pytest

from tests.brief_runs import train
from tests.data.posed_sets import PosedSet, opencv, posed, ring, shifted


def test_wrong_cameras_are_refused_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name, cameras, said in [
        ("axes", posed(opencv), "cannot be trained on: .* OpenCV camera-to-world .* --poses opencv-c2w"),
        ("size", shifted(0, 0, 0, 4), r'cannot be trained on: The object is at .* add "object": \{"centre"'),
    ]:
        dataset = PosedSet(ring(), cameras).write(tmp_path / name)
        with pytest.raises(SystemExit):
            train(dataset.root, tmp_path / "runs")
        assert re.search(said, capsys.readouterr().err)
        assert not list((tmp_path / "runs").rglob("*.ckpt"))
