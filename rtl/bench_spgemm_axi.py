"""cocotb bench of the SpGEMM top: lists of descriptors run from memory, the core's ports watched.

It knows no golden model. Cases come in the file named by `HWSIM_CASES` and what happened goes to
the one named by `HWSIM_RESULTS`, both pickled lists. A case is a dictionary:

    slave    "pipelined": `hwsim.rtl.bench_axi.AxiMemory`, several bursts under way, with
             `hwsim.rtl.bench_shell.RegisterMaster`; "cocotbext": `AxiRam` and `AxiLiteMaster` of
             cocotbext-axi, an independent reading of the standard, one burst at a time
    memory   arguments of `AxiMemory`; of them "cocotbext" takes image, pauses and seed
    pauses   probability that the register master pauses on a channel in a cycle
    steps    as of `hwsim.rtl.bench_shell`, without "poll" and "errors"

and its result {"answers", "image", "trace", "streams", "read_bytes", "write_bytes"}: `trace` is the
port `probe` in each cycle, `streams` the words {name: (data, last)} of the AXI4-Streams, which are
always ready.
"""

from __future__ import annotations

import logging
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwsim.rtl.bench_axi import AxiMemory
from hwsim.rtl.bench_shell import RegisterMaster

__all__ = ["run_cases"]

_CLOCK_NS = 10


@cocotb.test()
async def run_cases(dut: Any) -> None:
    """Every case from reset."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    runs = {"pipelined": _Pipelined, "cocotbext": _Cocotbext}
    results = [await _run(dut, runs[case["slave"]], case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


async def _run(dut: Any, kind: type, case: dict[str, Any]) -> dict[str, Any]:
    side = kind(dut, case)
    await side.reset()
    answers = [await _step(dut, side, *one) for one in case["steps"]]
    await side.close()
    return {
        "answers": answers,
        "image": side.image(),
        "trace": side.watch.trace,
        "streams": side.watch.streams,
        "read_bytes": side.read_bytes,
        "write_bytes": side.write_bytes,
    }


async def _step(dut: Any, side: Any, kind: str, *given: Any) -> Any:
    if kind == "write":
        return await side.write(*given)
    if kind == "read":
        return await side.read(*given)
    for passed in range(given[0]):
        if kind == "irq" and dut.irq.value:
            return passed
        await side.cycle()
    return None


class _Watch:
    """What the probe and the result streams show at each clock edge."""

    def __init__(self, dut: Any) -> None:
        self.probe = dut.probe
        self.trace: list[int] = []
        self.streams: dict[str, list[tuple[int, int]]] = {}
        self.ports = {}
        for name in ("spill", "counts", *(f"z{i}" for i in range(64))):
            if hasattr(dut, f"m_axis_{name}_tdata"):
                signals = ("tdata", "tvalid", "tlast", "tready")
                self.ports[name] = [getattr(dut, f"m_axis_{name}_{x}") for x in signals]
                self.ports[name][3].value = 1
                self.streams[name] = []

    def sample(self) -> None:
        self.trace.append(int(self.probe.value))
        for name, (data, valid, last, _) in self.ports.items():
            if valid.value:
                self.streams[name].append((int(data.value), int(last.value)))


class _Pipelined:
    """Memory and register master that are driven a cycle at a time."""

    def __init__(self, dut: Any, case: dict[str, Any]) -> None:
        arguments = dict(case["memory"])
        self.bytes = bytearray(arguments.pop("image"))
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        dut.rst.value = 1
        self.memory = AxiMemory(dut, self.bytes, **arguments)
        seed = arguments.get("seed", 1)
        self.master = RegisterMaster(dut, pauses=case["pauses"], seed=seed)
        self.watch = _Watch(dut)

    async def reset(self) -> None:
        await self.edge
        await self.edge
        self.dut.rst.value = 0
        self.memory.drive()

    async def cycle(self) -> None:
        await self.edge
        self.watch.sample()
        self.memory.sample()
        self.master.sample()
        self.memory.drive()
        self.master.drive()

    async def write(self, offset: int, value: int) -> int:
        self.master.start_write(offset, value)
        return (await self._answer())[0]

    async def read(self, offset: int) -> tuple[int, int]:
        self.master.start_read(offset)
        return await self._answer()

    async def _answer(self) -> tuple[int, int]:
        self.master.drive()
        for _ in range(1000):
            if self.master.answer is not None:
                return self.master.answer
            await self.cycle()
        raise AssertionError("the slave does not answer")

    async def close(self) -> None:
        assert self.memory.idle, "a burst is under way after the list"

    def image(self) -> bytes:
        return bytes(self.bytes)

    @property
    def read_bytes(self) -> int:
        return self.memory.read_bytes

    @property
    def write_bytes(self) -> int:
        return self.memory.write_bytes


class _Cocotbext:
    """Memory and register master of cocotbext-axi."""

    read_bytes = write_bytes = -1  # not counted

    def __init__(self, dut: Any, case: dict[str, Any]) -> None:
        from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

        logging.getLogger("cocotb").setLevel(logging.WARNING)
        arguments = case["memory"]
        chance, seed = arguments.get("pauses", {}), arguments.get("seed", 1)
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.size = len(arguments["image"])
        dut.rst.value = 1
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=self.size)
        self.ram.write(0, bytes(arguments["image"]))
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        read, write = self.ram.read_if, self.ram.write_if
        channels = {"ar": read.ar_channel, "r": read.r_channel, "aw": write.aw_channel,
                    "w": write.w_channel, "b": write.b_channel}  # fmt: skip
        slow = {"s_aw": self.master.write_if.aw_channel, "s_b": self.master.write_if.b_channel,
                "s_ar": self.master.read_if.ar_channel,
                "s_r": self.master.read_if.r_channel}  # fmt: skip
        for i, (name, channel) in enumerate({**channels, **slow}.items()):
            part = case["pauses"] if name in slow else chance.get(name, 0.0)
            if part:
                channel.set_pause_generator(_pauses(part, seed * 16 + i))
        self.watch = _Watch(dut)
        self.watching = cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        while True:
            await self.edge
            if not self.dut.rst.value:
                self.watch.sample()

    async def reset(self) -> None:
        for _ in range(4):
            await self.edge
        self.dut.rst.value = 0
        await self.edge

    async def cycle(self) -> None:
        await self.edge

    async def write(self, offset: int, value: int) -> int:
        answer = await self.master.write(offset, value.to_bytes(4, "little"))
        return int(answer.resp)

    async def read(self, offset: int) -> tuple[int, int]:
        answer = await self.master.read(offset, 4)
        return int(answer.resp), int.from_bytes(answer.data, "little")

    async def close(self) -> None:
        self.watching.cancel()

    def image(self) -> bytes:
        return bytes(self.ram.read(0, self.size))


def _pauses(chance: float, seed: int) -> Iterator[bool]:
    source = random.Random(seed)
    while True:
        yield source.random() < chance
