"""Descriptor fetcher: a list in memory to a stream of checked records.

The whole list is one read command; words come as fast as the reader's queue has room, so the next
descriptors are on chip while one runs. A record is checked when it is whole; a bad one stops the
fetcher until it is reset, and is reported when those before it are completed.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.models.registers import Layout
from hwsim.models.shell_map import ERRORS, MAGIC, RECORD_VERSION, ShellSpec
from hwsim.rtl.axi import command_layout, word_layout
from hwsim.rtl.registers import record_layout

__all__ = ["INDEX_BITS", "DescriptorFetcher", "descriptor_payload"]

INDEX_BITS = 20
"""Width of the number of a descriptor in its list."""


def descriptor_payload(spec: ShellSpec) -> data.StructLayout:
    """A descriptor and its number in the list; `record_layout(layout)(payload.record)` names it."""
    return data.StructLayout({"record": spec.record_bytes * 8, "index": INDEX_BITS})


class DescriptorFetcher(wiring.Component):
    """Fetches and checks.

    Args:
        spec: records and opcodes.
        bus: the bus that the words come from.

    Ports:
        start: fetch `count` records from `address`, held until the next start.
        command, words: of a client of the read engine.
        o: records that are right, in order; one with the `wait` bit comes when `completed`, the
            number of completed descriptors, has reached its index.
        bad: high for one cycle: the record of number `bad_index` has the error `bad_code`, and all
            records before it are completed.
    """

    def __init__(self, spec: ShellSpec, bus: BusConfig) -> None:
        self.spec = spec
        self.bus = bus
        super().__init__(
            {
                "start": In(1),
                "address": In(bus.address_bits),
                "count": In(INDEX_BITS),
                "completed": In(INDEX_BITS),
                "command": Out(stream.Signature(command_layout(bus))),
                "words": In(stream.Signature(word_layout(bus))),
                "o": Out(stream.Signature(descriptor_payload(spec))),
                "bad": Out(1),
                "bad_code": Out(8),
                "bad_index": Out(INDEX_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.spec.record_bytes * 8
        words = bits // self.bus.data_bits
        record = Signal(bits)
        place = Signal(range(max(words, 2)))
        index = Signal(INDEX_BITS)
        free = Signal()  # this one waits for nobody
        final = Signal()  # it is the list's last; `index` stands still long before this is used
        m.d.sync += final.eq(index + 1 == self.count)
        asks = Signal()
        m.d.comb += [
            self.command.valid.eq(asks),
            self.command.payload.address.eq(self.address),
            self.command.payload.bytes.eq(self.count * self.spec.record_bytes),
            self.o.payload.record.eq(record),
            self.o.payload.index.eq(index),
            self.bad_index.eq(index),
        ]
        with m.If(self.command.ready):
            m.d.sync += asks.eq(0)
        code = self._code(m, record)
        m.d.sync += self.bad.eq(0)
        with m.FSM():
            with m.State("idle"), m.If(self.start):
                m.d.sync += [asks.eq(1), index.eq(0), place.eq(0)]
                m.next = "gather"
            with m.State("gather"):
                m.d.comb += self.words.ready.eq(1)
                with m.If(self.words.valid):
                    m.d.sync += [
                        record.eq(Cat(record, self.words.payload.data)[-bits:]),
                        place.eq(Mux(place == words - 1, 0, place + 1)),
                    ]
                    with m.If(place == words - 1):
                        m.next = "check"
            with m.State("check"):
                m.next = "judge"
            with m.State("judge"):
                m.d.sync += self.bad_code.eq(code)
                m.next = "hold"
            with m.State("hold"):
                m.d.sync += free.eq(self.completed == index)
                with m.If(self.bad_code != 0):
                    m.next = "condemn"
                with m.Elif(~self._header(record).wait | free):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "offer"
            with m.State("condemn"):  # those before it are carried out to their end
                m.d.sync += free.eq(self.completed == index)
                with m.If(free):
                    m.d.sync += self.bad.eq(1)
                    m.next = "stopped"
            with m.State("offer"), m.If(self.o.ready):
                m.d.sync += [self.o.valid.eq(0), index.eq(index + 1), free.eq(0)]
                m.next = "gather"
                with m.If(final):
                    m.next = "idle"
            with m.State("stopped"):
                pass
        return m

    def _header(self, record: Signal) -> Any:
        layout = next(iter(self.spec.records.values()))[1]
        return data.View(record_layout(layout), record)

    def _code(self, m: Module, record: Signal) -> Value:
        """The first error of the record that has stood since the cycle before, 0 for none."""
        header = self._header(record)
        known, crooked, zero = Signal(), Signal(), Signal()
        m.d.sync += [known.eq(0), crooked.eq(0), zero.eq(0)]
        with m.Switch(header.opcode):
            for code, layout in self.spec.records.values():
                empty = [
                    record[one.bit : one.bit + one.bits] == 0
                    for one in layout.fields
                    if one.rule == "nonzero"
                ]
                with m.Case(code):
                    m.d.sync += [
                        known.eq(1),
                        crooked.eq(_any(self._crooked(layout, record))),
                        zero.eq(_any(empty)),
                    ]
        wrong_magic, wrong_version = Signal(), Signal()
        m.d.sync += [
            wrong_magic.eq(header.magic != MAGIC),
            wrong_version.eq(header.version != RECORD_VERSION),
        ]
        first = Signal(8)
        with m.If(wrong_magic):
            m.d.comb += first.eq(ERRORS["magic"])
        with m.Elif(wrong_version):
            m.d.comb += first.eq(ERRORS["version"])
        with m.Elif(~known):
            m.d.comb += first.eq(ERRORS["opcode"])
        with m.Elif(crooked):
            m.d.comb += first.eq(ERRORS["alignment"])
        with m.Elif(zero):
            m.d.comb += first.eq(ERRORS["value"])
        return first

    def _crooked(self, layout: Layout, record: Signal) -> list[Value]:
        """Bits that are 0 in every address and length that keeps the rule."""
        low = (self.bus.data_bits // 8).bit_length() - 1
        found: list[Value] = []
        for one in layout.fields:
            value = record[one.bit : one.bit + one.bits]
            if one.rule in ("address", "bytes"):
                found.append(value[: min(low, one.bits)].any())
            if one.rule == "address" and one.bits > self.bus.address_bits:
                found.append(value[self.bus.address_bits :].any())
        return found


def _any(conditions: list[Value]) -> Value:
    return Cat(conditions).any()
