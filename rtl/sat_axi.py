"""FPGA-ready top of the sparse array: descriptors in memory, operands fetched, results stored.

`sat_axi` is the shell (`hwsim.rtl.shell`), the array (an instance of the core's module) and between
them a `SatFeed`, which hands each descriptor's parts to the array's job port, to a fetch unit for A
and one for B and to the store of Z. Each part has a queue of its own and goes on to the next
descriptor when it is done with its part, so operands of a job come in while the one before
computes, and the array gets jobs back to back. A descriptor is completed when memory has
acknowledged its results.

With `bus.data = stream` the operands are AXI4-Streams (`s_axis_a`, `s_axis_b`), the results one
too (`m_axis_z`, a packet a descriptor), and descriptors still come from memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import (
    ClockSignal,
    Const,
    Instance,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config import SatConfig
from hwsim.config_base import BusConfig
from hwsim.models.array import ArrayShape
from hwsim.models.bus_words import slot_bytes
from hwsim.models.formats import NumberFormat
from hwsim.models.sat_jobs import (
    a_beat_bits,
    b_beat_bits,
    buffer_beats,
    gemm_record,
    sat_spec,
    z_beat_bits,
)
from hwsim.models.shell_map import ShellSpec, config_hash, packed_version
from hwsim.rtl.axi import Slice, axis_in, axis_members, axis_out, command_layout, pass_ports
from hwsim.rtl.registers import record_layout
from hwsim.rtl.rowwise_parts import Queue
from hwsim.rtl.sat_dma import OperandFetch, ReplayBuffer, operand_layout
from hwsim.rtl.sequencer import job_layout
from hwsim.rtl.shell import Shell, descriptor_payload, shell_members
from hwsim.rtl.stce import array_members
from hwsim.rtl.width import COUNT_BITS, BeatsToWords

__all__ = ["SatAxi", "SatFeed", "axi_parts", "shell_spec"]

_JOBS = 2
"""Descriptors that wait in front of each part: one that comes in while one leaves."""

_UNDER_WAY = 8
"""Descriptors whose results are not acknowledged, at most. Not given; chosen because a job's parts
hold two each and its results are few beats late."""

_OPERAND_PARTS = ("base", "stride", "beats", "segments", "repeats")
"""Fields that both operands have in a descriptor."""

CORE = "sat_top"
"""Module of the array, `hwsim.rtl.verilog.top_name`."""


def shell_spec(config: SatConfig) -> ShellSpec:
    """The shell's part of a configuration: records, counters, hash, version."""
    import hwsim

    return sat_spec(
        config.array,
        streams=config.bus.data == "stream",
        config_hash=config_hash(config.model_dump(mode="json")),
        version=packed_version(hwsim.__version__),
    )


