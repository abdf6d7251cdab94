"""What stays inside a folder stays inside it by whatever path the folder was named."""

from pathlib import Path

import pytest

from dimo_ns.errors import DimoError
from dimo_ns.files.fields import inside


@pytest.mark.parametrize("root", ["set", "./other/../set", ".", "link", "link/../set"])
def test_a_folder_may_be_named_from_where_one_stands_or_by_a_link(root: str, tmp_path: Path, monkeypatch):
    (tmp_path / "set" / "walk").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set" if root == "." else tmp_path)
    path = Path(root) / "walk"
    assert inside(Path(root), path) == path
    (path / "within").symlink_to(tmp_path / "set")
    assert inside(Path(root), path / "within") == path / "within"
    (path / "out").symlink_to(tmp_path / "other")
    for out in (path / "out", Path(root) / ".." / "other"):
        with pytest.raises(DimoError, match="leads out of the dataset"):
            inside(Path(root), out)
