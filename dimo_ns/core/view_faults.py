"""What is wrong with the views of a dataset, and how the object looks through it.

Video models make views that disagree: late, displaced, of another exposure. Each motion in each view has faults of its
own, the same in all its pictures or slowly changing; they belong to the pictures and not to the object.
"""

# What torch leaves untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .cameras import Cameras
from .types import Gaussians

DEGREE, DRIFTS = 5, 4
"""Of a displacement: its highest degree over the picture, and how many cosines of time it is made of."""
TERMS = (DEGREE + 1) * (DEGREE + 2) // 2
GRID = 33
"""Points a side of the grid over the picture in which a displacement is looked up."""


class ViewFaults(nn.Module):
    """The faults of V views in M motions; none at first."""

    displacement: Float[Tensor, "m v 2 drifts terms"]
    """How far what is seen is off, right and down, in halves of the longer side of a picture: coefficients of `drifts`
    and `polynomials`."""
    clock: Float[Tensor, "m v 2"]
    """The object's time in picture 0, in frames, and by how much more than one frame it goes on with each picture."""
    exposure: Float[Tensor, "m v 3"]
    """Logarithm of the gain of each colour."""

    def __init__(self, motions: int, views: int):
        super().__init__()
        self.register_buffer("displacement", torch.zeros(motions, views, 2, DRIFTS, TERMS))
        self.register_buffer("clock", torch.zeros(motions, views, 2))
        self.register_buffer("exposure", torch.zeros(motions, views, 3))

    @property
    def found(self) -> bool:
        """Whether any view has a fault; asks the device."""
        return any(bool(fault.any()) for fault in self.buffers())

    def object_frames(self, pictures: int) -> Float[Tensor, "m v t"]:
        """When the object is as each picture of a view shows it, in frames."""
        return by_clock(self.clock, pictures)

    def seen(
        self,
        g: Gaussians,
        cameras: Cameras,
        motion_ids: Int[Tensor, " b"],
        view_ids: Int[Tensor, "b c"],
        times: Float[Tensor, "b c"],
    ) -> Gaussians:
        """Posed Gaussians [b, n, ...] as each view [b, c] shows them, [b, c, n, ...]: displaced and exposed. `times`:
        of the pictures, in [0, 1). Where a Gaussian is on a picture has no gradient through the displacement."""
        which = motion_ids[:, None], view_ids
        h, w = cameras.size
        with torch.no_grad():
            pixels = cameras.project(g.means[:, None])
            places = (pixels[..., :2] - pixels.new_tensor([w / 2, h / 2])) * (2 / max(h, w))
            fields = (drifts(times)[..., None, None, :] @ self.displacement[which]).squeeze(-2) @ _grid(times.device)
            moved = F.grid_sample(
                fields.flatten(0, 1).unflatten(-1, (GRID, GRID)),
                places.flatten(0, 1)[:, None],
                padding_mode="border",
                align_corners=True,
            )
            moved = moved[:, :, 0].mT.unflatten(0, view_ids.shape) * (max(h, w) / 2)
            focal = cameras.Ks[..., None, [0, 1], [0, 1]]
            offsets = (moved * pixels[..., 2:] / focal) @ cameras.viewmats[..., :2, :3]
        quats = g.quats[:, None].expand(*view_ids.shape, -1, -1)
        colors = g.colors * self.exposure[which].exp()[..., None, :]
        return Gaussians(g.means[:, None] + offsets, quats, g.scales, g.opacities, colors)


def by_clock(clock: Float[Tensor, "*b 2"], pictures: int) -> Float[Tensor, "*b t"]:
    """The object's times, in frames, in the pictures of a view with this clock (`ViewFaults.clock`)."""
    return clock[..., :1] + (1 + clock[..., 1:]) * torch.arange(pictures, device=clock.device)


def drifts(times: Float[Tensor, "*b"]) -> Float[Tensor, "*b drifts"]:
    """Cosines of time in [0, 1): slow change that need not end as it began."""
    return torch.cos(math.pi * times[..., None] * torch.arange(DRIFTS, device=times.device))


def degrees() -> Int[Tensor, " terms"]:
    """Of the polynomials, in their order."""
    return torch.tensor([i + j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)])


def polynomials(places: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b terms"]:
    """Products of Chebyshev polynomials of x and of y, both in [-1, 1] over a picture, of degree 5 together at most."""
    powers = [torch.ones_like(places), places]
    for _ in range(DEGREE - 1):
        powers.append(2 * places * powers[-1] - powers[-2])
    x, y = torch.stack(powers, -1).unbind(-2)
    return torch.stack([x[..., i] * y[..., j] for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)], -1)


def _grid(device: torch.device) -> Float[Tensor, "terms places"]:
    """The polynomials in the points of the grid, row by row."""
    side = torch.linspace(-1, 1, GRID, device=device)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return polynomials(torch.stack([x, y], -1)).flatten(0, 1).T
