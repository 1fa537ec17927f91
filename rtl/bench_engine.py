"""cocotb bench of the training engine: a memory that follows address lists, and the host's softmax.

It knows no golden model. A case holds the memory's first contents and a list of commands, each with
the addresses of its operands and results; values live in the memory alone, so what a command writes
is what later ones read.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from numpy.typing import NDArray

from hwsim.models.exact_train import loss_gradient
from hwsim.rtl.bench_stream import Sink, Source

_CLOCK_NS = 10


class _Source(Source):
    """A source that is given new words with every command."""

    def __init__(self, dut: Any, port: str) -> None:
        super().__init__(dut, port, [], [0])

    def start(self, words: Sequence[int], gaps: Sequence[int]) -> None:
        self.words, self.gaps = words, list(gaps)
        self.next, self.wait = 0, gaps[0]


class _Sink(Sink):
    """A sink that takes as many words as it is asked for with every command."""

    def __init__(self, dut: Any, port: str) -> None:
        super().__init__(dut, port, [0])
        self.count = 0

    def start(self, count: int, gaps: Sequence[int]) -> None:
        self.count, self.gaps, self.wait = count, list(gaps), gaps[0]
        self.words, self.cycles = [], []

    @property
    def done(self) -> bool:
        return len(self.words) == self.count

    def drive(self) -> None:
        if not self.done:
            super().drive()

    def sample(self, cycle: int) -> None:
        super().sample(cycle)
        if self.open and self.done:
            self.ready.value = 0
            self.open = False


@cocotb.test()
async def run_program(dut: Any) -> None:
    """The whole list from reset, until the last result came or time is up."""
    case = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    for name, bits in case["scalars"].items():
        getattr(dut, name).value = bits
    memory: NDArray[np.uint32] = case["memory"]
    commands = case["commands"]
    descriptors = _Source(dut, "command")
    sources = {port: _Source(dut, port) for port in case["sources"]}
    sinks = {port: _Sink(dut, port) for port in case["sinks"]}
    ports: list[_Source | _Sink] = [descriptors, *sources.values(), *sinks.values()]
    dut.rst.value = 1
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    descriptors.start([command["word"] for command in commands], case["gaps"])
    descriptors.drive()

    images: list[NDArray[np.uint32]] = []
    accepted: list[int] = []
    results: list[list[int]] = []
    current: dict[str, Any] = {}
    working: _Sink | None = None  # what the current command's results go to
    cycle = 0
    while len(results) < len(commands) and cycle < case["limit"]:
        await edge
        taken = descriptors.next
        descriptors.sample()
        if descriptors.next != taken:
            current = commands[len(accepted)]
            accepted.append(cycle)
            for host in current["host"]:
                _host(host, memory)
            for port, (where, widths, test) in current["operands"].items():
                values = memory[where]
                if test:  # a gate is open where the activation is not zero
                    values = (values & 0x7FFF != 0).astype(np.uint32)
                sources[port].start(_pack(values, widths), current["gaps"].get(port, [0]))
            port, where, _ = current["results"]
            working = sinks[port]
            working.start(len(where), current["gaps"].get(port, [0]))
        for source in sources.values():
            source.sample()
        for sink in sinks.values():
            sink.sample(cycle)
        if working is not None and working.done:
            _, where, widths = current["results"]
            memory[where] = _unpack(working.words, widths)
            memory[: case["constants"]] = np.arange(case["constants"])
            results.append(working.cycles)
            if current["image"]:
                images.append(memory.copy())
            working = None
        for driven in ports:
            driven.drive()
        cycle += 1
    extra = 0  # nothing may come after the last result
    for _ in range(case["watch"]):
        await edge
        extra += sum(bool(sink.valid.value) for sink in sinks.values())
    found = {"images": images, "accepted": accepted, "results": results, "extra": extra}
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(found))


def _host(step: dict[str, Any], memory: NDArray[np.uint32]) -> None:
    logits = memory[step["logits"]].view(np.float32)
    _, dy = loss_gradient(logits, step["labels"], step["scale"])
    memory[step["gradient"]] = dy.view(np.uint16)


def _places(widths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """For each bit of a packed word its field and its place in the field."""
    fields = np.repeat(np.arange(len(widths)), widths)
    starts = np.repeat(np.cumsum(widths) - widths, widths)
    return fields, (np.arange(len(fields)) - starts).astype(np.uint32)


def _pack(values: NDArray[np.uint32], widths: Sequence[int]) -> list[int]:
    """Fields [beats, fields], lowest first, as one integer a beat."""
    fields, places = _places(widths)
    planes = (values[:, fields] >> places & 1).astype(np.uint8)
    rows = np.packbits(planes, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def _unpack(words: Sequence[int], widths: Sequence[int]) -> NDArray[np.uint32]:
    fields, places = _places(widths)
    size = -(-len(fields) // 8)
    raw = np.frombuffer(b"".join(w.to_bytes(size, "little") for w in words), np.uint8)
    planes = np.unpackbits(raw.reshape(-1, size), axis=1, bitorder="little")[:, : len(fields)]
    starts = np.cumsum(widths) - np.asarray(widths)
    return np.bitwise_or.reduceat(planes.astype(np.uint32) << places, starts, axis=1)
