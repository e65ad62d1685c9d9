"""Several float32 side by side, as types that compiled functions can hold in a register.

Numba leaves vectorising to the compiler, which keeps the accumulators of a small matrix product in memory rather than
in registers; here the kernel says which numbers it means. Rows are taken by `LANES`, sixteen where a register holds as
many (AVX-512), else eight; what comes of a block of dot products stands in an octet, or for two rows in two octets, on
every machine. LLVM turns either into one AVX register, two NEON or SSE registers, or whatever the machine has.

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
PAIR = 16  # two octets
# Numba's setting of what the machine has comes before what it really has, as it does for numba itself.
_FEATURES: str = vars(numba.config)["CPU_FEATURES"] or binding.get_host_cpu_features().flatten()
LANES = PAIR if "+avx512f" in _FEATURES else OCTET
CACHE_LINE = 64  # bytes
intrinsic: Any = extending.intrinsic  # what it makes is called without the first argument, which its type does not say
_FLOAT, _INT, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
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


octet, pair = Vector(OCTET), Vector(PAIR)
lanes = octet if LANES == OCTET else pair


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _operator(symbol: Any, instruction: str) -> None:
    @infer_global(symbol)
    class Template(ConcreteTemplate):
        cases = tuple(signature(kind, kind, kind) for kind in (octet, pair))

    @lower_builtin(symbol, Vector, Vector)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=("contract",))


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _instruction)


def _constant(value: float, width: int) -> ir.Constant:
    return ir.Constant(_llvm(width), [float(value)] * width)


def _constants(value: int, width: int) -> ir.Constant:
    return ir.Constant(_llvm(width, _INT), [value] * width)


def _call(builder: Any, name: str, args: Any) -> Any:
    """An LLVM intrinsic of vectors of one width → the same."""
    kind = args[0].type
    name = f"{name}.v{kind.count}f32"
    known = builder.module.globals.get(name)
    return builder.call(known or ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(args)), name), args)


def _shuffled(builder: Any, x: Any, y: Any, places: Any) -> Any:
    """A vector of the numbers at `places` of x and y, counted on from x to y."""
    return builder.shuffle_vector(x, y, ir.Constant(_llvm(len(places), _INT), list(places)))


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


# A name that ends in 8 is of octets, one that ends in 16 of two of them, whatever a register holds.
zeros, zeros16 = _zeros(lanes), _zeros(pair)
broadcast, broadcast16 = _broadcast(lanes), _broadcast(pair)


def _octet_of_sums(builder: Any, rows: Any) -> Any:
    """What each of eight octets sums up to, as an octet; of eight pairs, what each of their halves does, as a pair."""
    width = rows[0].type.count
    halves = range(0, width, OCTET)

    def added(x: Any, y: Any, *parts: Any) -> Any:
        """Numbers of x and y, those at two sets of places within each octet, added."""
        sets = ([at + half if at < OCTET else at - OCTET + width + half for half in halves for at in p] for p in parts)
        return builder.fadd(*(_shuffled(builder, x, y, places) for places in sets))

    while len(rows) > 2:  # even and odd neighbours within each half of four: x86 has an instruction for this
        neighbours = zip(rows[::2], rows[1::2], strict=True)
        rows = [added(x, y, (0, 2, 8, 10, 4, 6, 12, 14), (1, 3, 9, 11, 5, 7, 13, 15)) for x, y in neighbours]
    return added(*rows, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))


@intrinsic
def sums8(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """An octet: what each of the six lanes sums up to, and two zeros."""

    def lower(context: Any, builder: Any, sig: Any, rows: Any) -> Any:
        if LANES > OCTET:
            low, high = range(OCTET), range(OCTET, PAIR)
            rows = [builder.fadd(*(_shuffled(builder, row, row, half) for half in (low, high))) for row in rows]
        return _octet_of_sums(builder, [*rows, *[_constant(0, OCTET)] * 2])

    return octet(*[lanes] * 6), lower


@intrinsic
def sums16(
    typing: Any,
    x0: Any,
    x1: Any,
    x2: Any,
    x3: Any,
    x4: Any,
    x5: Any,
    y0: Any,
    y1: Any,
    y2: Any,
    y3: Any,
    y4: Any,
    y5: Any,
) -> Any:
    """Two octets: `sums8` of the first six lanes, and of the other six."""

    def lower(context: Any, builder: Any, sig: Any, rows: Any) -> Any:
        if LANES == OCTET:
            one, other = (_octet_of_sums(builder, [*six, *[_constant(0, OCTET)] * 2]) for six in (rows[:6], rows[6:]))
            return _shuffled(builder, one, other, range(PAIR))
        low = [*range(OCTET), *range(PAIR, PAIR + OCTET)]  # of the one and the other
        high = [place + OCTET for place in low]
        halves = [
            builder.fadd(*(_shuffled(builder, x, y, places) for places in (low, high)))
            for x, y in zip(rows[:6], rows[6:], strict=True)
        ]
        return _octet_of_sums(builder, [*halves, *[_constant(0, PAIR)] * 2])

    return pair(*[lanes] * 12), lower


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """The float32 sum of an octet or of lanes, halves added first."""

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, width = args[0], sig.args[0].width
        half = width // 2
        while half:
            x, half = b.fadd(x, _shuffled(b, x, x, [(i + half) % width for i in range(width)])), half // 2
        return b.extract_element(x, _INT(0))

    return types.float32(x), lower


@intrinsic
def sigmoid(typing: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)), relative error below 1e-5; |x| is cut at 86.

    exp(-x) = 2^k 2^f with |f| ≤ 1/2: adding 1.5 * 2^23 rounds to the integer k and leaves it in the low bits, a shift
    moves it to the exponent; 2^f is the polynomial of Cephes' exp2f (Moshier 1989).
    """

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        width = sig.args[0].width

        def everywhere(value: float) -> ir.Constant:
            return _constant(value, width)

        t = b.fmul(args[0], everywhere(-1.4426950408889634))
        t = _call(b, "llvm.maxnum", [_call(b, "llvm.minnum", [t, everywhere(125)]), everywhere(-125)])
        rounded = b.fadd(t, everywhere(1.5 * 2**23))
        f = b.fsub(t, b.fsub(rounded, everywhere(1.5 * 2**23)))
        power = _polynomial(
            b, f, (1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2,
                   2.402264791363012e-1, 6.931472028550421e-1, 1.0),
        )  # fmt: skip
        ints = _llvm(width, _INT)
        exponent = b.shl(b.bitcast(rounded, ints), _constants(_MANTISSA_BITS, width))
        exponential = b.bitcast(b.add(b.bitcast(power, ints), exponent), _llvm(width))
        return b.fdiv(everywhere(1), b.fadd(everywhere(1), exponential))

    return x(x), lower


