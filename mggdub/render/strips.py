"""The two inner loops of the CPU rasteriser as explicit vector instructions.

A strip is LANES neighbouring columns of one tile; a call adds one Gaussian to the rows of one strip. LLVM legalises
the 16 lanes to whatever the machine has (SSE, AVX2, AVX-512, NEON), so no compiler and no CPU feature is needed.

Row of a projected Gaussian (16 floats): u, v, a, b, c, log2 opacity, red, green, blue, z, x0, x1, y0, y1, -, -;
its exponent in base 2 at (dx, dy) from (u, v) is p = l - a dx² - b dx dy - c dy².
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
ALPHA_MAX = 0.999
LOG2_ALPHA_MIN = -7.994353437  # log2(1 / 255)
TRANSMITTANCE_MIN = 1e-4
FORWARD_CHANNELS = 5  # T, red, green, blue, depth
BACKWARD_CHANNELS = 7  # T, what is behind, then the gradients of red, green, blue, depth, alpha
SUMS = 10  # per Gaussian: dp, dp·(dx, dy, dx², dx·dy, dy²), red, green, blue, z

_F, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VF = ir.VectorType(_F, LANES)


class _Vector:
    """Arithmetic on LANES floats, with fast-math flags."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _other(self, other: Any) -> Any:
        return other.value if isinstance(other, _Vector) else ir.Constant(_VF, [float(other)] * LANES)

    def _apply(self, name: str, other: Any) -> _Vector:
        return _Vector(self.builder, getattr(self.builder, name)(self.value, self._other(other), flags=("fast",)))

    def __add__(self, other: Any) -> _Vector:
        return self._apply("fadd", other)

    def __sub__(self, other: Any) -> _Vector:
        return self._apply("fsub", other)

    def __mul__(self, other: Any) -> _Vector:
        return self._apply("fmul", other)

    def __truediv__(self, other: Any) -> _Vector:
        return self._apply("fdiv", other)

    def compare(self, sign: str, other: Any) -> Any:
        return self.builder.fcmp_ordered(sign, self.value, self._other(other))

    def minimum(self, other: Any) -> _Vector:
        return _Vector(self.builder, self.builder.select(self.compare("<", other), self.value, self._other(other)))

    def maximum(self, other: Any) -> _Vector:
        return _Vector(self.builder, self.builder.select(self.compare(">", other), self.value, self._other(other)))

    def where(self, mask: Any) -> _Vector:
        return _Vector(self.builder, self.builder.select(mask, self.value, self._other(0.0)))


