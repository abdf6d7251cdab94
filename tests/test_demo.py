"""What `dimo demo` prints where nobody sees its bars; all of it is as long as a training."""

from pathlib import Path

import pytest

from dimo_ns import demo


@pytest.mark.usefixtures("unchecked")
def test_making_the_sample_dataset_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(demo, "write_sample", lambda _path, progress: progress(1, 2))
    demo.sample(tmp_path / "sample", print)
    assert capsys.readouterr().out == ""
