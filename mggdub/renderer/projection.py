"""Gaussians on their way to the picture: where each lies in it and how wide it is, forward and backward.

A projected Gaussian is a row of 16 floats: u, v, a, b, c, log2 opacity, red, green, blue, z, x0, x1, y0, y1, -, -;
its exponent in base 2 at (dx, dy) from (u, v) is l - a dx² - b dx dy - c dy². Where splats carry a place of the photo,
1 stands for z in those that have one, and the last two floats are how far it lies from (u, v), px.
"""

# ruff: noqa: ARG001 (an intrinsic names its arguments only so that numba can count them)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types

from mggdub.compiled import compiled
from mggdub.renderer.lanes import I32, I64, MATH, Lanes, array_data, intrinsic, store

# gsplat 1.5.3's constants.
BLUR = 0.3  # px², added to the diagonal of the 2-D covariance
ALPHA_MIN = 1 / 255  # weaker contributions are skipped
NEAR = 0.01
CLAMP = 0.15  # of the picture's size: how far outside of it the projection is still linearised where it is
GROUP, PART = 16, 512  # Gaussians that are projected at once, and by one thread in a row
TILE = 32  # px
ROW = 16  # floats of a projected Gaussian
SUMS = 10  # of dp · (1, dx, dy, dx², dx dy, dy²), red, green, blue, z
LOG2_ALPHA_MIN = float(np.log2(ALPHA_MIN))
_LN2 = np.float32(np.log(2.0))
f4 = np.float32


def kernel(parallel: bool) -> Callable[[Any], Any]:
    """A compiled function."""
    options: dict[str, Any] = {"parallel": parallel, "fastmath": set(MATH), "error_model": "numpy"}

    return compiled(**options)


def _log2(x: Lanes) -> Lanes:
    """Of normal positive numbers, within 5e-7; what else there is gives something finite."""
    builder, kind = x.builder, x.value.type
    whole = ir.VectorType(I32, kind.count)

    def all_lanes(value: int) -> Any:
        return ir.Constant(whole, [value] * kind.count)

    bits = builder.bitcast(x.value, whole)
    exponent = builder.sub(builder.ashr(bits, all_lanes(23)), all_lanes(127))
    fraction = builder.or_(builder.and_(bits, all_lanes(0x7FFFFF)), all_lanes(0x3F800000))
    part = Lanes(builder, builder.bitcast(fraction, kind))  # 1..2
    large = part.compare(">", 2**0.5)
    one = Lanes(builder, ir.Constant(kind, [1.0] * kind.count)).where(large)
    part = (part * 0.5).where(large, part)
    t = (part - 1.0) / (part + 1.0)
    square = t * t
    series = square * 0.32059890 + 0.41219858  # 2 / ln 2 artanh t
    for factor in (0.57707802, 0.96179669, 2.88539008):
        series = series * square + factor
    return Lanes(builder, builder.sitofp(exponent, kind)) + one + series * t


