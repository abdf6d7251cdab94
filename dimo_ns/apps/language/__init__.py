"""Motions in words: a projector from text to latents, learned from each motion's prompt, name and paraphrases.

projector = fit_projector(space, read_paraphrases(path), load_encoder())
projector.latent(["walk while waving"])  # [1, d]
"""

from dimo_ns.apps.language.encoder import Encoder, load_encoder
from dimo_ns.apps.language.figures import language_figures, measure_projector
from dimo_ns.apps.language.file import load_projector, save_projector
from dimo_ns.apps.language.paraphrases import Paraphrases, check_words, read_paraphrases
from dimo_ns.apps.language.projector import Answer, Projector, fit_projector

__all__ = [
    "Answer",
    "Encoder",
    "Paraphrases",
    "Projector",
    "check_words",
    "fit_projector",
    "language_figures",
    "load_encoder",
    "load_projector",
    "measure_projector",
    "read_paraphrases",
    "save_projector",
]
