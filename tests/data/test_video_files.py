"""Video files of every kind come as a player shows them: each ending, depth, rotation and alpha; stamps."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.video_files import VideoHeader, read_frames, video_header
from dimo_ns.errors import DimoError
from tests.data.test_image_files import picture
from tests.data.tiny_videos import LOSSLESS, numbered, save_video

H264, GREY = "libx264", 120


def first(path: Path) -> np.ndarray:
    return next(read_frames(path, [0])).astype(int)


def header(times: list[float], path: Path = Path("a.mp4")) -> VideoHeader:
    return VideoHeader(path, 1, 1, False, True, np.array(times))


@pytest.mark.parametrize("ending", LOSSLESS)
def test_every_ending_is_exact_where_its_codec_is(tmp_path: Path, ending: str):
    codec, pixels, options = LOSSLESS[ending]
    path = tmp_path / f"a{ending.upper()}"
    path = path if ending != ".mkv" else path.with_suffix(ending)  # FFmpeg chooses the container by the ending
    images = [np.dstack([picture(), np.full((16, 24), 255 - 30 * i, np.uint8)]) for i in range(4)]
    save_video(path, images, codec, pixels, options)
    got = list(read_frames(path, [0, 1, 3]))
    has_alpha = "a" in pixels
    for image, index in zip(got, [0, 1, 3], strict=True):
        np.testing.assert_array_equal(image[..., :3], picture())
        assert (image[..., 3] == (255 - 30 * index if has_alpha else 255)).all()
    found = video_header(path)
    assert (found.w, found.h, found.has_alpha, found.square_pixels) == (24, 16, has_alpha, True)
    np.testing.assert_allclose(found.times_s, np.arange(4) / 8)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_rotation_of_phones(tmp_path: Path, rotation: int, ending: str):
    """A phone stores what its sensor saw and says how far to turn it; a player turns it so, counter-clockwise."""
    path = tmp_path / f"a{ending}"
    save_video(path, [picture()] * 2, rotation=rotation)
    shown = np.rot90(picture(), rotation // 90)
    np.testing.assert_array_equal(first(path)[..., :3], shown)
    found = video_header(path)
    assert (found.h, found.w) == shown.shape[:2]


@pytest.mark.parametrize("flip", ["sideways", "upside down"])
def test_mirrored_videos(tmp_path: Path, flip: str):
    """A display matrix may mirror: -1 for x or y. Put into the file by hand: 36 bytes, 40 after 'tkhd'."""
    path = tmp_path / "a.mp4"
    save_video(path, [picture()] * 2, rotation=180)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    matrix = np.frombuffer(bytes(content[place : place + 36]), ">i4").copy()
    assert matrix[0] == matrix[4] == -65536
    matrix[4 if flip == "sideways" else 0] = 65536
    matrix[[6, 7]] = 0
    content[place : place + 36] = matrix.tobytes()
    path.write_bytes(content)
    expected = picture()[:, ::-1] if flip == "sideways" else picture()[::-1]
    np.testing.assert_array_equal(first(path)[..., :3], expected)


@pytest.mark.parametrize(
    ("codec", "pixels", "options"),
    [
        (H264, "yuv420p", {"crf": "1"}),
        (H264, "yuv444p", {"crf": "1"}),
        (H264, "yuv444p10le", {"crf": "1"}),
        (H264, "yuv422p10le", {"crf": "1"}),
        ("libx265", "yuv444p10le", {"x265-params": "crf=1:log-level=none"}),
        ("prores_ks", "yuva444p10le", {}),
        ("ffv1", "gray", {}),
        ("ffv1", "gray16le", {}),
        ("ffv1", "rgb48le", {}),
    ],
)
def test_every_depth_is_brought_to_8_bits(tmp_path: Path, codec: str, pixels: str, options: dict[str, str]):
    """Within what the codec loses; grey ones as grey."""
    save_video(
        tmp_path / "a.mov" if codec == "prores_ks" else tmp_path / "a.mkv", [picture()] * 2, codec, pixels, options
    )
    got = first(next(tmp_path.iterdir()))
    luminance = np.asarray(Image.fromarray(picture()).convert("L"))[..., None]
    expected = luminance if pixels.startswith("gray") else picture()
    middle = (slice(2, 6), slice(2, 6))  # colours of 4:2:2 run over the edges
    np.testing.assert_allclose(got[middle][..., :3], np.broadcast_to(expected, (16, 24, 3))[middle], atol=6)


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full", [1, 2])
def test_colours_are_converted_as_they_are_tagged(tmp_path: Path, matrix: int, full: int):
    """BT.709 or BT.601, limited or full range: the same colours. Taken for the other matrix, red is off by 20."""
    save_video(tmp_path / "a.mp4", [picture()] * 2, H264, "yuv444p", {"crf": "1"}, colours=(matrix, full))
    np.testing.assert_allclose(first(tmp_path / "a.mp4")[..., :3], picture(), atol=9)


def test_prores_keeps_its_alpha(tmp_path: Path):
    alpha = np.linspace(0, 255, 24).round().astype(np.uint8)[None].repeat(16, 0)
    save_video(tmp_path / "a.mov", [np.dstack([picture(), alpha])] * 2, "prores_ks", "yuva444p10le", {})
    close = np.abs(first(tmp_path / "a.mov")[..., 3].astype(int) - alpha) <= 1
    assert close.mean() > 0.95  # FFmpeg's encoder now and then leaves eight pixels of a row as they were
    assert video_header(tmp_path / "a.mov").has_alpha


@pytest.mark.parametrize(("codec", "pixels"), [("libvpx-vp9", "yuva420p"), ("libvpx", "yuva420p")])
def test_webm_keeps_its_alpha(tmp_path: Path, codec: str, pixels: str):
    """FFmpeg's own decoders would drop it."""
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, 8:16] = 255
    save_video(
        tmp_path / "a.webm",
        [np.dstack([picture(), alpha])] * 4,
        codec,
        pixels,
        {"crf": "4", "b": "4M", "auto-alt-ref": "0"},
    )
    np.testing.assert_allclose(first(tmp_path / "a.webm")[..., 3], alpha, atol=12)
    found = video_header(tmp_path / "a.webm")
    assert found.has_alpha
    np.testing.assert_allclose(found.times_s, np.arange(4) / 8)