class _Projection:
    """A group of Gaussians, a lane each, to the picture: the formulas of `_rotation` and `_view`, and what follows."""

    def __init__(self, inputs: list[Lanes], camera: list[Lanes], size: list[Lanes]) -> None:
        *self.mean, self.w, self.x, self.y, self.z = inputs[:7]
        self.scales, self.opacity, self.camera, self.size = inputs[7:10], inputs[10], camera, size

    def rows(self) -> list[Lanes]:
        """u, v, a, b, c, log2 opacity, x0, x1, y0, y1, and z of what is drawn, else -1."""
        depth, center, across, down = self._view()
        (a, b), strength = (self._spread(row) for row in (across, down)), _log2(self.opacity)
        c00, c01, c11 = (_dot(*pair) + more for pair, more in (((a, a), BLUR), ((a, b), 0.0), ((b, b), BLUR)))
        inverse = (c00 * c11 - c01 * c01).inverse() * (1 / float(_LN2))
        reach = (strength - LOG2_ALPHA_MIN).maximum(0.0) * (2 * float(_LN2))  # squared, in standard deviations
        drawn, edges = depth.compare(">=", NEAR), list[Lanes]()
        for at, spread, size in zip(center, (c00, c11), self.size, strict=True):
            radius = (reach * spread).function("sqrt")
            first = (at - radius - 0.5).function("ceil").maximum(0.0)
            last = ((at + radius - 0.5).function("floor") + 1.0).minimum(size)
            drawn = self.opacity.builder.and_(drawn, first.compare("<", last))
            edges += [first, last]
        drawn = self.opacity.builder.and_(drawn, self.opacity.compare(">=", ALPHA_MIN))
        return [*center, c11 * inverse * 0.5, c01 * inverse * -1.0, c00 * inverse * 0.5, strength, *edges,
                depth.where(drawn, -1.0)]  # fmt: skip

    def _view(self) -> tuple[Lanes, list[Lanes], list[Lanes], list[Lanes]]:
        """Camera z, the centre [2], and how it moves across and down [3] with the mean."""
        c = self.camera
        X, Y, Z = (_dot(self.mean, c[4 + 3 * k : 7 + 3 * k]) + c[13 + k] for k in range(3))
        iz = Z.inverse()
        found, rows = [], []
        for axis, along in enumerate((X, Y)):
            focal, middle, size, t = c[axis], c[2 + axis], self.size[axis], along * iz
            least, most = (middle + size * CLAMP) * -1.0, size - middle + size * CLAMP
            clamped = t.maximum(least / focal).minimum(most / focal)
            j = focal * iz
            beyond = j * clamped * -1.0
            rows.append([j * c[4 + 3 * axis + k] + beyond * c[10 + k] for k in range(3)])
            found.append(focal * t + middle)
        return Z, found, rows[0], rows[1]

    def _spread(self, row: list[Lanes]) -> list[Lanes]:
        """A row of `_view` times the rotation and the scales."""
        w, x, y, z = self.w, self.x, self.y, self.z
        n = (w * w + x * x + y * y + z * z).function("sqrt").inverse()
        w, x, y, z = (part * n for part in (w, x, y, z))
        columns = (
            ((y * y + z * z) * -2.0 + 1.0, (x * y + w * z) * 2.0, (x * z - w * y) * 2.0),
            ((x * y - w * z) * 2.0, (x * x + z * z) * -2.0 + 1.0, (y * z + w * x) * 2.0),
            ((x * z + w * y) * 2.0, (y * z - w * x) * 2.0, (x * x + y * y) * -2.0 + 1.0),
        )
        return [_dot(row, column) * scale for column, scale in zip(columns, self.scales, strict=True)]


def _dot(first: Any, second: Any) -> Lanes:
    (a, b, c), (d, e, f) = first, second
    return a * d + b * e + c * f


