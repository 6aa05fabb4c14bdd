"""The CPU rasteriser: project, sort by depth, bin into tiles, blend; and the way back.

Tiles of 32 x 32 px are independent, so both directions are parallel over tiles; gradients are gathered in one slot per
Gaussian and tile and summed in a fixed order, so the same input gives the same bytes with any number of threads.
The rows of a projected Gaussian are described in `strips`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import njit, prange

from mggdub.render import strips
from mggdub.render.strips import LANES, SUMS
from mggdub.types import Array

SHIFT = 5  # tiles of 32 px
TILE = 1 << SHIFT
ROW = 16  # floats of a projected Gaussian
BLUR = 0.3  # px², added to the projected covariance
NEAR = 0.01  # cm
MARGIN = 0.15  # of the picture's size, beyond which the projection is linearised at the border

PITCH = TILE + LANES
CHECK_EVERY = 63  # Gaussians between two looks whether a tile is full
_L2E = np.float32(1.4426950408889634)
_LOG2_ALPHA_MIN = np.float32(7.994353437)
# Intrinsics take a context that numba supplies, which a type checker cannot know.
add_strip: Any = strips.add_strip
gather_strip: Any = strips.gather_strip
prefetch: Any = strips.prefetch
_FAST: dict[str, Any] = {"fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"}, "cache": True, "boundscheck": False}
_F = np.float32


@njit(error_model="numpy", **_FAST)
def _rotation(w, x, y, z):  # type: ignore[no-untyped-def]
    s = _F(2) / (w * w + x * x + y * y + z * z)
    return (
        (_F(1) - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), _F(1) - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), _F(1) - s * (x * x + y * y)),
    )


@njit(parallel=True, error_model="numpy", **_FAST)
def project(means, quats, scales, opacities, colors, view, camera, width, height, rows, keys):  # type: ignore[no-untyped-def]
    """Fill rows [N, 16] and keys [N] (camera z, or -1 where nothing can be seen).

    view [3, 4] world to camera, camera [4] fx fy cx cy.
    """
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    right, left = (_F(width) - cx) / fx + _F(MARGIN) * _F(width) / fx, cx / fx + _F(MARGIN) * _F(width) / fx
    low, high = (_F(height) - cy) / fy + _F(MARGIN) * _F(height) / fy, cy / fy + _F(MARGIN) * _F(height) / fy
    one, half = _F(1), _F(0.5)
    for i in prange(means.shape[0]):
        keys[i] = _F(-1)
        px, py, pz = means[i, 0], means[i, 1], means[i, 2]
        x = view[0, 0] * px + view[0, 1] * py + view[0, 2] * pz + view[0, 3]
        y = view[1, 0] * px + view[1, 1] * py + view[1, 2] * pz + view[1, 3]
        z = view[2, 0] * px + view[2, 1] * py + view[2, 2] * pz + view[2, 3]
        opacity = opacities[i]
        if not (z > _F(NEAR) and opacity > _F(1 / 255) and z < _F(1e9)):
            continue
        inverse = one / z
        tx, ty = x * inverse, y * inverse
        u, v = fx * tx + cx, fy * ty + cy
        tx, ty = min(max(tx, -left), right), min(max(ty, -high), low)
        jx, jxz, jy, jyz = fx * inverse, -fx * tx * inverse, fy * inverse, -fy * ty * inverse
        r = _rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
        c00, c01, c11 = _F(BLUR), _F(0), _F(BLUR)
        for k in range(3):
            q0 = view[0, 0] * r[0][k] + view[0, 1] * r[1][k] + view[0, 2] * r[2][k]
            q1 = view[1, 0] * r[0][k] + view[1, 1] * r[1][k] + view[1, 2] * r[2][k]
            q2 = view[2, 0] * r[0][k] + view[2, 1] * r[1][k] + view[2, 2] * r[2][k]
            a = (jx * q0 + jxz * q2) * scales[i, k]
            b = (jy * q1 + jyz * q2) * scales[i, k]
            c00 += a * a
            c01 += a * b
            c11 += b * b
        determinant = c00 * c11 - c01 * c01
        bits = _F(math.log(opacity)) * _L2E
        reach = max(bits + _LOG2_ALPHA_MIN, _F(0)) * _F(2) / _L2E
        rx, ry = math.sqrt(reach * c00), math.sqrt(reach * c11)
        x0, x1 = max(math.ceil(u - rx - half), _F(0)), min(math.floor(u + rx - half) + one, _F(width))
        y0, y1 = max(math.ceil(v - ry - half), _F(0)), min(math.floor(v + ry - half) + one, _F(height))
        if not (x0 < x1 and y0 < y1 and determinant > _F(0) and determinant < _F(1e18)):
            continue
        scale = _L2E / determinant
        row = rows[i]
        row[0], row[1] = u, v
        row[2], row[3], row[4], row[5] = half * c11 * scale, -c01 * scale, half * c00 * scale, bits
        row[6], row[7], row[8], row[9] = colors[i, 0], colors[i, 1], colors[i, 2], z
        row[10], row[11], row[12], row[13] = x0, x1, y0, y1
        keys[i] = z


@njit(cache=True)
def sort_by_depth(keys, order):  # type: ignore[no-untyped-def]
    """Indices of the visible ones, near to far (radix sort on 22 bits of depth, stable); returns how many."""
    count = 0
    low, high = np.float32(1e30), np.float32(-1)
    for key in keys:
        if key > 0:
            low, high = min(low, key), max(high, key)
            count += 1
    scale = np.float32(4194303.0) / max(high - low, np.float32(1e-12))
    codes, indices = np.empty(count, np.uint32), np.empty(count, np.int32)
    first, second = np.zeros(2049, np.int64), np.zeros(2049, np.int64)
    m = 0
    for i in range(keys.shape[0]):
        if keys[i] > 0:
            code = np.uint32((keys[i] - low) * scale)
            codes[m], indices[m] = code, i
            first[(code & np.uint32(2047)) + 1] += 1
            second[(code >> np.uint32(11)) + 1] += 1
            m += 1
    for i in range(2048):
        first[i + 1] += first[i]
        second[i + 1] += second[i]
    half_codes, half_indices = np.empty(count, np.uint32), np.empty(count, np.int32)
    for i in range(count):
        bucket = codes[i] & np.uint32(2047)
        half_codes[first[bucket]], half_indices[first[bucket]] = codes[i], indices[i]
        first[bucket] += 1
    for i in range(count):
        bucket = half_codes[i] >> np.uint32(11)
        order[second[bucket]] = half_indices[i]
        second[bucket] += 1
    return count


@njit(parallel=True, cache=True, boundscheck=False)
def bin_tiles(count, rows, order, ordered, across, tiles, parts, offsets):  # type: ignore[no-untyped-def]
    """Copy rows into depth order and list, tile by tile, who touches it, near to far.

    Fills ordered [count, 16] and offsets [tiles + 1]; returns the lists, one behind the other. `parts` pieces are
    counted in parallel; the result does not depend on it.
    """
    cursor = np.zeros((parts, tiles), np.int32)
    for part in prange(parts):
        for i in range(count * part // parts, count * (part + 1) // parts):
            source, target = rows[order[i]], ordered[i]
            for c in range(ROW):
                target[c] = source[c]
            for ty in range(np.int64(source[12]) >> SHIFT, ((np.int64(source[13]) - 1) >> SHIFT) + 1):
                for tx in range(np.int64(source[10]) >> SHIFT, ((np.int64(source[11]) - 1) >> SHIFT) + 1):
                    cursor[part, ty * across + tx] += 1
    total = 0
    for tile in range(tiles):
        offsets[tile] = total
        for part in range(parts):
            here = cursor[part, tile]
            cursor[part, tile] = total
            total += here
    offsets[tiles] = total
    lists = np.empty(total, np.int32)
    for part in prange(parts):
        for i in range(count * part // parts, count * (part + 1) // parts):
            row = ordered[i]
            for ty in range(np.int64(row[12]) >> SHIFT, ((np.int64(row[13]) - 1) >> SHIFT) + 1):
                for tx in range(np.int64(row[10]) >> SHIFT, ((np.int64(row[11]) - 1) >> SHIFT) + 1):
                    lists[cursor[part, ty * across + tx]] = i
                    cursor[part, ty * across + tx] += 1
    return lists


@njit(cache=True, boundscheck=False)
def _is_full(buffer, base, channels, start):  # type: ignore[no-untyped-def]
    """First row from `start` on (cyclic) that still lets light through, or -1 if none does."""
    for step in range(TILE):
        y = (start + step) % TILE
        for x in range(TILE):
            if buffer[base + y * channels * PITCH + x] > np.float32(2e-4):
                return y
    return -1


@njit(parallel=True, error_model="numpy", **_FAST)
def blend(rows, lists, offsets, across, width, height, buffers, colors, alphas, depths):  # type: ignore[no-untyped-def]
    """rows [M * 16] in depth order -> colors [H, W, 3] premultiplied, alphas [H, W], depths [H, W]."""
    size = TILE * 5 * PITCH
    for tile in prange(offsets.shape[0] - 1):
        bx, by = (tile % across) * TILE, (tile // across) * TILE
        rows_here, columns_here = min(TILE, height - by), min(TILE, width - bx)
        start, end = offsets[tile], offsets[tile + 1]
        base = np.int64(numba.get_thread_id()) * size
        for y in range(TILE):
            for x in range(5 * PITCH):
                buffers[base + y * 5 * PITCH + x] = _F(1) if x < PITCH else _F(0)
        open_row = 0
        for k in range(start, end):
            if (k - start) & CHECK_EVERY == CHECK_EVERY:
                open_row = _is_full(buffers, base, 5, open_row)
                if open_row < 0:
                    break
            if k + 4 < end:
                prefetch(rows, np.int64(lists[k + 4]) * ROW)
            g = np.int64(lists[k]) * ROW
            x0, x1 = max(np.int64(rows[g + 10]) - bx, 0), min(np.int64(rows[g + 11]) - bx, TILE)
            y0, y1 = max(np.int64(rows[g + 12]) - by, 0), min(np.int64(rows[g + 13]) - by, TILE)
            for x in range(x0, x1, LANES):
                dx, dy = _F(bx + x) + _F(0.5) - rows[g], _F(by + y0) + _F(0.5) - rows[g + 1]
                add_strip(buffers, base, PITCH, y0, y1, x, dx, dy, _F(x1 - x), rows, g)
        for y in range(rows_here):
            o = base + y * 5 * PITCH
            for x in range(columns_here):
                for c in range(3):
                    colors[by + y, bx + x, c] = buffers[o + (c + 1) * PITCH + x]
                alphas[by + y, bx + x] = _F(1) - buffers[o + x]
                depths[by + y, bx + x] = buffers[o + 4 * PITCH + x]


@njit(parallel=True, error_model="numpy", **_FAST)
def gather(rows, lists, offsets, across, width, height, results, gradients, buffers, sums, slots):  # type: ignore[no-untyped-def]
    """Gradient sums of every Gaussian in every tile: slots [len(lists), 10].

    results and gradients [H, W, 5]: red, green, blue, depth, alpha.
    """
    size = TILE * 7 * PITCH
    for tile in prange(offsets.shape[0] - 1):
        start, end = offsets[tile], offsets[tile + 1]
        bx, by = (tile % across) * TILE, (tile // across) * TILE
        base = np.int64(numba.get_thread_id()) * size
        sums_at = np.int64(numba.get_thread_id()) * SUMS * LANES
        for i in range(size):
            buffers[base + i] = _F(0)
        for y in range(min(TILE, height - by)):
            for x in range(min(TILE, width - bx)):
                o = base + y * 7 * PITCH + x
                buffers[o] = _F(1)
                behind = _F(0)
                for c in range(5):
                    buffers[o + (c + 2) * PITCH] = gradients[by + y, bx + x, c]
                    behind += gradients[by + y, bx + x, c] * results[by + y, bx + x, c]
                buffers[o + PITCH] = behind
        open_row = 0
        for k in range(start, end):
            if open_row >= 0 and (k - start) & CHECK_EVERY == CHECK_EVERY:
                open_row = _is_full(buffers, base, 7, open_row)
            if open_row < 0:
                for c in range(SUMS):
                    slots[k, c] = _F(0)
                continue
            g = np.int64(lists[k]) * ROW
            x0, x1 = max(np.int64(rows[g + 10]) - bx, 0), min(np.int64(rows[g + 11]) - bx, TILE)
            y0, y1 = max(np.int64(rows[g + 12]) - by, 0), min(np.int64(rows[g + 13]) - by, TILE)
            for i in range(SUMS * LANES):
                sums[sums_at + i] = _F(0)
            for x in range(x0, x1, LANES):
                dx, dy = _F(bx + x) + _F(0.5) - rows[g], _F(by + y0) + _F(0.5) - rows[g + 1]
                gather_strip(buffers, base, PITCH, y0, y1, x, dx, dy, _F(x1 - x), rows, g, sums, sums_at)
            for c in range(SUMS):
                total = _F(0)
                for lane in range(LANES):
                    total += sums[sums_at + c * LANES + lane]
                slots[k, c] = total


@njit(cache=True, boundscheck=False)
def sum_slots(lists, slots, totals):  # type: ignore[no-untyped-def]
    """Add the slots [P, 10] of each Gaussian to totals [M, 10], in the order of the tiles."""
    for k in range(lists.shape[0]):
        i = lists[k]
        for c in range(SUMS):
            totals[i, c] += slots[k, c]


@njit(parallel=True, error_model="numpy", **_FAST)
def project_back(  # type: ignore[no-untyped-def]
    means, quats, scales, view, camera, width, height, order, count, rows, totals,
    g_means, g_quats, g_scales, g_opacities, g_colors,
):  # fmt: skip
    """Chain the sums of `gather` through the projection, into zeroed gradient arrays. rows [M, 16] in depth order."""
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    right, left = (_F(width) - cx) / fx + _F(MARGIN) * _F(width) / fx, cx / fx + _F(MARGIN) * _F(width) / fx
    low, high = (_F(height) - cy) / fy + _F(MARGIN) * _F(height) / fy, cy / fy + _F(MARGIN) * _F(height) / fy
    one, two, half = _F(1), _F(2), _F(0.5)
    for j in prange(count):
        i, row, s = order[j], rows[j], totals[j]
        # the conic (A, B, C) of exp(-A dx²/2 - B dx dy - C dy²/2), and the gradients of u, v and the conic
        A, B, C = two * row[2] / _L2E, row[3] / _L2E, two * row[4] / _L2E
        g_u, g_v = A * s[1] + B * s[2], B * s[1] + C * s[2]
        g_A, g_B, g_C = -half * s[3], -half * s[4], -half * s[5]
        # of the covariance: -Q G Q for the symmetric G = [[g_A, g_B], [g_B, g_C]]
        u0, u1, v0, v1 = A * g_A + B * g_B, A * g_B + B * g_C, B * g_A + C * g_B, B * g_B + C * g_C
        g00, g01, g11 = -(u0 * A + u1 * B), -two * (u0 * B + u1 * C), -(v0 * B + v1 * C)
        px, py, pz = means[i, 0], means[i, 1], means[i, 2]
        x = view[0, 0] * px + view[0, 1] * py + view[0, 2] * pz + view[0, 3]
        y = view[1, 0] * px + view[1, 1] * py + view[1, 2] * pz + view[1, 3]
        z = view[2, 0] * px + view[2, 1] * py + view[2, 2] * pz + view[2, 3]
        inverse = one / z
        tx, ty = x * inverse, y * inverse
        inside_x, inside_y = -left <= tx <= right, -high <= ty <= low
        clipped_x, clipped_y = min(max(tx, -left), right), min(max(ty, -high), low)
        jx, jxz, jy, jyz = fx * inverse, -fx * clipped_x * inverse, fy * inverse, -fy * clipped_y * inverse
        norm = one / math.sqrt(quats[i, 0] ** 2 + quats[i, 1] ** 2 + quats[i, 2] ** 2 + quats[i, 3] ** 2)
        qw, qx, qy, qz = quats[i, 0] * norm, quats[i, 1] * norm, quats[i, 2] * norm, quats[i, 3] * norm
        r = _rotation(qw, qx, qy, qz)
        d_jx, d_jxz, d_jy, d_jyz = _F(0), _F(0), _F(0), _F(0)
        d_w, d_x, d_y, d_z = _F(0), _F(0), _F(0), _F(0)
        for k in range(3):
            q0 = view[0, 0] * r[0][k] + view[0, 1] * r[1][k] + view[0, 2] * r[2][k]
            q1 = view[1, 0] * r[0][k] + view[1, 1] * r[1][k] + view[1, 2] * r[2][k]
            q2 = view[2, 0] * r[0][k] + view[2, 1] * r[1][k] + view[2, 2] * r[2][k]
            a, b = jx * q0 + jxz * q2, jy * q1 + jyz * q2  # before the scale
            scale = scales[i, k]
            g_a = (two * g00 * a + g01 * b) * scale
            g_b = (two * g11 * b + g01 * a) * scale
            g_scales[i, k] = g_a * a + g_b * b
            g_a *= scale
            g_b *= scale
            d_jx += g_a * q0
            d_jxz += g_a * q2
            d_jy += g_b * q1
            d_jyz += g_b * q2
            h0, h1, h2 = g_a * jx, g_b * jy, g_a * jxz + g_b * jyz  # of the rotated axis, in the camera
            r0 = view[0, 0] * h0 + view[1, 0] * h1 + view[2, 0] * h2
            r1 = view[0, 1] * h0 + view[1, 1] * h1 + view[2, 1] * h2
            r2 = view[0, 2] * h0 + view[1, 2] * h1 + view[2, 2] * h2
            if k == 0:
                d_w += qz * r1 - qy * r2
                d_x += qy * r1 + qz * r2
                d_y += -two * qy * r0 + qx * r1 - qw * r2
                d_z += -two * qz * r0 + qw * r1 + qx * r2
            elif k == 1:
                d_w += -qz * r0 + qx * r2
                d_x += qy * r0 - two * qx * r1 + qw * r2
                d_y += qx * r0 + qz * r2
                d_z += -qw * r0 - two * qz * r1 + qy * r2
            else:
                d_w += qy * r0 - qx * r1
                d_x += qz * r0 - qw * r1 - two * qx * r2
                d_y += qw * r0 + qz * r1 - two * qy * r2
                d_z += qx * r0 + qy * r1
        d_w, d_x, d_y, d_z = two * d_w, two * d_x, two * d_y, two * d_z
        along = qw * d_w + qx * d_x + qy * d_y + qz * d_z
        g_quats[i, 0], g_quats[i, 1] = (d_w - qw * along) * norm, (d_x - qx * along) * norm
        g_quats[i, 2], g_quats[i, 3] = (d_y - qy * along) * norm, (d_z - qz * along) * norm
        g_x, g_y = g_u * jx, g_v * jy
        g_z = s[9] - (g_u * jx * tx + g_v * jy * ty)
        g_z -= (d_jx * jx + d_jy * jy + d_jxz * jxz + d_jyz * jyz) * inverse
        if inside_x:
            g_x -= d_jxz * jx * inverse
            g_z += d_jxz * jx * tx * inverse
        if inside_y:
            g_y -= d_jyz * jy * inverse
            g_z += d_jyz * jy * ty * inverse
        for c in range(3):
            g_means[i, c] = view[0, c] * g_x + view[1, c] * g_y + view[2, c] * g_z
            g_colors[i, c] = s[6 + c]
        g_opacities[i] = s[0] / math.exp(row[5] / _L2E)


def workspace(tiles: int) -> tuple[Array, Array, int]:
    """Per-thread buffers of `blend`, zeroed tile offsets, and the number of threads."""
    threads = numba.get_num_threads()
    return np.empty(threads * TILE * 5 * PITCH + LANES, np.float32), np.zeros(tiles + 1, np.int64), threads
