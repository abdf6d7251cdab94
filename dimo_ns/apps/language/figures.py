"""How well words find their motions: measured with texts that were held out."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch

from dimo_ns.apps.language.encoder import Encoder, load_encoder
from dimo_ns.apps.language.paraphrases import Paraphrases
from dimo_ns.apps.language.projector import Projector, fit_projector, in_words
from dimo_ns.errors import DimoError
from dimo_ns.space.motion_space import MotionSpace


def language_figures(
    space: MotionSpace, paraphrases: Mapping[str, Paraphrases], encoder: Encoder | None = None
) -> dict[str, Any]:
    """Fits a projector to what is to be learned and measures it with what was held out. Raises DimoError."""
    return measure_projector(fit_projector(space, paraphrases, encoder or load_encoder()), paraphrases)


def measure_projector(projector: Projector, paraphrases: Mapping[str, Paraphrases]) -> dict[str, Any]:
    """Figures of a projector over the held-out texts, shares in [0, 1].

    - `top_1`, `top_3`: texts whose latent is nearest to that of their motion, or third nearest at most
    - `warned`: texts that are said to be far from everything known
    - `norm`: length of the latents over that of their motions' (1: not drawn together towards the mean)
    - `mixtures`: pairs of motions for which the latent of "NAME while NAME" is nearer to both than to any other
    - `mixtures_in_motion`: those for which the key points' trajectories are nearer to both than these are to each other
      (`MotionSpace.distances`); both None below three motions
    - what was fitted: `texts` (held out), `known_texts`, `encoder`, `strength`, `sharpness`, `threshold`

    Raises DimoError if no text was held out, or if one is known.
    """
    space, known = projector.space, {text.lower() for text in projector.texts}
    held_out = [(text, name) for name, entry in paraphrases.items() for text in entry.held_out]
    if not held_out:
        raise DimoError("No paraphrase was held out, so there is nothing to measure with; add some under 'held_out'.")
    for text, name in held_out:
        if text.lower() in known:
            raise DimoError(f"The text '{text}' of '{name}' is held out and known at once; take it out of 'held_out'.")
    embeddings = projector.encoder([text for text, _ in held_out])
    weights = projector.weights(embeddings)
    latents = weights.to(space.device).float() @ space.mu
    truth = torch.tensor([space.index(name) for _, name in held_out], device=space.device)
    distances = torch.cdist(latents, space.mu)
    rank = (distances <= distances.gather(1, truth[:, None])).sum(
        1
    )  # of the true motion, from 1; ties count against it
    similar = (embeddings @ projector.embeddings.T).max(1).values
    return {
        "texts": len(held_out),
        "top_1": share(rank <= 1),
        "top_3": share(rank <= 3),
        "warned": share(similar < projector.threshold),
        "norm": float((latents.norm(dim=1) / space.mu[truth].norm(dim=1)).mean()),
        **mixtures(projector),
        "known_texts": len(projector.texts),
        "encoder": projector.encoder.name,
        "strength": projector.strength,
        "sharpness": projector.sharpness,
        "threshold": projector.threshold,
    }


def mixtures(projector: Projector) -> dict[str, float | None]:
    """The shares of pairs that land between their motions."""
    space = projector.space
    pairs = list(combinations(range(len(space.names)), 2))
    if len(space.names) < 3:
        return {"mixtures": None, "mixtures_in_motion": None}
    words = [in_words(name) for name in space.names]
    latents = projector.latent([f"{words[a]} while {words[b]}" for a, b in pairs])
    nearest = torch.cdist(latents, space.mu).topk(2, largest=False).indices.sort(1).values
    moved = torch.cat([space.distances(space.positions(z[None]), space.trained_positions) for z in latents])
    apart = space.distances(space.trained_positions, space.trained_positions)
    a, b = torch.tensor(pairs, device=space.device).T
    rows = torch.arange(len(pairs), device=space.device)
    return {
        "mixtures": share((nearest == torch.stack([a, b], 1)).all(1)),
        "mixtures_in_motion": share(torch.maximum(moved[rows, a], moved[rows, b]) < apart[a, b]),
    }


def share(flags: torch.Tensor) -> float:
    return float(flags.float().mean())
