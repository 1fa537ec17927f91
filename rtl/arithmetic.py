"""The multiply-accumulate arithmetic of a processing element, pipelined as deep as one likes.

`multiply` gives a product that is exact in the accumulator's format; `add` rounds to nearest even
(FP32) or wraps (INT32). Both are functions on a module under construction with a `Pipeline` that
says where registers stand; `multiplier_pipeline` and `adder_pipeline` place them for a latency.

FP16 x FP16 is exact in FP32: 11 x 11 significand bits are 22 of 24, and 2**-48 is far above the
least normal FP32 number. FP16 subnormal inputs, infinities and NaNs are honoured; every NaN that
leaves is the canonical quiet NaN of `hwsim.models.formats`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hwsim.models.formats import CANONICAL_NAN_BITS, NumberFormat
from hwsim.rtl.pipeline import Pipeline

__all__ = [
    "add",
    "adder_cuts",
    "adder_pipeline",
    "fp16_multiply",
    "fp32_add",
    "leading_zeros",
    "multiplier_cuts",
    "multiplier_pipeline",
    "multiply",
    "product_bits",
    "round_fp32",
]

_ADDER_CUTS = {
    1: (),
    2: (3,),
    3: (2, 4),
    4: (2, 3, 5),
    5: (1, 2, 3, 5),
    6: (1, 2, 3, 4, 5),
    7: (0, 1, 2, 3, 4, 5),
}
"""Boundaries of `fp32_add` that hold a register, by latency: 0 at the operands, so that what
chooses them has a step of its own, 1 after they are ordered, 2 after alignment, 3 after the sum, 4
after its leading zeros are counted, 5 before rounding."""

_INTEGER_ADDER_CUTS: dict[int, tuple[int, ...]] = {1: (), 2: (0,)}
"""The same of an integer adder: 0 at its operands."""

_MULTIPLIER_CUTS = {1: (), 2: (0,), 3: (0, 1), 4: (0, 1, 2)}
"""Boundaries of `fp16_multiply` by latency: 0 after unpacking, 1 after the product of the
significands, 2 after normalisation. With 0 and 1 the product has registers on both sides, which a
multiplier block holds itself."""

_INTEGER_MULTIPLIER_CUTS: dict[int, tuple[int, ...]] = {1: (), 2: (0,)}
"""The same of an integer multiplier: 0 at its operands."""


def adder_cuts(fmt: NumberFormat, latency: int) -> frozenset[int]:
    """Boundaries of an adder of `latency` >= 1 steps that hold a register; the other registers
    stand behind its result."""
    return _cuts(_ADDER_CUTS if fmt.is_float else _INTEGER_ADDER_CUTS, latency)


def multiplier_cuts(fmt: NumberFormat, latency: int) -> frozenset[int]:
    """The same of a multiplier."""
    return _cuts(_MULTIPLIER_CUTS if fmt.is_float else _INTEGER_MULTIPLIER_CUTS, latency)


def adder_pipeline(m: Module, en: Value, fmt: NumberFormat, latency: int) -> Pipeline:
    """Registers of an adder that takes `latency` >= 1 steps, the last at its result."""
    cuts = adder_cuts(fmt, latency)
    return Pipeline(m, en, cuts, latency - len(cuts))  # what is left is for retiming


def multiplier_pipeline(m: Module, en: Value, fmt: NumberFormat, latency: int) -> Pipeline:
    """Registers of a multiplier that takes `latency` >= 1 steps, the last at its result."""
    cuts = multiplier_cuts(fmt, latency)
    return Pipeline(m, en, cuts, latency - len(cuts))


def _cuts(table: dict[int, tuple[int, ...]], latency: int) -> frozenset[int]:
    if latency < 1:
        raise ValueError(f"latency >= 1 must hold, but got {latency}")
    return frozenset(table[min(latency, max(table))])


def product_bits(fmt: NumberFormat) -> int:
    """Width of what `multiply` returns: FP32 for floats, twice the operand for integers."""
    return fmt.accumulator_bits if fmt.is_float else 2 * fmt.operand_bits


def multiply(
    m: Module, fmt: NumberFormat, a: Value, b: Value, pipeline: Pipeline | None = None
) -> Value:
    """The exact product of two operands, `product_bits(fmt)` wide."""
    if fmt.is_float:
        return fp16_multiply(m, a, b, pipeline)
    pipe = pipeline or Pipeline(m, Const(1))
    a, b = pipe.cut(a, b)
    product = Signal(product_bits(fmt), name="product_int")
    m.d.comb += product.eq(a.as_signed() * b.as_signed())
    return pipe.result(product)


def add(
    m: Module, fmt: NumberFormat, total: Value, product: Value, pipeline: Pipeline | None = None
) -> Value:
    """`total` + `product` in the accumulator's format."""
    if fmt.is_float:
        return fp32_add(m, total, product, pipeline)
    pipe = pipeline or Pipeline(m, Const(1))
    total, product = pipe.cut(total, product)
    sum_int = Signal(fmt.accumulator_bits, name="sum_int")
    m.d.comb += sum_int.eq(total.as_signed() + product.as_signed())
    return pipe.result(sum_int)