def _splat(builder: Any, scalar: Any) -> _Vector:
    undefined = ir.Constant(_VF, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return _Vector(builder, builder.shuffle_vector(first, undefined, zeros))


def _load(builder: Any, pointer: Any) -> _Vector:
    value = builder.load(builder.bitcast(pointer, ir.PointerType(_VF)))
    value.align = 4
    return _Vector(builder, value)


def _store(builder: Any, vector: _Vector, pointer: Any) -> None:
    builder.store(vector.value, builder.bitcast(pointer, ir.PointerType(_VF))).align = 4


def _exp2(builder: Any, power: _Vector) -> _Vector:
    """2 ** power for -20 <= power <= 0; a polynomial of degree 6 on -0.5..0.5, exact to 2e-7."""
    vector_int = ir.VectorType(_I32, LANES)
    whole = builder.fptosi((power - 0.5).value, vector_int)  # power <= 0: rounds towards zero, so to nearest
    fraction = power - _Vector(builder, builder.sitofp(whole, _VF))  # -0.5..0.5
    value = fraction * 1.5403530e-4 + 1.3333558e-3
    for factor in (9.6181291e-3, 5.5504109e-2, 2.4022651e-1, 6.9314718e-1, 1.0):
        value = value * fraction + factor
    bits = builder.shl(
        builder.add(whole, ir.Constant(vector_int, [127] * LANES)), ir.Constant(vector_int, [23] * LANES)
    )
    return value * _Vector(builder, builder.bitcast(bits, _VF))


def _any(builder: Any, mask: Any) -> Any:
    return builder.icmp_unsigned("!=", builder.bitcast(mask, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0))


class _Strip:
    """What both loops share: the Gaussian's coefficients in every lane and the walk down the rows."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, channels: int) -> None:
        self.builder = builder

        def data(index: int, offset: Any) -> Any:
            array = context.make_array(signature.args[index])(context, builder, value=arguments[index])
            return builder.gep(array.data, [offset])

        buffer_at, self.pitch, self.first, self.last, self.column, dx, dy, width = arguments[1:9]
        self.tile = data(0, buffer_at)
        self.gaussian = data(9, arguments[10])
        lane = _Vector(builder, ir.Constant(_VF, [float(i) for i in range(LANES)]))
        self.dx = lane + _splat(builder, dx)
        self.inside = lane.compare("<", _splat(builder, width))
        self.a, self.b, self.c, self.opacity, *self.color = (self.coefficient(i) for i in range(2, 10))
        self.constant = self.opacity - self.a * self.dx * self.dx
        self.linear = self.b * self.dx
        self.dy = cgutils.alloca_once_value(builder, dy)
        self.row_pitch = builder.mul(self.pitch, ir.Constant(_I64, channels))

    def coefficient(self, index: int) -> _Vector:
        return _splat(self.builder, self.builder.load(self.builder.gep(self.gaussian, [ir.Constant(_I64, index)])))

    def start_row(self, row: Any) -> tuple[_Vector, _Vector]:
        """(dy, exponent) of this row; the next row is one further down."""
        builder = self.builder
        scalar = builder.load(self.dy)
        builder.store(builder.fadd(scalar, ir.Constant(_F, 1.0)), self.dy)
        dy = _splat(builder, scalar)
        self.place = builder.add(builder.mul(row, self.row_pitch), self.column)
        return dy, self.constant - dy * (self.c * dy + self.linear)

    def channel(self, index: int) -> Any:
        offset = self.builder.add(self.place, self.builder.mul(self.pitch, ir.Constant(_I64, index)))
        return self.builder.gep(self.tile, [offset])

    def visible(self, power: _Vector, transmittance: _Vector) -> Any:
        builder = self.builder
        strong = power.compare(">=", LOG2_ALPHA_MIN)
        return builder.and_(builder.and_(self.inside, strong), transmittance.compare(">", TRANSMITTANCE_MIN))


def _arguments(buffer: Any, gaussian: Any) -> list[Any]:
    """buffer, its offset, pitch, first and last row, column, dx, dy of its first pixel, width, gaussians, offset."""
    whole, real = types.int64, types.float32
    return [buffer, whole, whole, whole, whole, whole, real, real, real, gaussian, whole]


@intrinsic
def add_strip(context, buffer, at, pitch, first, last, column, dx, dy, width, gaussians, row):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Blend one Gaussian, front to back, into the rows of one strip. Buffer [(row * 5 + channel) * pitch + column]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        strip = _Strip(context, builder, signature, arguments, FORWARD_CHANNELS)
        with cgutils.for_range_slice(builder, strip.first, strip.last, ir.Constant(_I64, 1)) as (y, _):
            _, power = strip.start_row(y)
            transmittance = _load(builder, strip.channel(0))
            mask = strip.visible(power, transmittance)
            with builder.if_then(_any(builder, mask), likely=True):
                alpha = _exp2(builder, power.maximum(-20.0).minimum(0.0)).minimum(ALPHA_MAX).where(mask)
                weight = alpha * transmittance
                _store(builder, transmittance - weight, strip.channel(0))
                for index, color in enumerate(strip.color):
                    pointer = strip.channel(index + 1)
                    _store(builder, _load(builder, pointer) + weight * color, pointer)
        return context.get_dummy_value()

    return types.void(*_arguments(buffer, gaussians)), generate


@intrinsic
def gather_strip(context, buffer, at, pitch, first, last, column, dx, dy, width, gaussians, row, sums, sums_at):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Add one Gaussian's gradient sums over one strip to `sums` [10 * LANES]; walks front to back as the forward did.

    Buffer [(row * 7 + channel) * pitch + column]. With w = alpha T and g the gradient of what the Gaussian adds, the
    gradient of alpha is T g - (what is behind) / (1 - alpha).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        strip = _Strip(context, builder, signature, arguments, BACKWARD_CHANNELS)
        array = context.make_array(signature.args[11])(context, builder, value=arguments[11])
        sums_base = builder.gep(array.data, [arguments[12]])
        zero = _Vector(builder, ir.Constant(_VF, [0.0] * LANES))
        totals = [cgutils.alloca_once_value(builder, zero.value) for _ in range(7)]
        for total in totals:
            builder.store(zero.value, total)

        def add(total: Any, value: _Vector) -> None:
            builder.store((_Vector(builder, builder.load(total)) + value).value, total)

        with cgutils.for_range_slice(builder, strip.first, strip.last, ir.Constant(_I64, 1)) as (y, _):
            dy, power = strip.start_row(y)
            transmittance = _load(builder, strip.channel(0))
            mask = strip.visible(power, transmittance)
            with builder.if_then(_any(builder, mask), likely=True):
                raw = _exp2(builder, power.maximum(-20.0).minimum(0.0))
                free = builder.and_(mask, raw.compare("<", ALPHA_MAX))
                alpha = raw.minimum(ALPHA_MAX).where(mask)
                weight = alpha * transmittance
                incoming = [_load(builder, strip.channel(index)) for index in range(2, 7)]
                gradient = incoming[4]
                for color, into in zip(strip.color, incoming[:4], strict=True):
                    gradient = gradient + color * into
                for total, into in zip(totals[3:], incoming[:4], strict=True):
                    add(total, weight * into)
                behind = _load(builder, strip.channel(1)) - weight * gradient
                _store(builder, behind, strip.channel(1))
                _store(builder, transmittance - weight, strip.channel(0))
                one = _Vector(builder, ir.Constant(_VF, [1.0] * LANES))
                of_alpha = transmittance * gradient - behind / (one - alpha)
                of_power = (of_alpha * alpha).where(free)
                tilted = of_power * dy
                add(totals[0], of_power)
                add(totals[1], tilted)
                add(totals[2], tilted * dy)
        s0, s1, s2, *colors = (_Vector(builder, builder.load(total)) for total in totals)
        dx = strip.dx
        for index, value in enumerate((s0, s0 * dx, s1, s0 * dx * dx, s1 * dx, s2, *colors)):
            pointer = builder.gep(sums_base, [ir.Constant(_I64, index * LANES)])
            _store(builder, _load(builder, pointer) + value, pointer)
        return context.get_dummy_value()

    return types.void(*_arguments(buffer, gaussians), sums, types.int64), generate


@intrinsic
def prefetch(context, array, index):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Ask for the cache line of array[index] ahead of its use."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
        byte = ir.PointerType(ir.IntType(8))
        pointer = builder.bitcast(builder.gep(base, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(_I32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
