"""AXI4-Lite slave made of a `RegisterMap`."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.registers import Field, Layout, Register, RegisterMap
from hwsim.rtl.axi import OKAY, SLVERR, axil_slave_members

__all__ = ["RegisterBank", "field_members", "field_port", "record_layout"]

_GROUP = 8  # registers of a first-stage read multiplexer


def record_layout(layout: Layout) -> data.FlexibleLayout:
    """A record in memory as a shape: bit 0 is the lowest bit of the byte at the lowest address."""
    fields = {
        one.name: data.Field(signed(one.bits) if one.signed else unsigned(one.bits), one.bit)
        for one in layout.fields
    }
    return data.FlexibleLayout(layout.size_bytes * 8, fields)


def field_port(register: Register, one: Field) -> str:
    """Name of a field's port."""
    return register.name if one.name == "value" else f"{register.name}_{one.name}"


def field_members(registers: RegisterMap) -> dict[str, Member]:
    """Ports for the fields, by `register_field`, or `register` for a field called `value`.

    Args:
        registers: the map.

    ro: In, what is read. rw: Out. wo: Out, a pulse of one cycle. w1c: `..._set` In, sets bits; Out.
    Constants have none.
    """
    members: dict[str, Member] = {}
    for register in registers.registers:
        for one in register.fields:
            name = field_port(register, one)
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
        read_valid, read_index: the register at offset `4 * read_index` is sampled in this cycle.
    """

    def __init__(self, registers: RegisterMap) -> None:
        self.registers = registers
        self._writes = Signal()  # the held write acts in this cycle
        self._write_index = Signal(registers.address_bits - 2)
        self._write_data = Signal(32)
        self._write_mask = Signal(32)
        super().__init__(
            {
                **axil_slave_members(registers.address_bits),
                **field_members(registers),
                "read_valid": Out(1),
                "read_index": Out(registers.address_bits - 2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readable = {
            register.offset // 4: self._fields(m, register) for register in self.registers.registers
        }
        self._write(m)
        self._read(m, readable)
        return m

    def _write(self, m: Module) -> None:
        """Address and data are held until both are there; then fields change and `b` answers."""
        address, has_address = Signal(self.registers.address_bits), Signal()
        has_data = Signal()
        known = Signal()
        m.d.comb += [
            self.s_axil_awready.eq(~has_address),
            self.s_axil_wready.eq(~has_data),
            self._writes.eq(has_address & has_data & ~self.s_axil_bvalid),
            self._write_index.eq(address[2:]),
            known.eq(self._known(self._write_index)),
        ]
        with m.If(~has_address):
            m.d.sync += [has_address.eq(self.s_axil_awvalid), address.eq(self.s_axil_awaddr)]
        with m.If(~has_data):
            m.d.sync += [
                has_data.eq(self.s_axil_wvalid),
                self._write_data.eq(self.s_axil_wdata),
                self._write_mask.eq(Cat(bit.replicate(8) for bit in self.s_axil_wstrb)),
            ]
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(self._writes):
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                self.s_axil_bvalid.eq(1),
                self.s_axil_bresp.eq(Mux(known, OKAY, SLVERR)),
            ]

    def _read(self, m: Module, readable: dict[int, Value]) -> None:
        """Three cycles: the address is held, groups of registers are picked from, then a group."""
        index = self.read_index
        held, picked = Signal(), Signal()
        known = Signal()
        groups: dict[int, dict[int, Value]] = {}
        for place, value in readable.items():
            groups.setdefault(place // _GROUP, {})[place % _GROUP] = value
        words = {group: Signal(32, name=f"group{group}") for group in groups}
        m.d.comb += [
            self.s_axil_arready.eq(~held),
            self.read_valid.eq(held & ~picked & ~self.s_axil_rvalid),
        ]
        with m.If(~held):
            m.d.sync += [held.eq(self.s_axil_arvalid), index.eq(self.s_axil_araddr[2:])]
        m.d.sync += picked.eq(self.read_valid)
        with m.If(self.read_valid):
            m.d.sync += known.eq(self._known(index))
            for group, members in groups.items():
                choices = Array(members.get(i, Const(0, 32)) for i in range(_GROUP))
                m.d.sync += words[group].eq(choices[index[: _GROUP.bit_length() - 1]])
        with m.If(self.s_axil_rvalid & self.s_axil_rready):
            m.d.sync += [self.s_axil_rvalid.eq(0), held.eq(0)]
        with m.If(picked):
            m.d.sync += [
                self.s_axil_rvalid.eq(1),
                self.s_axil_rresp.eq(Mux(known, OKAY, SLVERR)),
                self.s_axil_rdata.eq(0),
            ]
            with m.Switch(index[_GROUP.bit_length() - 1 :]):
                for group, word in words.items():
                    with m.Case(group):
                        m.d.sync += self.s_axil_rdata.eq(word)

    def _known(self, index: Value) -> Value:
        """Whether there is a register at that place."""
        places = [register.offset // 4 for register in self.registers.registers]
        runs: list[list[int]] = []
        for place in places:
            if runs and runs[-1][1] == place - 1:
                runs[-1][1] = place
            else:
                runs.append([place, place])
        return Cat(
            ((index >= low) if low else Const(1)) & (index <= high) for low, high in runs
        ).any()

    def _fields(self, m: Module, register: Register) -> Value:
        """State and ports of a register's fields; what it reads."""
        hit = Signal(name=f"{register.name}_hit")
        m.d.comb += hit.eq(self._writes & (self._write_index == register.offset // 4))
        word = Signal(32, name=f"{register.name}_word")
        for one in register.fields:
            span = slice(one.lsb, one.lsb + one.bits)
            data_, mask = self._write_data[span], self._write_mask[span]
            name = field_port(register, one)
            if one.constant:
                m.d.comb += word[span].eq(one.reset)
                continue
            port = getattr(self, name)
            if one.access == "ro":
                m.d.comb += word[span].eq(port)
                continue
            if one.access == "wo":
                m.d.sync += port.eq(Mux(hit, data_ & mask, 0))
                continue
            state = Signal(one.bits, init=one.reset, name=f"{name}_state")
            m.d.comb += [word[span].eq(state), port.eq(state)]
            written = Mux(hit, mask, 0)
            if one.access == "rw":
                m.d.sync += state.eq((state & ~written) | (data_ & written))
            else:
                m.d.sync += state.eq((state & ~(data_ & written)) | getattr(self, f"{name}_set"))
        return word