def fp16_multiply(m: Module, a: Value, b: Value, pipeline: Pipeline | None = None) -> Value:
    """FP16 x FP16 -> FP32, exact; 32 bits. Combinational without a pipeline."""
    pipe = pipeline or Pipeline(m, Const(1))
    sides = [_Fp16(m, a, "a"), _Fp16(m, b, "b")]
    sign = Signal(name="mul_sign")
    nan = Signal(name="mul_nan")
    inf = Signal(name="mul_inf")
    zero = Signal(name="mul_zero")
    scale = Signal(8, name="mul_scale")
    # Subnormals are normalised in front of the product, so that behind it a single place is left:
    # value = product * 2**(ea + eb - 50), ea and eb less the places moved. With the leading one at
    # bit 20 the FP32 exponent field is ea + eb - 50 + 20 + 127, at least -18 + 97 = 79, which is
    # summed beside the product.
    m.d.comb += [
        sign.eq(a[15] ^ b[15]),
        zero.eq(sides[0].zero | sides[1].zero),
        inf.eq(sides[0].inf | sides[1].inf),
        nan.eq(sides[0].nan | sides[1].nan | (inf & zero)),
    ]
    flags = Cat(nan, inf, zero, sign)
    sa, sb, ea, eb, flags = pipe.cut(
        *(side.significand for side in sides), *(side.exponent for side in sides), flags
    )
    product = Signal(22, name="mul_product")
    m.d.comb += [product.eq(sa * sb), scale.eq(ea.as_signed() + eb.as_signed() + 97)]
    product_1, scale_1, flags = pipe.cut(product, scale, flags)
    normal = Signal(21, name="mul_normal")  # the fraction behind the leading one
    exponent = Signal(8, name="mul_exponent")
    m.d.comb += [
        normal.eq(Mux(product_1[21], product_1[:21], product_1[:20] << 1)),
        exponent.eq(scale_1 + product_1[21]),
    ]
    normal_1, exponent_1, flags = pipe.cut(normal, exponent, flags)

    nan_out, inf_out, zero_out, sign_out = flags[0], flags[1], flags[2], flags[3]
    out = Signal(32, name="mul_out")
    with m.If(nan_out):
        m.d.comb += out.eq(CANONICAL_NAN_BITS)
    with m.Elif(inf_out):
        m.d.comb += out.eq(Cat(Const(0, 23), Const(0xFF, 8), sign_out))
    with m.Elif(zero_out):
        m.d.comb += out.eq(Cat(Const(0, 31), sign_out))
    with m.Else():
        m.d.comb += out.eq(Cat(Const(0, 2), normal_1, exponent_1, sign_out))
    return pipe.result(out)


