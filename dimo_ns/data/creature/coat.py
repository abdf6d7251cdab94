"""What the sample creature looks like: palette, spots, stripes, face, and the light on it.

The coat is a solid texture in rest coordinates: continuous over joints, and it stays on the skin when the creature
moves. Near a joint the coats and normals of the parts that meet are blended, so that limbs look grown, not plugged in;
parts that touch without being joined darken each other a little. Light is ambient (sky, ground) and one Lambertian sun,
fixed in the world. Compiled functions call none of another file here: numba's cache would not notice its changes.
"""

import colorsys
import math

import numpy as np

from dimo_ns.data.kernels import inlined, kernel

BODY, CHEST, NECK, HEAD, MUZZLE, EAR, LEG, PAW, TAIL, EYE, NOSE, COLLAR, TAG, TUFT = range(14)
SPOTTED = (BODY, CHEST, NECK, HEAD, LEG)
COAT, BACK, CREAM, SPOT, SPOT_HEART, SOCK, BLUSH, SCARF, SCARF_DARK, INK, IRIS, GOLD = range(12)
_HSV = np.array(
    [
        (0.485, 0.62, 0.86),  # COAT: turquoise
        (0.520, 0.72, 0.66),  # BACK: deeper along the spine
        (0.115, 0.17, 1.00),  # CREAM: belly, face, tail tip
        (0.555, 0.80, 0.38),  # SPOT: rim of the rosettes, stripes
        (0.465, 0.42, 0.93),  # SPOT_HEART: inside of the rosettes
        (0.560, 0.74, 0.44),  # SOCK: paws
        (0.985, 0.44, 1.00),  # BLUSH: inner ears, cheeks
        (0.035, 0.76, 0.98),  # SCARF: coral
        (0.990, 0.78, 0.76),  # SCARF_DARK: its stripes
        (0.640, 0.60, 0.16),  # INK: eyes, nose, mouth
        (0.085, 0.80, 0.86),  # IRIS: amber
        (0.125, 0.72, 1.00),  # GOLD: tag
    ]
)

BLEND_WIDTH = 0.045
CONTACT_WIDTH, CONTACT_SHADE = 0.06, 0.5
LIGHT = (0.6192, 0.3396, 0.7080)
SUN, SKY, GROUND = (0.54, 0.52, 0.48), (0.64, 0.68, 0.74), (0.52, 0.46, 0.42)


def palette(rng: np.random.Generator, variation: float) -> np.ndarray:
    """RGB in [0,1] of every name above, [12,3]; `variation` 0 is the showcase, 1 turns the coat's hue a little."""
    hsv = _HSV.copy()
    hsv[[COAT, BACK, SPOT, SPOT_HEART, SOCK], 0] += variation * rng.uniform(-0.045, 0.045)
    hsv[[SCARF, SCARF_DARK], 0] += variation * rng.uniform(-0.05, 0.05)
    hsv[:, 1:] *= 1 + variation * rng.uniform(-0.08, 0.0, (len(hsv), 2))
    return np.array([colorsys.hsv_to_rgb(h % 1.0, s, v) for h, s, v in hsv])


@kernel
def _step(low, high, x):
    x = min(1.0, max(0.0, (x - low) / (high - low)))
    return x * x * (3.0 - 2.0 * x)


