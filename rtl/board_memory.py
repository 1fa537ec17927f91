"""The board's memory: block RAM that an AXI4 master and the host's bridge share.

One port to read and one to write, so that it maps to simple block RAM; the bridge, which moves a
word in the time of many bits, goes first, and the AXI4 side waits that cycle.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import BOUNDARY_BYTES, OKAY, SLVERR, Slice, axi_master_members

__all__ = ["BoardMemory", "axi_slave_members"]

_READ_WORDS = 4
"""Words that a read holds on their way to R: a read takes three cycles to the queue, so four keep
it busy."""


def axi_slave_members(bus: BusConfig, prefix: str = "s_axi") -> dict[str, Member]:
    """Ports of an AXI4 slave for the masters of `hwsim.rtl.axi`."""
    return {name: member.flip() for name, member in axi_master_members(bus, prefix).items()}


class BoardMemory(wiring.Component):
    """Block RAM as an AXI4 slave, with a second, simple port.

    Takes what the masters of `hwsim.rtl.axi` send: incrementing bursts of whole words inside a 4 KB
    block, one ID. An address outside the memory is answered by SLVERR and changes nothing.

    Args:
        bus: the AXI4 side's widths.
        memory_bytes: its size, a power of two of at least 4 KB.

    Ports:
        s_axi_*: AXI4.
        address, write, data, read, value: a word at a time; `value` comes two cycles after `read`
            and stays until the next.

    Latency: R's first word four cycles after AR is taken; a word a cycle; two more between bursts.

    Raises:
        ValueError: the size breaks its rule.
    """

    def __init__(self, bus: BusConfig, memory_bytes: int) -> None:
        if memory_bytes < BOUNDARY_BYTES or memory_bytes & (memory_bytes - 1):
            raise ValueError(
                f"memory_bytes must be a power of two >= {BOUNDARY_BYTES}, but got {memory_bytes}"
            )
        self.bus = bus
        self.memory_bytes = memory_bytes
        self.depth = memory_bytes * 8 // bus.data_bits
        super().__init__(
            {
                "address": In(range(self.depth)),
                "write": In(1),
                "data": In(bus.data_bits),
                "read": In(1),
                "value": Out(bus.data_bits),
                **axi_slave_members(bus),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.bus.data_bits, depth=self.depth, init=[])
        self._read_side(m, memory)
        self._write_side(m, memory)
        return m

    def _read_side(self, m: Module, memory: Memory) -> None:
        port = memory.read_port()
        queued = data.StructLayout({"data": self.bus.data_bits, "bad": 1, "last": 1})
        m.submodules.words = words = SyncFIFO(width=queued.size, depth=_READ_WORDS)
        m.submodules.r = r = Slice(queued)
        active, bad = Signal(), Signal()
        cursor = Signal(range(self.depth))
        left = Signal(8)
        issue = Signal()
        credit = Signal(range(_READ_WORDS + 1), init=_READ_WORDS)
        taken = Signal()
        m.d.comb += [
            self.s_axi_arready.eq(~active),
            issue.eq(active & (credit != 0) & ~self.read),
            port.en.eq(1),
            port.addr.eq(Mux(self.read, self.address, cursor)),
            taken.eq(words.r_rdy & words.r_en),
        ]
        m.d.sync += credit.eq(credit - issue + taken)
        with m.If(~active & self.s_axi_arvalid):
            m.d.sync += [
                active.eq(1),
                cursor.eq(self._word(self.s_axi_araddr)),
                bad.eq(self._outside(self.s_axi_araddr)),
                left.eq(self.s_axi_arlen),
            ]
        with m.If(issue):
            m.d.sync += [cursor.eq(cursor + 1), left.eq(left - 1), active.eq(left != 0)]

        # Two registers behind the memory: its own and one more, for the clock's sake.
        moved, own = Signal(2), Signal(2)
        flags = [Signal(2, name=f"flags{i}") for i in range(2)]
        value = Signal(self.bus.data_bits, reset_less=True)
        m.d.sync += [
            moved.eq(Cat(issue, moved)),
            own.eq(Cat(self.read, own)),
            flags[0].eq(Cat(bad, left == 0)),
            flags[1].eq(flags[0]),
            value.eq(port.data),
        ]
        with m.If(own[0]):
            m.d.sync += self.value.eq(port.data)
        m.d.comb += [
            words.w_en.eq(moved[1]),
            words.w_data.eq(Cat(value, flags[1])),
            r.i.payload.eq(words.r_data),
            r.i.valid.eq(words.r_rdy),
            words.r_en.eq(r.i.ready),
            self.s_axi_rdata.eq(r.o.payload.data),
            self.s_axi_rresp.eq(Mux(r.o.payload.bad, SLVERR, OKAY)),
            self.s_axi_rlast.eq(r.o.payload.last),
            self.s_axi_rvalid.eq(r.o.valid),
            r.o.ready.eq(self.s_axi_rready),
        ]

    def _write_side(self, m: Module, memory: Memory) -> None:
        port = memory.write_port(granularity=8)
        lanes = self.bus.data_bits // 8
        word = data.StructLayout({"data": self.bus.data_bits, "strobe": lanes, "last": 1})
        m.submodules.w = w = Slice(word)
        active, bad = Signal(), Signal()
        cursor = Signal(range(self.depth))
        store = Signal()
        m.d.comb += [
            w.i.payload.data.eq(self.s_axi_wdata),
            w.i.payload.strobe.eq(self.s_axi_wstrb),
            w.i.payload.last.eq(self.s_axi_wlast),
            w.i.valid.eq(self.s_axi_wvalid),
            self.s_axi_wready.eq(w.i.ready),
            self.s_axi_awready.eq(~active & ~self.s_axi_bvalid),
            w.o.ready.eq(active & ~self.write),
            store.eq(w.o.valid & w.o.ready),
            port.addr.eq(Mux(self.write, self.address, cursor)),
            port.data.eq(Mux(self.write, self.data, w.o.payload.data)),
            port.en.eq(Mux(self.write, (1 << lanes) - 1, Mux(store & ~bad, w.o.payload.strobe, 0))),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [
                active.eq(1),
                cursor.eq(self._word(self.s_axi_awaddr)),
                bad.eq(self._outside(self.s_axi_awaddr)),
            ]
        with m.If(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(store):
            m.d.sync += cursor.eq(cursor + 1)
            with m.If(w.o.payload.last):
                m.d.sync += [
                    active.eq(0),
                    self.s_axi_bvalid.eq(1),
                    self.s_axi_bresp.eq(Mux(bad, SLVERR, OKAY)),
                ]

    def _word(self, address: Signal) -> Signal:
        low = (self.bus.data_bits // 8 - 1).bit_length()
        return address[low : low + (self.depth - 1).bit_length()]

    def _outside(self, address: Signal) -> Signal:
        return address[(self.memory_bytes - 1).bit_length() :].any()
