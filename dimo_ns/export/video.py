"""Videos of a scene: motions one after another or side by side, from anywhere, beside the truth, with key points or
trails."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageColor
from torch import Tensor

from dimo_ns.core.cameras import Cameras
from dimo_ns.core.types import RigidTransforms
from dimo_ns.data.dataset import Dataset, View
from dimo_ns.data.frames import read_clip
from dimo_ns.draw import trails
from dimo_ns.draw.pictures import caption, take_pictures
from dimo_ns.draw.style import WHITE, Colour
from dimo_ns.errors import DimoError, check_number
from dimo_ns.export.camera_paths import Around, CameraPath
from dimo_ns.files.fields import check_unique
from dimo_ns.files.output import Progress, check_free, complete, frame_name
from dimo_ns.files.videos import WRITERS, check_kind, write_video
from dimo_ns.space.motion_space import Clip, MotionSpace

BATCH = 8
NOTHING = ("none", "transparent")
"""What a user calls no background at all."""
MIN_FPS, MAX_FPS, MAX_FRAMES = 0.1, 240, 100_000
Pictures = UInt8[np.ndarray, "b h w c"]


@dataclass(frozen=True)
class Look:
    """What is drawn."""

    background: Colour | None = WHITE
    """None: what is not the object is transparent."""
    overlay: Literal["none", "keypoints", "trails", "trails-by-time"] = "none"
    """Over the object, which is faded: all key points, or the way that some of them came, coloured by key point or by
    time."""


@dataclass(eq=False)
class Shot:
    """A clip, and where in it each frame of the video is."""

    clip: Clip
    positions: Float[Tensor, " n"]
    """In frames of the clip; fractions lie between two. Beyond its ends, a clip that loops goes on and others hold."""

    def transforms(self, positions: Float[Tensor, " b"]) -> RigidTransforms:
        """The key points' transforms at these positions: those of the frames, and between them smooth in time."""
        rows, weights = self.around(positions)
        quats = self.clip.transforms.quats[rows]
        agree = (quats * quats[:, 1:2]).sum(-1, keepdim=True)
        turned = torch.einsum("bf,bfkc->bkc", weights, torch.where(agree < 0, -quats, quats))
        moved = torch.einsum("bf,bfkc->bkc", weights, self.clip.transforms.translations[rows])
        return RigidTransforms(moved, F.normalize(turned, dim=-1))

    def ways(self, positions: Float[Tensor, " b"], chosen: Int[Tensor, " c"]) -> Float[Tensor, "b c 3"]:
        """Where these key points are at these positions."""
        rows, weights = self.around(positions)
        moved = self.clip.transforms.translations[:, chosen][rows]
        return self.clip.keypoints[chosen] + torch.einsum("bf,bfkc->bkc", weights, moved)

    def around(self, positions: Float[Tensor, " b"]) -> tuple[Int[Tensor, "b 4"], Float[Tensor, "b 4"]]:
        """The frames around these positions, and their weights (Catmull & Rom 1974)."""
        count, positions = len(self.clip), positions.to(self.clip.keypoints.device)
        first = positions.floor()
        s = positions - first
        rows = first.long()[:, None] + torch.arange(-1, 3, device=s.device)
        rows = rows % count if self.clip.loop else rows.clamp(0, count - 1)
        parts = [-(s**3) + 2 * s**2 - s, 3 * s**3 - 5 * s**2 + 2, -3 * s**3 + 4 * s**2 + s, s**3 - s**2]
        return rows, 0.5 * torch.stack(parts, 1)

    def nearest(self, positions: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The frames of the clip that are nearest to these positions."""
        return positions.round().long() % len(self.clip)

    def seen_in(self, dataset: Dataset, view: View) -> "Shot":
        """Those of its frames that a dataset has in this view. Raises DimoError if there are none, or if its motion of
        this name has another number of frames."""
        name, count = self.clip.name, len(self.clip)
        there = torch.tensor([(name, view.name, frame) in dataset.sources for frame in range(count)])
        if count != dataset.frames or not there.any():
            raise DimoError(
                f"The dataset {dataset.root} has no motion '{name}' of {count} frames in its view {view.name}."
            )
        return Shot(self.clip, self.positions[there[self.nearest(self.positions)]])

    def held(self, count: int) -> "Shot":
        """The same for so many frames."""
        step = float(self.positions[1] - self.positions[0]) if self.clip.loop and len(self.positions) > 1 else 0.0
        more = float(self.positions[-1]) + step * torch.arange(1, count - len(self.positions) + 1)
        return Shot(self.clip, torch.cat([self.positions, more]))


def export_video(
    space: MotionSpace,
    clips: Sequence[Clip],
    path: Path,
    seen_from: Around | CameraPath | None = None,
    fps: float | None = None,
    repeat: int = 1,
    side_by_side: bool = False,
    look: Look | None = None,
    truth: tuple[Dataset, View] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a video of these clips to `path`, a file of `WRITERS` or a folder for numbered PNGs, and returns it.

    The clips are played at their own speeds, `repeat` times each, one after another or side by side, at `fps` frames
    per second (by default those of the camera path, or of the first clip). A camera path is gone through for each clip;
    one with times says when in the motion each frame is. `truth` is shown to the left of the render. Raises DimoError.
    """
    look, seen_from = look or Look(), seen_from or Around()
    check(clips, path, repeat, look)
    check_free(path.parent, [path.name], overwrite)
    if fps is None:
        fps = seen_from.fps if isinstance(seen_from, CameraPath) and seen_from.fps else clips[0].fps
    check_number("The number of frames per second", fps, MIN_FPS, MAX_FPS)
    check_kind(path, fps, look.background is None)
    shots = shots_of(clips, seen_from, fps, repeat)
    if truth:
        shots = [shot.seen_in(*truth) for shot in shots]
    longest = max(len(shot.positions) for shot in shots)
    scenes = [[shot.held(longest) for shot in shots]] if side_by_side else [[shot] for shot in shots]
    total = sum(len(scene[0].positions) for scene in scenes)
    if total > MAX_FRAMES:
        raise DimoError(f"The video would have {total:,} frames; at most {MAX_FRAMES:,} are made.")
    if isinstance(seen_from, Around):
        cameras = seen_from.cameras(space, [clip.transforms for clip in clips], total)
    else:
        cameras = seen_from.cameras
    truths = {clip.name: true_frames(*truth, clip.name, cameras.size, look) for clip in clips} if truth else {}

    def images() -> Iterator[UInt8[np.ndarray, "h w c"]]:
        done = 0
        for scene in scenes:
            for start in range(0, len(scene[0].positions), BATCH):
                count = min(BATCH, len(scene[0].positions) - start)
                numbers = torch.arange(done, done + count) % len(cameras)
                tiles: list[tuple[str, Pictures]] = []
                for shot in scene:
                    name, positions = shot.clip.name, shot.positions[start : start + count]
                    if truth:
                        tiles.append((f"{name}: truth", truths[name][shot.nearest(positions).numpy()]))
                    tiles.append((name, draw_shot(space, shot, positions, cameras[numbers], look)))
                for i in range(count):
                    row = [(name, pictures[i]) for name, pictures in tiles]
                    yield montage(row, 2) if truth else montage(row) if len(clips) > 1 else row[0][1]
                    done += 1
                    if progress:
                        progress(done, total)

    with complete(path.parent, [path.name], overwrite) as partial:
        write(images(), partial / path.name, fps)
    return path


def colour(text: str) -> Colour | None:
    """A colour by its name or as #rrggbb; None for none at all, be it as #rrggbb00. Raises DimoError."""
    try:
        red, green, blue, alpha = ImageColor.getcolor("#0000" if text in NOTHING else text, "RGBA")  # pyright: ignore
    except ValueError as error:
        raise DimoError(f"'{text}' is no colour; expected a name such as white, #rrggbb, or none.") from error
    if alpha not in (0, 255):
        raise DimoError(f"The colour '{text}' is half transparent; expected an opaque one, or none.")
    return (red / 255, green / 255, blue / 255) if alpha else None


def check(clips: Sequence[Clip], path: Path, repeat: int, look: Look) -> None:
    """Refuses what cannot become a video. Raises DimoError."""
    if not clips:
        raise DimoError("There are no motions to show.")
    check_unique([clip.name for clip in clips], "Two of the motions are named")
    if path.suffix and path.suffix not in WRITERS:
        raise DimoError(f"A video is a {', '.join(WRITERS)} file, or a folder of pictures; {path.name} is neither.")
    if path.suffix == ".gif" and look.background is None and look.overlay != "none":
        raise DimoError("A .gif cannot show the object half transparent under an overlay; write a .webm.")
    check_number("How often motions are repeated", repeat, 1, MAX_FRAMES)


def shots_of(clips: Sequence[Clip], seen_from: Around | CameraPath, fps: float, repeat: int) -> list[Shot]:
    """How each clip is played: along the whole of a camera path, else `repeat` times."""
    if isinstance(seen_from, CameraPath) and len(seen_from.cameras) > 1:
        return [Shot(clip, along_path(clip, seen_from, fps)) for clip in clips]
    return [Shot(clip, played(clip, fps, repeat)) for clip in clips]


def played(clip: Clip, fps: float, repeat: int) -> Float[Tensor, " n"]:
    """The positions of the frames of a video that plays a clip so often."""
    step = clip.fps / fps
    if clip.loop:
        return torch.arange(max(1, round(repeat * len(clip) / step))) * step
    once = torch.arange(int((len(clip) - 1) / step + 1e-6) + 1) * step
    return once.repeat(repeat)


def along_path(clip: Clip, path: CameraPath, fps: float) -> Float[Tensor, " n"]:
    """The positions at the cameras of a path: at their own times, or at the clip's speed."""
    if path.times is not None:
        return (path.times * len(clip)).clamp(max=len(clip) - (0 if clip.loop else 1))
    return torch.arange(len(path.cameras)) * (clip.fps / fps)


def draw_shot(space: MotionSpace, shot: Shot, positions: Float[Tensor, " b"], cameras: Cameras, look: Look) -> Pictures:
    """Draws a shot at some positions, each before its own of the cameras [b], with what is drawn over the renders."""
    transforms = shot.transforms(positions)
    pictures = take_pictures(space.scene.carry(transforms), cameras, look.background)
    if look.overlay == "none":
        return np.stack([picture.image for picture in pictures])
    keypoints, length = shot.clip.keypoints, len(shot.clip)
    chosen, shades = trails.choose(keypoints), trails.colours(keypoints)
    images = []
    for i, (position, picture) in enumerate(zip(positions.tolist(), pictures, strict=True)):
        if look.overlay == "keypoints":
            image = trails.points_over(picture, keypoints + transforms.translations[i], shades)
        else:
            back = torch.linspace(position - trails.LENGTH * length, position, trails.STEPS + 1).clamp(min=0)
            by_time = look.overlay == "trails-by-time"
            tints = trails.time_colours((back / length) % 1) if by_time else shades[chosen.cpu()]
            image = trails.trails_over(picture, shot.ways(back, chosen), tints)
        images.append(image)
    return np.stack(images)


def true_frames(dataset: Dataset, view: View, motion: str, size: tuple[int, int], look: Look) -> Pictures:
    """The frames of a motion in a view of the dataset over the background, in this size; black where there is none.
    Raises DimoError if one cannot be read."""
    images = np.zeros((dataset.frames, *size, 4 if look.background is None else 3), np.uint8)
    for frame, rgba in read_clip(dataset, motion, view.name):
        if isinstance(rgba, DimoError):
            raise rgba
        over = rgba if look.background is None else composited(rgba, look.background)
        images[frame] = np.asarray(Image.fromarray(over).resize((size[1], size[0]), Image.Resampling.LANCZOS))
    return images


def composited(rgba: UInt8[np.ndarray, "h w 4"], background: Colour) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with straight alpha over a colour."""
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] * alpha + 255 * np.array(background) * (1 - alpha)).round().astype(np.uint8)


def montage(
    tiles: Sequence[tuple[str, UInt8[np.ndarray, "h w c"]]], per_group: int = 1
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Sets pictures of one size with their names in rows; groups of so many stay together."""
    groups = len(tiles) // per_group
    across = per_group * min(groups, math.ceil(math.sqrt(groups * 1.6 / per_group)))
    pictures = [caption(image, name) for name, image in tiles]
    blank = np.full_like(pictures[0], 0 if pictures[0].shape[2] == 4 else 255)
    pictures += [blank] * (-len(pictures) % across)
    rows = [np.concatenate(pictures[i : i + across], 1) for i in range(0, len(pictures), across)]
    return np.concatenate(rows)


def write(images: Iterator[UInt8[np.ndarray, "h w c"]], path: Path, fps: float) -> None:
    """Writes a video, or a folder of PNGs. Raises DimoError as `write_video`, OSError if the disk refuses."""
    if path.suffix:
        write_video(path, images, fps)
        return
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / frame_name(i, ".png"), compress_level=1)
