"""Videos, read again by PyAV and Pillow: the right frames before the right cameras; and what cannot be rendered."""

import json
import math
import os
import resource
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from nerfstudio.cameras.camera_paths import get_path_from_json
from PIL import Image

from dimo_ns.apps.interpolate import passage
from dimo_ns.core.cameras import orbit, orbit_c2w, viewmats_from_c2w
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.format import Motion, load, orbit_view, write
from dimo_ns.draw.close_ups import visited
from dimo_ns.draw.pictures import LINE, take_pictures
from dimo_ns.draw.style import WHITE
from dimo_ns.errors import DimoError
from dimo_ns.export.camera_paths import Around, CameraPath, choose, find_view, of_path, of_view
from dimo_ns.export.video import Look, Shot, colour, export_video, played
from dimo_ns.space.choosing import chosen_clips, chosen_latent
from dimo_ns.space.motion_space import Clip, MotionSpace
from tests.spaces import DIM, FPS, FRAMES, NAMES, some_space

ORBIT = Path(__file__).parents[2] / "configs" / "camera_paths" / "orbit.json"
SIZE = 48
VIEW = orbit_view("test_00", "test", 60.0, 10.0, SIZE)


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return some_space()


def frames_of(path: Path) -> np.ndarray:
    """The pictures of a folder."""
    return np.stack([np.asarray(Image.open(file)) for file in sorted(path.iterdir())])


def seen(space: MotionSpace, name: str, frame: int, background=WHITE) -> np.ndarray:
    """A frame of a motion through VIEW."""
    posed = space.scene.carry(space.clips([name])[0].transforms[frame : frame + 1])
    return take_pictures(posed, of_view(VIEW).cameras, background)[0].image


# --- what is played, and when ---------------------------------------------------------------------------------------


def test_a_folder_has_every_frame_of_the_motion_through_the_view(space: MotionSpace, tmp_path: Path):
    out = export_video(space, space.clips(["sit"]), tmp_path / "out", of_view(VIEW))
    assert sorted(p.name for p in out.iterdir()) == [f"frame{i:04d}.png" for i in range(1, FRAMES + 1)]
    pictures = frames_of(out)
    for frame in range(FRAMES):
        np.testing.assert_allclose(pictures[frame], seen(space, "sit", frame), atol=1)


def test_an_mp4_has_the_same_frames_and_its_own_rate(space: MotionSpace, tmp_path: Path):
    calls: list[tuple[int, int]] = []
    path = export_video(
        space, space.clips(["sit"]), tmp_path / "a.mp4", of_view(VIEW), progress=lambda *call: calls.append(call)
    )
    with av.open(str(path)) as file:
        (stream,) = file.streams.video
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", FPS)
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(stream)])
    assert pictures.shape == (FRAMES, SIZE, SIZE, 3)
    expected = np.stack([seen(space, "sit", frame) for frame in range(FRAMES)])
    found, light = (x @ [0.299, 0.587, 0.114] for x in (pictures, expected))  # H.264 halves the resolution of colours
    errors = np.abs(found[:, None] - light).mean((2, 3))
    assert (errors.diagonal() <= errors.min(1) + 0.3).all()
    assert errors.diagonal().max() < 5
    assert calls[-1] == (FRAMES, FRAMES)


def test_between_frames_motion_is_smooth_and_at_frames_it_is_exact(space: MotionSpace):
    clip = space.clips(["sit"])[0]
    shot = Shot(clip, torch.zeros(1))
    whole = shot.transforms(torch.arange(FRAMES).float())
    torch.testing.assert_close(whole.translations, clip.transforms.translations)
    torch.testing.assert_close(whole.quats, clip.transforms.quats)
    beyond = shot.transforms(torch.tensor([-2.0, FRAMES + 3.0]))
    torch.testing.assert_close(beyond.translations, clip.transforms.translations[[0, -1]])  # it holds
    uniform = Clip("u", torch.zeros(1, 3), RigidTransforms.identity(6, 1), 8.0)
    uniform.transforms.translations[:, 0, 0] = torch.arange(6.0)
    between = Shot(uniform, torch.zeros(1)).transforms(torch.tensor([1.25, 2.5, 3.75])).translations[:, 0, 0]
    torch.testing.assert_close(between, torch.tensor([1.25, 2.5, 3.75]))  # of uniform motion it stays uniform
    turned = uniform.transforms.quats
    turned[2:] *= -1  # the same rotations
    torch.testing.assert_close(
        Shot(uniform, torch.zeros(1)).transforms(torch.tensor([1.5])).quats.abs(), torch.tensor([[[1.0, 0, 0, 0]]])
    )


