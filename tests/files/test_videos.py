"""Videos, read again by others: their codec, sizes, rates and transparency, and that a colour is the one that was
given, whoever shows it."""

import base64
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from dimo_ns.draw.motion_videos import playing_times
from dimo_ns.errors import DimoError
from dimo_ns.files.videos import check_kind, check_size, even, write_video
from tests.export.browser import chromium, launched

COLOURS = ((0, 177, 64), (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (30, 200, 230))
H, W = 720, 7 * 32  # as many lines as from which players take what is untagged for BT.709, and not for BT.601
MIDDLES = [32 * i + 16 for i in range(7)]


def stripes(*colours: tuple[int, ...], height: int = H) -> np.ndarray:
    """The colours side by side, 32 pixels wide each."""
    return np.repeat(np.array(colours, np.uint8), 32, axis=0)[None].repeat(height, 0)


def test_times_play_a_motion_from_its_first_frame_to_its_last():
    t = playing_times(frames=21, count=48)
    assert (len(t), float(t[0]), float(t[-1])) == (48, 0.0, pytest.approx(20 / 21))


def test_an_mp4_is_h264_at_its_rate_with_its_index_first(tmp_path: Path):
    path = write_video(tmp_path / "v.mp4", [np.full((30, 48, 3), 40 * i, np.uint8) for i in range(5)], 29.97)
    with av.open(str(path)) as file:
        (stream,) = file.streams.video
        assert (stream.codec_context.name, stream.average_rate) == ("h264", Fraction(2997, 100))
        assert [frame.to_ndarray(format="gray").shape for frame in file.decode(stream)] == [(30, 48)] * 5
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # so that a browser shows it before it has all of it


@pytest.mark.parametrize("name", ["v.mp4", "v.webm"])
def test_colours_are_converted_and_tagged_as_bt_709(tmp_path: Path, name: str):
    """ITU-R BT.709, 3.2 and 3.3: luma from 16 to 235, and the two differences of colour from 16 to 240."""
    path = write_video(tmp_path / name, [stripes(*COLOURS)] * 3, 8.0)
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        tags = file.streams.video[0].codec_context
        assert (tags.color_primaries, tags.color_trc, tags.colorspace, tags.color_range) == (1, 1, 1, 1)
    planes = [np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    rows = [plane[len(plane) // 2] for plane in planes]
    found = [row[np.array(MIDDLES) // scale] for row, scale in zip(rows, (1, 2, 2), strict=True)]
    red, green, blue = np.array(COLOURS).T / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    expected = 16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748
    np.testing.assert_allclose(found, expected, atol=1.01)  # rounded to whole numbers, and compressed


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("name", ["v.mp4", "v.webm"])
def test_another_decoder_shows_the_colours(tmp_path: Path, name: str):
    path = write_video(tmp_path / name, [stripes(*COLOURS)] * 3, 8.0)
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-frames:v", "1", tmp_path / "a.png"], check=True)
    shown = np.asarray(Image.open(tmp_path / "a.png"))[H // 2, MIDDLES]
    np.testing.assert_allclose(shown, COLOURS, atol=3)  # BT.601 would be off by up to 30


READ = """async ([url, xs, y]) => {
    const video = document.createElement("video");
    video.muted = true;
    video.src = url;
    const shown = new Promise((ready) => video.requestVideoFrameCallback(ready));
    await video.play();
    await shown;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight), context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    return xs.map((x) => [...context.getImageData(x, y, 1, 1).data]);
}"""


@pytest.mark.skipif(chromium() is None, reason="needs Chromium")
def test_a_browser_shows_the_colours_and_what_is_transparent(tmp_path: Path):
    half = [(0, 177, 64, 0), (0, 177, 64, 255), (0, 177, 64, 128)]
    videos = {
        "v.mp4": (COLOURS, MIDDLES, stripes(*COLOURS)),
        "v.webm": (COLOURS, MIDDLES, stripes(*COLOURS)),
        "clear.webm": (half, MIDDLES[:3], stripes(*half, height=65)),
    }
    with launched() as browser:
        page = browser.new_page()
        if not page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=avc1.640028')"):
            videos.pop("v.mp4")  # Chromium may be built without H.264
        for name, (colours, xs, image) in videos.items():
            content = write_video(tmp_path / name, [image] * 3, 8.0).read_bytes()
            url = f"data:video/{name.split('.')[1]};base64,{base64.b64encode(content).decode()}"
            shown = np.array(page.evaluate(READ, [url, xs, len(image) // 2]))
            expected = np.array([(*colour, 255)[:4] for colour in colours])
            expected[expected[:, 3] == 0] = 0
            np.testing.assert_allclose(shown, expected, atol=6)  # BT.601 would be off by up to 30


def test_a_webm_holds_what_is_transparent_and_odd_sides(tmp_path: Path):
    colours = [(0, 177, 64, 0), (0, 177, 64, 255), (0, 177, 64, 128)]
    path = write_video(tmp_path / "v.webm", [stripes(*colours, height=65)] * 3, 8.0)
    with av.open(str(path)) as file:
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        frame = next(frame for packet in file.demux(video=0) for frame in decoder.decode(packet))
    rgba = frame.to_ndarray(format="rgba")
    assert rgba.shape == (65, 96, 4)
    np.testing.assert_allclose(rgba[32, MIDDLES[:3], 3], [0, 255, 128], atol=2)
    np.testing.assert_allclose(rgba[32, MIDDLES[1], :3], [0, 177, 64], atol=3)


def test_a_gif_keeps_to_its_rate_and_is_transparent_where_it_was_asked_to_be(tmp_path: Path):
    colours = [(0, 177, 64, 0), (0, 177, 64, 255), (250, 20, 100, 200), (1, 2, 3, 100)]
    images = [np.roll(stripes(*colours, height=33), i, axis=1) for i in range(8)]
    durations = []
    with Image.open(write_video(tmp_path / "v.gif", images, 8.0)) as file:
        assert (file.size, file.info["loop"]) == ((128, 33), 0)
        for index, frame in enumerate(ImageSequence.Iterator(file)):
            durations.append(frame.info["duration"])
            shown = np.asarray(frame.convert("RGBA"))[16]
            solid = images[index][16, :, 3] > 127
            np.testing.assert_array_equal(shown[:, 3], 255 * solid)
            np.testing.assert_array_equal(shown[solid, :3], images[index][16, solid, :3])
    assert (len(durations), set(durations)) == (
        8,
        {120, 130},
    )  # whole hundredths of a second, no time lost
    assert sum(durations) == 1000


def test_what_a_file_cannot_hold_is_refused_before_it_is_made(tmp_path: Path):
    asked = []

    def images():
        for number in range(3):
            asked.append(number)
            yield np.zeros((31, 48, 3), np.uint8)

    refused = {
        r"48 x 31 pixels do not fit into v\.mp4: H\.264 .* choose 48 x 32": lambda: write_video(
            tmp_path / "v.mp4", images(), 8.0
        ),
        "There are no pictures": lambda: write_video(tmp_path / "v.mp4", [], 8.0),
        r"20000 x 2 pixels are too large for v\.webm; expected at most 16,384": lambda: check_size(
            Path("v.webm"), (2, 20000, 3)
        ),
        "An .mp4 has no transparency": lambda: write_video(tmp_path / "v.mp4", [np.zeros((32, 48, 4), np.uint8)], 8.0),
        "at most 50 pictures a second, and 60 were": lambda: check_kind(Path("v.gif"), 60.0, transparent=False),
    }
    for complaint, call in refused.items():
        with pytest.raises(DimoError, match=complaint):
            call()
    assert asked == [0]
    assert not list(tmp_path.iterdir())
    assert even(np.zeros((31, 47, 3), np.uint8)).shape == (32, 48, 3)
    assert even(np.zeros((30, 48, 3), np.uint8)).shape == (30, 48, 3)
