"""The two other layouts: the authors' folders, and folders of videos."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dimo_ns.data.format import load
from dimo_ns.data.frames import FrameStore, convert, premultiplied
from dimo_ns.data.images import read_rgba
from dimo_ns.errors import DimoError
from tests.data.tiny_sets import FRAMES, MOTIONS, SIZE, disc, on_white

LENGTH = 10


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """Two motions, three views, four frames on white, with masks for the first motion."""
    root = tmp_path / "authors"
    for m, motion in enumerate(MOTIONS):
        for v in range(3):
            folder = root / motion / f"view_{v:02d}"
            folder.mkdir(parents=True)
            for f in range(FRAMES):
                Image.fromarray(on_white(disc(m, v, f))).save(folder / f"{f:02d}.png")
                if m == 0:
                    np.save(folder / f"{f:02d}_mask.npy", disc(m, v, f)[..., 3] > 127)
    info = {"azimuths_deg": [0.0, 90.0, 200.0], "elevations_deg": [0, 30, -10], "input_videos": list(MOTIONS)}
    (root / "info.json").write_text(json.dumps(info))
    return root


def test_authors_layout(authors: Path):
    data = load(authors)
    assert (data.frames, len(data.views), [m.name for m in data.motions]) == (FRAMES, 3, list(MOTIONS))
    assert len(data.sources) == 2 * 3 * FRAMES
    np.testing.assert_array_equal(
        read_rgba(data.sources["walk", "view_01", 2])[..., 3], (disc(0, 1, 2)[..., 3] > 127) * 255
    )
    solid = disc(1, 1, 2)[..., 3] == 255
    np.testing.assert_array_equal(read_rgba(data.sources["jump", "view_01", 2])[solid], disc(1, 1, 2)[solid])


def test_authors_cameras(authors: Path):
    """Their azimuth 0 is our +x and 90 our +y; a positive elevation of theirs is below the object."""
    places = [v.c2w[:3, 3] for v in load(authors).views]
    down = np.radians(30)
    np.testing.assert_allclose(places[0], [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(places[1], [0, 2 * np.cos(down), -2 * np.sin(down)], atol=1e-12)
    assert places[2][2] > 0


def test_authors_layout_without_elevations(authors: Path):
    info = json.loads((authors / "info.json").read_text())
    del info["elevations_deg"]
    (authors / "info.json").write_text(json.dumps(info))
    assert all(v.elevation_deg == 0 for v in load(authors).views)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"azimuths_deg": []}, "at least one"),
        ({"azimuths_deg": [0, 1, float("nan")]}, "angles in degrees"),
        ({"elevations_deg": [0]}, "one per azimuth"),
        ({"input_videos": ["walk", "walk"]}, "two motions 'walk'"),
        ({"input_videos": ["../walk"]}, "folder names"),
        ({"input_videos": ["swim"]}, "no images"),
        ({"azimuths_deg": [0, 1, 2, 3], "elevations_deg": [0] * 4}, "no image of view_03"),
    ],
)
def test_bad_info(authors: Path, change: dict, message: str):
    info = json.loads((authors / "info.json").read_text())
    (authors / "info.json").write_text(json.dumps(info | change))
    with pytest.raises(DimoError, match=message):
        load(authors)


def test_authors_images_of_two_sizes(authors: Path):
    path = authors / "jump/view_01/02.png"
    Image.open(path).resize((16, 16)).save(path)
    with pytest.raises(DimoError, match=r"02.png is 16 x 16"):
        load(authors)


# ------------------------------------------------------------------------------------------------- videos

LOSSLESS = {".mp4": ("libx264rgb", "rgb24", {"qp": "0"}), ".mov": ("qtrle", "argb", {}), ".avi": ("png", "rgba", {})}


def save_video(path: Path, images: list[np.ndarray], codec: str, pixels: str, options: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())


def clip(motion: int, view: int) -> list[np.ndarray]:
    """Ten frames: the disc brightens, so that each frame can be told from the others."""
    images = [disc(motion, view, 0) for _ in range(LENGTH)]
    for f, image in enumerate(images):
        image[..., 2] = np.where(image[..., 3] > 0, 10 + 20 * f, 0)
    return images


@pytest.fixture(params=list(LOSSLESS))
def videos(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two motions, three views, ten frames; with alpha where the format has it."""
    root, (codec, pixels, options) = tmp_path / "videos", LOSSLESS[request.param]
    for m, motion in enumerate(MOTIONS):
        for v in range(3):
            images = clip(m, v) if "a" in pixels else [on_white(image) for image in clip(m, v)]
            save_video(root / motion / f"cam{v}{request.param}", images, codec, pixels, options)
    return root


