"""Explicit SIMD values for numba: ``Vector`` (LANES x float32), ``Mask`` (LANES x bool), and operators on them.

LLVM lowers them to whatever the host has (AVX-512, AVX, SSE, NEON), so one source serves every CPU that numba
supports and no compiler is needed at run time. Scalars mix freely with vectors: float32 operands are broadcast.
"""

# numba finds the types of kernels.
# pyright: basic

import operator
import os
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing import templates
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import models, register_model

from .jit import FAST

# Untyped: in kernels these are called with other arguments than they are defined with
intrinsic: Any = extending.intrinsic
infer_global: Any = templates.infer_global


def _host_lanes() -> int:
    """16 with AVX-512, else 8 (which narrower machines split). DIMO_NS_LANES overrides it, for tests."""
    if "DIMO_NS_LANES" in os.environ:
        return int(os.environ["DIMO_NS_LANES"])
    features = {name for name, present in llvm.get_host_cpu_features().items() if present}
    return 16 if {"avx512f", "avx512dq"} <= features else 8


LANES = _host_lanes()
_F32, _I32 = ir.FloatType(), ir.IntType(32)
_VF, _VI, _VM = (ir.VectorType(t, LANES) for t in (_F32, _I32, ir.IntType(1)))


# --- types -----------------------------------------------------------------------------------------------------------


class Vector(types.Type):
    def __init__(self):
        super().__init__(name=f"Vector{LANES}")


class Mask(types.Type):
    def __init__(self):
        super().__init__(name=f"Mask{LANES}")


class VectorStack(types.Type):
    """A fixed number of vectors on the stack; see ``stack``, ``get`` and ``put``."""

    def __init__(self):
        super().__init__(name=f"VectorStack{LANES}")


_vector, _mask, _stack = Vector(), Mask(), VectorStack()


def _register(numba_type: type, llvm_type: ir.Type) -> None:
    @register_model(numba_type)
    class _Model(models.PrimitiveModel):
        def __init__(self, manager, fe_type):
            super().__init__(manager, fe_type, llvm_type)


_register(Vector, _VF)
_register(Mask, _VM)
_register(VectorStack, _VF.as_pointer())


# --- operators -------------------------------------------------------------------------------------------------------


def _broadcast(builder, scalar):
    undefined = ir.Constant(_VF, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_VI, [0] * LANES))


def _constant(value: float):
    return ir.Constant(_VF, [float(np.float32(value))] * LANES)


def _bits(value: int):
    return ir.Constant(_VI, [value] * LANES)


def _define_binary(python_operator, result, build) -> None:
    @infer_global(python_operator)
    class _Template(AbstractTemplate):
        key = python_operator

        def generic(self, args, kws):
            vectors = [isinstance(a, Vector) for a in args]
            if len(args) == 2 and any(vectors) and all(isinstance(a, (Vector, types.Number)) for a in args):
                return signature(result, *(a if isinstance(a, Vector) else types.float32 for a in args))

    def lower(context, builder, sig, args):
        a, b = (v if isinstance(t, Vector) else _broadcast(builder, v) for v, t in zip(args, sig.args, strict=True))
        return build(builder, a, b)

    for operands in ((Vector, Vector), (Vector, types.float32), (types.float32, Vector)):
        lower_builtin(python_operator, *operands)(lower)


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_binary(_operator, _vector, lambda b, x, y, _name=_name: getattr(b, _name)(x, y, flags=FAST))
for _operator, _name in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _define_binary(_operator, _mask, lambda b, x, y, _name=_name: b.fcmp_ordered(_name, x, y))


@infer_global(operator.and_)
class _MaskAnd(AbstractTemplate):
    key = operator.and_

    def generic(self, args, kws):
        if len(args) == 2 and all(isinstance(a, Mask) for a in args):
            return signature(_mask, _mask, _mask)


@lower_builtin(operator.and_, Mask, Mask)
def _lower_mask_and(context, builder, sig, args):
    return builder.and_(*args)


# --- lane-wise functions ---------------------------------------------------------------------------------------------


@intrinsic
def broadcast(typing, x):
    """The scalar x in every lane."""
    return _vector(types.float32), lambda context, builder, sig, args: _broadcast(builder, args[0])


def _lane_constant(values):
    @intrinsic
    def lanes(typing):
        return _vector(), lambda context, builder, sig, args: ir.Constant(_VF, [float(v) for v in values])

    return lanes


