"""Videos of a user's own become a dataset: from one side with made-up views, from all sides with their own cameras."""

import numpy as np
import pytest

from dimo_ns import cli
from dimo_ns.data.format import load
from dimo_ns.data.frames import read_clip
from dimo_ns.generate.clip_files import write_video
from tests.data.tiny_videos import save_video
from tests.generate import tiny_multiview
from tests.generate.clips import clip
from tests.generate.stub_makers import tree


def test_videos_of_all_sides_keep_their_cameras(tmp_path, capsys):
    pictures = {}
    for m, motion in enumerate(("walk", "jump")):
        for v in range(3):
            (tmp_path / "videos" / motion).mkdir(parents=True, exist_ok=True)
            pictures[motion, v] = np.roll(clip(frames=9), 3 * m + 2 * v, axis=2)
            write_video(tmp_path / "videos" / motion / f"{v}.mp4", pictures[motion, v], 8)
    write_video(tmp_path / "videos" / "jump" / "2.mp4", clip("still"), 8)
    cli.main(["data", "from-videos", str(tmp_path / "videos"), str(tmp_path / "set"), "--frames", "5"])
    assert "jump/2: still: the object moves by 0.0 px a frame" in capsys.readouterr().out
    dataset = load(tmp_path / "set")
    assert [v.azimuth_deg for v in dataset.views] == [0, 120, 240]
    assert (dataset.frames, [m.name for m in dataset.motions]) == (5, ["jump", "walk"])
    for v in range(2):
        found = np.stack([frame for _, frame in read_clip(dataset, "walk", str(v))])
        expected = pictures["walk", v][::2]
        assert ((found[..., 3] > 127) == (expected[..., 2] < 190)).mean() > 0.99
    before = tree(tmp_path / "set")
    with pytest.raises(SystemExit):
        cli.main(["data", "from-videos", str(tmp_path / "videos"), str(tmp_path / "set")])
    assert tree(tmp_path / "set") == before


def transparent(frames: int = 9) -> np.ndarray:
    """The clip as straight RGBA, with a colour left under what is transparent that no matting would take for background
    of the next frame."""
    rgb = clip(frames=frames)
    alpha = np.where(rgb[..., 2] < 190, 255, 0).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, rgb.shape).astype(np.uint8)
    return np.concatenate([np.where(alpha[..., None] > 0, rgb, noise), alpha[..., None]], axis=-1)


def test_videos_of_all_sides_keep_their_transparency(tmp_path):
    """Exactly, and nothing of the colours that it hides: VP9 is below, in the one reader's own tests."""
    images = transparent()
    for view in ("a", "b"):
        save_video(tmp_path / "videos" / "walk" / f"{view}.mov", images, "qtrle", "argb", {}, rate=24)
    cli.main(["data", "from-videos", str(tmp_path / "videos"), str(tmp_path / "set"), "--frames", "5"])
    dataset = load(tmp_path / "set")
    assert dataset.motions[0].times_s == pytest.approx([0, 2 / 24, 4 / 24, 6 / 24, 8 / 24], abs=1e-6)
    assert dataset.fps == 12
    found = np.stack([frame for _, frame in read_clip(dataset, "walk", "b")])
    np.testing.assert_array_equal(found, np.where(images[::2, ..., 3:] > 0, images[::2], 0))


@pytest.mark.parametrize("codec", ["qtrle", "libvpx-vp9"])
def test_videos_of_one_side_keep_their_transparency_and_their_time(tmp_path, codec):
    """The object is cut out and made 0.9 of the picture wide as one over white is; it plays as fast as it was."""
    path = tmp_path / "videos" / ("walk.mov" if codec == "qtrle" else "walk.webm")
    pixels, options = ("argb", {}) if codec == "qtrle" else ("yuva420p", {"crf": "4", "b": "4M"})
    save_video(path, transparent(), codec, pixels, options, rate=24)
    command = ["data", "from-videos", str(path.parent), str(tmp_path / "set"), "--frames", "5", "--size", "64"]
    cli.main([*command, "--one-view"])
    dataset = load(tmp_path / "set")
    assert dataset.fps == pytest.approx(12, rel=0.02)  # WebM counts milliseconds
    solid = np.stack([frame for _, frame in read_clip(dataset, "walk", "view_00")])[..., 3] > 127
    assert solid.any((0, 1)).sum() == pytest.approx(0.9 * 64, abs=3)
    disc_over_square = np.pi / 4 * 0.9**2 * (38.4 / (38.4 + 4.5)) ** 2  # it is 38.4 px wide and swings by 4.5
    assert solid.mean() == pytest.approx(disc_over_square, rel=0.1)


