"""What FPGA-ready tops have in common as software sees it: registers, descriptor header, errors.

`shell_map` gives the registers of a `ShellSpec`, `descriptor` the record of one of its opcodes.
`hwsim.rtl.shell` is the hardware.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwsim.models.counters import counter
from hwsim.models.registers import Field, Layout, LayoutField, Register, RegisterMap

__all__ = [
    "COUNTER_BASE",
    "ERRORS",
    "FAMILY_ERRORS",
    "HEADER_BITS",
    "KINDS",
    "MAGIC",
    "MAP_BYTES",
    "RECORD_VERSION",
    "SHELL_COUNTERS",
    "ShellSpec",
    "config_hash",
    "descriptor",
    "packed_version",
    "shell_map",
]

MAGIC = 0x4857
"""The first 16 bits of every descriptor: `WH` in memory, "HW" as a number."""

RECORD_VERSION = 1
"""Version of the descriptors' form."""

HEADER_BITS = 32
"""Of every descriptor; a family's fields start behind."""

KINDS = {"sat": 1, "spgemm": 2, "delta": 3}
"""The low half of the ID register."""

ERRORS = {
    "none": 0,
    "magic": 1,
    "version": 2,
    "opcode": 3,
    "alignment": 4,
    "value": 5,
    "list": 6,
    "timeout": 7,
    "read_bus": 8,
    "write_bus": 9,
}
"""Error codes of the shell. magic, version, opcode: of a descriptor's header. alignment: an address
or a length is no multiple of the bus's bytes. value: a field that must not be 0 is. list: its
address is no multiple of the bus's bytes, or its count is 0. timeout: nothing moved for as long as
the register of that name says. read_bus, write_bus: SLVERR or DECERR."""

FAMILY_ERRORS = 16
"""Error codes from here on are the family's."""

SHELL_COUNTERS: dict[str, int] = {
    "bus.cycle": 1,
    "bus.read_burst": 1,
    "bus.write_burst": 1,
    "dram.read": 7,
    "dram.write": 7,
}
"""Counters that every top has, with the bits of their increment a cycle."""

MAP_BYTES = 4096
"""Address space of a top's registers: the least that common interconnects give a slave."""

COUNTER_BASE = 0x80
"""Offset of the first counter's low word."""


@dataclass(frozen=True, kw_only=True)
class ShellSpec:
    """A family's part of the shell.

    Attributes:
        kind: sat, spgemm or delta.
        records: opcode name -> (opcode, record). All have the size of a descriptor and start with
            the fields of `descriptor`.
        counters: counter name -> bits of its increment a cycle, in the order of their registers,
            which stand behind those of `SHELL_COUNTERS`.
        errors: name -> code of the family's errors, `FAMILY_ERRORS` or more, below 256.
        registers: the family's own registers; offsets of 0x400 or more.
        config_hash: first 32 bits of the configuration's hash.
        version: of the package, packed by `packed_version`.
    """

    kind: str
    records: Mapping[str, tuple[int, Layout]]
    counters: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    registers: tuple[Register, ...] = ()
    config_hash: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, but got {self.kind!r}")
        if not self.records or len({layout.size_bytes for _, layout in self.records.values()}) > 1:
            raise ValueError(f"{self.kind}: all records must have one size")
        if self.record_bytes < 64:
            raise ValueError(
                f"{self.kind}: a record has 64 bytes or more, but got {self.record_bytes}"
            )
        for name in self.counters:
            counter(name)
        for name, code in self.errors.items():
            if not FAMILY_ERRORS <= code < 256:
                raise ValueError(f"error {name}: 16 <= code < 256 must hold, but got {code}")

    @property
    def record_bytes(self) -> int:
        """Size of a descriptor, a power of two."""
        return next(iter(self.records.values()))[1].size_bytes

    @property
    def all_counters(self) -> dict[str, int]:
        """Those of the shell, then those of the family."""
        return {**SHELL_COUNTERS, **self.counters}


def descriptor(
    name: str, size_bytes: int, fields: tuple[LayoutField, ...], description: str = ""
) -> Layout:
    """A descriptor's record: the common header, then the family's fields from `HEADER_BITS` on."""
    header = (
        LayoutField(name="magic", bit=0, bits=16, description=f"{MAGIC:#06x}"),
        LayoutField(name="opcode", bit=16, bits=8, description="what to do"),
        LayoutField(name="version", bit=24, bits=4, description=f"of the record, {RECORD_VERSION}"),
        LayoutField(name="irq", bit=28, bits=1, description="interrupt when it is completed"),
        LayoutField(
            name="wait",
            bit=29,
            bits=1,
            description="start only when all descriptors before it are completed",
        ),
        LayoutField(name="reserved", bit=30, bits=2, description="0"),
    )
    return Layout(
        name=name, size_bytes=size_bytes, fields=(*header, *fields), description=description
    )


