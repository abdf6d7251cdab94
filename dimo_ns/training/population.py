"""Adding and removing Gaussians while they are being optimised: pure operations on the set, and the bookkeeping that
keeps each optimizer's moments with the rows that stay."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimo_ns.core.gaussians import CanonicalGaussians
from dimo_ns.core.geometry import quat_to_matrix


@torch.no_grad()
def split(
    gaussians: CanonicalGaussians, rows: Int[Tensor, " m"], generator: torch.Generator
) -> tuple[CanonicalGaussians, Int[Tensor, " n"]]:
    """Each of these rows becomes two, 1.4 times smaller, one sigma-draw to either side of where it was.

    Returns the new set, the second halves at its end, and where each of its rows came from.
    """
    g = gaussians()
    draw = torch.randn(len(rows), 3, generator=generator).to(g.means) * 0.7
    offsets = (quat_to_matrix(g.quats[rows]) @ (g.scales[rows] * draw)[..., None]).squeeze(-1)
    origin = torch.cat([torch.arange(len(gaussians), device=rows.device), rows])
    grown = gaussians.select(origin)
    halves = torch.cat([rows, torch.arange(len(gaussians), len(origin), device=rows.device)])
    grown.means[halves] += torch.cat([-offsets, offsets])
    grown.log_scales[halves] -= torch.log(torch.tensor(1.4))
    return grown, origin


def most_pulled(pull: Float[Tensor, " n"], count: int) -> Int[Tensor, " m"]:
    """The rows with the largest accumulated screen-space gradient."""
    return pull.topk(min(count, len(pull))).indices


@torch.no_grad()
def replace_parameter(
    optimizer: torch.optim.Optimizer, new: torch.nn.Parameter, origin: Int[Tensor, " n"] | None
) -> None:
    """Hands an optimizer of one parameter its successor. Moments follow the rows (`origin`: where each row of the new
    one came from), those of rows that appear twice start at zero; without `origin` all state is dropped."""
    (old,) = optimizer.param_groups[0]["params"]
    state = optimizer.state.pop(old, {})
    optimizer.param_groups[0]["params"] = [new]
    if origin is None or not state:
        return
    seen = torch.bincount(origin, minlength=len(old))
    kept = (seen[origin] == 1).to(new.dtype)
    optimizer.state[new] = {
        name: value[origin] * kept.view(-1, *[1] * (value.dim() - 1)) if value.dim() else value
        for name, value in state.items()
    }
