"""Designs and cases of the AXI parts, shared by their tests."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.models.bus_words import pack_beats, words_per_beat
from hwsim.rtl.axi_read import ReadEngine
from hwsim.rtl.axi_write import WriteEngine
from hwsim.rtl.simulator import Build, build
from hwsim.rtl.verilog import component_verilog
from hwsim.rtl.width import COUNT_BITS, BeatsToWords, WordsToBeats

__all__ = [
    "BUS",
    "WIDTHS",
    "Batch",
    "command",
    "read_case",
    "read_design",
    "run_bench",
    "width_cases",
    "width_design",
    "words_of",
    "write_case",
    "write_design",
]

BUS = BusConfig(burst_beats=8, outstanding_reads=4)
WIDTHS = {"third": (20, 64), "same": (33, 64), "tiny": (3, 32), "wide": (100, 32), "odd": (65, 64)}
"""Name -> (beat bits, bus bits)."""


class _AllWidths(wiring.Component):
    """Converters of all `WIDTHS` side by side, so that one build serves them all."""

    def __init__(self) -> None:
        members = {}
        for name, (beat, bus) in WIDTHS.items():
            members |= {
                f"{name}_run": In(stream.Signature(COUNT_BITS)),
                f"{name}_words": In(stream.Signature(bus)),
                f"{name}_cut": Out(stream.Signature(beat + 1)),
                f"{name}_beats": In(stream.Signature(beat + 1)),
                f"{name}_packed": Out(stream.Signature(bus + 1)),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, (beat, bus) in WIDTHS.items():
            m.submodules[f"{name}_cutter"] = cutter = WordsToBeats(bus, beat)
            m.submodules[f"{name}_packer"] = packer = BeatsToWords(beat, bus)
            for source, sink in (
                (getattr(self, f"{name}_run"), cutter.run),
                (getattr(self, f"{name}_words"), cutter.i),
                (cutter.o, getattr(self, f"{name}_cut")),
                (getattr(self, f"{name}_beats"), packer.i),
                (packer.o, getattr(self, f"{name}_packed")),
            ):
                m.d.comb += [
                    _bits(sink.payload).eq(_bits(source.payload)),
                    sink.valid.eq(source.valid),
                    source.ready.eq(sink.ready),
                ]
        return m


def _bits(payload: Any) -> Any:
    from amaranth.hdl import Value

    return Value.cast(payload)


def width_design() -> Build:
    return build(component_verilog({"width_top": _AllWidths()}), "width_top")


def read_design(bus: BusConfig = BUS, clients: int = 2, queue: int | None = None) -> Build:
    return build(component_verilog({"read_top": ReadEngine(bus, clients, queue)}), "read_top")


def write_design(bus: BusConfig = BUS, clients: int = 2) -> Build:
    return build(component_verilog({"write_top": WriteEngine(bus, clients)}), "write_top")


def run_bench(made: Build, bench: str, cases: list[dict[str, Any]]) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "cases", Path(folder) / "results"
        given.write_bytes(pickle.dumps(cases))
        made.run(f"hwsim.rtl.{bench}", {"HWSIM_CASES": str(given), "HWSIM_RESULTS": str(found)})
        return pickle.loads(found.read_bytes())


class Batch:
    """Cases that are added while a module is imported and run in one process when first asked for.

    A simulator's start takes longer than a case.
    """

    def __init__(self, design: Callable[[], Build], bench: str) -> None:
        self._design, self._bench = design, bench
        self._cases: list[dict[str, Any]] = []
        self._results: list[Any] = []

    def add(self, case: dict[str, Any]) -> int:
        assert not self._results, "the batch has been run"
        self._cases.append(case)
        return len(self._cases) - 1

    def __getitem__(self, number: int) -> Any:
        if not self._results:
            self._results = run_bench(self._design(), self._bench, self._cases)
        return self._results[number]


def command(bus: BusConfig, address: int, size: int) -> int:
    return address | size << bus.address_bits


def words_of(bus: BusConfig, image: bytes) -> list[int]:
    word = bus.data_bits // 8
    padded = image + bytes(-len(image) % word)
    return [int.from_bytes(padded[i : i + word], "little") for i in range(0, len(padded), word)]


def read_case(
    bus: BusConfig,
    image: bytes,
    transfers: list[list[tuple[int, int]]],
    gaps: list[int],
    **memory: Any,
) -> tuple[dict[str, Any], list[list[int]]]:
    """A case of a read engine, and the words that each client shall get."""
    wanted = []
    for mine in transfers:
        words = []
        for address, size in mine:
            whole = -(-size // (bus.data_bits // 8)) * (bus.data_bits // 8)
            found = words_of(bus, image[address : address + whole])
            words += [one | (i == len(found) - 1) << bus.data_bits for i, one in enumerate(found)]
        wanted.append(words)
    phase = {
        "sources": {
            f"command__{i}": ([command(bus, *one) for one in mine], gaps)
            for i, mine in enumerate(transfers)
        },
        "sinks": {f"data__{i}": (len(words), gaps) for i, words in enumerate(wanted)},
        "limit": 200_000,
    }
    memory = {"image": image, "outstanding": bus.outstanding_reads, **memory}
    return {"memory": memory, "phases": [phase]}, wanted


def write_case(
    bus: BusConfig,
    image: bytes,
    transfers: list[list[tuple[int, bytes]]],
    gaps: list[int],
    **memory: Any,
) -> tuple[dict[str, Any], bytes]:
    """A case of a write engine, and the memory's bytes behind it; transfers do not overlap."""
    wanted = bytearray(image)
    sources = {}
    for i, mine in enumerate(transfers):
        for address, data in mine:
            wanted[address : address + len(data)] = data
        sources[f"command__{i}"] = ([command(bus, a, len(data)) for a, data in mine], gaps)
        words = [word for _, data in mine for word in words_of(bus, data)]
        sources[f"data__{i}"] = (words, gaps)
    phase = {"sources": sources, "sinks": {}, "limit": 200_000}
    memory = {"image": image, "outstanding": bus.outstanding_reads, **memory}
    return {"memory": memory, "phases": [phase]}, bytes(wanted)


def width_cases(
    runs: dict[str, list[list[int]]], gaps: list[int]
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """A case of `width_design` from runs of beats by converter, and what shall come out."""
    sources, wanted = {}, {}
    for name, mine in runs.items():
        beat, bus = WIDTHS[name]
        beats, words, packed = [], [], []
        for run in mine:
            beats += [value | (i == len(run) - 1) << beat for i, value in enumerate(run)]
            image = pack_beats(run, beat, bus).tobytes()
            here = [
                int.from_bytes(image[i : i + bus // 8], "little")
                for i in range(0, len(image), bus // 8)
            ]
            words += here
            packed += [value | (i == len(here) - 1) << bus for i, value in enumerate(here)]
        assert words_per_beat(beat, bus) == 1 or len(words) >= len(beats)
        sources |= {
            f"{name}_run": ([len(run) for run in mine], gaps),
            f"{name}_words": (words, gaps),
            f"{name}_beats": (beats, gaps),
        }
        wanted |= {f"{name}_cut": beats, f"{name}_packed": packed}
    case = {
        "set": {},
        "sources": sources,
        "sinks": {name: (len(words), gaps) for name, words in wanted.items()},
        "limit": 100_000,
        "watch": 10,
    }
    return case, wanted
