"""A simple dual-port memory that may be large.

Amaranth gives every memory an initial value and writes it out word by word: megabytes of text for
memories that nobody reads before they are written. A memory of more than `_PLAIN_BITS` is therefore
an instance of a module without one, which `memory_modules` writes; smaller ones are Amaranth's
own, so that its simulator runs them too. Both infer block RAM.
"""

from __future__ import annotations

import re

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["RingMemory", "memory_modules"]

_PLAIN_BITS = 1 << 16

_RTLIL = r"""
module \ring_memory_{depth}x{width}
  memory width {width} size {depth} \cells
  wire width 1 input 0 \clk
  wire width 1 input 1 \write_en
  wire width {bits} input 2 \write_addr
  wire width {width} input 3 \write_data
  wire width 1 input 4 \read_en
  wire width {bits} input 5 \read_addr
  wire width {width} output 6 \read_data
  cell $memwr_v2 $write
    parameter \MEMID "\\cells"
    parameter \ABITS {bits}
    parameter \WIDTH {width}
    parameter \CLK_ENABLE 1
    parameter \CLK_POLARITY 1
    parameter \PORTID 0
    parameter \PRIORITY_MASK 0
    connect \ADDR \write_addr
    connect \DATA \write_data
    connect \EN {{ {enables} }}
    connect \CLK \clk
  end
  cell $memrd_v2 $read
    parameter \MEMID "\\cells"
    parameter \ABITS {bits}
    parameter \WIDTH {width}
    parameter \TRANSPARENCY_MASK 1'0
    parameter \COLLISION_X_MASK 1'0
    parameter \ARST_VALUE {width}'{unknown}
    parameter \SRST_VALUE {width}'{unknown}
    parameter \INIT_VALUE {width}'{unknown}
    parameter \CE_OVER_SRST 0
    parameter \CLK_ENABLE 1
    parameter \CLK_POLARITY 1
    connect \ADDR \read_addr
    connect \DATA \read_data
    connect \ARST 1'0
    connect \SRST 1'0
    connect \EN \read_en
    connect \CLK \clk
  end
end
"""


class RingMemory(wiring.Component):
    """`depth` words of `width` bits; a read's word comes a cycle later and stays until the next.

    What a read gives in the cycle in which its word is written is not defined.

    Args:
        width: bits of a word.
        depth: words, a power of two, at least 2.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        address = (depth - 1).bit_length()
        super().__init__(
            {
                "write_en": In(1),
                "write_addr": In(address),
                "write_data": In(width),
                "read_en": In(1),
                "read_addr": In(address),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.width * self.depth > _PLAIN_BITS:
            m.submodules.ring = Instance(
                f"ring_memory_{self.depth}x{self.width}",
                i_clk=ClockSignal(),
                i_write_en=self.write_en,
                i_write_addr=self.write_addr,
                i_write_data=self.write_data,
                i_read_en=self.read_en,
                i_read_addr=self.read_addr,
                o_read_data=self.read_data,
            )
            return m
        m.submodules.cells = cells = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = cells.write_port(), cells.read_port()
        m.d.comb += [
            write.en.eq(self.write_en),
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
            read.en.eq(self.read_en),
            read.addr.eq(self.read_addr),
            self.read_data.eq(read.data),
        ]
        return m


def memory_modules(rtlil: str) -> str:
    """RTLIL of the modules of large memories that a design has instances of."""
    sizes = {(int(d), int(w)) for d, w in re.findall(r"\\ring_memory_(\d+)x(\d+)\b", rtlil)}
    return "".join(
        _RTLIL.format(
            depth=depth,
            width=width,
            bits=(depth - 1).bit_length(),
            enables=" ".join(["\\write_en"] * width),
            unknown="x" * width,
        )
        for depth, width in sorted(sizes)
    )
