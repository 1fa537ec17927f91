"""cocotb bench of any top on the shell: registers by AXI4-Lite, a list run, memory as `AxiMemory`.

Cases come in the file named by `HWSIM_CASES` and what happened goes to the one named by
`HWSIM_RESULTS`, both pickled lists. A case is a dictionary:

    memory   arguments of `AxiMemory`; the image comes back
    pauses   probability that the register master pauses in a cycle, on each of its channels
    steps    list of tuples, carried out in order; the result has one entry for each:
             ("write", offset, value[, byte strobes])  -> response
             ("read", offset)                          -> (response, value)
             ("irq", limit)       wait until `irq` is high -> cycles that passed, or None
             ("wait", cycles)     -> None
             ("poll", offset, mask, value, limit)  until a read equals -> cycles, or None
             ("errors", list)     errors of the memory from here on -> None

The register master is `RegisterMaster`, which keeps AXI4-Lite's rules and checks the slave's.
"""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwsim.rtl.bench_axi import AxiMemory

__all__ = ["RegisterMaster", "run_shell_cases"]

_CLOCK_NS = 10


class RegisterMaster:
    """An AXI4-Lite master that is driven a cycle at a time; one access at once.

    Args:
        dut: the top.
        pauses: probability that a channel pauses in a cycle.
        seed: of the pauses.
        prefix: of the ports.
    """

    def __init__(
        self, dut: Any, *, pauses: float = 0.0, seed: int = 1, prefix: str = "s_axil"
    ) -> None:
        self._dut, self._prefix = dut, prefix
        self._ports: dict[str, Any] = {}
        self.random = random.Random(seed)
        self.pauses = pauses
        self._to_send: dict[str, dict[str, int]] = {}
        self._shown: set[str] = set()
        self._awaits: str | None = None
        self._taken = False
        self.answer: tuple[int, int] | None = None
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awprot", "arprot"):
            self.port(name).value = 0

    def port(self, name: str) -> Any:
        """A port by its name without the prefix."""
        if name not in self._ports:
            self._ports[name] = getattr(self._dut, f"{self._prefix}_{name}")
        return self._ports[name]

    def start_write(self, offset: int, value: int, strobes: int = 0xF) -> None:
        """Begin a write; `answer` is (response, 0) when it is done."""
        self._to_send = {"aw": {"awaddr": offset}, "w": {"wdata": value, "wstrb": strobes}}
        self._awaits, self.answer = "b", None

    def start_read(self, offset: int) -> None:
        """Begin a read; `answer` is (response, value) when it is done."""
        self._to_send = {"ar": {"araddr": offset}}
        self._awaits, self.answer = "r", None

    def sample(self) -> None:
        """At a clock edge."""
        for channel in list(self._shown):
            if self.port(f"{channel}ready").value:
                self._shown.discard(channel)
                self._to_send.pop(channel, None)
                self.port(f"{channel}valid").value = 0
        for channel in ("b", "r"):
            valid = bool(self.port(f"{channel}valid").value)
            if valid and channel != self._awaits:
                raise AssertionError(f"{channel}valid without a request")
            if valid and self.port(f"{channel}ready").value:
                value = int(self.port("rdata").value) if channel == "r" else 0
                self.answer = (int(self.port(f"{channel}resp").value), value)
                self._awaits = None

    def drive(self) -> None:
        """After a clock edge."""
        for channel, fields in self._to_send.items():
            if channel not in self._shown and self.random.random() >= self.pauses:
                self._shown.add(channel)
                for name, value in fields.items():
                    self.port(name).value = value
                self.port(f"{channel}valid").value = 1
        for channel in ("b", "r"):
            ready = self._awaits == channel and self.random.random() >= self.pauses
            self.port(f"{channel}ready").value = int(ready)


@cocotb.test()
async def run_shell_cases(dut: Any) -> None:
    """Every case from reset."""
    cases = pickle.loads(Path(os.environ["HWSIM_CASES"]).read_bytes())
    Clock(dut.clk, _CLOCK_NS, unit="ns").start()
    results = [await _run(dut, case) for case in cases]
    Path(os.environ["HWSIM_RESULTS"]).write_bytes(pickle.dumps(results))


async def _run(dut: Any, case: dict[str, Any]) -> dict[str, Any]:
    edge = RisingEdge(dut.clk)
    dut.rst.value = 1
    arguments = dict(case["memory"])
    image = bytearray(arguments.pop("image"))
    memory = AxiMemory(dut, image, **arguments)
    master = RegisterMaster(dut, pauses=case.get("pauses", 0.0), seed=arguments.get("seed", 1))
    await edge
    await edge
    dut.rst.value = 0
    memory.drive()

    async def cycle() -> None:
        await edge
        memory.sample()
        master.sample()
        memory.drive()
        master.drive()

    async def access() -> tuple[int, int]:
        master.drive()
        for _ in range(1000):
            if master.answer is not None:
                return master.answer
            await cycle()
        raise AssertionError("the slave does not answer")

    async def step(kind: str, *given: Any) -> Any:
        start = memory.cycle
        if kind == "write":
            master.start_write(*given)
            return (await access())[0]
        if kind == "read":
            master.start_read(*given)
            return await access()
        if kind == "wait":
            for _ in range(given[0]):
                await cycle()
            return None
        if kind == "errors":
            memory.errors = list(given[0])
            return None
        if kind == "irq":
            while memory.cycle - start < given[0]:
                if dut.irq.value:
                    return memory.cycle - start
                await cycle()
            return None
        offset, mask, value, limit = given
        while memory.cycle - start < limit:
            master.start_read(offset)
            if (await access())[1] & mask == value:
                return memory.cycle - start
        return None

    answers = [await step(*one) for one in case["steps"]]
    return {
        "answers": answers,
        "image": bytes(image),
        "reads": memory.reads,
        "writes": memory.writes,
        "read_bytes": memory.read_bytes,
        "write_bytes": memory.write_bytes,
    }
