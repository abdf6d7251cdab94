"""Which frames a step trains on: a function of seed, step and phase alone, so that resuming is exact."""

import numpy as np
import torch
from jaxtyping import Float, Int

from dimo_ns.tracking.tree import Tree
from dimo_ns.training.datamanager import Request
from dimo_ns.training.recipe import Moment


def tree_position(moment: Moment, tree: Tree) -> tuple[int, float]:
    """Depth of the tree that a step of the tracking phase works on, and how far it has come there, in [0, 1)."""
    levels = int(tree.depths.max()) + 1
    level, rest = divmod(moment.step * levels, moment.length)
    return level, rest / moment.length


def draw_request(
    moment: Moment,
    step: int,
    seed: int,
    picture_ids: Int[np.ndarray, "motions frames views"],
    size: tuple[int, int],
    tree: Tree | None,
    trust: Float[np.ndarray, "motions views"] | None = None,
) -> Request:
    """The (motion, time) pairs and views of a step; only frames that exist. `picture_ids`: which picture of a view
    shows a frame, -1 where none does. `trust`: how often views are looked at, relatively; None: all alike."""
    phase, available, frames = moment.phase, picture_ids >= 0, picture_ids.shape[1]
    rng = np.random.default_rng((seed, step))
    if phase.sampler == "reference":
        views = np.flatnonzero(available[0, 0])
        pairs = np.zeros((1, 2), np.int64)
        return _request(pairs, views[None], picture_ids, size)
    if phase.sampler == "tree":
        assert tree is not None
        level, _ = tree_position(moment, tree)
        nodes = np.flatnonzero(tree.depths.numpy() == level)
        pairs = np.stack([nodes // frames, nodes % frames], -1)
    else:
        chosen = [rng.permutation(len(available)) for _ in range(-(-phase.motions // len(available)))]
        motions = np.concatenate(chosen)[: phase.motions]
        pairs = np.concatenate([
            [(m, t) for t in _choose(rng, np.flatnonzero(available[m].any(-1)), phase.times)] for m in motions
        ])  # fmt: skip
    pairs = pairs[available[pairs[:, 0], pairs[:, 1]].any(-1)]
    if not len(pairs):
        pairs = np.zeros((1, 2), np.int64)  # a level of frames that no view has: the reference frame stands in
    shares = [None] * len(available) if trust is None else list(trust)
    views = np.stack([_choose(rng, np.flatnonzero(available[m, t]), phase.views, shares[m]) for m, t in pairs])
    return _request(pairs, views, picture_ids, size)


def _choose(rng: np.random.Generator, ids: np.ndarray, count: int, shares: np.ndarray | None = None) -> np.ndarray:
    p = None if shares is None else shares[ids] / shares[ids].sum()
    return rng.choice(ids, count, replace=len(ids) < count, p=p)


def _request(pairs: np.ndarray, views: np.ndarray, picture_ids: np.ndarray, size: tuple[int, int]) -> Request:
    motion_ids, frame_ids = (np.ascontiguousarray(column) for column in pairs.T)
    pictures = torch.from_numpy(picture_ids[motion_ids[:, None], frame_ids[:, None], views])
    request = (torch.from_numpy(ids) for ids in (motion_ids, frame_ids, views))
    return Request(*request, picture_ids=pictures, size=size)
