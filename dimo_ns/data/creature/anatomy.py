"""The sample creature's anatomy: parts on bones, their proportions, and the spots; `build` makes one by seed."""

from dataclasses import dataclass, field

import numpy as np

from dimo_ns.data.creature import coat
from dimo_ns.data.creature.coat import distance, inside_count
from dimo_ns.data.creature.skeleton import BONES, LEGS, PARENTS, TAIL_BONES, Creature, surface

SPOTS = 130


@dataclass
class _Builder:
    """Collects joints and parts; left-hand things are mirrored to the right (y -> -y)."""

    joints: dict[str, np.ndarray] = field(default_factory=dict)
    rows: list[tuple] = field(default_factory=list)

    def joint(self, bone: str, at) -> None:
        self.joints[bone] = np.array(at, float)

    def blob(self, bone: str, kind: int, center, radii, pitch: float = 0.0, yaw: float = 0.0) -> None:
        """An ellipsoid, nose-up by `pitch` and then turned left by `yaw` (radians)."""
        (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (pitch, yaw))
        turn = np.array([[cy * cp, -sy, -cy * sp], [sy * cp, cy, -sy * sp], [sp, 0, cp]])
        self.rows.append((bone, kind, turn * np.array(radii), np.array(center, float), (1.0, 1.0, 0.0), (0.0, 0.0)))

    def limb(self, bone, kind, start, end, ra, rb, stretch=(0.0, 0.0), flat=1.0, front=(1.0, 0.0, 0.0)) -> None:
        """A round cone from start to end, made thinner by `flat` along the direction nearest to `front`."""
        start, end, front = (np.array(v, float) for v in (start, end, front))
        z = end - start
        length = float(np.sqrt(z @ z))
        z /= length
        x = front - z * (z @ front)
        x /= np.sqrt(x @ x)
        axes = np.stack([x * flat, np.cross(z, x), z], 1)
        span = (stretch[0], stretch[0] + (stretch[1] - stretch[0]) / length)
        self.rows.append((bone, kind, axes, start, (ra, rb, length), span))


def _parts(proportion: dict[str, float]) -> _Builder:
    b = _Builder()
    leg, ear, brush = proportion["leg"], proportion["ear"], proportion["tail"]
    ground = 0.305 * (leg - 1)  # the body rises with longer legs

    def up(x, y, z):
        return np.array([x, y, z + ground])

    b.joint("body", up(0.0, 0, 0.37))
    b.joint("hips", up(0.0, 0, 0.37))
    b.joint("chest", up(0.0, 0, 0.37))
    b.joint("neck", up(0.17, 0, 0.43))
    b.joint("head", up(0.235, 0, 0.53))
    girth = proportion["girth"]
    b.blob("body", coat.BODY, up(0.0, 0, 0.365), (0.165, 0.128 * girth, 0.128 * girth))
    b.blob("hips", coat.BODY, up(-0.145, 0, 0.36), (0.142, 0.138 * girth, 0.138 * girth))
    b.blob("chest", coat.CHEST, up(0.125, 0, 0.375), (0.140, 0.132 * girth, 0.145 * girth), 0.35)
    b.limb("neck", coat.NECK, up(0.155, 0, 0.43), up(0.235, 0, 0.55), 0.105, 0.09)
    b.limb("neck", coat.COLLAR, up(0.192, 0, 0.473), up(0.199, 0, 0.484), 0.123, 0.119, flat=0.97)
    b.blob("neck", coat.TAG, up(0.312, 0, 0.428), (0.016, 0.033, 0.033), 0.45)

    head, size = up(0.265, 0, 0.645), proportion["head"]

    def face(x, y, z):
        return head + size * np.array([x, y, z])

    b.blob("head", coat.HEAD, head, size * np.array((0.175, 0.192, 0.160)))
    b.blob("head", coat.MUZZLE, face(0.138, 0, -0.058), size * np.array((0.088, 0.098, 0.068)))
    b.blob("head", coat.NOSE, face(0.221, 0, -0.030), size * np.array((0.020, 0.030, 0.021)), 0.3)
    for side, name in ((1, "left"), (-1, "right")):
        b.blob(
            "head", coat.EYE, face(0.130, 0.088 * side, 0.030), size * np.array((0.036, 0.043, 0.052)), 0.1, 0.36 * side
        )
        root, tip = face(-0.02, 0.105 * side, 0.095), face(-0.045, (0.105 + 0.075 * ear) * side, 0.095 + 0.175 * ear)
        b.joint(f"ear_{name}", root)
        b.limb(f"ear_{name}", coat.EAR, root, tip, 0.082, 0.022, (0.0, 1.0), 0.42, (1.0, 0.35 * side, 0.1))
    for x, y, z, dx, dy, dz in ((0.05, 0, 0.13, 0.03, 0, 0.085), (0.02, 0.02, 0.13, -0.03, 0.03, 0.07)):
        b.limb("head", coat.TUFT, face(x, y, z), face(x + dx, y + dy, z + dz), 0.034 * size, 0.010, (0.0, 1.0))

    for name in LEGS:
        side = 1 if name.endswith("left") else -1
        if name.startswith("front"):
            hip, knee, ankle = (0.145, 0.088, 0.305), (0.098, 0.098, 0.178), (0.145, 0.098, 0.062)
            ra, rb, rc = 0.066, 0.050, 0.043
        else:
            hip, knee, ankle = (-0.165, 0.085, 0.305), (-0.118, 0.098, 0.180), (-0.180, 0.098, 0.062)
            ra, rb, rc = 0.092, 0.056, 0.043
        hip, knee, ankle = (np.array([x, y * side, z * leg]) for x, y, z in (hip, knee, ankle))
        b.joint(f"{name}_upper", hip)
        b.joint(f"{name}_lower", knee)
        b.joint(f"{name}_paw", ankle)
        b.limb(f"{name}_upper", coat.LEG, hip, knee, ra, rb, (0.0, 0.5))
        b.limb(f"{name}_lower", coat.LEG, knee, ankle, rb, rc, (0.5, 1.0))
        b.blob(f"{name}_paw", coat.PAW, (ankle[0] + 0.022, ankle[1], 0.043), (0.070, 0.056, 0.043))

    curve = np.array(
        [(-0.255, 0.41), (-0.335, 0.445), (-0.405, 0.505), (-0.445, 0.590), (-0.440, 0.680), (-0.405, 0.760)]
    )
    curve = curve[0] + brush * (curve - curve[0])
    radii = (0.036, 0.043, 0.053, 0.060, 0.054, 0.020)
    for i in range(TAIL_BONES):
        start, end = (up(curve[k, 0], 0, curve[k, 1]) for k in (i, i + 1))
        b.joint(f"tail_{i}", start)
        b.limb(f"tail_{i}", coat.TAIL, start, end, radii[i], radii[i + 1], (i / TAIL_BONES, (i + 1) / TAIL_BONES))
    return b


