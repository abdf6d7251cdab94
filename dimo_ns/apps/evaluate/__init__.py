"""How good a space of motions is at everything that is made from it."""

from dimo_ns.apps.evaluate.evaluation import evaluate_space
from dimo_ns.apps.evaluate.protocol import Protocol
from dimo_ns.apps.evaluate.sections import latency

__all__ = ["Protocol", "evaluate_space", "latency"]
