"""Several float32 side by side, as types that compiled functions can hold in a register.

Numba leaves vectorising to the compiler, which keeps the accumulators of a small matrix product in memory rather than
in registers; here the kernel says which numbers it means. Rows are taken by `LANES`, sixteen where a register holds as
many (AVX-512), else eight; what comes of a block of dot products stands in an octet, eight numbers on every machine.
LLVM turns either into one AVX register, two NEON or SSE registers, or whatever the machine has.

    x, y = address(inputs, row * D), address(outputs, other * D)
    s = s + load(x, d) * load(y, d)                 # fused where the machine can
    store(x, d, load(x, d) + broadcast(rate) * s)

Nothing here checks bounds. Compile with `compiled_in_order`: `sigmoid` rounds by adding and taking away a large number.
"""

import operator
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import extending
from numba.core import types
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import lower_builtin, models, register_model

OCTET = 8
# Numba's setting of what the machine has comes before what it really has, as it does for numba itself.
_FEATURES: str = vars(numba.config)["CPU_FEATURES"] or binding.get_host_cpu_features().flatten()
LANES = 16 if "+avx512f" in _FEATURES else 8
CACHE_LINE = 64  # bytes
intrinsic: Any = extending.intrinsic  # what it makes is called without the first argument, which its type does not say
_FLOAT, _INT, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
_FLOATS, _INTS = ir.VectorType(_FLOAT, OCTET), ir.VectorType(_INT, OCTET)  # an octet
_MANTISSA_BITS = 23


class Vector(types.Type):
    """`width` float32 side by side."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(f"float32x{width}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _llvm(kind.width))


def _llvm(width: int, element: ir.Type = _FLOAT) -> ir.VectorType:
    return ir.VectorType(element, width)


octet = Vector(OCTET)
lanes = octet if LANES == OCTET else Vector(LANES)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _operator(symbol: Any, instruction: str) -> None:
    @infer_global(symbol)
    class Template(ConcreteTemplate):
        cases = tuple(signature(kind, kind, kind) for kind in {octet, lanes})

    @lower_builtin(symbol, Vector, Vector)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=("contract",))


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _instruction)


def _constant(value: float) -> ir.Constant:
    """An octet."""
    return ir.Constant(_FLOATS, [float(value)] * OCTET)


def _constants(value: int) -> ir.Constant:
    return ir.Constant(_INTS, [value] * OCTET)


def _call(builder: Any, name: str, args: Any) -> Any:
    """An LLVM intrinsic of octets → octet."""
    known = builder.module.globals.get(name)
    function = known or ir.Function(builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * len(args)), name)
    return builder.call(function, args)


def _spread(builder: Any, value: Any, width: int) -> Any:
    undefined = ir.Constant(_llvm(width), ir.Undefined)
    everywhere = ir.Constant(_llvm(width, _INT), [0] * width)
    return builder.shuffle_vector(builder.insert_element(undefined, value, _INT(0)), undefined, everywhere)


def _zeros(kind: Vector) -> Any:
    @intrinsic
    def zeros(typing: Any) -> Any:
        """As many times 0."""
        return kind(), lambda context, builder, sig, args: ir.Constant(_llvm(kind.width), [0.0] * kind.width)

    return zeros


def _broadcast(kind: Vector) -> Any:
    @intrinsic
    def broadcast(typing: Any, value: Any) -> Any:
        """As many times the float32."""
        return kind(types.float32), lambda context, builder, sig, args: _spread(builder, args[0], kind.width)

    return broadcast


# A name that ends in 8 is of octets.
zeros, zeros8 = _zeros(lanes), _zeros(octet)
broadcast, broadcast8 = _broadcast(lanes), _broadcast(octet)


@intrinsic
def sums(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """An octet: what each of the eight lanes sums up to."""

    def mixed(builder: Any, a: Any, b: Any, *halves: Any) -> Any:
        return builder.fadd(*(builder.shuffle_vector(a, b, ir.Constant(_INTS, list(half))) for half in halves))

    def half(builder: Any, x: Any) -> Any:
        """An octet of the same sum."""
        low, high = ([*range(start, start + OCTET)] for start in (0, OCTET))
        return builder.fadd(*(builder.shuffle_vector(x, x, ir.Constant(_INTS, part)) for part in (low, high)))

    def lower(context: Any, builder: Any, sig: Any, rows: Any) -> Any:
        if LANES > OCTET:
            rows = [half(builder, row) for row in rows]
        while len(rows) > 2:  # even and odd neighbours within each half of four: x86 has an instruction for this
            neighbours = zip(rows[::2], rows[1::2], strict=True)
            rows = [
                mixed(builder, x, y, (0, 2, 8, 10, 4, 6, 12, 14), (1, 3, 9, 11, 5, 7, 13, 15)) for x, y in neighbours
            ]
        return mixed(builder, *rows, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))

    return octet(*[lanes] * OCTET), lower


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """The float32 sum of an octet or of lanes, halves added first."""

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, width = args[0], sig.args[0].width
        half = width // 2
        while half:
            other = ir.Constant(_llvm(width, _INT), [(i + half) % width for i in range(width)])
            x, half = b.fadd(x, b.shuffle_vector(x, x, other)), half // 2
        return b.extract_element(x, _INT(0))

    return types.float32(x), lower


@intrinsic
def sigmoid(typing: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)), relative error below 1e-5; |x| is cut at 86.

    exp(-x) = 2^k 2^f with |f| ≤ 1/2: adding 1.5 * 2^23 rounds to the integer k and leaves it in the low bits, a shift
    moves it to the exponent; 2^f is the polynomial of Cephes' exp2f (Moshier 1989).
    """

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        t = b.fmul(args[0], _constant(-1.4426950408889634))
        t = _call(b, "llvm.maxnum.v8f32", [_call(b, "llvm.minnum.v8f32", [t, _constant(125)]), _constant(-125)])
        rounded = b.fadd(t, _constant(1.5 * 2**23))
        f = b.fsub(t, b.fsub(rounded, _constant(1.5 * 2**23)))
        power = _polynomial(
            b, f, (1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2,
                   2.402264791363012e-1, 6.931472028550421e-1, 1.0),
        )  # fmt: skip
        exponent = b.shl(b.bitcast(rounded, _INTS), _constants(_MANTISSA_BITS))
        exponential = b.bitcast(b.add(b.bitcast(power, _INTS), exponent), _FLOATS)
        return b.fdiv(_constant(1), b.fadd(_constant(1), exponential))

    return octet(octet), lower