def test_a_motion_that_loops_goes_on_and_others_start_again(space: MotionSpace):
    walk, sit = space.clips(["walk", "sit"])
    assert played(walk, FPS, 2).tolist() == list(range(2 * FRAMES))
    assert played(sit, FPS, 2).tolist() == [*range(FRAMES), *range(FRAMES)]
    assert played(sit, 2 * FPS, 1).tolist() == [i / 2 for i in range(2 * FRAMES - 1)]  # up to its last frame
    assert played(walk, 2 * FPS, 1).tolist() == [i / 2 for i in range(2 * FRAMES)]  # and beyond, to its first
    assert played(sit, FPS / 3, 1).tolist() == [0, 3, 6]
    wrapped = Shot(walk, torch.zeros(1)).transforms(torch.tensor([float(FRAMES), FRAMES - 0.5]))
    torch.testing.assert_close(wrapped.translations[0], walk.transforms.translations[0])
    assert Shot(walk, torch.arange(3.0)).held(5).positions.tolist() == [0, 1, 2, 3, 4]
    assert Shot(sit, torch.arange(3.0)).held(5).positions.tolist() == [0, 1, 2, 2, 2]


def test_one_after_another_or_side_by_side(space: MotionSpace, tmp_path: Path):
    clips = space.clips(["walk", "sit", "wave"])
    clips[1].transforms = clips[1].transforms[:4]
    after = frames_of(export_video(space, clips, tmp_path / "after", of_view(VIEW)))
    assert after.shape == (FRAMES + 4 + FRAMES, SIZE + LINE, SIZE, 3)
    np.testing.assert_allclose(after[FRAMES + 2, :SIZE], seen(space, "sit", 2), atol=1)
    beside = frames_of(export_video(space, clips, tmp_path / "beside", of_view(VIEW), side_by_side=True))
    assert beside.shape == (FRAMES, SIZE + LINE, 3 * SIZE, 3)
    for tile, (name, frame) in enumerate([("walk", 8), ("sit", 3), ("wave", 8)]):  # the short one holds
        np.testing.assert_allclose(beside[8, :SIZE, tile * SIZE : (tile + 1) * SIZE], seen(space, name, frame), atol=1)


def test_the_background_is_the_colour_that_was_asked_for(space: MotionSpace, tmp_path: Path):
    look = Look(background=colour("#204060"))
    pictures = frames_of(export_video(space, space.clips(["sit"]), tmp_path / "out", of_view(VIEW), look=look))
    np.testing.assert_allclose(pictures[3], seen(space, "sit", 3, (0x20 / 255, 0x40 / 255, 0x60 / 255)), atol=1)
    empty = (seen(space, "sit", 3) == 255).all(-1) & (seen(space, "sit", 3, (0.0, 0.0, 0.0)) == 0).all(-1)
    assert (pictures[3][empty] == [0x20, 0x40, 0x60]).all()
    assert empty.any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("white", WHITE), ("#f00", (1.0, 0.0, 0.0)), ("#ff0000ff", (1.0, 0.0, 0.0)), ("Black", (0.0, 0.0, 0.0)),
        ("none", None), ("transparent", None), ("#ff000000", None), ("#0000", None),
    ],
)  # fmt: skip
def test_a_colour_is_opaque_or_none_at_all(text: str, expected):
    assert colour(text) == expected


@pytest.mark.parametrize("text", ["purplish", "", "#ff0000ff0", "#ff000080"])
def test_what_is_no_colour_or_a_half_transparent_one_is_refused(text: str):
    with pytest.raises(DimoError, match=f"'{text}' is (no colour|half transparent)"):
        colour(text)


