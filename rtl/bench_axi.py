"""An AXI4 memory for cocotb benches, and the bench of the read and write engines.

`AxiMemory` is driven a cycle at a time, as `hwsim.rtl.bench_stream`'s sources and sinks: `sample`
at a clock edge, then `drive`. Read bursts are answered in order, each `latency` cycles after it
was asked for, however many are under way; that is what `cocotbext.axi.AxiRam`, which takes one
burst at a time, does not do. It checks the master's side of the protocol and raises AssertionError.

The bench takes cases as `hwsim.rtl.bench_stream` does, with two differences: a case has `memory`
(arguments of `AxiMemory`; the image comes back in the result), and `phases`, a list of
{sources, sinks, limit, stop}: a phase with `stop` (a cycle) is broken off there, the component is
stopped until it is idle, and the next phase begins; one without ends when all words that are
expected came and, if the component has `idle`, it is idle.
"""

from __future__ import annotations

import os
import pickle
import random
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwsim.rtl.bench_stream import Sink, Source

__all__ = ["AxiMemory", "run_engine_cases"]

_CLOCK_NS = 10
_BOUNDARY = 4096
_DECERR = 0b11
_ADDRESS_FIELDS = ("addr", "len", "size", "burst", "id")


class AxiMemory:
    """An AXI4 slave: a memory behind a component's ports; a channel may be missing.

    A read burst that is asked for in cycle t gets its first word no earlier than in cycle
    t + 1 + latency; a write burst whose last word is taken in cycle t is answered no earlier than
    in cycle t + 1 + write_latency.

    Args:
        dut: the component.
        image: the memory's bytes from address `base` on; changed in place. Beyond it: DECERR.
        base: address of its first byte.
        latency, write_latency: cycles, or (low, high), random for each burst.
        pauses: channel (ar, r, aw, w, b) -> probability that it pauses in a cycle.
        errors: (first address, behind the last, response) or with a fourth item `read` or `write`.
        bytes_per_cycle: bandwidth shared by reads and writes, reads first; None is no limit.
        outstanding: bursts of each kind that may be under way, else AssertionError.
        seed: of pauses and latencies.
        prefix: of the ports.

    Attributes:
        reads, writes: (cycle, address, beats) of all bursts.
        read_bytes, write_bytes: moved; writes by strobes.
    """

    def __init__(
        self,
        dut: Any,
        image: bytearray,
        *,
        base: int = 0,
        latency: int | tuple[int, int] = 0,
        write_latency: int | tuple[int, int] = 0,
        pauses: Mapping[str, float] | None = None,
        errors: Sequence[tuple[Any, ...]] = (),
        bytes_per_cycle: float | None = None,
        outstanding: int | None = None,
        seed: int = 1,
        prefix: str = "m_axi",
    ) -> None:
        self._ports: dict[str, Any] = {}
        self._dut, self._prefix = dut, prefix
        self.image, self.base = image, base
        self.latency, self.write_latency = latency, write_latency
        self.pauses = dict(pauses or {})
        self.errors = list(errors)
        self.bytes_per_cycle = bytes_per_cycle
        self.outstanding = outstanding
        self.random = random.Random(seed)
        self.reads: list[tuple[int, int, int]] = []
        self.writes: list[tuple[int, int, int]] = []
        self.read_bytes = self.write_bytes = 0
        data = "rdata" if hasattr(dut, f"{prefix}_rdata") else "wdata"
        self.word_bytes = len(self._port(data)) // 8
        self.cycle = 0
        self._tokens = 0.0
        self._reading: deque[list[int]] = deque()  # [ready cycle, address, beats left]
        self._addresses: deque[list[int]] = deque()  # [address, beats]
        self._words: deque[tuple[int, int, bool]] = deque()
        self._answers: deque[list[int]] = deque()  # [ready cycle, response]
        self._unanswered = 0
        self._shown: dict[str, tuple[int, ...]] = {}  # what waits on a channel: it must not change
        self._offers_r = self._offers_b = False
        self._ready = dict.fromkeys(("ar", "aw", "w"), False)
        for name in ("rvalid", "bvalid", "arready", "awready", "wready", "rid", "bid"):
            self._port(name).value = 0

    @property
    def idle(self) -> bool:
        """No burst is under way."""
        return not (self._reading or self._addresses or self._words or self._answers)

    def sample(self) -> None:
        """At a clock edge: what was taken in the cycle that ends here."""
        self._sample_address("ar")
        self._sample_address("aw")
        self._sample_words()
        if self._offers_r and self._port("rready").value:
            self._offers_r = False
            head = self._reading[0]
            head[1] += self.word_bytes
            head[2] -= 1
            self.read_bytes += self.word_bytes
            if not head[2]:
                self._reading.popleft()
        if self._offers_b and self._port("bready").value:
            self._offers_b = False
            self._answers.popleft()
            self._unanswered -= 1
        self._write_back()
        self.cycle += 1

    def drive(self) -> None:
        """After a clock edge: answers and readiness for the cycle that begins here."""
        if self.bytes_per_cycle is not None:
            limit = self.word_bytes + self.bytes_per_cycle
            self._tokens = min(limit, self._tokens + self.bytes_per_cycle)
        self._drive_read()
        if not self._offers_b:
            ready = bool(self._answers) and self._answers[0][0] <= self.cycle
            if ready and not self._pauses("b"):
                self._offers_b = True
                self._set("bresp", self._answers[0][1])
        self._set("bvalid", int(self._offers_b))
        for channel in ("ar", "aw", "w"):
            ready = not self._pauses(channel)
            if channel == "w" and self.bytes_per_cycle is not None:
                ready = ready and self._tokens >= self.word_bytes
            self._ready[channel] = ready
            self._set(f"{channel}ready", int(ready))

    def _drive_read(self) -> None:
        if not self._offers_r:
            ready = bool(self._reading) and self._reading[0][0] <= self.cycle
            if ready and self.bytes_per_cycle is not None:
                ready = self._tokens >= self.word_bytes
            if ready and not self._pauses("r"):
                self._offers_r = True
                self._tokens -= self.word_bytes
                _, address, left = self._reading[0]
                at = address - self.base
                inside = at >= 0 and at + self.word_bytes <= len(self.image)
                word = bytes(self.image[at : at + self.word_bytes]) if inside else b""
                self._set("rdata", int.from_bytes(word, "little"))
                self._set("rresp", self._response(address, self.word_bytes, "read"))
                self._set("rlast", int(left == 1))
        self._set("rvalid", int(self._offers_r))

    def _sample_address(self, channel: str) -> None:
        if not self._port(f"{channel}valid").value:
            assert channel not in self._shown, f"{channel}valid fell before it was taken"
            return
        fields = tuple(int(self._port(channel + name).value) for name in _ADDRESS_FIELDS)
        assert self._shown.get(channel, fields) == fields, f"{channel} changed before it was taken"
        if not self._ready[channel]:
            self._shown[channel] = fields
            return
        self._shown.pop(channel, None)
        address, length, size, burst, ident = fields
        beats = length + 1
        assert 1 << size == self.word_bytes and burst == 1 and ident == 0, fields
        assert address % self.word_bytes == 0, f"{channel}addr {address:#x} is not aligned"
        end = address + beats * self.word_bytes - 1
        assert address // _BOUNDARY == end // _BOUNDARY, f"{address:#x} x {beats} crosses 4 KB"
        if channel == "ar":
            ready = self.cycle + 1 + self._draw(self.latency)
            if self._reading:  # in order
                ready = max(ready, self._reading[-1][0])
            self._reading.append([ready, address, beats])
            self.reads.append((self.cycle, address, beats))
            under_way = len(self._reading)
        else:
            self._addresses.append([address, beats])
            self._unanswered += 1
            self.writes.append((self.cycle, address, beats))
            under_way = self._unanswered
        limit = self.outstanding
        assert limit is None or under_way <= limit, f"{under_way} bursts on {channel} are under way"

    def _sample_words(self) -> None:
        if not self._port("wvalid").value:
            assert "w" not in self._shown, "wvalid fell before it was taken"
            return
        word = tuple(int(self._port(name).value) for name in ("wdata", "wstrb", "wlast"))
        assert self._shown.get("w", word) == word, "w changed before it was taken"
        if not self._ready["w"]:
            self._shown["w"] = word
            return
        self._shown.pop("w", None)
        assert word[1], "a word without strobes"
        if self.bytes_per_cycle is not None:
            self._tokens -= self.word_bytes
        self._words.append((word[0], word[1], bool(word[2])))

    def _write_back(self) -> None:
        """Bursts of which address and all words are there."""
        while self._addresses and len(self._words) >= self._addresses[0][1]:
            address, beats = self._addresses.popleft()
            response = 0
            for beat in range(beats):
                word, strobes, last = self._words.popleft()
                assert last == (beat == beats - 1), "wlast is not on the last word"
                response = response or self._response(address, self.word_bytes, "write")
                for i in range(self.word_bytes):
                    if strobes >> i & 1:
                        self.write_bytes += 1
                        at = address + i - self.base
                        if not response and 0 <= at < len(self.image):
                            self.image[at] = word >> 8 * i & 0xFF
                address += self.word_bytes
            ready = self.cycle + 1 + self._draw(self.write_latency)
            self._answers.append([ready, response])

    def _response(self, address: int, size: int, kind: str) -> int:
        for low, high, response, *only in self.errors:
            if address < high and address + size > low and only in ([], [kind]):
                return int(response)
        inside = self.base <= address and address + size <= self.base + len(self.image)
        return 0 if inside else _DECERR

    def _draw(self, cycles: int | tuple[int, int]) -> int:
        return cycles if isinstance(cycles, int) else self.random.randint(*cycles)

    def _pauses(self, channel: str) -> bool:
        chance = self.pauses.get(channel, 0.0)
        return bool(chance) and self.random.random() < chance

    def _port(self, name: str) -> Any:
        if name not in self._ports:
            full = f"{self._prefix}_{name}"
            self._ports[name] = getattr(self._dut, full) if hasattr(self._dut, full) else _Absent()
        return self._ports[name]

    def _set(self, name: str, value: int) -> None:
        self._port(name).value = value


