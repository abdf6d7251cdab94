"""Pictures of what a viewer shows: the object from a camera, the map of latents, trails as points and lines."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from dimo_ns.core.cameras import DISTANCE, Cameras, orbit_c2w
from dimo_ns.core.types import Gaussians, RigidTransforms
from dimo_ns.draw import style, trails
from dimo_ns.draw.pictures import take_pictures
from dimo_ns.space.motion_space import MotionSpace
from dimo_ns.viewer.state import Shown, State

AZIMUTH, ELEVATION, FOV = 40.0, 18.0, 0.7
"""Where the first camera stands, in degrees, and how much it sees from top to bottom, in radians."""
DEPTH_RANGE = 1.5
"""World units, around the origin, over which the colours of depth run."""
MAP_SIZE = 560, 400
"""The map's width and height in pixels: about twice those of the panel that shows it."""
PLATE, PLATE_SIZE = (-0.66, 0.53), (0.5, 0.357)
"""Where the map stands in the scene, its middle to the right and up, and its size; world units."""
PIECES = 3
"""Pieces of a trail per frame."""


def first_camera() -> Float[np.ndarray, " 3"]:
    """Where a camera stands from which the object, which is at the origin, is seen whole."""
    return first_pose()[:3, 3]


def first_pose() -> Float[np.ndarray, "4 4"]:
    """The first camera's camera-to-world."""
    return orbit_c2w(torch.tensor([AZIMUTH]), torch.tensor([ELEVATION]), DISTANCE)[0].numpy()


@dataclass(frozen=True)
class Plate:
    """Where the map stands beside the object: upright, and turned to the first camera."""

    centre: Float[np.ndarray, " 3"]
    axes: Float[np.ndarray, "3 3"]
    """Columns: to the right, down, away from the camera."""
    size: tuple[float, float]
    """Width and height, world units."""

    @staticmethod
    def beside() -> "Plate":
        """The map's place, as the first camera sees it."""
        right, up, back = first_pose()[:3, :3].T
        return Plate(PLATE[0] * right + PLATE[1] * up, np.stack([right, -up, -back], 1), PLATE_SIZE)

    def hit(self, origin: Float[np.ndarray, " 3"], direction: Float[np.ndarray, " 3"]) -> tuple[float, float]:
        """Where a ray meets it: from (0, 0) at its lower left to (1, 1)."""
        away = self.axes[:, 2]
        point = origin + direction * ((self.centre - origin) @ away) / (direction @ away)
        right, down, _ = (point - self.centre) @ self.axes
        return float(right / self.size[0] + 0.5), float(0.5 - down / self.size[1])


@torch.no_grad()
def posed(space: MotionSpace, shown: Shown) -> Gaussians:
    """The object as it is shown: one pose, in the colours of its layer."""
    scene = space.scene
    if shown.look.canonical:
        gaussians = scene.carry(RigidTransforms.identity(1, len(scene.keypoints), device=space.device))
    else:
        gaussians = scene.pose(shown.z[None], torch.tensor([shown.time], device=space.device))
    if shown.look.layer == "skinning":
        gaussians = replace(gaussians, colors=skinning_colours(space))
    return gaussians


@torch.no_grad()
def skinning_colours(space: MotionSpace) -> Float[Tensor, "n 3"]:
    """Each Gaussian has the colours of the key points that carry it, by how much they do."""
    scene = space.scene
    weights = scene.skinning_weights()
    colours = torch.from_numpy(trails.colours(scene.keypoints)).to(weights.weights) / 255
    return (weights.weights[..., None] * colours[weights.indices]).sum(1)


