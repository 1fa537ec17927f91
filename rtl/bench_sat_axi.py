"""cocotb bench of `sat_axi` with cocotbext-axi's masters, memory and streams: a second opinion.

`hwsim.rtl.bench_shell` runs the same lists with a memory of our own, whose latency overlaps; here
every channel is driven and checked by somebody else's implementation of the protocol. Cases come in
the file named by `HWSIM_CASES` and what happened goes to the one named by `HWSIM_RESULTS`, both
pickled lists. A case is a dictionary:

    image, base     bytes of memory and their address
    writes          [(offset, value)] to the registers, in order, before the list is started
    control         (offset, value) that starts it
    reads           offsets of registers to be read after the interrupt
    errors          [(first address, behind the last)] at which memory answers SLVERR
    pause           probability that a channel pauses in a cycle
    seed            of the pauses
    limit           cycles after which the case is given up
    a, b            beats of the streams (stream mode), bytes each
    packets         packets expected on `m_axis_z`

and its result {"irq": it came, "values": [...], "image": bytes, "packets": [bytes]}.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiRam,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

__all__ = ["run_list_cases"]

_CLOCK_NS = 10
_MEMORY_BYTES = 1 << 20


@cocotb.test()
async def run_list_cases(dut: Any) -> None:
    """Every case from reset."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    bench = _Bench(dut)
    results = [await bench.run(case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


class _Bench:
    """The masters and slaves, made once, and what runs a case on them."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        dut.rst.value = 1
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=_MEMORY_BYTES)
        self.errors: list[tuple[int, int]] = []
        for side, access in ((self.ram.read_if, "_read"), (self.ram.write_if, "_write")):
            self._refuse(side, access)
        self.channels = [
            self.registers.write_if.aw_channel,
            self.registers.write_if.w_channel,
            self.registers.write_if.b_channel,
            self.registers.read_if.ar_channel,
            self.registers.read_if.r_channel,
            self.ram.write_if.aw_channel,
            self.ram.write_if.w_channel,
            self.ram.write_if.b_channel,
            self.ram.read_if.ar_channel,
            self.ram.read_if.r_channel,
        ]
        self.sources: dict[str, Any] = {}
        if hasattr(dut, "s_axis_a_tdata"):
            for name in "ab":
                bus = AxiStreamBus.from_prefix(dut, f"s_axis_{name}")
                self.sources[name] = AxiStreamSource(bus, dut.clk, dut.rst)
            self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_z"), dut.clk, dut.rst)
            self.channels += [*self.sources.values(), self.sink]

    def _refuse(self, side: Any, access: str) -> None:
        """Accesses of a side raise in the ranges of `errors`: it then answers SLVERR."""
        passed = getattr(side, access)

        async def checked(address: int, what: Any) -> Any:
            if any(low <= address < high for low, high in self.errors):
                raise ValueError(f"injected at {address:#x}")
            return await passed(address, what)

        setattr(side, access, checked)

    async def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """One case."""
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        dut.rst.value = 1
        for _ in range(3):
            await edge
        dut.rst.value = 0
        self.errors = list(case["errors"])
        for i, channel in enumerate(self.channels):
            channel.set_pause_generator(_pauses(case["pause"], (case["seed"], i)))
        self.ram.write(case["base"], case["image"])
        for offset, value in case["writes"]:
            await self.registers.write_dword(offset, value)
        for name, source in self.sources.items():
            for beat in case[name]:
                source.send_nowait(AxiStreamFrame(beat))
        await self.registers.write_dword(*case["control"])
        left = case["limit"]
        while left and not dut.irq.value:
            await edge
            left -= 1
        packets = []
        if self.sources and left:
            packets = [bytes((await self.sink.recv()).tdata) for _ in range(case["packets"])]
        values = [await self.registers.read_dword(offset) for offset in case["reads"]]
        image = self.ram.read(case["base"], len(case["image"]))
        return {"irq": bool(left), "values": values, "image": bytes(image), "packets": packets}


def _pauses(chance: float, seed: Any) -> Iterator[bool]:
    source = random.Random(str(seed))
    while True:
        yield source.random() < chance