@intrinsic
def log2(typing: Any, x: Any) -> Any:
    """The logarithm to base 2 of positive numbers, absolute error below 1e-6.

    x = 2^k m with m in [2/3, 4/3): the exponent bits give k, a polynomial log2(m) (least squares at Chebyshev's nodes).
    """

    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        width = sig.args[0].width
        floats, ints, two_thirds = _llvm(width), _llvm(width, _INT), _constants(0x3F2AAAAB, width)
        bits = b.sub(b.bitcast(args[0], ints), two_thirds)
        k = b.ashr(bits, _constants(_MANTISSA_BITS, width))
        m = b.bitcast(b.add(b.and_(bits, _constants(0x007FFFFF, width)), two_thirds), floats)
        return b.fadd(b.sitofp(k, floats), _polynomial(b, b.fsub(m, _constant(1, width)), _LOG2))

    return x(x), lower


def _polynomial(builder: Any, x: Any, coefficients: Any) -> Any:
    """Horner's scheme, highest power first."""
    width = x.type.count
    value = _constant(coefficients[0], width)
    for coefficient in coefficients[1:]:
        product = builder.fmul(value, x, flags=("contract",))
        value = builder.fadd(product, _constant(coefficient, width), flags=("contract",))
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
    """Where the element at the flat `index` of a C-contiguous array lies."""

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


@intrinsic
def spread(typing: Any, place: Any, offset: Any) -> Any:
    """As many times the number `offset` numbers after an address."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _spread(builder, builder.load(_pointer(builder, args[0], args[1], _FLOAT)), LANES)

    return lanes(types.int64, types.int64), lower


load, load8, load16 = _load(lanes), _load(octet), _load(pair)


@intrinsic
def spread16(typing: Any, place: Any, offset: Any) -> Any:
    """Eight times the number `offset` numbers after an address, then eight times the next one."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        two = builder.load(_pointer(builder, args[0], args[1], _llvm(2)), align=4)
        return _shuffled(builder, two, two, [0] * OCTET + [1] * OCTET)

    return pair(types.int64, types.int64), lower


@intrinsic
def twice16(typing: Any, place: Any, offset: Any) -> Any:
    """The octet `offset` numbers after an address, and the same again."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        once = builder.load(_pointer(builder, args[0], args[1], _llvm(OCTET)), align=4)
        return _shuffled(builder, once, once, [*range(OCTET)] * 2)

    return pair(types.int64, types.int64), lower


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


# One number at an index of an array that is given by its address. Numba counts the references to an array, with locked
# instructions, wherever one is handed to a function that is copied into a loop: that was a sixth of CBOW's time. And it
# cares for negative indices.


def _scalar_in(kind: Any, llvm: ir.Type) -> Any:
    @intrinsic
    def scalar_in(typing: Any, array: Any, index: Any) -> Any:
        """What stands there."""

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load(builder.gep(builder.inttoptr(args[0], llvm.as_pointer()), [args[1]]))

        return kind(types.int64, types.int64), lower

    return scalar_in


def _put(kind: Any, llvm: ir.Type) -> Any:
    @intrinsic
    def put(typing: Any, array: Any, index: Any, value: Any) -> Any:
        """Write it there."""

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.store(args[2], builder.gep(builder.inttoptr(args[0], llvm.as_pointer()), [args[1]]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), lower

    return put


address_in, put_address = _scalar_in(types.int64, ir.IntType(64)), _put(types.int64, ir.IntType(64))
float_in, put_float = _scalar_in(types.float32, _FLOAT), _put(types.float32, _FLOAT)
int_in = _scalar_in(types.int32, _INT)