def draw(space: MotionSpace, shown: Shown, camera: Cameras) -> UInt8[np.ndarray, "h w 3"]:
    """Draws what is shown, before one camera, over white."""
    (picture,) = take_pictures(posed(space, shown), camera[None])
    if shown.look.layer == "alpha":
        return np.repeat((picture.alpha[..., None] * 255).round().astype(np.uint8), 3, -1)
    if shown.look.layer == "depth":
        import matplotlib  # which takes long

        distance = float(camera.centres.norm())
        near = 1 - np.clip((picture.depth - distance) / DEPTH_RANGE + 0.5, 0, 1)
        colours = (matplotlib.colormaps["turbo"](near)[..., :3] * 255).round()
        return (255 + (colours - 255) * picture.alpha[..., None]).astype(np.uint8)
    return picture.image


@torch.no_grad()
def keypoints_of(space: MotionSpace, shown: Shown) -> tuple[Float[np.ndarray, "k 3"], UInt8[np.ndarray, "k 3"]]:
    """Where the key points are, and their colours."""
    keypoints = space.scene.keypoints.detach()
    times = torch.tensor([shown.time])
    places = keypoints if shown.look.canonical else space.positions(shown.z[None], times)[0, 0]
    return places.cpu().numpy(), trails.colours(keypoints)


@torch.no_grad()
def trails_of(space: MotionSpace, shown: Shown) -> tuple[Float[np.ndarray, "s 2 3"], UInt8[np.ndarray, "s 2 3"]]:
    """The way that some key points have come, as straight pieces; colours fade towards the oldest."""
    keypoints = space.scene.keypoints.detach()
    chosen = trails.choose(keypoints)
    count = PIECES * shown.look.trail_frames + 1
    times = torch.linspace(shown.time - shown.look.trail_frames / space.frames, shown.time, count).clamp(min=0)
    places = space.positions(shown.z[None], times)[0][:, chosen].cpu().numpy()
    fading = np.linspace(0.15, 1, count)[:, None, None]
    colours = 255 + (trails.colours(keypoints)[chosen.cpu()].astype(float) - 255) * fading
    pieces, shades = (np.stack([x[:-1], x[1:]], 2).reshape(-1, 2, 3) for x in (places, colours))
    return pieces.astype(np.float32), shades.astype(np.uint8)


# --- the map ----------------------------------------------------------------------------------------------------------


def latent_map(state: State) -> Image.Image:
    """The motions of training at their places, named where there is room, and the latent that is shown."""
    width, height = MAP_SIZE
    image = Image.new("RGB", MAP_SIZE, "white")
    pen = ImageDraw.Draw(image)

    def to_pixel(place: Float[np.ndarray, " 2"]) -> tuple[float, float]:
        return 1 + float(place[0]) * (width - 3), 1 + (1 - float(place[1])) * (height - 3)

    here = np.clip(to_pixel(np.array(state.place)), 10, np.array(MAP_SIZE) - 11)
    pen.line([(here[0], 0), (here[0], height)], fill=style.RULE, width=2)
    pen.line([(0, here[1]), (width, here[1])], fill=style.RULE, width=2)
    dots = [to_pixel(place) for place in state.map.places.cpu().numpy()]
    for i, dot in enumerate(dots):
        pen.circle(dot, 7, fill=style.PALETTE[i % len(style.PALETTE)], outline="white", width=1)
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    for name, (x, y) in zip(state.space.names, dots, strict=True):
        for anchor, dx, dy in (("lm", 11, 0), ("rm", -11, 0), ("mb", 0, -10), ("mt", 0, 10)):
            box = pen.textbbox((x + dx, y + dy), name, font=style.font(19), anchor=anchor)
            inside = box[0] >= 2 and box[1] >= 2 and box[2] <= width - 2 and box[3] <= height - 2
            if inside and not any(overlap(box, other) for other in taken):
                pen.text((x + dx, y + dy), name, fill=style.INK, font=style.font(19), anchor=anchor)
                taken.append(box)
                break
    pen.circle(tuple(here), 9, fill="#d03030", outline="white", width=2)
    pen.rectangle([0, 0, width - 1, height - 1], outline=style.RULE, width=1)
    return image


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (left, top, right, bottom) do."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
