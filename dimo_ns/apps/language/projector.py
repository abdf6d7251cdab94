"""From words to a latent: ridge regression of texts on motions, then the nearest mixture of motions.

Known texts are each motion's prompt, name and paraphrases. A ridge regression from their embeddings to "which motion"
gives every motion a score; the scores, sharpened, are projected onto the simplex (Martins and Astudillo 2016,
arXiv:1602.02068), so that most weights are zero; the latent is the weighted mean of the motions' latents. It lies in a
motion where the words are clear and between two where they name two, never outside of what was trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from dimo_ns.apps.language.encoder import Encoder
from dimo_ns.apps.language.paraphrases import Paraphrases, check_words
from dimo_ns.space.motion_space import MotionSpace

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SHARPNESSES = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
MAX_JOINED = 500
"""Pairs of motions that the choice of strength and sharpness looks at."""
RARE = 0.05
"""Words are far from everything known if so few of the known texts are as far from those of the same motion."""


@dataclass(frozen=True)
class Answer:
    """What a text means to a projector."""

    text: str
    latent: Float[Tensor, " d"]
    motions: list[tuple[str, float]]
    """What it is a mixture of, and their weights: largest first, without the zeros, sum 1."""
    nearest: list[tuple[str, str, float]]
    """The nearest known texts: text, its motion, cosine similarity; most similar first."""
    is_known: bool
    """False if the text is far from everything known: the latent then says little."""


@dataclass(eq=False)
class Projector:
    """Text to latents of one space. What was learned is in the known texts, their embeddings and three numbers."""

    space: MotionSpace
    encoder: Encoder
    texts: list[str]
    motions: list[str]
    """The motion of each text, by name."""
    embeddings: Float[Tensor, "n e"]
    strength: float
    """How strongly the ridge holds its slope down."""
    sharpness: float
    """What the scores are multiplied with before they become weights."""
    threshold: float
    """The similarity to the nearest known text below which words are said to be unknown."""

    @cached_property
    def ridge(self) -> tuple[Float[Tensor, "e m"], Float[Tensor, " m"]]:
        return ridge(self.embeddings, one_hot(self.space, self.motions), self.strength)

    def weights(self, embeddings: Float[Tensor, "n e"]) -> Float[Tensor, "n m"]:
        """The share of each motion, in the order of the space; every row is at least 0 and sums to 1."""
        slope, offset = self.ridge
        return simplex(self.sharpness * (embeddings.double() @ slope + offset))

    def latent(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """The latents of these texts, on the space's device. Raises DimoError for an empty one."""
        return mixed(self.space, self.weights(self.encoder([check_words(text) for text in texts])))

    def nearest(self, text: str, k: int = 5) -> list[tuple[str, str, float]]:
        """The k known texts that are most similar: text, its motion, cosine similarity. Raises DimoError."""
        return self.ask(text, k).nearest

    def ask(self, text: str, k: int = 5) -> Answer:
        """All that there is to say of a text; `k` known texts beside it. Raises DimoError if it is empty."""
        text = check_words(text)
        embedding = self.encoder([text])
        weights = self.weights(embedding)
        similarity = self.embeddings @ embedding[0]
        values, rows = similarity.topk(min(k, len(self.texts)))
        nearest = [(self.texts[i], self.motions[i], float(s)) for i, s in zip(rows.tolist(), values, strict=True)]
        values, order = weights[0].sort(descending=True)
        shares = [(self.space.names[i], float(w)) for i, w in zip(order.tolist(), values, strict=True) if w > 0]
        return Answer(text, mixed(self.space, weights)[0], shares, nearest, bool(similarity.max() >= self.threshold))


