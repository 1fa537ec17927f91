"""The multiply-accumulate arithmetic of a processing element, as combinational logic.

`multiply` gives a product that is exact in the accumulator's format; `add` rounds to nearest even
(FP32) or wraps (INT32). Both are functions on a module under construction, so that a pipeline
register can be put between them wherever the caller wants one.

FP16 x FP16 is exact in FP32: 11 x 11 significand bits are 22 of 24, and 2**-48 is far above the
least normal FP32 number. FP16 subnormal inputs, infinities and NaNs are honoured; every NaN that
leaves is the canonical quiet NaN of `hwsim.models.formats`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned

from hwsim.models.formats import CANONICAL_NAN_BITS, NumberFormat

__all__ = ["add", "fp16_multiply", "fp32_add", "multiply", "product_bits"]


def product_bits(fmt: NumberFormat) -> int:
    """Width of what `multiply` returns: FP32 for floats, twice the operand for integers."""
    return fmt.accumulator_bits if fmt.is_float else 2 * fmt.operand_bits


def multiply(m: Module, fmt: NumberFormat, a: Value, b: Value) -> Value:
    """The exact product of two operands, `product_bits(fmt)` wide."""
    if fmt.is_float:
        return fp16_multiply(m, a, b)
    product = Signal(product_bits(fmt), name="product_int")
    m.d.comb += product.eq(a.as_signed() * b.as_signed())
    return product


def add(m: Module, fmt: NumberFormat, total: Value, product: Value) -> Value:
    """`total` + `product` in the accumulator's format."""
    if fmt.is_float:
        return fp32_add(m, total, product)
    sum_int = Signal(fmt.accumulator_bits, name="sum_int")
    m.d.comb += sum_int.eq(total.as_signed() + product.as_signed())
    return sum_int


def fp16_multiply(m: Module, a: Value, b: Value) -> Value:
    """FP16 x FP16 -> FP32, exact; 32 bits."""
    sides = [_Fp16(m, a, "a"), _Fp16(m, b, "b")]
    product = Signal(22, name="mul_product")
    m.d.comb += product.eq(sides[0].significand * sides[1].significand)

    # value = product * 2**(ea + eb - 50); with its leading one at bit p the FP32 exponent field is
    # ea + eb - 50 + p + 127 = ea + eb + 98 - zeros, zeros = 21 - p. Never below 2 + 98 - 21 = 79.
    zeros, normal = _normalise(m, product, "mul")
    exponent = Signal(8, name="mul_exponent")
    m.d.comb += exponent.eq(sides[0].exponent + sides[1].exponent + 98 - zeros)

    sign = Signal(name="mul_sign")
    nan = Signal(name="mul_nan")
    inf = Signal(name="mul_inf")
    zero = Signal(name="mul_zero")
    m.d.comb += [
        sign.eq(a[15] ^ b[15]),
        zero.eq(sides[0].zero | sides[1].zero),
        inf.eq(sides[0].inf | sides[1].inf),
        nan.eq(sides[0].nan | sides[1].nan | (inf & zero)),
    ]
    out = Signal(32, name="mul_out")
    with m.If(nan):
        m.d.comb += out.eq(CANONICAL_NAN_BITS)
    with m.Elif(inf):
        m.d.comb += out.eq(Cat(Const(0, 23), Const(0xFF, 8), sign))
    with m.Elif(zero):
        m.d.comb += out.eq(Cat(Const(0, 31), sign))
    with m.Else():
        m.d.comb += out.eq(Cat(Const(0, 2), normal[:21], exponent, sign))
    return out


