"""cocotb bench of a board's top: a host program at its UART pins, bit by bit.

The task in the file named by `HWSIM_CASES` names the program, a function of a transport, as
`package.module:function`; what came of it goes to the file named by `HWSIM_RESULTS`. The simulator
stands still while the program thinks.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from importlib import import_module
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, Event, FallingEdge, First, Timer
from cocotb.utils import get_sim_time

__all__ = ["SimulatedTransport", "run_program"]

_CLOCK_PS = 10_000
"""Of a simulated clock cycle; nothing depends on it but the programs' timeouts."""

_BITS = 10
"""Of a byte on the line, start and stop bit with it."""


class SimulatedTransport:
    """`hwsim.driver.Transport` at the pins of a simulated board.

    Args:
        dut: the board's top, with `rx` and `tx`.
        bit_ps: time of the board's bits.
    """

    def __init__(self, dut: Any, bit_ps: int) -> None:
        self._dut = dut
        self._bit_ps = bit_ps
        self._came: deque[int] = deque()
        self._news = Event()
        self.sent_bytes = 0
        self.received_bytes = 0

    @property
    def byte_s(self) -> float:
        """Seconds of a byte."""
        return _BITS * self._bit_ps * 1e-12

    def write(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        resume(self._drive)(data)

    def read(self, count: int, timeout_s: float) -> bytes:
        return bytes(resume(self._take)(count, max(1, round(timeout_s * 1e12))))

    def now(self) -> float:
        return float(get_sim_time("ps")) * 1e-12

    async def listen(self) -> None:
        """Turns levels of `tx` into bytes, for ever."""
        while True:
            await FallingEdge(self._dut.tx)
            await Timer(self._bit_ps * 3 // 2, unit="ps")
            byte = 0
            for i in range(8):
                byte |= int(self._dut.tx.value) << i
                await Timer(self._bit_ps, unit="ps")
            assert self._dut.tx.value == 1, "the stop bit is low"
            self._came.append(byte)
            self.received_bytes += 1
            self._news.set()

    async def _drive(self, data: bytes) -> None:
        for byte in data:
            level, length = 0, 0  # equal bits in one piece
            for i in range(_BITS):
                bit = (byte << 1 | 0x200) >> i & 1
                if bit != level:
                    await self._hold(level, length)
                    level, length = bit, 0
                length += 1
            await self._hold(level, length)

    async def _hold(self, level: int, bits: int) -> None:
        self._dut.rx.value = level
        await Timer(self._bit_ps * bits, unit="ps")

    async def _take(self, count: int, timeout_ps: int) -> list[int]:
        if not self._came:
            self._news.clear()
            await First(self._news.wait(), Timer(timeout_ps, unit="ps"))
        return [self._came.popleft() for _ in range(min(count, len(self._came)))]


@cocotb.test()
async def run_program(dut: Any) -> None:
    """The program named in the task, in a thread that the simulator waits for."""
    task = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    module, function = task["program"].split(":")
    program = getattr(import_module(module), function)
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, _CLOCK_PS, unit="ps").start()
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await Timer(_CLOCK_PS // 3, unit="ps")  # the line's edges are not the clock's
    transport = SimulatedTransport(dut, task["clocks_per_bit"] * _CLOCK_PS)
    cocotb.start_soon(transport.listen())
    result = await bridge(program)(transport, **task["arguments"])
    found = {
        "result": result,
        "cycles": int(get_sim_time("ps")) // _CLOCK_PS,
        "sent_bytes": transport.sent_bytes,
        "received_bytes": transport.received_bytes,
        "led": int(dut.led.value),
    }
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(found))
