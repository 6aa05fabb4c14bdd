"""LANES neighbouring pixels of a row at once: the head, which is enlarged and detailed, and what is behind it.

These are the innermost loops of `compose`.
"""

# ruff: noqa: ARG001 (an intrinsic names its arguments only so that numba can count them)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from mggdub.renderer.lanes import (
    I32,
    I64,
    LANES,
    VI,
    F,
    Lanes,
    V,
    any_lane,
    array_data,
    intrinsic,
    load,
    prefetch,
    shuffle,
    splat,
    store,
    transposed,
)

AHEAD = 7  # rows from the first texel of a pixel to one that is read ahead
PAD = 2  # px that `padded` textures go on beyond their edges
STEEP = -0.75  # of cubic convolution of pictures at its neighbours (Keys's a); between pixels sharper than -0.5
FINEST = 64  # steps of detail within one of 255
ALL_MOUTH = 1 << 14  # in the detail's fourth channel: all belongs to the photo's own mouth
LEAST = 0.002  # of a share of motion, below which nothing moves
_V16 = ir.VectorType(F, 16)


class _Lanes(Lanes):
    """Colours and places are never NaN."""

    flags = ("fast",)

    def within(self, low: Any, high: Any) -> _Lanes:
        """Clipped to low..high."""
        return self.maximum(low).minimum(high)

    def whole(self) -> tuple[Any, _Lanes]:
        """Of values that are not negative: the part before the point, int32, and the part behind it."""
        before = self.builder.fptosi(self.value, VI)
        return before, self - _Lanes(self.builder, self.builder.sitofp(before, V))


