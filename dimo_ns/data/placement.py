"""Where the object of a dataset stands in the world of its cameras, and how large it is: brought to the origin and to a
radius of 0.5 when a dataset is read, and back where something leaves for that world."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dimo_ns.core.cameras import RADIUS
from dimo_ns.files.fields import Fields, is_finite


@dataclass(frozen=True)
class Placement:
    """A ball around the object in the dataset's own world; by default the one that dimo brings objects into."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = RADIUS

    @staticmethod
    def read(fields: Fields, key: str = "object") -> "Placement":
        """What a file says of it under this key; the default where it says nothing. Raises DimoError."""
        if fields.values.get(key) is None:
            return AT_HOME
        entry = fields.object(key)
        entry.only(("centre", "radius"))
        centre = entry.values.get("centre", [0.0, 0.0, 0.0])
        if not isinstance(centre, list | tuple) or len(centre) != 3 or not all(map(is_finite, centre)):
            raise entry.error("centre", "three numbers, the middle of the object in the world of the cameras")
        radius = entry.number("radius", RADIUS)
        if radius <= 0:
            raise entry.error("radius", "a positive number, the radius of the object in the world of the cameras")
        x, y, z = map(float, centre)
        return Placement((x, y, z), radius)

    @property
    def scale(self) -> float:
        """How many units of the dataset's world are one of dimo's."""
        return self.radius / RADIUS

    def place(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points of the dataset's world as dimo has them."""
        return ((points - np.array(self.centre)) / self.scale).astype(points.dtype)

    def undo(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points as dimo has them, in the dataset's world."""
        return (points * self.scale + np.array(self.centre)).astype(points.dtype)

    def within(self, outer: "Placement") -> "Placement":
        """This one, which was found in the world that `outer` makes, in the world of the cameras."""
        x, y, z = outer.undo(np.array(self.centre))
        return Placement((float(x), float(y), float(z)), self.radius * outer.scale)

    def __str__(self) -> str:
        x, y, z = (float(f"{v:.4g}") + 0.0 for v in self.centre)
        return f'"object": {{"centre": [{x:g}, {y:g}, {z:g}], "radius": {self.radius:.4g}}}'


AT_HOME = Placement()
"""Of an object that is where dimo has it."""
