"""Multiply-accumulate lanes with the sigma state memory, and the walk over the sums at frame's end.

Each lane multiplies its weight with the event's difference and adds the product to its sum of the
addressed word, saturating. The sums stay from frame to frame. When the frame's last entry has been
taken the unit turns from adding to reading: every word of sums goes out, window of the max-pool
after window, or in a GRU the four sums and the old state of each group of units; then it adds
again. From reset the sums are first set: to 0 in a layer, to the words of `start` in a GRU.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.delta_shape import DeltaShape
from hwsim.rtl.delta_parts import (
    config_layout,
    entry_layout,
    items_layout,
    saturate,
    sums_layout,
    weights_layout,
    window_layout,
)
from hwsim.rtl.rowwise_parts import instance

__all__ = ["DELTA_LANE", "DELTA_LANES", "DeltaLane", "DeltaLanes", "lanes_signature"]

DELTA_LANE = "delta_lane"
DELTA_LANES = "delta_lanes"

_STATE_SLOT = 4  # of a GRU's group: after z, r and both parts of n comes the old state


def lane_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `DeltaLane`."""
    return wiring.Signature(
        {
            "read": In(1),
            "address": In(shape.sigma_bits),
            "add": In(1),
            "delta": In(signed(shape.delta_bits)),
            "weight": In(signed(shape.weight_bits)),
            "set": In(1),
            "set_to": In(signed(shape.accumulator_bits)),
            "sum": Out(signed(shape.accumulator_bits)),
        }
    )


class DeltaLane(wiring.Component):
    """One lane: multiplier, saturating adder, its part of the sigma memory.

    Ports:
        read: the sum at `address` is on `sum` in the next cycle and stays until the next read.
        add: with `read`; in the next cycle delta * weight is added to that sum.
        set: `set_to` is written at `address`; not in the cycle behind an `add`.

    An addition is complete for the read that follows it: the memory passes on what it writes.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(lane_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.shape.accumulator_bits
        m.submodules.sums = sums = memory.Memory(
            shape=signed(bits), depth=self.shape.sigma_words, init=[]
        )
        write = sums.write_port()
        read = sums.read_port(transparent_for=[write])
        product = Signal(signed(self.shape.product_bits))
        adding, where = Signal(), Signal(self.shape.sigma_bits)
        m.d.comb += [
            read.en.eq(self.read),
            read.addr.eq(self.address),
            self.sum.eq(read.data),
            write.en.eq(adding | self.set),
            write.addr.eq(Mux(adding, where, self.address)),
        ]
        total = saturate(m, read.data + product, bits, "total")
        m.d.comb += write.data.eq(Mux(adding, total, self.set_to))
        m.d.sync += adding.eq(self.add)
        with m.If(self.add):
            m.d.sync += [where.eq(self.address), product.eq(self.delta * self.weight)]
        return m


def lanes_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `DeltaLanes`."""
    members: dict[str, Member] = {
        "config": In(config_layout(shape)),
        "i": In(stream.Signature(entry_layout(shape))),
        "weights": In(stream.Signature(weights_layout(shape))),
    }
    if shape.gru:
        members |= {
            "start": In(stream.Signature(sums_layout(shape))),
            "o": Out(stream.Signature(sums_layout(shape))),
            "h_word": Out(shape.sigma_bits),
            "h_read": Out(1),
            "h": In(items_layout(shape, shape.lanes)),
        }
    else:
        members["o"] = Out(stream.Signature(window_layout(shape)))
    return wiring.Signature(members)


