"""The pixels of a tile as SIMD blocks: 4 x LANES/4 pixels each, a pixel per lane; and their way from and to images."""

# numba finds the types of kernels.
# pyright: basic

from .jit import inlined
from .simd import (
    LANES,
    absolute,
    bits,
    broadcast,
    get,
    get_lane,
    lane_x,
    lane_y,
    maximum,
    put,
    put_lane,
    select,
)
from .tiles import CONIC_A, CONIC_B, CONIC_C, CUT, LOG_OPACITY, MEAN_X, MEAN_Y, TILE, f32, touched

BLOCK_W, BLOCK_H = 4, LANES // 4
BLOCK_COLUMNS, BLOCK_ROWS = TILE // BLOCK_W, TILE // BLOCK_H
BLOCKS = BLOCK_COLUMNS * BLOCK_ROWS
ALL_BLOCKS = 2**BLOCKS - 1
OFFSETS = BLOCK_COLUMNS + BLOCK_ROWS  # vectors of ``put_pixel_offsets``
_TINY = f32(1e-10)  # floor of alpha under the expected depth


@inlined
def place(tile, columns, rows, width, height):
    """(image, x0, y0, pixel columns, pixel rows) of a tile."""
    image = tile // (columns * rows)
    x0 = (tile % columns) * TILE
    y0 = (tile % (columns * rows) // columns) * TILE
    return image, x0, y0, min(TILE, width - x0), min(TILE, height - y0)


@inlined
def touched_blocks(splats, s, centre_x, centre_y):
    """The blocks that splat s reaches, one bit each, in the tile with its first pixel centre there."""
    mx = splats[s, MEAN_X] - centre_x
    my = splats[s, MEAN_Y] - centre_y
    A = splats[s, CONIC_A]
    B = splats[s, CONIC_B]
    C = splats[s, CONIC_C]
    cut = CUT - splats[s, LOG_OPACITY]
    word = 0
    for group in range(BLOCKS // LANES):
        dx = mx - lane_x() * f32(BLOCK_W)
        dy = (my - f32(group * LANES // 4 * BLOCK_H)) - lane_y() * f32(BLOCK_H)
        word |= bits(touched(dx, dy, BLOCK_W, BLOCK_H, A, B, C, cut)) << (group * LANES)
    return word


@inlined
def inside(block, cols, rows):
    """1 in the lanes of pixels inside the image, -1 (done from the start) elsewhere."""
    x = lane_x() + f32(block % BLOCK_COLUMNS * BLOCK_W)
    y = lane_y() + f32(block // BLOCK_COLUMNS * BLOCK_H)
    return select((x < f32(cols)) & (y < f32(rows)), broadcast(f32(1)), broadcast(f32(-1)))


@inlined
def alive_blocks(state, per_block):
    word = 0
    for block in range(BLOCKS):
        word |= int(bits(get(state, block * per_block) > f32(0)) != 0) << block
    return word


@inlined
def put_pixel_offsets(offsets):
    """Vectors of the lanes' x for every column of blocks, then of their y for every row, from the tile's first."""
    for column in range(BLOCK_COLUMNS):
        put(offsets, column, lane_x() + f32(column * BLOCK_W))
    for row in range(BLOCK_ROWS):
        put(offsets, BLOCK_COLUMNS + row, lane_y() + f32(row * BLOCK_H))


@inlined
def write_image(state, D, image, x0, y0, cols, rows, width, height, backgrounds, expected, out, alpha):
    """The tile's pixels from the forward state; unrolled over D channels, of which the image may have fewer."""
    channels = out.shape[1]
    for block in range(BLOCKS):
        at = block * (D + 1)
        T = absolute(get(state, at))
        a = f32(1) - T
        put(state, at, a)
        for c in range(D):
            if c < channels:
                colour = get(state, at + 1 + c) + T * backgrounds[image, c]
                if expected and c == channels - 1:
                    colour = colour / maximum(a, broadcast(_TINY))
                put(state, at + 1 + c, colour)
    for block in range(BLOCKS):
        lane = block * (D + 1) * LANES
        x = block % BLOCK_COLUMNS * BLOCK_W
        y = block // BLOCK_COLUMNS * BLOCK_H
        for row in range(min(BLOCK_H, rows - y)):
            p = (image * height + y0 + y + row) * width + x0 + x
            for column in range(min(BLOCK_W, cols - x)):
                here = lane + row * BLOCK_W + column
                alpha[p + column] = get_lane(state, here)
                for c in range(D):
                    if c < channels:
                        out[p + column, c] = get_lane(state, here + (1 + c) * LANES)


@inlined
def read_gradients(state, D, image, x0, y0, cols, rows, width, height, expected, out, alpha, v_out, v_alpha):
    """The backward state of the tile's pixels: T = 1, R_0 and dL/dout; unrolled as in ``write_image``."""
    channels = out.shape[1]
    for block in range(BLOCKS):
        at = block * (D + 2)
        put(state, at, inside(block, cols, rows))
        for c in range(1, D + 2):
            put(state, at + c, broadcast(f32(0)))
        lane = at * LANES
        x = block % BLOCK_COLUMNS * BLOCK_W
        y = block // BLOCK_COLUMNS * BLOCK_H
        for row in range(min(BLOCK_H, rows - y)):
            start = (image * height + y0 + y + row) * width + x0 + x
            for column in range(min(BLOCK_W, cols - x)):
                p = start + column
                here = lane + row * BLOCK_W + column
                v_a = v_alpha[p]
                remaining = f32(0)
                for c in range(D):
                    if c < channels:
                        v = v_out[p, c]
                        remaining += v * out[p, c]
                        if expected and c == channels - 1:
                            # this channel is depth / alpha: its gradient is that of the sum and of alpha
                            v /= max(alpha[p], _TINY)
                            if alpha[p] > _TINY:
                                v_a -= v * out[p, c]
                        put_lane(state, here + (2 + c) * LANES, v)
                put_lane(state, here + LANES, remaining - (f32(1) - alpha[p]) * v_a)
