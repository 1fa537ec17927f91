"""The AXI engines between free clients and a free memory that keeps AXI's rules.

The memory answers late or at once, in order, as all bursts carry one ID. Data say where they come
from: a word read is the low bits of its own address, a word written its number at its client.

    hold      an address or word that is offered and not taken stays, even while `stop` is high
    bursts    no burst leaves its block of `block_words` words, hence none crosses 4 KB; no more
              are under way than allowed; the last word of a burst, and only that, is marked
    data      every word of a command, watched in any cycle, comes (goes) once, in order, from (to)
              its address; a write's strobes are the command's bytes and `done` comes behind them
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import StreamPort, block_words
from hwsim.rtl.axi_read import ReadEngine
from hwsim.rtl.axi_write import WriteEngine
from hwsim.rtl.formal_rules import held

__all__ = ["AXI_RULES", "ReadHarness", "WriteHarness"]

AXI_RULES = ("hold", "bursts", "data", "reached")

_NUMBER = 6
"""Bits that name a word: 64 of them, above all that the engines hold at once."""

_COMMAND_WORDS = 4
"""Words of a command at most: with blocks of two words it is cut into up to three bursts."""


class _Harness(wiring.Component):
    """What both have in common: clients' commands, and bursts that the memory owes."""

    def __init__(self, dut: Any, rule: str, members: dict[str, Any]) -> None:
        if rule not in AXI_RULES:
            raise ValueError(f"a rule must be one of {', '.join(AXI_RULES)}, but got {rule!r}")
        self.dut = dut
        self.rule = rule
        self.bus: BusConfig = dut.bus
        self.byte_bits = (self.bus.data_bits // 8).bit_length() - 1
        clients = dut.clients
        for i in range(clients):
            members[f"address{i}"] = In(_NUMBER + 1)  # in words
            members[f"bytes{i}"] = In(range((_COMMAND_WORDS << self.byte_bits) + 1))
            members[f"valid{i}"] = In(1)
        super().__init__(
            {**members, "accept": In(1), "choose": In(1), "who": In(range(max(clients, 2))),
             "stop": In(1)}
        )  # fmt: skip

    def _commands(self, m: Module) -> None:
        for i, command in enumerate(self.dut.command):
            given = getattr(self, f"bytes{i}")
            m.d.comb += [
                command.valid.eq(getattr(self, f"valid{i}")),
                command.payload.address.eq(getattr(self, f"address{i}") << self.byte_bits),
                command.payload.bytes.eq(given),
                Assume((given != 0) & (given <= _COMMAND_WORDS << self.byte_bits)),
                Assume(held(m, command)),
            ]
        m.d.comb += self.dut.stop.eq(self.stop)
        if self.rule != "hold":
            m.d.comb += Assume(~self.stop)

    def _watched(self) -> tuple[Any, Value, Value]:
        """The watched client's command, that it is taken, and its words."""
        one = list(self.dut.command)
        address = Array(command.payload.address for command in one)[self.who]
        taken = Array(command.valid & command.ready for command in one)[self.who]
        count = Array(command.payload.bytes for command in one)[self.who]
        return address[self.byte_bits :], taken, count

    def _owed(self, m: Module, channel: str, finished: Value) -> tuple[Value, Value, Value]:
        """Bursts whose address was taken: word address and length - 1 of the oldest, how many.

        Asserts the rule `bursts` of addresses.
        """
        limit = self.bus.outstanding_reads
        port = {name: getattr(self.dut, f"{channel}{name}") for name in ("addr", "len", "valid")}
        ready = getattr(self.dut, f"{channel}ready")
        address = [Signal(_NUMBER + 1, name=f"owed_address{i}") for i in range(limit + 1)]
        length = [Signal(8, name=f"owed_length{i}") for i in range(limit + 1)]
        count = Signal(range(limit + 2))
        taken = Signal()
        words = block_words(self.bus)
        place = port["addr"][self.byte_bits :][: (words - 1).bit_length()]
        m.d.comb += [
            ready.eq(self.accept),
            taken.eq(port["valid"] & ready),
        ]
        if self.rule == "bursts":
            m.d.comb += [
                Assert(~port["valid"] | (place + port["len"] < words)),
                Assert(count <= limit),
            ]
        at = count - finished
        m.d.sync += count.eq(at + taken)
        for i in range(limit + 1):
            with m.If(finished & (i < limit)):
                m.d.sync += [
                    address[i].eq(address[min(i + 1, limit)]),
                    length[i].eq(length[min(i + 1, limit)]),
                ]
            with m.If(taken & (at == i)):
                m.d.sync += [
                    address[i].eq(port["addr"][self.byte_bits :]),
                    length[i].eq(port["len"]),
                ]
        return address[0], length[0], count


class ReadHarness(_Harness):
    """`ReadEngine`: one rule of `AXI_RULES`.

    Args:
        bus: the bus; small bursts and few under way.
        clients: how many.
        rule: the rule.
    """

    def __init__(self, bus: BusConfig, clients: int, rule: str) -> None:
        members: dict[str, Any] = {"answer": In(1)}
        members |= {f"take{i}": In(1) for i in range(clients)}
        super().__init__(ReadEngine(bus, clients, queue_words=3), rule, members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        self._commands(m)
        for i, port in enumerate(dut.data):
            m.d.comb += port.ready.eq(getattr(self, f"take{i}"))
        finished = Signal()
        address, length, owed = self._owed(m, "m_axi_ar", finished)
        beat = Signal(8)
        answers = Signal()
        m.d.comb += [
            answers.eq(self.answer & (owed != 0)),
            dut.m_axi_rvalid.eq(answers),
            dut.m_axi_rlast.eq(beat == length),
            dut.m_axi_rdata.eq((address + beat)[:_NUMBER]),
            finished.eq(answers & (beat == length)),
        ]
        with m.If(answers):
            m.d.sync += beat.eq(Mux(beat == length, 0, beat + 1))
        match self.rule:
            case "hold":
                offered = Cat(dut.m_axi_araddr, dut.m_axi_arlen)
                m.d.comb += Assert(
                    held(m, StreamPort(offered, dut.m_axi_arvalid, dut.m_axi_arready))
                )
            case "bursts":
                m.d.comb += Assert(dut.m_axi_rready)
            case _:
                self._watch(m)
        return m

    def _watch(self, m: Module) -> None:
        address, taken, given = self._watched()
        whole = (given + (1 << self.byte_bits) - 1) >> self.byte_bits
        port = [
            (one.valid & one.ready, one.payload.data, one.payload.last) for one in self.dut.data
        ]
        comes, word, last = (Array(values)[self.who] for values in zip(*port, strict=True))
        owed = Signal(_NUMBER)  # words of the client's commands that are still to come
        m.d.sync += owed.eq(owed + Mux(taken, whole, 0) - comes)
        first = Signal(reset_less=True)
        who = Signal.like(self.who, reset_less=True)
        m.d.sync += [first.eq(1), who.eq(self.who)]
        m.d.comb += Assume(~first | (who == self.who))

        watching = Signal()
        ahead, left, want = Signal(_NUMBER), Signal(_NUMBER), Signal(_NUMBER)
        mine = Signal()
        m.d.comb += mine.eq(watching & comes & (ahead == 0))
        with m.If(taken & self.choose & ~watching):
            m.d.sync += [
                watching.eq(1),
                ahead.eq(owed - comes),
                left.eq(whole),
                want.eq(address),
            ]
        with m.Elif(mine):
            m.d.sync += [left.eq(left - 1), want.eq(want + 1), watching.eq(left != 1)]
        with m.Elif(comes):
            m.d.sync += ahead.eq(ahead - 1)
        if self.rule == "reached":
            m.d.comb += Cover(mine & last & (want == 5))
        else:
            m.d.comb += [
                Assert(~comes | (owed != 0)),
                Assert(~mine | (word == want)),
                Assert(~mine | (last == (left == 1))),
            ]


class WriteHarness(_Harness):
    """`WriteEngine`: one rule of `AXI_RULES`.

    Args:
        bus: the bus; small bursts and few under way.
        clients: how many.
        rule: the rule.
    """

    def __init__(self, bus: BusConfig, clients: int, rule: str) -> None:
        members: dict[str, Any] = {"take": In(1), "answer": In(1)}
        members |= {f"offer{i}": In(1) for i in range(clients)}
        super().__init__(WriteEngine(bus, clients, queue_words=3), rule, members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        self._commands(m)
        for i, port in enumerate(dut.data):
            number = Signal(_NUMBER, name=f"number{i}")
            m.d.comb += [
                port.valid.eq(getattr(self, f"offer{i}")),
                port.payload.eq(Cat(number, i)),
                Assume(held(m, port)),
            ]
            with m.If(port.valid & port.ready):
                m.d.sync += number.eq(number + 1)
        beat, finished, answers = Signal(8), Signal(), Signal()
        unanswered = Signal(range(self.bus.outstanding_reads + 2))
        address, length, owed = self._owed(m, "m_axi_aw", finished)
        goes = Signal()
        m.d.comb += [
            # a memory may wait for the address before it takes words
            dut.m_axi_wready.eq(self.take & (owed != 0)),
            goes.eq(dut.m_axi_wvalid & dut.m_axi_wready),
            finished.eq(goes & (beat == length)),
            answers.eq(self.answer & (unanswered != 0)),
            dut.m_axi_bvalid.eq(answers),
        ]
        m.d.sync += unanswered.eq(unanswered + finished - answers)
        with m.If(goes):
            m.d.sync += beat.eq(Mux(beat == length, 0, beat + 1))
        match self.rule:
            case "hold":
                offered = Cat(dut.m_axi_awaddr, dut.m_axi_awlen)
                word = Cat(dut.m_axi_wdata, dut.m_axi_wstrb, dut.m_axi_wlast)
                m.d.comb += [
                    Assert(held(m, StreamPort(offered, dut.m_axi_awvalid, dut.m_axi_awready))),
                    Assert(held(m, StreamPort(word, dut.m_axi_wvalid, dut.m_axi_wready))),
                ]
            case "bursts":
                m.d.comb += [
                    Assert(~goes | (dut.m_axi_wlast == (beat == length))),
                    Assert(dut.m_axi_bready),
                    Assert(owed + unanswered <= self.bus.outstanding_reads),
                ]
            case _:
                self._watch(m, goes, (address + beat)[:_NUMBER])
        return m

    def _watch(self, m: Module, goes: Value, where: Value) -> None:
        address, taken, given = self._watched()
        size = 1 << self.byte_bits
        whole = (given + size - 1) >> self.byte_bits
        first = Signal(reset_less=True)
        who = Signal.like(self.who, reset_less=True)
        m.d.sync += [first.eq(1), who.eq(self.who)]
        m.d.comb += Assume(~first | (who == self.who))

        commanded, undone = Signal(_NUMBER), Signal(4)
        done = Array(self.dut.done)[self.who]
        m.d.sync += [
            commanded.eq(commanded + Mux(taken, whole, 0)),
            undone.eq(undone + taken - done),
        ]
        number, client = self.dut.m_axi_wdata[:_NUMBER], self.dut.m_axi_wdata[_NUMBER:]
        theirs, sent = Signal(), Signal(_NUMBER)
        m.d.comb += theirs.eq(goes & (client == self.who))
        m.d.sync += sent.eq(sent + theirs)

        watching, mine = Signal(), Signal()
        following, left, want = Signal(_NUMBER), Signal(_NUMBER), Signal(_NUMBER)
        tail = Signal(self.byte_bits)  # bytes of the last word, less one
        ahead = Signal.like(undone)
        m.d.comb += mine.eq(watching & theirs & (left != 0) & (number == following))
        ends = watching & done & (ahead == 0)
        with m.If(taken & self.choose & ~watching):
            m.d.sync += [
                watching.eq(1),
                following.eq(commanded),
                left.eq(whole),
                want.eq(address),
                tail.eq(given - 1),
                ahead.eq(undone - done),
            ]
        with m.If(mine):
            m.d.sync += [following.eq(following + 1), left.eq(left - 1), want.eq(want + 1)]
        with m.If(watching & done):
            m.d.sync += ahead.eq(ahead - 1)
        with m.If(ends):
            m.d.sync += watching.eq(0)
        strobe = Cat((left != 1) | (tail >= i) for i in range(size))
        if self.rule == "reached":
            m.d.comb += Cover(ends & (want == 5))
        else:
            m.d.comb += [
                Assert(~theirs | (number == sent)),
                Assert(~theirs | (sent != commanded)),
                Assert(~mine | (where == want[:_NUMBER])),
                Assert(~mine | (self.dut.m_axi_wstrb == strobe)),
                Assert(~done | (undone != 0)),
                Assert(~ends | (left == 0)),
            ]