def _read(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
    return load(builder, builder.gep(data, [offset]), kind)


def _write(builder: Any, lanes: _Lanes, data: Any, offset: Any) -> None:
    store(builder, lanes, builder.gep(data, [offset]))


def _fused(builder: Any, weight: Any, value: Any, total: Any) -> Any:
    added = builder.fmul(weight, value, flags=("fast",))
    return added if total is None else builder.fadd(total, added, flags=("fast",))


def _convolution(t: _Lanes) -> list[_Lanes]:
    """Weights of four neighbours at `t` 0..1 between the middle two: Keys's cubic convolution, steep by STEEP."""
    s = t * -1.0 + 1.0
    middle = [near * near * (near * (STEEP + 2) - (STEEP + 3)) + 1.0 for near in (t, s)]
    return [t * s * s * STEEP, *middle, s * t * t * STEEP]


def _spline(t: _Lanes) -> list[_Lanes]:
    """The same of a cubic B-spline (Unser 1999)."""
    s = t * -1.0 + 1.0
    tt, ss = t * t, s * s
    middle = (tt * (t * 0.5 - 1.0) + 2 / 3, ss * (s * 0.5 - 1.0) + 2 / 3)
    return [s * ss * (1 / 6), *middle, t * tt * (1 / 6)]


@dataclass(frozen=True, eq=False)
class _Texels:
    """A texture of four channels, and how pixels look it up."""

    data: Any
    step: Any  # numbers from row to row
    signed: bool  # int16, not uint8
    weights: list[Any]  # four across and four down, LANES of each

    def read(self, builder: Any, at: Any) -> Any:
        """Four texels, as floats."""
        texels = _read(builder, self.data, at, ir.VectorType(ir.IntType(16 if self.signed else 8), 16))
        return builder.sitofp(texels, _V16) if self.signed else builder.uitofp(texels, _V16)


class _Block:
    """LANES neighbouring pixels of a row: what the intrinsics for head and background share."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context, self.builder, self.signature, self.arguments = context, builder, signature, arguments

    def data(self, index: int) -> Any:
        """Of an array that is an argument."""
        return array_data(self.context, self.builder, self.signature, self.arguments, index)

    def all(self, index: int) -> list[_Lanes]:
        """The floats of a tuple that is an argument, each in all lanes."""
        tuple_, count = self.arguments[index], len(self.signature.args[index])
        floats = (self.builder.extract_value(tuple_, k) for k in range(count))
        return [_Lanes.of(self.builder, scalar) for scalar in floats]

    def columns(self, index: int) -> _Lanes:
        """The pixels' columns, of the first one's."""
        first = self.builder.sitofp(self.arguments[index], F)
        ramp = _Lanes(self.builder, ir.Constant(V, [float(lane) for lane in range(LANES)]))
        return _Lanes.of(self.builder, first) + ramp

    def before(self, first: int, stop: int) -> Any:
        """Which of the pixels from one column on lie before another."""
        left = self.builder.trunc(self.builder.sub(self.arguments[stop], self.arguments[first]), I32)
        ramp = ir.Constant(VI, list(range(LANES)))
        return self.builder.icmp_signed("<", ramp, splat(self.builder, left, LANES))

    def plus(self, value: Any, more: Any) -> Any:
        return self.builder.add(value, ir.Constant(I64, more) if isinstance(more, int) else more)

    def times(self, value: Any, factor: int) -> Any:
        return self.builder.mul(value, ir.Constant(I64, factor))

    def any(self, mask: Any) -> Any:
        """A block of code for when any lane of a mask is set."""
        return self.builder.if_then(any_lane(self.builder, mask))

    def taps(self, texture: int, pitch: int, x: _Lanes, y: _Lanes) -> list[_Lanes]:
        """Four channels of a flat texture at x and y, which are not negative; px, by 4 x 4 texels.

        The texture and the texels from row to row are arguments. uint8 are colours, int16 B-splines of `to_splines`.
        """
        builder = self.builder
        (column, right), (line, down) = x.whole(), y.whole()
        step = self.times(self.arguments[pitch], 4)
        weigh = _spline if self.signature.args[texture].dtype == types.int16 else _convolution
        look = _Texels(
            builder.gep(self.data(texture), [self.times(self.plus(self.arguments[pitch], 1), 4 * (PAD - 1))]),
            step,
            self.signature.args[texture].dtype == types.int16,
            [weight.value for weight in (*weigh(right), *weigh(down))],
        )
        places = []
        for lane in range(LANES):
            number = ir.Constant(I32, lane)
            at = builder.mul(builder.sext(builder.extract_element(line, number), I64), step)
            places.append(self.plus(at, self.times(builder.sext(builder.extract_element(column, number), I64), 4)))
        for at in places[:: 4 if look.signed else 8]:  # as many as they are lines of memory
            # Rows to come: heads turn, so the processor cannot foresee what they look up.
            prefetch(builder, builder.gep(look.data, [self.plus(at, self.times(step, AHEAD))]))
        return self._colors([self._half(look, places, column, line, half) for half in (0, 4)])

    def _colors(self, halves: list[Any]) -> list[_Lanes]:
        """Four channels of LANES pixels, each apart."""
        lanes = ([4 * lane + channel for lane in range(LANES)] for channel in range(4))
        return [_Lanes(self.builder, shuffle(self.builder, halves[0], wanted, halves[1])) for wanted in lanes]

    def _half(self, look: _Texels, places: list[Any], column: Any, line: Any, half: int) -> Any:
        """Four channels of four pixels from lane `half` on, whose texels mostly lie beside each other."""
        builder, four = self.builder, ir.IntType(4)
        column, line = (shuffle(builder, cell, list(range(half, half + 4))) for cell in (column, line))
        across = builder.sub(column, shuffle(builder, column, [0] * 4))
        beside = builder.icmp_signed("==", across, ir.Constant(ir.VectorType(I32, 4), [0, 1, 2, 3]))
        beside = builder.and_(beside, builder.icmp_signed("==", line, shuffle(builder, line, [0] * 4)))
        beside = builder.icmp_unsigned("==", builder.bitcast(beside, four), ir.Constant(four, 15))
        with builder.if_else(beside, likely=True) as (then, otherwise):
            with then:
                one = self._neighbours(look, places[half], half), builder.block
            with otherwise:
                other = self._apart(look, places[half : half + 4], half), builder.block
        found = builder.phi(_V16)
        for value, block in (one, other):
            found.add_incoming(value, block)
        return found

    def _neighbours(self, look: _Texels, at: Any, half: int) -> Any:
        """Of pixels whose texels lie beside each other: 4 rows of 7 from `at` on."""
        builder, found = self.builder, None
        wide = [shuffle(builder, weight, [half + k // 4 for k in range(16)]) for weight in look.weights]
        totals: list[Any] = [None] * 4
        for down in wide[4:]:
            first, last = look.read(builder, at), look.read(builder, self.plus(at, 12))  # they share a texel
            inner = (shuffle(builder, first, [*range(k, 16), *range(20, 20 + k)], last) for k in (4, 8))
            windows = zip((first, *inner, last), totals, strict=True)
            totals = [_fused(builder, down, four, total) for four, total in windows]
            at = self.plus(at, look.step)
        for weight, total in zip(wide[:4], totals, strict=True):
            found = _fused(builder, weight, total, found)
        return found

    def _apart(self, look: _Texels, places: list[Any], half: int) -> Any:
        """The same of pixels whose texels lie anywhere: 4 rows of 4 from each of `places` on."""
        builder, kept, found = self.builder, [], []
        for weight in look.weights:  # lanes are taken one by one, which memory does best
            place = cgutils.alloca_once(builder, V)
            builder.store(weight, place)
            kept.append(builder.bitcast(place, ir.PointerType(F)))
        for lane, at in enumerate(places, half):
            weights = [builder.load(builder.gep(place, [ir.Constant(I32, lane)])) for place in kept]
            found.append(self._pixel(look, at, weights))
        pairs = [shuffle(builder, found[k], list(range(8)), found[k + 1]) for k in (0, 2)]
        return shuffle(builder, pairs[0], list(range(16)), pairs[1])

    def _pixel(self, look: _Texels, at: Any, weights: list[Any]) -> Any:
        """Four channels of 4 x 4 texels from `at` on, weighed across and down."""
        builder, total, found = self.builder, None, None
        for weight in weights[4:]:
            total = _fused(builder, splat(builder, weight, 16), look.read(builder, at), total)
            at = self.plus(at, look.step)
        for index, weight in enumerate(weights[:4]):
            four = shuffle(builder, total, list(range(4 * index, 4 * index + 4)))
            found = _fused(builder, splat(builder, weight, 4), four, found)
        return found


@intrinsic
def over_block(context, low, cells, weights, x, plane, detail, pitch, row, to, span):  # type: ignore[no-untyped-def]
    """Put LANES pixels of the head from column x of its box on into a flat row [4, span], at `to`; as `compose._over`.

    low as of `compose._between_rows`; cells and weights as of `compose._enlarging`; plane: the row, full px of a drawn
    one across and down, the last column, the last row and how much of the photo's own mouth is gone.
    """
    whole, real = types.int64, types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _Block(context, builder, signature, arguments)
        low, cells, weights, row = (block.data(index) for index in (0, 1, 2, 7))
        pixels = []
        for lane in range(LANES):
            x = block.plus(arguments[3], lane)
            at, total = builder.load(builder.gep(cells, [x])), None
            for tap in range(4):
                weight = builder.load(builder.gep(weights, [block.plus(block.times(x, 4), tap)]))
                drawn = _read(builder, low, block.plus(at, 8 * tap), V)
                total = _fused(builder, splat(builder, weight, 8), drawn, total)
            pixels.append(total)
        red, green, blue, placed, right, down, takes, alpha = (_Lanes(builder, v) for v in transposed(builder, pixels))
        places = [block.plus(arguments[8], block.times(arguments[9], k)) for k in range(4)]
        for color, place in zip((red, green, blue), places, strict=False):
            _write(builder, color * 255.0, row, place)
        _write(builder, alpha.within(0.0, 1.0) * -1.0 + 1.0, row, places[3])
        shows = builder.and_(placed.compare(">", 0.02), takes.compare(">", 0.0))
        with block.any(shows):
            inverse = placed.where(shows, 1.0).inverse()
            y, wide, tall, last, bottom, gone = block.all(4)
            px = (block.columns(3) + right * inverse * wide).within(0.0, last)
            py = (y + down * inverse * tall).within(0.0, bottom)
            gain = (takes * inverse).within(0.0, 1.0).where(shows, 0.0) * (1 / FINEST)
            *colors, mouth = block.taps(5, 6, px, py)
            gain = gain * (mouth.within(0.0, ALL_MOUTH) * gone * (-1 / ALL_MOUTH) + 1.0)
            for color, place in zip(colors, places, strict=False):
                _write(builder, _Lanes(builder, _read(builder, row, place, V)) + gain * color, row, place)
        return context.get_dummy_value()

    plane = types.UniTuple(real, 6)
    return types.void(low, cells, weights, whole, plane, detail, whole, row, whole, whole), generate


@intrinsic
def behind_block(context, line, cells, beyond, x, plane, still, pitch, row, to, span, stop):  # type: ignore[no-untyped-def]
    """Add LANES pixels of what is behind the head to a flat row [4, span] at `to`: from column x on, before `stop`.

    line as of `compose._sway_span`; cells and beyond as of `compose._swaying`; plane: the row, what moves it
    (`compose._behind`), the last column and the last row.
    """
    whole, real = types.int64, types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _Block(context, builder, signature, arguments)
        row = block.data(7)
        places = [block.plus(arguments[8], block.times(arguments[9], k)) for k in range(4)]
        shows = _Lanes(builder, _read(builder, row, places[3], V))
        inside = builder.and_(block.before(3, 10), shows.compare(">=", 1e-3))
        with block.any(inside):
            part, shows = _share(block), shows.where(inside, 0.0)
            part = part.where(part.compare(">=", LEAST), 0.0)
            y, a, b, left, across, along, last, bottom = block.all(4)
            x = block.columns(3)
            px = (x - part * (a * (x + left) + across)).within(0.0, last)
            py = (y - part * (b * (x + left) + along)).within(0.0, bottom)
            colors = block.taps(5, 6, px, py)[:3]
            for color, place in zip(colors, places, strict=False):
                _write(builder, _Lanes(builder, _read(builder, row, place, V)) + shows * color, row, place)
        return context.get_dummy_value()

    plane = types.UniTuple(real, 8)
    return types.void(line, cells, beyond, whole, plane, still, whole, row, whole, whole, whole), generate


def _share(block: _Block) -> _Lanes:
    """Of motion, for the pixels of `behind_block`: between two cells of its line."""
    builder, (line, cells, beyond) = block.builder, (block.data(index) for index in range(3))
    ends = [ir.Constant(V, ir.Undefined) for _ in range(2)]
    for lane in range(LANES):
        cell = builder.load(builder.gep(cells, [block.plus(block.arguments[3], lane)]))
        for k in range(2):
            share = builder.load(builder.gep(line, [block.plus(cell, k)]))
            ends[k] = builder.insert_element(ends[k], share, ir.Constant(I32, lane))
    here, there = (_Lanes(builder, end) for end in ends)
    return here + (there - here) * _Lanes(builder, _read(builder, beyond, block.arguments[3], V))
