"""cocotb bench of the sparse array: drives operand streams, records results and their cycles.

It knows no golden model. Cases come in the file named by `HWSIM_CASES` and what the array did goes
to the one named by `HWSIM_RESULTS`; `hwsim.verify` makes the first and judges the second. Words on
the ports are Python integers, packed by the caller.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwsim.rtl.bench_stream import Sink, Source

_CLOCK_NS = 10


@cocotb.test()
async def run_cases(dut: Any) -> None:
    """Every case from reset: words in, words out, until all results came or time is up."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    results = [await _run(dut, case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


async def _run(dut: Any, case: dict[str, Any]) -> dict[str, Any]:
    dut.rst.value = 1
    sources = [Source(dut, port, *case[port]) for port in ("job", "a", "b")]
    sink = Sink(dut, "z", case["z"])
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    ports: list[Source | Sink] = [*sources, sink]
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
