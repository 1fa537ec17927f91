"""What all FPGA-ready tops share: registers, descriptor list, DMA engines, counters, interrupt.

A top is a core, a `Shell` and what turns descriptors into the core's streams:

    m.submodules.shell = shell = Shell(spec, bus, readers=2, writers=1)
    pass_ports(m, self, shell, shell_members(spec, bus))     # AXI, irq
    core = ResetInserter(shell.clear)(Core())                # an Instance: i_rst=rst | shell.clear

States: idle; `start` checks the list and runs it; an error stops everything and holds until
`soft_reset`; a soft reset keeps AXI's rules: bursts under way are finished before anything is
cleared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.models.registers import RegisterMap
from hwsim.models.shell_map import COUNTER_BASE, ERRORS, SHELL_COUNTERS, ShellSpec, shell_map
from hwsim.rtl.axi import (
    axi_master_members,
    axi_read_members,
    axi_write_members,
    axil_slave_members,
    block_words,
    command_layout,
    pass_ports,
    word_layout,
)
from hwsim.rtl.axi_read import ReadEngine, read_queue_words
from hwsim.rtl.axi_write import WriteEngine
from hwsim.rtl.registers import RegisterBank, field_members
from hwsim.rtl.shell_counters import CounterBank
from hwsim.rtl.shell_fetch import INDEX_BITS, DescriptorFetcher, descriptor_payload

__all__ = ["INDEX_BITS", "Shell", "descriptor_payload", "shell_members"]


def shell_members(spec: ShellSpec, bus: BusConfig) -> dict[str, Member]:
    """Ports that a top passes on: `s_axil_*`, `m_axi_*`, `irq`."""
    return {
        **axil_slave_members(shell_map(spec, bus.data_bits).address_bits),
        **axi_master_members(bus),
        "irq": Out(1),
    }


class Shell(wiring.Component):
    """Everything of a top but the core and its address generators.

    Args:
        spec: the family's registers, records, counters, errors.
        bus: the buses.
        readers, writers: clients of the read and the write engine; 0 is allowed.
        read_words, write_words: queue words of each, as the engines' `queue_words`.

    Ports, beside `shell_members(spec, bus)`:
        descriptor: Out stream, `descriptor_payload(spec)`, checked descriptors in order. One whose
            `wait` bit is set comes only when all before it are completed.
        completed: In, the oldest descriptor not yet completed is completed in this cycle (its
            results are acknowledged by memory). Exactly one pulse for each.
        notify: In, with `completed`: that descriptor's `irq` bit.
        fault, fault_code, fault_index: In, the family's error of the descriptor of that number.
        running: Out, a list runs.
        clear: Out, hold everything of the top in reset. High during soft reset, at least two
            cycles, and from reset until the first cycle after.
        halted: Out, stopped by an error.
        count_{name}: In, increment of the family's counter in this cycle, dots as underscores.
            Counters of the shell (`SHELL_COUNTERS`) are its own.
        read{i}, read_data{i}: as `ReadEngine.command`, `.data`.
        write{i}, write_data{i}, written{i}: as `WriteEngine.command`, `.data`, `.done`.
        the ports of `spec.registers`' fields, `field_members`.
    """

    def __init__(
        self,
        spec: ShellSpec,
        bus: BusConfig,
        *,
        readers: int = 0,
        writers: int = 0,
        read_words: int | Sequence[int] | None = None,
        write_words: int | Sequence[int] | None = None,
    ) -> None:
        self.spec = spec
        self.bus = bus
        self.readers = readers
        self.writers = writers
        self.read_words = read_words
        self.write_words = write_words
        self.registers = shell_map(spec, bus.data_bits)
        members: dict[str, Member] = {
            **shell_members(spec, bus),
            "descriptor": Out(stream.Signature(descriptor_payload(spec))),
            "completed": In(1),
            "notify": In(1),
            "fault": In(1),
            "fault_code": In(8),
            "fault_index": In(INDEX_BITS),
            "running": Out(1),
            "clear": Out(1),
            "halted": Out(1),
        }
        for name, bits in spec.counters.items():
            members[f"count_{name.replace('.', '_')}"] = In(bits)
        for i in range(readers):
            members[f"read{i}"] = In(stream.Signature(command_layout(bus)))
            members[f"read_data{i}"] = Out(stream.Signature(word_layout(bus)))
        for i in range(writers):
            members[f"write{i}"] = In(stream.Signature(command_layout(bus)))
            members[f"write_data{i}"] = In(stream.Signature(bus.data_bits))
            members[f"written{i}"] = Out(1)
        self._own: dict[str, Member] = {}
        if spec.registers:
            self._own = field_members(RegisterMap(name=spec.kind, registers=spec.registers))
        self._completed = Signal(INDEX_BITS)
        super().__init__(members | self._own)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterBank(self.registers)
        stop = Signal()
        read, write = self._engines(m, stop)
        quiet = read.idle & write.idle if write is not None else read.idle
        fetch = DescriptorFetcher(self.spec, self.bus)
        m.submodules.fetch = ResetInserter(self.clear)(fetch)
        pass_ports(m, self, registers, axil_slave_members(self.registers.address_bits))
        pass_ports(m, self, registers, self._own)
        _link(m, fetch.command, read.command[0])
        _link(m, read.data[0], fetch.words)
        wiring.connect(m, fetch.o, wiring.flipped(self.descriptor))
        late = self._watchdog(m, registers, read, write)
        self._control(m, registers, fetch, self._fault(m, fetch, read, write, late), quiet, stop)
        self._counters(m, registers, read, write)
        return m

    def _engines(self, m: Module, stop: Signal) -> tuple[ReadEngine, WriteEngine | None]:
        """DMA with the family's clients; the descriptor list is the read engine's first."""
        words = _sizes(self.read_words, self.readers, read_queue_words(self.bus))
        fetch_words = max(
            4, 2 * block_words(self.bus), 2 * self.spec.record_bytes * 8 // self.bus.data_bits
        )
        m.submodules.read = read = ReadEngine(self.bus, self.readers + 1, [fetch_words, *words])
        pass_ports(m, self, read, axi_read_members(self.bus))
        m.d.comb += read.stop.eq(stop)
        for i in range(self.readers):
            _link(m, getattr(self, f"read{i}"), read.command[i + 1])
            _link(m, read.data[i + 1], getattr(self, f"read_data{i}"))
        if not self.writers:  # the channels are there, as a full AXI4 master has them, and silent
            return read, None
        m.submodules.write = write = WriteEngine(self.bus, self.writers, self.write_words)
        pass_ports(m, self, write, axi_write_members(self.bus))
        m.d.comb += write.stop.eq(stop)
        for i in range(self.writers):
            _link(m, getattr(self, f"write{i}"), write.command[i])
            _link(m, getattr(self, f"write_data{i}"), write.data[i])
            m.d.comb += getattr(self, f"written{i}").eq(write.done[i])
        return read, write

    def _watchdog(
        self, m: Module, registers: Any, read: ReadEngine, write: WriteEngine | None
    ) -> Value:
        """Nothing has moved for as long as the register says: counts of a descriptor that do not
        fit each other, or a memory that does not answer."""
        moved, watched, late = Signal(), Signal(), Signal()
        left = Signal(32)
        words = read.read_bytes.any()
        if write is not None:
            words |= write.write_bytes.any()
        m.d.sync += [
            moved.eq(words | self.completed | ~self.running),
            watched.eq(registers.timeout.any()),
            left.eq(Mux(moved, registers.timeout, left - 1)),
            late.eq(watched & ~moved & (left == 1)),
        ]
        return late

    def _fault(
        self,
        m: Module,
        fetch: DescriptorFetcher,
        read: ReadEngine,
        write: WriteEngine | None,
        late: Value,
    ) -> Any:
        """The first thing that is wrong in this cycle: (is there one, register values)."""
        code, index = Signal(8), Signal(INDEX_BITS)
        address, response = Signal(64), Signal(2)
        done = self._completed
        m.d.comb += index.eq(done)
        with m.If(fetch.bad):
            m.d.comb += [code.eq(fetch.bad_code), index.eq(fetch.bad_index)]
        with m.Elif(self.fault):
            m.d.comb += [code.eq(self.fault_code), index.eq(self.fault_index)]
        with m.Elif(read.error):
            m.d.comb += [
                code.eq(ERRORS["read_bus"]),
                address.eq(read.error_address),
                response.eq(read.error_response),
            ]
        if write is not None:
            with m.Elif(write.error):
                m.d.comb += [
                    code.eq(ERRORS["write_bus"]),
                    address.eq(write.error_address),
                    response.eq(write.error_response),
                ]
        with m.Elif(late):
            m.d.comb += code.eq(ERRORS["timeout"])
        wrong = fetch.bad | self.fault | read.error | late
        return (
            wrong | write.error if write is not None else wrong,
            Cat(code, index, address, response),
        )

    def _control(
        self,
        m: Module,
        registers: Any,
        fetch: DescriptorFetcher,
        fault: tuple[Value, Value],
        quiet: Value,
        stop: Signal,
    ) -> None:
        """States, list, errors, interrupt."""
        wrong, what = fault
        completed = self._completed
        list_address = Cat(registers.list_address_lo, registers.list_address_hi)
        low = (self.bus.data_bits // 8).bit_length() - 1
        code, index = Signal(8), Signal(INDEX_BITS)
        address, response = Signal(64), Signal(2)
        idle, done = Signal(), Signal()
        held = Signal(2)  # cycles of a reset
        left, one_left = Signal(INDEX_BITS), Signal()  # descriptors not yet completed
        all_done, halts, ends = Signal(), Signal(), Signal()
        bad_list = Signal()  # registers stand for cycles before `start` can be written
        m.d.comb += [
            fetch.address.eq(list_address),
            fetch.count.eq(registers.list_count),
            fetch.completed.eq(completed),
            all_done.eq(self.completed & one_left),
            registers.status_idle.eq(idle),
            registers.status_busy.eq(self.running | self.clear),
            registers.status_done.eq(done),
            registers.status_error.eq(self.halted),
            registers.completed.eq(completed),
            registers.error_code.eq(code),
            registers.error_response.eq(response),
            registers.error_index.eq(index),
            registers.error_address_lo.eq(address[:32]),
            registers.error_address_hi.eq(address[32:]),
            registers.irq_status_done_set.eq(ends),
            registers.irq_status_error_set.eq(halts),
            registers.irq_status_descriptor_set.eq(self.running & self.completed & self.notify),
        ]
        enabled = Cat(
            registers.irq_enable_done & registers.irq_status_done,
            registers.irq_enable_error & registers.irq_status_error,
            registers.irq_enable_descriptor & registers.irq_status_descriptor,
        )
        m.d.sync += [
            self.irq.eq(enabled.any()),
            halts.eq(0),
            ends.eq(0),
            bad_list.eq(
                list_address[:low].any()
                | list_address[self.bus.address_bits :].any()
                | (registers.list_count == 0)
            ),
        ]
        with m.FSM():
            with m.State("reset"):
                m.d.comb += [self.clear.eq(1), stop.eq(1)]
                m.d.sync += [
                    held.eq(Mux(held == 3, 3, held + 1)),
                    Cat(completed, code, index, address, response, done).eq(0),
                ]
                with m.If((held == 3) & quiet):
                    m.next = "idle"
                with m.If(registers.control_soft_reset):
                    m.next = "reset"
            with m.State("idle"):
                m.d.comb += idle.eq(1)
                with m.If(registers.control_start):
                    m.d.sync += [
                        completed.eq(0),
                        done.eq(0),
                        left.eq(registers.list_count),
                        one_left.eq(registers.list_count == 1),
                    ]
                    with m.If(bad_list):
                        m.d.sync += [code.eq(ERRORS["list"]), halts.eq(1)]
                        m.next = "halted"
                    with m.Else():
                        m.d.comb += fetch.start.eq(1)
                        m.next = "running"
                with m.If(registers.control_soft_reset):
                    m.d.sync += held.eq(0)
                    m.next = "reset"
            with m.State("running"):
                m.d.comb += self.running.eq(1)
                with m.If(self.completed):
                    m.d.sync += [
                        completed.eq(completed + 1),
                        left.eq(left - 1),
                        one_left.eq(left == 2),
                    ]
                with m.If(wrong):
                    m.d.sync += [Cat(code, index, address, response).eq(what), halts.eq(1)]
                    m.next = "halted"
                with m.Elif(all_done):
                    m.d.sync += [done.eq(1), ends.eq(1)]
                    m.next = "idle"
                with m.If(registers.control_soft_reset):
                    m.d.sync += held.eq(0)
                    m.next = "reset"
            with m.State("halted"):
                m.d.comb += [self.halted.eq(1), stop.eq(1)]
                with m.If(registers.control_soft_reset):
                    m.d.sync += held.eq(0)
                    m.next = "reset"

    def _counters(
        self, m: Module, registers: Any, read: ReadEngine, write: WriteEngine | None
    ) -> None:
        m.submodules.counters = bank = CounterBank(self.spec.all_counters)
        own: dict[str, Value] = {
            "bus.cycle": self.running,
            "bus.read_burst": read.read_burst,
            "bus.write_burst": write.write_burst if write is not None else Value.cast(0),
            "dram.read": read.read_bytes,
            "dram.write": write.write_bytes if write is not None else Value.cast(0),
        }
        assert list(own) == list(SHELL_COUNTERS)
        first = COUNTER_BASE // 4
        place = registers.read_index - first
        m.d.comb += [
            bank.clear.eq(registers.control_clear_counters),
            bank.which.eq(place[1:]),
            bank.capture.eq(
                registers.read_valid
                & (registers.read_index >= first)
                & (registers.read_index < first + 2 * len(self.spec.all_counters))
                & ~place[0]
            ),
        ]
        for i, name in enumerate(self.spec.all_counters):
            tag = f"count_{name.replace('.', '_')}"
            add = own[name] if name in own else getattr(self, tag)
            m.d.comb += [
                getattr(bank, f"add_{i}").eq(add),
                getattr(registers, f"{tag}_lo").eq(getattr(bank, f"low_{i}")),
                getattr(registers, f"{tag}_hi").eq(bank.shadow),
            ]


def _sizes(given: int | Sequence[int] | None, count: int, default: int) -> list[int]:
    if given is None:
        given = default
    return [given] * count if isinstance(given, int) else list(given)


def _link(m: Module, source: Any, sink: Any) -> None:
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]
