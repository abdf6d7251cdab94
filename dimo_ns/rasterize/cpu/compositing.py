"""Front-to-back alpha compositing of tiles, forward and backward.

Pixels of a tile are held as blocks of 4 x LANES/4, one SIMD lane per pixel; per splat only the blocks that its
ellipse reaches are visited. For the splats i = 1, 2, ... of a pixel, nearest first,

    alpha_i = min(o_i exp(-sigma_i), cap), 0 where below 1/255        sigma = (A dx^2 + 2 B dx dy + C dy^2) / 2
    w_i = T_i alpha_i,   T_{i+1} = T_i (1 - alpha_i)                   T_1 = 1, d = mean - pixel centre
    out = sum_i w_i c_i + T_end background,   alpha = 1 - T_end

and a pixel is done before the splat that would bring T to 1e-4 or below. A done pixel keeps its T negated.

Backward replays the same steps front to back, so T is the forward's to the bit, no per-pixel state needs storing, and
one scalar per pixel suffices. With q = dL/dout and v = dL/dalpha,

    R_i = sum_{j>i} w_j (c_j . q) + T_end (background . q - v)         R_0 = out . q - T_end v
    dL/dalpha_i = T_i (c_i . q) - R_i / (1 - alpha_i)
    g_i = dL/dsigma_i = -alpha_i dL/dalpha_i                           0 where capped

and all gradients of a splat are sums over its pixels of w q (colours) and of g times 1, dx, dy, dx^2, dx dy, dy^2.
Each (tile, splat) entry stores its own sums; ``reduce_entries`` adds them up per Gaussian in a fixed order.
"""

# numba finds the types of kernels.
# pyright: basic

import functools
from collections.abc import Callable

import numpy as np

from .blocks import (
    ALL_BLOCKS,
    BLOCK_COLUMNS,
    BLOCKS,
    OFFSETS,
    alive_blocks,
    inside,
    place,
    put_pixel_offsets,
    read_gradients,
    touched_blocks,
    write_image,
)
from .jit import kernel
from .simd import (
    LANES,
    absolute,
    broadcast,
    exp2_neg,
    get,
    get_lane,
    keep,
    load,
    lowest_bit,
    minimum,
    minus_absolute,
    prefetch,
    put,
    select,
    stack,
    store_sums,
)
from .tiles import CONIC_A, CONIC_B, CONIC_C, CUT, FEATURES, LOG2_E, LOG_OPACITY, MEAN_X, MEAN_Y, TILE, f32

SUMS = 8  # of an entry, behind its colour sums: g, g dx, g dy, g dx^2, g dx dy, g dy^2, |.| of the two mean gradients
_STOP = f32(1e-4)
_BATCH = 16  # splats between two looks at which blocks are done
_AHEAD = 6  # splats to prefetch ahead


