"""The FPGA-ready delta top: a core with AXI4-Lite registers, AXI4 DMA and descriptors.

`DeltaAxi` is a `Shell` and a `DeltaBody`; the body instantiates the core by name, turns descriptors
into the core's streams and its results into bytes in memory. docs/delta-descriptors.md says what
software writes; `hwsim.models.delta_jobs` packs it.

The core's reset is a register of the body: it is held from reset until the first LAYER has loaded
its record, and again while a later LAYER or a RESET changes what the core holds. Memories keep
their contents in reset, so parameters and weights stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.config_delta import DeltaConfig
from hwsim.models.delta_jobs import DELTA_COUNTERS, DeltaFormat, delta_spec
from hwsim.models.delta_shape import DeltaShape
from hwsim.models.shell_map import ShellSpec, config_hash, packed_version
from hwsim.rtl.axi import Slice, axis_in, axis_members, command_layout, pass_ports, word_layout
from hwsim.rtl.delta_axi_control import DeltaControl
from hwsim.rtl.delta_axi_frames import FrameGate, FrameMarker, FrameReader, FrameWriter
from hwsim.rtl.delta_axi_parts import WeightFetch, WeightStore, link
from hwsim.rtl.delta_engine import DELTA_TOP, chain_members
from hwsim.rtl.shell import INDEX_BITS, Shell, descriptor_payload, shell_members
from hwsim.rtl.width import beat_layout

__all__ = [
    "DELTA_AXI",
    "ENGINE_PROBE",
    "PROBE",
    "DeltaAxi",
    "DeltaBody",
    "axi_members",
    "axi_parts",
    "probe_bits",
    "shell_spec",
]

DELTA_AXI = "delta_axi"

PROBE = ("hold", "x_valid", "x_ready", "o_valid", "o_ready")
"""Low bits of the port `probe`; for each engine follow `ENGINE_PROBE`."""

ENGINE_PROBE = ("request_valid", "request_ready", "w_valid", "w_ready", "set_valid", "set_ready")

_SETUP, _FRAMES, _WEIGHTS = 0, 1, 2
"""Clients of the read engine; from the last on one for each engine."""


def shell_spec(config: DeltaConfig) -> ShellSpec:
    """The shell's part of a configuration: records, counters, hash, version."""
    import hwsim

    return delta_spec(
        config_hash=config_hash(config.model_dump(mode="json")),
        version=packed_version(hwsim.__version__),
    )


def axi_parts(config: DeltaConfig) -> dict[str, Callable[[], wiring.Component]]:
    """What makes the top of a configuration of one cluster, beside the core's components."""
    on_chip = config.weight_memory == "chip"
    return {
        DELTA_AXI: lambda: DeltaAxi(
            config.shape, config.chain, config.bus, on_chip=on_chip, spec=shell_spec(config)
        )
    }


def probe_bits(chain: int) -> int:
    """Width of `probe`."""
    return len(PROBE) + len(ENGINE_PROBE) * chain


def axi_members(
    shape: DeltaShape, chain: int, bus: BusConfig, spec: ShellSpec, *, probe: bool = False
) -> dict[str, Member]:
    """Ports of `DeltaAxi`."""
    members = {**shell_members(spec, bus), **_data_members(DeltaFormat(shape, bus.data_bits), bus)}
    if probe:
        members["probe"] = Out(probe_bits(chain))
    return members


