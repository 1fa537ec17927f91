"""One bank of the row-wise engine's scratchpad: a hash table with atomic insert-or-accumulate.

The table maps a tag (row, column) to an offset; values, rows and columns lie in dense arrays in
the order in which the tags arrived, so that they leave without looking for filled slots. Both
exist twice: while one half is hashed into, the other drains.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwsim.models.formats import FP16, INT8
from hwsim.models.rowwise import RowwiseShape
from hwsim.rtl.arithmetic import add, adder_pipeline
from hwsim.rtl.rowwise_parts import COUNT_BITS, PORT_QUEUE, Queue, entry_layout

__all__ = ["BANK_COUNTERS", "ROWWISE_BANK", "HashBank", "bank_in_layout", "bank_signature"]

ROWWISE_BANK = "rowwise_bank"
"""Name of the module that every bank is an instance of; Verilog holds it once."""

BANK_COUNTERS = ("probes", "inserts", "accumulates", "waits", "spilled")

_MINUS_ZERO = 0x80000000  # adding it changes nothing, not even the sign of a zero


def bank_in_layout(shape: RowwiseShape) -> data.StructLayout:
    """A product and the slot where probing starts."""
    return data.StructLayout({"entry": entry_layout(shape), "slot": shape.slot_bits})


def bank_signature(shape: RowwiseShape) -> wiring.Signature:
    """Ports of `HashBank`."""
    entries = stream.Signature(entry_layout(shape))
    return wiring.Signature(
        {
            "i": In(stream.Signature(bank_in_layout(shape))),
            "spill": Out(entries),
            "z": Out(entries),
            "flip": In(1),
            "busy": Out(1),
            "drained": Out(1),
            **{name: Out(COUNT_BITS) for name in BANK_COUNTERS},
        }
    )


class HashBank(wiring.Component):
    """A hash table with linear probing, one probe a cycle.

    A product that finds an empty slot inserts its tag with the next offset, one that finds its tag
    adds to the value there. Insertion adds to -0.0 (to 0 as integers), so that both take one way
    through the adder. While an addition to an offset is under way, another to it waits: the read
    of the old value and the write of the new are atomic. A product that has looked at
    `probe_limit` slots in vain leaves by `spill`. Tags are never removed in a window, so no later
    product with this tag can find it in the table: entries and spilled products of a window have
    no tag in common.

    Ports:
        i: products with their slot, through a queue of `bank_queue` words.
        spill: products that did not fit.
        z: the entries of the half that drains, in the order in which they were inserted.
        flip: one cycle, when the bank is not `busy` and `drained`: halves change places, the
            table is empty, counters start again.
        busy: a product is queued, probed, added, or waits to be spilled.
        drained: the half that drains has no more entries.
        probes, inserts, accumulates, waits, spilled: events since the last flip: slots looked
            at, tags inserted, products added, cycles spent waiting for an addition, products
            spilled.

    The table is emptied by a new epoch, which costs nothing; when epochs run out, and after reset,
    a sweep of `entries` cycles clears the slots before the next product is taken.

    Timing: a product from the queue is probed in the next cycle; its sum stands in the dense array
    `adder_latency` + 2 cycles after the probe that found its slot.
    """

    def __init__(self, shape: RowwiseShape) -> None:
        self.shape = shape
        super().__init__(bank_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        half = Signal()
        count = Signal(range(shape.entries + 1))  # of entries inserted
        with m.If(self.flip):
            m.d.sync += [half.eq(~half), count.eq(0)]

        issue, first, offset, product = self._probe(m, count)
        values, writing = self._accumulate(m, half, issue, first, offset, product.value)
        keys = self._keys(m, half, issue & first, offset, product)
        self._drain(m, half, count, keys, values)
        m.d.comb += self.busy.eq(self._probing | writing | self.spill.valid)
        return m

    def _probe(self, m: Module, count: Signal) -> tuple[Value, Value, Value, data.View]:
        """The table: whether a sum begins, if it is an entry's first, its offset, the product."""
        shape = self.shape
        tag_layout = data.StructLayout(
            {
                "epoch": shape.epoch_bits,
                "row": shape.row_bits,
                "column": shape.column_bits,
                "offset": shape.slot_bits,
            }
        )
        m.submodules.tags = tags = Memory(shape=tag_layout, depth=shape.entries, init=[])
        write = tags.write_port()
        read = tags.read_port(transparent_for=(write,))
        m.submodules.queue = queue = Queue(bank_in_layout(shape), shape.bank_queue)
        m.submodules.spills = spills = Queue(entry_layout(shape), PORT_QUEUE)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, spills.o, wiring.flipped(self.spill))

        epoch = Signal(shape.epoch_bits, init=1)
        sweeping = Signal(init=1)
        sweep = Signal(shape.slot_bits)
        valid = Signal()
        here = Signal(bank_in_layout(shape))  # the product that is probed, its slot
        looked = Signal(range(max(shape.probe_limit, 2)))  # slots seen before this one
        waits = Signal()  # for an addition to the same offset

        empty, match, last = Signal(), Signal(), Signal()
        insert, accumulate, onward, leave = Signal(), Signal(), Signal(), Signal()
        take = Signal()
        m.d.comb += [
            empty.eq(read.data.epoch != epoch),
            match.eq(
                ~empty & (read.data.row == here.entry.row) & (read.data.column == here.entry.column)
            ),
            last.eq(looked == shape.probe_limit - 1),
            insert.eq(valid & empty),
            waits.eq(valid & match & self._in_flight(m, read.data.offset)),
            accumulate.eq(valid & match & ~waits),
            onward.eq(valid & ~empty & ~match & ~last),
            spills.i.valid.eq(valid & ~empty & ~match & last),
            spills.i.payload.eq(here.entry),
            leave.eq(spills.i.valid & spills.i.ready),
            queue.o.ready.eq((~valid | insert | accumulate | leave) & ~sweeping),
            take.eq(queue.o.valid & queue.o.ready),
            read.addr.eq(Mux(onward, here.slot + 1, queue.o.payload.slot)),
            read.en.eq(onward | take),
            write.addr.eq(Mux(sweeping, sweep, here.slot)),
            write.en.eq(sweeping | insert),
            # a sweep writes epoch 0, which is never the current one
            write.data.epoch.eq(Mux(sweeping, 0, epoch)),
            write.data.row.eq(here.entry.row),
            write.data.column.eq(here.entry.column),
            write.data.offset.eq(count),
        ]
        with m.If(insert | accumulate | leave):
            m.d.sync += valid.eq(0)
        with m.If(onward):
            m.d.sync += [here.slot.eq(here.slot + 1), looked.eq(looked + 1)]
        with m.If(take):
            m.d.sync += [valid.eq(1), here.eq(queue.o.payload), looked.eq(0)]
        with m.If(insert):
            m.d.sync += count.eq(count + 1)
        with m.If(sweeping):
            m.d.sync += sweep.eq(sweep + 1)
            with m.If(sweep == shape.entries - 1):
                m.d.sync += sweeping.eq(0)
        with m.If(self.flip):
            m.d.sync += epoch.eq(epoch + 1)
            with m.If(epoch == 2**shape.epoch_bits - 1):
                m.d.sync += [epoch.eq(1), sweeping.eq(1), sweep.eq(0)]

        events = (insert | accumulate | onward | leave, insert, accumulate, waits, leave)
        for name, event in zip(BANK_COUNTERS, events, strict=True):
            counter = getattr(self, name)
            m.d.sync += counter.eq(Mux(self.flip, 0, counter + event))
        self._probing = queue.o.valid | valid
        return insert | accumulate, insert, Mux(insert, count, read.data.offset), here.entry

    def _in_flight(self, m: Module, offset: Value) -> Value:
        """Whether an addition to `offset` has begun whose sum is not being written yet."""
        self._stages = [
            Signal(data.StructLayout({"valid": 1, "offset": self.shape.slot_bits}), name=f"sum{i}")
            for i in range(self.shape.adder_latency + 1)
        ]
        found = Signal()
        m.d.comb += found.eq(
            Cat(stage.valid & (stage.offset == offset) for stage in self._stages[:-1]).any()
        )
        return found

    def _accumulate(
        self, m: Module, half: Value, issue: Value, first: Value, offset: Value, value: Value
    ) -> tuple[Memory, Value]:
        """Old value, adder, new value; the memory of values and whether a sum is under way."""
        shape, stages = self.shape, self._stages
        m.submodules.values = values = Memory(shape=32, depth=2 * shape.entries, init=[])
        write = values.write_port()
        read = values.read_port(transparent_for=(write,))
        fresh, product = Signal(), Signal(32)
        m.d.sync += [stages[0].valid.eq(issue), stages[0].offset.eq(offset)]
        m.d.sync += [fresh.eq(first), product.eq(value)]
        for before, after in pairwise(stages):
            m.d.sync += after.eq(before)
        m.d.comb += [read.addr.eq(Cat(offset[: shape.slot_bits], half)), read.en.eq(issue)]

        m.submodules.adder = adder = Module()
        fmt = FP16 if shape.is_float else INT8  # their accumulators: FP32 and INT32
        old = Signal(32)
        m.d.comb += old.eq(Mux(fresh, _MINUS_ZERO if shape.is_float else 0, read.data))
        pipe = adder_pipeline(adder, Const(1), fmt, shape.adder_latency)
        total = add(adder, fmt, old, product, pipe)
        m.d.comb += [
            write.addr.eq(Cat(stages[-1].offset, half)),
            write.data.eq(total),
            write.en.eq(stages[-1].valid),
        ]
        return values, Cat(stage.valid for stage in stages).any()

    def _keys(
        self, m: Module, half: Value, insert: Value, offset: Value, product: data.View
    ) -> Memory:
        """The dense arrays of rows and columns."""
        shape = self.shape
        layout = data.StructLayout({"row": shape.row_bits, "column": shape.column_bits})
        m.submodules.keys = keys = Memory(shape=layout, depth=2 * shape.entries, init=[])
        write = keys.write_port()
        m.d.comb += [
            write.addr.eq(Cat(offset[: shape.slot_bits], half)),
            write.data.row.eq(product.row),
            write.data.column.eq(product.column),
            write.en.eq(insert),
        ]
        return keys

    def _drain(self, m: Module, half: Value, count: Signal, keys: Memory, values: Memory) -> None:
        shape = self.shape
        size, at = Signal.like(count), Signal.like(count)  # entries to drain, entries fetched
        fetch = Signal()
        ports = (keys.read_port(), values.read_port())
        for port in ports:
            m.d.comb += [
                port.addr.eq(Cat(at[: shape.slot_bits], ~half)),
                port.en.eq(fetch),
            ]
        m.d.comb += [
            fetch.eq((at != size) & (~self.z.valid | self.z.ready)),
            self.z.payload.row.eq(ports[0].data.row),
            self.z.payload.column.eq(ports[0].data.column),
            self.z.payload.value.eq(ports[1].data),
            self.drained.eq((at == size) & ~self.z.valid),
        ]
        with m.If(self.z.ready):
            m.d.sync += self.z.valid.eq(0)
        with m.If(fetch):
            m.d.sync += [self.z.valid.eq(1), at.eq(at + 1)]
        with m.If(self.flip):
            m.d.sync += [size.eq(count), at.eq(0)]