def axi_parts(config: SatConfig) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of the top beside the core, by module name; the top is the last."""
    return {"sat_axi": lambda: SatAxi(config)}


class SatFeed(wiring.Component):
    """Turns descriptors into what the array and the DMA engines take.

    Args:
        fmt: the number format.
        array: the array's shape.
        bus: the buses.
        buffers: bytes of the memories for A, B, Z.
        spec: `shell_spec`.

    Ports:
        descriptor: as the shell's.
        completed, notify: to the shell.
        job, a, b: to the array; z, idle from it. In stream mode a and b are not there.
        out: result beats of stream mode, {data, last}.
        read{i}, read_data{i}, write0, write_data0, written0: to the shell's engines, not in stream
            mode; reader 0 is A's.
    """

    def __init__(
        self,
        fmt: NumberFormat,
        array: ArrayShape,
        bus: BusConfig,
        buffers: tuple[int, int, int],
        spec: ShellSpec,
    ) -> None:
        self.bus = bus
        self.buffers = buffers
        self.spec = spec
        self.rows = array.rows
        self.streams = bus.data == "stream"
        self.widths = (a_beat_bits(fmt, array), b_beat_bits(fmt, array))
        self.z_bits = z_beat_bits(fmt, array)
        members: dict[str, Member] = {
            "descriptor": In(stream.Signature(descriptor_payload(spec))),
            "completed": Out(1),
            "notify": Out(1),
            "job": Out(stream.Signature(job_layout())),
            "z": In(stream.Signature(self.z_bits)),
        }
        if self.streams:
            layout = data.StructLayout({"data": self.z_bits, "last": 1})
            members["out"] = Out(stream.Signature(layout))
        else:
            word = stream.Signature(bus.data_bits)
            for i, name in enumerate("ab"):
                members[name] = Out(stream.Signature(self.widths[i]))
                members[f"read{i}"] = Out(stream.Signature(command_layout(bus)))
                members[f"read_data{i}"] = In(word)
            members |= {
                "write0": Out(stream.Signature(command_layout(bus))),
                "write_data0": Out(word),
                "written0": In(1),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = record_layout(gemm_record(streams=self.streams))
        record = Signal(layout)
        m.d.comb += record.eq(self.descriptor.payload.record)

        # Each part of a descriptor goes to a queue; all take theirs in one cycle.
        m.submodules.jobs = jobs = Queue(job_layout(), _JOBS)
        m.submodules.counts = counts = Queue(COUNT_BITS, _UNDER_WAY)
        m.submodules.flags = flags = Queue(1, _UNDER_WAY)
        parts: list[Any] = [jobs.i, counts.i, flags.i]
        m.d.comb += [
            *(Value.cast(jobs.i.payload[name]).eq(record[name]) for name in job_layout().members),
            counts.i.payload.eq(record.z_beats - 1),
            flags.i.payload.eq(record.irq),
        ]
        wiring.connect(m, jobs.o, wiring.flipped(self.job))
        if not self.streams:
            parts += [self._operand(m, i, name, record) for i, name in enumerate("ab")]
            m.submodules.stores = stores = Queue(command_layout(self.bus), _UNDER_WAY)
            slot = slot_bytes(self.z_bits, self.bus.data_bits)
            m.d.comb += [
                stores.i.payload.address.eq(record.z_base),
                stores.i.payload.bytes.eq(record.z_beats * Const(slot)),
            ]
            wiring.connect(m, stores.o, wiring.flipped(self.write0))
            parts.append(stores.i)
        for part in parts:
            # a queue's `ready` follows from its fill alone, so this is no loop
            others = [other.ready for other in parts if other is not part]
            m.d.comb += part.valid.eq(self.descriptor.valid & _all(others))
        m.d.comb += self.descriptor.ready.eq(_all([part.ready for part in parts]))

        last = self._results(m, counts.o)
        done = last if self.streams else self.written0
        m.d.comb += [
            self.completed.eq(done),
            self.notify.eq(done & flags.o.payload),
            flags.o.ready.eq(done),
        ]
        return m

    def _operand(self, m: Module, i: int, name: str, record: Any) -> Any:
        """A fetch unit with a queue in front; returns the queue's input."""
        layout = operand_layout(self.bus)
        queue = Queue(layout, _JOBS)
        groups = self.rows if name == "a" else 1
        fetch = OperandFetch(self.bus, self.widths[i], groups, self.buffers[i])
        m.submodules[f"operand_{name}"] = queue
        m.submodules[f"fetch_{name}"] = fetch
        given: dict[str, Any] = {part: record[f"{name}_{part}"] for part in _OPERAND_PARTS}
        if name == "a":
            given |= {"spread": record.a_spread, "tail": record.a_tail}
        else:
            given |= {"spread": 0, "tail": 1}
        m.d.comb += [queue.i.payload[part].eq(value) for part, value in given.items()]
        wiring.connect(m, queue.o, fetch.i)
        wiring.connect(m, fetch.command, wiring.flipped(getattr(self, f"read{i}")))
        wiring.connect(m, wiring.flipped(getattr(self, f"read_data{i}")), fetch.words)
        wiring.connect(m, fetch.o, wiring.flipped(getattr(self, name)))
        return queue.i

    def _results(self, m: Module, counts: Any) -> Value:
        """The way of the result beats out; returns whether a descriptor's last one leaves.

        Args:
            counts: stream of the descriptors' beats less one.
        """
        depth = buffer_beats(self.buffers[2], self.z_bits)
        # a replay buffer that plays every beat once is a queue
        m.submodules.results = results = ReplayBuffer(self.z_bits, depth)
        sent = Signal(COUNT_BITS)  # beats of the present descriptor
        last, moves, ready = Signal(), Signal(), Signal()
        valid = results.o.valid & counts.valid
        m.d.comb += [
            results.play.valid.eq(1),
            results.play.payload.beats.eq(1),
            results.play.payload.repeats.eq(1),
            results.i.payload.eq(self.z.payload),
            results.i.valid.eq(self.z.valid),
            self.z.ready.eq(results.i.ready),
            last.eq(sent == counts.payload),
            moves.eq(valid & ready),
            results.o.ready.eq(moves),
            counts.ready.eq(moves & last),
        ]
        with m.If(moves):
            m.d.sync += sent.eq(sent + 1)
            with m.If(last):
                m.d.sync += sent.eq(0)
        if self.streams:
            target = self.out
        else:
            m.submodules.gather = gather = BeatsToWords(self.z_bits, self.bus.data_bits)
            target = gather.i
            m.d.comb += [
                self.write_data0.payload.eq(gather.o.payload.data),
                self.write_data0.valid.eq(gather.o.valid),
                gather.o.ready.eq(self.write_data0.ready),
            ]
        m.d.comb += [
            target.payload.data.eq(results.o.payload.data),
            target.payload.last.eq(last),
            target.valid.eq(valid),
            ready.eq(target.ready),
        ]
        return moves & last


