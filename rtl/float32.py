"""FP32 multiplication and the FP32 to FP16 cast, pipelined as deep as one likes.

Both round to nearest even, take and give subnormals, and keep infinities; a NaN leaves as the
canonical one (0x7FC00000, and 0x7E00 in FP16). Like `hwsim.rtl.arithmetic`, they are functions on a
module under construction, with a `Pipeline` that says where registers stand. NumPy and Berkeley
SoftFloat agree with them bit for bit, tests/rtl/test_float32.py and tests/rtl/test_softfloat.py.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.rtl.arithmetic import round_fp32
from hwsim.rtl.pipeline import Pipeline

__all__ = [
    "HALF_NAN_BITS",
    "fp32_multiplier_pipeline",
    "fp32_multiply",
    "fp32_negate",
    "fp32_to_fp16",
]

HALF_NAN_BITS = 0x7E00
"""The FP16 quiet NaN that the cast returns; `hwsim.models.update.fp16_copy` returns the same."""

_CUTS = {1: (), 2: (1,), 3: (0, 1), 4: (0, 1, 2), 5: (0, 1, 2, 3)}
"""Boundaries of `fp32_multiply` that hold a register, by latency: 0 after unpacking and moving a
subnormal up, 1 after the product of the significands, 2 after its alignment, 3 after the shift down
to a subnormal."""


def fp32_multiplier_pipeline(m: Module, en: Value, latency: int) -> Pipeline:
    """Registers of an FP32 multiplier that takes `latency` >= 1 steps, the last at its result.

    Raises:
        ValueError: `latency` is below 1.
    """
    if latency < 1:
        raise ValueError(f"latency >= 1 must hold, but got {latency}")
    cuts = _CUTS[min(latency, max(_CUTS))]
    return Pipeline(m, en, cuts, latency - len(cuts))  # what is left is for retiming


def fp32_multiply(m: Module, a: Value, b: Value, pipeline: Pipeline | None = None) -> Value:
    """FP32 x FP32 -> FP32, 32 bits. Combinational without a pipeline."""
    pipe = pipeline or Pipeline(m, Const(1))
    # One operand at most is subnormal in a product that does not vanish. It goes left and its
    # leading one is moved up there, beside nothing else, so that the product of the significands
    # has its own at bit 47 or 46.
    swap = Signal(name="mul32_swap")
    first, second = Signal(32, name="mul32_first"), Signal(32, name="mul32_second")
    m.d.comb += [
        swap.eq(~b[23:31].any()),
        first.eq(Mux(swap, b, a)),
        second.eq(Mux(swap, a, b)),
    ]
    left, right = _Fp32(m, first, "left"), _Fp32(m, second, "right")
    sign, nan, inf, zero = (Signal(name=f"mul32_{n}") for n in ("sign", "nan", "inf", "zero"))
    moved, zeros = _normalise(m, left.significand)
    # With its leading one at bit 46 the product has the exponent field `scale`, one more at 47.
    scale = Signal(signed(10), name="mul32_scale")
    m.d.comb += [
        sign.eq(a[31] ^ b[31]),
        zero.eq(left.zero | right.zero),
        inf.eq(left.inf | right.inf),
        nan.eq(left.nan | right.nan | (inf & zero)),
        scale.eq(left.exponent + right.exponent - 127 - zeros),
    ]
    sa, sb, scale_0, flags = pipe.cut(moved, right.significand, scale, Cat(nan, inf, zero, sign))

    product = Signal(48, name="mul32_product")
    # how far a leading one at bit 46 or at 47 goes down to the place that a subnormal has
    down_46, down_47 = Signal(9, name="mul32_down_46"), Signal(9, name="mul32_down_47")
    scale_value = scale_0.as_signed()
    m.d.comb += [
        product.eq(sa * sb),
        down_46.eq(Mux(scale_value < 1, 1 - scale_value, 0)),
        down_47.eq(Mux(scale_value < 0, -scale_value, 0)),
    ]
    product_1, down_46, down_47, scale_1, flags = pipe.cut(
        product, down_46, down_47, scale_0, flags
    )

    # 24 bits, guard, round, and a sticky one for what lies below
    top = product_1[47]
    normal = Signal(27, name="mul32_normal")
    exponent = Signal(9, name="mul32_exponent")
    down = Signal(9, name="mul32_down")
    m.d.comb += [
        normal.eq(
            Mux(
                top,
                Cat(product_1[:22].any(), product_1[22:]),
                Cat(product_1[:21].any(), product_1[21:47]),
            )
        ),
        exponent.eq(scale_1 + top),  # read only where nothing moves down
        down.eq(Mux(top, down_47, down_46)),
    ]
    normal_2, down_2, exponent_2, flags = pipe.cut(normal, down, exponent, flags)

    shifted = _shift_down(m, normal_2, down_2)
    shifted_3, exponent_3, flags = pipe.cut(shifted, exponent_2, flags)

    rounded, overflow = round_fp32(m, shifted_3, exponent_3)
    nan_3, inf_3, zero_3, sign_3 = flags[0], flags[1], flags[2], flags[3]
    out = Signal(32, name="mul32_out")
    with m.If(nan_3):
        m.d.comb += out.eq(CANONICAL_NAN_BITS)
    with m.Elif(zero_3):
        m.d.comb += out.eq(Cat(Const(0, 31), sign_3))
    with m.Elif(inf_3 | overflow):
        m.d.comb += out.eq(Cat(Const(0, 23), Const(0xFF, 8), sign_3))
    with m.Else():
        m.d.comb += out.eq(Cat(rounded, sign_3))
    return pipe.result(out)


def fp32_negate(value: Value) -> Value:
    """-value: the sign flipped, of a NaN too, which the next operation makes canonical."""
    return Cat(value[:31], ~value[31])


def fp32_to_fp16(m: Module, value: Value) -> Value:
    """FP32 -> FP16, round to nearest even, infinite above 65504, subnormal below 2**-14; 16 bits.

    Combinational.
    """
    exponent, fraction = value[23:31], value[:23]
    # The FP16 field is exponent - 112. At 112 and below the significand moves down by
    # 113 - exponent; from 101 down nothing but a rounding bit is left, at 88 not even that.
    normal = Signal(name="half_normal")
    down = Signal(8, name="half_down")
    significand = Signal(14, name="half_significand")  # 11 bits, guard, round, sticky
    field = Signal(5, name="half_field")
    round_up = Signal(name="half_round_up")
    packed = Signal(15, name="half_packed")
    m.d.comb += [
        normal.eq(exponent > 112),
        down.eq(Mux(normal, 0, 113 - exponent)),
        significand.eq(Cat(fraction[:11].any(), fraction[11:], exponent.any())),
    ]
    shifted = _shift_down(m, significand, down)
    m.d.comb += [
        field.eq(Mux(normal, (exponent - 112)[:5], 0)),
        round_up.eq(shifted[2] & (shifted[0] | shifted[1] | shifted[3])),
        packed.eq(Cat(shifted[3:13], field) + round_up),
    ]
    out = Signal(16, name="half_out")
    with m.If(exponent.all() & fraction.any()):
        m.d.comb += out.eq(HALF_NAN_BITS)
    with m.Elif(exponent > 142):  # 2**16 and above; rounding up to it gives infinity by itself
        m.d.comb += out.eq(Cat(Const(0, 10), Const(31, 5), value[31]))
    with m.Else():
        m.d.comb += out.eq(Cat(packed, value[31]))
    return out


class _Fp32:
    """An unpacked FP32 operand: value = significand * 2**(exponent - 150)."""

    def __init__(self, m: Module, bits: Value, name: str) -> None:
        field, fraction = bits[23:31], bits[:23]
        self.exponent = Signal(8, name=f"mul32_{name}_exponent")
        self.significand = Signal(24, name=f"mul32_{name}_significand")
        self.zero = Signal(name=f"mul32_{name}_zero")
        self.inf = Signal(name=f"mul32_{name}_inf")
        self.nan = Signal(name=f"mul32_{name}_nan")
        m.d.comb += [
            self.exponent.eq(Mux(field.any(), field, 1)),
            self.significand.eq(Cat(fraction, field.any())),
            self.zero.eq(~bits[:31].any()),
            self.inf.eq(field.all() & ~fraction.any()),
            self.nan.eq(field.all() & fraction.any()),
        ]


def _normalise(m: Module, value: Value) -> tuple[Value, Value]:
    """`value` moved up until its highest bit is one, by halving, and how far it moved.

    A value of 0 moves as far as the steps go.
    """
    width = len(value)
    here: Value = value
    steps: list[Value] = []
    for bit in reversed(range((width - 1).bit_length())):
        amount = 1 << bit
        empty = Signal(name=f"up_empty{bit}")
        moved = Signal(width, name=f"up_moved{bit}")
        m.d.comb += [
            empty.eq(~here[width - amount :].any()),
            moved.eq(Mux(empty, here << amount, here)),
        ]
        here = moved
        steps.insert(0, empty)
    return here, Cat(steps)


def _shift_down(m: Module, value: Value, amount: Value) -> Value:
    """`value` moved down, its lowest bit one if any bit was lost."""
    width = len(value)
    bits = (width - 1).bit_length()
    here: Value = value
    for bit in range(bits):
        step = 1 << bit
        moved = Signal(width, name=f"down_moved{bit}")
        lost = here[: min(step + 1, width)].any()
        shifted = Cat(lost, here[step + 1 :]) if step < width - 1 else lost
        m.d.comb += moved.eq(Mux(amount[bit], shifted, here))
        here = moved
    out = Signal(width, name="down_out")
    m.d.comb += out.eq(Mux(amount[bits:].any(), value.any(), here))
    return out
