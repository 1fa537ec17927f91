"""Formal proofs: what is right is proved, and every kind of seeded bug is found with a trace."""

from __future__ import annotations

import gc
import itertools

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import hwsim.rtl.formal as formal
from hwsim.config_base import BusConfig
from hwsim.rtl.delta_parts import EventQueue
from hwsim.rtl.formal_axi import ReadHarness
from hwsim.rtl.formal_cases import Check, all_checks
from hwsim.rtl.formal_parts import LockstepPipe, MergeHarness
from hwsim.rtl.formal_rules import ArbiterHarness, HoldHarness, StreamHarness
from hwsim.rtl.formal_select import SorterHarness
from hwsim.rtl.formal_tools import compile_circuit, decide
from hwsim.rtl.rowwise_parts import Queue, RoundRobin
from hwsim.rtl.sore import TopNLane

CHECKS = {f"{check.component}: {check.rule}": check for check in all_checks()}
QUICK = [
    "Queue(3): data",
    "Queue(3): progress",
    "Queue(3): reached",
    "EventQueue(2): hold",
    "RoundRobin(3): one grant",
    "RoundRobin(3): fair",
    "lockstep(2): data",
    "TopNLane 1:2: selection",
]


class Bad(wiring.Component):
    """Queues of two words with one fault each."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__({"i": In(stream.Signature(4)), "o": Out(stream.Signature(4))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(4, 2)
        old = Signal(4)
        tick = Signal()
        m.d.sync += tick.eq(~tick)
        m.d.comb += [
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
            self.o.payload.eq(queue.o.payload),
            self.o.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.o.ready),
        ]
        match self.fault:
            case "drops valid":  # though the word was not taken
                waited = Signal()
                m.d.sync += waited.eq(queue.o.valid & ~self.o.ready & ~waited)
                m.d.comb += self.o.valid.eq(queue.o.valid & ~waited)
                m.d.comb += queue.o.ready.eq(self.o.ready & ~waited)
            case "changes payload":
                m.d.comb += self.o.payload.eq(queue.o.payload ^ tick)
            case "doubles":
                again = Signal()
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += again.eq(~again)
                m.d.comb += queue.o.ready.eq(self.o.ready & again)
            case "loses":  # a word that comes when another leaves
                both = queue.o.valid & self.o.ready & self.i.valid
                m.d.comb += queue.i.valid.eq(self.i.valid & ~both)
            case "repeats the last":
                with m.If(queue.o.valid & self.o.ready):
                    m.d.sync += old.eq(queue.o.payload)
                m.d.comb += self.o.payload.eq(Mux(queue.o.payload == 0, old, queue.o.payload))
            case "stands still":
                m.d.comb += self.o.valid.eq(queue.o.valid & self.i.valid)
        return m


class GrantsTwo(wiring.Component):
    """Everyone who asks is granted."""

    def __init__(self):
        super().__init__({"requests": In(3), "enable": In(1), "grant": Out(3)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.grant.eq(Mux(self.enable, self.requests, 0))
        return m


class LowestFirst(GrantsTwo):
    """The lowest is always preferred."""

    def elaborate(self, platform):
        m = Module()
        lowest = (self.requests & -self.requests)[:3]
        m.d.comb += self.grant.eq(Mux(self.enable, lowest, 0))
        return m


def check(rule, harness, engine="pdr", depth=12):
    return Check(
        component="seeded", rule=rule, engine=engine, depth=depth, make=lambda: {"top": harness()}
    )


def stream_check(rule, make):
    # a queue of two: leaves at once, enters a cycle after it was full
    return check(rule, lambda: StreamHarness(make(), rule, capacity=2, leave=0, enter=1))


@pytest.mark.parametrize("name", QUICK)
def test_quick_properties_hold(name):
    (outcome,) = formal.prove([CHECKS[name]], timeout_s=60)
    assert outcome.ok, outcome.detail
    assert outcome.result == {"cover": "reached"}.get(outcome.check.engine, "proved")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHECKS if name not in QUICK])
def test_every_property_holds(name, tmp_path):
    (outcome,) = formal.prove([CHECKS[name]], traces=tmp_path)
    assert outcome.ok, f"{outcome.detail}, {outcome.trace}"


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("drops valid", "hold"),
        ("changes payload", "hold"),
        ("doubles", "fill"),
        ("loses", "data"),
        ("repeats the last", "data"),
        ("stands still", "progress"),
    ],
)
def test_a_faulty_queue_fails_with_a_trace(fault, rule, tmp_path):
    (bad,) = formal.prove([stream_check(rule, lambda: Bad(fault))], traces=tmp_path, timeout_s=60)
    assert bad.result == "FAILED"
    assert bad.trace is not None
    assert b"$enddefinitions" in bad.trace.read_bytes()


@pytest.mark.parametrize(
    ("arbiter", "rule"), [(GrantsTwo, "one grant"), (LowestFirst, "fair")], ids=lambda x: str(x)
)
def test_a_faulty_arbiter_fails(arbiter, rule):
    harness = check(rule, lambda: ArbiterHarness(arbiter(), rule), "bounded")
    (outcome,) = formal.prove([harness], timeout_s=60)
    assert outcome.result == "FAILED"


def test_a_sorter_that_prefers_the_later_of_equal_weights_fails(monkeypatch):
    import hwsim.rtl.sore as sore

    plain = TopNLane._sorter

    def later(self, m):
        # equal weights: compare as if the new one were larger
        monkeypatch.setattr(sore, "_magnitude", lambda w: w[1:15])
        return plain(self, m)

    monkeypatch.setattr(TopNLane, "_sorter", later)
    harness = check("selection", lambda: SorterHarness(1, 2), "bounded", depth=6)
    (outcome,) = formal.prove([harness], timeout_s=60)
    assert outcome.result == "FAILED"


def test_the_command_prints_a_table_and_fails_on_a_bug(monkeypatch, tmp_path, capsys):
    checks = [
        check("fair", lambda: ArbiterHarness(RoundRobin(2), "fair")),
        check("one grant", lambda: ArbiterHarness(RoundRobin(2), "one grant"), "induction", 1),
    ]
    monkeypatch.setattr(formal, "all_checks", lambda: checks)
    arguments = ["--traces", str(tmp_path), "--jobs", "1"]
    assert formal.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(" | ")[:3] == ["| component", "rule     ", "method     "]
    assert [line.split("|")[-2].strip() for line in lines[2:4]] == ["proved", "proved"]
    assert lines[-1].startswith("2 of 2 properties hold, ")

    checks.append(stream_check("hold", lambda: Bad("drops valid")))
    assert formal.main([*arguments, "--only", "hold"]) == 1
    out = capsys.readouterr().out
    assert "0 of 1 properties hold" in out
    assert f"trace {tmp_path / 'seeded-hold.vcd'}" in out
    assert formal.main([*arguments, "--only", "nothing"]) == 2
    assert "--only must name a component or rule, but got 'nothing'" in capsys.readouterr().err


def test_engines_agree_and_say_when_they_know_nothing(tmp_path):
    circuit = compile_circuit(
        {"top": StreamHarness(EventQueue(2, 2), "hold", capacity=2)}, tmp_path, aig=True
    )
    verdicts = {
        engine: decide(circuit, engine, 3, timeout_s=60)
        for engine in ("bounded", "pdr", "induction")
    }
    assert verdicts["bounded"].holds and verdicts["pdr"].holds
    # from a state that no run reaches the queue may change its word: PDR finds that it is none
    assert verdicts["induction"].holds is None
    assert verdicts["induction"].detail == "no proof by induction over 3 cycles"
    with pytest.raises(ValueError, match=r"an engine must be one of .* but got 'x'"):
        decide(circuit, "x", 3, timeout_s=60)
    with pytest.raises(ValueError, match="depth >= 1 must hold, but got 0"):
        decide(circuit, "pdr", 0, timeout_s=60)


def test_a_check_that_takes_too_long_is_open():
    harness = check("selection", lambda: SorterHarness(2, 4), "induction", 1)
    (outcome,) = formal.prove([harness], timeout_s=0.2)
    assert (outcome.result, outcome.ok) == ("open", False)
    assert outcome.detail == "stopped after 0.2 s"


def test_every_component_has_every_rule_of_its_kind():
    rules = {
        name: {check.rule for check in group}
        for name, group in itertools.groupby(CHECKS.values(), lambda check: check.component)
    }
    for name in ("Queue(2)", "EventQueue(1)", "Slice", "lockstep(1)", "TopNSelector 2:4"):
        assert rules[name] == {"hold", "data", "fill", "progress", "reached"}
    assert rules["RoundRobin(5)"] == {"one grant", "no idle", "fair", "reached"}
    assert len(CHECKS) == len(all_checks())  # no name twice


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_wrong_harnesses_are_refused():
    bus = BusConfig(burst_beats=2)
    for make, text in (
        (lambda: StreamHarness(LockstepPipe(4, 1), "x", capacity=1), "a rule must be one of hold"),
        (lambda: ArbiterHarness(RoundRobin(2), "x"), "a rule must be one of one grant"),
        (lambda: MergeHarness(4, 2, "x"), "a rule must be 'one source' or"),
        (lambda: ReadHarness(bus, 1, "x"), "a rule must be one of hold, bursts"),
        (lambda: HoldHarness(RoundRobin(2)), "a component with a stream output is needed"),
    ):
        with pytest.raises(ValueError, match=text):
            make()
    gc.collect()  # what was made is dropped here, where it may be unused
