"""Registers of the sparse array and its PEs, bit by bit: what a target makes of shift registers.

On `xcup` Yosys puts a shift register of three bits and more, enabled but not reset and read at its
end alone, into LUTs of up to 32 bits each (SRL) and no flip-flop; on the other targets every bit is
a flip-flop. The chains below are those of `hwsim.rtl.arithmetic`, `hwsim.rtl.pe` and
`hwsim.rtl.edges`; a value that is looked at on its way ends one and begins another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hwsim.config import SatConfig
from hwsim.rtl.arithmetic import adder_cuts, multiplier_cuts

__all__ = ["Registers", "array_registers", "pe_registers"]

_SRL_BITS = 32
_SRL_LEAST = 3
"""Yosys's `xilinx_srl -minlen 3`."""

_FP32_ADDER = (
    (32 + 30, (0,)),  # operands: the two lowest bits of a product of FP16 are zero
    (24, (1, 2)),  # larger significand without its three zeros
    (24 + 8, (1,)),  # smaller one, places to move it
    (1, (1, 2)),  # subtract
    (27, (2,)),  # aligned significand
    (8, (1, 2, 3)),  # exponent, until leading zeros are counted
    (8, (4,)),
    (28, (3,)),  # sum
    (28 + 5, (4,)),  # sum, its leading zeros
    (27 + 9, (5,)),  # normal significand, exponent
    (4, (1, 2, 3, 4, 5)),  # flags
)
"""(bits, boundaries) that a value passes one after the other: `hwsim.rtl.arithmetic.fp32_add`."""

_FP16_MULTIPLIER = (
    (2 * 11 + 2 * 6, (0,)),  # significands, exponents
    (22 + 8, (1,)),  # product, exponent
    (21 + 8, (2,)),
    (4, (0, 1, 2)),  # flags
)
"""The same of `fp16_multiply`."""


@dataclass
class Registers:
    """What shift registers take.

    Attributes:
        flip_flops: flip-flops.
        luts: LUTs.
    """

    target: str
    flip_flops: int = 0
    luts: int = 0

    def add(self, bits: int, steps: int) -> None:
        """`bits` shift registers of `steps` steps."""
        if self.target == "xcup" and steps >= _SRL_LEAST:
            self.luts += bits * -(-steps // _SRL_BITS)
        else:
            self.flip_flops += bits * steps

    def cut(self, values: Iterable[tuple[int, tuple[int, ...]]], cuts: frozenset[int]) -> None:
        """A function's values at the boundaries that hold a register."""
        for bits, boundaries in values:
            self.add(bits, sum(boundary in cuts for boundary in boundaries))


def pe_registers(config: SatConfig, target: str) -> Registers:
    """Registers of a PE that grow with its pipelines: adder, product, ring and drain.

    An integer product's are not in it: a DSP block has registers of its own and takes what it can.
    """
    array, number = config.array, config.number
    acc = number.accumulator_bits
    found = Registers(target)
    cuts = adder_cuts(number, array.adder_latency)
    last = array.adder_latency - len(cuts)
    if number.is_float:
        found.cut(_FP32_ADDER, cuts)
        product = multiplier_cuts(number, array.multiplier_latency)
        found.cut(_FP16_MULTIPLIER, product)
        found.add(acc, array.multiplier_latency - len(product))
    elif 0 in cuts:
        found.add(acc + 2 * number.operand_bits, 1)
    # results are taken in front of the adder's last register
    found.add(acc, last - 1)
    found.add(acc, 1)
    found.add(acc, array.slot_steps - array.adder_latency)
    found.add(acc, array.interleave)
    return found


def array_registers(config: SatConfig, target: str) -> Registers:
    """Registers that skew groups, pairs and sums."""
    array, number = config.array, config.number
    group = array.group * number.operand_bits
    found = Registers(target)
    for row in range(array.rows):
        # read after a step a row (output stationary) and after an adder a row (weight stationary)
        found.add(group, row)
        found.add(group, (array.adder_latency - 1) * row)
    for column in range(array.cols):
        found.add(number.operand_bits + config.index_bits, column)
        found.add(number.accumulator_bits, column)
    return found
