"""What streams, queues and arbiters must obey, as assertions around a component.

Each harness puts a component between free inputs and adds the assertions of one rule. Reset is free
too: it may come in any cycle. Of its surroundings a component may expect only that an offered word
stays until it is taken.

The rules of a stream from `i` to `o`:

    hold       `o.valid` holds and its payload is stable until `o.ready`
    data       the n-th word out is the n-th word in, for every n: nothing is lost, doubled or
               overtaken. A word that enters in any cycle is watched with the number of words ahead
               of it; when that many have left, it must be the next.
    fill       never more words inside than it has room for, and none leaves that did not enter
    progress   if `o.ready` stays, a word inside leaves within a number of cycles, and one offered
               at `i` enters within a number of cycles
    reached    not a proof but its check: a run in which a watched word enters behind others and
               leaves, so that the rules do not hold for want of words
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = [
    "ARBITER_RULES",
    "STREAM_RULES",
    "ArbiterHarness",
    "HoldHarness",
    "StreamHarness",
    "held",
]

STREAM_RULES = ("hold", "data", "fill", "progress", "reached")
ARBITER_RULES = ("one grant", "no idle", "fair", "reached")

View = Callable[[Any], Any]
"""What is looked at of a payload."""


def _whole(payload: Any) -> Any:
    return payload


class HoldHarness(wiring.Component):
    """`hold` for every stream output of a component; all its inputs are free.

    Args:
        dut: any component; stream inputs keep the rule, by assumption.
        constant: names of plain inputs that stay as they are from the first cycle.
        read: by the name of an input, the output that asks for it: what comes from a memory
            changes only in the cycle behind a read.
        channels: outputs that are a stream under other names: valid, ready and payload.

    Raises:
        ValueError: the component has no stream output.
    """

    def __init__(
        self,
        dut: Any,
        constant: tuple[str, ...] = (),
        read: Mapping[str, str] = MappingProxyType({}),
        channels: Sequence[Any] = (),
    ) -> None:
        self.dut = dut
        self.constant = constant
        self.read = read
        members: dict[str, Any] = {}
        self.pairs: list[tuple[str, Value]] = []
        for path, member, value in dut.signature.flatten(dut):
            if member.flow is In:
                name = "__".join(map(str, path))
                members[name] = In(len(Value.cast(value)))
                self.pairs.append((name, Value.cast(value)))
        self.streams_in, self.streams_out = _streams(dut)
        self.streams_out.extend(channels)
        if not self.streams_out:
            raise ValueError(f"a component with a stream output is needed, but got {dut!r}")
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = self.dut
        for name, value in self.pairs:
            m.d.comb += value.eq(getattr(self, name))
            if name in self.constant:
                _constant(m, name, value)
        for name, strobe in self.read.items():
            value = Value.cast(getattr(self.dut, name))
            asked, before = Signal(name=f"{name}_asked"), Signal.like(value, name=f"{name}_before")
            m.d.sync += [asked.eq(getattr(self.dut, strobe)), before.eq(value)]
            m.d.comb += Assume(asked | (value == before))
        for one in self.streams_in:
            m.d.comb += Assume(held(m, one))
        for one in self.streams_out:
            m.d.comb += Assert(held(m, one))
        return m


class StreamHarness(wiring.Component):
    """One rule of `STREAM_RULES` for a component with one stream in and one out.

    Args:
        dut: it has the streams `i` and `o`.
        rule: the rule.
        capacity: words it holds at most.
        leave, enter: cycles of the rule `progress`.
        fed: words inside leave only as long as others are offered behind them.
        counts: which of the words taken at `i` gives one at `o`: called with the module, the
            component and the condition that a word is taken, it returns that condition. All by
            default.
        entering, leaving: what of a payload at `i` is found again in which part at `o`; the whole
            by default. Both must be of the same width.

    Raises:
        ValueError: no such rule.
    """

    def __init__(
        self,
        dut: Any,
        rule: str,
        *,
        capacity: int,
        leave: int = 0,
        enter: int = 0,
        fed: bool = False,
        counts: Callable[[Module, Any, Value], Value] = lambda m, dut, taken: taken,
        entering: View = _whole,
        leaving: View = _whole,
    ) -> None:
        if rule not in STREAM_RULES:
            raise ValueError(f"a rule must be one of {', '.join(STREAM_RULES)}, but got {rule!r}")
        self.dut = dut
        self.rule = rule
        self.capacity = capacity
        self.leave, self.enter = leave, enter
        self.fed = fed
        self.counts = counts
        self.entering, self.leaving = entering, leaving
        super().__init__(
            {
                "i_payload": In(len(Value.cast(dut.i.payload))),
                "i_valid": In(1),
                "o_ready": In(1),
                "choose": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        i, o = dut.i, dut.o
        m.d.comb += [
            Value.cast(i.payload).eq(self.i_payload),
            i.valid.eq(self.i_valid),
            o.ready.eq(self.o_ready),
            Assume(held(m, i)),
        ]
        put, get = Signal(), Signal()
        inside = Signal(range(self.capacity + 2))
        m.d.comb += [
            put.eq(self.counts(m, dut, i.valid & i.ready)),
            get.eq(o.valid & o.ready),
        ]
        m.d.sync += inside.eq(inside + put - get)
        match self.rule:
            case "hold":
                m.d.comb += Assert(held(m, o))
            case "fill":
                m.d.comb += [Assert(inside <= self.capacity), Assert(~o.valid | (inside != 0))]
            case "progress":
                stuck = o.ready & ~o.valid & (inside != 0) & (i.valid if self.fed else 1)
                refused = o.ready & i.valid & ~i.ready
                m.d.comb += [
                    Assert(_lasts(m, "stuck", stuck, self.leave) <= self.leave),
                    Assert(_lasts(m, "refused", refused, self.enter) <= self.enter),
                ]
            case _:
                self._watch(m, put, get, inside)
        return m

    def _watch(self, m: Module, put: Value, get: Value, inside: Value) -> None:
        entering = Value.cast(self.entering(self.dut.i.payload))
        leaving = Value.cast(self.leaving(self.dut.o.payload))
        if len(entering) != len(leaving):
            raise ValueError(
                f"what enters and leaves must be of one width, but got {len(entering)} and "
                f"{len(leaving)} bits"
            )
        watching, word = Signal(), Signal(len(entering))
        ahead = Signal.like(inside)
        behind = Signal()  # it entered behind another
        out = watching & get & (ahead == 0)
        with m.If(watching & get):
            m.d.sync += ahead.eq(ahead - 1)
        with m.If(out):
            m.d.sync += watching.eq(0)
        with m.If(put & self.choose & ~watching):
            rest = Signal.like(inside)
            m.d.comb += rest.eq(inside - get)
            m.d.sync += [
                watching.eq(1),
                word.eq(entering),
                ahead.eq(rest),
                behind.eq(rest != 0),
            ]
        if self.rule == "reached":
            m.d.comb += Cover(out & (behind | (self.capacity == 1)) & (word != 0))
        else:
            # that it is there: a word that leaves is one of those inside, and the others are ahead
            m.d.comb += Assert(~get | (inside != 0))
            m.d.comb += Assert(~out | (leaving == word))


class ArbiterHarness(wiring.Component):
    """One rule of `ARBITER_RULES` for an arbiter with `requests`, `enable`, `grant`.

    one grant  at most one bit of `grant`, of one that asks, and only with `enable`
    no idle    with `enable`, if anyone asks, someone is granted
    fair       nobody who keeps asking is passed over by the same other twice, hence at most
               count - 1 grants go to others before its own
    """

    def __init__(self, dut: Any, rule: str) -> None:
        if rule not in ARBITER_RULES:
            raise ValueError(f"a rule must be one of {', '.join(ARBITER_RULES)}, but got {rule!r}")
        self.dut = dut
        self.rule = rule
        self.count = len(dut.requests)
        super().__init__(
            {
                "requests": In(self.count),
                "enable": In(1),
                "one": In(range(max(self.count, 2))),
                "other": In(range(max(self.count, 2))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        grant = dut.grant
        m.d.comb += [dut.requests.eq(self.requests), dut.enable.eq(self.enable)]
        match self.rule:
            case "one grant":
                m.d.comb += [
                    Assert((grant & (grant - 1)) == 0),
                    Assert((grant & ~self.requests) == 0),
                    Assert(self.enable | (grant == 0)),
                ]
            case "no idle":
                m.d.comb += Assert(grant.any() | ~self.enable | ~self.requests.any())
            case _:
                self._fair(m, grant)
        return m

    def _fair(self, m: Module, grant: Value) -> None:
        count = self.count
        for name, value in (("one", self.one), ("other", self.other)):
            _constant(m, name, value)
            m.d.comb += Assume(value < count)
        m.d.comb += Assume(self.one != self.other)
        asks, mine = Signal(), Signal()
        passed = Signal(2)  # times that the other was granted while the one asked
        others = Signal(range(count + 2))  # grants to anyone else in that time
        m.d.comb += [
            asks.eq(self.requests.bit_select(self.one, 1)),
            mine.eq(grant.bit_select(self.one, 1)),
        ]
        now = Signal.like(passed)
        total = Signal.like(others)
        theirs = grant.bit_select(self.other, 1)
        m.d.comb += [
            now.eq(Mux(asks, passed + theirs, 0)),
            total.eq(Mux(asks, others + (grant.any() & ~mine), 0)),
        ]
        with m.If(asks & ~mine):
            m.d.sync += [passed.eq(now), others.eq(total)]
        with m.Else():
            m.d.sync += [passed.eq(0), others.eq(0)]
        if self.rule == "reached":
            m.d.comb += Cover(mine & (others == count - 1))
        else:
            m.d.comb += [Assert(now <= 1), Assert(total <= count - 1)]


def _streams(dut: Any) -> tuple[list[Any], list[Any]]:
    """A component's streams in and out, those in arrays of ports too."""
    found: tuple[list[Any], list[Any]] = [], []
    for name, member in dut.signature.members.items():
        if not member.is_signature or "payload" not in member.signature.members:
            continue
        ports = [getattr(dut, name)]
        for _ in member.dimensions:
            ports = [one for port in ports for one in port]
        found[0 if member.flow is In else 1].extend(ports)
    return found


def held(m: Module, port: Any) -> Value:
    """The word that was offered and not taken in the last cycle is offered still."""
    payload = Value.cast(port.payload)
    waits, word = Signal(name="waits"), Signal(len(payload), name="waiting_word")
    m.d.sync += [waits.eq(port.valid & ~port.ready), word.eq(payload)]
    return ~waits | (port.valid & (payload == word))


def _lasts(m: Module, name: str, condition: Value, limit: int) -> Value:
    """Cycles up to this one in which a condition held without a break, counted to limit + 1."""
    before = Signal(range(limit + 2), name=f"{name}_cycles")
    now = Signal.like(before, name=f"{name}_now")
    m.d.comb += now.eq(Mux(condition, Mux(before == limit + 1, before, before + 1), 0))
    m.d.sync += before.eq(now)
    return now


def _constant(m: Module, name: str, value: Value) -> None:
    """Assume that an input never changes; not even by a reset."""
    begun = Signal(name=f"{name}_begun", reset_less=True)
    first = Signal(len(value), name=f"{name}_first", reset_less=True)
    m.d.sync += begun.eq(1)
    with m.If(~begun):
        m.d.sync += first.eq(value)
    m.d.comb += Assume(~begun | (value == first))
