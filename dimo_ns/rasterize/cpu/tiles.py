"""Which Gaussians touch which tile of which image, nearest first.

A Gaussian is seen where its alpha, ``o exp(-sigma)``, reaches 1/255: inside the ellipse
``A dx^2 + 2 B dx dy + C dy^2 <= t`` with ``t = 2 ln(255 o)`` and conic (A, B, C). Five steps, each a kernel:

1. ``tile_boxes``   bounding box, in tiles, of the pixel centres inside every Gaussian's ellipse (empty: it drops out)
2. ``depth_order``  per image, the Gaussians that are left, nearest first (radix sort, stable); position = *rank*
3. ``list_tiles``   per rank, a *splat* record (below) and the tiles that the ellipse really touches: its *entries*
4. ``tile_offsets`` where the list of every tile starts, and where every chunk of ranks begins to write in it
5. ``fill_lists``   the lists of ranks, and for the backward pass the entry behind each place in them

Steps 3 and 5 run over chunks of ranks, so one image keeps all threads busy; lists do not depend on the chunks.

A splat record holds what compositing reads, in the order of rank: mean x and y; A', B', C' and ``-log2 o``, such that
``alpha = 2^-q`` with ``q = A' dx^2 + B' dx dy + C' dy^2 - log2 o``; then the features (colours, depth, zero padding).
"""

# numba finds the types of kernels.
# pyright: basic

import math
from typing import NamedTuple

import numpy as np

from .jit import inlined, kernel
from .pool import parallel_for, thread_count
from .simd import LANES, bits, broadcast, float_bits, lane_index, lowest_bit, maximum, minimum, prefetch

TILE = 16
MEAN_X, MEAN_Y, CONIC_A, CONIC_B, CONIC_C, LOG_OPACITY, FEATURES = range(7)

f32 = np.float32
LOG2_E = f32(1 / math.log(2))
ALPHA_MIN = f32(1 / 255)
CUT = f32(math.log2(255))
_SLACK = f32(1e-3)  # pixels, against rounding at the rim of an ellipse
_CUT_SLACK = f32(0.01)  # likewise, on the base-2 exponent
_FAR = f32(1e6)  # pixels; a mean further off than this has no digits left
_MIN_CHUNK, _BOX_GRAIN = 2048, 1024  # Gaussians that are worth a task


class TileLists(NamedTuple):
    """The result. I images, N Gaussians, F features, T tiles per image, E entries."""

    order: np.ndarray  # [I*N] Gaussian at each rank
    visible: np.ndarray  # [I] number of ranks in use
    splats: np.ndarray  # [I*N, FEATURES + F]
    starts: np.ndarray  # [I*T + 1] first position of every tile in ``ranks``
    ranks: np.ndarray  # [E] ranks, tile after tile
    sources: np.ndarray  # [E] the entry behind every position of ``ranks``; empty where no backward pass follows
    first: np.ndarray  # [I*N] first entry of each rank
    used: np.ndarray  # [I*N] entries of each rank
    room: int  # entries are numbered below this; not every number is used


@inlined
def _cutoff(opacity):
    return f32(2) * f32(math.log(opacity * f32(255)))


@inlined
def _first_pixel(edge):
    return int(math.ceil(max(edge - _SLACK, f32(-1)) - f32(0.5)))  # noqa: RUF046


@inlined
def _last_pixel(edge):
    return int(math.floor(min(edge + _SLACK, _FAR) - f32(0.5)))  # noqa: RUF046


@inlined
def touched(dx, dy, size_x, size_y, A, B, C, cut):
    """Which rectangles of pixel centres the ellipse q(x, y) = A x^2 + B x y + C y^2 <= cut reaches: a mask.

    dx, dy (vectors) lead from the first centre of each rectangle to the mean; sizes count its pixels. Of a rectangle
    that does not hold the mean, the point with the least q lies on one of the two sides that face the mean: take on
    each the point where q is least.
    """
    low_x = dx - f32(size_x - 1)
    low_y = dy - f32(size_y - 1)
    near_x = maximum(minimum(dx, broadcast(f32(0))), low_x)
    near_y = maximum(minimum(dy, broadcast(f32(0))), low_y)
    best_x = maximum(minimum(near_y * (f32(-0.5) * B / A), dx), low_x)
    best_y = maximum(minimum(near_x * (f32(-0.5) * B / C), dy), low_y)
    q_x = (A * near_x + B * best_y) * near_x + C * best_y * best_y
    q_y = (A * best_x + B * near_y) * best_x + C * near_y * near_y
    return minimum(q_x, q_y) <= cut + _CUT_SLACK


