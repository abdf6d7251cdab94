"""Fitting: a motion that was not trained on, from pictures of it in many views, or in one."""

from dimo_ns.apps.fit.align import Similarity
from dimo_ns.apps.fit.change import Change
from dimo_ns.apps.fit.fitting import Fit, fit, measure
from dimo_ns.apps.fit.observations import Observations, observe

__all__ = ["Change", "Fit", "Observations", "Similarity", "fit", "measure", "observe"]
