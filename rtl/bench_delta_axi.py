"""cocotb bench of the delta top: lists of descriptors run from memory, started over AXI4-Lite.

It knows no golden model. Cases come in the file named by `HWSIM_CASES`, results go to the one named
by `HWSIM_RESULTS`, both pickled lists. A case is a dictionary:

    memory     arguments of `hwsim.rtl.bench_axi.AxiMemory`, `image` among them
    ram        True: `cocotbext.axi.AxiRam` stands in for it, with random pauses from `seed`
    registers  {name: offset}
    runs       one after the other, each {address, count, limit, break_at}: a list of descriptors;
               `break_at`, unless None, is the cycle of a soft reset in its midst
    frames     bytes of each beat for `s_axis_x`, None where frames are in memory
    pauses     of the AXI4-Streams, a seed; None is none

and a result {image, bytes_read, bytes_written, results, runs}, `results` the (beat, last) pairs of
`m_axis_o`, `runs` a dictionary each: `cycles` from the write that starts the list to the interrupt,
registers by name under `registers`, and `trace`, the top's port `probe` in every cycle from that
write on, where there is one. Registers are read by `cocotbext.axi.AxiLiteMaster`.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiRam,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
)

from hwsim.rtl.bench_axi import AxiMemory

__all__ = ["run_cases"]

_CLOCK_NS = 10
_START, _SOFT_RESET, _CLEAR_COUNTERS = 1, 2, 4
_DONE_OR_ERROR = 3  # of irq_enable and irq_status


@cocotb.test()
async def run_cases(dut: Any) -> None:
    """Every case from reset."""
    logging.getLogger("cocotb").setLevel(logging.ERROR)  # cocotbext.axi tells of every word
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    results = [await _Case(dut, case).run() for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


class _Case:
    """One case: memory, register master, and what is seen in every cycle."""

    def __init__(self, dut: Any, case: dict[str, Any]) -> None:
        self.dut = dut
        self.case = case
        self.offsets: dict[str, int] = case["registers"]
        arguments = dict(case["memory"])
        self.image = bytearray(arguments.pop("image"))
        self.base = arguments.get("base", 0)
        self.memory = self.ram = None
        dut.rst.value = 1
        if case.get("ram"):
            self.ram = AxiRam(
                AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=self.base + len(self.image)
            )
            self.ram.write(self.base, bytes(self.image))
            for n, channel in enumerate(
                (
                    self.ram.read_if.ar_channel,
                    self.ram.read_if.r_channel,
                    self.ram.write_if.aw_channel,
                    self.ram.write_if.w_channel,
                    self.ram.write_if.b_channel,
                )
            ):
                channel.set_pause_generator(_pauses(arguments["seed"] + n))
        else:
            self.memory = AxiMemory(dut, self.image, **arguments)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.cycle = self.last_write = 0
        self.tracing = hasattr(dut, "probe")
        self.trace: list[int] = []
        self.source = self.sink = None
        if case.get("frames") is not None:
            self.source = AxiStreamSource(
                AxiStreamBus.from_prefix(dut, "s_axis_x"), dut.clk, dut.rst
            )
            self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_o"), dut.clk, dut.rst)
            if case["pauses"] is not None:
                self.source.set_pause_generator(_pauses(case["pauses"]))
                self.sink.set_pause_generator(_pauses(case["pauses"] + 1))

    async def run(self) -> dict[str, Any]:
        """Reset, then every list of the case."""
        dut = self.dut
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        watch = cocotb.start_soon(self._every_cycle())
        await ClockCycles(dut.clk, 8)
        if self.source is not None:
            for frame in self.case["frames"]:
                self.source.send_nowait(frame)
        await self._write("irq_enable", _DONE_OR_ERROR)
        runs = [await self._list(run) for run in self.case["runs"]]
        results = []
        while self.sink is not None and not self.sink.empty():
            results.append(bytes(self.sink.recv_nowait().tdata))
        watch.cancel()
        if self.ram is not None:
            self.image[:] = self.ram.read(self.base, len(self.image))
        return {
            "image": bytes(self.image),
            "bytes_read": self.memory.read_bytes if self.memory else 0,
            "bytes_written": self.memory.write_bytes if self.memory else 0,
            "results": results,
            "runs": runs,
        }

    async def _every_cycle(self) -> None:
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        while True:
            if self.memory is not None:
                self.memory.drive()
            await edge
            if self.memory is not None:
                self.memory.sample()
            if dut.s_axil_wvalid.value and dut.s_axil_wready.value:
                self.last_write = self.cycle
                self.trace.clear()
            if self.tracing:
                self.trace.append(int(dut.probe.value))
            self.cycle += 1

    async def _list(self, run: dict[str, Any]) -> dict[str, Any]:
        """One list of descriptors, to its interrupt or its soft reset."""
        dut = self.dut
        await self._write("list_address_lo", run["address"] & 0xFFFFFFFF)
        await self._write("list_address_hi", run["address"] >> 32)
        await self._write("list_count", run["count"])
        await self._write("control", _CLEAR_COUNTERS)
        await self._write("control", _START)
        start = self.last_write
        broken = run.get("break_at")
        edge = RisingEdge(dut.clk)
        while not dut.irq.value:
            await edge
            if self.cycle - start > run["limit"]:
                break
            if broken is not None and self.cycle - start >= broken:
                await self._reset()
                return {"cycles": self.cycle - start, "registers": await self._registers()}
        cycles, trace = self.cycle - start, list(self.trace)
        registers = await self._registers()
        await self._write("irq_status", registers["irq_status"])
        if registers["status"] & 8:
            await self._reset()
        return {"cycles": cycles, "registers": registers, "trace": trace}

    async def _reset(self) -> None:
        """A soft reset, until the top is idle again."""
        await self._write("control", _SOFT_RESET)
        while not await self.lite.read_dword(self.offsets["status"]) & 1:
            pass

    async def _registers(self) -> dict[str, int]:
        """All that can be read; a counter's lower half comes before its upper one."""
        return {
            name: await self.lite.read_dword(offset)
            for name, offset in sorted(self.offsets.items(), key=lambda item: item[1])
        }

    async def _write(self, name: str, value: int) -> None:
        await self.lite.write_dword(self.offsets[name], value)


def _pauses(seed: int) -> Iterator[bool]:
    """A pause in about a third of the cycles."""
    numbers = random.Random(seed)
    return (numbers.random() < 0.3 for _ in itertools.count())
