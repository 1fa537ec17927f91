"""Readers of runs and pairs, writers of records, by themselves, under random stalls."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.models.bus_words import pack_beats
from hwsim.rtl.simulator import build
from hwsim.rtl.spgemm_axi_parts import PairReader, ResultWriter, RunReader
from hwsim.rtl.verilog import component_verilog

BUSES = {bits: BusConfig(data_bits=bits, burst_beats=4, outstanding_reads=2) for bits in
         (32, 64, 128)}  # fmt: skip
READERS = [(bits, size) for bits in BUSES for size in (4, 8)]
RECORDS = [(32, 79), (64, 60), (64, 67), (128, 43)]
INDEX_BITS = 12
BASE = 0x3000


class Units(wiring.Component):
    """All units side by side, in one build."""

    def __init__(self):
        self.units = {f"run{bits}_{size}_": RunReader(BUSES[bits], size) for bits, size in READERS}
        self.units |= {f"pair{bits}_": PairReader(bus, INDEX_BITS) for bits, bus in BUSES.items()}
        self.units |= {
            f"write{bus}_{bits}_": ResultWriter(BUSES[bus], bits) for bus, bits in RECORDS
        }
        members = {}
        for name, unit in self.units.items():
            for port, member in unit.signature.members.items():
                if port not in ("base", "size"):
                    members[name + port] = member
        super().__init__({"size": In(32), **members, "any_full": Out(1)})

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            m.d.comb += unit.base.eq(BASE)
            for port, member in unit.signature.members.items():
                if port == "size":
                    m.d.comb += unit.size.eq(self.size)
                elif port != "base":
                    outer, inner = getattr(self, name + port), getattr(unit, port)
                    if member.is_signature:
                        ends = (inner, wiring.flipped(outer))
                        wiring.connect(m, *ends)
                    elif member.flow is Out:
                        m.d.comb += outer.eq(inner)
                    else:
                        m.d.comb += inner.eq(outer)
        full = [unit.full for name, unit in self.units.items() if name.startswith("write")]
        m.d.comb += self.any_full.eq(sum(full) != 0)
        return m


@pytest.fixture(scope="module")
def units():
    return build(component_verilog({"units": Units()}), "units")


def gaps(rng):
    return rng.integers(0, 4, int(rng.integers(1, 9))).tolist() if rng.integers(0, 3) else []


def run(made, tmp_path, cases):
    source, target = tmp_path / "cases", tmp_path / "results"
    source.write_bytes(pickle.dumps(cases))
    env = {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)}
    made.run("hwsim.rtl.bench_stream", env)
    return pickle.loads(target.read_bytes())


def words_of(memory, address, size, bus):
    """Bus words from `address` on that hold `size` bytes, as numbers; whole words."""
    step = bus // 8
    count = -(-size // step)
    part = memory[address - BASE : address - BASE + count * step].tobytes()
    return [int.from_bytes(part[i : i + step], "little") for i in range(0, len(part), step)]


@pytest.mark.xdist_group("rtl-spgemm-axi")
def test_runs_and_pairs_come_out_of_the_words_that_were_asked_for(units, tmp_path):
    rng = np.random.default_rng(5)
    memory = rng.integers(0, 256, 1 << 14).astype(np.uint8)
    cases, expected = [], []
    for _ in range(12):
        case = {"set": {"size": 0}, "sources": {}, "sinks": {}, "limit": 20000, "watch": 10}
        want = {}
        for bits, size in READERS:
            count = int(rng.integers(1, 20))
            starts, lengths = rng.integers(0, 900, count), rng.integers(1, 12, count)
            name, each = f"run{bits}_{size}_", max(1, bits // 8 // size)
            commands, words, elements = [], [], []
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                first = start - start % each
                address, extent = BASE + first * size, (start - first + length) * size
                commands.append(address | extent << 40)
                words += words_of(memory, address, extent, bits)
                view = memory.view(f"<u{size}")
                elements += view[start : start + length].tolist()
            asks = [s | n << 32 for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
            case["sources"][name + "request"] = (asks, gaps(rng))
            case["sources"][name + "read_data"] = (words, gaps(rng))
            case["sinks"][name + "read"] = (count, gaps(rng))
            case["sinks"][name + "o"] = (len(elements), gaps(rng))
            want |= {name + "read": commands, name + "o": elements}
        for bits in BUSES:
            count = int(rng.integers(1, 40))
            rows = rng.integers(0, 1 << INDEX_BITS - 1, count).tolist()
            name, each = f"pair{bits}_", bits // 32
            commands, words = [], []
            for k in rows:
                first = k - k % each
                extent = (k - first + 2) * 4
                commands.append(BASE + first * 4 | extent << 40)
                words += words_of(memory, BASE + first * 4, extent, bits)
            pointers = memory.view("<u4").tolist()
            case["sources"][name + "request"] = (rows, gaps(rng))
            case["sources"][name + "read_data"] = (words, gaps(rng))
            case["sinks"][name + "read"] = (count, gaps(rng))
            case["sinks"][name + "o"] = (count, gaps(rng))
            want[name + "read"] = commands
            want[name + "o"] = [pointers[k] | pointers[k + 1] << 32 for k in rows]
        cases.append(case)
        expected.append(want)
    for want, found in zip(expected, run(units, tmp_path, cases), strict=True):
        for port, values in want.items():
            assert found[port]["words"] == values, port
            assert not found[port]["extra"], port


@pytest.mark.xdist_group("rtl-spgemm-axi")
def test_records_become_bursts_and_end_at_the_regions_end(units, tmp_path):
    """Data are what `pack_beats` says, commands cover them; nothing goes beyond the region."""
    rng = np.random.default_rng(6)
    cases, expected = [], []
    for number in range(8):
        small = number % 2 == 1  # a region that is too small
        size = 64 if small else 1 << 14
        case = {"set": {"size": size}, "sources": {}, "sinks": {}, "limit": 3000, "watch": 30}
        want = {}
        for bus, bits in RECORDS:
            count = 40 if small else int(rng.integers(1, 30))
            records = [int.from_bytes(rng.bytes(10), "little") >> 80 - bits for _ in range(count)]
            image = pack_beats(records, bits, bus)
            step = bus // 8
            whole = [int.from_bytes(image[i : i + step].tobytes(), "little")
                     for i in range(0, len(image), step)][: size // step]  # fmt: skip
            ends = sorted({*range(4, len(whole) + 1, 4), len(whole)})
            commands = [
                BASE + begin * step | (end - begin) * step << 40
                for begin, end in zip([0, *ends], ends, strict=False)
            ]
            name = f"write{bus}_{bits}_"
            beats = [r | (i == count - 1) << bits for i, r in enumerate(records)]
            case["sources"][name + "i"] = (beats, gaps(rng))
            case["sinks"][name + "write"] = (len(commands), gaps(rng))
            case["sinks"][name + "write_data"] = (len(whole), gaps(rng))
            want |= {name + "write": commands, name + "write_data": whole}
        cases.append(case)
        expected.append(want)
    for want, found in zip(expected, run(units, tmp_path, cases), strict=True):
        for port, values in want.items():
            assert found[port]["words"] == values, port
            assert not found[port]["extra"], port
