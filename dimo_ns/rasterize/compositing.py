"""Front-to-back alpha compositing of tiles, forward and backward.

Pixels of a tile are held as blocks of 4 x LANES/4, one SIMD lane per pixel; per splat only the blocks that its
ellipse's box touches are visited. For the splats i = 1, 2, ... of a pixel, nearest first,

    alpha_i = min(o_i exp(-sigma_i), cap), 0 where below 1/255        sigma = (A dx^2 + 2 B dx dy + C dy^2) / 2
    w_i = T_i alpha_i,   T_{i+1} = T_i (1 - alpha_i)                   T_1 = 1, d = mean - pixel centre
    out = sum_i w_i c_i + T_end background,   alpha = 1 - T_end

and a pixel is done before the splat that would bring T to 1e-4 or below. A done pixel keeps its T negated.

Backward replays the same steps front to back, so T is the forward's to the bit, no per-pixel state needs storing, and
one scalar per pixel suffices. With q = dL/dout and v = dL/dalpha,

    R_i = sum_{j>i} w_j (c_j . q) + T_end (background . q - v)         R_0 = out . q - T_end v, R_i = R_{i-1} - w_i c_i.q
    dL/dalpha_i = T_i (c_i . q) - R_i / (1 - alpha_i)
    g_i = dL/dsigma_i = -alpha_i dL/dalpha_i                           0 where capped

and all gradients of a splat are sums over its pixels of w q (colours) and of g times 1, dx, dy, dx^2, dx dy, dy^2.
Each (tile, splat) entry stores its own sums; ``reduce_entries`` adds them up per Gaussian in a fixed order.
"""

import functools
from collections.abc import Callable

import numpy as np

from .jit import inlined, kernel
from .simd import (
    LANES,
    absolute,
    bits,
    broadcast,
    exp2_neg,
    get,
    keep,
    lane_x,
    lane_y,
    load,
    lowest_bit,
    minimum,
    minus_absolute,
    prefetch,
    put,
    select,
    stack,
    store,
    store_sums,
)
from .tiles import (
    CONIC_A,
    CONIC_B,
    CONIC_C,
    CUT,
    FEATURES,
    LOG2_E,
    LOG_OPACITY,
    MEAN_X,
    MEAN_Y,
    TILE,
    f32,
    touched,
)

BLOCK_W, BLOCK_H = 4, LANES // 4
BLOCK_COLUMNS, BLOCK_ROWS = TILE // BLOCK_W, TILE // BLOCK_H
BLOCKS = BLOCK_COLUMNS * BLOCK_ROWS
ALL_BLOCKS = 2**BLOCKS - 1
_OFFSETS = BLOCK_COLUMNS + BLOCK_ROWS
SUMS = 8  # of an entry, behind its colour sums: g, g dx, g dy, g dx^2, g dx dy, g dy^2, |.| of the two mean gradients
_STOP = f32(1e-4)
_AHEAD = 6  # entries to prefetch ahead
_TINY = f32(1e-10)  # floor of alpha under the expected depth


