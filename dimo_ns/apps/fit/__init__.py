"""Fitting: a motion that was not trained on, from pictures of it in many views, or in one."""

from dimo_ns.apps.fit.align import Similarity
from dimo_ns.apps.fit.change import Change
from dimo_ns.apps.fit.fitting import Fit, Unseen, fit_motion, measure
from dimo_ns.apps.fit.observations import Observations, observe
from dimo_ns.apps.fit.scores import Seen

__all__ = ["Change", "Fit", "Observations", "Seen", "Similarity", "Unseen", "fit_motion", "measure", "observe"]
