"""The delta top's control: descriptors one after the other, layers set up, frames started."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.models.bus_words import slot_bytes
from hwsim.models.delta_jobs import DELTA_ERRORS, OPCODES, DeltaFormat, record_names
from hwsim.models.shell_map import ShellSpec
from hwsim.rtl.axi import BYTES_BITS, command_layout
from hwsim.rtl.delta_axi_frames import STRIDE_BITS
from hwsim.rtl.delta_axi_parts import link
from hwsim.rtl.delta_parts import config_layout
from hwsim.rtl.registers import record_layout
from hwsim.rtl.rowwise_parts import Queue
from hwsim.rtl.shell import INDEX_BITS, descriptor_payload
from hwsim.rtl.width import COUNT_BITS, WordsToBeats

__all__ = ["DeltaControl"]

_RECORD_BITS = 32  # of a word of a layer's record


class DeltaControl(wiring.Component):
    """Takes descriptors, loads what they name, tells the other units when frames run.

    Args:
        form: bytes of the core's streams.
        chain: engines.
        bus: the buses.
        spec: of the descriptors.
        on_chip: there are on-chip weight memories.

    Ports:
        descriptor, completed, notify, fault, fault_code, fault_index: of
            `hwsim.rtl.shell.Shell`.
        read, read_data: a client of the read engine; `read_data` are its bus words, plain.
        hold: the core's reset, a register; high from reset.
        config{e}, base{e}: an engine's constants and the address of its weights; they change only
            while `hold` is high.
        frame_beats, result_beats: of a frame, and of its results.
        engine: whose `set` and `load` are.
        set: parameters, or a GRU's first sums; after `hold`.
        load: words of weights from number 0 at `restart`; they are always taken.
        go: frames run: `count` from `x` on, `x_stride` bytes apart, results likewise at `o`.
        done: all results are where they belong; not in the cycle after `go`.
    """

    def __init__(
        self, form: DeltaFormat, chain: int, bus: BusConfig, spec: ShellSpec, *, on_chip: bool
    ) -> None:
        self.form = form
        self.chain = chain
        self.bus = bus
        self.spec = spec
        self.on_chip = on_chip
        members: dict[str, Member] = {
            "descriptor": In(stream.Signature(descriptor_payload(spec))),
            "completed": Out(1),
            "notify": Out(1),
            "fault": Out(1),
            "fault_code": Out(8),
            "fault_index": Out(INDEX_BITS),
            "read": Out(stream.Signature(command_layout(bus))),
            "read_data": In(stream.Signature(bus.data_bits)),
            "hold": Out(1, init=1),
            "frame_beats": Out(COUNT_BITS),
            "result_beats": Out(COUNT_BITS),
            "engine": Out(8),
            "set": Out(stream.Signature(form.parameter_bits)),
            "load": Out(stream.Signature(form.weight_bits)),
            "restart": Out(1),
            "go": Out(1),
            "done": In(1),
            "count": Out(32),
            "x": Out(bus.address_bits),
            "o": Out(bus.address_bits),
            "x_stride": Out(STRIDE_BITS),
            "o_stride": Out(STRIDE_BITS),
        }
        for e in range(chain):
            members[f"config{e}"] = Out(config_layout(form.shape))
            members[f"base{e}"] = Out(bus.address_bits)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        record = Signal(self.spec.record_bytes * 8)
        jobs = {
            name: record_layout(layout)(record) for name, (_, layout) in self.spec.records.items()
        }
        layer, weights, frames = jobs["layer"], jobs["weights"], jobs["frames"]
        m.d.comb += [
            self.engine.eq(layer.engine),  # WEIGHTS has it in the same place
            *(
                getattr(self, name).eq(getattr(frames, name))
                for name in ("count", "x", "o", "x_stride", "o_stride")
            ),
        ]
        words, beats, loaded = self._readers(m)
        ready = Signal(self.chain)  # engines that are set up
        sums, sum_beats = Signal(self.bus.address_bits), Signal(32)  # first sums, for RESET
        index, code = Signal(INDEX_BITS), Signal(8)
        names = record_names(self.form.shape)
        place = Signal(range(len(names)))
        m.d.comb += [self.fault_code.eq(code), self.fault_index.eq(index)]
        is_reset = Signal()
        m.d.comb += is_reset.eq(layer.opcode == OPCODES["reset"])
        mine = [self.engine == e for e in range(self.chain)]

        def fail(name: str) -> None:
            m.d.sync += code.eq(DELTA_ERRORS[name])
            m.next = "FAULT"

        with m.FSM(name="control"):
            with m.State("IDLE"):
                m.d.comb += self.descriptor.ready.eq(1)
                m.d.sync += [
                    record.eq(self.descriptor.payload.record),
                    index.eq(self.descriptor.payload.index),
                    place.eq(0),
                ]
                with m.If(self.descriptor.valid):
                    m.next = "CHECK"
            with m.State("CHECK"), m.Switch(layer.opcode):
                with m.Case(OPCODES["layer"]):
                    m.next = "RECORD_ASK"
                    m.d.sync += [
                        self.hold.eq(1),
                        *(ready[e].eq(ready[e] & ~mine[e]) for e in range(self.chain)),
                    ]
                    with m.If(self.engine >= self.chain):
                        fail("engine")
                with m.Case(OPCODES["weights"]):
                    m.d.comb += self.restart.eq(1)
                    m.next = "LOAD_ASK"
                    most = 1 << self.form.shape.address_bits if self.on_chip else 0
                    with m.If(self.engine >= self.chain):
                        fail("engine")
                    with m.Elif(weights.beats > most):
                        fail("weight_memory")
                with m.Case(OPCODES["frames"]):
                    m.d.comb += self.go.eq(ready.all())
                    m.next = "FRAMES"
                    with m.If(~ready.all()):
                        fail("no_layer")
                with m.Case(OPCODES["reset"]):
                    m.d.sync += self.hold.eq(1)
                    m.next = "SET_ASK" if self.form.shape.gru else "DONE"
                    with m.If(~ready.all()):
                        fail("no_layer")
            with m.State("RECORD_ASK"):
                self._ask(m, words, layer.record, len(names), "RECORD")
            with m.State("RECORD"):
                m.d.comb += words.unit.o.ready.eq(1)
                with m.If(words.unit.o.valid):
                    m.d.sync += place.eq(place + 1)
                    self._store(m, mine, place, words.unit.o.payload.data)
                    with m.If(words.unit.o.payload.last):
                        m.next = "RECORD_CHECK"
            with m.State("RECORD_CHECK"):
                m.d.sync += [sums.eq(layer.parameters), sum_beats.eq(layer.beats)]
                m.next = "SET_ASK"
                for e in range(self.chain):
                    with m.If(mine[e]):
                        m.d.sync += getattr(self, f"base{e}").eq(layer.weights)
                        with m.If(layer.beats != self._expected(e)):
                            fail("beats")
            with m.State("SET_ASK"):
                m.d.sync += self.hold.eq(0)
                where = Mux(is_reset, sums, layer.parameters)
                self._ask(m, beats, where, Mux(is_reset, sum_beats, layer.beats), "SET")
            with m.State("SET"):
                m.d.comb += [
                    self.set.valid.eq(beats.unit.o.valid),
                    self.set.payload.eq(beats.unit.o.payload.data),
                    beats.unit.o.ready.eq(self.set.ready),
                ]
                with m.If(self.set.valid & self.set.ready & beats.unit.o.payload.last):
                    m.d.sync += [ready[e].eq(ready[e] | mine[e]) for e in range(self.chain)]
                    m.next = "DONE"
            with m.State("LOAD_ASK"):
                self._ask(m, loaded, weights.weights, weights.beats, "LOAD")
            with m.State("LOAD"):
                m.d.comb += [
                    self.load.valid.eq(loaded.unit.o.valid),
                    self.load.payload.eq(loaded.unit.o.payload.data),
                    loaded.unit.o.ready.eq(1),
                ]
                with m.If(loaded.unit.o.valid & loaded.unit.o.payload.last):
                    m.next = "DONE"
            with m.State("FRAMES"), m.If(self.done):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.sync += self.hold.eq(self.hold & ~ready.all())
                m.d.comb += [self.completed.eq(1), self.notify.eq(layer.irq)]
                m.next = "IDLE"
            with m.State("FAULT"):  # until the shell clears everything
                m.d.comb += self.fault.eq(1)
        return m

    def _readers(self, m: Module) -> list[_Reader]:
        """What cuts the words of a record, of parameters, of weights; one works at a time."""
        widths = (_RECORD_BITS, self.form.parameter_bits, self.form.weight_bits)
        m.submodules.asked = asked = Queue(command_layout(self.bus), 2)
        link(m, asked.o, self.read)
        which = Signal(range(len(widths)))
        made = []
        for number, width in enumerate(widths):
            unit = WordsToBeats(self.bus.data_bits, width)
            m.submodules[f"cutter{number}"] = unit
            slot = slot_bytes(width, self.bus.data_bits)
            made.append(_Reader(number, unit, asked, which, slot))
            m.d.comb += unit.i.payload.eq(self.read_data.payload)
            with m.If(which == number):
                m.d.comb += [
                    unit.i.valid.eq(self.read_data.valid),
                    self.read_data.ready.eq(unit.i.ready),
                ]
        return made

    def _ask(self, m: Module, reader: _Reader, address: Value, beats: Any, then: str) -> None:
        """A run of beats; nothing else is under way, so one step of waiting is enough."""
        m.d.comb += [
            reader.unit.run.payload.eq(beats),
            reader.unit.run.valid.eq(reader.queue.i.ready),
            reader.queue.i.valid.eq(reader.unit.run.ready),
            reader.queue.i.payload.address.eq(address),
            reader.queue.i.payload.bytes.eq((beats * reader.slot)[:BYTES_BITS]
                                            if isinstance(beats, Value) else beats * reader.slot),
        ]  # fmt: skip
        m.d.sync += reader.which.eq(reader.number)
        with m.If(reader.queue.i.ready & reader.unit.run.ready):
            m.next = then

    def _store(self, m: Module, mine: list[Value], place: Value, word: Value) -> None:
        """A word of the record to its place."""
        for number, name in enumerate(record_names(self.form.shape)):
            with m.If(place == number):
                if name in ("frame_beats", "result_beats"):
                    # a chain takes the first engine's frames and gives the last one's results
                    end = 0 if name == "frame_beats" else -1
                    with m.If(mine[end]):
                        m.d.sync += getattr(self, name).eq(word)
                    continue
                for e in range(self.chain):
                    with m.If(mine[e]):
                        m.d.sync += getattr(self, f"config{e}")[name].eq(word)

    def _expected(self, e: int) -> Value:
        """Beats of parameters or first sums that an engine's record says."""
        config = getattr(self, f"config{e}")
        if self.form.shape.gru:
            value: Value = config.groups << 2
            return value
        words: Value = config.out_words
        return words


class _Reader:
    """One of the cutters behind the control's reads."""

    def __init__(self, number: int, unit: WordsToBeats, queue: Queue, which: Signal, slot: int):
        self.number = number
        self.unit = unit
        self.queue = queue
        self.which = which
        self.slot = slot