def config_hash(config: Mapping[str, Any]) -> int:
    """First 32 bits of the SHA-256 of a resolved configuration as JSON with sorted keys."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def packed_version(version: str) -> int:
    """`1.2.3` as 0x00010203; what is not a number counts as 0."""
    parts = [int("".join(c for c in part if c.isdigit()) or "0") for part in version.split(".")]
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return (major & 0xFF) << 16 | (minor & 0xFF) << 8 | (patch & 0xFF)


def shell_map(spec: ShellSpec, data_bits: int) -> RegisterMap:
    """The registers of a top.

    Args:
        spec: the family's part.
        data_bits: width of the AXI4 master's data.
    """
    errors = {**ERRORS, **spec.errors}
    registers = [
        _register(
            "id", 0x00, "What this is.",
            Field(name="kind", bits=16, reset=KINDS[spec.kind], constant=True, values=KINDS,
                  description="accelerator family"),
            Field(name="magic", lsb=16, bits=16, reset=MAGIC, constant=True, description="HW"),
        ),
        _register(
            "version", 0x04, "Version of the generator: major, minor, patch in bytes 2, 1, 0.",
            Field(name="value", bits=32, reset=spec.version, constant=True),
        ),
        _register(
            "config_hash", 0x08, "First 32 bits of the SHA-256 of the configuration.",
            Field(name="value", bits=32, reset=spec.config_hash, constant=True),
        ),
        _register(
            "build", 0x0C, "Sizes that host code needs.",
            Field(name="bus_bytes", bits=8, reset=data_bits // 8, constant=True,
                  description="bytes of a bus word"),
            Field(name="record_bytes", lsb=8, bits=12, reset=spec.record_bytes, constant=True,
                  description="bytes of a descriptor"),
            Field(name="record_version", lsb=20, bits=4, reset=RECORD_VERSION, constant=True,
                  description="version of a descriptor"),
            Field(name="counters", lsb=24, bits=8, reset=len(spec.all_counters), constant=True,
                  description="how many counters"),
        ),
        _register(
            "control", 0x10, "Commands; they act when written.",
            Field(name="start", access="wo", description="run the list; ignored unless idle"),
            Field(name="soft_reset", lsb=1, access="wo",
                  description="stop, wait for bursts under way, clear core, engines and error"),
            Field(name="clear_counters", lsb=2, access="wo", description="all counters to 0"),
        ),
        _register(
            "status", 0x14, "State.",
            Field(name="idle", lsb=0, reset=1, description="nothing runs; a list may be started"),
            Field(name="busy", lsb=1, description="a list runs or a soft reset is under way"),
            Field(name="done", lsb=2, description="the last list was completed"),
            Field(name="error", lsb=3, description="stopped by an error; needs soft_reset"),
        ),
        _register(
            "irq_enable", 0x18, "Causes that raise `irq`.",
            Field(name="done", lsb=0, access="rw", description="a list was completed"),
            Field(name="error", lsb=1, access="rw", description="stopped by an error"),
            Field(name="descriptor", lsb=2, access="rw",
                  description="a descriptor with its irq bit was completed"),
        ),
        _register(
            "irq_status", 0x1C, "Causes that occurred; `irq` is high while one is enabled and set.",
            Field(name="done", lsb=0, access="w1c", description="a list was completed"),
            Field(name="error", lsb=1, access="w1c", description="stopped by an error"),
            Field(name="descriptor", lsb=2, access="w1c",
                  description="a descriptor with its irq bit was completed"),
        ),
        _register(
            "list_address_lo", 0x20, "Where the descriptors stand, a multiple of the bus's bytes.",
            Field(name="value", bits=32, access="rw", description="bits 31 to 0"),
        ),
        _register(
            "list_address_hi", 0x24, "The same.",
            Field(name="value", bits=32, access="rw", description="bits 63 to 32"),
        ),
        _register(
            "list_count", 0x28, "How many descriptors, at least 1.",
            Field(name="value", bits=20, access="rw"),
        ),
        _register(
            "completed", 0x2C, "Descriptors completed since the last start.",
            Field(name="value", bits=20),
        ),
        _register(
            "error", 0x30, "The first error since start or reset.",
            Field(name="code", bits=8, values=errors, description="what"),
            Field(name="response", lsb=8, bits=2, description="AXI response of a bus error"),
        ),
        _register(
            "error_index", 0x34,
            "Number of the bad descriptor; at a bus error or timeout: descriptors completed then.",
            Field(name="value", bits=20),
        ),
        _register(
            "error_address_lo", 0x38, "Where a bus error was: the word read, or the burst written.",
            Field(name="value", bits=32, description="bits 31 to 0"),
        ),
        _register(
            "error_address_hi", 0x3C, "The same.",
            Field(name="value", bits=32, description="bits 63 to 32"),
        ),
        _register(
            "timeout", 0x40,
            "Cycles after which a running list stops with the error timeout if no word came from "
            "memory or left for it and no descriptor was completed; 0: never.",
            Field(name="value", bits=32, access="rw", description="cycles"),
        ),
    ]  # fmt: skip
    for i, name in enumerate(spec.all_counters):
        what = counter(name)
        base = f"count_{name.replace('.', '_')}"
        offset = COUNTER_BASE + 8 * i
        registers += [
            _register(f"{base}_lo", offset, f"{name}, unit {what.unit}: {what.description}. "
                      "A read captures the upper half.", Field(name="value", bits=32)),
            _register(f"{base}_hi", offset + 4, f"{name}, bits 63 to 32 as captured by the last "
                      "read of a counter's lower half.", Field(name="value", bits=32)),
        ]  # fmt: skip
    return RegisterMap(
        name=spec.kind,
        registers=(*registers, *spec.registers),
        description=f"Registers of {spec.kind}_axi.",
        least_bytes=MAP_BYTES,
    )


def _register(name: str, offset: int, description: str, *fields: Field) -> Register:
    return Register(name=name, offset=offset, description=description, fields=fields)