def over(rgba: np.ndarray, background: int) -> np.ndarray:
    """A picture with straight alpha over a grey, by the definition of that."""
    share = rgba[..., 3:] / 255
    return rgba[..., :3] * share + background * (1 - share)


def test_without_a_background_a_folder_has_what_every_background_shows_behind(space: MotionSpace, tmp_path: Path):
    out = export_video(space, space.clips(["sit"]), tmp_path / "out", of_view(VIEW), look=Look(None))
    picture = frames_of(out)[3]
    assert picture.shape == (SIZE, SIZE, 4)
    for grey in (0, 255):
        np.testing.assert_allclose(over(picture, grey), seen(space, "sit", 3, (grey / 255,) * 3), atol=1.5)
    assert 0 < (picture[..., 3] == 0).mean() < 1


def test_names_and_overlays_are_all_that_is_opaque_beside_a_transparent_object(space: MotionSpace, tmp_path: Path):
    clips = space.clips(["run", "sit", "wave"])
    look = Look(None, "keypoints")
    out = export_video(space, clips, tmp_path / "out", of_view(VIEW), side_by_side=True, look=look)
    plain = export_video(space, clips, tmp_path / "plain", of_view(VIEW), side_by_side=True, look=Look(None))
    drawn, bare = frames_of(out)[6].astype(int), frames_of(plain)[6].astype(int)
    names, label = drawn[SIZE:], bare[SIZE:]
    np.testing.assert_array_equal(names, label)
    assert 0.6 < (names[..., 3] == 0).mean() < 1
    assert names[..., 3].max() > 200
    changed = np.abs(drawn[:SIZE, :, 3] - 0.45 * bare[:SIZE, :, 3]) > 1
    assert 0.005 < changed.mean() < 0.5  # where no dot is, the object is 0.45 times as opaque as it was


def test_a_transparent_video_has_the_same_frames(space: MotionSpace, tmp_path: Path):
    path = export_video(space, space.clips(["sit"]), tmp_path / "a.webm", of_view(VIEW), look=Look(None))
    with av.open(str(path)) as file:
        assert float(file.streams.video[0].average_rate) == FPS
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        found = [frame.to_ndarray(format="rgba") for packet in file.demux(video=0) for frame in decoder.decode(packet)]
    expected = frames_of(export_video(space, space.clips(["sit"]), tmp_path / "out", of_view(VIEW), look=Look(None)))
    assert len(found) == FRAMES
    np.testing.assert_allclose(np.stack(found)[..., 3], expected[..., 3], atol=12)
    light, expected_light = (over(x, 255) @ [0.2126, 0.7152, 0.0722] for x in (np.stack(found), expected))
    assert np.abs(light - expected_light).mean() < 3  # VP9, too, halves the resolution of colours


def test_the_truth_is_transparent_too(space: MotionSpace, data: Path, tmp_path: Path):
    cameras, truth = choose(space, Around(), view="test_00", data=data)
    out = export_video(space, space.clips(["run"]), tmp_path / "out", cameras, truth=truth, look=Look(None))
    np.testing.assert_allclose(frames_of(out)[0][3, 3], [200, 0, 0, 128], atol=1)


@pytest.mark.parametrize("overlay", ["keypoints", "trails", "trails-by-time"])
def test_overlays_are_drawn_over_the_faded_object(space: MotionSpace, tmp_path: Path, overlay):
    plain = frames_of(export_video(space, space.clips(["run"]), tmp_path / "plain", of_view(VIEW)))
    drawn = frames_of(
        export_video(space, space.clips(["run"]), tmp_path / "out", of_view(VIEW), look=Look(overlay=overlay))
    )
    faded = 255 - (255 - plain[6].astype(float)) * 0.45
    changed = np.abs(drawn[6] - faded).max(-1) > 2
    assert 0.01 < changed.mean() < 0.9
    saturation = drawn[6].max(-1).astype(int) - drawn[6].min(-1)
    assert saturation[changed].max() > 120


# --- cameras --------------------------------------------------------------------------------------------------------