@kernel
def _noise(lattice, x, y, z):
    """Smooth noise in [0,1], one lattice step per unit, periodic in 16."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx) & 15, int(fy) & 15, int(fz) & 15
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y), z * z * (3.0 - 2.0 * z)
    i1, j1, k1 = (i + 1) & 15, (j + 1) & 15, (k + 1) & 15
    a = lattice[i, j, k] + x * (lattice[i1, j, k] - lattice[i, j, k])
    b = lattice[i, j1, k] + x * (lattice[i1, j1, k] - lattice[i, j1, k])
    c = lattice[i, j, k1] + x * (lattice[i1, j, k1] - lattice[i, j, k1])
    d = lattice[i, j1, k1] + x * (lattice[i1, j1, k1] - lattice[i, j1, k1])
    a, c = a + y * (b - a), c + y * (d - c)
    return a + z * (c - a)


@kernel
def _mix(c, colors, name, amount):
    return (
        c[0] + amount * (colors[name, 0] - c[0]),
        c[1] + amount * (colors[name, 1] - c[1]),
        c[2] + amount * (colors[name, 2] - c[2]),
    )


@kernel
def _rosettes(c, colors, spots, count, part, wobble, px, py, pz):
    """Dark rims with a light heart; small spots stay dark all over."""
    for s in range(count[part]):
        x, y, z = px - spots[part, s, 0], py - spots[part, s, 1], pz - spots[part, s, 2]
        r = spots[part, s, 3]
        d2 = x * x + y * y + z * z
        if d2 < 1.7 * r * r:
            d = math.sqrt(d2) / r + 0.9 * (wobble - 0.5)
            c = _mix(c, colors, SPOT, 1.0 - _step(0.84, 1.0, d))
            if r > 0.032:
                c = _mix(c, colors, SPOT_HEART, 1.0 - _step(0.36, 0.54, d + 0.6 * (wobble - 0.5)))
    return c


@kernel
def _albedo(kind, part, qx, qy, qz, px, py, pz, along, spots, spot_count, lattice, colors):
    """Colour at rest point p of a part; q is the same point in the part's own frame (unit sphere or round cone).

    `along` says where the point is along its limb (ear, leg, tail), from 0 at the root to 1 at the tip.
    """
    rough = _noise(lattice, 11.0 * px + 3.0, 11.0 * py + 5.0, 11.0 * pz + 7.0)
    fine = _noise(lattice, 47.0 * px, 47.0 * py, 47.0 * pz)
    wobble, side = 0.65 * rough + 0.35 * fine, abs(qy)
    c = (colors[COAT, 0], colors[COAT, 1], colors[COAT, 2])
    if kind <= NECK:
        c = _mix(c, colors, BACK, _step(0.30, 0.95, qz + 0.4 * (rough - 0.5)) if kind != NECK else 0.0)
        c = _rosettes(c, colors, spots, spot_count, part, wobble, px, py, pz)
        edge = 0.35 * (rough - 0.5)
        if kind != NECK:
            c = _mix(c, colors, CREAM, _step(0.42, 0.58, -qz + edge))
        if kind == CHEST:
            c = _mix(c, colors, CREAM, _step(0.62, 0.74, qx - 0.35 * side - 0.2 * qz + edge))
    elif kind == HEAD:
        c = _mix(c, colors, BACK, _step(0.35, 1.0, qz + 0.3 * (rough - 0.5)))
        if qx < 0.15:
            d, back = _rosettes(c, colors, spots, spot_count, part, wobble, px, py, pz), _step(0.15, -0.10, qx)
            c = (c[0] + back * (d[0] - c[0]), c[1] + back * (d[1] - c[1]), c[2] + back * (d[2] - c[2]))
        stripe = abs(side - 0.30 * _step(0.10, 0.2, side)) / 0.072
        tapered = stripe + 1.2 * _step(0.25, -0.25, qx) + 1.4 * _step(0.88, 0.98, qx)
        c = _mix(c, colors, SPOT, (1.0 - _step(0.75, 1.0, tapered)) * _step(0.34, 0.44, qz))
        mask = -qz + 0.55 * qx + 0.25 * side + 0.12 * (rough - 0.5)
        c = _mix(c, colors, CREAM, _step(0.44, 0.54, mask) * _step(-0.1, 0.1, qx))
        blush = math.sqrt((side - 0.72) ** 2 + 1.3 * (qz + 0.34) ** 2 + (qx - 0.58) ** 2)
        c = _mix(c, colors, BLUSH, 0.8 * (1.0 - _step(0.10, 0.26, blush)))
    elif kind == MUZZLE:
        c = (colors[CREAM, 0], colors[CREAM, 1], colors[CREAM, 2])
        front = _step(0.1, 0.3, qx)
        line = abs(qy) + 2.0 * _step(0.15, 0.0, -qz) + 2.0 * _step(0.36, 0.42, -qz)
        arc = abs(math.sqrt((side - 0.30) ** 2 + (qz + 0.36) ** 2) - 0.30) + 2.0 * _step(-0.02, 0.06, qz + 0.36)
        c = _mix(c, colors, INK, 0.9 * front * (1.0 - _step(0.045, 0.10, min(line, arc))))
        freckle = min((side - 0.62) ** 2 + (qz + 0.02) ** 2, (side - 0.74) ** 2 + (qz + 0.26) ** 2)
        c = _mix(c, colors, SPOT, 0.7 * front * (1.0 - _step(0.0030, 0.0075, freckle)))
    elif kind == EAR:
        c = _mix(c, colors, SPOT, _step(0.62, 0.72, along + 0.12 * (rough - 0.5)))
        inner = abs(qy) / max(0.01, 0.066 - 0.062 * along) + _step(0.56, 0.66, along) + 0.3 * (fine - 0.5)
        c = _mix(c, colors, BLUSH, _step(0.0, 0.012, qx) * (1.0 - _step(0.75, 1.0, inner)))
    elif kind == LEG:
        c = _rosettes(c, colors, spots, spot_count, part, wobble, px, py, pz)
        ring = abs(along + 0.06 * (rough - 0.5) - 0.50) / 0.055
        c = _mix(c, colors, SPOT, 1.0 - _step(0.7, 1.0, ring))
        c = _mix(c, colors, SOCK, _step(0.66, 0.72, along + 0.08 * (rough - 0.5)))
        c = _mix(c, colors, COAT, 0.7 - 0.7 * _step(0.018, 0.034, abs(along + 0.05 * (fine - 0.5) - 0.84)))
    elif kind == PAW:
        c = (colors[SOCK, 0], colors[SOCK, 1], colors[SOCK, 2])
        c = _mix(c, colors, CREAM, _step(0.10, 0.32, qx + 0.25 * (rough - 0.5)))
        toes = abs(side - 0.30) + 2.0 * _step(0.55, 0.35, qx) + 2.0 * _step(0.45, 0.65, qz)
        c = _mix(c, colors, SPOT, 1.0 - _step(0.05, 0.12, toes))
    elif kind == TAIL:
        wave = abs((along + 0.05 * (rough - 0.5)) * 4.5 % 1.0 - 0.5)
        c = _mix(c, colors, SPOT, _step(0.20, 0.26, wave))
        c = _mix(c, colors, CREAM, _step(0.70, 0.75, along + 0.10 * (rough - 0.5)))
    elif kind == EYE:
        c = (colors[INK, 0], colors[INK, 1], colors[INK, 2])
        pupil = math.sqrt(qy * qy + 0.8 * (qz - 0.03) ** 2)
        c = _mix(c, colors, IRIS, _step(0.46, 0.56, pupil) * (1.0 - _step(0.74, 0.86, pupil)) * _step(0.30, -0.25, qz))
        big = math.sqrt((qy - 0.20) ** 2 + (qz - 0.38) ** 2)
        small = math.sqrt((qy + 0.28) ** 2 + (qz + 0.34) ** 2)
        shine = max(1.0 - _step(0.20, 0.30, big), 0.8 * (1.0 - _step(0.08, 0.16, small)))
        return c[0] + shine * (1.0 - c[0]), c[1] + shine * (1.0 - c[1]), c[2] + shine * (1.0 - c[2])
    elif kind == NOSE:
        c = (colors[INK, 0], colors[INK, 1], colors[INK, 2])
        c = _mix(c, colors, CREAM, 0.55 * (1.0 - _step(0.15, 0.40, math.sqrt((qy - 0.15) ** 2 + (qz - 0.5) ** 2))))
    elif kind == COLLAR:
        c = (colors[SCARF, 0], colors[SCARF, 1], colors[SCARF, 2])
        c = _mix(c, colors, SCARF_DARK, _step(0.24, 0.32, abs((22.0 * (qy + 0.5 * qz)) % 1.0 - 0.5)))
    elif kind == TAG:
        c = (colors[GOLD, 0], colors[GOLD, 1], colors[GOLD, 2])
        c = _mix(c, colors, SCARF_DARK, 1.0 - _step(0.30, 0.42, math.sqrt(qy * qy + qz * qz)))
    elif kind == TUFT:
        c = _mix(c, colors, SPOT, _step(0.3, 0.7, along))
    shade = 1.0 + 0.13 * (rough - 0.5) + 0.22 * (fine - 0.5)
    return min(1.0, c[0] * shade), min(1.0, c[1] * shade), min(1.0, c[2] * shade)


@inlined
def _local_distance(x, y, z, ra, rb, length):
    """Signed distance to the solid in its own frame and the distance's gradient."""
    rho = math.sqrt(x * x + y * y)
    if length > 0.0:
        tilt = (ra - rb) / length
        rise = math.sqrt(1.0 - tilt * tilt)
        along = rise * z - tilt * rho
        if 0.0 < along < rise * length:
            inverse = 1.0 / max(rho, 1e-12)
            return rise * rho + tilt * z - ra, rise * x * inverse, rise * y * inverse, tilt
        if along >= rise * length:
            z -= length
            ra = rb
    r = math.sqrt(rho * rho + z * z)
    inverse = 1.0 / max(r, 1e-12)
    return r - ra, x * inverse, y * inverse, z * inverse


