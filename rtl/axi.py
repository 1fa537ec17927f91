"""Ports of AXI4-Lite, AXI4 and AXI4-Stream under their standard names, and streams made of them.

Names are flat (`m_axi_araddr`), so that Vivado, cocotbext-axi and people recognise the interface.
Inside, `axis_in` and `axis_out` wrap a channel's signals as a stream. `Slice` cuts all paths of a
channel: every AXI output comes straight from a register.

Choices that hold for all masters here: one ID, 0, so that answers come in order; incrementing
bursts of full-width beats; normal non-cacheable bufferable memory (AxCACHE 0b0011); unprivileged
secure data access (AxPROT 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig

__all__ = [
    "BOUNDARY_BYTES",
    "BYTES_BITS",
    "CACHE",
    "ID_BITS",
    "OKAY",
    "SLVERR",
    "Slice",
    "StreamPort",
    "axi_master_members",
    "axi_read_members",
    "axi_write_members",
    "axil_slave_members",
    "axis_in",
    "axis_members",
    "axis_out",
    "block_words",
    "command_layout",
    "drive_address",
    "pass_ports",
    "pick",
    "queue_sizes",
    "under_way",
    "word_layout",
]

BOUNDARY_BYTES = 4096
"""No burst crosses a multiple of this (AXI4, A3.4.1)."""

BYTES_BITS = 32
"""Width of a transfer's length in bytes."""

ID_BITS = 1
"""Width of AXI IDs; a width of 0 is legal but some tools refuse it."""

CACHE = 0b0011
"""AxCACHE: normal, non-cacheable, bufferable memory (AXI4, A4.4)."""

OKAY, SLVERR = 0b00, 0b10
"""Responses; bit 1 set is an error, DECERR is 0b11."""


def command_layout(bus: BusConfig) -> data.StructLayout:
    """A transfer of `bytes` bytes from `address`, a multiple of the bus's bytes.

    A read moves whole bus words; a write strobes only `bytes` bytes. 0 bytes is no transfer.
    """
    return data.StructLayout({"address": bus.address_bits, "bytes": BYTES_BITS})


def word_layout(bus: BusConfig) -> data.StructLayout:
    """A bus word, and whether it is the last of its command."""
    return data.StructLayout({"data": bus.data_bits, "last": 1})