@intrinsic
def _project_group(context, lanes, camera, width, height):  # type: ignore[no-untyped-def]
    """Replace rows of lanes [11, GROUP]: means, quaternions, scales, opacities, by those of `_Projection.rows`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        group, given = (array_data(context, builder, signature, arguments, k) for k in (0, 1))
        rows = [builder.gep(group, [ir.Constant(I64, row * GROUP)]) for row in range(11)]
        inputs = [Lanes.load(builder, row, GROUP) for row in rows]
        numbers = [builder.load(builder.gep(given, [ir.Constant(I64, k)])) for k in range(16)]
        numbers, size = ([Lanes.of(builder, x, GROUP) for x in scalars] for scalars in (numbers, arguments[2:4]))
        for row, value in zip(rows, _Projection(inputs, numbers, size).rows(), strict=True):
            store(builder, value, row)
        return context.get_dummy_value()

    return types.void(lanes, camera, types.float32, types.float32), generate


@kernel(parallel=True)
def project(  # type: ignore[no-untyped-def]
    means, quats, scales, opacities, colors, places, camera, width, height, rows, spans, keys
):
    """Fill rows [N * ROW], spans [N, 4] int16 and keys [N]: camera z, or -1 for what is not drawn (behind, outside,
    faint, not finite). Spans are first and end of the tiles it lies in, across and down; those of what is not drawn
    stay as they were.

    places [N, 2] px of the photo as it is drawn, NaN where a splat has none; [0, 2] if nothing carries any.
    """
    count = means.shape[0]
    for part in prange((count + PART - 1) // PART):
        lanes = np.empty((11, GROUP), np.float32)
        for first in range(part * PART, min(part * PART + PART, count), GROUP):
            last = min(first + GROUP, count)
            _gather_group(means, quats, scales, opacities, first, last, lanes)
            _project_group(lanes, camera, f4(width), f4(height))
            _scatter_group(lanes, colors, places, first, last, rows, spans, keys)


@kernel(parallel=False)
def _gather_group(means, quats, scales, opacities, first, last, lanes):  # type: ignore[no-untyped-def]
    """Gaussians `first` to `last` for `_project_group`; the last one repeated."""
    for lane in range(GROUP):
        i = min(first + lane, last - 1)
        for k in range(3):
            lanes[k, lane], lanes[7 + k, lane] = means[i, k], scales[i, k]
        for k in range(4):
            lanes[3 + k, lane] = quats[i, k]
        lanes[10, lane] = opacities[i]


@kernel(parallel=False)
def _scatter_group(lanes, colors, places, first, last, rows, spans, keys):  # type: ignore[no-untyped-def]
    """What `_project_group` made of Gaussians `first` to `last`, as their rows, spans and keys."""
    placed, one, zero = places.shape[0] > 0, f4(1), f4(0)
    for i in range(first, last):
        lane, g = i - first, np.int64(i) * ROW
        u, v, depth = lanes[0, lane], lanes[1, lane], lanes[10, lane]
        finite = abs(depth)
        for k in range(6):
            rows[g + k] = lanes[k, lane]
            finite += abs(lanes[k, lane])
        for k in range(3):
            rows[g + 6 + k] = colors[i, k]
            finite += abs(colors[i, k])
        for k in range(4):
            rows[g + 10 + k] = lanes[6 + k, lane]
        rows[g + 9] = depth
        if placed:
            right, down = places[i, 0] - u, places[i, 1] - v
            has = right == right and down == down
            rows[g + 9] = one if has else zero
            rows[g + 14], rows[g + 15] = right if has else zero, down if has else zero
        keys[i] = depth if finite < f4(1e30) else f4(-1)
        if keys[i] > 0:
            for k in range(0, 4, 2):
                spans[i, k] = np.int64(lanes[6 + k, lane]) // TILE
                spans[i, k + 1] = (np.int64(lanes[7 + k, lane]) - 1) // TILE + 1


@kernel(parallel=False)
def _rotation(quats: Any, i: Any) -> Any:
    """Rows of the rotation of a quaternion of any length, then the quaternion normalised and 1 / its length."""
    w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
    n = f4(1) / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z, two, one = w * n, x * n, y * n, z * n, f4(2), f4(1)
    first = (one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y))
    second = (two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x))
    third = (two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y))
    return first, second, third, (w, x, y, z), n


@kernel(parallel=False)
def _view(means: Any, i: Any, c: Any, width: Any, height: Any) -> Any:
    """Camera z, x/z and y/z as they are and as linearised, and the 2x3 Jacobian of the projection from head space."""
    mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
    X = c[4] * mx + c[5] * my + c[6] * mz + c[13]
    Y = c[7] * mx + c[8] * my + c[9] * mz + c[14]
    Z = c[10] * mx + c[11] * my + c[12] * mz + c[15]
    iz = f4(1) / Z
    tx, ty = X * iz, Y * iz
    w, h = f4(width), f4(height)
    cx = min(max(tx, -(c[2] + f4(CLAMP) * w) / c[0]), (w - c[2] + f4(CLAMP) * w) / c[0])
    cy = min(max(ty, -(c[3] + f4(CLAMP) * h) / c[1]), (h - c[3] + f4(CLAMP) * h) / c[1])
    jx, jy = c[0] * iz, c[1] * iz
    jxz, jyz = -jx * cx, -jy * cy
    across = (jx * c[4] + jxz * c[10], jx * c[5] + jxz * c[11], jx * c[6] + jxz * c[12])
    down = (jy * c[7] + jyz * c[10], jy * c[8] + jyz * c[11], jy * c[9] + jyz * c[12])
    return Z, iz, (tx, ty), (cx, cy), (jx, jy, jxz, jyz), across, down


@kernel(parallel=False)
def _times(row: Any, first: Any, second: Any, third: Any) -> Any:
    """A row vector times a 3x3 matrix of rows."""
    a, b, c = row
    return (
        a * first[0] + b * second[0] + c * third[0],
        a * first[1] + b * second[1] + c * third[1],
        a * first[2] + b * second[2] + c * third[2],
    )


@kernel(parallel=True)
def _summed(count, listed, slots, threads):  # type: ignore[no-untyped-def]
    """[count, SUMS]: the slots [P, SUMS] of each Gaussian, in the order in which it is listed [P]."""
    sums = np.zeros((count, SUMS), np.float32)
    for t in prange(threads):
        start, stop = count * t // threads, count * (t + 1) // threads
        for k in range(listed.shape[0]):
            if start <= listed[k] < stop:
                for s in range(SUMS):
                    sums[listed[k], s] += slots[k, s]
    return sums


@compiled(inline="always", fastmath=set(MATH), error_model="numpy")
def _of_mean(of_u: Any, of_v: Any, of_z: Any, h0: Any, h1: Any, h2: Any, c: Any, view: Any) -> Any:
    """The gradient of a mean in the camera's axes, of those of its place, of z, and of the Jacobian's rows."""
    iz, (tx, ty), (cx, cy), (jx, jy, jxz, jyz) = view
    gjx = h0[0] * c[4] + h1[0] * c[5] + h2[0] * c[6]
    gjxz = h0[0] * c[10] + h1[0] * c[11] + h2[0] * c[12]
    gjy = h0[1] * c[7] + h1[1] * c[8] + h2[1] * c[9]
    gjyz = h0[1] * c[10] + h1[1] * c[11] + h2[1] * c[12]
    gx, gy = of_u * jx, of_v * jy
    gz = of_z - gx * tx - gy * ty - (gjx * jx + gjy * jy + gjxz * jxz + gjyz * jyz) * iz
    if tx == cx:
        gx -= gjxz * jx * iz
        gz += gjxz * jx * tx * iz
    if ty == cy:
        gy -= gjyz * jy * iz
        gz += gjyz * jy * ty * iz
    return gx, gy, gz


@kernel(parallel=True)
def project_backward(  # type: ignore[no-untyped-def]
    means, quats, scales, camera, width, height, order, rows, listed, slots,
    drawn, of_means, of_quats, of_scales, of_opacities, of_colors, moves, threads,
):  # fmt: skip
    """Sum the slots of each Gaussian in the order of its tiles and carry them to its parameters.

    To means and quaternions only if it `moves`.
    """
    two, half = f4(2), f4(0.5)
    count = means.shape[0]
    sums = _summed(count, listed, slots, threads)
    seen = np.zeros(count, np.bool_)
    for j in range(drawn):
        seen[order[j]] = True
    for i in prange(count):  # as they lie in memory, not from near to far
        if not seen[i]:
            continue
        g = np.int64(i) * ROW
        p, px, py, pxx, pxy, pyy = sums[i, 0], sums[i, 1], sums[i, 2], sums[i, 3], sums[i, 4], sums[i, 5]
        A, B, C = two * rows[g + 2] * _LN2, rows[g + 3] * _LN2, two * rows[g + 4] * _LN2  # the inverse covariance
        of_u, of_v = A * px + B * py, B * px + C * py
        of_opacities[i] = p * np.exp2(-rows[g + 5])
        for k in range(3):
            of_colors[i, k] = sums[i, 6 + k]

        gA, gB, gC = -half * pxx, -half * pxy, -half * pyy  # of the inverse covariance, gB for each off-diagonal
        u0, u1, v0, v1 = A * gA + B * gB, A * gB + B * gC, B * gA + C * gB, B * gB + C * gC
        g00, g01, g11 = -(u0 * A + u1 * B), -two * (u0 * B + u1 * C), -(v0 * B + v1 * C)

        first, second, third, (w, x, y, z), n = _rotation(quats, i)
        _, iz, plain, clamped, jacobian, across, down = _view(means, i, camera, width, height)
        a, b = _times(across, first, second, third), _times(down, first, second, third)
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        a0, a1, a2 = two * g00 * a[0] + g01 * b[0], two * g00 * a[1] + g01 * b[1], two * g00 * a[2] + g01 * b[2]
        b0, b1, b2 = two * g11 * b[0] + g01 * a[0], two * g11 * b[1] + g01 * a[1], two * g11 * b[2] + g01 * a[2]
        of_scales[i, 0] = (a0 * a[0] + b0 * b[0]) * s0
        of_scales[i, 1] = (a1 * a[1] + b1 * b[1]) * s1
        of_scales[i, 2] = (a2 * a[2] + b2 * b[2]) * s2
        if not moves:
            continue
        q0, q1, q2 = s0 * s0, s1 * s1, s2 * s2
        a0, a1, a2, b0, b1, b2 = a0 * q0, a1 * q1, a2 * q2, b0 * q0, b1 * q1, b2 * q2

        r00, r01, r02 = a0 * across[0] + b0 * down[0], a1 * across[0] + b1 * down[0], a2 * across[0] + b2 * down[0]
        r10, r11, r12 = a0 * across[1] + b0 * down[1], a1 * across[1] + b1 * down[1], a2 * across[1] + b2 * down[1]
        r20, r21, r22 = a0 * across[2] + b0 * down[2], a1 * across[2] + b1 * down[2], a2 * across[2] + b2 * down[2]
        qw = two * (x * (r21 - r12) + y * (r02 - r20) + z * (r10 - r01))
        qx = two * (w * (r21 - r12) + y * (r01 + r10) + z * (r02 + r20) - two * x * (r11 + r22))
        qy = two * (w * (r02 - r20) + x * (r01 + r10) + z * (r12 + r21) - two * y * (r00 + r22))
        qz = two * (w * (r10 - r01) + x * (r02 + r20) + y * (r12 + r21) - two * z * (r00 + r11))
        along = w * qw + x * qx + y * qy + z * qz
        of_quats[i, 0], of_quats[i, 1] = (qw - w * along) * n, (qx - x * along) * n
        of_quats[i, 2], of_quats[i, 3] = (qy - y * along) * n, (qz - z * along) * n

        h0 = first[0] * a0 + first[1] * a1 + first[2] * a2, first[0] * b0 + first[1] * b1 + first[2] * b2
        h1 = second[0] * a0 + second[1] * a1 + second[2] * a2, second[0] * b0 + second[1] * b1 + second[2] * b2
        h2 = third[0] * a0 + third[1] * a1 + third[2] * a2, third[0] * b0 + third[1] * b1 + third[2] * b2
        gx, gy, gz = _of_mean(of_u, of_v, sums[i, 9], h0, h1, h2, camera, (iz, plain, clamped, jacobian))
        for k in range(3):
            of_means[i, k] = gx * camera[4 + k] + gy * camera[7 + k] + gz * camera[10 + k]