def _blends(bones: list[str], kinds: np.ndarray) -> np.ndarray:
    """Parts melt together when both are fur and sit on the same bone or on a bone and its parent."""
    fur = ~np.isin(kinds, (coat.EYE, coat.NOSE, coat.COLLAR, coat.TAG))
    joined = [
        [a == b or PARENTS[a] == b or PARENTS[b] == a or {a, b} <= {"hips", "body", "chest"} for b in bones]
        for a in bones
    ]
    return (np.array(joined) & fur[:, None] & fur) | np.eye(len(bones), dtype=bool)


def spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices [count] of farthest-point samples of points [N,3]; the first is point 0."""
    chosen, nearest = [0], np.full(len(points), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


def _spots(parts: np.ndarray, axes, center, solid, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spots (x, y, z, radius) in reach of each part [P,S,4], padded, and how many [P]; only `parts` are spotted."""
    local = surface(solid, 200)[parts]
    points = (center[parts, None] + local @ axes[parts].transpose(0, 2, 1)).reshape(-1, 3)
    inverse = np.linalg.inv(axes)
    points = rng.permutation(points[inside_count(points, inverse, center, solid) == 0])
    points = points[spread(points, SPOTS)]
    radius = rng.uniform(0.017, 0.043, SPOTS)
    table, count = np.zeros((len(center), SPOTS, 4)), np.zeros(len(center), np.int64)
    for i in parts:
        near = np.array([distance(x, y, z, i, inverse, center, solid)[0] for x, y, z in points]) < 1.3 * radius
        count[i] = near.sum()
        table[i, : count[i], :3], table[i, : count[i], 3] = points[near], radius[near]
    return np.ascontiguousarray(table[:, : count.max()]), count


def build(seed: int = 0) -> Creature:
    """The creature of that seed, in body units; seed 0 is the showcase, others differ a little in shape and coat."""
    rng = np.random.default_rng(seed)
    variation = float(seed != 0)
    ranges = {"leg": 0.08, "girth": 0.08, "head": 0.07, "ear": 0.20, "tail": 0.12}
    parts = _parts({name: 1 + variation * rng.uniform(-r, r) for name, r in ranges.items()})
    bones, kinds, axes, center, solid, stretch = (list(column) for column in zip(*parts.rows, strict=True))
    kinds, axes, center, solid = np.array(kinds), np.round(axes, 9), np.round(center, 9), np.array(solid)
    spots, count = _spots(np.flatnonzero(np.isin(kinds, coat.SPOTTED)), axes, center, solid, rng)
    return Creature(
        joints=parts.joints,
        bones=np.array([BONES.index(bone) for bone in bones]),
        kinds=kinds,
        axes=axes,
        center=center,
        solid=solid,
        stretch=np.array(stretch),
        blends=_blends(bones, kinds),
        coat=(spots, count, rng.random((16, 16, 16)), coat.palette(rng, variation)),
        origin=np.zeros(3),
        scale=1.0,
    )