@kernel
def distance(px, py, pz, i, inverse, center, solid):
    """First-order signed distance of a world point to part i, the outward unit normal, and the point in its frame."""
    x, y, z = px - center[i, 0], py - center[i, 1], pz - center[i, 2]
    qx = inverse[i, 0, 0] * x + inverse[i, 0, 1] * y + inverse[i, 0, 2] * z
    qy = inverse[i, 1, 0] * x + inverse[i, 1, 1] * y + inverse[i, 1, 2] * z
    qz = inverse[i, 2, 0] * x + inverse[i, 2, 1] * y + inverse[i, 2, 2] * z
    d, gx, gy, gz = _local_distance(qx, qy, qz, solid[i, 0], solid[i, 1], solid[i, 2])
    nx = inverse[i, 0, 0] * gx + inverse[i, 1, 0] * gy + inverse[i, 2, 0] * gz
    ny = inverse[i, 0, 1] * gx + inverse[i, 1, 1] * gy + inverse[i, 2, 1] * gz
    nz = inverse[i, 0, 2] * gx + inverse[i, 1, 2] * gy + inverse[i, 2, 2] * gz
    scale = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
    return d * scale, nx * scale, ny * scale, nz * scale, qx, qy, qz


@kernel
def inside_count(points, inverse, center, solid):
    """How many parts each point [N,3] is inside of, [N]; a point on a part's own surface does not count."""
    count = np.zeros(len(points), np.int64)
    for n in range(len(points)):
        for i in range(len(center)):
            d = distance(points[n, 0], points[n, 1], points[n, 2], i, inverse, center, solid)[0]
            count[n] += d < -1e-9
    return count


