"""Register maps and records as files: Markdown, C header, Python module, SystemRDL.

All four come from the same `RegisterMap` and `Layout`s as the hardware, so they cannot differ from
it. The C header and the Python module need nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwsim.models.registers import ACCESS, Field, Layout, Register, RegisterMap
from hwsim.models.shell_map import ERRORS, MAGIC, RECORD_VERSION, ShellSpec, shell_map

__all__ = ["c_header", "markdown", "python_module", "shell_files", "systemrdl"]

Constants = Mapping[str, Mapping[str, int]]
"""Groups of named numbers, as {"opcode": {"gemm": 1}}."""


def shell_files(spec: ShellSpec, data_bits: int) -> dict[str, str]:
    """The four files of a top, by name.

    Args:
        spec: the family's part of the shell.
        data_bits: width of the AXI4 master's data.
    """
    registers = shell_map(spec, data_bits)
    layouts = [layout for _, layout in spec.records.values()]
    constants: Constants = {
        "opcode": {name: code for name, (code, _) in spec.records.items()},
        "error": {**ERRORS, **spec.errors},
        "record": {"magic": MAGIC, "version": RECORD_VERSION, "bytes": spec.record_bytes},
    }
    name = f"{spec.kind}_registers"
    return {
        "registers.md": markdown(registers, layouts, constants),
        f"{name}.h": c_header(registers, layouts, constants),
        f"{name}.py": python_module(registers, layouts, constants),
        f"{name}.rdl": systemrdl(registers),
    }


def markdown(
    registers: RegisterMap, layouts: Sequence[Layout] = (), constants: Constants | None = None
) -> str:
    """Tables of registers, records and constants for people."""
    lines = [
        f"# Registers of `{registers.name}`",
        "",
        registers.description,
        f"{registers.size_bytes} bytes of addresses, registers of 32 bits, little-endian.",
        "",
        *(f"- {access}: {what}." for access, what in ACCESS.items()),
        "",
        "| offset | register | reset | what |",
        "|---|---|---|---|",
    ]
    for one in registers.registers:
        lines.append(f"| {one.offset:#05x} | `{one.name}` | {one.reset:#x} | {one.description} |")
    lines += ["", "## Fields", "", "| register | bits | field | access | reset | what |",
              "|---|---|---|---|---|---|"]  # fmt: skip
    for one in registers.registers:
        for part in one.fields:
            named = ", ".join(f"{value} = {name}" for name, value in part.values.items())
            what = ": ".join(text for text in (part.description, named) if text)
            lines.append(
                f"| `{one.name}` | {_span(part.lsb, part.bits)} | `{part.name}` | {part.access} | "
                f"{part.reset:#x} | {what} |"
            )
    for layout in layouts:
        lines += [
            "",
            f"## Record `{layout.name}`",
            "",
            f"{layout.description} {layout.size_bytes} bytes, little-endian; "
            "bits that are not named are 0.".strip(),
            "",
            "| byte | bits | field | rule | what |",
            "|---|---|---|---|---|",
        ]
        for item in layout.fields:
            sign = ", signed" if item.signed else ""
            byte = item.bit // 8
            lines.append(
                f"| {byte} | {_span(item.bit - 8 * byte, item.bits)}{sign} | `{item.name}` | "
                f"{item.rule} | {item.description} |"
            )
    for group, numbers in (constants or {}).items():
        lines += ["", f"## {group.capitalize()}", "", "| name | number |", "|---|---|"]
        lines += [f"| {name} | {value:#x} |" for name, value in numbers.items()]
    return "\n".join([*lines, ""])


def c_header(
    registers: RegisterMap, layouts: Sequence[Layout] = (), constants: Constants | None = None
) -> str:
    """A C header (C99): offsets, shifts, masks, and a function that puts a field into a record."""
    top = registers.name.upper()
    guard = f"{top}_REGISTERS_H"
    lines = [
        f"/* {registers.description} Made by hwsim; do not edit. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        f"#define {top}_SIZE {registers.size_bytes:#x}u",
    ]
    for one in registers.registers:
        base = f"{top}_{one.name.upper()}"
        lines += ["", f"/* {one.description} */", f"#define {base} {one.offset:#x}u"]
        for part in one.fields:
            name = f"{base}_{part.name.upper()}"
            lines += [
                f"#define {name}_SHIFT {part.lsb}u",
                f"#define {name}_MASK {part.mask:#x}u",
            ]
    for group, numbers in (constants or {}).items():
        lines.append("")
        lines += [
            f"#define {top}_{group.upper()}_{name.upper()} {value:#x}u"
            for name, value in numbers.items()
        ]
    for layout in layouts:
        base = f"{top}_{layout.name.upper()}"
        lines += ["", f"/* Record {layout.name}. {layout.description} */",
                  f"#define {base}_BYTES {layout.size_bytes}u"]  # fmt: skip
        for item in layout.fields:
            name = f"{base}_{item.name.upper()}"
            lines += [f"#define {name}_BIT {item.bit}u", f"#define {name}_BITS {item.bits}u"]
    if layouts:
        lines += [
            "",
            "/* Puts a value into bits of a record that is zero there; little-endian words. */",
            f"static inline void {registers.name}_put(uint32_t *record, unsigned bit,",
            "                           unsigned bits, uint64_t value)",
            "{",
            "    for (unsigned i = 0; i < bits; i++)",
            "        if (value >> i & 1u)",
            "            record[(bit + i) / 32u] |= (uint32_t)1 << (bit + i) % 32u;",
            "}",
        ]
    return "\n".join([*lines, "", f"#endif /* {guard} */", ""])


def python_module(
    registers: RegisterMap, layouts: Sequence[Layout] = (), constants: Constants | None = None
) -> str:
    """A Python module of constants, with `pack(record, **fields)` for records."""
    lines = [
        f'"""{registers.description} Made by hwsim; do not edit."""',
        "",
        f"SIZE_BYTES = {registers.size_bytes:#x}",
        "",
        "# register -> offset",
        "REGISTERS = {",
        *(f"    {one.name!r}: {one.offset:#x}," for one in registers.registers),
        "}",
        "",
        "# register -> field -> (lowest bit, bits)",
        "FIELDS = {",
    ]
    for one in registers.registers:
        inner = ", ".join(f"{part.name!r}: ({part.lsb}, {part.bits})" for part in one.fields)
        lines.append(f"    {one.name!r}: {{{inner}}},")
    lines += ["}", "", "# record -> (bytes, {field: (lowest bit, bits, signed)})", "RECORDS = {"]
    for layout in layouts:
        lines.append(f"    {layout.name!r}: (")
        lines.append(f"        {layout.size_bytes},")
        lines.append("        {")
        lines += [
            f"            {item.name!r}: ({item.bit}, {item.bits}, {item.signed}),"
            for item in layout.fields
        ]
        lines += ["        },", "    ),"]
    lines.append("}")
    for group, numbers in (constants or {}).items():
        lines += ["", f"{group.upper()} = {{"]
        lines += [f"    {name!r}: {value:#x}," for name, value in numbers.items()]
        lines.append("}")
    return "\n".join([*lines, "", *_PACK.splitlines(), ""])


_PACK = '''
def pack(record, **fields):
    """Bytes of a record; fields that are not given are 0."""
    size, places = RECORDS[record]
    word = 0
    for name, value in fields.items():
        bit, bits, signed = places[name]
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        if not low <= value < high:
            raise ValueError(f"{name} must be from {low} to {high - 1}, but got {value}")
        word |= (value & ((1 << bits) - 1)) << bit
    return word.to_bytes(size, "little")
'''


def systemrdl(registers: RegisterMap) -> str:
    """SystemRDL 2.0 of the registers, for tools that read it (PeakRDL and others)."""
    lines = [
        f"addrmap {registers.name} {{",
        f'    desc = "{_quoted(registers.description)}";',
        "    default regwidth = 32;",
        "    default accesswidth = 32;",
        "    littleendian;",
        "    lsb0;",
    ]
    for one in registers.registers:
        lines += _rdl_register(one)
    return "\n".join([*lines, "};", ""])


def _rdl_register(register: Register) -> list[str]:
    lines = ["    reg {", f'        desc = "{_quoted(register.description)}";']
    for one in register.fields:
        lines += [
            "        field {",
            f'            desc = "{_quoted(one.description)}";',
            *(f"            {line};" for line in _rdl_access(one)),
            f"        }} {_escaped(one.name)}[{one.lsb + one.bits - 1}:{one.lsb}] = "
            f"{one.bits}'h{one.reset:x};",
        ]
    return [*lines, f"    }} {_escaped(register.name)} @ {register.offset:#x};"]


def _rdl_access(one: Field) -> list[str]:
    match one.access:
        case "ro":
            return ["sw = r", "hw = na" if one.constant else "hw = w"]
        case "rw":
            return ["sw = rw", "hw = r"]
        case "w1c":
            return ["sw = rw", "onwrite = woclr", "hw = r", "hwset"]
    return ["sw = w", "hw = r", "singlepulse"]


def _escaped(name: str) -> str:
    """A name that may be a keyword of SystemRDL."""
    return f"\\{name}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _span(lsb: int, bits: int) -> str:
    return f"{lsb}" if bits == 1 else f"{lsb + bits - 1}:{lsb}"