class DeltaAxi(wiring.Component):
    """The top; instantiates `DELTA_TOP`.

    Args:
        shape: of every engine.
        chain: engines in a row.
        bus: the buses; with `data` stream, frames come from `s_axis_x` and results go to
            `m_axis_o`, whose `tlast` closes a frame.
        on_chip: each engine has a weight memory, 2**address_bits words, that WEIGHTS loads;
            without, weights are fetched from memory.
        spec: registers and descriptors, `hwsim.models.delta_jobs.delta_spec`.
        probe: the handshakes at the core's ports come out too, for verification.

    Ports: `s_axil_*`, `m_axi_*`, `irq`; with stream data `s_axis_x_*`, `m_axis_o_*`.
    """

    def __init__(
        self,
        shape: DeltaShape,
        chain: int,
        bus: BusConfig,
        *,
        on_chip: bool,
        spec: ShellSpec | None = None,
        probe: bool = False,
    ) -> None:
        self.shape = shape
        self.chain = chain
        self.bus = bus
        self.on_chip = on_chip
        self.spec = spec or delta_spec()
        self.probing = probe
        super().__init__(axi_members(shape, chain, bus, self.spec, probe=probe))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        body = DeltaBody(self.shape, self.chain, self.bus, self.spec, on_chip=self.on_chip)
        readers, writers = body.readers, body.writers
        m.submodules.shell = shell = Shell(self.spec, self.bus, readers=readers, writers=writers)
        m.submodules.body = ResetInserter(shell.clear)(body)
        pass_ports(m, self, shell, shell_members(self.spec, self.bus))
        pass_ports(m, self, body, _data_members(body.form, self.bus))
        link(m, shell.descriptor, body.descriptor)
        for i in range(readers):
            link(m, getattr(body, f"read{i}"), getattr(shell, f"read{i}"))
            link(m, getattr(shell, f"read_data{i}"), getattr(body, f"read_data{i}"))
        for i in range(writers):
            link(m, getattr(body, f"write{i}"), getattr(shell, f"write{i}"))
            link(m, getattr(body, f"write_data{i}"), getattr(shell, f"write_data{i}"))
            m.d.comb += getattr(body, f"written{i}").eq(getattr(shell, f"written{i}"))
        names = ["completed", "notify", "fault", "fault_code", "fault_index"]
        names += [_count(name) for name in DELTA_COUNTERS]
        for name in names:
            m.d.comb += getattr(shell, name).eq(getattr(body, name))
        if self.probing:
            m.d.comb += self.probe.eq(body.probe)
        return m


