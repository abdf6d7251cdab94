"""The recipes that come with dimo, each as a file of a small one: the same phases, each of a few steps."""

from pathlib import Path

import yaml

from dimo_ns.training.recipe import recipe_text

STEPS, SIZE = 3, 24
KEYPOINTS = 12


def write_small(name: str, folder: Path) -> Path:
    """The recipe of that name, with few key points, Gaussians, pictures and steps."""
    recipe = yaml.safe_load(recipe_text(name))
    recipe |= {"keypoints": KEYPOINTS, "gaussians": min(recipe["gaussians"], 150), "rank": 6, "width": 16}
    for phase in recipe["phases"]:
        phase |= {"steps": STEPS, "steps_per_motion": 0, "sizes": [[0.0, SIZE]], "motions": 2, "times": 1, "views": 2}
        density = phase.get("density", {})
        density |= {key: value for key, value in (("clone_every", 2), ("target", 200)) if key in density}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