@intrinsic
def log2(typing: Any, x: Any) -> Any:
    """The logarithm to base 2 of positive numbers, absolute error below 1e-6.

    x = 2^k m with m in [2/3, 4/3): the exponent bits give k, a polynomial log2(m) (least squares at Chebyshev's nodes).
    """

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        bits = b.sub(b.bitcast(args[0], _INTS), _constants(0x3F2AAAAB))  # relative to 2/3
        k = b.ashr(bits, _constants(_MANTISSA_BITS))
        m = b.bitcast(b.add(b.and_(bits, _constants(0x007FFFFF)), _constants(0x3F2AAAAB)), _FLOATS)
        return b.fadd(b.sitofp(k, _FLOATS), _polynomial(b, b.fsub(m, _constant(1)), _LOG2))

    return octet(octet), lower


def _polynomial(builder: Any, x: Any, coefficients: Any) -> Any:
    """Horner's scheme, highest power first."""
    value = _constant(coefficients[0])
    for coefficient in coefficients[1:]:
        product = builder.fmul(value, x, flags=("contract",))
        value = builder.fadd(product, _constant(coefficient), flags=("contract",))
    return value


_LOG2 = (0.252508299, -0.284405332, 0.284484182, -0.357703166, 0.481026499, -0.721403697, 1.44269396, 0.0)


# -- memory ------------------------------------------------------------------------------------------------------------
# Addresses are int64, so that rows of different arrays may meet in one product. The array must outlive its address.


def aligned_zeros(rows: int, columns: int) -> np.ndarray:
    """float32 [rows, columns] that begins at a cache line: lanes of a row never lie across two.

    NumPy begins 16 bytes off, which made CBOW a quarter slower.
    """
    room = np.zeros(rows * columns + CACHE_LINE // 4, np.float32)
    start = -room.ctypes.data % CACHE_LINE // 4
    return room[start : start + rows * columns].reshape(rows, columns)


@intrinsic
def address(typing: Any, array: Any, index: Any) -> Any:
    """Where the element at the flat `index` of a C-contiguous float32 array lies."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(builder.gep(data, [args[1]]), ir.IntType(64))

    return types.int64(array, types.int64), lower


def _pointer(builder: Any, place: Any, offset: Any, kind: Any) -> Any:
    """`offset` counts float32."""
    start = builder.inttoptr(place, _FLOAT.as_pointer())
    return builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())


def _load(kind: Vector) -> Any:
    @intrinsic
    def load(typing: Any, place: Any, offset: Any) -> Any:
        """The numbers from `offset` numbers after an address on."""

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load(_pointer(builder, args[0], args[1], _llvm(kind.width)), align=4)

        return kind(types.int64, types.int64), lower

    return load


def _spread_from(kind: Vector) -> Any:
    @intrinsic
    def spread(typing: Any, place: Any, offset: Any) -> Any:
        """As many times the number `offset` numbers after an address."""

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _spread(builder, builder.load(_pointer(builder, args[0], args[1], _FLOAT)), kind.width)

        return kind(types.int64, types.int64), lower

    return spread


load, load8 = _load(lanes), _load(octet)
spread, spread8 = _spread_from(lanes), _spread_from(octet)


@intrinsic
def store(typing: Any, place: Any, offset: Any, value: Any) -> Any:
    """Write lanes or an octet from `offset` numbers after an address on."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(builder, args[0], args[1], _llvm(sig.args[2].width)), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, value), lower


@intrinsic
def prefetch(typing: Any, place: Any, offset: Any) -> Any:
    """Ask for the cache line `offset` numbers after an address, to be read and written soon."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(builder, args[0], args[1], _BYTE)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _INT, _INT, _INT])
        function = builder.module.globals.get("llvm.prefetch") or ir.Function(builder.module, kind, "llvm.prefetch")
        builder.call(function, [pointer, _INT(1), _INT(3), _INT(1)])  # for writing, into every level, data
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), lower
