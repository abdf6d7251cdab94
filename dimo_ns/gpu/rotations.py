"""Rows of three and four numbers in Triton, and rotations by quaternions with their gradients."""

# Triton's language has no types that Python's checkers know.
# pyright: basic

import triton.language as tl

from .launch import kernel


@kernel
def load3(base, rows, mask):
    return (
        tl.load(base + 3 * rows, mask=mask, other=0.0),
        tl.load(base + 3 * rows + 1, mask=mask, other=0.0),
        tl.load(base + 3 * rows + 2, mask=mask, other=0.0),
    )


@kernel
def load4(base, rows, mask):
    return (
        tl.load(base + 4 * rows, mask=mask, other=0.0),
        tl.load(base + 4 * rows + 1, mask=mask, other=0.0),
        tl.load(base + 4 * rows + 2, mask=mask, other=0.0),
        tl.load(base + 4 * rows + 3, mask=mask, other=0.0),
    )


@kernel
def store3(base, rows, x, y, z, mask):
    tl.store(base + 3 * rows, x, mask=mask)
    tl.store(base + 3 * rows + 1, y, mask=mask)
    tl.store(base + 3 * rows + 2, z, mask=mask)


@kernel
def store4(base, rows, w, x, y, z, mask):
    tl.store(base + 4 * rows, w, mask=mask)
    tl.store(base + 4 * rows + 1, x, mask=mask)
    tl.store(base + 4 * rows + 2, y, mask=mask)
    tl.store(base + 4 * rows + 3, z, mask=mask)


@kernel
def cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@kernel
def rotate(w, x, y, z, dx, dy, dz):
    """R(q) d = d + 2 w (v x d) + 2 v x (v x d), what `quat_to_matrix` does, for quaternions of any length."""
    ux, uy, uz = cross(x, y, z, dx, dy, dz)
    px, py, pz = cross(x, y, z, ux, uy, uz)
    return dx + 2 * (w * ux + px), dy + 2 * (w * uy + py), dz + 2 * (w * uz + pz)


@kernel
def rotation_gradient(w, x, y, z, dx, dy, dz, gx, gy, gz):
    """The gradient of g . R(q) d with respect to q."""
    ux, uy, uz = cross(x, y, z, dx, dy, dz)
    cx, cy, cz = cross(dx, dy, dz, gx, gy, gz)
    vd, gv, gd = x * dx + y * dy + z * dz, x * gx + y * gy + z * gz, gx * dx + gy * dy + gz * dz
    return (
        2 * (gx * ux + gy * uy + gz * uz),
        2 * (w * cx + gx * vd + dx * gv - 2 * x * gd),
        2 * (w * cy + gy * vd + dy * gv - 2 * y * gd),
        2 * (w * cz + gz * vd + dz * gv - 2 * z * gd),
    )
