"""Which properties are proved, of which component, in which size, by which engine.

Sizes are small on purpose: the control of a queue or a pipeline does not look at the word, so 4
bits tell words apart as well as 64, and depths 1 to 4 with one that is no power of two take every
path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring

from hwsim.config import SatConfig, load_config
from hwsim.config_base import BusConfig
from hwsim.rtl.axi import Slice
from hwsim.rtl.blocks import block_parts
from hwsim.rtl.delta_parts import EventQueue
from hwsim.rtl.formal_axi import AXI_RULES, ReadHarness, WriteHarness
from hwsim.rtl.formal_parts import (
    BufferedQueue,
    CutPipe,
    DelayLane,
    LaneHolds,
    LockstepPipe,
    MergeHarness,
    SequencerHarness,
    SorterStub,
    WidthLoop,
)
from hwsim.rtl.formal_rules import (
    ARBITER_RULES,
    STREAM_RULES,
    ArbiterHarness,
    HoldHarness,
    StreamHarness,
)
from hwsim.rtl.formal_select import RankHarness, SorterHarness
from hwsim.rtl.post import POST_LANE, PostLane, PostUnit
from hwsim.rtl.rowwise_parts import Queue, RoundRobin
from hwsim.rtl.sore import (
    RANK_DEPTH,
    RANK_LANE,
    SORE_LANE,
    RankLane,
    RankSelector,
    TopNSelector,
)
from hwsim.rtl.wuve import FP32_STEPS, SCALARS, WUVE_LANE, UpdateEngine, UpdateLane

__all__ = ["Check", "Parts", "all_checks", "stream_checks"]

Parts = dict[str, Any]
"""Components by module name, the circuit with the assertions last."""

_BITS = 4
"""Of a word: it tells 16 words apart. Not given; chosen small for the solvers."""

_SAT = ("rows=2", "cols=2", "format=int8", "sore_lanes=1", "wuve_lanes=1")
_SPGEMM = (
    *("lanes=2", "banks=2", "entries=4", "outputs=1", "format=int32", "probe_limit=2"),
    *("multiplier_latency=1", "adder_latency=1", "token_queue=2", "token_length=2"),
    *("request_queue=2", "product_queue=2", "bank_queue=2"),
    *("row_bits=2", "column_bits=3", "epoch_bits=2"),
)
_DELTA = (
    *("lanes=2", "detector_width=2", "fifo_depth=3", "prefetch=4", "activation_bits=4"),
    *("weight_bits=4", "accumulator_bits=8", "reference_words=4", "sigma_words=4"),
    *("parameter_words=2", "coordinate_bits=3", "channel_bits=3", "address_bits=4"),
)
_GRU = (*_DELTA, "engine=gru", "activation_fraction=2", "weight_fraction=2", "theta=1")
_CONSTANT = ("config", "n", *SCALARS)
_HOLD_CYCLES = 8
"""Of a whole engine, from reset. Not given; chosen: seconds, not minutes."""

_DATA_CYCLES = 12
"""From reset. Not given; chosen: seconds on an idle machine; two clients take ten times as long."""

_DEEP_CYCLES = 14
"""From reset, of a pipeline of ten stages: words leave in the last four cycles."""

_COVER_CYCLES = 30
"""A run that reaches the watched word's exit must be no longer."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the table.

    Attributes:
        component: what, with its size.
        rule: the property, as `formal_rules` and the harnesses name it.
        engine: `formal_tools.ENGINES`.
        depth: as `formal_tools.decide`.
        make: the circuit.
    """

    component: str
    rule: str
    engine: str
    depth: int
    make: Callable[[], Parts]


def all_checks() -> list[Check]:
    """Every property."""
    return [
        *_queues(),
        *_arbiters(),
        *_pipelines(),
        *_sequencer(),
        *_lanes(),
        *_selectors(),
        *_widths(),
        *_axi(),
        *_blocks(),
    ]


def _alone(
    make: Callable[..., wiring.Component], *arguments: Any, **options: Any
) -> Callable[[], Parts]:
    """A circuit of one harness."""
    return lambda: {"harness": make(*arguments, **options)}


def stream_checks(
    component: str,
    make: Callable[[], Any],
    *,
    capacity: int,
    leave: int,
    enter: int,
    parts: Callable[[], Parts] = dict,
    **views: Any,
) -> Iterator[Check]:
    """The rules of a stream from `i` to `o`, `formal_rules.STREAM_RULES`.

    Args:
        component: its name in the table.
        make: makes it.
        capacity, leave, enter, views: as `StreamHarness`.
        parts: components that it instantiates by name.
    """
    for rule in STREAM_RULES:

        def circuit(rule: str = rule) -> Parts:
            harness = StreamHarness(
                make(), rule, capacity=capacity, leave=leave, enter=enter, **views
            )
            return {**parts(), "harness": harness}

        yield Check(
            component=component,
            rule=rule,
            engine="cover" if rule == "reached" else "pdr",
            depth=_COVER_CYCLES,
            make=circuit,
        )


def _queues() -> Iterator[Check]:
    for depth in (2, 3, 4):
        yield from stream_checks(
            f"Queue({depth})", partial(Queue, _BITS, depth), capacity=depth, leave=0, enter=1
        )
    for depth in (1, 2, 3):
        yield from stream_checks(
            f"EventQueue({depth})",
            partial(EventQueue, _BITS, depth),
            capacity=depth,
            leave=0,
            enter=0,
        )

    yield from stream_checks("Slice", lambda: Slice(_BITS), capacity=2, leave=0, enter=1)
    for depth in (3, 4):
        yield from stream_checks(
            f"SyncFIFOBuffered({depth})",
            partial(BufferedQueue, _BITS, depth),
            capacity=depth,
            leave=1,
            enter=1,
        )


def _widths() -> Iterator[Check]:
    """To bus words and back, runs that fill their words and runs that do not."""
    for beat, bus, run in ((8, 16, 3), (8, 16, 4), (16, 8, 2)):
        yield from stream_checks(
            f"{beat} to {bus} to {beat} bits, runs of {run}",
            partial(WidthLoop, beat, bus, run),
            capacity=9,
            leave=6,
            enter=4,
            fed=True,
            leaving=lambda payload: payload.data,
        )


def _arbiters() -> Iterator[Check]:
    for count in (2, 3, 5):
        for rule in ARBITER_RULES:
            yield Check(
                component=f"RoundRobin({count})",
                rule=rule,
                engine={"reached": "cover", "fair": "pdr"}.get(rule, "induction"),
                depth=_COVER_CYCLES if rule == "reached" else 2,
                make=_alone(lambda c, r: ArbiterHarness(RoundRobin(c), r), count, rule),
            )
    for rule in ("one source", "work goes on"):
        yield Check(
            component="merge(3)",
            rule=rule,
            engine="induction",
            depth=2,
            make=_alone(MergeHarness, _BITS, 3, rule),
        )


def _pipelines() -> Iterator[Check]:
    for depth in (1, 2, 4):
        yield from stream_checks(
            f"lockstep({depth})",
            partial(LockstepPipe, _BITS, depth),
            capacity=depth,
            leave=depth - 1,
            enter=0,
        )
    yield from stream_checks(
        "Pipeline, 2 of 3 cuts + 1",
        lambda: CutPipe(_BITS, (0, 2), 1),
        capacity=3,
        leave=2,
        enter=0,
    )


def _sequencer() -> Iterator[Check]:
    config = load_config("sat", list(_SAT))
    assert isinstance(config, SatConfig)
    for rule in ("steps", "one job"):
        yield Check(
            component="Sequencer",
            rule=rule,
            engine="pdr" if rule == "one job" else "induction",
            depth=1,
            make=_alone(SequencerHarness, config.array, rule),
        )


def _lanes() -> Iterator[Check]:
    """Units of lanes behind one stream: order with lanes that only delay, and the real lanes."""
    small = {"multiplier_latency": 1, "adder_latency": 1}
    yield from _lockstep_unit(
        "PostUnit, 2 lanes",
        2,
        lambda: PostUnit(cols=2, adder_latency=1),
        lambda depth: {
            POST_LANE: DelayLane(
                PostLane(adder_latency=1), given="i", enable="en", o="o", depth=depth
            )
        },
        lambda payload: payload.lane,
    )
    for one in _lockstep_unit(
        "UpdateEngine, 2 lanes",
        2 * (1 + FP32_STEPS) + 3 * 1 + 1,
        lambda: UpdateEngine(lanes=2, **small),
        lambda depth: {
            WUVE_LANE: DelayLane(UpdateLane(**small), given="i", enable="en", o="o", depth=depth)
        },
        lambda payload: payload,
    ):
        # pdr finds no invariant of its ten stages in minutes; shorter pipelines are proved above
        deep = one.rule == "data"
        yield replace(one, engine="bounded", depth=_DEEP_CYCLES) if deep else one
    for name, make in (
        ("PostLane", lambda: PostLane(adder_latency=2)),
        ("UpdateLane", lambda: UpdateLane(multiplier_latency=1, adder_latency=2)),
    ):
        yield Check(
            component=name,
            rule="lane holds",
            engine="induction",
            depth=1,
            make=_alone(lambda make: LaneHolds(make(), "en"), make),
        )


def _selectors() -> Iterator[Check]:
    """The N:M selectors: their lanes for all weights, and the control around them."""
    for n, m in ((1, 2), (1, 4), (2, 4)):
        for name, make in (("TopNLane", SorterHarness), ("RankLane", RankHarness)):
            yield Check(
                component=f"{name} {n}:{m}",
                rule="selection",
                engine="induction",
                depth=1,
                make=_alone(make, n, m),
            )
        yield Check(
            component=f"TopNLane {n}:{m}",
            rule="reached",
            engine="cover",
            depth=_COVER_CYCLES,
            make=_alone(SorterHarness, n, m, reach=True),
        )
    yield from stream_checks(
        "TopNSelector 2:4",
        lambda: TopNSelector(lanes=1, n_max=2, m=4),
        capacity=2,
        leave=1,
        enter=0,
        parts=lambda: {SORE_LANE: SorterStub(2, 4)},
        counts=_ends_group,
        entering=lambda payload: payload.weight[0][:_BITS],
        leaving=lambda payload: payload[0].value[0][:_BITS],
    )
    yield from stream_checks(
        "RankSelector 2:4",
        lambda: RankSelector(lanes=1, n_max=2, m=4),
        capacity=RANK_DEPTH,
        leave=RANK_DEPTH - 1,
        enter=0,
        parts=lambda: {
            RANK_LANE: DelayLane(
                RankLane(n_max=2, m=4), given="weights", enable="en", o="out", depth=RANK_DEPTH
            )
        },
        entering=lambda payload: payload.weight[0][0][:_BITS],
        leaving=lambda payload: payload[0].value[0][:_BITS],
    )


def _ends_group(m: Module, dut: Any, taken: Value) -> Value:
    """The word taken closes a group: it says so, or it is the M-th."""
    place = Signal(range(dut.m))
    end = dut.i.payload.last | (place == dut.m - 1)
    with m.If(taken):
        m.d.sync += place.eq(Mux(end, 0, place + 1))
    return taken & end


def _lockstep_unit(
    component: str,
    depth: int,
    make: Callable[[], Any],
    lanes: Callable[[int], Parts],
    entering: Callable[[Any], Any],
) -> Iterator[Check]:
    yield from stream_checks(
        component,
        make,
        capacity=depth,
        leave=depth - 1,
        enter=0,
        parts=lambda: lanes(depth),
        entering=lambda payload: _low_bits(entering(payload)),
        leaving=_low_bits,
    )


def _low_bits(lanes: Any) -> Value:
    """The lowest bits of both lanes: enough to tell words apart and lanes from one another."""
    return Cat(lanes[lane].as_value()[: _BITS // 2] for lane in range(2))


def _axi() -> Iterator[Check]:
    """The AXI engines, blocks of two words and two bursts under way; the data of one client."""
    bus = BusConfig(data_bits=32, address_bits=32, burst_beats=2, outstanding_reads=2)
    for name, make in (("ReadEngine", ReadHarness), ("WriteEngine", WriteHarness)):
        for rule in AXI_RULES:
            engine = {"data": "bounded", "reached": "cover"}.get(rule, "pdr")
            clients = 1 if rule == "data" else 2
            yield Check(
                component=f"{name}({clients})",
                rule=rule,
                engine=engine,
                depth=_DATA_CYCLES if rule == "data" else _COVER_CYCLES,
                make=_alone(make, bus, clients, rule),
            )


def _blocks() -> Iterator[Check]:
    """Every stream output of every block of the engines, whatever comes in."""
    induction, pdr, bounded = ("induction", 1), ("pdr", _HOLD_CYCLES), ("bounded", _HOLD_CYCLES)
    delta = {"scanner": induction, "streamer": pdr, "lanes": induction, "engine": bounded}
    for name, overrides, blocks in (
        (
            "sat",
            _SAT,
            dict.fromkeys(("sore", "rank", "wuve", "post"), induction) | {"stce": bounded},
        ),
        ("spgemm", _SPGEMM, {"dispatch": pdr, "lane": pdr, "bank": pdr, "engine": bounded}),
        ("delta", _DELTA, {**delta, "output": induction}),
        ("delta gru", _GRU, {**delta, "lanes": pdr, "gates": induction}),
    ):
        for block, (engine, depth) in blocks.items():
            yield Check(
                component=f"{name} {block}",
                rule="hold",
                engine=engine,
                depth=depth,
                make=partial(_hold, name.split()[0], overrides, block),
            )


def _hold(family: str, overrides: tuple[str, ...], block: str) -> Parts:
    made = block_parts(block, load_config(family, list(overrides)))
    parts: Parts = {name: make() for name, make in made.items()}
    _, top = parts.popitem()
    harness = HoldHarness(
        top,
        constant=tuple(name for name in _CONSTANT if hasattr(top, name)),
        read={"h": "h_read"} if hasattr(top, "h_read") and hasattr(top, "start") else {},
    )
    return {**parts, "harness": harness}
