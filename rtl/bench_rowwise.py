"""cocotb bench of the row-wise engine: memories that answer its requests, sinks for its results.

It knows no golden model. Cases come in the file named by `HWSIM_CASES` and what the engine did goes
to the one named by `HWSIM_RESULTS`, both pickled lists. A case is a dictionary:

    jobs      (words, gaps) of the windows
    memories  {port: (words, burst, latency, request gaps, response gaps)}; a request is a word's
              number or, of a burst, start | length << 32
    sinks     {port: (count, gaps)}, with the words that are expected
    limit     cycles after which the case is given up
    watch     cycles after the last result in which nothing may follow

and its result {port: {"words", "cycles", "extra"}} for each sink, with `overflow` beside them.
Gaps are those of `hwsim.rtl.bench_stream`; an answer comes no earlier than `latency` + 1 cycles
after its request.
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
_HALF = (1 << 32) - 1


class Memory:
    """Answers requests in order, after a latency."""

    def __init__(
        self,
        dut: Any,
        port: str,
        words: Sequence[int],
        burst: bool,
        latency: int,
        request_gaps: Sequence[int],
        response_gaps: Sequence[int],
    ) -> None:
        name, number = port.rstrip("0123456789"), port[len(port.rstrip("0123456789")) :]
        self.request = getattr(dut, f"{name}_req{number}__payload")
        self.request_valid = getattr(dut, f"{name}_req{number}__valid")
        self.request_ready = getattr(dut, f"{name}_req{number}__ready")
        self.response = getattr(dut, f"{name}_rsp{number}__payload")
        self.response_valid = getattr(dut, f"{name}_rsp{number}__valid")
        self.response_ready = getattr(dut, f"{name}_rsp{number}__ready")
        self.words = words
        self.burst = burst
        self.latency = latency
        self.request_gaps = list(request_gaps) or [0]
        self.response_gaps = list(response_gaps) or [0]
        self.reads: deque[list[int]] = deque()  # cycle from which it is answered, place, end
        self.requests = self.responses = 0
        self.request_from, self.response_from = self.request_gaps[0], self.response_gaps[0]
        self.open = self.offering = False
        self.request_ready.value = 0
        self.response_valid.value = 0

    def drive(self, cycle: int) -> None:
        """Before `cycle`: open the request port, put out an answer that is due."""
        if not self.open and cycle >= self.request_from:
            self.request_ready.value = 1
            self.open = True
        if self.offering or not self.reads or cycle < self.response_from:
            return
        since, at, _ = self.reads[0]
        if cycle >= since:
            self.response.value = self.words[at]
            self.response_valid.value = 1
            self.offering = True

    def sample(self, cycle: int) -> None:
        """At the end of `cycle`: what passed."""
        if self.offering and self.response_ready.value:
            self.offering = False
            self.response_valid.value = 0
            self.responses += 1
            gap = self.response_gaps[self.responses % len(self.response_gaps)]
            self.response_from = cycle + 1 + gap
            self.reads[0][1] += 1
            if self.reads[0][1] == self.reads[0][2]:
                self.reads.popleft()
        if self.open and self.request_valid.value:
            word = int(self.request.value)
            start, length = (word & _HALF, word >> 32) if self.burst else (word, 1)
            self.reads.append([cycle + 1 + self.latency, start, start + length])
            self.requests += 1
            gap = self.request_gaps[self.requests % len(self.request_gaps)]
            self.request_from = cycle + 1 + gap
            if gap:
                self.request_ready.value = 0
                self.open = False


@cocotb.test()
async def run_cases(dut: Any) -> None:
    """Every case from reset: windows in, results out, until all came or time is up."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    results = [await _run(dut, case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


async def _run(dut: Any, case: dict[str, Any]) -> dict[str, Any]:
    dut.rst.value = 1
    jobs = Source(dut, "job", *case["jobs"])
    memories = [Memory(dut, port, *given) for port, given in case["memories"].items()]
    sinks = {port: Sink(dut, port, gaps) for port, (_, gaps) in case["sinks"].items()}
    expected = {port: count for port, (count, _) in case["sinks"].items()}
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    jobs.drive()
    for memory in memories:
        memory.drive(0)
    for sink in sinks.values():
        sink.drive()
    cycle = 0
    while cycle < case["limit"]:
        if all(len(sink.words) >= expected[name] for name, sink in sinks.items()):
            break
        await edge
        jobs.sample()
        jobs.drive()
        for memory in memories:
            memory.sample(cycle)
            memory.drive(cycle + 1)
        for sink in sinks.values():
            sink.sample(cycle)
            sink.drive()
        cycle += 1
    extra = dict.fromkeys(sinks, 0)
    for _ in range(case["watch"]):
        await edge
        for name, sink in sinks.items():
            extra[name] += int(bool(sink.valid.value))
    found: dict[str, Any] = {
        name: {"words": sink.words, "cycles": sink.cycles, "extra": extra[name]}
        for name, sink in sinks.items()
    }
    return found | {"overflow": int(dut.overflow.value)}
