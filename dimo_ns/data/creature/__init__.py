"""The sample creature: a spotted cub of ellipsoids and round cones that moves, ray-cast in closed form. `write_sample`
makes a dataset of it in seconds, with exact cameras and point tracks, from a seed and nothing else."""

from dimo_ns.data.creature.write import write_sample

__all__ = ["write_sample"]
