"""What a layer and stage did on an accelerator."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwsim.models.counters import counter
from hwsim.models.work import Work

__all__ = ["LayerRun", "registered"]


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """One layer and stage on an accelerator.

    Attributes:
        work: what was run.
        dataflow: `os`, `ws`, `is`, or `vector`, `fused`, `host` for element-wise work.
        sparsity: the pattern its weights were run with.
        tile: (tm, tn, tk), outputs and depth of a buffer tile; (0, 0, 0) for element-wise work.
        cycles: the sum of the five parts.
        issue: steps with operands; array_idle: array cycles without; stall_dram, fill, drain as in
            `hwsim.phases`.
        macs_dense, macs_effective: of the dense product; of the kept weights.
        counters: events by registered name.
        energy_parts_pj: counters times energies, by part.
        sore_wait, sore_busy: cycles that its operands' reduction on the way in adds, and takes in
            all; not among `cycles`, a row of stage SORE has them.
    """

    work: Work
    dataflow: str
    sparsity: str = "dense"
    tile: tuple[int, int, int] = (0, 0, 0)
    cycles: int = 0
    issue: int = 0
    array_idle: int = 0
    stall_dram: int = 0
    fill: int = 0
    drain: int = 0
    macs_dense: int = 0
    macs_effective: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    energy_parts_pj: dict[str, float] = field(default_factory=dict)
    sore_wait: int = 0
    sore_busy: int = 0

    @property
    def energy_pj(self) -> float:
        return sum(self.energy_parts_pj.values())


def registered(counters: dict[str, int]) -> dict[str, int]:
    """The counters that are not zero.

    Raises:
        ValueError: a name that is not registered.
    """
    return {counter(name).name: int(value) for name, value in counters.items() if value}
