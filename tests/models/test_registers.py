"""Register maps and records: rules, files, and an independent reader of the SystemRDL."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from copy_top import COPY, SPEC
from hypothesis import given, settings
from hypothesis import strategies as st
from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode

from hwsim.models.register_files import c_header, markdown, python_module, shell_files, systemrdl
from hwsim.models.registers import Field, Layout, LayoutField, Register, RegisterMap
from hwsim.models.shell_map import (
    COUNTER_BASE,
    MAGIC,
    RECORD_VERSION,
    ShellSpec,
    config_hash,
    descriptor,
    packed_version,
    shell_map,
)

SIMPLE = Field(name="value", bits=32)
NAMES = st.sampled_from(["start", "reg", "field", "default", "a", "irq_1", "alias", "value"])


@st.composite
def register_maps(draw):
    """Any fields without overlap, among them names that are keywords of SystemRDL."""
    registers = []
    offset = 0
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        offset += 4 * draw(st.integers(1, 9))
        fields, lsb = [], 0
        for inner in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
            lsb += draw(st.integers(0, 2))
            access = draw(st.sampled_from(["ro", "rw", "w1c", "wo"]))
            bits = 1 if access == "wo" else draw(st.integers(1, 5))
            reset = 0 if access == "wo" else draw(st.integers(0, 2**bits - 1))
            constant = access == "ro" and draw(st.booleans())
            fields.append(
                Field(name=inner, lsb=lsb, bits=bits, access=access, reset=reset,
                      constant=constant, description='a "b" \\ c')
            )  # fmt: skip
            lsb += bits
        registers.append(Register(name=name, offset=offset - 4, fields=tuple(fields)))
    return RegisterMap(name="device", registers=tuple(registers), description="A device.")


def _read_rdl(text: str, folder) -> AddrmapNode:
    source = folder / "map.rdl"
    source.write_text(text, encoding="utf-8")
    compiler = RDLCompiler()
    compiler.compile_file(str(source))
    return compiler.elaborate().top


@settings(max_examples=5)
@given(register_maps())
def test_an_independent_reader_finds_the_same_registers(tmp_path_factory, registers):
    top = _read_rdl(systemrdl(registers), tmp_path_factory.mktemp("rdl"))
    found = list(top.registers())
    assert [(one.inst_name, one.absolute_address) for one in found] == [
        (one.name, one.offset) for one in registers.registers
    ]
    for node, one in zip(found, registers.registers, strict=True):
        parts = {part.inst_name: part for part in node.fields()}
        assert set(parts) == {field.name for field in one.fields}
        for field in one.fields:
            part = parts[field.name]
            assert (part.lsb, part.width) == (field.lsb, field.bits)
            assert part.get_property("reset") == field.reset
            assert part.is_sw_writable == (field.access != "ro")
            assert part.is_sw_readable == (field.access != "wo")
            assert part.is_hw_writable == (field.access == "ro" and not field.constant)
            assert bool(part.get_property("hwset")) == (field.access == "w1c")
            assert bool(part.get_property("singlepulse")) == (field.access == "wo")


def test_a_top_s_files_agree_with_each_other(tmp_path):
    files = shell_files(SPEC, 64)
    assert list(files) == [
        "registers.md", "sat_registers.h", "sat_registers.py", "sat_registers.rdl",
    ]  # fmt: skip
    registers = shell_map(SPEC, 64)
    top = _read_rdl(files["sat_registers.rdl"], tmp_path)
    assert {one.inst_name: one.absolute_address for one in top.registers()} == {
        one.name: one.offset for one in registers.registers
    }
    made: dict = {}
    exec(files["sat_registers.py"], made)
    assert made["REGISTERS"] == {one.name: one.offset for one in registers.registers}
    assert made["FIELDS"]["error"] == {"code": (0, 8), "response": (8, 2)}
    assert made["OPCODE"] == {"copy": 7}
    assert made["ERROR"]["own"] == 20
    assert made["ERROR"]["read_bus"] == 8
    header = dict(re.findall(r"#define (\w+) (0x[0-9a-f]+)u", files["sat_registers.h"]))
    for one in registers.registers:
        assert int(header[f"SAT_{one.name.upper()}"], 16) == one.offset
        assert f"| {one.offset:#05x} | `{one.name}` |" in files["registers.md"]


RECORDS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 70), st.booleans()), min_size=1, max_size=6
)


@given(st.data(), RECORDS)
def test_records_come_back_and_the_python_module_packs_the_same(data, places):
    fields, bit = [], 0
    for i, (gap, bits, signed) in enumerate(places):
        fields.append(LayoutField(name=f"f{i}", bit=bit + gap, bits=bits, signed=signed))
        bit += gap + bits
    layout = Layout(name="record", size_bytes=64, fields=tuple(fields))
    values = {}
    for one in fields:
        low = -(1 << one.bits - 1) if one.signed else 0
        values[one.name] = data.draw(st.integers(low, low + (1 << one.bits) - 1))
    packed = layout.pack(**values)
    assert layout.unpack(packed) == values
    registers = RegisterMap(
        name="device", registers=(Register(name="a", offset=0, fields=(SIMPLE,)),)
    )
    made: dict = {}
    exec(python_module(registers, [layout]), made)
    assert made["pack"]("record", **values) == packed


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_the_c_header_packs_the_same(tmp_path):
    files = shell_files(SPEC, 64)
    (tmp_path / "sat_registers.h").write_text(files["sat_registers.h"], encoding="utf-8")
    values = {"magic": MAGIC, "opcode": 7, "source": 0x12_3456_789A_BCD8, "bytes": 4096}
    puts = "\n".join(
        f"sat_put(record, SAT_COPY_{name.upper()}_BIT, SAT_COPY_{name.upper()}_BITS, {value}ull);"
        for name, value in values.items()
    )
    (tmp_path / "main.c").write_text(
        f'#include <stdio.h>\n#include "sat_registers.h"\nint main(void) {{\n'
        f"uint32_t record[SAT_COPY_BYTES / 4] = {{0}};\n{puts}\n"
        "fwrite(record, 1, SAT_COPY_BYTES, stdout); return 0; }\n",
        encoding="utf-8",
    )
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, check=True)
    assert done.stdout == COPY.pack(**values)


def test_the_shell_s_map():
    registers = shell_map(SPEC, 128)
    assert registers.size_bytes == 4096
    assert registers["id"].reset == MAGIC << 16 | 1
    assert registers["build"].reset == 6 << 24 | RECORD_VERSION << 20 | 64 << 8 | 16
    assert registers["version"].reset == packed_version("1.2.3") == 0x010203
    assert registers["count_sat_stce_job_lo"].offset == COUNTER_BASE + 8 * 5
    assert registers["scratch"].offset == 0x400
    assert "unit job" in registers["count_sat_stce_job_lo"].description
    assert packed_version("0.4.dev1") == 0x000401
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    assert config_hash({"a": 1, "b": 2}) != config_hash({"a": 1, "b": 3})


def test_what_breaks_a_rule_is_refused():
    with pytest.raises(ValueError, match=r"value: 0 <= lsb and lsb \+ bits <= 32 must hold"):
        Field(name="value", lsb=1, bits=32)
    with pytest.raises(ValueError, match="name must be a lower-case identifier, but got 'A'"):
        Field(name="A")
    with pytest.raises(ValueError, match="a: access must be one of ro, rw, w1c, wo, but got 'x'"):
        Field(name="a", access="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a: reset must have 1 bits, but got 2"):
        Field(name="a", reset=2)
    with pytest.raises(ValueError, match="a: a pulse is one bit that resets to 0, but got 2 bits"):
        Field(name="a", bits=2, access="wo")
    with pytest.raises(ValueError, match="a: a constant is ro, but got rw"):
        Field(name="a", access="rw", constant=True)
    with pytest.raises(ValueError, match="r: offset must be a multiple of 4, but got 0x2"):
        Register(name="r", offset=2, fields=(SIMPLE,))
    with pytest.raises(ValueError, match="r: field b overlaps another"):
        Register(name="r", offset=0, fields=(SIMPLE, Field(name="b")))
    with pytest.raises(ValueError, match=r"m: offsets must be there and rise, but got \[4, 0\]"):
        RegisterMap(
            name="m",
            registers=tuple(Register(name=f"r{o}", offset=o, fields=(SIMPLE,)) for o in (4, 0)),
        )
    with pytest.raises(ValueError, match="l: field a must lie in the record"):
        Layout(name="l", size_bytes=4, fields=(LayoutField(name="a", bit=30, bits=3),))
    with pytest.raises(ValueError, match="l: size_bytes must be a power of two, but got 5"):
        Layout(name="l", size_bytes=5, fields=())
    with pytest.raises(ValueError, match=r"copy.fails: 0 <= value < 256 must hold, but got 256"):
        COPY.pack(fails=256)
    with pytest.raises(ValueError, match="copy has no field 'other'"):
        COPY.pack(other=1)
    with pytest.raises(ValueError, match="copy has 64 bytes, but got 3"):
        COPY.unpack(b"abc")


def test_a_family_s_part_is_checked():
    with pytest.raises(ValueError, match="kind must be one of sat, spgemm, delta, but got 'x'"):
        ShellSpec(kind="x", records={"copy": (1, COPY)})
    with pytest.raises(ValueError, match="sat: a record has 64 bytes or more, but got 32"):
        ShellSpec(kind="sat", records={"a": (1, descriptor("a", 32, ()))})
    with pytest.raises(ValueError, match="sat: all records must have one size"):
        ShellSpec(kind="sat", records={"a": (1, COPY), "b": (2, descriptor("b", 128, ()))})
    with pytest.raises(ValueError, match=r"there is no counter 'sat\.none'"):
        ShellSpec(kind="sat", records={"copy": (1, COPY)}, counters={"sat.none": 1})
    with pytest.raises(ValueError, match="error own: 16 <= code < 256 must hold, but got 3"):
        ShellSpec(kind="sat", records={"copy": (1, COPY)}, errors={"own": 3})


def test_files_without_records():
    registers = RegisterMap(
        name="device", registers=(Register(name="a", offset=0, fields=(SIMPLE,)),)
    )
    assert "_put" not in c_header(registers)
    assert "## Record" not in markdown(registers)
    assert registers["a"].field("value") is SIMPLE
    with pytest.raises(KeyError, match="register a has no field 'b'"):
        registers["a"].field("b")
    with pytest.raises(KeyError, match="device has no register 'b'"):
        registers["b"]
