"""The FPGA-ready SpGEMM top: the row-wise engine with AXI4-Lite registers, AXI4 DMA, descriptors.

`SpgemmAxi` is a `Shell` and a `SpgemmBody`; the body instantiates the core by name and stands a
reader of the shell's DMA behind each of its memory ports and a writer behind each result stream.
docs/spgemm-descriptors.md says what software writes; `hwsim.models.spgemm_jobs` packs it.

The core is held in reset between descriptors, so that a product does not depend on what ran
before it: its cycle 0 is the first one after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.models.rowwise import RowwiseShape
from hwsim.models.shell_map import ShellSpec
from hwsim.models.spgemm_jobs import (
    ELEMENT_BYTES,
    POINTER_BYTES,
    SPGEMM_COUNTERS,
    SPGEMM_ERRORS,
    SpgemmFormat,
    reader_words,
    spgemm_spec,
)
from hwsim.rtl.axi import axis_members, block_words, command_layout, pass_ports, word_layout
from hwsim.rtl.registers import record_layout
from hwsim.rtl.rowwise import ROWWISE_TOP, rowwise_members, rowwise_parts
from hwsim.rtl.rowwise_parts import COUNT_BITS, DONE_FIELDS
from hwsim.rtl.shell import INDEX_BITS, Shell, descriptor_payload, shell_members
from hwsim.rtl.spgemm_axi_parts import PairReader, ResultStream, ResultWriter, RunReader, link

__all__ = [
    "SPGEMM_AXI",
    "SpgemmAxi",
    "SpgemmBody",
    "probe_names",
    "spgemm_axi_members",
    "spgemm_axi_parts",
]

SPGEMM_AXI = "spgemm_axi"

_WINDOWS, _A_POINTERS, _A_ELEMENTS, _B_POINTERS, _B_ELEMENTS = range(5)
"""Clients of the read engine; from the last on one for each lane."""

_COUNTED = {
    "spgemm.multiply": "multiplies",
    "spgemm.hash.probe": "probes",
    "spgemm.hash.insert": "inserts",
    "spgemm.hash.accumulate": "accumulates",
    "spgemm.hash.wait": "waits",
    "spgemm.hash.spill": "spilled",
}
"""Counters that are a field of the counts of a window."""


def spgemm_axi_parts(
    shape: RowwiseShape, bus: BusConfig, *, spec: ShellSpec | None = None, probe: bool = False
) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of the top and its core, by module name, the top last."""
    top = {SPGEMM_AXI: lambda: SpgemmAxi(shape, bus, spec=spec, probe=probe)}
    return {**rowwise_parts(shape), **top}


def probe_names(shape: RowwiseShape) -> list[str]:
    """Streams of the core whose `valid` and `ready` stand on `probe` from bit 1 on, two bits each.

    Bit 0 is the core's reset.
    """
    return [name for name in rowwise_members(shape) if name != "overflow"]


def spgemm_axi_members(
    shape: RowwiseShape, bus: BusConfig, spec: ShellSpec, *, probe: bool = False
) -> dict[str, Member]:
    """Ports of `SpgemmAxi`."""
    members = {**shell_members(spec, bus), **_stream_members(shape, bus)}
    if probe:
        members["probe"] = Out(1 + 2 * len(probe_names(shape)))
    return members


