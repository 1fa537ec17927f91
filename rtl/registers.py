"""AXI4-Lite slave made of a `RegisterMap`."""

from __future__ import annotations

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.registers import Layout, RegisterMap
from hwsim.rtl.axi import axil_slave_members

__all__ = ["RegisterBank", "field_members", "record_layout"]


def record_layout(layout: Layout) -> data.FlexibleLayout:
    """A record in memory as a shape: bit 0 is the lowest bit of the byte at the lowest address."""
    from amaranth.hdl import signed, unsigned

    fields = {
        one.name: data.Field(signed(one.bits) if one.signed else unsigned(one.bits), one.bit)
        for one in layout.fields
    }
    return data.FlexibleLayout(layout.size_bytes * 8, fields)


def field_members(registers: RegisterMap) -> dict[str, Member]:
    """Ports for the fields, by `register_field`, or `register` for a field called `value`.

    ro: In, what is read. rw: Out. wo: Out, a pulse of one cycle. w1c: `..._set` In, sets bits; Out.
    Constants have none.
    """
    members: dict[str, Member] = {}
    for register in registers.registers:
        for one in register.fields:
            name = register.name if one.name == "value" else f"{register.name}_{one.name}"
            if one.constant:
                continue
            if one.access == "ro":
                members[name] = In(one.bits)
            else:
                members[name] = Out(one.bits)
                if one.access == "w1c":
                    members[f"{name}_set"] = In(one.bits)
    return members


class RegisterBank(wiring.Component):
    """The slave.

    Reads and writes take a few cycles each; one of each is under way at a time. WSTRB is honoured,
    AxPROT ignored. An address without a register answers SLVERR, reads 0 and changes nothing;
    writes to read-only bits are ignored. All AXI outputs come from registers.

    Args:
        registers: what it offers.

    Ports:
        s_axil_*: the AXI4-Lite slave, `registers.address_bits` address bits.
        `field_members(registers)`.
        read_strobe: the offset's register (`offset // 4`) is read in this cycle; None when idle:
            `read_valid` and `read_index`.
    """

    def __init__(self, registers: RegisterMap) -> None:
        self.registers = registers
        super().__init__(
            {
                **axil_slave_members(registers.address_bits),
                **field_members(registers),
                "read_valid": Out(1),
                "read_index": Out(registers.address_bits - 2),
            }
        )
