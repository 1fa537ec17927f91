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

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.models.shell_map import ShellSpec, shell_map
from hwsim.rtl.axi import axi_master_members, axil_slave_members, command_layout, word_layout
from hwsim.rtl.registers import field_members

__all__ = ["INDEX_BITS", "Shell", "descriptor_payload", "shell_members"]

INDEX_BITS = 20
"""Width of the number of a descriptor in its list."""


def descriptor_payload(spec: ShellSpec) -> data.StructLayout:
    """A descriptor and its number in the list; `record_layout(layout)(payload.record)` names it."""
    return data.StructLayout({"record": spec.record_bytes * 8, "index": INDEX_BITS})


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
        own = {one.name for one in spec.registers}
        for register in self.registers.registers:
            if register.name in own:
                from hwsim.models.registers import RegisterMap

                members |= field_members(RegisterMap(name=spec.kind, registers=(register,)))
        super().__init__(members)
