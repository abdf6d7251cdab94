"""The sample creature's skeleton: bones, poses, and `place`, which puts every part into the world.

Built in its own units (ground at z = 0, facing +x, z up, about one unit long), then moved and scaled into the ball of
radius 0.55 at the origin that holds it over all its motions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

LEGS = ("front_left", "front_right", "hind_left", "hind_right")
TAIL_BONES = 5
PARENTS = {
    "body": None,
    "hips": "body",
    "chest": "body",
    "neck": "chest",
    "head": "neck",
    "ear_left": "head",
    "ear_right": "head",
    **{f"tail_{i}": f"tail_{i - 1}" if i else "hips" for i in range(TAIL_BONES)},
    **{f"{leg}_{bone}": f"{leg}_{up}" if up else ("chest" if leg.startswith("front") else "hips")
       for leg in LEGS for bone, up in (("upper", ""), ("lower", "upper"), ("paw", "lower"))},
}  # fmt: skip
BONES = tuple(PARENTS)


@dataclass(frozen=True)
class Pose:
    """One moment. Angles (yaw left, pitch up, roll right) in radians about a bone's joint, lengths in body units."""

    offset: tuple[float, float, float] = (0, 0, 0)  # of the body, in the heading's frame
    heading: float = 0.0  # yaw of the whole creature, feet included
    body: tuple[float, float, float] = (0, 0, 0)
    bend: tuple[float, float, float] = (0, 0, 0)  # of the spine: the chest turns by half, the hips by minus half
    neck: tuple[float, float, float] = (0, 0, 0)
    head: tuple[float, float, float] = (0, 0, 0)
    ears: tuple[float, ...] = (0, 0)  # left, right: folded back
    tail: tuple[tuple[float, float], ...] = ((0, 0),) * TAIL_BONES  # (yaw, pitch) of each bone
    feet: tuple[tuple[float, float, float], ...] = ((0, 0, 0),) * 4  # from where they rest, in the heading's frame
    paws: tuple[float, ...] = (0, 0, 0, 0)  # toes up


class Parts(NamedTuple):
    """The parts in the world at one moment: world = center + axes @ local."""

    axes: np.ndarray  # [P,3,3]
    inverse: np.ndarray  # [P,3,3]
    center: np.ndarray  # [P,3]


@dataclass(frozen=True)
class Creature:
    joints: dict[str, np.ndarray]  # where each bone turns, at rest
    bones: np.ndarray  # [P] index into BONES
    kinds: np.ndarray  # [P] of coat: BODY ...
    axes: np.ndarray  # [P,3,3] at rest
    center: np.ndarray  # [P,3] at rest
    solid: np.ndarray  # [P,3] (ra, rb, length) in the part's own frame
    stretch: np.ndarray  # [P,2] where the part starts and ends along its limb
    blends: np.ndarray  # [P,P] bool: whose surfaces melt together
    coat: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # spots [P,S,4], their count [P], lattice, palette
    origin: np.ndarray  # [3] the point of the body frame that is the world's origin
    scale: float  # world units per body unit


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """[3,3]: first roll about x, then pitch (nose up) about -y, then yaw about z."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    y = np.array([[cp, 0, -sp], [0, 1, 0], [sp, 0, cp]])
    x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return z @ y @ x


def _frame(direction: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Orthonormal columns: the direction, the normal made perpendicular to it, and their cross product."""
    a = direction / np.linalg.norm(direction)
    n = normal - a * (a @ normal)
    n /= np.linalg.norm(n)
    return np.stack([a, n, np.cross(a, n)], 1)


def _leg(creature: Creature, leg: str, turn: np.ndarray, hip: np.ndarray, ankle: np.ndarray):
    """Rotations of the upper and lower bone and the joints knee and ankle that bring the foot to `ankle`."""
    hip0, knee0, ankle0 = (creature.joints[f"{leg}_{bone}"] for bone in ("upper", "lower", "paw"))
    upper, lower = np.linalg.norm(knee0 - hip0), np.linalg.norm(ankle0 - knee0)
    normal0 = np.cross(knee0 - hip0, ankle0 - hip0)
    reach = np.clip(np.linalg.norm(ankle - hip), abs(upper - lower) * 1.01, (upper + lower) * 0.9995)
    plane = _frame(ankle - hip, turn @ normal0)
    cosine = (upper**2 + reach**2 - lower**2) / (2 * upper * reach)
    knee = hip + upper * (cosine * plane[:, 0] + np.sqrt(1 - cosine**2) * plane[:, 2])
    ankle = hip + reach * plane[:, 0]
    first = _frame(knee - hip, plane[:, 1]) @ _frame(knee0 - hip0, normal0).T
    second = _frame(ankle - knee, plane[:, 1]) @ _frame(ankle0 - knee0, normal0).T
    return first, second, knee, ankle