@kernel
def tile_boxes(start, stop, N, means2d, conics, radii, opacities, op_images, features, ft_images, width, height, boxes):
    """boxes[k] = first and last tile column, then row, ends exclusive, of Gaussian k = image * N + n."""
    for k in range(start, stop):
        for side in range(4):
            boxes[k, side] = 0
        if radii[k, 0] <= 0 or radii[k, 1] <= 0:
            continue
        image = k // N
        n = k % N
        o = opacities[image // op_images, n]
        mx = means2d[k, 0]
        my = means2d[k, 1]
        A = conics[k, 0]
        B = conics[k, 1]
        C = conics[k, 2]
        det = A * C - B * B
        total = f32(0)
        for d in range(features.shape[2]):
            total += features[image // ft_images, n, d]
        # NaN fails every comparison
        if not (o >= ALPHA_MIN and o < _FAR and det > f32(0) and abs(mx) < _FAR and abs(my) < _FAR):
            continue
        if not abs(total) < f32(np.inf):
            continue
        t = _cutoff(o)
        ex = f32(math.sqrt(t * C / det))
        ey = f32(math.sqrt(t * A / det))
        x0 = max(_first_pixel(mx - ex), 0)
        x1 = min(_last_pixel(mx + ex), width - 1)
        y0 = max(_first_pixel(my - ey), 0)
        y1 = min(_last_pixel(my + ey), height - 1)
        if x1 >= x0 and y1 >= y0:
            boxes[k, 0] = x0 // TILE
            boxes[k, 1] = x1 // TILE + 1
            boxes[k, 2] = y0 // TILE
            boxes[k, 3] = y1 // TILE + 1


@kernel
def depth_order(start, stop, N, depths, boxes, order, visible, room, first):
    """Sort each image's visible Gaussians by depth; first[r] = room that the boxes of ranks before r may take."""
    keys = np.empty(N, np.uint32)
    keys_next = np.empty(N, np.uint32)
    ids = np.empty(N, np.int32)
    ids_next = np.empty(N, np.int32)
    histogram = np.empty((3, 2048), np.uint32)
    digit = np.uint32(2047)
    for image in range(start, stop):
        base = image * N
        histogram[:] = 0
        count = 0
        for n in range(N):
            if boxes[base + n, 1] > 0:
                key = np.uint32(float_bits(depths[base + n]))
                keys[count] = key
                ids[count] = n
                count += 1
                histogram[0, key & digit] += np.uint32(1)
                histogram[1, (key >> np.uint32(11)) & digit] += np.uint32(1)
                histogram[2, key >> np.uint32(22)] += np.uint32(1)
        for turn in range(3):
            total = np.uint32(0)
            for value in range(2048):
                here = histogram[turn, value]
                histogram[turn, value] = total
                total += here
        for turn in range(3):
            shift = np.uint32(11 * turn)
            for j in range(count):
                value = (keys[j] >> shift) & digit
                to = histogram[turn, value]
                histogram[turn, value] = to + np.uint32(1)
                keys_next[to] = keys[j]
                ids_next[to] = ids[j]
            keys, keys_next = keys_next, keys
            ids, ids_next = ids_next, ids
        total_room = 0
        for rank in range(count):
            k = base + ids[rank]
            order[base + rank] = ids[rank]
            first[base + rank] = total_room
            total_room += (boxes[k, 1] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 2])
        visible[image] = count
        room[image] = total_room


@inlined
def _chunk(task, chunks, N, visible):
    """(image, first rank, last rank) of a task; every image is cut into equal chunks of ranks."""
    image = task // chunks
    part = task % chunks
    size = (visible[image] + chunks - 1) // chunks
    return image, min(part * size, visible[image]), min((part + 1) * size, visible[image])


@kernel
def list_tiles(
    start, stop, chunks, N, order, visible, boxes, means2d, conics, depths, opacities, op_images, features, ft_images,
    with_depth, columns, splats, first, room_start, used, entries, counts,
):  # fmt: skip
    n_features = features.shape[2]
    for task in range(start, stop):
        image, rank0, rank1 = _chunk(task, chunks, N, visible)
        counts[task, :] = 0
        for rank in range(rank0, rank1):
            r = image * N + rank
            ahead = image * N + order[min(r + 8, image * N + rank1 - 1)]
            prefetch(means2d, ahead * 2)
            prefetch(conics, ahead * 3)
            prefetch(boxes, ahead * 4)
            n = order[r]
            k = image * N + n
            mx = means2d[k, 0]
            my = means2d[k, 1]
            A = conics[k, 0]
            B = conics[k, 1]
            C = conics[k, 2]
            o = opacities[image // op_images, n]
            scaled_A = f32(0.5) * LOG2_E * A
            scaled_B = LOG2_E * B
            scaled_C = f32(0.5) * LOG2_E * C
            log_opacity = -f32(math.log2(o))
            splats[r, MEAN_X] = mx
            splats[r, MEAN_Y] = my
            splats[r, CONIC_A] = scaled_A
            splats[r, CONIC_B] = scaled_B
            splats[r, CONIC_C] = scaled_C
            splats[r, LOG_OPACITY] = log_opacity
            for d in range(n_features):
                splats[r, FEATURES + d] = features[image // ft_images, n, d]
            for d in range(FEATURES + n_features, splats.shape[1]):
                splats[r, d] = f32(0)
            if with_depth:
                splats[r, FEATURES + n_features] = depths[k]

            gx0 = boxes[k, 0]
            gx1 = boxes[k, 1]
            gy0 = boxes[k, 2]
            gy1 = boxes[k, 3]
            first[r] += room_start[image]
            entry = first[r]
            for gy in range(gy0, gy1):
                for gx in range(gx0, gx1, LANES):
                    dx = (mx - f32(gx * TILE) - f32(0.5)) - lane_index() * f32(TILE)
                    dy = broadcast(my - f32(gy * TILE) - f32(0.5))
                    word = bits(touched(dx, dy, TILE, TILE, scaled_A, scaled_B, scaled_C, CUT - log_opacity))
                    word &= (1 << min(gx1 - gx, LANES)) - 1
                    while word != 0:
                        tile = gy * columns + gx + lowest_bit(word)
                        word &= word - 1
                        counts[task, tile] += 1
                        entries[entry] = tile
                        entry += 1
            used[r] = entry - first[r]


@kernel
def tile_offsets(images, chunks, counts, starts):
    """starts = exclusive prefix sum over (image, tile); counts become the place where each chunk starts writing."""
    tiles = counts.shape[1]
    total = 0
    for image in range(images):
        for tile in range(tiles):
            starts[image * tiles + tile] = total
            for task in range(image * chunks, (image + 1) * chunks):
                here = counts[task, tile]
                counts[task, tile] = total
                total += here
    starts[images * tiles] = total


@kernel
def fill_lists(start, stop, chunks, N, visible, first, used, entries, counts, ranks, sources):
    for task in range(start, stop):
        image, rank0, rank1 = _chunk(task, chunks, N, visible)
        for rank in range(rank0, rank1):
            r = image * N + rank
            for e in range(first[r], first[r] + used[r]):
                tile = entries[e]
                place = counts[task, tile]
                counts[task, tile] = place + 1
                ranks[place] = rank
                if len(sources) > 0:
                    sources[place] = e


def images_per_row(rows: np.ndarray, images: int) -> int:
    """How many consecutive images share a row of an input that does not differ between all of them."""
    return max(images // max(len(rows), 1), 1)


def build(
    means2d: np.ndarray,
    conics: np.ndarray,
    depths: np.ndarray,
    radii: np.ndarray,
    opacities: np.ndarray,
    features: np.ndarray,
    with_depth: bool,
    padded: int,
    width: int,
    height: int,
    keep_sources: bool,
) -> TileLists:
    """Tile lists and splat records of I images of N Gaussians.

    means2d [I, N, 2], conics [I, N, 3], depths [I, N], radii [I, N, 2]; opacities [J, N] and features [J, N, F] where
    J divides I (rows shared by consecutive images). Records get ``padded`` features: F, the depth if asked for, zeros.
    """
    images, N = depths.shape
    columns, rows = -(-width // TILE), -(-height // TILE)
    chunks = 1 if thread_count() == 1 else max(1, min(4 * thread_count() // max(images, 1), N // _MIN_CHUNK))
    means2d, conics, depths = means2d.reshape(images * N, 2), conics.reshape(images * N, 3), depths.reshape(images * N)
    shared = (opacities, images_per_row(opacities, images), features, images_per_row(features, images))

    boxes = np.empty((images * N, 4), np.int32)
    parallel_for(
        tile_boxes, images * N, N, means2d, conics, radii.reshape(images * N, 2), *shared, width, height, boxes,
        grain=_BOX_GRAIN,
    )  # fmt: skip
    order, visible, room = np.empty(images * N, np.int32), np.empty(images, np.int64), np.empty(images, np.int64)
    first, used = np.empty(images * N, np.int64), np.empty(images * N, np.int32)
    parallel_for(depth_order, images, N, depths, boxes, order, visible, room, first)

    room_start = np.cumsum(room) - room
    splats = np.empty((images * N, FEATURES + padded), np.float32)
    entries = np.empty(int(room.sum()), np.int32)
    counts = np.empty((images * chunks, columns * rows), np.int64)
    parallel_for(
        list_tiles, images * chunks, chunks, N, order, visible, boxes, means2d, conics, depths, *shared, with_depth,
        columns, splats, first, room_start, used, entries, counts,
    )  # fmt: skip
    starts = np.empty(images * columns * rows + 1, np.int64)
    tile_offsets(images, chunks, counts, starts)
    ranks = np.empty(int(starts[-1]), np.int32)
    sources = np.empty(len(ranks) if keep_sources else 0, np.uint32)
    parallel_for(fill_lists, images * chunks, chunks, N, visible, first, used, entries, counts, ranks, sources)
    return TileLists(order, visible, splats, starts, ranks, sources, first, used, len(entries))
