"""Turns the host's frames into register accesses (AXI4-Lite) and accesses to the board's memory.

The frames are `hwsim.models.board_frames`'s. One request is served at a time: the next is read when
the reply has been sent. Whatever comes on the line, the bridge acts only on a header whose CRC is
right, and `FLUSH_BYTES` zeros bring it back to where it looks for a new frame.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.board_frames import (
    HEADER_BYTES,
    MOST_BYTES,
    REPLY_SYNC,
    REQUEST_SYNC,
    Operation,
    Status,
)
from hwsim.rtl.axi import axil_slave_members

__all__ = ["BoardBridge", "axil_master_members"]

_CRC = crc.catalog.CRC16_IBM_3740(8)
"""Polynomial 0x1021, starts from 0xFFFF: `binascii.crc_hqx(data, 0xFFFF)`."""


def axil_master_members(address_bits: int, prefix: str = "m_axil") -> dict[str, Member]:
    """Ports of an AXI4-Lite master with 32 data bits."""
    slave = axil_slave_members(address_bits, prefix)
    return {name: member.flip() for name, member in slave.items()}


class BoardBridge(wiring.Component):
    """Frames in, replies out.

    Args:
        word_bits: width of the memory, a power of two of at least 32.
        memory_bytes: its size, a power of two of at least `MOST_BYTES`.
        register_bits: bits of a register's byte address.

    Ports:
        i, o: bytes of requests and replies.
        memory_address: of a word.
        memory_write, memory_data: write this word in this cycle.
        memory_read: read in this cycle.
        memory_value: the word, two cycles later and until the next read.
        m_axil_*: the registers.
        served: a reply begins in this cycle.
        refused: a header or a payload had a wrong CRC.

    Raises:
        ValueError: a size breaks its rule.
    """

    def __init__(self, word_bits: int, memory_bytes: int, register_bits: int) -> None:
        if word_bits < 32 or word_bits & (word_bits - 1):
            raise ValueError(f"word_bits must be a power of two >= 32, but got {word_bits}")
        if memory_bytes < MOST_BYTES or memory_bytes & (memory_bytes - 1):
            raise ValueError(
                f"memory_bytes must be a power of two >= {MOST_BYTES}, but got {memory_bytes}"
            )
        self.word_bits = word_bits
        self.memory_bytes = memory_bytes
        self.register_bits = register_bits
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "memory_address": Out((memory_bytes * 8 // word_bits - 1).bit_length()),
                "memory_write": Out(1),
                "memory_data": Out(word_bits),
                "memory_read": Out(1),
                "memory_value": In(word_bits),
                "served": Out(1),
                "refused": Out(1),
                **axil_master_members(register_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word_bytes = self.word_bits // 8
        shift = (word_bytes - 1).bit_length()

        m.submodules.check = check = _CRC.create()  # of what comes
        m.submodules.sign = sign = _CRC.create()  # of what goes
        take = Signal()  # a byte of a frame
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            check.data.eq(self.i.payload),
            check.valid.eq(take),
            sign.data.eq(self.o.payload),
        ]

        header = Signal(8 * HEADER_BYTES)
        sequence, operation = header[0:8], header[8:16]
        length, address = header[16:32], header[32:64]
        left = Signal(range(MOST_BYTES + HEADER_BYTES))  # bytes of this part after the next
        word = Signal(self.word_bits)
        at = Signal(shift)  # byte in the word
        cursor = Signal.like(self.memory_address)
        ended = Signal()  # the payload's last byte has come
        status = Signal(8)
        answer = Signal(range(MOST_BYTES + 1))  # payload bytes of the reply
        m.d.comb += [self.memory_address.eq(cursor), self.memory_data.eq(word)]

        known, sized, placed = Signal(), Signal(), Signal()
        writes, registers = Signal(), Signal()
        m.d.comb += [
            writes.eq(
                (operation == Operation.WRITE_REGISTER) | (operation == Operation.WRITE_MEMORY)
            ),
            registers.eq(
                (operation == Operation.READ_REGISTER) | (operation == Operation.WRITE_REGISTER)
            ),
            known.eq(operation <= Operation.WRITE_MEMORY),
        ]
        with m.If(operation == Operation.INFO):
            m.d.comb += [sized.eq(length == 0), placed.eq(1)]
        with m.Elif(registers):
            m.d.comb += [
                sized.eq(length == 4),
                placed.eq((address[:2] == 0) & (address[self.register_bits :] == 0)),
            ]
        with m.Else():
            end = Signal(33)
            m.d.comb += [
                end.eq(address + length),
                sized.eq((length != 0) & (length <= MOST_BYTES) & (length[:shift] == 0)),
                placed.eq((address[:shift] == 0) & (end <= self.memory_bytes)),
            ]

        offer_address, offer_data = Signal(), Signal()  # of a register write, until taken
        m.d.comb += [
            self.m_axil_awaddr.eq(address),
            self.m_axil_araddr.eq(address),
            self.m_axil_wdata.eq(word[-32:]),  # bytes enter at the top
            self.m_axil_wstrb.eq(0b1111),
            self.m_axil_awvalid.eq(offer_address),
            self.m_axil_wvalid.eq(offer_data),
        ]
        with m.If(self.m_axil_awready):
            m.d.sync += offer_address.eq(0)
        with m.If(self.m_axil_wready):
            m.d.sync += offer_data.eq(0)

        def send(byte: object, following: str, *, signed: bool = True) -> None:
            """Offer a byte; go on when it is taken."""
            m.d.comb += [self.o.payload.eq(byte), self.o.valid.eq(1)]
            with m.If(self.o.ready):
                if signed:
                    m.d.comb += sign.valid.eq(1)
                m.next = following

        with m.FSM():
            with m.State("SYNC"):
                m.d.comb += [self.i.ready.eq(1), check.start.eq(1), sign.start.eq(1)]
                m.d.comb += check.valid.eq(0)
                m.d.sync += left.eq(HEADER_BYTES + 2 - 1)
                with m.If(self.i.valid & (self.i.payload == REQUEST_SYNC)):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(take):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left >= 2):  # not its CRC
                        m.d.sync += header.eq(Cat(header[8:], self.i.payload))
                    with m.If(left == 0):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += check.start.eq(1)  # of the payload
                m.d.sync += [
                    left.eq(length[: len(left)] - 1),
                    cursor.eq(address >> shift),
                    at.eq(0),
                    ended.eq(0),
                    answer.eq(0),
                    status.eq(Status.OK),
                ]
                with m.If(~check.match_detected):
                    m.d.comb += self.refused.eq(1)
                    m.next = "SYNC"
                with m.Elif(~(known & sized & placed)):
                    m.d.sync += status.eq(Status.REQUEST)
                    m.next = "OPEN"
                with m.Elif(writes):
                    m.next = "PAYLOAD"
                with m.Elif(registers):
                    m.next = "REGISTER_ADDRESS"
                with m.Elif(operation == Operation.INFO):
                    m.d.sync += [word.eq(self.memory_bytes), answer.eq(4)]
                    m.next = "OPEN"
                with m.Else():
                    m.d.sync += answer.eq(length)
                    m.next = "OPEN"

            # a write's payload
            with m.State("PAYLOAD"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(take):
                    m.d.sync += [
                        word.eq(Cat(word[8:], self.i.payload)),
                        at.eq(at + 1),
                        left.eq(left - 1),
                    ]
                    with m.If(left == 0):
                        m.d.sync += [left.eq(1), ended.eq(1)]
                        m.next = "PAYLOAD_CRC"
                    with m.If(~registers & (at == word_bytes - 1)):
                        m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += self.memory_write.eq(1)
                m.d.sync += cursor.eq(cursor + 1)
                with m.If(ended):
                    m.next = "PAYLOAD_CRC"
                with m.Else():
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD_CRC"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(take):
                    m.d.sync += left.eq(0)
                    with m.If(left == 0):
                        m.next = "PAYLOAD_CHECK"
            with m.State("PAYLOAD_CHECK"):
                with m.If(~check.match_detected):
                    m.d.comb += self.refused.eq(1)
                    m.d.sync += status.eq(Status.PAYLOAD)
                    m.next = "OPEN"
                with m.Elif(registers):
                    m.d.sync += [offer_address.eq(1), offer_data.eq(1)]
                    m.next = "REGISTER_WRITE"
                with m.Else():
                    m.next = "OPEN"

            # registers
            with m.State("REGISTER_WRITE"):
                m.d.comb += self.m_axil_bready.eq(1)
                with m.If(self.m_axil_bvalid):
                    m.d.sync += status.eq(Mux(self.m_axil_bresp[1], Status.BUS, Status.OK))
                    m.next = "OPEN"
            with m.State("REGISTER_ADDRESS"):
                m.d.comb += self.m_axil_arvalid.eq(1)
                with m.If(self.m_axil_arready):
                    m.next = "REGISTER_READ"
            with m.State("REGISTER_READ"):
                m.d.comb += self.m_axil_rready.eq(1)
                with m.If(self.m_axil_rvalid):
                    m.d.sync += [
                        word.eq(self.m_axil_rdata),
                        status.eq(Mux(self.m_axil_rresp[1], Status.BUS, Status.OK)),
                        answer.eq(Mux(self.m_axil_rresp[1], 0, 4)),
                    ]
                    m.next = "OPEN"

            # the reply
            with m.State("OPEN"):
                m.d.comb += self.served.eq(self.o.ready)
                send(REPLY_SYNC, "SEQUENCE", signed=False)
            with m.State("SEQUENCE"):
                send(sequence, "STATUS")
            with m.State("STATUS"):
                send(status, "LENGTH_LOW")
            with m.State("LENGTH_LOW"):
                send(answer[:8], "LENGTH_HIGH")
            with m.State("LENGTH_HIGH"):
                m.d.sync += left.eq(answer - 1)
                send(answer[8:], "LOAD")
            with m.State("LOAD"):
                with m.If(answer == 0):
                    m.next = "CRC_HIGH"
                with m.Elif(operation == Operation.READ_MEMORY):
                    m.d.comb += self.memory_read.eq(1)
                    m.next = "LOAD_WAIT"
                with m.Else():
                    m.next = "SEND"
            with m.State("LOAD_WAIT"):
                m.next = "LOAD_WORD"
            with m.State("LOAD_WORD"):
                m.d.sync += [word.eq(self.memory_value), at.eq(0), cursor.eq(cursor + 1)]
                m.next = "SEND"
            with m.State("SEND"):
                send(word[:8], "SEND")
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word >> 8), at.eq(at + 1), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "CRC_HIGH"
                    with m.Elif(at == word_bytes - 1):
                        m.next = "LOAD"
            with m.State("CRC_HIGH"):
                send(sign.crc[8:], "CRC_LOW", signed=False)
            with m.State("CRC_LOW"):
                send(sign.crc[:8], "SYNC", signed=False)
        return m
