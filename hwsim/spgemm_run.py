"""What one sparse product did on an accelerator: the record that every SpGEMM engine returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hwsim.models.counters import counter

if TYPE_CHECKING:
    from hwsim.dataflows.piuma import MachineRun
    from hwsim.models.sparse import Csr

__all__ = ["SpgemmRun", "apportion", "total"]

_DIRECTIONS = ("read", "write")


@dataclass(frozen=True, kw_only=True, eq=False)
class SpgemmRun:
    """One product C = A B on one accelerator.

    Attributes:
        layer: the product's name in the workload.
        op: `spgemm`.
        stage: `FF`, as in the layers of a dense network.
        m, n, k: A is m x k, B is k x n.
        nnz_a, nnz_b, nnz_c: entries stored, those of C by structure.
        dataflow: name of the dataflow or kernel.
        cycles: accelerator clocks; the sum of `parts`.
        parts: cycles by cause.
        macs_dense: m n k, what a dense product would multiply.
        macs_effective: multiplies of stored entries.
        bytes_by_cause: DRAM bytes by operand and direction, `a.read`, `z.write`, ...
        counters: events by registered name.
        energy_parts_pj: counters times energies, by part.
        z: the result where values were computed.
        machine: threads, timeline and windows where the machine model ran.

    Raises:
        ValueError: parts do not sum to the cycles, a number is negative, a byte cause names no
            direction, or a counter is not registered.
    """

    layer: str
    op: str = "spgemm"
    stage: str = "FF"
    m: int
    n: int
    k: int
    nnz_a: int
    nnz_b: int
    nnz_c: int
    dataflow: str
    cycles: int
    parts: dict[str, int]
    macs_dense: int
    macs_effective: int
    bytes_by_cause: dict[str, int]
    counters: dict[str, int] = field(default_factory=dict)
    energy_parts_pj: dict[str, float] = field(default_factory=dict)
    z: Csr | None = None
    machine: MachineRun | None = None

    def __post_init__(self) -> None:
        if sum(self.parts.values()) != self.cycles:
            raise ValueError(
                f"the parts of {self.layer} must sum to its {self.cycles} cycles, "
                f"but got {self.parts}"
            )
        for kind in (self.parts, self.bytes_by_cause, self.counters, self.energy_parts_pj):
            for name, value in kind.items():
                if value < 0:
                    raise ValueError(f"{name} must not be negative, but got {value}")
        for name in self.bytes_by_cause:
            if name.rpartition(".")[2] not in _DIRECTIONS:
                raise ValueError(f"a cause of bytes must end in .read or .write, but got {name!r}")
        for name in self.counters:
            counter(name)

    @property
    def dram_read_bytes(self) -> int:
        return _sum_of(self.bytes_by_cause, "read")

    @property
    def dram_write_bytes(self) -> int:
        return _sum_of(self.bytes_by_cause, "write")

    @property
    def energy_pj(self) -> float:
        return sum(self.energy_parts_pj.values())


def apportion(cycles: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Whole cycles by cause in proportion to `weights`, with the sum exactly `cycles`.

    Largest remainders get the cycles that rounding down leaves, ties in the order given, so each
    share is off by less than one cycle. For a machine of many threads the weights are thread
    cycles by cause, which sum to threads x cycles.

    Raises:
        ValueError: a number is negative, or there are cycles and no weight.
    """
    whole = sum(weights.values())
    if cycles < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError(f"cycles and weights must not be negative, but got {cycles}, {weights}")
    if whole == 0:
        if cycles:
            raise ValueError(f"{cycles} cycles need a cause, but all weights are 0")
        return dict.fromkeys(weights, 0)
    # int(): weights may be NumPy integers, and cycles x weight passes 64 bits
    parts = {name: cycles * int(weight) // int(whole) for name, weight in weights.items()}
    rest = {name: cycles * int(weight) % int(whole) for name, weight in weights.items()}
    left = cycles - sum(parts.values())
    for name in sorted(weights, key=lambda name: -rest[name])[:left]:
        parts[name] += 1
    return parts


def total(tables: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sums by name over several tables, names in order of first appearance."""
    sums: dict[str, int] = {}
    for table in tables:
        for name, value in table.items():
            sums[name] = sums.get(name, 0) + int(value)
    return sums


def _sum_of(table: Mapping[str, int], direction: str) -> int:
    return sum(v for name, v in table.items() if name.rpartition(".")[2] == direction)
