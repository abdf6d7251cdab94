"""Ray casting of the sample creature's parts in closed form: which part each pixel sees, where, and how much of it.

Every part is one solid, the hull of two spheres (radius ra at the origin, rb at height `length` on the local z axis),
seen through an affine map; with length 0 it is an ellipsoid. A ray keeps its parameter under an affine map, so a hit is
the root of a quadratic in the part's own frame. Rays have camera depth 1 per unit of t: a hit's t is its depth.

Compiled functions call none of another file here: numba's cache would not notice when that one changes.
"""

import math

import numpy as np

from dimo_ns.data.kernels import inlined, kernel

SAMPLES = 4
RAYS = SAMPLES * SAMPLES
"""Coverage is sampled SAMPLES x SAMPLES times per pixel."""


@inlined
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def _hit(dd, od, oo, dz, oz, ra, rb, length):
    """The first t at which the local ray o + t d, given by its products, enters the solid; inf where it misses."""
    best = np.inf
    if length > 0.0:
        slope = ra - rb
        lateral = length * length - slope * slope
        along_o, along_d = length * oz - ra * slope, length * dz
        k2 = lateral * dd - along_d * along_d
        k1 = lateral * od - along_d * along_o
        k0 = lateral * (oo - ra * ra) - along_o * along_o
        h = k1 * k1 - k0 * k2
        if h < 0.0:
            return best
        if abs(k2) > 1e-14:
            root = math.sqrt(h)
            for t in ((-k1 - root) / k2, (-k1 + root) / k2):
                if 0.0 < t < best and 0.0 < along_o + t * along_d < lateral:
                    best = t
        bd = od - length * dz
        h = bd * bd - dd * (oo - 2.0 * length * oz + length * length - rb * rb)
        if h > 0.0:
            t = (-bd - math.sqrt(h)) / dd
            if 0.0 < t < best:
                best = t
    h = od * od - dd * (oo - ra * ra)
    if h > 0.0:
        t = (-od - math.sqrt(h)) / dd
        if 0.0 < t < best:
            best = t
    return best


@kernel
def _screen_bounds(axes, center, solid, rotation, eye, focal, cx, cy):
    """Pixel box and nearest depth (x0, x1, y0, y1, near) of a part: exact, from the two ellipsoids whose hull it is."""
    x0, x1, y0, y1, near = np.inf, -np.inf, np.inf, -np.inf, np.inf
    for end in range(2):
        m = np.zeros((3, 4))
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    m[i, k] += rotation[j, i] * axes[j, k] * solid[end]
                m[i, 3] += rotation[j, i] * (center[j] + end * solid[2] * axes[j, 2] - eye[j])
        zz = _dot(m[2], m[2])
        near = min(near, -m[2, 3] - math.sqrt(zz))
        zz -= m[2, 3] ** 2
        for axis in range(2):
            aa = _dot(m[axis], m[axis]) - m[axis, 3] ** 2
            az = _dot(m[axis], m[2]) - m[axis, 3] * m[2, 3]
            root = math.sqrt(max(az * az - aa * zz, 0.0))
            low, high = min((az - root) / zz, (az + root) / zz), max((az - root) / zz, (az + root) / zz)
            if axis == 0:
                x0, x1 = min(x0, cx - focal * high), max(x1, cx - focal * low)
            else:
                y0, y1 = min(y0, cy + focal * low), max(y1, cy + focal * high)
    return x0, x1, y0, y1, near


@kernel
def _ray_products(inverse, center, rotation, eye):
    """For the camera's rays (x, y, -1) in a part's frame: |d|^2 as a quadratic in x and y (6 numbers), o.d and d_z as
    linear functions (3 each), |o|^2 and o_z."""
    o, d = np.zeros(3), np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            o[a] += inverse[a, b] * (eye[b] - center[b])
            for c in range(3):
                d[c, a] += inverse[a, b] * rotation[b, c]
    x, y, w = d[0], d[1], -d[2]
    out = np.empty(14)
    out[0], out[1], out[2] = _dot(x, x), 2.0 * _dot(x, y), 2.0 * _dot(x, w)
    out[3], out[4], out[5] = _dot(y, y), 2.0 * _dot(y, w), _dot(w, w)
    out[6], out[7], out[8] = _dot(o, x), _dot(o, y), _dot(o, w)
    out[9], out[10], out[11] = x[2], y[2], w[2]
    out[12], out[13] = _dot(o, o), o[2]
    return out


