"""UART with 8 data bits, no parity, 1 stop bit, as streams of bytes.

The receiver samples a bit three times around its middle and takes the majority, so a glitch of one
clock is not seen. It finds every start bit anew, a clock late at most, and the middle of the stop
bit is 9.5 bits on: a sender's clock may differ by (1/2 - 2 / clocks_per_bit) / 9.5, which is 5 % at
75 clocks a bit.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

__all__ = ["LEAST_CLOCKS", "Uart", "UartReceiver", "UartTransmitter"]

LEAST_CLOCKS = 4
"""Least clocks of a bit: three samples around its middle must lie inside it."""


class UartReceiver(wiring.Component):
    """Bits in, bytes out.

    Args:
        clocks_per_bit: clock cycles of a bit, at least `LEAST_CLOCKS`.

    Ports:
        rx: the line, of any clock; high when idle.
        o: bytes. The line does not wait: a byte that is not taken in the cycle in which it is
            offered is lost, so a queue must follow.
        framing_error: a byte's stop bit was low; the byte is dropped, and nothing is received
            until the line is high again.

    Latency: a byte is offered three clocks after the middle of its stop bit.

    Raises:
        ValueError: clocks_per_bit is below `LEAST_CLOCKS`.
    """

    def __init__(self, clocks_per_bit: int) -> None:
        _check(clocks_per_bit)
        self.clocks_per_bit = clocks_per_bit
        super().__init__(
            {"rx": In(1, init=1), "o": Out(stream.Signature(8)), "framing_error": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Two registers against metastability, then the three samples of the vote.
        line = Signal(4, init=0b1111)
        m.d.sync += line.eq(Cat(self.rx, line))
        one = Signal()
        m.d.comb += one.eq((line[1] & line[2]) | (line[2] & line[3]) | (line[1] & line[3]))

        left = Signal(range(self.clocks_per_bit))  # clocks until the middle of the next bit
        bits = Signal(range(10))
        byte = Signal(8)
        m.d.comb += self.o.payload.eq(byte)
        m.d.sync += [self.o.valid.eq(0), self.framing_error.eq(0)]
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("IDLE"):
                # seen a clock after the edge; the vote looks one sample back from the middle
                m.d.sync += [left.eq(self.clocks_per_bit // 2), bits.eq(0)]
                with m.If(~line[1]):
                    m.next = "START"
            with m.State("START"), m.If(left == 0):
                m.d.sync += left.eq(self.clocks_per_bit - 1)
                with m.If(one):  # a glitch
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BITS"
            with m.State("BITS"), m.If(left == 0):
                m.d.sync += [left.eq(self.clocks_per_bit - 1), bits.eq(bits + 1)]
                with m.If(bits == 8):
                    m.d.sync += [self.o.valid.eq(one), self.framing_error.eq(~one)]
                    with m.If(one):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "BREAK"
                with m.Else():
                    m.d.sync += byte.eq(Cat(byte[1:], one))
            with m.State("BREAK"), m.If(line[1:].all()):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes in, bits out.

    Args:
        clocks_per_bit: clock cycles of a bit.

    Ports:
        i: bytes, one every ten bits.
        tx: the line, a register; high when idle.

    Raises:
        ValueError: clocks_per_bit is below `LEAST_CLOCKS`.
    """

    def __init__(self, clocks_per_bit: int) -> None:
        _check(clocks_per_bit)
        self.clocks_per_bit = clocks_per_bit
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.clocks_per_bit))
        bits = Signal(range(11))  # still to come, the stop bit too
        held = Signal(9)
        m.d.comb += self.i.ready.eq((bits == 0) & (left == 0))
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Elif(bits != 0):
            m.d.sync += [
                self.tx.eq(held[0]),
                held.eq(Cat(held[1:], 1)),
                bits.eq(bits - 1),
                left.eq(self.clocks_per_bit - 1),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                self.tx.eq(0),
                held.eq(Cat(self.i.payload, 1)),
                bits.eq(9),
                left.eq(self.clocks_per_bit - 1),
            ]
        return m


class Uart(wiring.Component):
    """Both directions, with a queue behind the receiver.

    Args:
        clocks_per_bit: clock cycles of a bit.
        queue_bytes: bytes that the receiver's queue holds.

    Ports:
        rx, tx: the lines.
        o: bytes received.
        i: bytes to send.
        lost: a byte was received and dropped for want of room, or its stop bit was low.
    """

    def __init__(self, clocks_per_bit: int, queue_bytes: int = 16) -> None:
        self.clocks_per_bit = clocks_per_bit
        self.queue_bytes = queue_bytes
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "o": Out(stream.Signature(8)),
                "i": In(stream.Signature(8)),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.clocks_per_bit)
        m.submodules.transmitter = transmitter = UartTransmitter(self.clocks_per_bit)
        m.submodules.queue = queue = SyncFIFOBuffered(width=8, depth=self.queue_bytes)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            receiver.o.ready.eq(queue.w_rdy),
            queue.w_en.eq(receiver.o.valid),
            queue.w_data.eq(receiver.o.payload),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.tx.eq(transmitter.tx),
        ]
        m.d.sync += self.lost.eq(receiver.framing_error | (receiver.o.valid & ~queue.w_rdy))
        return m


def _check(clocks_per_bit: int) -> None:
    if clocks_per_bit < LEAST_CLOCKS:
        raise ValueError(f"clocks_per_bit >= {LEAST_CLOCKS} must hold, but got {clocks_per_bit}")