class DeltaBody(wiring.Component):
    """All but the shell: descriptors, the core, its weights, frames in and results out.

    Ports: those of `hwsim.rtl.shell.Shell` of the same names with the other direction, and
    `s_axis_x_*`, `m_axis_o_*` with stream data.
    """

    def __init__(
        self, shape: DeltaShape, chain: int, bus: BusConfig, spec: ShellSpec, *, on_chip: bool
    ) -> None:
        self.shape = shape
        self.chain = chain
        self.bus = bus
        self.spec = spec
        self.on_chip = on_chip
        self.form = DeltaFormat(shape, bus.data_bits)
        self.streams = bus.data == "stream"
        self.readers = 2 + (0 if on_chip else chain)
        self.writers = 0 if self.streams else 1
        members: dict[str, Member] = {
            **_data_members(self.form, bus),
            "descriptor": In(stream.Signature(descriptor_payload(spec))),
            "completed": Out(1),
            "notify": Out(1),
            "fault": Out(1),
            "fault_code": Out(8),
            "fault_index": Out(INDEX_BITS),
            "probe": Out(probe_bits(chain)),
        }
        for name, bits in DELTA_COUNTERS.items():
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
        form, bus, chain = self.form, self.bus, self.chain
        control = DeltaControl(form, chain, bus, self.spec, on_chip=self.on_chip)
        m.submodules.control = control
        link(m, self.descriptor, control.descriptor)
        for name in ("completed", "notify", "fault", "fault_code", "fault_index"):
            m.d.comb += getattr(self, name).eq(getattr(control, name))
        self._reader(m, _SETUP, control)
        core = self._instance(m, control)
        sets = [self._port(core, "start" if self.shape.gru else "parameters", e)
                for e in range(chain)]  # fmt: skip
        for e, port in enumerate(sets):
            self._set(m, control, e, port)
            self._weights(m, control, core, e)
        x_due = self._frames(m, control, core)
        self._count_events(m, control, core, x_due)
        seen = [control.hold, core.x.valid, core.x.ready, core.o.valid, core.o.ready]
        for e, port in enumerate(sets):
            for one in (self._port(core, "w_request", e), self._port(core, "w", e), port):
                seen += [one.valid, one.ready]
        m.d.comb += self.probe.eq(Cat(seen))
        return m

    def _reader(self, m: Module, number: int, unit: Any) -> None:
        """A client of the read engine: its commands, and its words without marks."""
        words = getattr(self, f"read_data{number}")
        link(m, unit.read, getattr(self, f"read{number}"))
        m.d.comb += [
            unit.read_data.payload.eq(words.payload.data),
            unit.read_data.valid.eq(words.valid),
            words.ready.eq(unit.read_data.ready),
        ]

    def _instance(self, m: Module, control: Any) -> Any:
        """The core, with the control's reset and constants."""
        signature = wiring.Signature(chain_members(self.shape, self.chain))
        core = signature.create(path=("core",))
        given = {
            ("o_" if member.flow is Out else "i_") + "__".join(map(str, path)): Value.cast(value)
            for path, member, value in signature.flatten(core)
        }
        m.submodules.core = Instance(DELTA_TOP, i_clk=ClockSignal(), i_rst=control.hold, **given)
        for e in range(self.chain):
            config = Value.cast(getattr(control, f"config{e}"))
            m.d.comb += Value.cast(self._port(core, "config", e)).eq(config)
        return core

    def _port(self, core: Any, name: str, engine: int) -> Any:
        """A port of one engine of the core."""
        return getattr(core, f"{name}{engine}" if self.chain > 1 else name)

    def _set(self, m: Module, control: Any, e: int, port: Any) -> None:
        """Parameters or first sums to their engine, elements cut to their bits."""
        mine = control.engine == e if self.chain > 1 else 1
        given, bits = control.set.payload, self.form.sum_bits
        for i in range(self.shape.lanes):
            lane = port.payload[i]
            if self.shape.gru:
                m.d.comb += lane.eq(given[i * bits : (i + 1) * bits])
            else:
                m.d.comb += [
                    lane.bias.eq(given[2 * i * bits : (2 * i + 1) * bits]),
                    lane.factor.eq(given[(2 * i + 1) * bits : (2 * i + 2) * bits]),
                ]
        m.d.comb += port.valid.eq(control.set.valid & mine)
        with m.If(mine):
            m.d.comb += control.set.ready.eq(port.ready)

    def _weights(self, m: Module, control: Any, core: Any, e: int) -> None:
        """The weights of engine `e`."""
        unit: Any
        if self.on_chip:
            unit = WeightStore(self.shape)
            mine = control.engine == e if self.chain > 1 else 1
            m.d.comb += [
                unit.restart.eq(control.restart & mine),
                unit.load.valid.eq(control.load.valid & mine),
                unit.load.payload.eq(control.load.payload),
            ]
            if e == 0:
                m.d.comb += control.load.ready.eq(1)
        else:
            unit = WeightFetch(self.form, self.bus)
            config = getattr(control, f"config{e}")
            words = config.column if self.shape.gru else config.out_words
            m.d.comb += [unit.base.eq(getattr(control, f"base{e}")), unit.words.eq(words)]
            self._reader(m, _WEIGHTS + e, unit)
        m.submodules[f"weights{e}"] = unit
        link(m, self._port(core, "w_request", e), unit.request)
        link(m, unit.w, self._port(core, "w", e))

    def _frames(self, m: Module, control: Any, core: Any) -> Signal:
        """Frames to the core and results from it; returns whether frames are still to come."""
        form, bits, storage = self.form, self.shape.item_bits, self.form.item_bits
        x_beat = stream.Signature(beat_layout(form.x_bits)).create(path=("x",))
        o_beat = stream.Signature(form.o_bits).create(path=("o",))
        for i in range(self.shape.detector_width):
            start = i * storage
            m.d.comb += core.x.payload[i].eq(x_beat.payload.data[start : start + bits])
        for i in range(self.shape.lanes):  # extended by the sign
            m.d.comb += o_beat.payload.word_select(i, storage).eq(core.o.payload[i])
        m.d.comb += [
            core.x.valid.eq(x_beat.valid),
            x_beat.ready.eq(core.x.ready),
            o_beat.valid.eq(core.o.valid),
            core.o.ready.eq(o_beat.ready),
        ]
        source, sink = (self._stream_ends if self.streams else self._memory_ends)(m, control)
        m.submodules.x_side, m.submodules.o_side = source, sink
        link(m, source.o, x_beat)
        link(m, o_beat, sink.i)
        for unit, beats in ((source, control.frame_beats), (sink, control.result_beats)):
            m.d.comb += [
                unit.go.eq(control.go),
                unit.count.eq(control.count),
                unit.beats.eq(beats),
            ]
        m.d.comb += control.done.eq(sink.done)
        left = Signal(32)
        with m.If(control.go):
            m.d.sync += left.eq(control.count)
        with m.Elif(core.x.valid & core.x.ready & x_beat.payload.last):
            m.d.sync += left.eq(left - 1)
        due = Signal()
        m.d.comb += due.eq(left != 0)
        return due

    def _memory_ends(self, m: Module, control: Any) -> tuple[Any, Any]:
        """Frames and results in memory."""
        source = FrameReader(self.bus, self.form.x_bits)
        sink = FrameWriter(self.bus, self.form.o_bits)
        self._reader(m, _FRAMES, source)
        link(m, sink.write, self.write0)
        link(m, sink.write_data, self.write_data0)
        m.d.comb += [
            source.address.eq(control.x),
            source.stride.eq(control.x_stride),
            sink.address.eq(control.o),
            sink.stride.eq(control.o_stride),
            sink.written.eq(self.written0),
        ]
        return source, sink

    def _stream_ends(self, m: Module, control: Any) -> tuple[Any, Any]:
        """Frames and results on AXI4-Streams."""
        source, sink = FrameGate(self.form.x_bits), FrameMarker(self.form.o_bits)
        m.submodules.x_port = port = Slice(self.form.x_bits)
        m.submodules.o_port = out = Slice(beat_layout(self.form.o_bits))
        link(m, axis_in(self, "s_axis_x", self.form.x_bits), port.i)
        link(m, port.o, source.i)
        link(m, sink.o, out.i)
        m.d.comb += [
            self.m_axis_o_tdata.eq(out.o.payload.data),
            self.m_axis_o_tlast.eq(out.o.payload.last),
            self.m_axis_o_tvalid.eq(out.o.valid),
            out.o.ready.eq(self.m_axis_o_tready),
        ]
        return source, sink

    def _count_events(self, m: Module, control: Any, core: Any, x_due: Signal) -> None:
        """Increments of the counters, a cycle late."""
        cycle, counted = (
            Signal(32),
            Signal(32),
        )  # of the core since its reset; until its last result
        words = [self._port(core, "w", e) for e in range(self.chain)]
        with m.If(control.hold):
            m.d.sync += [cycle.eq(0), counted.eq(0)]
        with m.Else():
            m.d.sync += cycle.eq(cycle + 1)
        m.d.sync += [
            self.count_delta_core_cycle.eq(0),
            self.count_delta_mac.eq(sum(w.valid & w.ready for w in words) * self.shape.lanes),
            self.count_delta_stall_x.eq(x_due & core.x.ready & ~core.x.valid),
            self.count_delta_stall_weight.eq(sum(w.ready & ~w.valid for w in words)),
            self.count_delta_stall_result.eq(core.o.valid & ~core.o.ready),
        ]
        with m.If(core.o.valid & core.o.ready):
            m.d.sync += [
                self.count_delta_core_cycle.eq(cycle + 1 - counted),
                counted.eq(cycle + 1),
            ]


def _count(name: str) -> str:
    """The shell's port for a counter's increment."""
    return f"count_{name.replace('.', '_')}"


def _data_members(form: DeltaFormat, bus: BusConfig) -> dict[str, Member]:
    """AXI4-Streams of frames and results, where there are any."""
    if bus.data == "memory":
        return {}
    return {
        **axis_members("s_axis_x", form.x_bits, output=False, last=False),
        **axis_members("m_axis_o", form.o_bits, output=True),
    }