@cocotb.test()
async def run_engine_cases(dut: Any) -> None:
    """Every case from reset."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    results = [await _run(dut, case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


class _Absent:
    """Stands for a port that the component does not have: a read engine has no W channel."""

    value = 0


async def _run(dut: Any, case: dict[str, Any]) -> dict[str, Any]:
    edge = RisingEdge(dut.clk)
    dut.rst.value = 1
    dut.stop.value = 0
    arguments = dict(case["memory"])
    image = bytearray(arguments.pop("image"))
    memory = AxiMemory(dut, image, **arguments)
    await edge
    await edge
    dut.rst.value = 0
    results = []
    done: dict[str, list[int]] = {
        name: [] for name in ("done__0", "done__1", "done__2") if hasattr(dut, name)
    }
    flags: dict[str, Any] = {}
    for phase in case["phases"]:
        results.append(await _phase(dut, edge, memory, phase, done, flags))
    return {
        "phases": results,
        "image": bytes(image),
        "reads": memory.reads,
        "writes": memory.writes,
        "read_bytes": memory.read_bytes,
        "write_bytes": memory.write_bytes,
        "done": done,
    }


async def _phase(
    dut: Any,
    edge: Any,
    memory: AxiMemory,
    phase: dict[str, Any],
    done: dict[str, list[int]],
    flags: dict[str, Any],
) -> dict[str, Any]:
    sources = [Source(dut, port, *given) for port, given in phase["sources"].items()]
    sinks = {port: Sink(dut, port, gaps) for port, (_, gaps) in phase["sinks"].items()}
    expected = {port: count for port, (count, _) in phase["sinks"].items()}
    ports: list[Source | Sink] = [*sources, *sinks.values()]
    memory.drive()
    for port in ports:
        port.drive()
    start, quiet = memory.cycle, 0
    stopping = False
    while memory.cycle - start < phase["limit"]:
        await edge
        memory.sample()
        for name, cycles in done.items():
            if getattr(dut, name).value:
                cycles.append(memory.cycle)
        if stopping:
            if dut.idle.value:
                dut.stop.value = 0
                memory.drive()
                await edge
                memory.sample()
                break
        else:
            for source in sources:
                source.sample()
            for sink in sinks.values():
                sink.sample(memory.cycle)
            finished = (
                all(len(sink.words) >= expected[name] for name, sink in sinks.items())
                and all(source.next == len(source.words) for source in sources)
                and bool(dut.idle.value)
                and memory.idle
            )
            quiet = quiet + 1 if finished else 0
            if quiet > phase.get("watch", 8):
                break
            if memory.cycle - start == phase.get("stop", -1):
                stopping = True
                dut.stop.value = 1
                flags["error"] = int(dut.error.value)
                for source in sources:
                    source.valid.value = 0
                for sink in sinks.values():
                    sink.ready.value = 0
        memory.drive()
        if not stopping:
            for port in ports:
                port.drive()
    return {
        "sinks": {n: {"words": s.words, "cycles": s.cycles} for n, s in sinks.items()},
        "taken": [source.next for source in sources],
        "error": int(dut.error.value),
        "error_address": int(dut.error_address.value),
        "error_response": int(dut.error_response.value),
        "cycles": memory.cycle - start,
        "ended": memory.cycle - start < phase["limit"],
        "idle": bool(dut.idle.value),
    }
