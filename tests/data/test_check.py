"""The report finds what was put in to be found; the contact sheet shows every motion."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dimo_ns import cli
from dimo_ns.data.check import check, contact_sheet
from dimo_ns.data.format import load
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import SIZE, all_frames, disc, write_tiny


def text(report) -> str:
    file = io.StringIO()
    Console(width=200, file=file).print(report)
    return file.getvalue()


def test_a_good_dataset(tiny: Path):
    report = check(tiny)
    assert report.ok
    assert [(m.name, m.found, m.expected) for m in report.motions] == [("walk", 12, 12), ("jump", 12, 12)]
    assert report.motions[0].size_bytes == sum(p.stat().st_size for p in (tiny / "walk").rglob("*.png"))
    expected = [rgba[..., 3].mean() / 255 for motion, _, _, rgba in all_frames() if motion == "walk"]
    np.testing.assert_allclose(sorted(report.motions[0].coverage), sorted(expected))
    assert "12/12" in text(report)
    assert "No problems found" in text(report)


def test_every_problem_is_said(tiny: Path, tmp_path: Path):
    blank = Image.new("RGBA", (SIZE, SIZE))
    for f in range(4):
        blank.save(tiny / f"walk/view_01/{f:02d}.png")
    blank.save(tiny / "jump/view_00/02.png")
    damaged = tiny / "jump/view_01/01.png"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    (tiny / "jump/test_00/03.png").unlink()
    Image.fromarray(np.roll(disc(0, 0, 0), SIZE // 2, axis=0)).save(tiny / "walk/view_00/00.png")
    (tiny / "stranger").mkdir()
    np.savez(tiny / "tracks.npz", tracks=np.zeros((2, 3, 5, 3)))
    report = check(tiny)
    assert not report.ok
    assert not report.fatal
    said = "\n".join(report.problems)
    for expected in (
        "walk/view_01 shows nothing: the masks of all its frames are empty",
        "jump/view_00 shows nothing in frame 2",
        "jump/view_01/01.png is damaged",
        "jump/test_00 (1 of 4)",
        "walk/view_00: the object reaches the edge of the picture in 1 frames",
        "ignored: stranger",
        "tracks.npz are float64[2, 3, 5, 3]; expected float[2, 4, 'points', 3]",
    ):
        assert expected in said
    assert report.motions[1].found == 11
    assert "11/12" in text(report)


def test_a_motion_that_shows_nothing_is_fatal(tmp_path: Path):
    blank = np.zeros((SIZE, SIZE, 4), np.uint8)
    frames = [(m, v, f, blank if m == "walk" else rgba) for m, v, f, rgba in all_frames()]
    report = check(write_tiny(tmp_path / "disc", frames=frames).root)
    assert len(report.fatal) == 1
    assert "'walk' shows nothing" in report.fatal[0]
    assert "fatal" in text(report)


def test_what_is_assumed_is_a_note_and_no_problem(tiny: Path):
    for path in tiny.rglob("*.png"):
        rgba = Image.open(path)
        white = Image.new("RGBA", rgba.size, "white")
        Image.alpha_composite(white, rgba).convert("RGB").save(path)
    report = check(tiny)
    assert report.ok
    assert "note: 24 frames have neither alpha nor a mask" in text(report)


@pytest.mark.parametrize("content", [b"", b"PK nothing", b"\x93NUMPY"])
def test_damaged_tracks(tiny: Path, content: bytes):
    (tiny / "tracks.npz").write_bytes(content)
    assert any("tracks.npz cannot be read" in p for p in check(tiny).problems)


def test_contact_sheet(tiny: Path, tmp_path: Path):
    """A row for each motion: view 0 at its four frames, then two other views: six discs; one is missing."""
    (tiny / "jump/view_01/02.png").unlink()
    contact_sheet(load(tiny), tmp_path / "sheet.png", cell=SIZE)
    sheet = np.array(Image.open(tmp_path / "sheet.png")).astype(int)
    assert (sheet[-4:] == 255).all()
    for row, expected in enumerate((6, 5)):
        pixels = sheet[80 + row * (SIZE + 8) :][:SIZE]
        coloured = (pixels.max(axis=-1) - pixels.min(axis=-1) > 20).any(axis=0)
        assert (np.diff(coloured.astype(int)) == 1).sum() == expected


def test_a_contact_sheet_that_cannot_be_written_leaves_the_old_one(tiny: Path, tmp_path: Path, full_disk):
    (tmp_path / "sheet.png").write_text("old")
    with full_disk(), pytest.raises(DimoError, match="contact sheet could not be written"):
        contact_sheet(load(tiny), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_text() == "old"


def test_the_command_draws_a_sheet_if_it_is_told_where_and_replaces_nothing_unasked(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    cli.main(["data", "check", str(tiny)])
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "sheet.png").write_text("old")
    with pytest.raises(SystemExit):
        cli.main(["data", "check", str(tiny), "--sheet", "sheet.png"])
    assert "sheet.png is there already" in capsys.readouterr().err
    assert (tmp_path / "sheet.png").read_text() == "old"
    cli.main(["data", "check", str(tiny), "--sheet", "sheet.png", "--overwrite"])
    assert Image.open(tmp_path / "sheet.png").format == "PNG"