def padded_channels(channels: int) -> int:
    """Channel count that kernels are compiled for: few variants, and a multiple of four."""
    return next((n for n in (4, 8, 16) if channels <= n), -(-channels // 32) * 32)


def padded_sums(D: int) -> int:
    """Length of an entry's row of sums: D colours and SUMS more, in whole vectors."""
    return -(-(D + SUMS) // LANES) * LANES


@functools.cache
def forward_kernel(D: int) -> Callable:
    """For D padded channels: (first tile, last tile, N, lists, image) -> out, alpha."""
    state_size = D + 1  # per block: T, colours
    total_size = BLOCKS * state_size

    @kernel
    def forward(
        start, stop, N, splats, starts, ranks, backgrounds, cap, expected, width, height, out, alpha, blocks, ends,
    ):  # fmt: skip
        columns = (width + TILE - 1) // TILE
        rows_of_tiles = (height + TILE - 1) // TILE
        state = stack(total_size)
        offsets = stack(OFFSETS)
        put_pixel_offsets(offsets)
        words = np.empty(_BATCH, np.int64)
        max_alpha = broadcast(cap)
        for tile in range(start, stop):
            image, x0, y0, cols, rows = place(tile, columns, rows_of_tiles, width, height)
            for block in range(BLOCKS):
                put(state, block * state_size, inside(block, cols, rows))
                for c in range(1, state_size):
                    put(state, block * state_size + c, broadcast(f32(0)))
            centre_x = f32(x0) + f32(0.5)
            centre_y = f32(y0) + f32(0.5)
            base = image * N
            first = starts[tile]
            last = starts[tile + 1]
            end = last
            alive = ALL_BLOCKS
            # In batches: where a splat's blocks are known early, the loop over them is predicted in time
            for batch in range(first, last, _BATCH):
                batch_end = min(batch + _BATCH, last)
                for j in range(batch, batch_end):
                    ahead = (base + ranks[min(j + _BATCH, last - 1)]) * (FEATURES + D)
                    prefetch(splats, ahead)
                    prefetch(splats, ahead + FEATURES + D - 1)
                    words[j - batch] = touched_blocks(splats, base + ranks[j], centre_x, centre_y) & alive
                for j in range(batch, batch_end):
                    s = base + ranks[j]
                    mx = splats[s, MEAN_X] - centre_x
                    my = splats[s, MEAN_Y] - centre_y
                    A = splats[s, CONIC_A]
                    B = splats[s, CONIC_B]
                    C = splats[s, CONIC_C]
                    log_opacity = splats[s, LOG_OPACITY]
                    word = words[j - batch]
                    if len(blocks) > 0:
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
                alive = alive_blocks(state, state_size)
                if alive == 0:
                    end = batch_end
                    break
            ends[tile] = end
            write_image(state, D, image, x0, y0, cols, rows, width, height, backgrounds, expected, out, alpha)

    return forward


@functools.cache
def backward_kernel(D: int, absgrad: bool) -> Callable:
    """For D padded channels: image gradients -> ``sums`` [entries, D + SUMS]."""
    state_size = D + 2  # per block: T, remaining R, dL/dout
    total_size = BLOCKS * state_size
    row = padded_sums(D)

    @kernel
    def backward(
        start, stop, N, splats, starts, ranks, sources, blocks, ends, cap, expected, width, height, out, alpha, v_out,
        v_alpha, sums,
    ):  # fmt: skip
        columns = (width + TILE - 1) // TILE
        rows_of_tiles = (height + TILE - 1) // TILE
        state = stack(total_size)
        offsets = stack(OFFSETS)
        put_pixel_offsets(offsets)
        v_colour = stack(D)
        max_alpha = broadcast(cap)
        for tile in range(start, stop):
            first = starts[tile]
            last = starts[tile + 1]
            if first == last:
                continue
            image, x0, y0, cols, rows = place(tile, columns, rows_of_tiles, width, height)
            read_gradients(state, D, image, x0, y0, cols, rows, width, height, expected, out, alpha, v_out, v_alpha)
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
                to = np.int64(sources[j]) * row
                for c in range(0, D, 4):
                    store_sums(
                        sums,
                        to + c,
                        get(v_colour, c),
                        get(v_colour, c + 1),
                        get(v_colour, c + 2),
                        get(v_colour, c + 3),
                    )
                store_sums(sums, to + D, g_1, g_x, g_y, g_xx)
                store_sums(sums, to + D + 4, g_xy, g_yy, abs_x, abs_y)
                for c in range(D + SUMS, row, 4):
                    store_sums(sums, to + c, zero, zero, zero, zero)
            for j in range(ends[tile], last):
                sums[sources[j], :] = f32(0)

    return backward


@functools.cache
def reduce_kernel(D: int) -> Callable:
    row = padded_sums(D)
    vectors = row // LANES

    @kernel
    def reduce_entries(
        start, stop, N, order, visible, first, used, sums, conics, opacities, op_images, with_depth, with_absgrad,
        v_means2d, v_conics, v_depths, v_opacities, v_colors, absgrads,
    ):  # fmt: skip
        """Gradients of the Gaussians at ranks [start, stop) of all images laid end to end; others stay as they are."""
        channels = v_colors.shape[1]
        total = stack(vectors)
        for r in range(start, stop):
            image = r // N
            if r - image * N >= visible[image]:
                continue
            for v in range(vectors):
                put(total, v, broadcast(f32(0)))
            for e in range(first[r], first[r] + used[r]):
                for v in range(vectors):
                    put(total, v, get(total, v) + load(sums, e * row + v * LANES))
            n = order[r]
            k = image * N + n
            for c in range(channels):
                v_colors[k, c] = get_lane(total, c)
            if with_depth:
                v_depths[k] = get_lane(total, channels)
            A = conics[k, 0]
            B = conics[k, 1]
            C = conics[k, 2]
            v_opacities[k] = -get_lane(total, D) / opacities[image // op_images, n]
            v_means2d[k, 0] = A * get_lane(total, D + 1) + B * get_lane(total, D + 2)
            v_means2d[k, 1] = B * get_lane(total, D + 1) + C * get_lane(total, D + 2)
            v_conics[k, 0] = f32(0.5) * get_lane(total, D + 3)
            v_conics[k, 1] = get_lane(total, D + 4)
            v_conics[k, 2] = f32(0.5) * get_lane(total, D + 5)
            if with_absgrad:  # summed with the conic scaled by log2 e
                absgrads[k, 0] = get_lane(total, D + 6) / LOG2_E
                absgrads[k, 1] = get_lane(total, D + 7) / LOG2_E

    return reduce_entries