class DeltaLanes(wiring.Component):
    """`lanes` lanes behind two streams; instantiates `DELTA_LANE`.

    Ports:
        config: constant from reset.
        i: where products go; those that carry `weights` wait for the next word of that stream.
        weights: words of weights, in the order of the requests.
        start: of a GRU, the sums' first values, taken from reset.
        o: words of sums when a frame has ended.
        h_word, h_read, h: of a GRU, the state's memory, as `hwsim.rtl.delta_scanner.DeltaScanner`
            has it.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(lanes_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        lanes = [instance(m, DELTA_LANE, f"lane{i}", lane_signature(shape))
                 for i in range(shape.lanes)]  # fmt: skip
        entry = self.i.payload
        adds, reads, held = Signal(), Signal(), Signal()  # held: a word waits at `o`
        walked = Signal()  # the last word has been read
        step, take, setting = Signal(), Signal(), Signal()
        at = Signal(shape.sigma_bits + 1)  # of the sums' first values
        address = Signal(shape.sigma_bits)
        walk, walk_end = (self._gru_walk if shape.gru else self._layer_walk)(m, step)

        with m.FSM():
            with m.State("SET"):
                given, count = self._first_values(m)
                m.d.comb += [setting.eq(given), address.eq(at)]
                with m.If(given):
                    m.d.sync += at.eq(at + 1)
                    with m.If(at + 1 == count):
                        m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += [
                    take.eq(self.i.valid & (~entry.weights | self.weights.valid)),
                    self.i.ready.eq(~entry.weights | self.weights.valid),
                    self.weights.ready.eq(self.i.valid & entry.weights),
                    adds.eq(take & entry.weights),
                    address.eq(entry.address),
                ]
                with m.If(take & entry.last):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [
                    reads.eq(~walked & (~held | self.o.ready)),
                    address.eq(walk),
                    step.eq(reads),
                    self.o.valid.eq(held),
                ]
                with m.If(self.o.ready):
                    m.d.sync += held.eq(0)
                with m.If(reads):
                    m.d.sync += [held.eq(1), walked.eq(walk_end)]
                with m.If(held & self.o.ready & walked):
                    m.d.sync += walked.eq(0)
                    m.next = "ADD"
        for i, lane in enumerate(lanes):
            m.d.comb += [
                lane.read.eq(adds | reads),
                lane.add.eq(adds),
                lane.address.eq(address),
                lane.delta.eq(entry.delta),
                lane.weight.eq(self.weights.payload[i]),
                lane.set.eq(setting),
                lane.set_to.eq(self.start.payload[i] if shape.gru else 0),
            ]
        self._result(m, lanes, step)
        return m

    def _first_values(self, m: Module) -> tuple[Value, Value]:
        """Whether a word of sums is set in this cycle, and how many there are."""
        if not self.shape.gru:
            return Value.cast(1), self.config.sigma_words
        m.d.comb += self.start.ready.eq(1)
        return self.start.valid, self.config.groups << 2

    def _layer_walk(self, m: Module, step: Value) -> tuple[Value, Value]:
        """Result rows, columns, words of channels; within each the rows and columns of the pool."""
        c, bits = self.config, self.shape.sigma_bits + 1
        row, column, across, down = (
            Signal(bits, name=f"{name}_base") for name in ("row", "column", "across", "down")
        )
        word = Signal(self.shape.parameter_bits + 1)
        y, x = Signal(self.shape.coordinate_bits), Signal(self.shape.coordinate_bits)
        wy, wx = Signal(len(c.pool)), Signal(len(c.pool))
        ends = {
            "wx": wx + 1 == c.pool,
            "wy": wy + 1 == c.pool,
            "word": word + 1 == c.out_words,
            "x": x + 1 == c.pooled_w,
            "y": y + 1 == c.pooled_h,
        }
        # (counter, what it adds to the address, by how much), the innermost first
        loops = [
            ("wx", wx, across, c.out_words),
            ("wy", wy, down, c.sigma_row),
            ("word", word, None, None),
            ("x", x, column, c.pool_step),
            ("y", y, row, c.pool_row),
        ]
        turn: Value = step
        for name, counter, base, by in loops:
            with m.If(turn):
                m.d.sync += counter.eq(Mux(ends[name], 0, counter + 1))
                if base is not None:
                    m.d.sync += base.eq(Mux(ends[name], 0, base + by))
            turn = turn & ends[name]
        self._window = (word, (wx == 0) & (wy == 0), ends["wx"] & ends["wy"])
        address = Signal(self.shape.sigma_bits, name="walk")
        m.d.comb += address.eq(row + column + down + across + word)
        return address, Cat(ends.values()).all()

    def _gru_walk(self, m: Module, step: Value) -> tuple[Value, Value]:
        """Groups of units; of each the sums r, z, both parts of n, then the old state."""
        c = self.config
        group, slot = Signal(self.shape.sigma_bits + 1), Signal(3)
        slot_end, end = slot == _STATE_SLOT, Signal()
        address = Signal(self.shape.sigma_bits, name="walk")
        first = Signal(init=1)  # the first step: the old state is 0
        m.d.comb += [
            end.eq(slot_end & (group + 1 == c.groups)),
            # r is first: its product with the state's part of n takes longest
            address.eq(group + _times(slot ^ (slot < 2), c.groups)),
            self.h_word.eq(group),
            self.h_read.eq(step),
        ]
        with m.If(step):
            m.d.sync += slot.eq(Mux(slot_end, 0, slot + 1))
            with m.If(slot_end):
                m.d.sync += group.eq(Mux(end, 0, group + 1))
            with m.If(end):
                m.d.sync += first.eq(0)
        self._state = (slot_end, first)
        return address, end

    def _result(self, m: Module, lanes: list[Any], step: Value) -> None:
        """The word that was read, and with it what the next unit must know of it."""
        if self.shape.gru:
            is_state, zero = Signal(), Signal()
            with m.If(step):
                m.d.sync += [is_state.eq(self._state[0]), zero.eq(self._state[1])]
            for i, lane in enumerate(lanes):
                state = Mux(zero, 0, self.h[i])
                m.d.comb += self.o.payload[i].eq(Mux(is_state, state, lane.sum))
            return
        out = self.o.payload
        word, first, last = self._window
        named = [Signal(len(Value.cast(x)), name=f"window{i}") for i, x in enumerate(self._window)]
        with m.If(step):
            m.d.sync += [named[0].eq(word), named[1].eq(first), named[2].eq(last)]
        m.d.comb += [out.word.eq(named[0]), out.first.eq(named[1]), out.last.eq(named[2])]
        for i, lane in enumerate(lanes):
            m.d.comb += out.sums[i].eq(lane.sum)


def _times(slot: Value, groups: Value) -> Value:
    """slot * groups for a slot of 0 to 3."""
    return Mux(slot[0], groups, 0) + (Mux(slot[1], groups, 0) << 1)