def test_folder_of_videos(videos: Path):
    """Four of ten frames, evenly from the first to the last: 0, 3, 6, 9; views at 0, 120 and 240 degrees."""
    data = load(videos, frames=4)
    assert ([m.name for m in data.motions], data.frames) == (sorted(MOTIONS), 4)
    assert [(v.name, v.azimuth_deg, v.elevation_deg) for v in data.views] == [
        ("cam0", 0, 0),
        ("cam1", 120, 0),
        ("cam2", 240, 0),
    ]
    assert any("no cameras.json" in n for n in data.notes)
    assert [data.sources["walk", "cam1", f].video_frame for f in range(4)] == [0, 3, 6, 9]
    for f, index in enumerate([0, 3, 6, 9]):
        expected = clip(0, 1)[index]
        got = read_rgba(data.sources["walk", "cam1", f])
        solid = expected[..., 3] == 255
        np.testing.assert_array_equal(got[solid], expected[solid])
        assert (got[expected[..., 3] == 0, 3] == 0).all()


def test_videos_with_cameras_and_motions(videos: Path, tiny: Path):
    suffix = next(videos.rglob("cam0*")).suffix
    for name in ("cameras.json", "motions.json"):
        shutil.copy(tiny / name, videos)
    for motion in MOTIONS:
        for v, name in enumerate(("view_00", "view_01", "test_00")):
            (videos / motion / f"cam{v}{suffix}").rename(videos / motion / f"{name}{suffix}")
    data, same = load(videos), load(tiny)
    assert data.motions == same.motions
    np.testing.assert_array_equal(data.views[2].c2w, same.views[2].c2w)
    assert len(data.sources) == len(same.sources)


@pytest.mark.parametrize("budget", [2**30, 20_000, 0])
def test_videos_in_the_frame_store(videos: Path, budget: int):
    data = load(videos, frames=5)
    store = FrameStore(data, MOTIONS, ["cam0", "cam2"], budget)
    draw = np.random.default_rng(0)
    for _ in range(5):
        ids = draw.integers(0, 2, 3), draw.integers(0, 5, 3), draw.integers(0, 2, (3, 2))
        store.prefetch(*ids, (16, 16))
        got = store.batch(*ids, (16, 16))
        for b, c in np.ndindex(3, 2):
            m, f, v = MOTIONS[ids[0][b]], int(ids[1][b]), ("cam0", "cam2")[ids[2][b, c]]
            np.testing.assert_array_equal(got[b, c], premultiplied(read_rgba(data.sources[m, v, f]), (16, 16)))


def test_videos_become_a_dataset_of_images(videos: Path, tmp_path: Path):
    data = load(videos, frames=4)
    images = convert(data, tmp_path / "images")
    assert images.motions == data.motions
    for key, source in data.sources.items():
        np.testing.assert_array_equal(read_rgba(images.sources[key]), read_rgba(source))


def test_vp9_keeps_its_alpha(tmp_path: Path):
    """FFmpeg's own VP9 decoder would drop it. The conversion to YUV and back costs a level."""
    image = disc(0, 0, 0, 64)
    image[image[..., 3] == 0, :3] = 0
    save_video(tmp_path / "v/walk/cam0.webm", [image] * 6, "libvpx-vp9", "yuva420p", {"lossless": "1"})
    data = load(tmp_path / "v", frames=3)
    got = read_rgba(data.sources["walk", "cam0", 2])
    np.testing.assert_allclose(got[..., 3].astype(int), image[..., 3], atol=1)


def test_gif(tmp_path: Path):
    folder = tmp_path / "v" / "walk"
    folder.mkdir(parents=True)
    images = [Image.fromarray(on_white(image)) for image in clip(0, 0)]
    images[0].save(folder / "cam0.gif", save_all=True, append_images=images[1:], duration=100)
    data = load(tmp_path / "v", frames=4)
    got = read_rgba(data.sources["walk", "cam0", 3])
    assert (got[SIZE // 2, SIZE // 2, 3], got[0, 0, 3]) == (255, 0)


def test_bad_videos(videos: Path):
    with pytest.raises(DimoError, match="has 10 frames; 11 are to be taken"):
        load(videos, frames=11)
    with pytest.raises(DimoError, match="0 frames are asked for"):
        load(videos, frames=0)
    path = next((videos / "walk").glob("cam1*"))
    path.write_bytes(b"no video")
    with pytest.raises(DimoError, match=r"walk/cam1.* cannot be read"):
        load(videos, frames=4)
    path.unlink()
    data = load(videos, frames=4)
    assert ("walk", "cam1", 0) not in data.sources
    assert any("walk/cam1" in n for n in data.notes)


def test_a_video_that_ends_early_is_named_when_it_is_used(videos: Path):
    path = next((videos / "walk").glob("cam1*"))
    data = load(videos, frames=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DimoError, match="walk/cam1"):
        read_rgba(data.sources["walk", "cam1", 3])
