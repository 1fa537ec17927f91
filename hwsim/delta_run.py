"""What one layer did over a stream of frames: the record of every engine that skips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.counters import counter

__all__ = ["DeltaRun", "latency"]

_DIRECTIONS = ("read", "write")
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeltaRun:
    """One layer over all frames of a stream.

    Attributes:
        layer: name of the layer.
        stage: `FF`.
        op: `gru`, `conv`, `linear`.
        m, n, k: of the dense product of all frames, m x k by k x n.
        dataflow: name of the engine's dataflow.
        cycles: accelerator clocks of all frames; the sum of `parts`.
        parts: cycles by cause.
        macs_dense: m n k, what a dense engine multiplies.
        macs_effective: multiplies of what is computed on; of machines that look at masks, those of
            which neither operand is zero.
        items_in, nonzero_in: elements of the input (a GRU's state with it) and those of them that
            are computed on, all frames.
        items_out, nonzero_out: the same of the output, as the next layer takes it; 0 when nobody
            encodes it.
        frame_cycles: int64[T], the layer's cycles of each frame; their sum is `cycles`.
        frame_nonzero: int64[T]; their sum is `nonzero_in`.
        bytes_by_cause: DRAM bytes by operand and direction, `weights.read`, `state.write`, ...
        state_bytes: of the memories that live from frame to frame.
        counters: events by registered name.
        energy_parts_pj: counters times energies, by part.

    Raises:
        ValueError: parts or frames do not sum to the totals, a number is negative, a byte cause
            names no direction, or a counter is not registered.
    """

    layer: str
    stage: str = "FF"
    op: str
    m: int
    n: int
    k: int
    dataflow: str
    cycles: int
    parts: dict[str, int]
    macs_dense: int
    macs_effective: int
    items_in: int
    nonzero_in: int
    items_out: int = 0
    nonzero_out: int = 0
    frame_cycles: NDArray[np.int64]
    frame_nonzero: NDArray[np.int64]
    bytes_by_cause: dict[str, int] = field(default_factory=dict)
    state_bytes: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    energy_parts_pj: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, total, parts in (
            ("parts", self.cycles, sum(self.parts.values())),
            ("frame_cycles", self.cycles, int(self.frame_cycles.sum())),
            ("frame_nonzero", self.nonzero_in, int(self.frame_nonzero.sum())),
        ):
            if total != parts:
                raise ValueError(f"{what} of {self.layer} must sum to {total}, but got {parts}")
        numbers: tuple[dict[str, Any], ...] = (
            self.parts,
            self.bytes_by_cause,
            self.counters,
            self.energy_parts_pj,
        )
        for kind in numbers:
            for name, value in kind.items():
                if value < 0:
                    raise ValueError(f"{name} must not be negative, but got {value}")
        for name in self.bytes_by_cause:
            if name.rpartition(".")[2] not in _DIRECTIONS:
                raise ValueError(f"a cause of bytes must end in .read or .write, but got {name!r}")
        for name in self.counters:
            counter(name)

    @property
    def density_in(self) -> float:
        """Share of the input that is computed on."""
        return self.nonzero_in / self.items_in if self.items_in else 0.0

    @property
    def density_out(self) -> float:
        """Share of the output that the next layer computes on."""
        return self.nonzero_out / self.items_out if self.items_out else 0.0

    @property
    def dram_read_bytes(self) -> int:
        return sum(v for name, v in self.bytes_by_cause.items() if name.endswith(".read"))

    @property
    def dram_write_bytes(self) -> int:
        return sum(v for name, v in self.bytes_by_cause.items() if name.endswith(".write"))

    @property
    def energy_pj(self) -> float:
        return sum(self.energy_parts_pj.values())


def latency(frame_cycles: NDArray[np.int64], *, bins: int = 20) -> dict[str, Any]:
    """Statistics of cycles a frame: mean, least, most, percentiles (linear interpolation) and a
    histogram, as JSON takes them.

    Args:
        frame_cycles: int64[T], T at least 1.
        bins: of equal width between the least and the most.
    """
    counts, edges = np.histogram(frame_cycles, bins)
    return {
        "mean": float(frame_cycles.mean()),
        "min": int(frame_cycles.min()),
        "max": int(frame_cycles.max()),
        **{f"p{p}": float(np.percentile(frame_cycles, p)) for p in _PERCENTILES},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
