"""The sparse tensor computing engine: a systolic array of unified sparse PEs with stream ports.

Activations enter from the left, one group of `group` elements for every row a beat; (value, index)
pairs from above, one for every column a beat; results leave below, one for every column a beat.
Rows and columns are skewed inside, so that a beat is a plain vector outside. The whole array
advances or stands still together: a cycle is a step if the beats that it needs are there and the
result queue has room. So back-pressure costs exactly the cycles it lasts, and a stalled array
holds every register.

How many steps a job takes is `hwsim.dataflows.stce`'s law; `hwsim.dataflows.stce_sim` counts the
cycles with stalls, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.array import RESULT_QUEUE, ArrayShape
from hwsim.models.formats import NumberFormat
from hwsim.rtl.edges import (
    OperandFeed,
    PartialSums,
    ResultExit,
    exit_signature,
    feed_signature,
    sums_signature,
)
from hwsim.rtl.pe import (
    ENABLE_MODULE,
    EnableRegister,
    ProcessingElement,
    control_layout,
    registered,
)
from hwsim.rtl.rowwise_parts import instance
from hwsim.rtl.sequencer import Sequencer, flags_layout, job_layout
from hwsim.rtl.stream import Delay

__all__ = [
    "PE_MODULE",
    "_SUMS_MODULE",
    "SparseArray",
    "array_members",
    "array_parts",
    "status_layout",
]

Flags = Any  # a view of `flags_layout()`

PE_MODULE = "stce_pe"
"""Name of the module that every PE is an instance of; `hwsim.rtl.verilog` writes it once."""

_SUMS_MODULE = "stce_sums"
"""The same of a column's partial sums."""


_DECISION_MODULE = "stce_decide"
"""The same of what decides a step."""

_DECIDERS = ("sequencer", "ports", "a", "b", "rows", "edges")
"""Parts with a decision of their own: the sequencer, the ready outputs, the feeds of activations
and of pairs, the PEs, what surrounds them below."""


