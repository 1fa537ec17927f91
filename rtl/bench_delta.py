"""cocotb bench of the delta engines: streams as `hwsim.rtl.bench_stream`, and memories of weights.

It knows no golden model. Cases come in the file named by `HWSIM_CASES`, results go to the one
named by `HWSIM_RESULTS`, both pickled lists. A case is one of `hwsim.rtl.bench_stream` with one
more entry,

    memories  {(request port, response port): (words, request gaps, latency, response gaps)}

and its result has, for each request port, the numbers that were asked for. A memory takes request
i `request gaps[i % n]` cycles after the one before; it offers the word from `latency` cycles after
that, and no earlier than `response gaps[i % n]` cycles after the word before was taken.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwsim.rtl.bench_stream import Sink, Source

__all__ = ["Memory", "run_cases"]

_CLOCK_NS = 10


class Memory:
    """Words behind a stream of requests and a stream of answers."""

    def __init__(
        self,
        dut: Any,
        ports: tuple[str, str],
        words: Sequence[int],
        request_gaps: Sequence[int],
        latency: int,
        response_gaps: Sequence[int],
    ) -> None:
        request, response = ports
        self.asked = getattr(dut, f"{request}__payload")
        self.asked_valid = getattr(dut, f"{request}__valid")
        self.asked_ready = getattr(dut, f"{request}__ready")
        self.payload = getattr(dut, f"{response}__payload")
        self.valid = getattr(dut, f"{response}__valid")
        self.ready = getattr(dut, f"{response}__ready")
        self.words = words
        self.request_gaps = list(request_gaps) or [0]
        self.response_gaps = list(response_gaps) or [0]
        self.latency = latency
        self.requests: list[int] = []
        self.pending: deque[int] = deque()  # cycles from which the answers may come
        self.given = 0
        self.take_from = self.request_gaps[0]
        self.give_from = self.response_gaps[0]
        self.open = self.offering = False
        self.asked_ready.value = 0
        self.valid.value = 0

    def drive(self, cycle: int) -> None:
        """Before cycle `cycle`: open for a request, offer a word."""
        if not self.open and cycle >= self.take_from:
            self.asked_ready.value = 1
            self.open = True
        if (
            not self.offering
            and self.pending
            and cycle >= self.give_from
            and cycle >= self.pending[0]
        ):
            self.payload.value = self.words[self.requests[self.given]]
            self.valid.value = 1
            self.offering = True

    def sample(self, cycle: int) -> None:
        """At the end of cycle `cycle`."""
        if self.offering and self.ready.value:
            self.pending.popleft()
            self.given += 1
            self.give_from = cycle + 1 + self.response_gaps[self.given % len(self.response_gaps)]
            self.offering = False
            if not (self.pending and self.pending[0] <= cycle + 1 and self.give_from <= cycle + 1):
                self.valid.value = 0
        if self.open and self.asked_valid.value:
            number = int(self.asked.value)
            if number >= len(self.words):
                raise AssertionError(
                    f"cycle {cycle}: word {number} of {len(self.words)} was asked for"
                )
            self.requests.append(number)
            self.pending.append(cycle + self.latency)
            gap = self.request_gaps[len(self.requests) % len(self.request_gaps)]
            self.take_from = cycle + 1 + gap
            if gap:
                self.asked_ready.value = 0
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
    for name, value in case["set"].items():
        getattr(dut, name).value = value
    sources = [Source(dut, port, *given) for port, given in case["sources"].items()]
    sinks = {port: Sink(dut, port, gaps) for port, (_, gaps) in case["sinks"].items()}
    memories = {ports[0]: Memory(dut, ports, *given) for ports, given in case["memories"].items()}
    expected = {port: count for port, (count, _) in case["sinks"].items()}
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    ports: list[Source | Sink] = [*sources, *sinks.values()]
    for port in ports:
        port.drive()
    for memory in memories.values():
        memory.drive(0)
    cycle = 0
    while cycle < case["limit"]:
        if all(len(sink.words) >= expected[name] for name, sink in sinks.items()):
            break
        await edge
        for source in sources:
            source.sample()
        for sink in sinks.values():
            sink.sample(cycle)
        for memory in memories.values():
            memory.sample(cycle)
            memory.drive(cycle + 1)
        for port in ports:
            port.drive()
        cycle += 1
    # Nothing may come after the last result; `valid` counts, whether or not it would be taken.
    extra = dict.fromkeys(sinks, 0)
    for _ in range(case["watch"]):
        await edge
        for name, sink in sinks.items():
            extra[name] += int(bool(sink.valid.value))
    results: dict[str, Any] = {
        name: {"words": sink.words, "cycles": sink.cycles, "extra": extra[name]}
        for name, sink in sinks.items()
    }
    return results | {name: memory.requests for name, memory in memories.items()}
