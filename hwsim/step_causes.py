"""Where the cycles of a training step go, and what keeps a speedup below its bound.

The bound of a speedup is the ratio of multiply-accumulates, dense over kept. What the array loses
against it is split by cause in array slots (cycles times PEs), where everything is an integer:

    gap = bound - speedup = sum over causes c of bound (s_c - d_c / bound) / S

with s_c and d_c the slots that cause c takes in the sparse and the dense step and S all of the
sparse step's. The slots that kept multiply-accumulates need are no cause: they shrink by exactly
the bound. A cause that shrinks by more than the bound counts negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from hwsim.config import ArrayConfig
from hwsim.layer_run import LayerRun
from hwsim.models.work import Gemm, Vector

__all__ = ["CAUSES", "Step", "split", "summarise"]

CAUSES = {
    "edges": "unit tiles that a layer does not fill, and groups that it does not",
    "array_idle": "skew, tiles shorter than the array is deep, an adder that waits",
    "stall_dram": "the array waits for DRAM",
    "fill_drain": "first load, last store and the array's tail of each layer",
    "element_wise": "passes of batch norm, pooling, activation functions, residuals",
    "sore": "the N:M selector",
    "wuve": "the weight update",
}
"""What keeps a speedup below its bound."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step.

    Attributes:
        cycles: of all rows.
        pes: processing elements.
        macs_dense, macs_effective: of all products.
        slots: array slots by cause, `CAUSES`; with `macs_effective` they sum to cycles times pes.
        stages: cycles by stage, element-wise passes apart.
    """

    cycles: int
    pes: int
    macs_dense: int
    macs_effective: int
    slots: Mapping[str, int]
    stages: Mapping[str, int]

    @property
    def bound(self) -> Fraction:
        """Of the speedup over dense, from multiply-accumulates alone."""
        return Fraction(self.macs_dense, self.macs_effective)


def split(dense: Step, sparse: Step) -> dict[str, Fraction]:
    """Bound minus speedup by cause; sums to it exactly."""
    total = sparse.cycles * sparse.pes
    return {
        cause: (sparse.bound * sparse.slots[cause] - dense.slots[cause]) / total for cause in CAUSES
    }


def summarise(runs: Sequence[LayerRun], config: ArrayConfig) -> Step:
    """The rows of a step by cause and stage."""
    slots: Counter[str] = Counter(dict.fromkeys(CAUSES, 0))
    stages: Counter[str] = Counter()
    for run in runs:
        stage = run.work.stage
        if isinstance(run.work, Gemm):
            slots["edges"] += run.issue * config.pes - run.macs_effective
            slots["array_idle"] += run.array_idle * config.pes
            slots["stall_dram"] += run.stall_dram * config.pes
            slots["fill_drain"] += (run.fill + run.drain) * config.pes
        elif isinstance(run.work, Vector):
            slots["element_wise"] += run.cycles * config.pes
            stage += " element-wise"
        else:
            slots[stage.lower()] += run.cycles * config.pes
        stages[stage] += run.cycles
    return Step(
        cycles=sum(run.cycles for run in runs),
        pes=config.pes,
        macs_dense=sum(run.macs_dense for run in runs),
        macs_effective=sum(run.macs_effective for run in runs),
        slots=dict(slots),
        stages=dict(stages),
    )