class StepDecision(wiring.Component):
    """Whether the present cycle is a step. A module of its own, as an `EnableRegister` is.

    Ports:
        have, need: beats that are offered, that the step takes: activations, pairs.
        room: the result queue takes what may still come.
    """

    def __init__(self) -> None:
        super().__init__({"have": In(2), "need": In(2), "room": In(1), "step": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.step.eq(self.room & (self.have | ~self.need).all())
        return m


def pe_parts(fmt: NumberFormat, array: ArrayShape) -> dict[str, Callable[[], wiring.Component]]:
    """What makes a PE, by module name, the PE last."""
    return {ENABLE_MODULE: EnableRegister, PE_MODULE: lambda: ProcessingElement(fmt, array)}


def array_parts(fmt: NumberFormat, array: ArrayShape) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each module that a `SparseArray` instantiates, by name."""
    word = array.group * fmt.operand_bits
    pair = fmt.operand_bits + max(1, (array.group - 1).bit_length())
    wide = fmt.accumulator_bits
    # Pairs move down a row a step (os), partial sums a row in the steps of an adder (ws).
    rows = {
        _row_module(r): partial(OperandFeed, word, r, array.adder_latency * r)
        for r in range(array.rows)
    }
    columns = {_column_module(c): partial(OperandFeed, pair, c, c) for c in range(array.cols)}
    exits = {
        _exit_module(c): partial(ResultExit, wide, array.cols - 1 - c) for c in range(array.cols)
    }
    return {
        **pe_parts(fmt, array),
        _DECISION_MODULE: StepDecision,
        _SUMS_MODULE: lambda: PartialSums(wide, array.psum_depth),
        **rows,
        **columns,
        **exits,
    }


def _row_module(row: int) -> str:
    return f"stce_row{row}"


def _column_module(column: int) -> str:
    return f"stce_column{column}"


def _exit_module(column: int) -> str:
    return f"stce_exit{column}"


def array_members(fmt: NumberFormat, array: ArrayShape) -> dict[str, Member]:
    """The ports of a `SparseArray`."""
    rows, cols, group = array.rows, array.cols, array.group
    index_bits = max(1, (group - 1).bit_length())
    pair = data.StructLayout({"value": fmt.operand_bits, "index": index_bits})
    return {
        "job": In(stream.Signature(job_layout())),
        "a": In(stream.Signature(data.ArrayLayout(group * fmt.operand_bits, rows))),
        "b": In(stream.Signature(data.ArrayLayout(pair, cols))),
        "z": Out(stream.Signature(data.ArrayLayout(fmt.accumulator_bits, cols))),
        "idle": Out(1),
        "status": Out(status_layout()),
    }


def status_layout() -> data.StructLayout:
    """What the array did in the cycle before: at most one bit is set, none without a job.

    Fields: `step` it advanced; `stall_z`, `stall_a`, `stall_b` it stood still for room for results,
    for activations, for weights, the first of these that held. `hwsim.dataflows.stce_sim.Timeline`
    counts the same.
    """
    return data.StructLayout({"step": 1, "stall_z": 1, "stall_a": 1, "stall_b": 1})


class SparseArray(wiring.Component):
    """The array with its sequencer, skew, partial-sum memories and ports.

    Args:
        fmt: the number format.
        array: its shape.

    Ports:
        job: `job_layout()` descriptors.
        a: activations, `rows` groups of `group` operands. Output stationary: row r of the tile's
            A, one beat for every `word_steps` slots. Weight stationary: the group that slot r of
            the fold picks from, one beat a row of A.
        b: `cols` pairs of value and index. Output stationary: the next pair of every column, in a
            slot one of each interleaved column tile in turn. Weight stationary: slots of the fold,
            the last row's first.
        z: `cols` sums. Output stationary: the rows of a tile, the last row first, of each row the
            interleaved column tiles in turn, rows * interleave beats a tile. Weight stationary:
            one beat a row of A, after the last fold.
        idle: no job is held and the array has drained.
        status: `status_layout()`, for counters of performance.

    Latency: the first result of a job is on `z` `hwsim.dataflows.stce.job_cycles` and its tail
    after the descriptor; throughput is one multiply-accumulate a PE and step.
    """

    def __init__(self, fmt: NumberFormat, array: ArrayShape) -> None:
        self.fmt = fmt
        self.array = array
        self.index_bits = max(1, (array.group - 1).bit_length())
        super().__init__(array_members(fmt, array))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cols = self.array.cols
        m.submodules.sequencer = seq = Sequencer(self.array)
        wiring.connect(m, wiring.flipped(self.job), seq.job)

        m.submodules.results = results = SyncFIFO(
            width=self.fmt.accumulator_bits * cols, depth=RESULT_QUEUE
        )
        flags = seq.flags
        # A step: it reaches the rows in the next cycle, the PEs a cycle later. Each part decides
        # for itself from the same bits, so that no decision crosses the array twice in a cycle.
        room = Signal(init=1)
        decided = {part: self._decision(m, part, flags, room) for part in _DECIDERS}
        have_a, have_b = self.a.valid | ~flags.need_a, self.b.valid | ~flags.need_b
        filled, emptied = results.w_en, results.r_en & results.r_rdy
        full = RESULT_QUEUE - 3  # two results may be on their way when the room is seen to end
        m.d.sync += room.eq(
            Mux(
                filled == emptied,
                results.level <= full,
                Mux(filled, results.level <= full - 1, results.level <= full + 1),
            )
        )
        m.d.comb += [
            seq.en.eq(decided["sequencer"]),
            self.a.ready.eq(decided["ports"] & flags.need_a),
            self.b.ready.eq(decided["ports"] & flags.need_b),
            self.z.valid.eq(results.r_rdy),
            self.z.payload.eq(results.r_data),
            results.r_en.eq(self.z.ready),
            self.idle.eq(seq.idle & ~results.r_rdy),
        ]
        m.d.sync += [
            self.status.step.eq(flags.held & decided["sequencer"]),
            self.status.stall_z.eq(flags.held & ~room),
            self.status.stall_a.eq(flags.held & room & ~have_a),
            self.status.stall_b.eq(flags.held & room & have_a & ~have_b),
        ]
        # Each row and column has its own copy of the step.
        step = registered(m, decided["edges"], "advance")
        en = registered(m, step, "enable")
        # The array sees a step's flags twice: here in front of its first register, ...
        ahead = Signal(flags_layout(self.array))
        m.d.sync += ahead.eq(flags)
        # ... and here behind it.
        now = Signal(flags_layout(self.array))
        with m.If(step):
            m.d.sync += now.eq(ahead)
        delay = Delay(m, en)

        controls, draining = self._controls(m, ahead, now, delay)
        sums = self._partial_sums(m, decided["edges"], now, delay)
        tops = [column.top for column in sums]
        bottoms = self._array(m, decided, flags, seq.stationary, controls, tops)
        m.d.comb += [column.sum.eq(value) for column, value in zip(sums, bottoms, strict=True)]

        # South edge: what column 0's last row passes on is a result; the others follow.
        emit = Signal()
        leaving = delay(now.act & now.final, self._column_steps - 1, "leaving")
        m.d.comb += emit.eq(Mux(now.stationary, leaving, draining))
        leavers = []
        for c in range(cols):
            leaver = instance(
                m, _exit_module(c), f"exit{c}", exit_signature(self.fmt.accumulator_bits)
            )
            m.d.comb += [
                leaver.step.eq(registered(m, decided["edges"], f"step_exit{c}")),
                leaver.i.eq(bottoms[c]),
            ]
            leavers.append(leaver.o)
        m.d.comb += [
            results.w_en.eq(registered(m, step, "en_results") & delay(emit, cols - 1, "emit")),
            results.w_data.eq(Cat(leavers)),
        ]
        return m

    def _decision(self, m: Module, part: str, flags: Flags, room: Value) -> Value:
        """The present cycle is a step: a part's own copy."""
        step = Signal(name=f"decided_{part}")
        m.submodules[f"decide_{part}"] = Instance(
            _DECISION_MODULE,
            i_have=Cat(self.a.valid, self.b.valid),
            i_need=Cat(flags.need_a, flags.need_b),
            i_room=room,
            o_step=step,
        )
        return step

    def _controls(
        self, m: Module, ahead: Flags, now: Flags, delay: Delay
    ) -> tuple[list[Value], Signal]:
        """Control of column 0 for each row, and whether the bottom row drains."""
        rows, hop, turns = self.array.rows, self.array.adder_latency, self.array.interleave
        adder = self.array.multiply_steps + 1  # steps to the adder's input, the beat's register in
        firsts = delay.taps(now.first, adder - 1, rows, "first")
        lasts = delay.taps(Cat(now.last, now.end), adder + hop - 2, rows, "last")
        swaps = [ahead.swap]
        if rows > 1:
            swaps += delay.taps(now.swap, hop - 1, hop * (rows - 2) + 1, "swap")[::hop]

        # A tile drains from the step after its bottom row is done; row r takes part until its own
        # results and those of the r rows above have passed. Tiles are at least as far apart as
        # that lasts.
        draining = Signal()
        drain_step = Signal(range(max(rows * turns, 2)))
        with m.If(delay.en):
            with m.If(drain_step == rows * turns - 1):
                m.d.sync += draining.eq(0)
            m.d.sync += drain_step.eq(drain_step + 1)
            with m.If(lasts[rows - 1][1]):
                m.d.sync += [draining.eq(1), drain_step.eq(0)]

        controls = []
        for r in range(rows):
            control = Signal(control_layout(), name=f"control{r}")
            m.d.comb += [
                control.first.eq(firsts[r]),
                control.last.eq(lasts[r][0]),
                control.shift.eq(
                    draining if r == rows - 1 else draining & (drain_step < (r + 1) * turns)
                ),
                control.load.eq(
                    ~now.stationary | (now.load if r == 0 else now.load & (now.load_index >= r))
                ),
                control.swap.eq(swaps[r]),
            ]
            controls.append(control.as_value())
        return controls, draining

    def _partial_sums(self, m: Module, decided: Value, now: Flags, delay: Delay) -> list[Any]:
        """The columns' partial sums: the ports of their modules."""
        adder = self.array.multiply_steps + 1  # as in `_controls`
        address = now.act_index[: max(1, (self.array.psum_depth - 1).bit_length())]
        steps = self._column_steps - 1
        steered: tuple[Value, ...] = (
            delay(address, adder - 3, "psum_read"),
            delay(now.accumulate, adder - 3, "psum_use"),
            delay(address, steps, "psum_write"),
            delay(now.act & ~now.final, steps, "psum_keep"),
        )
        columns = []
        for c in range(self.array.cols):
            column = instance(
                m,
                _SUMS_MODULE,
                f"psum{c}",
                sums_signature(self.fmt.accumulator_bits, self.array.psum_depth),
            )
            read, use, write, keep = steered
            m.d.comb += [
                column.step.eq(registered(m, decided, f"step_sums{c}")),
                column.read_in.eq(read),
                column.use_in.eq(use),
                column.write_in.eq(write),
                column.keep_in.eq(keep),
            ]
            steered = (column.read_out, column.use_out, column.write_out, column.keep_out)
            columns.append(column)
        return columns

    @property
    def _column_steps(self) -> int:
        """Steps from a row of A to its sum below column 0 (weight stationary)."""
        return self.array.ws_exit - (self.array.cols - 1)

    def _array(
        self,
        m: Module,
        decided: Mapping[str, Value],
        flags: Flags,
        stationary: Value,
        controls: list[Value],
        tops: list[Value],
    ) -> list[Value]:
        """Feeds and PEs; returns what leaves each column below."""
        rows, cols, bits = self.array.rows, self.array.cols, self.fmt.operand_bits

        def feed(module: str, name: str, word: Value, take: Value) -> Value:
            ports = instance(m, module, name, feed_signature(len(word)))
            go = decided[name[0]]
            m.d.comb += [
                ports.step.eq(registered(m, go, f"step_{name}")),
                ports.take.eq(registered(m, go & take, f"take_{name}")),
                ports.stationary.eq(stationary),
                ports.i.eq(word),
            ]
            return ports.o

        down_pair = [
            feed(_column_module(c), f"b{c}", Value.cast(self.b.payload[c]), flags.need_b)
            for c in range(cols)
        ]
        down_link: list[Value] = list(tops)
        for r in range(rows):
            right_group = feed(_row_module(r), f"a{r}", Value.cast(self.a.payload[r]), flags.need_a)
            right_control: Value = controls[r]
            step = registered(m, decided["rows"], f"row_step{r}")
            mode = registered(m, stationary, f"row_stationary{r}")
            for c in range(cols):
                group = Signal(self.array.group * bits, name=f"group_{r}_{c}")
                pair = Signal(bits + self.index_bits, name=f"pair_{r}_{c}")
                control = Signal(control_layout().size, name=f"control_{r}_{c}")
                link = Signal(self.fmt.accumulator_bits, name=f"link_{r}_{c}")
                m.submodules[f"pe_{r}_{c}"] = Instance(
                    PE_MODULE,
                    i_clk=ClockSignal(),
                    i_rst=ResetSignal(),
                    i_step=step,
                    i_stationary=mode,
                    i_group_in=right_group,
                    o_group_out=group,
                    i_value_in=down_pair[c][:bits],
                    i_index_in=down_pair[c][bits:],
                    o_value_out=pair[:bits],
                    o_index_out=pair[bits:],
                    i_control_in=right_control,
                    o_control_out=control,
                    i_link_in=down_link[c],
                    o_link_out=link,
                )
                right_group, right_control = group, control
                down_pair[c], down_link[c] = pair, link
        return down_link