def padded_channels(channels: int) -> int:
    """Channel count that kernels are compiled for: few variants, and a multiple of four."""
    return next((n for n in (4, 8, 16) if channels <= n), -(-channels // 32) * 32)


def padded_sums(D: int) -> int:
    """Length of an entry's row of sums: D colours and SUMS more, in whole vectors."""
    return -(-(D + SUMS) // LANES) * LANES


@inlined
def _place(tile, columns, rows, width, height):
    """(image, x0, y0, pixel columns, pixel rows) of a tile."""
    image = tile // (columns * rows)
    x0 = (tile % columns) * TILE
    y0 = (tile % (columns * rows) // columns) * TILE
    return image, x0, y0, min(TILE, width - x0), min(TILE, height - y0)


@inlined
def _touched_blocks(mx, my, A, B, C, log_opacity):
    """The blocks of a tile that a splat reaches, one bit each; mx, my relative to the tile's first pixel centre."""
    word = 0
    for group in range(BLOCKS // LANES):
        dx = mx - lane_x() * f32(BLOCK_W)
        dy = (my - f32(group * LANES // 4 * BLOCK_H)) - lane_y() * f32(BLOCK_H)
        word |= bits(touched(dx, dy, BLOCK_W, BLOCK_H, A, B, C, CUT - log_opacity)) << (group * LANES)
    return word


@inlined
def _inside(block, cols, rows):
    """1 in the lanes of pixels inside the image, -1 (done from the start) elsewhere."""
    x = lane_x() + f32(block % BLOCK_COLUMNS * BLOCK_W)
    y = lane_y() + f32(block // BLOCK_COLUMNS * BLOCK_H)
    return select((x < f32(cols)) & (y < f32(rows)), broadcast(f32(1)), broadcast(f32(-1)))


@inlined
def _alive_blocks(state, per_block):
    word = 0
    for block in range(BLOCKS):
        word |= int(bits(get(state, block * per_block) > f32(0)) != 0) << block
    return word


@inlined
def _put_pixel_offsets(offsets):
    """Vectors of the lanes' x for every column of blocks, then of their y for every row, from the tile's first."""
    for column in range(BLOCK_COLUMNS):
        put(offsets, column, lane_x() + f32(column * BLOCK_W))
    for row in range(BLOCK_ROWS):
        put(offsets, BLOCK_COLUMNS + row, lane_y() + f32(row * BLOCK_H))


@functools.cache
def forward_kernel(D: int) -> Callable:
    """For D padded channels: (first tile, last tile, N, lists, image) -> out, alpha."""
    state_size = D + 1  # per block: T, colours
    total_size = BLOCKS * state_size

    @kernel
    def forward(
        start, stop, N, splats, starts, ranks, backgrounds, cap, expected, width, height, keep_blocks, out, alpha,
        blocks, ends,
    ):  # fmt: skip
        channels = out.shape[1]
        columns = (width + TILE - 1) // TILE
        rows_of_tiles = (height + TILE - 1) // TILE
        state = stack(total_size)
        offsets = stack(_OFFSETS)
        _put_pixel_offsets(offsets)
        pixels = np.empty((D + 1) * LANES, np.float32)
        max_alpha = broadcast(cap)
        for tile in range(start, stop):
            image, x0, y0, cols, rows = _place(tile, columns, rows_of_tiles, width, height)
            for block in range(BLOCKS):
                put(state, block * state_size, _inside(block, cols, rows))
                for c in range(1, state_size):
                    put(state, block * state_size + c, broadcast(f32(0)))
            centre_x = f32(x0) + f32(0.5)
            centre_y = f32(y0) + f32(0.5)
            base = image * N
            first = starts[tile]
            last = starts[tile + 1]
            end = last
            alive = ALL_BLOCKS
            for j in range(first, last):
                ahead = (base + ranks[min(j + _AHEAD, last - 1)]) * (FEATURES + D)
                prefetch(splats, ahead)
                prefetch(splats, ahead + FEATURES + D - 1)
                s = base + ranks[j]
                mx = splats[s, MEAN_X] - centre_x
                my = splats[s, MEAN_Y] - centre_y
                A = splats[s, CONIC_A]
                B = splats[s, CONIC_B]
                C = splats[s, CONIC_C]
                log_opacity = splats[s, LOG_OPACITY]
                word = _touched_blocks(mx, my, A, B, C, log_opacity) & alive
                if keep_blocks:
                    blocks[j] = word
                while word != 0:
                    block = lowest_bit(word)
                    word &= word - 1
                    at = block * state_size
                    dx = mx - get(offsets, block % BLOCK_COLUMNS)
                    dy = my - get(offsets, BLOCK_COLUMNS + block // BLOCK_COLUMNS)
                    q = (A * dx + B * dy) * dx + (C * dy * dy + log_opacity)
                    a = minimum(keep(q <= CUT, exp2_neg(q)), max_alpha)
                    T = get(state, at)
                    w = a * T
                    T_next = T - w
                    goes_on = T_next > _STOP
                    w = keep(goes_on, w)
                    put(state, at, select(goes_on, T_next, minus_absolute(T)))
                    for c in range(D):
                        put(state, at + 1 + c, get(state, at + 1 + c) + w * splats[s, FEATURES + c])
                if ((j - first) & 15) == 15:
                    alive = _alive_blocks(state, state_size)
                    if alive == 0:
                        end = j + 1
                        break
            ends[tile] = end
            for block in range(BLOCKS):
                T = absolute(get(state, block * state_size))
                store(pixels, D * LANES, T)
                for c in range(channels):
                    colour = get(state, block * state_size + 1 + c) + T * backgrounds[image, c]
                    store(pixels, c * LANES, colour)
                bx = block % BLOCK_COLUMNS * BLOCK_W
                by = block // BLOCK_COLUMNS * BLOCK_H
                for lane in range(LANES):
                    x = bx + lane % BLOCK_W
                    y = by + lane // BLOCK_W
                    if x < cols and y < rows:
                        p = (image * height + y0 + y) * width + x0 + x
                        alpha[p] = f32(1) - pixels[D * LANES + lane]
                        for c in range(channels):
                            out[p, c] = pixels[c * LANES + lane]
                        if expected:
                            out[p, channels - 1] /= max(alpha[p], _TINY)

    return forward


@functools.cache
def backward_kernel(D: int, absgrad: bool) -> Callable:
    """For D padded channels: image gradients -> ``sums`` [entries, D + SUMS]."""
    state_size = D + 2  # per block: T, remaining R, dL/dout
    total_size = BLOCKS * state_size
    row = padded_sums(D)

    @kernel
    def backward(
        start, stop, N, splats, starts, ranks, blocks, ends, cap, expected, width, height, out, alpha, v_out,
        v_alpha, sums,
    ):  # fmt: skip
        channels = out.shape[1]
        columns = (width + TILE - 1) // TILE
        rows_of_tiles = (height + TILE - 1) // TILE
        state = stack(total_size)
        offsets = stack(_OFFSETS)
        _put_pixel_offsets(offsets)
        v_colour = stack(D)
        pixels = np.zeros((D + 1) * LANES, np.float32)
        max_alpha = broadcast(cap)
        for tile in range(start, stop):
            first = starts[tile]
            last = starts[tile + 1]
            if first == last:
                continue
            image, x0, y0, cols, rows = _place(tile, columns, rows_of_tiles, width, height)
            for block in range(BLOCKS):
                bx = block % BLOCK_COLUMNS * BLOCK_W
                by = block // BLOCK_COLUMNS * BLOCK_H
                for lane in range(LANES):
                    x = bx + lane % BLOCK_W
                    y = by + lane // BLOCK_W
                    if x < cols and y < rows:
                        p = (image * height + y0 + y) * width + x0 + x
                        v_a = v_alpha[p]
                        remaining = f32(0)
                        for c in range(channels):
                            v = v_out[p, c]
                            remaining += v * out[p, c]
                            pixels[c * LANES + lane] = v
                        if expected:
                            # the last channel is depth / alpha: turn its gradient into that of the sum and of alpha
                            c = channels - 1
                            v = v_out[p, c] / max(alpha[p], _TINY)
                            pixels[c * LANES + lane] = v
                            if alpha[p] > _TINY:
                                v_a -= v * out[p, c]
                        pixels[D * LANES + lane] = remaining - (f32(1) - alpha[p]) * v_a
                at = block * state_size
                put(state, at, _inside(block, cols, rows))
                put(state, at + 1, load(pixels, D * LANES))
                for c in range(D):
                    put(state, at + 2 + c, load(pixels, c * LANES))
            centre_x = f32(x0) + f32(0.5)
            centre_y = f32(y0) + f32(0.5)
            base = image * N
            for j in range(first, ends[tile]):
                ahead = (base + ranks[min(j + _AHEAD, last - 1)]) * (FEATURES + D)
                prefetch(splats, ahead)
                prefetch(splats, ahead + FEATURES + D - 1)
                s = base + ranks[j]
                mx = splats[s, MEAN_X] - centre_x
                my = splats[s, MEAN_Y] - centre_y
                A = splats[s, CONIC_A]
                B = splats[s, CONIC_B]
                C = splats[s, CONIC_C]
                log_opacity = splats[s, LOG_OPACITY]
                zero = broadcast(f32(0))
                g_1 = zero
                g_x = zero
                g_y = zero
                g_xx = zero
                g_xy = zero
                g_yy = zero
                abs_x = zero
                abs_y = zero
                for c in range(D):
                    put(v_colour, c, zero)
                word = np.int64(blocks[j])
                while word != 0:
                    block = lowest_bit(word)
                    word &= word - 1
                    at = block * state_size
                    dx = mx - get(offsets, block % BLOCK_COLUMNS)
                    dy = my - get(offsets, BLOCK_COLUMNS + block // BLOCK_COLUMNS)
                    q = (A * dx + B * dy) * dx + (C * dy * dy + log_opacity)
                    raw = keep(q <= CUT, exp2_neg(q))
                    a = minimum(raw, max_alpha)
                    T = get(state, at)
                    w = a * T
                    T_next = T - w
                    goes_on = T_next > _STOP
                    w = keep(goes_on, w)
                    put(state, at, select(goes_on, T_next, minus_absolute(T)))
                    v = get(state, at + 2)
                    c_v = v * splats[s, FEATURES]
                    put(v_colour, 0, get(v_colour, 0) + w * v)
                    for c in range(1, D):
                        v = get(state, at + 2 + c)
                        c_v = c_v + v * splats[s, FEATURES + c]
                        put(v_colour, c, get(v_colour, c) + w * v)
                    w_cv = w * c_v
                    remaining = get(state, at + 1) - w_cv
                    put(state, at + 1, remaining)
                    g = keep(goes_on & (raw <= max_alpha), a * remaining / (f32(1) - a) - w_cv)
                    gx = g * dx
                    gy = g * dy
                    g_1 = g_1 + g
                    g_x = g_x + gx
                    g_y = g_y + gy
                    g_xx = g_xx + gx * dx
                    g_xy = g_xy + gx * dy
                    g_yy = g_yy + gy * dy
                    if absgrad:
                        abs_x = abs_x + absolute(gx * (f32(2) * A) + gy * B)
                        abs_y = abs_y + absolute(gx * B + gy * (f32(2) * C))
                for c in range(0, D, 4):
                    store_sums(
                        sums,
                        j * row + c,
                        get(v_colour, c),
                        get(v_colour, c + 1),
                        get(v_colour, c + 2),
                        get(v_colour, c + 3),
                    )
                store_sums(sums, j * row + D, g_1, g_x, g_y, g_xx)
                store_sums(sums, j * row + D + 4, g_xy, g_yy, abs_x, abs_y)
                for c in range(D + SUMS, row, 4):
                    store_sums(sums, j * row + c, zero, zero, zero, zero)
            sums[ends[tile] : last] = f32(0)

    return backward


@functools.cache
def reduce_kernel(D: int) -> Callable:
    row = padded_sums(D)
    vectors = row // LANES

    @kernel
    def reduce_entries(
        start, stop, N, order, visible, first, used, entries, sums, conics, opacities, op_images, with_depth,
        v_means2d, v_conics, v_opacities, v_colors, v_depths, absgrads,
    ):  # fmt: skip
        """Gradients of the Gaussians at ranks [start, stop) of all images laid end to end; others stay as they are."""
        channels = v_colors.shape[1]
        total = np.empty(row, np.float32)
        running = stack(vectors)
        last = len(entries) - 1
        for r in range(start, stop):
            image = r // N
            if r - image * N >= visible[image]:
                continue
            for v in range(vectors):
                put(running, v, broadcast(f32(0)))
            for e in range(first[r], first[r] + used[r]):
                prefetch(sums, entries[min(e + _AHEAD, last)] * row)
                at = entries[e] * row
                for v in range(vectors):
                    put(running, v, get(running, v) + load(sums, at + v * LANES))
            for v in range(vectors):
                store(total, v * LANES, get(running, v))
            n = order[r]
            k = image * N + n
            for c in range(channels):
                v_colors[k, c] = total[c]
            if with_depth:
                v_depths[k] = total[channels]
            A = conics[k, 0]
            B = conics[k, 1]
            C = conics[k, 2]
            v_opacities[k] = -total[D] / opacities[image // op_images, n]
            v_means2d[k, 0] = A * total[D + 1] + B * total[D + 2]
            v_means2d[k, 1] = B * total[D + 1] + C * total[D + 2]
            v_conics[k, 0] = f32(0.5) * total[D + 3]
            v_conics[k, 1] = total[D + 4]
            v_conics[k, 2] = f32(0.5) * total[D + 5]
            if len(absgrads) > 0:  # summed with the conic scaled by log2 e
                absgrads[k, 0] = total[D + 6] / LOG2_E
                absgrads[k, 1] = total[D + 7] / LOG2_E

    return reduce_entries