lane_index = _lane_constant(range(LANES))
# The pixels of one vector form a block, four wide: offsets of every lane's pixel in it.
lane_x = _lane_constant([lane % 4 for lane in range(LANES)])
lane_y = _lane_constant([lane // 4 for lane in range(LANES)])


@intrinsic
def keep(typing, mask, a):
    """a where mask, else +0. A select, not a product: NaN and infinite lanes are dropped too."""
    return _vector(mask, a), lambda context, builder, sig, args: builder.select(args[0], args[1], _constant(0.0))


@intrinsic
def select(typing, mask, a, b):
    """a where mask, else b."""
    return _vector(mask, a, b), lambda context, builder, sig, args: builder.select(*args)


def _choose(comparison):
    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(comparison, args[0], args[1]), args[0], args[1])

    return generate


@intrinsic
def minimum(typing, a, b):
    return _vector(a, b), _choose("<")


@intrinsic
def maximum(typing, a, b):
    return _vector(a, b), _choose(">")


@intrinsic
def absolute(typing, a):
    def generate(context, builder, sig, args):
        return builder.bitcast(builder.and_(builder.bitcast(args[0], _VI), _bits(2**31 - 1)), _VF)

    return _vector(a), generate


@intrinsic
def minus_absolute(typing, a):
    """-|a|."""

    def generate(context, builder, sig, args):
        return builder.bitcast(builder.or_(builder.bitcast(args[0], _VI), _bits(-(2**31))), _VF)

    return _vector(a), generate


# 2**f on [-1/2, 1/2], minimax in relative error (1.2e-7 in float32), highest power first
_EXP2 = (0.00132764713, 0.00967554096, 0.0555071309, 0.240221202, 0.693146944, 1.00000012)


@intrinsic
def exp2_neg(typing, q):
    """2**-q for |q| <= 126, relative error below 3e-7; meaningless lanes outside, which the caller masks."""

    def generate(context, builder, sig, args):
        x = builder.fneg(args[0])
        # Not the usual trick of adding and subtracting 1.5 * 2**23: reassociation would cancel it
        rint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VF, [_VF]), f"llvm.rint.v{LANES}f32")
        whole = builder.call(rint, [x])
        fraction = builder.fsub(x, whole)
        p = _constant(_EXP2[0])
        for coefficient in _EXP2[1:]:
            p = builder.fadd(builder.fmul(p, fraction, flags=FAST), _constant(coefficient), flags=FAST)
        exponent = builder.shl(builder.fptosi(whole, _VI), _bits(23))
        return builder.bitcast(builder.add(builder.bitcast(p, _VI), exponent), _VF)

    return _vector(q), generate


# --- across lanes ----------------------------------------------------------------------------------------------------


@intrinsic
def bits(typing, mask):
    """The mask as an integer, lane 0 in the lowest bit."""

    def generate(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(mask), generate


@intrinsic
def lowest_bit(typing, word):
    """Position of the lowest set bit of a positive integer."""

    def generate(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def store_sums(typing, array, index, a, b, c, d):
    """array.flat[index : index + 4] = the lane sums of a, b, c and d, by one shared tree of shuffles."""

    def generate(context, builder, sig, args):
        array, index, a, b, c, d = args

        def shuffled(x, y, pattern):  # pattern: positions in each group of four lanes, 4..7 meaning y's
            mask = [4 * g + k if k < 4 else LANES + 4 * g + k - 4 for g in range(LANES // 4) for k in pattern]
            return builder.shuffle_vector(x, y, ir.Constant(_VI, mask))

        def folded(x, y, low, high):
            return builder.fadd(shuffled(x, y, low), shuffled(x, y, high), flags=FAST)

        ab = folded(a, b, (0, 4, 1, 5), (2, 6, 3, 7))  # a0+a2, b0+b2, a1+a3, b1+b3 in every group
        cd = folded(c, d, (0, 4, 1, 5), (2, 6, 3, 7))
        total, width = folded(ab, cd, (0, 1, 4, 5), (2, 3, 6, 7)), LANES
        while width > 4:
            width //= 2
            half = ir.VectorType(_I32, width)
            low, high = (ir.Constant(half, list(range(s, s + width))) for s in (0, width))
            undefined = ir.Constant(total.type, ir.Undefined)
            total = builder.fadd(
                builder.shuffle_vector(total, undefined, low),
                builder.shuffle_vector(total, undefined, high),
                flags=FAST,
            )
        _store(context, builder, sig.args[0], array, index, total)
        return context.get_dummy_value()

    return types.void(array, types.intp, a, b, c, d), generate


# --- memory ----------------------------------------------------------------------------------------------------------


def _element(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _store(context, builder, array_type, array, index, vector) -> None:
    pointer = builder.bitcast(_element(context, builder, array_type, array, index), vector.type.as_pointer())
    builder.store(vector, pointer).align = 4


@intrinsic
def load(typing, array, index):
    """array.flat[index : index + LANES]."""

    def generate(context, builder, sig, args):
        pointer = builder.bitcast(_element(context, builder, sig.args[0], *args), _VF.as_pointer())
        loaded = builder.load(pointer)
        loaded.align = 4
        return loaded

    return _vector(array, types.intp), generate


@intrinsic
def store(typing, array, index, vector):
    """array.flat[index : index + LANES] = vector."""

    def generate(context, builder, sig, args):
        _store(context, builder, sig.args[0], *args)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic(prefer_literal=True)
def stack(typing, size):
    """Room for ``size`` vectors (a compile-time constant) in the function's frame."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    literal = size.literal_value
    return _stack(size), lambda context, builder, sig, args: cgutils.alloca_once(builder, _VF, size=literal)


@intrinsic
def get(typing, vectors, index):
    def generate(context, builder, sig, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return _vector(vectors, types.intp), generate


@intrinsic
def put(typing, vectors, index, vector):
    def generate(context, builder, sig, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(vectors, types.intp, vector), generate


@intrinsic
def get_lane(typing, vectors, index):
    """Lane index % LANES of vector index // LANES."""

    def generate(context, builder, sig, args):
        return builder.load(builder.gep(builder.bitcast(args[0], _F32.as_pointer()), [args[1]]))

    return types.float32(vectors, types.intp), generate


@intrinsic
def put_lane(typing, vectors, index, value):
    def generate(context, builder, sig, args):
        builder.store(args[2], builder.gep(builder.bitcast(args[0], _F32.as_pointer()), [args[1]]))
        return context.get_dummy_value()

    return types.void(vectors, types.intp, types.float32), generate


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line that holds array.flat[index]."""

    def generate(context, builder, sig, args):
        pointer = builder.bitcast(_element(context, builder, sig.args[0], *args), ir.IntType(8).as_pointer())
        declaration = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, declaration, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(_I32, flag) for flag in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def float_bits(typing, x):
    """The bits of a float32 as an int32; for positive x they sort as x does."""
    return types.int32(types.float32), lambda context, builder, sig, args: builder.bitcast(args[0], _I32)