def test_a_camera_path_is_what_nerfstudio_makes_of_it():
    content = json.loads(ORBIT.read_text())
    ours, theirs = of_path(ORBIT), get_path_from_json(content)
    c2w = torch.eye(4).repeat(len(theirs), 1, 1)
    c2w[:, :3] = theirs.camera_to_worlds
    torch.testing.assert_close(ours.cameras.viewmats, viewmats_from_c2w(c2w), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.cameras.Ks, theirs.get_intrinsics_matrices().float(), atol=1e-2, rtol=1e-5)
    torch.testing.assert_close(ours.times, theirs.times[:, 0].float())
    assert ours.cameras.size == (int(theirs.height[0]), int(theirs.width[0]))
    assert ours.fps == content["fps"]


def path_of(folder: Path, count: int, **more) -> Path:
    c2w = orbit_c2w(torch.tensor(60.0), torch.tensor(10.0), 2.0).flatten().tolist()
    entry = {"camera_to_world": c2w, "fov": 33.9, "aspect": 1}
    frames = [
        entry | ({"render_time": t} if (t := more.get("times", [None] * count)[i]) is not None else {})
        for i in range(count)
    ]
    content = {
        "camera_type": "perspective",
        "render_height": SIZE,
        "render_width": SIZE,
        "fps": 4,
        "camera_path": frames,
    }
    (folder / "path.json").write_text(json.dumps(content | more.get("content", {})))
    return folder / "path.json"


def test_a_path_with_times_shows_the_motion_at_them(space: MotionSpace, tmp_path: Path):
    times = [0.0, 4 / FRAMES, 8 / FRAMES, 1.0]
    cameras = of_path(path_of(tmp_path, 4, times=times))
    pictures = frames_of(export_video(space, space.clips(["sit"]), tmp_path / "out", cameras))
    for row, frame in enumerate((0, 4, 8, 8)):
        assert np.abs(pictures[row].astype(int) - seen(space, "sit", frame)).max() <= 2
    untimed = of_path(path_of(tmp_path, 3))
    pictures = frames_of(export_video(space, space.clips(["sit"]), tmp_path / "free", untimed))
    for row, frame in enumerate((0, 2, 4)):  # 4 frames per second of a motion that has 8
        assert np.abs(pictures[row].astype(int) - seen(space, "sit", frame)).max() <= 2


def test_turning_cameras_end_where_they_began_and_see_all_of_the_object(space: MotionSpace):
    motions = [clip.transforms for clip in space.clips()]
    around = Around(30.0, 20.0, 1.0, (60, 90))
    cameras = around.cameras(space, motions, 36)
    assert len(cameras) == 36
    quarter = orbit(torch.tensor(120.0), 20.0, (60, 90))
    torch.testing.assert_close(cameras.viewmats[9], quarter.viewmats, atol=1e-5, rtol=0)
    still = Around(30.0, 20.0, 0.0, (60, 90)).cameras(space, motions, 36)
    assert len(still) == 1
    points = visited(space.scene, motions)
    pixels = cameras.project(points.flatten(0, 1))
    inside = ((pixels[..., :2] > 0) & (pixels[..., :2] < torch.tensor([90.0, 60.0]))).all(-1)
    assert float(inside.float().mean()) > 0.99


def test_another_size_keeps_what_is_seen():
    camera = of_view(VIEW)
    point = torch.tensor([[0.1, 0.2, -0.3]])
    x, y, _ = camera.cameras.project(point)[0, 0]
    larger = camera.resized((2 * SIZE, 3 * SIZE))
    x2, y2, _ = larger.cameras.project(point)[0, 0]
    assert (float(y2), float(x2 - 1.5 * SIZE)) == (
        pytest.approx(float(2 * y)),
        pytest.approx(2 * float(x - SIZE / 2), abs=1e-3),
    )
    assert camera.resized(None) is camera