class SatAxi(wiring.Component):
    """The top `sat_axi`.

    Args:
        config: array, format, buffers and buses.

    Ports:
        s_axil_*, m_axi_*, irq: as the shell's. With `bus.data = stream` also s_axis_a_*,
            s_axis_b_* (beats of `hwsim.models.sat_jobs.a_rows`, `b_rows`; their `tlast` is not
            looked at) and m_axis_z_* (`tlast` with a descriptor's last beat).
    """

    def __init__(self, config: SatConfig) -> None:
        self.config = config
        self.spec = shell_spec(config)
        self.streams = config.bus.data == "stream"
        members = shell_members(self.spec, config.bus)
        fmt, array = config.number, config.array
        if self.streams:
            members |= axis_members("s_axis_a", a_beat_bits(fmt, array), output=False)
            members |= axis_members("s_axis_b", b_beat_bits(fmt, array), output=False)
            members |= axis_members("m_axis_z", z_beat_bits(fmt, array), output=True)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bus = self.config, self.config.bus
        engines = {} if self.streams else {"readers": 2, "writers": 1}
        m.submodules.shell = shell = Shell(self.spec, bus, **engines)
        pass_ports(m, self, shell, shell_members(self.spec, bus))
        b = config.buffers
        buffers = (b.input_bytes, b.weight_bytes, b.output_bytes)
        feed = SatFeed(config.number, config.array, bus, buffers, self.spec)
        m.submodules.feed = ResetInserter(shell.clear)(feed)
        core = self._core(m, shell.clear)

        wiring.connect(m, shell.descriptor, feed.descriptor)
        m.d.comb += [shell.completed.eq(feed.completed), shell.notify.eq(feed.notify)]
        _join(m, feed.job, core.job)
        _join(m, core.z, feed.z)
        if self.streams:
            self._streams(m, feed, core, shell.clear)
        else:
            _join(m, feed.a, core.a)
            _join(m, feed.b, core.b)
            for i in range(2):
                wiring.connect(m, getattr(feed, f"read{i}"), getattr(shell, f"read{i}"))
                words, given = getattr(feed, f"read_data{i}"), getattr(shell, f"read_data{i}")
                m.d.comb += [
                    words.payload.eq(given.payload.data),
                    words.valid.eq(given.valid),
                    given.ready.eq(words.ready),
                ]
            wiring.connect(m, feed.write0, shell.write0)
            wiring.connect(m, feed.write_data0, shell.write_data0)
            m.d.comb += feed.written0.eq(shell.written0)
        self._counters(m, shell, core)
        return m

    def _core(self, m: Module, clear: Value) -> Any:
        """The array as an instance of its module; returns its ports."""
        signature = wiring.Signature(array_members(self.config.number, self.config.array))
        ports = signature.create(path=("core",))
        given = {
            ("o_" if member.flow is Out else "i_") + "__".join(map(str, path)): Value.cast(value)
            for path, member, value in signature.flatten(ports)
        }
        reset = ResetSignal() | clear
        m.submodules.core = Instance(CORE, i_clk=ClockSignal(), i_rst=reset, **given)
        return ports

    def _streams(self, m: Module, feed: SatFeed, core: Any, clear: Value) -> None:
        """AXI4-Stream ports, each behind a register slice."""
        for name, bits in zip("ab", feed.widths, strict=True):
            cut = Slice(bits)
            m.submodules[f"slice_{name}"] = ResetInserter(clear)(cut)
            _join(m, axis_in(self, f"s_axis_{name}", bits), cut.i)
            _join(m, cut.o, getattr(core, name))
        cut = Slice(feed.out.payload.shape())
        m.submodules.slice_z = ResetInserter(clear)(cut)
        _join(m, feed.out, cut.i)
        out = axis_out(self, "m_axis_z")
        m.d.comb += [
            out.payload.eq(cut.o.payload.data),
            self.m_axis_z_tlast.eq(cut.o.payload.last),
            out.valid.eq(cut.o.valid),
            cut.o.ready.eq(out.ready),
        ]

    def _counters(self, m: Module, shell: Shell, core: Any) -> None:
        """Increments of the family's counters, a cycle late."""
        stationary = Signal()  # mode of the job that the array took last
        a, b, z, job = (Signal(name=f"moved_{name}") for name in ("a", "b", "z", "job"))
        m.d.sync += [
            port.eq(s.valid & s.ready)
            for port, s in ((a, core.a), (b, core.b), (z, core.z), (job, core.job))
        ]
        with m.If(core.job.valid & core.job.ready):
            m.d.sync += stationary.eq(Value.cast(core.job.payload)[0])
        step = Signal()
        m.d.comb += step.eq((stationary & a) | (~stationary & b))
        increments: dict[str, Any] = {
            "job": job,
            "active": core.status.step,
            "stall_a": core.status.stall_a,
            "stall_b": core.status.stall_b,
            "stall_z": core.status.stall_z,
            "step": step,
            "a_beat": a,
            "b_beat": b,
            "z_beat": z,
            "slot": step * Const(self.config.pes),
        }
        for name, value in increments.items():
            m.d.comb += getattr(shell, f"count_sat_stce_{name}").eq(value)


def _join(m: Module, source: Any, sink: Any) -> None:
    """Connects two streams whose payloads have the same bits."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


def _all(bits: list[Any]) -> Value:
    """Whether all are set; true of none."""
    found: Value = Const(1)
    for bit in bits:
        found = found & bit
    return found
