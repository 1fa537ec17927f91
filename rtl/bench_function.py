"""cocotb bench of a pipelined two-input function: one vector in and one result out a cycle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


@cocotb.test()
async def run_vectors(dut: Any) -> None:
    """Row i of the cases [n, 2] goes in at an edge; its result is read a latency later.

    `same` says that the variants under test agree; it must hold to the end.
    """
    latency = int(os.environ["HWSIM_LATENCY"])
    cases = np.load(os.environ["HWSIM_CASES"])
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 0
    edge = RisingEdge(dut.clk)
    results = []
    await edge
    for a, b in [*cases.tolist(), *[[0, 0]] * latency]:
        dut.a.value = a
        dut.b.value = b
        await edge
        results.append(int(dut.z.value))
    assert dut.same.value == 1
    np.save(Path(os.environ["HWSIM_RESULTS"]), np.array(results[latency:], np.uint32))
