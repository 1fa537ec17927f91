"""cocotb bench of the sparse array: drives operand streams, records results and their cycles.

It knows no golden model. Cases come in the file named by `HWSIM_CASES` and what the array did goes
to the one named by `HWSIM_RESULTS`; `hwsim.verify` makes the first and judges the second. Words on
the ports are Python integers, packed by the caller.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

_CLOCK_NS = 10


class _Source:
    """Offers word i `gaps[i % len(gaps)]` cycles after word i - 1 was taken, and holds it."""

    def __init__(self, dut: Any, port: str, words: Sequence[int], gaps: Sequence[int]) -> None:
        self.payload = getattr(dut, f"{port}__payload")
        self.valid = getattr(dut, f"{port}__valid")
        self.ready = getattr(dut, f"{port}__ready")
        self.words = words
        self.gaps = gaps or [0]
        self.next = 0
        self.wait = self.gaps[0]
        self.offering = False
        self.valid.value = 0

    def drive(self) -> None:
        """After a clock edge: put the next word out when its gap is over."""
        if self.offering or self.next == len(self.words):
            return
        if self.wait:
            self.wait -= 1
            return
        self.payload.value = self.words[self.next]
        self.valid.value = 1
        self.offering = True

    def sample(self) -> None:
        """At a clock edge: the word is taken if the array was ready."""
        if self.offering and self.ready.value:
            self.next += 1
            self.offering = False
            self.valid.value = 0
            self.wait = self.gaps[self.next % len(self.gaps)]


class _Sink:
    """Is ready for word i `gaps[i % len(gaps)]` cycles after it took word i - 1."""

    def __init__(self, dut: Any, port: str, gaps: Sequence[int]) -> None:
        self.payload = getattr(dut, f"{port}__payload")
        self.valid = getattr(dut, f"{port}__valid")
        self.ready = getattr(dut, f"{port}__ready")
        self.gaps = gaps or [0]
        self.words: list[int] = []
        self.cycles: list[int] = []
        self.wait = self.gaps[0]
        self.open = False
        self.ready.value = 0

    def drive(self) -> None:
        if self.open:
            return
        if self.wait:
            self.wait -= 1
            return
        self.ready.value = 1
        self.open = True

    def sample(self, cycle: int) -> None:
        if self.open and self.valid.value:
            self.words.append(int(self.payload.value))
            self.cycles.append(cycle)
            self.wait = self.gaps[len(self.words) % len(self.gaps)]
            if self.wait:
                self.ready.value = 0
                self.open = False


@cocotb.test()
async def run_cases(dut: Any) -> None:
    """Every case from reset: words in, words out, until all results came or time is up."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    results = [await _run(dut, case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


async def _run(dut: Any, case: dict[str, Any]) -> dict[str, Any]:
    dut.rst.value = 1
    sources = [_Source(dut, port, *case[port]) for port in ("job", "a", "b")]
    sink = _Sink(dut, "z", case["z"])
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    ports: list[_Source | _Sink] = [*sources, sink]
    for port in ports:
        port.drive()
    cycle = 0
    while len(sink.words) < case["expected"] and cycle < case["limit"]:
        await edge
        for source in sources:
            source.sample()
        sink.sample(cycle)
        for port in ports:
            port.drive()
        cycle += 1
    # Nothing may come after the last result.
    extra = 0
    for _ in range(case["watch"]):
        await edge
        extra += int(bool(sink.open and dut.z__valid.value))
    return {"words": sink.words, "cycles": sink.cycles, "extra": extra}