@kernel
def _halos(axes, center, solid):
    """Ball (x, y, z, squared radius) per part, [P,4], outside which the part has no say in colour or contact shade."""
    halos = np.empty((len(center), 4))
    for i in range(len(center)):
        widest, half = 0.0, 0.0
        for k in range(3):
            widest = max(widest, math.sqrt(axes[i, 0, k] ** 2 + axes[i, 1, k] ** 2 + axes[i, 2, k] ** 2))
            halos[i, k] = center[i, k] + 0.5 * solid[i, 2] * axes[i, k, 2]
            half += (0.5 * solid[i, 2] * axes[i, k, 2]) ** 2
        halos[i, 3] = (math.sqrt(half) + widest * max(solid[i, 0], solid[i, 1]) + CONTACT_WIDTH) ** 2
    return halos


@kernel
def _color(px, py, pz, part, halos, inverse, center, solid, blends, wear):
    """Colour of a surface point of a part: its own and its joint neighbours' coat and normal, blended, then lit."""
    axes, rest, kinds, stretch, coat = wear
    _, fx, fy, fz, _, _, _ = distance(px, py, pz, part, inverse, center, solid)
    red, green, blue, nx, ny, nz, total, open_sky = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
    for j in range(len(center)):
        x, y, z = px - halos[j, 0], py - halos[j, 1], pz - halos[j, 2]
        if x * x + y * y + z * z > halos[j, 3]:
            continue
        d, gx, gy, gz, qx, qy, qz = distance(px, py, pz, j, inverse, center, solid)
        if blends[part, j]:
            weight = 1.0 if j == part else max(0.0, 1.0 - max(d, 0.0) / BLEND_WIDTH)
            weight *= weight
            if weight > 0.0:
                rx = rest[j, 0] + axes[j, 0, 0] * qx + axes[j, 0, 1] * qy + axes[j, 0, 2] * qz
                ry = rest[j, 1] + axes[j, 1, 0] * qx + axes[j, 1, 1] * qy + axes[j, 1, 2] * qz
                rz = rest[j, 2] + axes[j, 2, 0] * qx + axes[j, 2, 1] * qy + axes[j, 2, 2] * qz
                along = stretch[j, 0] + (stretch[j, 1] - stretch[j, 0]) * qz
                r, g, b = _albedo(kinds[j], j, qx, qy, qz, rx, ry, rz, along, *coat)
                red, green, blue = red + weight * r, green + weight * g, blue + weight * b
                nx, ny, nz, total = nx + weight * gx, ny + weight * gy, nz + weight * gz, total + weight
        else:
            near = max(0.0, 1.0 - max(d, 0.0) / CONTACT_WIDTH)
            facing = 0.5 - 0.5 * (fx * gx + fy * gy + fz * gz)
            open_sky *= 1.0 - CONTACT_SHADE * near * near * facing
    norm = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
    lambert = max(0.0, (nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]) * norm)
    sky = 0.5 + 0.5 * nz * norm
    scale = open_sky / total
    return (
        min(1.0, red * scale * (SUN[0] * lambert + SKY[0] * sky + GROUND[0] * (1.0 - sky))),
        min(1.0, green * scale * (SUN[1] * lambert + SKY[1] * sky + GROUND[1] * (1.0 - sky))),
        min(1.0, blue * scale * (SUN[2] * lambert + SKY[2] * sky + GROUND[2] * (1.0 - sky))),
    )