@kernel
def cast(axes, inverse, center, solid, camera, w, h):
    """What the camera sees: fragments (part, pixel (u, v), samples covered) int [F,4] and their points float [F,3].

    axes/inverse [P,3,3] and center [P,3] place the parts in the world; solid [P,3] = (ra, rb, length); camera =
    (c2w [4,4], focal, cx, cy). A fragment is a part in a pixel; its point is the mean of the samples' hits.
    """
    c2w, focal, cx, cy = camera
    rotation, eye = c2w[:3, :3], c2w[:3, 3]
    count = len(center)
    box, rays = np.empty((count, 5)), np.empty((count, 14))
    for i in range(count):
        box[i] = _screen_bounds(axes[i], center[i], solid[i], rotation, eye, focal, cx, cy)
        rays[i] = _ray_products(inverse[i], center[i], rotation, eye)
    front_to_back = np.argsort(box[:, 4])
    fragments, points, found = np.empty((w * h, 4), np.int64), np.empty((w * h, 3)), 0
    row, depth, seen = np.empty(count, np.int64), np.empty(RAYS), np.empty(RAYS, np.int64)
    xs, ys = np.empty(RAYS), np.empty(RAYS)
    for v in range(h):
        row_count, left, right = 0, float(w), 0.0
        for i in front_to_back:
            if box[i, 2] < v + 1 and box[i, 3] > v:
                row[row_count] = i
                row_count += 1
                left, right = min(left, box[i, 0]), max(right, box[i, 1])
        for u in range(max(0, int(left)), min(w, int(right) + 1)):
            farthest = np.inf
            for s in range(RAYS):
                seen[s], depth[s] = -1, np.inf
                xs[s] = (u + (s % SAMPLES + 0.5) / SAMPLES - cx) / focal
                ys[s] = (cy - v - (s // SAMPLES + 0.5) / SAMPLES) / focal
            for i in row[:row_count]:
                if box[i, 4] >= farthest:
                    break
                if box[i, 0] >= u + 1 or box[i, 1] <= u:
                    continue
                k, ra, rb, length = rays[i], solid[i, 0], solid[i, 1], solid[i, 2]
                for s in range(RAYS):
                    x, y = xs[s], ys[s]
                    dd = (k[0] * x + k[1] * y + k[2]) * x + (k[3] * y + k[4]) * y + k[5]
                    od = k[6] * x + k[7] * y + k[8]
                    dz = k[9] * x + k[10] * y + k[11]
                    t = _hit(dd, od, k[12], dz, k[13], ra, rb, length)
                    if t < depth[s]:
                        depth[s], seen[s] = t, i
                farthest = depth.max()
            for first in range(RAYS):
                part = seen[first]
                if part < 0:
                    continue
                x, y, z, n = 0.0, 0.0, 0.0, 0
                for s in range(first, RAYS):
                    if seen[s] == part:
                        x, y, z, n = x + depth[s] * xs[s], y + depth[s] * ys[s], z - depth[s], n + 1
                        seen[s] = -1
                if found == len(points):
                    fragments = np.concatenate((fragments, np.empty_like(fragments)))
                    points = np.concatenate((points, np.empty_like(points)))
                fragments[found, 0], fragments[found, 1], fragments[found, 2], fragments[found, 3] = part, u, v, n
                for a in range(3):
                    points[found, a] = eye[a] + (rotation[a, 0] * x + rotation[a, 1] * y + rotation[a, 2] * z) / n
                found += 1
    return fragments[:found], points[:found]


@kernel
def first_hits(points, eye, inverse, center, solid):
    """How far along the way from the eye to each point [N,3] the first part is hit, [N]: 1 where the point is seen."""
    hits, o, d = np.full(len(points), np.inf), np.empty(3), np.empty(3)
    for i in range(len(center)):
        for a in range(3):
            o[a] = _dot(inverse[i, a], eye - center[i])
        for n in range(len(points)):
            for a in range(3):
                d[a] = _dot(inverse[i, a], points[n]) - _dot(inverse[i, a], eye)
            t = _hit(_dot(d, d), _dot(o, d), _dot(o, o), d[2], o[2], solid[i, 0], solid[i, 1], solid[i, 2])
            hits[n] = min(hits[n], t)
    return hits