def fit_projector(space: MotionSpace, paraphrases: Mapping[str, Paraphrases], encoder: Encoder) -> Projector:
    """The projector of a space, from its prompts and names and from these paraphrases (of all motions, some or none).

    Strength and sharpness are those with the smallest squared error of the latent over two kinds of words: each known
    text with itself left out (its motion keeps its other texts: with a motion left out there is nothing to learn from,
    as the latents of motions hold no order of meaning), and the prompts of every two motions joined by "and", which
    shall land halfway. Raises DimoError, for motions that the space does not have too.
    """
    texts, motions = known_texts(space, paraphrases)
    embeddings = encoder(texts)
    pairs = list(combinations(range(len(space.names)), 2))
    pairs = pairs[:: -(-len(pairs) // MAX_JOINED) or 1]
    prompts = [prompt_of(space, name) for name in space.names]
    joined = encoder([f"{prompts[a]} and {prompts[b]}" for a, b in pairs]) if pairs else embeddings[:0]
    halves = torch.zeros(len(pairs), len(prompts), dtype=torch.float64)
    for row, pair in enumerate(pairs):
        halves[row, list(pair)] = 0.5
    labels = one_hot(space, motions)
    strength, sharpness = choose(space, embeddings, labels, joined, halves)
    return Projector(
        space, encoder, texts, motions, embeddings, strength, sharpness, rare_similarity(embeddings, labels)
    )


def known_texts(space: MotionSpace, paraphrases: Mapping[str, Paraphrases]) -> tuple[list[str], list[str]]:
    """Every motion's prompt, name and paraphrases, each once, and the motion of each. Raises DimoError."""
    for name in paraphrases:
        space.index(name)
    found: dict[tuple[str, str], str] = {}
    for name in space.names:
        for text in (prompt_of(space, name), in_words(name), *(paraphrases[name].train if name in paraphrases else ())):
            found.setdefault((name, text.lower()), text)
    return list(found.values()), [name for name, _ in found]


def prompt_of(space: MotionSpace, name: str) -> str:
    return space.motions[space.index(name)].prompt.strip() or in_words(name)


def in_words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split()) or name


# --- the mathematics -----------------------------------------------------------------------------------------------


def one_hot(space: MotionSpace, motions: Sequence[str]) -> Float[Tensor, "n m"]:
    rows = torch.tensor([space.index(name) for name in motions])
    return torch.nn.functional.one_hot(rows, len(space.names)).double()


def mixed(space: MotionSpace, weights: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
    """The weighted means of the motions' latents."""
    return (weights.to(space.device) @ space.mu.double()).float()


def ridge(
    x: Float[Tensor, "n e"], y: Float[Tensor, "n m"], strength: float
) -> tuple[Float[Tensor, "e m"], Float[Tensor, " m"]]:
    """Slope and offset that minimise |x slope + offset - y|^2 + strength |slope|^2."""
    centre, mean = x.double().mean(0), y.mean(0)
    rows = x.double() - centre
    gram = rows @ rows.T
    slope = rows.T @ torch.linalg.solve(gram + strength * torch.eye(len(x), dtype=gram.dtype), y - mean)
    return slope, mean - centre @ slope


def left_out(x: Float[Tensor, "n e"], y: Float[Tensor, "n m"], strength: float) -> Float[Tensor, "n m"]:
    """What the ridge of all other rows says of each row, in closed form; n >= 2."""
    rows = x.double() - x.double().mean(0)
    gram = rows @ rows.T
    hat = torch.linalg.solve(gram + strength * torch.eye(len(x), dtype=gram.dtype), gram) + 1 / len(x)
    own = hat.diagonal()[:, None]
    return (hat @ y - own * y) / (1 - own)


def simplex(scores: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """The nearest points whose coordinates are at least 0 and sum to 1."""
    ordered = scores.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    count = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
    support = (ordered * count > excess).sum(-1, keepdim=True)
    return (scores - excess.gather(-1, support - 1) / support).clamp(min=0)


def choose(
    space: MotionSpace,
    embeddings: Float[Tensor, "n e"],
    labels: Float[Tensor, "n m"],
    joined: Float[Tensor, "p e"],
    halves: Float[Tensor, "p m"],
) -> tuple[float, float]:
    """Strength and sharpness, as `fit_projector` says."""
    lonely = labels @ labels.sum(0) == 1  # the only text of its motion: without it, the motion is unknown
    latents = space.mu.double().cpu()

    def error(scores: Tensor, wanted: Tensor) -> float:
        return float(((simplex(scores) - wanted) @ latents).square().sum() / max(1, len(scores)))

    errors = {}
    for strength in STRENGTHS:
        slope, offset = ridge(embeddings, labels, strength)
        fitted = embeddings.double() @ slope + offset
        single = torch.where(lonely[:, None], fitted, left_out(embeddings, labels, strength))
        double = joined.double() @ slope + offset
        for sharpness in SHARPNESSES:
            errors[strength, sharpness] = error(sharpness * single, labels) + error(sharpness * double, halves)
    return min(errors, key=lambda key: errors[key])


def rare_similarity(embeddings: Float[Tensor, "n e"], labels: Float[Tensor, "n m"]) -> float:
    """How similar a known text is to the most similar other one of its motion: what only `RARE` of them fall below."""
    similar = (embeddings @ embeddings.T).masked_fill((labels @ labels.T == 0) | torch.eye(len(labels)).bool(), -2)
    nearest = similar.max(1).values
    nearest = nearest[nearest > -2]
    return float(nearest.quantile(RARE)) if len(nearest) else -1.0
