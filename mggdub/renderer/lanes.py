"""Vectors of floats in LLVM's own code, of which the innermost loops of `projection`, `kernels` and `blocks` are made.

LLVM legalises the lanes to what the machine has (SSE, AVX2, AVX-512, NEON).
"""

from __future__ import annotations

from typing import Any, Self

from llvmlite import ir
from numba import extending
from numba.core import cgutils

LANES = 8  # most splats are as wide; neighbouring pixels that are worked on at once
F, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
V, VI = ir.VectorType(F, LANES), ir.VectorType(I32, LANES)
MATH = ("contract", "arcp", "afn", "nsz", "reassoc")  # NaN keeps its meaning, or bad inputs would pass
intrinsic: Any = extending.intrinsic  # typed for calls from compiled code, which lack its first argument


class Lanes:
    """Arithmetic on a vector of floats; a number stands for itself in all of its lanes."""

    flags: tuple[str, ...] = MATH

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @classmethod
    def of(cls, builder: Any, scalar: Any, count: int = LANES) -> Self:
        """One float in all lanes."""
        return cls(builder, splat(builder, scalar, count))

    @classmethod
    def load(cls, builder: Any, pointer: Any, count: int = LANES) -> Self:
        """Neighbours in memory."""
        return cls(builder, load(builder, pointer, ir.VectorType(F, count)))

    def _other(self, other: Any) -> Any:
        kind = self.value.type
        return other.value if isinstance(other, Lanes) else ir.Constant(kind, [float(other)] * kind.count)

    def _apply(self, name: str, other: Any) -> Self:
        return type(self)(self.builder, getattr(self.builder, name)(self.value, self._other(other), flags=self.flags))

    def __add__(self, other: Any) -> Self:
        return self._apply("fadd", other)

    def __sub__(self, other: Any) -> Self:
        return self._apply("fsub", other)

    def __mul__(self, other: Any) -> Self:
        return self._apply("fmul", other)

    def __truediv__(self, other: Any) -> Self:
        return self._apply("fdiv", other)

    def compare(self, sign: str, other: Any) -> Any:
        """A mask of lanes."""
        return self.builder.fcmp_ordered(sign, self.value, self._other(other))

    def minimum(self, other: Any) -> Self:
        """The lesser one."""
        return self.where(self.compare("<", other), other)

    def maximum(self, other: Any) -> Self:
        """The greater one."""
        return self.where(self.compare(">", other), other)

    def where(self, mask: Any, other: Any = 0.0) -> Self:
        """The other one where a mask is not set."""
        return type(self)(self.builder, self.builder.select(mask, self.value, self._other(other)))

    def inverse(self) -> Self:
        """1 over it."""
        kind = self.value.type
        return type(self)(self.builder, ir.Constant(kind, [1.0] * kind.count)) / self

    def function(self, name: str) -> Self:
        """A function of LLVM's: sqrt, floor, ceil, fabs."""
        kind, module = self.value.type, self.builder.module
        code = f"llvm.{name}.v{kind.count}f32"
        found = cgutils.get_or_insert_function(module, ir.FunctionType(kind, [kind]), code)
        return type(self)(self.builder, self.builder.call(found, [self.value]))


def array_data(context: Any, builder: Any, signature: Any, arguments: Any, index: int) -> Any:
    """The numbers of an array that is an argument of an intrinsic."""
    return context.make_array(signature.args[index])(context, builder, value=arguments[index]).data


def shuffle(builder: Any, first: Any, lanes: list[int], second: Any = None) -> Any:
    """Some lanes of two vectors; those of the second are counted on from the first's."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
    return builder.shuffle_vector(first, ir.Constant(first.type, ir.Undefined) if second is None else second, mask)


def splat(builder: Any, scalar: Any, count: int) -> Any:
    """A vector of so many lanes, all alike."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    return shuffle(builder, builder.insert_element(undefined, scalar, ir.Constant(I32, 0)), [0] * count)


def load(builder: Any, pointer: Any, kind: Any = V) -> Any:
    """A vector of neighbours in memory."""
    value = builder.load(builder.bitcast(pointer, ir.PointerType(kind)))
    value.align = kind.element.width // 8 if isinstance(kind.element, ir.IntType) else 4
    return value


def store(builder: Any, lanes: Lanes, pointer: Any) -> None:
    """The opposite of `load`."""
    builder.store(lanes.value, builder.bitcast(pointer, ir.PointerType(lanes.value.type))).align = 4


def any_lane(builder: Any, mask: Any) -> Any:
    """Whether a mask of LANES is set anywhere."""
    bits = builder.bitcast(mask, ir.IntType(LANES))
    return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight as columns."""
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    pairs = [[shuffle(builder, a, m, b) for m in (low, high)] for a, b in zip(rows[::2], rows[1::2], strict=True)]
    low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    fours = [
        [shuffle(builder, a, m, b) for a, b in zip(*two, strict=True) for m in (low, high)]
        for two in (pairs[:2], pairs[2:])
    ]
    low, high = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    return [shuffle(builder, a, m, b) for m in (low, high) for a, b in zip(*fours, strict=True)]


def prefetch(builder: Any, pointer: Any) -> None:
    """Ask for a line of memory ahead of its use."""
    byte = ir.PointerType(ir.IntType(8))
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    given = (ir.Constant(I32, value) for value in (0, 3, 1))  # to read, keep, data
    builder.call(function, [builder.bitcast(pointer, byte), *given])
