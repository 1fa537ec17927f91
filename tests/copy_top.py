"""The least top on the shell: descriptors that copy bytes in memory, for tests of the shell."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring

from hwsim.config_base import BusConfig
from hwsim.models.registers import Field, LayoutField, Register
from hwsim.models.shell_map import ShellSpec, descriptor
from hwsim.rtl.axi import pass_ports
from hwsim.rtl.registers import record_layout
from hwsim.rtl.shell import Shell, shell_members

COPY = descriptor(
    "copy",
    64,
    (
        LayoutField(name="fails", bit=32, bits=8, description="error to report"),
        LayoutField(name="source", bit=64, bits=64, rule="address"),
        LayoutField(name="target", bit=128, bits=64, rule="address"),
        LayoutField(name="bytes", bit=192, bits=32, rule="bytes"),
        LayoutField(name="words", bit=224, bits=32, rule="nonzero"),
    ),
)
SPEC = ShellSpec(
    kind="sat",
    records={"copy": (7, COPY)},
    counters={"sat.stce.job": 1},
    errors={"own": 20},
    registers=(
        Register(
            name="scratch",
            offset=0x400,
            description="For tests.",
            fields=(Field(name="value", bits=32, access="rw", reset=5),),
        ),
    ),
    config_hash=0x89ABCDEF,
    version=0x010203,
)


class CopyTop(wiring.Component):
    """A descriptor at a time: its words from the reader to the writer."""

    def __init__(self, bus: BusConfig) -> None:
        self.bus = bus
        super().__init__(shell_members(SPEC, bus))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.shell = shell = Shell(SPEC, self.bus, readers=1, writers=1)
        pass_ports(m, self, shell, shell_members(SPEC, self.bus))
        record, index = Signal(512), Signal.like(shell.fault_index)
        view = data.View(record_layout(COPY), record)
        asks, tells, busy = Signal(), Signal(), Signal()
        m.d.comb += [
            shell.write_data0.payload.eq(shell.read_data0.payload.data),
            shell.write_data0.valid.eq(shell.read_data0.valid),
            shell.read_data0.ready.eq(shell.write_data0.ready),
            shell.read0.valid.eq(asks),
            shell.read0.payload.address.eq(view.source),
            shell.read0.payload.bytes.eq(view.bytes),
            shell.write0.valid.eq(tells),
            shell.write0.payload.address.eq(view.target),
            shell.write0.payload.bytes.eq(view.bytes),
            shell.descriptor.ready.eq(~busy),
            shell.completed.eq(shell.written0),
            shell.notify.eq(view.irq),
            shell.count_sat_stce_job.eq(shell.written0),
            shell.fault.eq(busy & (view.fails != 0)),
            shell.fault_code.eq(view.fails),
            shell.fault_index.eq(index),
        ]
        with m.If(shell.read0.ready):
            m.d.sync += asks.eq(0)
        with m.If(shell.write0.ready):
            m.d.sync += tells.eq(0)
        with m.If(shell.written0):
            m.d.sync += busy.eq(0)
        with m.If(shell.descriptor.valid & ~busy):
            m.d.sync += [
                record.eq(shell.descriptor.payload.record),
                index.eq(shell.descriptor.payload.index),
                Cat(asks, tells, busy).eq(0b111),
            ]
        with m.If(shell.clear):
            m.d.sync += Cat(asks, tells, busy).eq(0)
        return m