class SpgemmAxi(wiring.Component):
    """The top; instantiates `ROWWISE_TOP`.

    Args:
        shape: of the engine.
        bus: the buses; with `data` stream, results leave on `m_axis_z{o}`, `m_axis_spill` and
            `m_axis_counts`. Operands are read by address: which rows of B depends on A's columns.
        spec: registers and descriptors, `hwsim.models.spgemm_jobs.spgemm_spec`.
        probe: the handshakes at the core's ports come out too, for verification.

    Ports: `s_axil_*`, `m_axi_*`, `irq`; with stream data `m_axis_*`.
    """

    def __init__(
        self,
        shape: RowwiseShape,
        bus: BusConfig,
        *,
        spec: ShellSpec | None = None,
        probe: bool = False,
    ) -> None:
        self.shape = shape
        self.bus = bus
        self.spec = spec or spgemm_spec()
        self.probing = probe
        super().__init__(spgemm_axi_members(shape, bus, self.spec, probe=probe))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        body = SpgemmBody(self.shape, self.bus, self.spec)
        m.submodules.shell = shell = Shell(
            self.spec,
            self.bus,
            readers=body.readers,
            writers=body.writers,
            read_words=_read_words(self.shape, self.bus),
        )
        m.submodules.body = ResetInserter(shell.clear)(body)
        pass_ports(m, self, shell, shell_members(self.spec, self.bus))
        pass_ports(m, self, body, _stream_members(self.shape, self.bus))
        link(m, shell.descriptor, body.descriptor)
        for i in range(body.readers):
            link(m, getattr(body, f"read{i}"), getattr(shell, f"read{i}"))
            link(m, getattr(shell, f"read_data{i}"), getattr(body, f"read_data{i}"))
        for i in range(body.writers):
            link(m, getattr(body, f"write{i}"), getattr(shell, f"write{i}"))
            link(m, getattr(body, f"write_data{i}"), getattr(shell, f"write_data{i}"))
            m.d.comb += getattr(body, f"written{i}").eq(getattr(shell, f"written{i}"))
        names = ["completed", "notify", "fault", "fault_code", "fault_index"]
        names += [_count(name) for name in SPGEMM_COUNTERS]
        for name in names:
            m.d.comb += getattr(shell, name).eq(getattr(body, name))
        if self.probing:
            m.d.comb += self.probe.eq(body.probe)
        return m