def fp32_add(m: Module, a: Value, b: Value, pipeline: Pipeline | None = None) -> Value:
    """FP32 + FP32, round to nearest even, subnormals honoured; 32 bits.

    Combinational without a pipeline.
    """
    pipe = pipeline or Pipeline(m, Const(1))
    a, b = pipe.cut(a, b)
    # The operand of larger magnitude first: magnitudes compare as integers.
    swap = Signal(name="add_swap")
    big = Signal(32, name="add_big")
    small = Signal(32, name="add_small")
    exponent_a = Signal(8, name="add_exponent_a")
    exponent_b = Signal(8, name="add_exponent_b")
    exponent_big = Signal(8, name="add_exponent_big")
    subtract = Signal(name="add_subtract")
    shift = Signal(8, name="add_shift")
    m.d.comb += [
        swap.eq(b[:31] > a[:31]),
        big.eq(Mux(swap, b, a)),
        small.eq(Mux(swap, a, b)),
        # a subnormal has the scale of exponent 1 and no hidden bit
        exponent_a.eq(Mux(a[23:31].any(), a[23:31], 1)),
        exponent_b.eq(Mux(b[23:31].any(), b[23:31], 1)),
        exponent_big.eq(Mux(swap, exponent_b, exponent_a)),
        subtract.eq(a[31] ^ b[31]),
        # both differences beside the comparison, not behind it
        shift.eq(Mux(swap, exponent_b - exponent_a, exponent_a - exponent_b)),
    ]
    special = Signal(name="add_special")
    nan = Signal(name="add_nan")
    zero_sign = Signal(name="add_zero_sign")
    full_a, full_b = Signal(name="add_full_a"), Signal(name="add_full_b")
    m.d.comb += [
        full_a.eq(a[23:31].all()),
        full_b.eq(b[23:31].all()),
        # all of this beside the comparison, not behind it
        special.eq(full_a | full_b),
        # two infinities of unlike sign have no sum
        nan.eq((full_a & a[:23].any()) | (full_b & b[:23].any()) | (full_a & full_b & subtract)),
        # x - x is +0; -0 + -0 is -0
        zero_sign.eq(a[31] & b[31]),
    ]

    # Three bits below the last place (guard, round, sticky) decide every rounding.
    significand_big = Signal(27, name="add_significand_big")
    significand_small = Signal(27, name="add_significand_small")
    m.d.comb += [
        significand_big.eq(Cat(Const(0, 3), big[:23], big[23:31].any())),
        significand_small.eq(Cat(Const(0, 3), small[:23], small[23:31].any())),
    ]
    flags = Cat(nan, special, zero_sign, big[31])
    wide, narrow, amounts, minus, exponent_0, flags = pipe.cut(
        significand_big, significand_small, shift, subtract, exponent_big, flags
    )
    stages: Value = narrow
    sticky: Value = Const(0, 1)
    for bit in range(5):
        amount = 1 << bit
        sticky = sticky | (amounts[bit] & stages[:amount].any())
        stages = Mux(amounts[bit], stages >> amount, stages)
    far = amounts[5:].any()
    shifted = Signal(27, name="add_shifted")
    lost = Signal(name="add_lost")
    aligned = Signal(27, name="add_aligned")
    m.d.comb += [
        shifted.eq(Mux(far, 0, stages)),
        lost.eq(Mux(far, narrow.any(), sticky)),
        aligned.eq(shifted | lost),
    ]
    wide, aligned_1, minus, exponent_0, flags = pipe.cut(wide, aligned, minus, exponent_0, flags)

    # One adder: a - b = a + ~b + 1, the 1 as a carry into the lowest place; big >= small.
    total = Signal(28, name="add_total")
    inverted = aligned_1 ^ minus.replicate(27)
    carried = Signal(29, name="add_carried")
    m.d.comb += [
        carried.eq(Cat(Const(1, 1), wide) + Cat(minus, inverted)),
        total.eq(Cat(carried[1:28], carried[28] & ~minus)),
    ]
    total_1, exponent_0, flags = pipe.cut(total, exponent_0, flags)

    # Move the leading one to bit 27, but never below the scale of a subnormal: by no more places
    # than the exponent, where a one of our own stands for counting. Bit 27 of the sum is a carry,
    # so what is not moved has exponent + 1.
    limit = Signal(28, name="add_limit")
    left = Signal(5, name="add_left")
    m.d.comb += [
        limit.eq(Cat(exponent_0 == 27 - bit for bit in range(28))),
        left.eq(leading_zeros(total_1 | limit)),
    ]
    total_1, left_1, exponent_0, flags = pipe.cut(total_1, left, exponent_0, flags)
    moved = Signal(28, name="add_moved")
    normal = Signal(27, name="add_normal")
    exponent = Signal(9, name="add_exponent")
    m.d.comb += [
        moved.eq(total_1 << left_1),
        normal.eq(moved[1:] | moved[0]),
        exponent.eq(exponent_0 + 1 - left_1),
    ]
    normal_1, exponent_1, flags = pipe.cut(normal, exponent, flags)

    rounded, overflow = round_fp32(m, normal_1, exponent_1)
    nan_1, infinite, sign = (
        Signal(name="add_nan_1"),
        Signal(name="add_inf"),
        Signal(name="add_sign"),
    )
    out = Signal(32, name="add_out")
    m.d.comb += [
        nan_1.eq(flags[0]),
        infinite.eq(flags[1] | overflow),
        # a zero is rounded to zero by itself and has a sign of its own
        sign.eq(Mux(normal_1.any(), flags[3], flags[2])),
    ]
    with m.If(nan_1):
        m.d.comb += out.eq(CANONICAL_NAN_BITS)
    with m.Elif(infinite):
        m.d.comb += out.eq(Cat(Const(0, 23), Const(0xFF, 8), flags[3]))
    with m.Else():
        m.d.comb += out.eq(Cat(rounded, sign))
    return pipe.result(out)