def block_words(bus: BusConfig) -> int:
    """Bus words of the aligned blocks that bursts stay in: `burst_beats`, 4 KB at most.

    A burst ends at a multiple of these, so none crosses 4 KB whatever the command.
    """
    return min(bus.burst_beats, BOUNDARY_BYTES * 8 // bus.data_bits)


def axil_slave_members(address_bits: int, prefix: str = "s_axil") -> dict[str, Member]:
    """Ports of an AXI4-Lite slave with 32 data bits."""
    members = {
        "awaddr": In(address_bits),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(32),
        "wstrb": In(4),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(address_bits),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(32),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }
    return {f"{prefix}_{name}": member for name, member in members.items()}


def axi_read_members(bus: BusConfig, prefix: str = "m_axi") -> dict[str, Member]:
    """AR and R of an AXI4 master."""
    members = {
        **_address_members("ar", bus),
        "rid": In(ID_BITS),
        "rdata": In(bus.data_bits),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }
    return {f"{prefix}_{name}": member for name, member in members.items()}


def axi_write_members(bus: BusConfig, prefix: str = "m_axi") -> dict[str, Member]:
    """AW, W and B of an AXI4 master."""
    members = {
        **_address_members("aw", bus),
        "wdata": Out(bus.data_bits),
        "wstrb": Out(bus.data_bits // 8),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(ID_BITS),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }
    return {f"{prefix}_{name}": member for name, member in members.items()}


def axi_master_members(bus: BusConfig, prefix: str = "m_axi") -> dict[str, Member]:
    """All five channels of an AXI4 master."""
    return {**axi_write_members(bus, prefix), **axi_read_members(bus, prefix)}


def axis_members(
    prefix: str, data_bits: int, *, output: bool, last: bool = True
) -> dict[str, Member]:
    """An AXI4-Stream: `tdata` of whole bytes, `tvalid`, `tready` and perhaps `tlast`.

    Args:
        prefix: as `s_axis_a`.
        data_bits: of the payload; `tdata` is this rounded up to bytes, high bits are padding.
        output: the component is its master.
        last: it has `tlast`.
    """
    forth, back = (Out, In) if output else (In, Out)
    members = {
        f"{prefix}_tdata": forth(-(-data_bits // 8) * 8),
        f"{prefix}_tvalid": forth(1),
        f"{prefix}_tready": back(1),
    }
    if last:
        members[f"{prefix}_tlast"] = forth(1)
    return members


class StreamPort:
    """Three values that act as a stream: `payload`, `valid`, `ready`."""

    def __init__(self, payload: Any, valid: Any, ready: Any) -> None:
        self.payload = payload
        self.valid = valid
        self.ready = ready


def axis_in(component: Any, prefix: str, bits: int | None = None) -> StreamPort:
    """An AXI4-Stream slave port as a stream to read: the payload is the low `bits` of `tdata`."""
    word = getattr(component, f"{prefix}_tdata")
    return StreamPort(
        word if bits is None else word[:bits],
        getattr(component, f"{prefix}_tvalid"),
        getattr(component, f"{prefix}_tready"),
    )


def axis_out(component: Any, prefix: str) -> StreamPort:
    """An AXI4-Stream master port as a stream to write; a narrower value is extended by zeros."""
    return StreamPort(
        getattr(component, f"{prefix}_tdata"),
        getattr(component, f"{prefix}_tvalid"),
        getattr(component, f"{prefix}_tready"),
    )


def pass_ports(m: Module, outer: Any, inner: Any, names: Any) -> None:
    """Joins ports of the same names of a component and of a part of it.

    Args:
        m: the module under construction.
        outer: the component whose `elaborate` is running.
        inner: its part.
        names: member names, as `axi_master_members(bus)`.
    """
    for name in names:
        out, part = getattr(outer, name), getattr(inner, name)
        if outer.signature.members[name].flow is Out:
            m.d.comb += Value.cast(out).eq(Value.cast(part))
        else:
            m.d.comb += Value.cast(part).eq(Value.cast(out))


class Slice(wiring.Component):
    """A register slice: two words deep, a word a cycle, one cycle of latency.

    `o.valid`, `o.payload` and `i.ready` are registers: no path leads through it either way.

    Args:
        shape: of a word.
    """

    def __init__(self, shape: Any) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(Value.cast(self.i.payload))
        held = Signal(bits, reset_less=True)  # in front
        spare = Signal(bits, reset_less=True)  # what came while the front could not move
        valid, room = Signal(), Signal(init=1)
        m.d.comb += [
            self.i.ready.eq(room),
            self.o.valid.eq(valid),
            Value.cast(self.o.payload).eq(held),
        ]
        with m.If(~valid | self.o.ready):
            m.d.sync += [
                held.eq(Mux(room, Value.cast(self.i.payload), spare)),
                valid.eq(self.i.valid | ~room),
                room.eq(1),
            ]
        with m.Elif(room):
            m.d.sync += [spare.eq(Value.cast(self.i.payload)), room.eq(~self.i.valid)]
        return m


def drive_address(bus: BusConfig, component: Any, channel: str, source: Any) -> list[Any]:
    """Statements that drive an address channel from a stream of {address, length - 1}.

    Args:
        bus: the bus.
        component: whose ports they are.
        channel: their prefix, as `m_axi_ar`.
        source: the stream.
    """
    fields: dict[str, ValueLike] = {
        "id": 0,
        "size": (bus.data_bits // 8).bit_length() - 1,
        "burst": 0b01,  # incrementing
        "lock": 0,
        "cache": CACHE,
        "prot": 0,
        "qos": 0,
        "addr": source.payload.address,
        "len": source.payload.length,
        "valid": source.valid,
    }
    driven = [getattr(component, f"{channel}{name}").eq(value) for name, value in fields.items()]
    return [*driven, source.ready.eq(getattr(component, f"{channel}ready"))]


def pick(grant: Value, choices: Sequence[Any]) -> Any:
    """The choice whose bit of `grant` is set, 0 when none is; views stay views."""
    word: Value = Const(0)
    for bit, choice in zip(grant, choices, strict=True):
        given = Value.cast(choice)
        word = word | Mux(bit, given, Const(0, len(given)))
    first = choices[0]
    return data.View(first.shape(), word) if isinstance(first, data.View) else word


def under_way(m: Module, limit: int, more: Value, less: Value) -> Signal:
    """Whether fewer than `limit` bursts are under way, from a register.

    Args:
        m: the module under construction.
        limit: how many may be.
        more: one begins in this cycle; only while the result is true.
        less: one ends in this cycle.
    """
    count = Signal(range(limit + 1), name="under_way")
    room = Signal(init=1, name="under_way_room")
    m.d.sync += [
        count.eq(count + more - less),
        room.eq(less | Mux(more, count != limit - 1, count != limit)),
    ]
    return room


def queue_sizes(bus: BusConfig, clients: int, given: int | Sequence[int]) -> tuple[int, ...]:
    """Words of each client's queue.

    Raises:
        ValueError: there is no client, or a queue does not hold a burst.
    """
    if clients < 1:
        raise ValueError(f"clients >= 1 must hold, but got {clients}")
    words = (given,) * clients if isinstance(given, int) else tuple(given)
    least = max(3, block_words(bus))
    if len(words) != clients or min(words) < least:
        raise ValueError(f"queue_words must be {clients} numbers >= {least}, but got {given}")
    return words


def _address_members(channel: str, bus: BusConfig) -> dict[str, Member]:
    members = {
        "id": Out(ID_BITS),
        "addr": Out(bus.address_bits),
        "len": Out(8),
        "size": Out(3),
        "burst": Out(2),
        "lock": Out(1),
        "cache": Out(4),
        "prot": Out(3),
        "qos": Out(4),
        "valid": Out(1),
        "ready": In(1),
    }
    return {f"{channel}{name}": member for name, member in members.items()}
