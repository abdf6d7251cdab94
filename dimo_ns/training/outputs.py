"""What the model gives nerfstudio for a camera: ns-render and the viewer take all of it and use one or two images."""

from collections import UserDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from torch import Tensor

from dimo_ns.core.cameras import Cameras, intrinsics, viewmats_from_c2w
from dimo_ns.core.types import Gaussians
from dimo_ns.draw import trails
from dimo_ns.draw.pictures import Picture
from dimo_ns.rasterize.render import render
from dimo_ns.training.movers import Mover

Shown = tuple[Float[Tensor, " d"], Gaussians]
"""A latent, and the object posed under it: batch axis 1."""


@runtime_checkable
class Panel(Protocol):
    """The controls of a model in nerfstudio's viewer."""

    def __init__(self, model: Any): ...

    def shown(self, time: float) -> Shown | None:
        """What is to be seen at a time instead of the motion of a camera; None: that motion."""
        ...


class Outputs(UserDict[str, Tensor]):
    """Images [h, w, c] by name."""

    def later(self, name: str, make: Callable[[], Tensor]) -> None:
        """Adds an image that is made when it is first taken."""
        self.data[name] = make  # pyright: ignore

    def __getitem__(self, name: str) -> Tensor:
        image = self.data[name]
        if not isinstance(image, Tensor):
            image = self.data[name] = image()
        return image


def outputs_of(
    mover: Mover, z: Float[Tensor, "1 d"], motion: int, time: float, camera: NerfstudioCameras, shown: Shown | None
) -> Outputs:
    """What one camera sees of a motion at a time, or of what is shown instead: rgb over white, alpha (also as
    accumulation) and depth; drawn over it when they are taken: keypoints, and trajectories, the way that some of them
    came."""
    device = z.device
    z = z if shown is None else shown[0][None]

    def at(times: Float[Tensor, " s"]) -> tuple[Tensor, Tensor, Tensor]:
        times = times.to(device)
        return z.expand(len(times), -1), times, torch.full_like(times, motion, dtype=torch.long)

    posed = mover.pose(*at(torch.tensor([time]))) if shown is None else shown[1]
    seen_by = from_nerfstudio(camera).to(device)
    seen = render(posed, seen_by[None, None], depth=True)
    assert seen.depth is not None
    rgb, alpha, depth = seen.over(1.0)[0, 0].clamp(0, 1), seen.alpha[0, 0], seen.depth[0, 0]

    def drawn(name: str) -> Float[Tensor, "h w 3"]:
        image = (rgb * 255).round().byte().cpu().numpy()
        picture = Picture(image, alpha[..., 0].cpu().numpy(), depth[..., 0].cpu().numpy(), seen_by.to("cpu"))
        shades = trails.colours(mover.points)
        if name == "keypoints":
            places = mover.positions(*at(torch.tensor([time])))[0]
            image = trails.points_over(picture, places, shades)
        else:
            chosen = trails.choose(mover.points)
            ways = mover.positions(*at(trails.trail_times(time)))[:, chosen]
            image = trails.trails_over(picture, ways, shades[chosen.cpu()])
        return torch.tensor(image).to(rgb) / 255

    outputs = Outputs(rgb=rgb, alpha=alpha, accumulation=alpha, depth=depth)
    for name in ("keypoints", "trajectories"):
        outputs.later(name, partial(drawn, name))
    return outputs


def from_nerfstudio(camera: NerfstudioCameras) -> Cameras:
    """The first of nerfstudio's cameras as one of ours."""
    c2w = torch.eye(4, device=camera.camera_to_worlds.device)
    c2w[:3] = camera.camera_to_worlds.view(-1, 3, 4)[0]
    K = intrinsics(*(length.float().flatten()[0] for length in (camera.fx, camera.fy, camera.cx, camera.cy)))
    return Cameras(viewmats_from_c2w(c2w), K, (int(camera.height.flatten()[0]), int(camera.width.flatten()[0])))