def test_gif(tmp_path: Path):
    """Each frame has its own duration, in hundredths of a second; one colour is transparent."""
    frames = [Image.fromarray(np.dstack([frame, np.full((16, 16), 255, np.uint8)])) for frame in numbered(4)]
    for frame in frames:
        frame.putpixel((0, 0), (0, 0, 0, 0))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[40, 100, 200, 50], disposal=2)
    found = video_header(tmp_path / "a.gif")
    np.testing.assert_allclose(found.times_s, [0, 0.04, 0.14, 0.34])
    assert found.has_alpha
    last = list(read_frames(tmp_path / "a.gif", [0, 3]))[1]
    assert last[0, 0, 3] == 0
    assert last[8, 8].tolist() == [30, 30, 30, 255]


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_stamps_of_a_rate_that_varies(tmp_path: Path, ending: str):
    """Also with B-frames, which are stored in another order than they are shown in, and beginning late."""
    times = [500, 540, 600, 900, 1000, 1400, 1500, 1540]
    path = tmp_path / f"a{ending}"
    save_video(path, numbered(8), H264, "yuv444p", {"qp": "0", "bf": "3"}, times_ms=times)
    found = video_header(path)
    np.testing.assert_allclose(found.times_s, (np.array(times) - 500) / 1000, atol=1e-3)
    got = [int(image[8, 8, 0]) for image in read_frames(path, range(8))]
    np.testing.assert_allclose(got, np.arange(8) * 10, atol=2)


def test_a_video_without_stamps_goes_by_its_rate(tmp_path: Path):
    """A bare H.264 stream, which is told by its content, has none; the rate is in its first bytes."""
    save_video(tmp_path / "a.h264", numbered(6), H264, "yuv444p", {"qp": "0", "x264-params": "fps=16"}, rate=16)
    (tmp_path / "a.h264").rename(tmp_path / "a.mp4")
    np.testing.assert_allclose(video_header(tmp_path / "a.mp4").times_s, np.arange(6) / 16)
    assert [round(int(f[0, 0, 0]) / 10) for f in read_frames(tmp_path / "a.mp4", range(6))] == list(range(6))


def test_a_video_that_changes_its_size_is_refused_where_it_does(tmp_path: Path):
    """As browsers record them; here two bare streams, one after the other."""
    for name, side in (("a", 16), ("b", 32)):
        save_video(tmp_path / f"{name}.h264", numbered(3, side, side), H264, "yuv444p", {"qp": "0"})
    (tmp_path / "c.mp4").write_bytes(b"".join((tmp_path / f"{name}.h264").read_bytes() for name in "ab"))
    with pytest.raises(DimoError, match=r"c.mp4 has another size from frame 3 on"):
        list(read_frames(tmp_path / "c.mp4", [0, 5]))


def test_pixels_that_are_not_square_are_noticed(tmp_path: Path):
    save_video(tmp_path / "a.mp4", numbered(2), pixel_aspect=Fraction(16, 15))
    assert not video_header(tmp_path / "a.mp4").square_pixels


def test_frames_are_picked_evenly_in_time():
    """21 of 81, 121 and 49 frames: every fourth, every sixth, and of 49 steps of 2 and 3."""
    for count, steps in ((81, {4}), (121, {6}), (49, {2, 3})):
        picked = header([i / 24 for i in range(count)]).pick(21)
        assert (picked[0], picked[-1], set(np.diff(picked))) == (0, count - 1, steps)


def test_frames_are_picked_by_their_stamps_not_their_places():
    """The first second has 10 frames, the second two: four times evenly are 0, 2/3, 4/3 and 2 seconds."""
    times = [*(i / 10 for i in range(11)), 1.5, 2.0]
    assert header(times).pick(4).tolist() == [0, 7, 11, 12]
    assert header(times).pick(3, 1.0).tolist() == [0, 5, 10]
    assert header(times).pick(13).tolist() == list(range(13)), "none twice: all of them are all of them"
    assert header([0.0]).pick(1).tolist() == [0]


def test_too_few_frames_are_said_with_what_helps():
    with pytest.raises(DimoError, match=r"a.mp4 has 4 frames; 5 are to be taken .* --frames .* motions.json"):
        header([0, 0.1, 0.2, 0.3]).pick(5)
    with pytest.raises(DimoError, match="has 2 frames"):
        header([0, 0.1, 0.2, 0.3]).pick(3, 0.1)
    with pytest.raises(DimoError, match="0 frames are asked for"):
        header([0, 0.1, 0.2, 0.3]).pick(0)