# --- the truth ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose frames are half transparent and darker from frame to frame; the test view has every other one."""
    root = tmp_path_factory.mktemp("data") / "set"
    views = [orbit_view("view_00", "train", 0.0, 10.0, SIZE), VIEW]
    times = tuple(0.1 * f for f in range(FRAMES))
    motions = [Motion(name, name, "train", False, times) for name in NAMES[:2]]

    def image(frame: int) -> np.ndarray:
        rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
        rgba[: SIZE // 2] = [200 - 20 * frame, 0, 0, 128]
        return rgba

    kept = tuple(range(0, FRAMES, 2))
    write(
        root, object="thing", prompt="", licence="CC0-1.0", views=views, motions=motions, test_frames=kept,
        frames=((m.name, v.name, f, image(f)) for m in motions for v in views for f in range(FRAMES)
                if v.split == "train" or f in kept),
    )  # fmt: skip
    return root


def test_the_truth_is_beside_the_render_at_the_same_frame(space: MotionSpace, data: Path, tmp_path: Path):
    cameras, truth = choose(space, Around(), view="test_00", data=data)
    assert isinstance(cameras, CameraPath)
    pictures = frames_of(export_video(space, space.clips(["run"]), tmp_path / "out", cameras, truth=truth))
    assert pictures.shape == (5, SIZE + LINE, 2 * SIZE, 3)  # the frames that this view has
    for row, frame in enumerate(range(0, FRAMES, 2)):
        red = (200 - 20 * frame) * 128 / 255 + 127
        np.testing.assert_allclose(pictures[row, 3, 3], [red, 127, 127], atol=1)
        np.testing.assert_array_equal(pictures[row, SIZE - 2, 2], [255] * 3)
        np.testing.assert_allclose(pictures[row, :SIZE, SIZE:], seen(space, "run", frame), atol=1)


def test_without_a_view_one_is_taken_that_has_every_frame(space: MotionSpace, data: Path):
    _, truth = choose(space, Around(), data=data)
    assert truth is not None
    assert truth[1].name == "view_00"
    path, _ = choose(space, Around(), data=data, size=(20, 30))
    assert isinstance(path, CameraPath)
    assert path.cameras.size == (20, 30)


# --- which motions --------------------------------------------------------------------------------------------------


def test_motions_are_named_blended_and_read_from_files(space: MotionSpace, tmp_path: Path):
    from safetensors.torch import save_file

    assert [clip.name for clip in chosen_clips(space)] == list(NAMES)
    name, latent = chosen_latent(space, "walk:1,sit:3")
    torch.testing.assert_close(latent, 0.25 * space.mu[0] + 0.75 * space.mu[2])
    assert name == "walk_1_sit_3"
    save_file({"latents": torch.randn(3, DIM)}, tmp_path / "z.safetensors")
    clip, blend = chosen_clips(
        space, [f"{tmp_path / 'z.safetensors'}:2", f"walk:0.5,{tmp_path / 'z.safetensors'}:2:0.5"]
    )
    torch.testing.assert_close(blend.latents[0], (clip.latents[0] + space.mu[0]) / 2)
    assert len(passage(space, ["walk", "sit", "walk"])) == 2 * FRAMES


BAD = {
    "no such motion": (lambda s: chosen_clips(s, ["wlak"]), "did you mean 'walk'"),
    "no such motion in a blend": (lambda s: chosen_clips(s, ["walk:1,rnu:1"]), "did you mean 'run'"),
    "no share": (lambda s: chosen_clips(s, ["walk:1,run"]), "'run' in 'walk:1,run' is no motion with its share"),
    "no sum": (lambda s: chosen_clips(s, ["walk:1,run:-1"]), "no sum"),
    "nan": (lambda s: chosen_clips(s, ["walk:nan,run:1"]), "no sum"),
}


@pytest.mark.parametrize("name", BAD)
def test_motions_that_are_not_there_are_refused(space: MotionSpace, name: str):
    call, complaint = BAD[name]
    with pytest.raises(DimoError, match=complaint):
        call(space)


# --- bad input ------------------------------------------------------------------------------------------------------

PATHS = {
    "missing": ({}, None, "There is no camera path"),
    "text": ({}, "hello", "is not valid JSON"),
    "list": ({}, "[]", "holds a list; expected an object"),
    "empty": ({"camera_path": []}, "", "'camera_path'"),
    "fisheye": ({"camera_type": "fisheye"}, "", "'camera_type' is \"fisheye\"; expected 'perspective'"),
    "huge": ({"render_height": 10**6}, "", "'render_height'"),
    "matrix": ({"camera_path": [{"camera_to_world": [1, 2], "fov": 3}]}, "", "'camera_to_world'"),
    "fov": ({"camera_path": [{"camera_to_world": [0.0] * 16, "fov": 180}]}, "", "'fov' is 180"),
    "fps": ({"fps": 0}, "", "'fps' is 0"),
}


@pytest.mark.parametrize("name", PATHS)
def test_broken_camera_paths_are_refused(tmp_path: Path, name: str):
    content, text, complaint = PATHS[name]
    path = tmp_path / "path.json" if text is None else path_of(tmp_path, 2, content=content)
    if text:
        path.write_text(text)
    with pytest.raises(DimoError, match=complaint):
        of_path(path)


def test_a_pipe_is_no_camera_path(tmp_path: Path):
    os.mkfifo(tmp_path / "path.json")
    with pytest.raises(DimoError, match="is a pipe"):
        of_path(tmp_path / "path.json")


def test_what_cannot_be_a_video_is_refused(space: MotionSpace, data: Path, tmp_path: Path):
    clips, out = space.clips(["sit"]), tmp_path / "out.mp4"
    refused = {
        "There are no motions": lambda: export_video(space, [], out),
        "named 'sit'": lambda: export_video(space, clips * 2, out),
        r"out\.avi is neither": lambda: export_video(space, clips, tmp_path / "out.avi"),
        "An .mp4 has no transparency": lambda: export_video(space, clips, out, look=Look(None)),
        "half transparent under an overlay": lambda: export_video(
            space, clips, tmp_path / "out.gif", look=Look(None, "trails")
        ),
        "65 x 48 pixels do not fit into out.mp4": lambda: export_video(space, clips, out, Around(size=(48, 65))),
        "at most 50 pictures a second": lambda: export_video(space, clips, tmp_path / "out.gif", fps=60.0),
        "repeated is 0; expected 1 to 100,000": lambda: export_video(space, clips, out, repeat=0),
        r"per second is 0\.0; expected 0\.1 to 240": lambda: export_video(space, clips, out, fps=0.0),
        r"per second is 1,000\.0; expected": lambda: export_video(space, clips, out, fps=1000.0),
        "at most 100,000": lambda: export_video(space, clips, out, repeat=10**5),
        "side of 8 pixels": lambda: export_video(space, clips, out, Around(size=(8, 64))),
        "no motion 'sit' of 9 frames": lambda: export_video(space, clips, out, of_view(VIEW), truth=(load(data), VIEW)),
        "no view 'x'; it has view_00, test_00": lambda: choose(space, Around(), view="x", data=data),
        "no view 'x'; no cameras are known": lambda: find_view(space.views, "x", "The scene"),
        "from one of them": lambda: choose(space, Around(), path=ORBIT, view="x"),
    }
    for complaint, call in refused.items():
        with pytest.raises(DimoError, match=complaint):
            call()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_video(space: MotionSpace, tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_text("mine")
    with pytest.raises(DimoError, match="is there already"):
        export_video(space, space.clips(["sit"]), path, of_view(VIEW))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for target in (path, tmp_path / "folder"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            with pytest.raises(DimoError, match="could not be written"):
                export_video(space, space.clips(["sit"]), target, of_view(VIEW), overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_without_pyav_it_says_so_and_folders_still_work(
    space: MotionSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.split(".")[0] == "av"] + ["av", "av.error"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DimoError, match="PyAV, which is missing"):
        export_video(space, space.clips(["sit"]), tmp_path / "a.mp4", of_view(VIEW))
    assert len(frames_of(export_video(space, space.clips(["sit"]), tmp_path / "out", of_view(VIEW)))) == FRAMES


def test_the_cameras_of_the_method_see_33_9_degrees():
    assert float(of_view(VIEW).cameras.Ks[0, 1, 1]) == pytest.approx(0.5 * SIZE / math.tan(math.radians(33.9) / 2))