class SpgemmBody(wiring.Component):
    """All but the shell: descriptors, the core, what reads for it and writes its results.

    Ports: those of `hwsim.rtl.shell.Shell` of the same names with the other direction, and
    `m_axis_*` with stream data.
    """

    def __init__(self, shape: RowwiseShape, bus: BusConfig, spec: ShellSpec) -> None:
        self.shape = shape
        self.bus = bus
        self.spec = spec
        self.form = SpgemmFormat(shape, bus.data_bits)
        self.streams = bus.data == "stream"
        self.readers = _B_ELEMENTS + shape.lanes
        self.writers = 0 if self.streams else shape.outputs + 2
        members: dict[str, Member] = {
            **_stream_members(shape, bus),
            "descriptor": In(stream.Signature(descriptor_payload(spec))),
            "completed": Out(1),
            "notify": Out(1),
            "fault": Out(1),
            "fault_code": Out(8),
            "fault_index": Out(INDEX_BITS),
            "probe": Out(1 + 2 * len(probe_names(shape))),
        }
        for name, bits in SPGEMM_COUNTERS.items():
            members[_count(name)] = Out(bits)
        for i in range(self.readers):
            members[f"read{i}"] = Out(stream.Signature(command_layout(bus)))
            members[f"read_data{i}"] = In(stream.Signature(word_layout(bus)))
        for i in range(self.writers):
            members[f"write{i}"] = Out(stream.Signature(command_layout(bus)))
            members[f"write_data{i}"] = Out(stream.Signature(bus.data_bits))
            members[f"written{i}"] = In(1)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        hold = Signal()  # between descriptors: core, readers and writers are in reset
        given = self.descriptor.payload
        job = data.View(record_layout(self.spec.records["multiply"][1]), given.record)
        faults: dict[str, Value] = {}
        core = self._core(m, hold)
        self._reads(m, hold, job, core, faults)
        self._control(m, hold, job, core, self._results(m, hold, job, core, faults))
        code = Signal(8)
        for name, wrong in reversed(faults.items()):
            with m.If(wrong):
                m.d.comb += code.eq(SPGEMM_ERRORS[name])
        m.d.sync += [
            self.fault.eq((code != 0) & ~hold),
            self.fault_code.eq(code),
            self.fault_index.eq(given.index),
        ]
        seen = [hold]
        for name in probe_names(self.shape):
            port = getattr(core, name)
            seen += [port.valid, port.ready]
        m.d.comb += self.probe.eq(Cat(seen))
        return m

    def _core(self, m: Module, hold: Signal) -> Any:
        signature = wiring.Signature(rowwise_members(self.shape))
        core = signature.create(path=("core",))
        ports = {
            ("o_" if member.flow is Out else "i_") + "__".join(map(str, path)): Value.cast(value)
            for path, member, value in signature.flatten(core)
        }
        m.submodules.core = Instance(ROWWISE_TOP, i_clk=ClockSignal(), i_rst=hold, **ports)
        return core

    def _reads(
        self, m: Module, hold: Signal, job: Any, core: Any, faults: dict[str, Value]
    ) -> None:
        """What stands behind the core's memory ports; which of their words are wrong."""
        bus, shape = self.bus, self.shape
        jobs = self._reader(m, hold, "windows", _WINDOWS, RunReader(bus, ELEMENT_BYTES))
        asked = Signal()
        with m.If(jobs.request.ready):
            m.d.sync += asked.eq(1)
        with m.If(hold):
            m.d.sync += asked.eq(0)
        first, rows = jobs.o.payload[:COUNT_BITS], jobs.o.payload[COUNT_BITS:]
        odd = Signal()
        m.d.comb += [
            jobs.base.eq(job.window_table),
            jobs.request.payload.length.eq(job.windows),
            jobs.request.valid.eq(~asked & ~hold),
            odd.eq((rows == 0) | (rows > 1 << shape.row_bits)),
            core.job.payload.start.eq(first),
            core.job.payload.rows.eq(rows),
            core.job.valid.eq(jobs.o.valid & ~odd),
            jobs.o.ready.eq(core.job.ready),
        ]
        faults["window"] = jobs.o.valid & odd

        reader = self._reader(m, hold, "a_pointers", _A_POINTERS, RunReader(bus, POINTER_BYTES))
        m.d.comb += reader.base.eq(job.a_pointers)
        link(m, core.a_ptr_req, reader.request)
        link(m, reader.o, core.a_ptr_rsp)

        wrong = self._elements(m, hold, "a_elements", _A_ELEMENTS, job.a_elements, core, "a")
        column = Signal(COUNT_BITS)  # of A, as it stands in memory
        m.d.comb += column.eq(wrong.payload[:COUNT_BITS])
        beyond = [wrong.valid & (column >= job.b_rows)]
        for lane in range(shape.lanes):
            port = self._elements(
                m, hold, f"b_elements{lane}", _B_ELEMENTS + lane, job.b_elements, core, "b", lane
            )
            beyond.append(port.valid & port.payload[shape.column_bits : COUNT_BITS].any())
        pairs = PairReader(bus, shape.column_bits)
        self._reader(m, hold, "b_pointers", _B_POINTERS, pairs)
        m.d.comb += pairs.base.eq(job.b_pointers)
        link(m, core.b_ptr_req, pairs.request)
        link(m, pairs.o, core.b_ptr_rsp)
        pair = pairs.o.payload
        # a row of A that ends before it begins has, modulo 2**32, a length of half that or more
        faults["pointers"] = (core.a_req.valid & core.a_req.payload.length[-1]) | (
            pairs.o.valid & (pair.end < pair.start)
        )
        faults["column"] = Cat(beyond).any()

    def _elements(
        self,
        m: Module,
        hold: Signal,
        name: str,
        client: int,
        base: Value,
        core: Any,
        port: str,
        lane: int | str = "",
    ) -> Any:
        """A reader of non-zeros behind the ports `{port}_req`, `{port}_rsp`; its elements."""
        reader = self._reader(m, hold, name, client, RunReader(self.bus, ELEMENT_BYTES))
        link(m, getattr(core, f"{port}_req{lane}"), reader.request)
        sink = getattr(core, f"{port}_rsp{lane}")
        m.d.comb += [
            reader.base.eq(base),
            sink.payload.column.eq(reader.o.payload[:COUNT_BITS]),
            sink.payload.value.eq(reader.o.payload[COUNT_BITS:]),
            sink.valid.eq(reader.o.valid),
            reader.o.ready.eq(sink.ready),
        ]
        return reader.o

    def _reader(self, m: Module, hold: Signal, name: str, client: int, unit: Any) -> Any:
        """Puts a reader in, reset with `hold`, at a client of the read engine."""
        m.submodules[name] = ResetInserter(hold)(unit)
        words = getattr(self, f"read_data{client}")
        link(m, unit.read, getattr(self, f"read{client}"))
        m.d.comb += [
            unit.read_data.payload.eq(words.payload.data),
            unit.read_data.valid.eq(words.valid),
            words.ready.eq(unit.read_data.ready),
        ]
        return unit

    def _results(
        self, m: Module, hold: Signal, job: Any, core: Any, faults: dict[str, Value]
    ) -> tuple[Signal, Any, Value]:
        """Sinks of the result streams.

        Returns:
            whether the core has given its last word, the end of the spilled products, to be put
            in then, and whether all results are where they belong.
        """
        outputs = self.shape.outputs
        sinks, ended, full = [], [], []
        for o in range(outputs):
            port = getattr(core, f"z{o}")
            sink = self._sink(m, hold, f"z{o}", o, self.form.result_bits,
                              job.z + o * job.z_stride, job.z_stride)  # fmt: skip
            m.d.comb += sink.i.payload.data.eq(port.payload)
            final, end = self._closes(m, hold, f"z{o}", job.windows, port, port.payload.last)
            m.d.comb += sink.i.payload.last.eq(final)
            self._hand(m, port, sink)
            sinks.append(sink)
            ended.append(end)
            full.append(sink.full)
        faults["z_room"] = Cat(full).any()

        counts = self._sink(m, hold, "counts", outputs + 1, len(Value.cast(core.done.payload)),
                            job.counts, (1 << 32) - 1)  # fmt: skip
        final, end = self._closes(m, hold, "counts", job.windows, core.done, 1)
        m.d.comb += [
            counts.i.payload.data.eq(core.done.payload),
            counts.i.payload.last.eq(final),
        ]
        self._hand(m, core.done, counts)
        sinks.append(counts)
        ended.append(end)

        spill = self._sink(m, hold, "spill", outputs, self.form.result_bits, job.spill,
                           job.spill_bytes)  # fmt: skip
        closing = Signal()
        m.d.comb += [
            spill.i.payload.data.eq(
                Mux(closing, 1 << self.form.result_bits - 1, Value.cast(core.spill.payload))
            ),
            spill.i.payload.last.eq(closing),
            spill.i.valid.eq(core.spill.valid | closing),
            core.spill.ready.eq(spill.i.ready & ~closing),
        ]
        sinks.append(spill)
        faults["spill_room"] = spill.full
        spilled, due = Signal(COUNT_BITS), Signal(COUNT_BITS)  # taken, and as the counts say
        done = core.done
        with m.If(core.spill.valid & core.spill.ready):
            m.d.sync += spilled.eq(spilled + 1)
        with m.If(done.valid & done.ready):
            m.d.sync += due.eq(due + done.payload.spilled)
        with m.If(hold):
            m.d.sync += [spilled.eq(0), due.eq(0)]
        over = Signal()
        m.d.comb += over.eq(Cat(ended).all() & (spilled == due))
        for name, field in _COUNTED.items():
            taken = Mux(done.valid & done.ready, done.payload[field], 0)
            m.d.sync += getattr(self, _count(name)).eq(taken)
        m.d.comb += self.count_spgemm_core_cycle.eq(~hold & ~over)
        return over, (closing, spill.i.ready), Cat(sink.finished for sink in sinks).all()

    def _closes(
        self, m: Module, hold: Signal, name: str, windows: Value, port: Any, closes: Any
    ) -> tuple[Value, Signal]:
        """Whether the word at a port is the one that closes the last window; whether it went."""
        left, ended = Signal(COUNT_BITS, name=f"{name}_left"), Signal(name=f"{name}_ended")
        final = closes & (left == 1)
        with m.If(port.valid & port.ready & closes):
            m.d.sync += [left.eq(left - 1), ended.eq(final)]
        with m.If(hold):
            m.d.sync += [left.eq(windows), ended.eq(0)]
        return final, ended

    def _hand(self, m: Module, port: Any, sink: Any) -> None:
        m.d.comb += [sink.i.valid.eq(port.valid), port.ready.eq(sink.i.ready)]

    def _sink(
        self, m: Module, hold: Signal, name: str, client: int, bits: int, base: Any, size: Any
    ) -> Any:
        """Where a result stream goes: a region of memory, or an AXI4-Stream."""
        if self.streams:
            unit: Any = ResultStream(bits)
            port = f"m_axis_{name}"
            m.d.comb += [
                getattr(self, f"{port}_tdata").eq(unit.o.payload.data),
                getattr(self, f"{port}_tlast").eq(unit.o.payload.last),
                getattr(self, f"{port}_tvalid").eq(unit.o.valid),
                unit.o.ready.eq(getattr(self, f"{port}_tready")),
            ]
        else:
            unit = ResultWriter(self.bus, bits)
            start = Signal(self.bus.address_bits, name=f"{name}_base")
            m.d.sync += start.eq(base)  # the descriptor stands while the core runs
            m.d.comb += [
                unit.base.eq(start),
                unit.size.eq(size),
                unit.written.eq(getattr(self, f"written{client}")),
            ]
            link(m, unit.write, getattr(self, f"write{client}"))
            link(m, unit.write_data, getattr(self, f"write_data{client}"))
        m.submodules[name] = ResetInserter(hold)(unit)
        return unit

    def _control(
        self, m: Module, hold: Signal, job: Any, core: Any, results: tuple[Signal, Any, Value]
    ) -> None:
        over, (closing, closed), finished = results
        m.d.comb += self.notify.eq(job.irq)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += hold.eq(1)
                with m.If(self.descriptor.valid):
                    m.next = "run"
            with m.State("run"), m.If(over):
                m.next = "close"
            with m.State("close"):
                m.d.comb += closing.eq(1)
                with m.If(closed):
                    m.next = "store"
            with m.State("store"), m.If(finished):
                m.d.comb += [self.completed.eq(1), self.descriptor.ready.eq(1)]
                m.next = "idle"


def _read_words(shape: RowwiseShape, bus: BusConfig) -> list[int]:
    """Words of the readers' queues, client by client."""
    *others, lane = reader_words(shape.lanes, block_words(bus), bus.outstanding_reads)
    return [*others, *[lane] * shape.lanes]


def _count(name: str) -> str:
    """The shell's port for a counter's increment."""
    return f"count_{name.replace('.', '_')}"


def _stream_members(shape: RowwiseShape, bus: BusConfig) -> dict[str, Member]:
    """AXI4-Streams of results, where there are any."""
    if bus.data == "memory":
        return {}
    bits = SpgemmFormat(shape, bus.data_bits).result_bits
    widths = {f"z{o}": bits for o in range(shape.outputs)}
    widths |= {"spill": bits, "counts": COUNT_BITS * len(DONE_FIELDS)}
    members: dict[str, Member] = {}
    for name, width in widths.items():
        members |= axis_members(f"m_axis_{name}", width, output=True)
    return members
