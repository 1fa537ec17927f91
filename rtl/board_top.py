"""An accelerator's AXI top on a board that has no bus: a UART bridge and block RAM around it.

The FPGA-ready top is an instance of its module, unchanged: the host writes operands and descriptors
into the block RAM through the bridge, sets the top's registers, and the top's DMA does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import axi_master_members, axil_slave_members
from hwsim.rtl.board_bridge import BoardBridge
from hwsim.rtl.board_memory import BoardMemory
from hwsim.rtl.uart import Uart

__all__ = ["BOARD_MODULE", "LEDS", "BoardTop", "board_parts"]

BOARD_MODULE = "hwsim_board"
"""Module of a `BoardTop`."""

LEDS = 8
"""Lamps that a board is expected to have; a board with fewer leaves out the last ones."""

_BEAT_BITS = 25
"""Clock cycles of the heartbeat are 2 to this; at 50 MHz 0.7 s."""

_FLASH_BITS = 20
"""A request lights its lamp for 2 to this clock cycles."""


def board_parts(
    top: str, bus: BusConfig, register_bits: int, *, clocks_per_bit: int, memory_bytes: int
) -> Mapping[str, Callable[[], wiring.Component]]:
    """What makes the board's components, by module name; the accelerator's come before them."""
    return {
        BOARD_MODULE: lambda: BoardTop(
            top, bus, register_bits, clocks_per_bit=clocks_per_bit, memory_bytes=memory_bytes
        )
    }


class BoardTop(wiring.Component):
    """UART, bridge, block RAM and the accelerator.

    Args:
        top: module of the accelerator with ports `s_axil_*`, `m_axi_*`, `irq`, `clk`, `rst`.
        bus: of its AXI4 master.
        register_bits: bits of its AXI4-Lite addresses.
        clocks_per_bit: of the UART.
        memory_bytes: of the block RAM, a power of two of at least 4 KB.

    Ports:
        rx, tx: the UART's lines.
        led: 0 heartbeat, 1 interrupt, 2 a request was served, 3 a frame was refused, 4 a byte was
            lost, the last two for ever; the others are dark.
    """

    def __init__(
        self,
        top: str,
        bus: BusConfig,
        register_bits: int,
        *,
        clocks_per_bit: int,
        memory_bytes: int,
    ) -> None:
        self.top = top
        self.bus = bus
        self.register_bits = register_bits
        self.clocks_per_bit = clocks_per_bit
        self.memory_bytes = memory_bytes
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "led": Out(LEDS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart = uart = Uart(self.clocks_per_bit)
        m.submodules.bridge = bridge = BoardBridge(
            self.bus.data_bits, self.memory_bytes, self.register_bits
        )
        m.submodules.memory = memory = BoardMemory(self.bus, self.memory_bytes)
        wiring.connect(m, uart.o, bridge.i)
        wiring.connect(m, bridge.o, uart.i)
        m.d.comb += [
            uart.rx.eq(self.rx),
            self.tx.eq(uart.tx),
            memory.address.eq(bridge.memory_address),
            memory.write.eq(bridge.memory_write),
            memory.data.eq(bridge.memory_data),
            memory.read.eq(bridge.memory_read),
            bridge.memory_value.eq(memory.value),
        ]
        irq = self._accelerator(m, bridge, memory)
        self._lamps(m, irq, uart, bridge)
        return m

    def _accelerator(self, m: Module, bridge: BoardBridge, memory: BoardMemory) -> Signal:
        """The instance, its registers behind the bridge, its memory the board's; returns `irq`."""
        irq = Signal()
        ports: dict[str, Any] = {
            "i_clk": ClockSignal(),
            "i_rst": ResetSignal(),
            "o_irq": irq,
        }
        sides: tuple[tuple[dict[str, Member], Any, str, str], ...] = (
            (axil_slave_members(self.register_bits), bridge, "s_axil", "m_axil"),
            (axi_master_members(self.bus), memory, "m_axi", "s_axi"),
        )
        for members, partner, own, other in sides:
            for name, member in members.items():
                value = Value.cast(getattr(partner, name.replace(own, other, 1)))
                ports[("o_" if member.flow is Out else "i_") + name] = value
        m.submodules.accelerator = Instance(self.top, **ports)
        return irq

    def _lamps(self, m: Module, irq: Signal, uart: Uart, bridge: BoardBridge) -> None:
        beat = Signal(_BEAT_BITS)
        flash = Signal(_FLASH_BITS)
        refused, lost, lit = Signal(), Signal(), Signal()
        m.d.sync += [
            beat.eq(beat + 1),
            flash.eq(Mux(bridge.served, ~0, Mux(flash == 0, 0, flash - 1))),
            refused.eq(refused | bridge.refused),
            lost.eq(lost | uart.lost),
            lit.eq(flash != 0),
            self.led.eq(Cat(beat[-1], irq, lit, refused, lost)),
        ]
