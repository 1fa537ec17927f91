"""cocotb bench of any component with stream ports: drives words, records results and their cycles.

It knows no golden model. Cases come in the file named by `HWSIM_CASES` and what the component did
goes to the one named by `HWSIM_RESULTS`, both pickled lists. A case is a dictionary:

    set      {port: value} plain inputs, held for the case
    sources  {port: (words, gaps)} streams in; words are integers, packed by the caller
    sinks    {port: (count, gaps)} streams out, with the words that are expected
    limit    cycles after which the case is given up
    watch    cycles after the last result in which nothing may follow

and its result {port: {"words", "cycles", "extra"}} for each sink. A source offers word i
`gaps[i % len(gaps)]` cycles after word i - 1 was taken; a sink is ready for word i as many cycles
after it took word i - 1.
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

__all__ = ["Sink", "Source", "run_cases"]

_CLOCK_NS = 10


class Source:
    """Offers the words of a stream, one after the other, and holds each until it is taken."""

    def __init__(self, dut: Any, port: str, words: Sequence[int], gaps: Sequence[int]) -> None:
        self.payload = getattr(dut, f"{port}__payload")
        self.valid = getattr(dut, f"{port}__valid")
        self.ready = getattr(dut, f"{port}__ready")
        self.words = words
        self.gaps = list(gaps) or [0]
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
        """At a clock edge: the word is taken if the component was ready."""
        if self.offering and self.ready.value:
            self.next += 1
            self.offering = False
            self.valid.value = 0
            self.wait = self.gaps[self.next % len(self.gaps)]


class Sink:
    """Takes the words of a stream."""

    def __init__(self, dut: Any, port: str, gaps: Sequence[int]) -> None:
        self.payload = getattr(dut, f"{port}__payload")
        self.valid = getattr(dut, f"{port}__valid")
        self.ready = getattr(dut, f"{port}__ready")
        self.gaps = list(gaps) or [0]
        self.words: list[int] = []
        self.cycles: list[int] = []
        self.wait = self.gaps[0]
        self.open = False
        self.ready.value = 0

    def drive(self) -> None:
        """After a clock edge: become ready when the gap is over."""
        if self.open:
            return
        if self.wait:
            self.wait -= 1
            return
        self.ready.value = 1
        self.open = True

    def sample(self, cycle: int) -> None:
        """At a clock edge: take the word if there is one."""
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


async def _run(dut: Any, case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    dut.rst.value = 1
    for name, value in case["set"].items():
        getattr(dut, name).value = value
    sources = [Source(dut, port, *given) for port, given in case["sources"].items()]
    sinks = {port: Sink(dut, port, gaps) for port, (_, gaps) in case["sinks"].items()}
    expected = {port: count for port, (count, _) in case["sinks"].items()}
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    ports: list[Source | Sink] = [*sources, *sinks.values()]
    for port in ports:
        port.drive()
    cycle = 0
    while cycle < case["limit"]:
        if all(len(sink.words) >= expected[name] for name, sink in sinks.items()):
            break
        await edge
        for source in sources:
            source.sample()
        for sink in sinks.values():
            sink.sample(cycle)
        for port in ports:
            port.drive()
        cycle += 1
    # Nothing may come after the last result; `valid` counts, whether or not it would be taken.
    extra = dict.fromkeys(sinks, 0)
    for _ in range(case["watch"]):
        await edge
        for name, sink in sinks.items():
            extra[name] += int(bool(sink.valid.value))
    return {
        name: {"words": sink.words, "cycles": sink.cycles, "extra": extra[name]}
        for name, sink in sinks.items()
    }