def test_videos_of_one_side_get_the_others(tmp_path, monkeypatch):
    pytest.importorskip("diffusers", reason="needs the 'generate' extra")
    tiny_multiview.expect(monkeypatch)
    weights = tiny_multiview.save(tmp_path / f"{tiny_multiview.NAME}.safetensors")
    (tmp_path / "videos").mkdir()
    for name in ("walk_fast", "jump"):
        write_video(tmp_path / "videos" / f"{name}.mp4", clip(frames=9), 8)
    write_video(tmp_path / "videos" / "rest.mp4", clip("still"), 8)
    preset = tmp_path / "mine.yaml"
    from dimo_ns.generate.prompts import CONFIGS

    text = (CONFIGS / "presets" / "12gb.yaml").read_text()
    preset.write_text(text + "multiview_steps: 1\n")
    args = [
        "data", "from-videos", str(tmp_path / "videos"), str(tmp_path / "set"), "--frames", "4", "--size", "64",
        "--preset", str(preset), "--multiview-weights", str(weights), "--device", "cpu",
    ]  # fmt: skip
    cli.main(args)
    dataset = load(tmp_path / "set")
    assert [(m.name, m.prompt) for m in dataset.motions] == [("jump", "jump"), ("walk_fast", "walk fast")]
    assert len(dataset.views) == 4
    frames = [np.asarray(frame) for _, frame in read_clip(dataset, "jump", "view_00")]
    assert frames[0].shape == (64, 64, 4)
    wide = (np.stack(frames)[..., 3] > 127).any((0, 1)).sum()
    assert wide == pytest.approx(0.9 * 64, abs=3)
    before = tree(tmp_path / "set", tmp_path / "set.work")
    monkeypatch.setattr("dimo_ns.generate.views.MultiView", None)
    cli.main(args)
    assert tree(tmp_path / "set", tmp_path / "set.work") == before


def test_one_view_alone_makes_a_dataset_and_a_further_video_joins_those_that_are_there(tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "walk.mp4", clip(frames=9), 8)
    args = ["data", "from-videos", str(tmp_path / "videos")]
    more = ["--frames", "4", "--size", "64", "--one-view"]
    cli.main([*args, str(tmp_path / "set"), *more])
    dataset = load(tmp_path / "set")
    assert ([v.azimuth_deg for v in dataset.views], len(dataset.motions)) == ([0], 1)
    before = tree(tmp_path / "set.work" / "clips")
    (tmp_path / "set").rename(tmp_path / "older")
    write_video(tmp_path / "videos" / "jump.mp4", np.roll(clip(frames=9), 4, axis=1), 8)
    cli.main([*args, str(tmp_path / "set"), *more])
    assert [m.name for m in load(tmp_path / "set").motions] == ["jump", "walk"]
    assert before.items() <= tree(tmp_path / "set.work" / "clips").items()


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "short"])
def test_what_are_no_videos_is_refused(tmp_path, kind, capsys, monkeypatch):
    folder = tmp_path / "videos"
    if kind != "absent":
        folder.mkdir()
    weights = ["--device", "cpu", "--multiview-weights", str(tmp_path / "absent.safetensors")]
    if kind in ("text", "short"):
        pytest.importorskip("diffusers", reason="needs the 'generate' extra")
        tiny_multiview.expect(monkeypatch)
        weights[-1] = str(tiny_multiview.save(tmp_path / f"{tiny_multiview.NAME}.safetensors"))
    if kind == "text":
        (folder / "a.mp4").write_text("not a video")
    elif kind == "short":
        write_video(folder / "a.mp4", clip(frames=3), 8)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["data", "from-videos", str(folder), str(tmp_path / "set"), *weights])
    assert exit_info.value.code == 2
    expected = {
        "absent": "no folder",
        "empty": "There are no videos in",
        "text": "cannot be read",
        "short": "has 3 frames; 21 are to be taken from it. Ask for at most 3: with --frames",
    }
    assert expected[kind] in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
