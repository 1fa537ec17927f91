"""Registers and records in memory, described once: hardware, documents and host code follow.

A `RegisterMap` is what an AXI4-Lite slave offers; a `Layout` is a record of fixed size in memory, a
descriptor. `hwsim.models.register_files` renders both as Markdown, C header, Python module and
SystemRDL. All registers have 32 bits; all records are little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["ACCESS", "Access", "Field", "Layout", "LayoutField", "Register", "RegisterMap", "Rule"]

Access = Literal["ro", "rw", "w1c", "wo"]
Rule = Literal["", "address", "bytes", "nonzero"]

ACCESS: dict[str, str] = {
    "ro": "read only; hardware drives it",
    "rw": "software writes it, hardware reads it",
    "w1c": "hardware sets a bit, software clears it by writing 1",
    "wo": "reads 0; a 1 written is a pulse of one cycle",
}
"""What an access means."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits of a register.

    Attributes:
        name: lower case, unique in the register.
        lsb: the lowest bit.
        bits: how many, at least 1.
        access: see `ACCESS`.
        reset: value after reset; of a `ro` field with `constant` its value for ever.
        description: a phrase.
        values: named values.
        constant: a `ro` field that hardware does not drive: it reads `reset`.
    """

    name: str
    lsb: int = 0
    bits: int = 1
    access: Access = "ro"
    reset: int = 0
    description: str = ""
    values: Mapping[str, int] = field(default_factory=dict)
    constant: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"name must be a lower-case identifier, but got {self.name!r}")
        if self.lsb < 0 or self.bits < 1 or self.lsb + self.bits > 32:
            raise ValueError(
                f"{self.name}: 0 <= lsb and lsb + bits <= 32 must hold, but got "
                f"(lsb={self.lsb}, bits={self.bits})"
            )
        if self.access not in ACCESS:
            raise ValueError(f"{self.name}: access must be one of {', '.join(ACCESS)}, "
                             f"but got {self.access!r}")  # fmt: skip
        if self.reset < 0 or self.reset >> self.bits:
            raise ValueError(f"{self.name}: reset must have {self.bits} bits, but got {self.reset}")
        if self.access == "wo" and (self.bits > 1 or self.reset):
            raise ValueError(
                f"{self.name}: a pulse is one bit that resets to 0, but got {self.bits} bits that "
                f"reset to {self.reset}"
            )
        if self.constant and self.access != "ro":
            raise ValueError(f"{self.name}: a constant is ro, but got {self.access}")

    @property
    def mask(self) -> int:
        """Its bits in the register."""
        return ((1 << self.bits) - 1) << self.lsb


@dataclass(frozen=True, kw_only=True)
class Register:
    """A word of 32 bits.

    Attributes:
        name: lower case, unique in the map.
        offset: byte address, a multiple of 4.
        fields: they do not overlap; other bits read 0.
        description: a sentence.
    """

    name: str
    offset: int
    fields: tuple[Field, ...]
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"name must be a lower-case identifier, but got {self.name!r}")
        if self.offset < 0 or self.offset % 4:
            raise ValueError(
                f"{self.name}: offset must be a multiple of 4, but got {self.offset:#x}"
            )
        used = 0
        for one in self.fields:
            if used & one.mask:
                raise ValueError(f"{self.name}: field {one.name} overlaps another")
            used |= one.mask
        if len({one.name for one in self.fields}) != len(self.fields) or not self.fields:
            raise ValueError(f"{self.name}: fields must be there and have names of their own")

    @property
    def reset(self) -> int:
        """What it reads after reset."""
        return sum(one.reset << one.lsb for one in self.fields)

    def field(self, name: str) -> Field:
        """The field of that name.

        Raises:
            KeyError: there is none.
        """
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(f"register {self.name} has no field {name!r}")


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """All registers of a slave.

    Attributes:
        name: lower case, prefix of C names.
        registers: by rising offset.
        description: a sentence.
        least_bytes: of the address space.
    """

    name: str
    registers: tuple[Register, ...]
    description: str = ""
    least_bytes: int = 4

    def __post_init__(self) -> None:
        offsets = [one.offset for one in self.registers]
        if sorted(set(offsets)) != offsets or not offsets:
            raise ValueError(f"{self.name}: offsets must be there and rise, but got {offsets}")
        if len({one.name for one in self.registers}) != len(self.registers):
            raise ValueError(f"{self.name}: registers must have names of their own")

    def __getitem__(self, name: str) -> Register:
        for one in self.registers:
            if one.name == name:
                return one
        raise KeyError(f"{self.name} has no register {name!r}")

    @property
    def size_bytes(self) -> int:
        """Of the address space: the least power of two that holds all."""
        return 1 << (max(self.registers[-1].offset + 4, self.least_bytes) - 1).bit_length()

    @property
    def address_bits(self) -> int:
        """Of the slave's addresses."""
        return self.size_bytes.bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class LayoutField:
    """Bits of a record.

    Attributes:
        name: lower case, unique in the record.
        bit: the lowest bit in the record.
        bits: how many.
        description: a phrase.
        signed: two's complement.
        rule: checked by hardware before a descriptor starts: `address`, a multiple of the bus's
            bytes; `bytes`, as well; `nonzero`.
        values: named values.
    """

    name: str
    bit: int
    bits: int
    description: str = ""
    signed: bool = False
    rule: Rule = ""
    values: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A record of fixed size in memory.

    Attributes:
        name: lower case.
        size_bytes: a power of two.
        fields: they do not overlap; other bits are 0.
        description: a sentence.
    """

    name: str
    size_bytes: int
    fields: tuple[LayoutField, ...]
    description: str = ""

    def __post_init__(self) -> None:
        if self.size_bytes < 1 or self.size_bytes & (self.size_bytes - 1):
            raise ValueError(
                f"{self.name}: size_bytes must be a power of two, but got {self.size_bytes}"
            )
        used = 0
        for one in self.fields:
            mask = ((1 << one.bits) - 1) << one.bit
            if one.bit < 0 or one.bits < 1 or one.bit + one.bits > self.size_bytes * 8:
                raise ValueError(f"{self.name}: field {one.name} must lie in the record")
            if used & mask:
                raise ValueError(f"{self.name}: field {one.name} overlaps another")
            used |= mask
        if len({one.name for one in self.fields}) != len(self.fields):
            raise ValueError(f"{self.name}: fields must have names of their own")

    def field(self, name: str) -> LayoutField:
        """The field of that name.

        Raises:
            KeyError: there is none.
        """
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(f"{self.name} has no field {name!r}")

    def pack(self, **values: int) -> bytes:
        """The record's bytes; fields not given are 0.

        Raises:
            ValueError: there is no such field, or a value does not fit.
        """
        word = 0
        for name, value in values.items():
            try:
                one = self.field(name)
            except KeyError as error:
                raise ValueError(error.args[0]) from None
            low, high = (-(1 << one.bits - 1), 1 << one.bits - 1) if one.signed else (
                0, 1 << one.bits)  # fmt: skip
            if not low <= value < high:
                raise ValueError(f"{self.name}.{name}: {low} <= value < {high} must hold, "
                                 f"but got {value}")  # fmt: skip
            word |= (int(value) & ((1 << one.bits) - 1)) << one.bit
        return word.to_bytes(self.size_bytes, "little")

    def unpack(self, record: bytes) -> dict[str, int]:
        """Values of all fields.

        Raises:
            ValueError: the record has another size.
        """
        if len(record) != self.size_bytes:
            raise ValueError(f"{self.name} has {self.size_bytes} bytes, but got {len(record)}")
        word = int.from_bytes(record, "little")
        found = {}
        for one in self.fields:
            value = (word >> one.bit) & ((1 << one.bits) - 1)
            if one.signed and value >> (one.bits - 1):
                value -= 1 << one.bits
            found[one.name] = value
        return found
