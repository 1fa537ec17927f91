"""The shell around the least core, a copier: lists from memory, errors, resets, counters."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from axi_designs import Batch
from copy_top import COPY, SPEC, CopyTop

import hwsim.rtl
from hwsim.config_base import BusConfig
from hwsim.models.shell_map import ERRORS, MAGIC, RECORD_VERSION, shell_map
from hwsim.rtl.shell import Shell
from hwsim.rtl.simulator import Build, build, lint
from hwsim.rtl.verilog import component_verilog

BUS = BusConfig(burst_beats=8, outstanding_reads=4)
REGISTERS = shell_map(SPEC, BUS.data_bits)
PAUSES = dict.fromkeys(("ar", "r", "aw", "w", "b"), 0.3)
LIST, SOURCES, TARGETS = 0x1000, 0x2000, 0x6000
IDLE, DONE, ERROR = 1, 4, 8
START, RESET, CLEAR = 1, 2, 4


def _design() -> Build:
    return build(component_verilog({"copy_top": CopyTop(BUS)}), "copy_top")


TOPS = Batch(_design, "bench_shell")


def _at(name: str) -> int:
    return REGISTERS[name].offset


def _read(name: str) -> tuple[str, int]:
    return "read", _at(name)


def _write(name: str, value: int) -> tuple[str, int, int]:
    return "write", _at(name), value


def _record(**fields: int) -> dict[str, int]:
    right = {"magic": MAGIC, "version": RECORD_VERSION, "opcode": 7, "words": 1}
    return {**right, "source": SOURCES, "target": TARGETS, "bytes": 64, **fields}


def _memory(rng: random.Random, records: list[dict[str, int]]) -> tuple[bytearray, bytes]:
    """Memory with a list in it, and what it holds when all records have been carried out."""
    image = bytearray(rng.randbytes(0x10000))
    for i, fields in enumerate(records):
        image[LIST + 64 * i : LIST + 64 * (i + 1)] = COPY.pack(**fields)
    after = bytearray(image)
    for fields in records:
        source, target, size = fields["source"], fields["target"], fields["bytes"]
        after[target : target + size] = after[source : source + size]
    return image, bytes(after)


def _start(count: int, *, enable: int = 7, address: int = LIST) -> list[tuple[Any, ...]]:
    return [
        ("poll", _at("status"), IDLE, IDLE, 200),
        _write("irq_enable", enable),
        _write("list_address_lo", address & 0xFFFFFFFF),
        _write("list_address_hi", address >> 32),
        _write("list_count", count),
        _write("control", START | CLEAR),
    ]


def _case(image: bytes, steps: list[tuple[Any, ...]], seed: int, **memory: Any) -> dict[str, Any]:
    calm = {"pauses": PAUSES, "latency": (0, 20), "write_latency": (0, 20)} if seed % 2 else {}
    return {
        "memory": {"image": image, "outstanding": 4, "seed": seed, **calm, **memory},
        "pauses": 0.3 if seed % 2 else 0.0,
        "steps": steps,
    }


def _list_case(seed: int) -> tuple[dict[str, Any], bytes, list[dict[str, int]]]:
    """A list of copies, some of which read what an earlier one wrote and say so."""
    rng = random.Random(seed)
    records = []
    for i in range(rng.randrange(1, 6)):
        chained = bool(i) and rng.random() < 0.5
        source = TARGETS + 0x1000 * (i - 1) if chained else SOURCES + 8 * rng.randrange(1024)
        size = 8 * rng.randrange(1, 120)
        records.append(
            _record(source=source, target=TARGETS + 0x1000 * i, bytes=size, wait=int(chained))
        )
    image, after = _memory(rng, records)
    steps = [
        *_start(len(records), enable=1),
        ("irq", 20_000),
        _read("status"),
        _read("completed"),
        _read("irq_status"),
        _write("irq_status", 7),
        ("wait", 3),
        _read("irq_status"),
        *(_read(f"count_{name.replace('.', '_')}_lo") for name in SPEC.all_counters),
        _read("count_bus_cycle_hi"),
    ]
    return _case(image, steps, seed), after, records


LISTS = [_list_case(seed) for seed in range(6)]
LIST_KEYS = [TOPS.add(case) for case, *_ in LISTS]


def test_lists_run_from_memory_and_the_counters_agree():
    for key, (_, after, records) in zip(LIST_KEYS, LISTS, strict=True):
        found = TOPS[key]
        assert found["image"] == after
        waited, status, completed, causes, cleared, _, none, *counters = found["answers"][6:]
        assert waited is not None
        assert status == (0, IDLE | DONE)
        assert completed == (0, len(records))
        assert (causes, cleared, none) == ((0, 1), 0, (0, 0))
        cycles, reads, writes, read_bytes, write_bytes, jobs, high = [n for _, n in counters]
        moved = sum(one["bytes"] for one in records)
        assert (read_bytes, write_bytes) == (moved + 64 * len(records), moved)
        assert (read_bytes, write_bytes) == (found["read_bytes"], found["write_bytes"])
        assert (reads, writes) == (len(found["reads"]), len(found["writes"]))
        assert jobs == len(records)
        assert waited - 60 < cycles < waited + 60  # from the write of start to irq
        assert high == 0


def test_a_descriptor_that_waits_reads_what_the_one_before_wrote():
    chains = [
        (TOPS[key]["reads"], TOPS[key]["writes"], records)
        for key, (_, _, records) in zip(LIST_KEYS, LISTS, strict=True)
    ]
    seen = 0
    for reads, writes, records in chains:
        for i, fields in enumerate(records):
            if not fields["wait"]:
                continue
            seen += 1
            first = min(cycle for cycle, address, _ in reads if address == fields["source"])
            low = records[i - 1]["target"]
            last = max(cycle for cycle, a, _ in writes if low <= a < low + records[i - 1]["bytes"])
            assert first > last
    assert seen >= 3


BAD = {
    "magic": {"magic": 0x1234},
    "version": {"version": 2},
    "opcode": {"opcode": 8},
    "alignment of an address": {"source": SOURCES + 4},
    "alignment of a length": {"bytes": 60},
    "an address beyond the bus": {"target": 1 << 40},
    "value": {"words": 0},
    "own": {"fails": 20},
}
BAD_CODES = {
    "alignment of an address": ERRORS["alignment"],
    "alignment of a length": ERRORS["alignment"],
    "an address beyond the bus": ERRORS["alignment"],
    "own": 20,
    **{name: ERRORS[name] for name in ("magic", "version", "opcode", "value")},
}
STATE = [_read(name) for name in ("status", "error", "error_index", "completed", "irq_status")]


def _bad_case(number: int, name: str) -> dict[str, Any]:
    """Two right descriptors, a bad one, one more; then a reset and a right list."""
    records = [
        _record(target=TARGETS + 0x100 * i, source=SOURCES + 0x100 * i, wait=1) for i in range(4)
    ]
    image, _ = _memory(random.Random(number), records)
    image[LIST + 128 : LIST + 192] = COPY.pack(**{**records[2], **BAD[name]})
    steps = [
        *_start(4),
        ("irq", 5000),
        *STATE,
        _write("control", START),  # ignored while halted
        _read("status"),
        _write("irq_status", 7),
        _write("control", RESET),
        *_start(2),
        ("irq", 5000),
        *STATE,
    ]
    return _case(image, steps, number)


BAD_KEYS = {name: TOPS.add(_bad_case(number, name)) for number, name in enumerate(BAD)}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_descriptor_stops_the_list_and_is_reported(name):
    answers = TOPS[BAD_KEYS[name]]["answers"]
    assert answers[6] is not None
    assert answers[7:12] == [(0, ERROR), (0, BAD_CODES[name]), (0, 2), (0, 2), (0, 2)]
    assert answers[13] == (0, ERROR)
    assert answers[22] is not None
    assert answers[23:] == [(0, IDLE | DONE), (0, 0), (0, 0), (0, 2), (0, 1)]


def _bus_error_case(kind: str, where: int, response: int) -> dict[str, Any]:
    records = [_record(), _record(source=SOURCES + 0x400, target=TARGETS + 0x400, bytes=256)]
    image, _ = _memory(random.Random(where), records)
    steps = [
        *_start(2),
        ("irq", 5000),
        *STATE[:3],
        _read("error_address_lo"),
        _read("error_address_hi"),
        ("errors", []),
        _write("irq_status", 7),
        _write("control", RESET),
        *_start(2),
        ("irq", 5000),
        *STATE,
    ]
    return _case(image, steps, 1, errors=[(where, where + 8, response, kind)])


BUS_ERRORS = {
    "descriptor": ("read", LIST + 72, 2, LIST + 72),
    "data": ("read", SOURCES + 0x468, 3, SOURCES + 0x468),
    "result": ("write", TARGETS + 0x448, 2, TARGETS + 0x440),  # its burst of 8 words
}
BUS_ERROR_KEYS = {name: TOPS.add(_bus_error_case(*given[:3])) for name, given in BUS_ERRORS.items()}


@pytest.mark.parametrize("name", BUS_ERRORS)
def test_a_bus_error_stops_the_list_and_is_reported(name):
    kind, _, response, reported = BUS_ERRORS[name]
    answers = TOPS[BUS_ERROR_KEYS[name]]["answers"]
    assert answers[6] is not None
    status, error, index, low, high = answers[7:12]
    assert status == (0, ERROR)
    assert error == (0, ERRORS[f"{kind}_bus"] | response << 8)
    assert index[1] in (0, 1)
    assert (low, high) == ((0, reported), (0, 0))
    assert answers[-5:] == [(0, IDLE | DONE), (0, 0), (0, 0), (0, 2), (0, 1)]


def _list_errors() -> dict[str, Any]:
    image, _ = _memory(random.Random(1), [_record()])
    return _case(
        image,
        [
            *_start(0),
            ("irq", 100),
            _read("error"),
            _write("control", RESET),
            *_start(1, address=LIST + 4),
            _read("error"),
            _write("control", RESET),
            *_start(1, address=LIST + (1 << 40)),
            _read("error"),
        ],
        2,
    )


LIST_ERRORS = TOPS.add(_list_errors())


def test_a_list_that_cannot_be_is_refused():
    found = TOPS[LIST_ERRORS]
    errors = [answer for answer in found["answers"] if isinstance(answer, tuple)]
    assert errors == [(0, ERRORS["list"])] * 3
    assert found["reads"] == []


def _timeout_case(seed: int) -> dict[str, Any]:
    """A memory that takes 600 cycles to answer, and less patience; then more of it."""
    image, _ = _memory(random.Random(seed), [_record()])
    steps = [
        _write("timeout", 400),
        *_start(1),
        ("irq", 5000),
        *STATE,
        _write("irq_status", 7),
        _write("control", RESET),
        ("poll", _at("status"), IDLE, IDLE, 2000),
        _write("timeout", 700 if seed else 0),  # 0: never
        *_start(1),
        ("irq", 5000),
        *STATE,
    ]
    return _case(image, steps, 2 * seed, latency=(600, 600), write_latency=(600, 600))


TIMEOUT_KEYS = [TOPS.add(_timeout_case(seed)) for seed in range(2)]


def test_a_list_in_which_nothing_moves_stops_after_the_timeout():
    for key in TIMEOUT_KEYS:
        answers = TOPS[key]["answers"]
        assert answers[7] < 400 + 60  # interrupt: the timeout and the way there
        assert answers[8:13] == [(0, ERROR), (0, ERRORS["timeout"]), (0, 0), (0, 0), (0, 2)]
        assert answers[-5:] == [(0, IDLE | DONE), (0, 0), (0, 0), (0, 1), (0, 1)]


def _reset_case(seed: int) -> tuple[dict[str, Any], bytes]:
    """Soft reset at any time in traffic, then a right run of another list."""
    rng = random.Random(seed)
    records = [
        _record(source=SOURCES + 0x800 * i, target=TARGETS + 0x800 * i, bytes=1024)
        for i in range(4)
    ]
    other = [_record(source=SOURCES + 8 * rng.randrange(512), target=0xF000, bytes=768)]
    image, _ = _memory(rng, records)
    image[LIST + 0x800 : LIST + 0x840] = COPY.pack(**other[0])
    wanted = bytes(image[other[0]["source"] : other[0]["source"] + 768])
    steps = [
        *_start(4),
        ("wait", rng.randrange(1, 300)),
        _write("control", RESET),
        *_start(1, address=LIST + 0x800),
        ("irq", 5000),
        *STATE,
    ]
    return _case(image, steps, seed), wanted


RESETS = [_reset_case(seed) for seed in range(12)]
RESET_KEYS = [TOPS.add(case) for case, _ in RESETS]


def test_a_soft_reset_in_traffic_keeps_the_bus_s_rules_and_a_right_run_follows():
    for key, (_, wanted) in zip(RESET_KEYS, RESETS, strict=True):
        found = TOPS[key]
        assert found["answers"][-6] is not None
        assert found["answers"][-5:] == [(0, IDLE | DONE), (0, 0), (0, 0), (0, 1), (0, 1)]
        assert found["image"][0xF000 : 0xF000 + 768] == wanted


ACCESSES = TOPS.add(
    _case(
        bytes(4096),
        [
            _read("scratch"),
            _write("scratch", 0x11223344),
            ("write", _at("scratch"), 0xAABBCCDD, 0b0101),
            _read("scratch"),
            ("read", 0xFFC),
            ("write", 0xFFC, 1),
            ("write", _at("id"), 0xFFFFFFFF),
            _read("id"),
            _read("version"),
            _read("config_hash"),
            _read("build"),
            _read("control"),
        ],
        3,
    )
)


def test_registers_keep_axi4_lite_and_the_map():
    assert TOPS[ACCESSES]["answers"] == [
        (0, 5),
        0,
        0,
        (0, 0x11BB33DD),
        (2, 0),
        2,
        0,
        (0, MAGIC << 16 | 1),
        (0, 0x010203),
        (0, 0x89ABCDEF),
        (0, REGISTERS["build"].reset),
        (0, 0),
    ]


def _interrupts() -> dict[str, Any]:
    records = [_record(target=TARGETS + 0x100 * i, irq=int(i == 1)) for i in range(3)]
    image, _ = _memory(random.Random(4), records)
    steps = [*_start(3, enable=4), ("irq", 5000), _read("irq_status"), ("wait", 400)]
    return _case(image, [*steps, _read("irq_status")], 2)


INTERRUPTS = TOPS.add(_interrupts())


def test_a_descriptor_may_interrupt_before_the_list_is_done():
    answers = TOPS[INTERRUPTS]["answers"]
    assert answers[6] is not None
    assert answers[7][1] & 4
    assert answers[-1] == (0, 0b101)


@pytest.mark.parametrize(
    ("bus", "readers", "writers"),
    [
        pytest.param(BUS, 2, 1, marks=pytest.mark.slow),
        (BusConfig(data_bits=512, burst_beats=1, outstanding_reads=1), 0, 0),
        pytest.param(BusConfig(data_bits=32, burst_beats=256), 1, 2, marks=pytest.mark.slow),
    ],
)
def test_lint_is_clean_with_the_waivers(bus, readers, writers):
    shell = Shell(SPEC, bus, readers=readers, writers=writers)
    waivers = Path(hwsim.rtl.__file__).with_name("lint.vlt")
    assert lint(component_verilog({"shell_top": shell}), "shell_top", waivers) == ""