def fp32_add(m: Module, a: Value, b: Value) -> Value:
    """FP32 + FP32, round to nearest even, subnormals honoured; 32 bits."""
    # The operand of larger magnitude first: magnitudes compare as integers.
    swap = Signal(name="add_swap")
    big = Signal(32, name="add_big")
    small = Signal(32, name="add_small")
    m.d.comb += [
        swap.eq(b[:31] > a[:31]),
        big.eq(Mux(swap, b, a)),
        small.eq(Mux(swap, a, b)),
    ]
    exponent_big = Signal(8, name="add_exponent_big")
    exponent_small = Signal(8, name="add_exponent_small")
    subtract = Signal(name="add_subtract")
    m.d.comb += [
        # a subnormal has the scale of exponent 1 and no hidden bit
        exponent_big.eq(Mux(big[23:31].any(), big[23:31], 1)),
        exponent_small.eq(Mux(small[23:31].any(), small[23:31], 1)),
        subtract.eq(big[31] ^ small[31]),
    ]

    # Three bits below the last place (guard, round, sticky) decide every rounding.
    shift = Signal(8, name="add_shift")
    aligned = Signal(27, name="add_aligned")
    significand_big = Signal(27, name="add_significand_big")
    significand_small = Signal(27, name="add_significand_small")
    shifted = Signal(27, name="add_shifted")
    lost = Signal(name="add_lost")
    m.d.comb += [
        shift.eq(exponent_big - exponent_small),
        significand_big.eq(Cat(Const(0, 3), big[:23], big[23:31].any())),
        significand_small.eq(Cat(Const(0, 3), small[:23], small[23:31].any())),
    ]
    stages: Value = significand_small
    sticky: Value = Const(0, 1)
    for bit in range(5):
        amount = 1 << bit
        sticky = sticky | (shift[bit] & stages[:amount].any())
        stages = Mux(shift[bit], stages >> amount, stages)
    far = shift[5:].any()
    m.d.comb += [
        shifted.eq(Mux(far, 0, stages)),
        lost.eq(Mux(far, significand_small.any(), sticky)),
        aligned.eq(shifted | lost),
    ]
    total = Signal(28, name="add_total")
    m.d.comb += total.eq(Mux(subtract, significand_big - aligned, significand_big + aligned))

    # Bit 27 of the sum is a carry; otherwise move the leading one to bit 26, but never below the
    # scale of a subnormal.
    carry = Signal(name="add_carry")
    zeros, _ = _normalise(m, total[:27], "add")
    room = Signal(8, name="add_room")
    left = Signal(5, name="add_left")
    normal = Signal(27, name="add_normal")
    exponent = Signal(9, name="add_exponent")
    m.d.comb += [
        carry.eq(total[27]),
        room.eq(exponent_big - 1),
        left.eq(Mux(zeros > room, room, zeros)),
    ]
    with m.If(carry):
        m.d.comb += [
            normal.eq(total[1:] | total[0]),
            exponent.eq(exponent_big + 1),
        ]
    with m.Else():
        m.d.comb += [
            normal.eq(total[:27] << left),
            exponent.eq(exponent_big - left),
        ]

    # Exponent and fraction as one integer: a carry out of the fraction raises the exponent, and a
    # leading zero (a subnormal) makes the exponent field 0.
    field = Signal(9, name="add_field")
    packed = Signal(32, name="add_packed")
    round_up = Signal(name="add_round_up")
    rounded = Signal(32, name="add_rounded")
    m.d.comb += [
        field.eq(Mux(normal[26], exponent, 0)),
        packed.eq(Cat(normal[3:26], field)),
        round_up.eq(normal[2] & (normal[0] | normal[1] | normal[3])),
        rounded.eq(packed + round_up),
    ]

    special = Signal(name="add_special")
    nan = Signal(name="add_nan")
    small_special = Signal(name="add_small_special")
    m.d.comb += [
        special.eq(big[23:31].all()),
        small_special.eq(small[23:31].all()),
        # the larger magnitude is NaN if any is; two infinities of unlike sign have no sum
        nan.eq(special & (big[:23].any() | (small_special & subtract))),
    ]
    out = Signal(32, name="add_out")
    with m.If(nan):
        m.d.comb += out.eq(CANONICAL_NAN_BITS)
    with m.Elif(special):
        m.d.comb += out.eq(big)
    with m.Elif(~total.any()):
        # x - x is +0; -0 + -0 is -0
        m.d.comb += out.eq(Cat(Const(0, 31), a[31] & b[31]))
    with m.Elif(rounded[23:].as_unsigned() >= 0xFF):
        m.d.comb += out.eq(Cat(Const(0, 23), Const(0xFF, 8), big[31]))
    with m.Else():
        m.d.comb += out.eq(Cat(rounded[:31], big[31]))
    return out


class _Fp16:
    """An unpacked FP16 operand: value = significand * 2**(exponent - 25)."""

    def __init__(self, m: Module, bits: Value, name: str) -> None:
        field, fraction = bits[10:15], bits[:10]
        self.exponent = Signal(5, name=f"mul_{name}_exponent")
        self.significand = Signal(11, name=f"mul_{name}_significand")
        self.zero = Signal(name=f"mul_{name}_zero")
        self.inf = Signal(name=f"mul_{name}_inf")
        self.nan = Signal(name=f"mul_{name}_nan")
        m.d.comb += [
            self.exponent.eq(Mux(field.any(), field, 1)),
            self.significand.eq(Cat(fraction, field.any())),
            self.zero.eq(~bits[:15].any()),
            self.inf.eq(field.all() & ~fraction.any()),
            self.nan.eq(field.all() & fraction.any()),
        ]


def _normalise(m: Module, value: Value, name: str) -> tuple[Signal, Signal]:
    """Leading zeros of `value` and `value` shifted left by them, by halving."""
    width = len(value)
    bits = (width - 1).bit_length()
    zeros = Signal(bits, name=f"{name}_zeros")
    here: Value = value
    for bit in reversed(range(bits)):
        amount = 1 << bit
        if amount >= width:
            continue
        empty = Signal(name=f"{name}_empty{bit}")
        moved = Signal(unsigned(width), name=f"{name}_moved{bit}")
        m.d.comb += [
            empty.eq(~here[width - amount :].any()),
            moved.eq(Mux(empty, here << amount, here)),
            zeros[bit].eq(empty),
        ]
        here = moved
    return zeros, here