@kernel
def shade(fragments, points, axes, inverse, center, solid, blends, wear, samples, w, h):
    """One image, uint8 [h,w,4], straight alpha, RGB 0 where alpha is 0, from what `raycast.cast` found.

    blends [P,P] says whose surfaces melt together; wear = (axes and center at rest, kinds [P], stretch [P,2], coat),
    with coat = (spots [P,S,4], their count [P], lattice, palette); `samples` is how many cover a whole pixel.
    """
    halos = _halos(axes, center, solid)
    total = np.zeros((h, w, 4))
    for f in range(len(points)):
        part, u, v, n = fragments[f, 0], fragments[f, 1], fragments[f, 2], fragments[f, 3]
        x, y, z = points[f, 0], points[f, 1], points[f, 2]
        r, g, b = _color(x, y, z, part, halos, inverse, center, solid, blends, wear)
        total[v, u, 0] += n * r
        total[v, u, 1] += n * g
        total[v, u, 2] += n * b
        total[v, u, 3] += n
    image = np.zeros((h, w, 4), np.uint8)
    for v in range(h):
        for u in range(w):
            if total[v, u, 3] > 0.0:
                for k in range(3):
                    image[v, u, k] = int(255.0 * total[v, u, k] / total[v, u, 3] + 0.5)
                image[v, u, 3] = int(255.0 * total[v, u, 3] / samples + 0.5)
    return image