def _skeleton(creature: Creature, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [B,3,3] of every bone and where its joint is [B,3], in body units."""
    heading = rotation(pose.heading, 0, 0)
    half = np.array(pose.bend) / 2
    turns = {"hips": rotation(*-half), "chest": rotation(*half), "neck": rotation(*pose.neck)}
    turns |= {"head": rotation(*pose.head), "ear_left": rotation(0, pose.ears[0], 0)}
    turns |= {"ear_right": rotation(0, pose.ears[1], 0)}
    turns |= {f"tail_{i}": rotation(yaw, pitch, 0) for i, (yaw, pitch) in enumerate(pose.tail)}
    rotations = {"body": heading @ rotation(*pose.body)}
    places = {"body": heading @ (creature.joints["body"] + pose.offset)}
    for bone, parent in PARENTS.items():
        if parent is None or bone in places:
            continue
        turn = rotations[parent]
        place = places[parent] + turn @ (creature.joints[bone] - creature.joints[parent])
        if not bone.endswith("_upper"):
            rotations[bone], places[bone] = turn @ turns[bone], place
            continue
        leg = bone.removesuffix("_upper")
        foot = LEGS.index(leg)
        target = heading @ (creature.joints[f"{leg}_paw"] + pose.feet[foot])
        first, second, knee, ankle = _leg(creature, leg, turn, place, target)
        rotations |= {bone: first, f"{leg}_lower": second, f"{leg}_paw": heading @ rotation(0, pose.paws[foot], 0)}
        places |= {bone: place, f"{leg}_lower": knee, f"{leg}_paw": ankle}
    return np.stack([rotations[b] for b in BONES]), np.stack([places[b] for b in BONES])


def place(creature: Creature, pose: Pose) -> Parts:
    """Every part of the creature in world coordinates; rounded, so that another libm's last bit changes no pixel."""
    rotations, places = _skeleton(creature, pose)
    turn, joint = rotations[creature.bones], places[creature.bones]
    joint0 = np.stack([creature.joints[BONES[b]] for b in creature.bones])
    center = joint + np.einsum("pij,pj->pi", turn, creature.center - joint0)
    axes = np.round(np.einsum("pij,pjk->pik", turn, creature.axes) * creature.scale, 9)
    return Parts(axes, np.linalg.inv(axes), np.round((center - creature.origin) * creature.scale, 9))


def feet(creature: Creature, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Where the four ankles are and where the pose wants them, both [4,3] in body units."""
    _, places = _skeleton(creature, pose)
    heading = rotation(pose.heading, 0, 0)
    wanted = [heading @ (creature.joints[f"{leg}_paw"] + pose.feet[i]) for i, leg in enumerate(LEGS)]
    return np.stack([places[BONES.index(f"{leg}_paw")] for leg in LEGS]), np.stack(wanted)


def surface(solid: np.ndarray, per_part: int) -> np.ndarray:
    """Points spread over the surface of every solid [P,3] (ra, rb, length), [P,n,3] in its own frame."""
    ra, rb, length = (solid[:, None, i] for i in range(3))
    tilt = np.divide(ra - rb, length, out=np.zeros_like(ra), where=length > 0)
    rise, seam = np.sqrt(1 - tilt**2), np.arccos(tilt)
    cap_a, side, cap_b = ra * (np.pi - seam), length * rise, rb * seam
    k = np.arange(per_part) + 0.5
    s = k / per_part * (cap_a + side + cap_b)  # along the meridian, from the bottom
    polar_a, polar_b = np.pi - s / ra, (cap_a + side + cap_b - s) / rb
    on_side = np.clip((s - cap_a) / np.where(side > 0, side, 1), 0, 1)
    in_a, in_b = s < cap_a, s > cap_a + side
    side_rho = ra * rise + on_side * (rb - ra) * rise
    side_z = ra * tilt + on_side * (length + (rb - ra) * tilt)
    rho = np.select([in_a, in_b], [ra * np.sin(polar_a), rb * np.sin(polar_b)], side_rho)
    z = np.select([in_a, in_b], [ra * np.cos(polar_a), length + rb * np.cos(polar_b)], side_z)
    angle = np.pi * (3 - 5**0.5) * k
    return np.stack([rho * np.cos(angle), rho * np.sin(angle), z], -1)


def fit(creature: Creature, poses: Iterable[Pose], radius: float = 0.55) -> Creature:
    """The creature moved and scaled so that over all the poses it is inside the ball of that radius at the origin."""
    creature = replace(creature, origin=np.zeros(3), scale=1.0)
    local = surface(creature.solid, 32)
    placed = [place(creature, pose) for pose in poses]
    points = np.concatenate([(p.center[:, None] + local @ p.axes.transpose(0, 2, 1)).reshape(-1, 3) for p in placed])
    origin = (points.min(0) + points.max(0)) / 2
    for i in range(1, 100):  # Badoiu and Clarkson: towards the farthest point, by ever smaller steps
        origin += (points[((points - origin) ** 2).sum(1).argmax()] - origin) / (i + 1)
    bound = np.sqrt(((points - origin) ** 2).sum(1).max())
    return replace(creature, origin=np.round(origin, 6), scale=round(0.995 * radius / float(bound), 6))