def round_fp32(m: Module, normal: Value, exponent: Value) -> tuple[Value, Value]:
    """A result's exponent and fraction, rounded to nearest even, 31 bits; whether it overflows.

    A fraction that rounds up to 1 under the largest exponent gives infinity by itself, so whether
    it overflows does not wait for the sum.

    Args:
        normal: 27 bits: leading one, 23 of fraction, guard, round, sticky; no leading one is a
            subnormal.
        exponent: the field of a normal result, 9 bits.
    """
    # Exponent and fraction as one integer: a carry out of the fraction raises the exponent, and a
    # leading zero (a subnormal) makes the exponent field 0.
    field = Signal(9, name="round_field")
    up = Signal(name="round_up")
    rounded = Signal(32, name="rounded")
    m.d.comb += [
        field.eq(Mux(normal[26], exponent, 0)),
        up.eq(normal[2] & (normal[0] | normal[1] | normal[3])),
        rounded.eq(Cat(normal[3:26], field) + up),
    ]
    return rounded[:31], normal[26] & (exponent[8] | exponent[:8].all())


class _Fp16:
    """An unpacked FP16 operand: value = significand * 2**(exponent - 25).

    The significand has its leading one at bit 10 unless the value is zero; a subnormal's exponent
    is then below 1, down to -9.
    """

    def __init__(self, m: Module, bits: Value, name: str) -> None:
        field, fraction = bits[10:15], bits[:10]
        self.exponent = Signal(signed(6), name=f"mul_{name}_exponent")
        self.significand = Signal(11, name=f"mul_{name}_significand")
        self.zero = Signal(name=f"mul_{name}_zero")
        self.inf = Signal(name=f"mul_{name}_inf")
        self.nan = Signal(name=f"mul_{name}_nan")
        normal = Signal(name=f"mul_{name}_normal")
        places = Signal(4, name=f"mul_{name}_places")
        moved = Signal(10, name=f"mul_{name}_moved")
        m.d.comb += [
            normal.eq(field.any()),
            places.eq(leading_zeros(fraction)),  # less than what bit 10 needs by one
            moved.eq(fraction << places),
            self.exponent.eq(Mux(normal, field, -places)),
            self.significand.eq(Mux(normal, Cat(fraction, Const(1, 1)), Cat(Const(0, 1), moved))),
            self.zero.eq(~bits[:15].any()),
            self.inf.eq(field.all() & ~fraction.any()),
            self.nan.eq(field.all() & fraction.any()),
        ]


def leading_zeros(value: Value) -> Value:
    """How many bits stand above the highest set one, by a tree; `len(value)` of zero where that is
    not a power of two, else `len(value) - 1`."""
    width = len(value)
    size = 1 << (width - 1).bit_length()
    return _zeros(Cat(Const(1, size - width), value) if size > width else value)[1]


def _zeros(value: Value) -> tuple[Value, Value]:
    """(any bit is set, leading zeros) of a value 2, 4, 8, ... bits wide."""
    if len(value) == 2:
        return value.any(), ~value[1]
    half = len(value) // 2
    high, zeros_high = _zeros(value[half:])
    low, zeros_low = _zeros(value[:half])
    return high | low, Cat(Mux(high, zeros_high, zeros_low), ~high)
