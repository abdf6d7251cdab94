"""What would explain the difference between the pictures of a view and renders of the same moments: a displacement, a
clock that is off, another exposure. Solved for all at once by regularised least squares, linearised at the renders.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dimo_ns.core.view_faults import DRIFTS, TERMS, degrees, drifts, polynomials

SMOOTHING = (0.0044, 0.054, 0.242, 0.399, 0.242, 0.054, 0.0044)
"""Pictures and renders are blurred by a pixel before they are compared, so that edges that are apart still meet."""
NOISE = 0.3
"""What chance adds to a squared error, summed over as many neighbouring pixels as err together."""
DRAWN = 0.01
"""Alpha from which on a pixel shows something."""
OWN = 2 * DRIFTS * TERMS
"""Unknowns of a displacement; the others follow: clock (2), exposure (3), blur, and how much larger the mask is."""
SIGMA = (1.0, 0.07, 0.06, 0.06, 0.06, 5e-5, 0.12)
"""How large those are expected to be; blur as a variance, in squared halves of a picture."""
SIGMA_DISPLACEMENT = 0.004


@dataclass(frozen=True, eq=False)
class Difference:
    """What was found."""

    displacement: Float[Tensor, "2 drifts terms"]
    clock: Float[Tensor, " 2"]
    exposure: Float[Tensor, " 3"]


def register(
    pictures: Float[Tensor, "t h w 4"],
    renders: Float[Tensor, "t h w 4"],
    object_frames: Float[Tensor, " t"],
    picture_ids: Float[Tensor, " t"],
    times: Float[Tensor, " t"],
    known: Difference,
    doubt: float,
) -> Difference:
    """The faults of a view, given what is known of them and is in the renders already.

    `pictures` and `renders`: premultiplied. `object_frames`: of which times the renders are; `picture_ids`, `times`:
    the numbers of the pictures, and these as shares of the clip. `doubt`: the error of a pixel from which on it counts
    less: something else is wrong there.
    """
    pictures, renders = _smooth(pictures), _smooth(renders)
    where = (torch.maximum(renders[..., 3], pictures[..., 3]) > DRAWN).flatten(1).any(0)
    error = (pictures - renders).flatten(1, 2)[:, where]
    root = (1 + (error / doubt).square().sum(-1, keepdim=True)).rsqrt().expand_as(error)
    columns = (_columns(renders, object_frames, where) * root[..., None]).flatten(1, 2)
    spread = _spread(times, picture_ids)
    matrix = (spread.mT @ (columns.mT @ columns) @ spread).sum(0).double()
    vector = (spread.mT @ (columns.mT @ (error * root).flatten(1)[..., None])).sum(0).squeeze(-1).double()
    sigma = torch.cat([(SIGMA_DISPLACEMENT / (1 + degrees() / 4)).repeat(2 * DRIFTS), torch.tensor(SIGMA)])
    precision = (NOISE / sigma.square()).to(matrix)
    before = torch.cat([known.displacement.flatten(), known.clock, known.exposure, vector.new_zeros(2)]).double()
    found = before + torch.linalg.solve(matrix + precision.diag(), vector - precision * before)
    displacement, clock, exposure, _ = found.float().split([OWN, 2, 3, 2])
    return Difference(displacement.view(2, DRIFTS, TERMS), clock, exposure)


def _smooth(rgba: Float[Tensor, "t h w 4"]) -> Float[Tensor, "t h w 4"]:
    taps, reach = rgba.new_tensor(SMOOTHING).expand(4, 1, 1, -1), len(SMOOTHING) // 2
    planes = F.conv2d(rgba.permute(0, 3, 1, 2), taps, padding=(0, reach), groups=4)
    return F.conv2d(planes, taps.mT, padding=(reach, 0), groups=4).permute(0, 2, 3, 1)


def _columns(
    renders: Float[Tensor, "t h w 4"], object_frames: Float[Tensor, " t"], where: Bool[Tensor, " p"]
) -> Float[Tensor, "t q 4 c"]:
    """How each drawn pixel changes with displacement right and down, time, exposure, blur and mask."""
    count, h, w, _ = renders.shape
    pixel = 2 / max(h, w)
    padded = F.pad(renders, (0, 0, 1, 1, 1, 1))
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    above, below = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    numbers = torch.arange(count, device=renders.device)
    earlier, later = (numbers - 1).clamp(min=0), (numbers + 1).clamp(max=count - 1)
    span = (object_frames[later] - object_frames[earlier])[:, None, None, None]
    change = torch.where(span > 0.25, (renders[later] - renders[earlier]) / span.clamp(min=0.25), 0.0)
    slopes = (right - left) / (2 * pixel), (below - above) / (2 * pixel)
    curvature = 0.5 * (left + right + above + below - 4 * renders) / pixel**2
    across, down, change, curvature, seen = (
        x.flatten(1, 2)[:, where, :, None] for x in (*slopes, change, curvature, renders)
    )
    y, x = ((torch.arange(side, device=renders.device) + 0.5 - side / 2) * pixel for side in (h, w))
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)[where]
    terms = polynomials(places)[:, None]
    gains = F.pad(torch.diag_embed(seen[..., :3, 0]), (0, 0, 0, 1))
    larger = 4 * seen * (1 - seen[..., 3:, :])
    return torch.cat([-across * terms, -down * terms, change, gains, curvature, larger], -1)


def _spread(times: Float[Tensor, " t"], picture_ids: Float[Tensor, " t"]) -> Float[Tensor, "t c n"]:
    """How what a picture shows follows from the unknowns of its view: displacements through cosines of time, its moment
    through the clock."""
    spread = times.new_zeros(len(times), 2 * TERMS + 6, OWN + 7)
    moving = spread[:, : 2 * TERMS, :OWN].unflatten(1, (2, TERMS)).unflatten(-1, (2, DRIFTS, TERMS))
    term = torch.arange(TERMS)
    for axis in range(2):
        moving[:, axis, term, axis, :, term] = drifts(times)
    spread[:, 2 * TERMS, OWN], spread[:, 2 * TERMS, OWN + 1] = 1.0, picture_ids
    others = torch.arange(5)
    spread[:, 2 * TERMS + 1 + others, OWN + 2 + others] = 1.0
    return spread
