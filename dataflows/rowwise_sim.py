"""Cycle-exact simulation of the row-wise SpGEMM engine: values bit for bit, the cycle of each word.

`simulate` steps the machine of `rtl/rowwise.py` through a product's windows. Memory answers in
order, a fixed latency after each request; back-pressure is a gap before each word of a port, as in
`hwsim.dataflows.stce_sim`: word i passes no earlier than `gap` + 1 cycles after word i - 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.dataflows.rowwise_bus import BusMemory, bus_state
from hwsim.dataflows.rowwise_kernel import (
    ACCUMULATES,
    CAUSES,
    DONE_CYCLE,
    FLIP,
    INSERTS,
    MULTIPLIES,
    PROBES,
    SKIPPED,
    SPILLED,
    WAITS,
    WINDOW_CYCLES,
    step_windows,
)
from hwsim.dataflows.rowwise_ports import PORTS
from hwsim.dataflows.stream import gap_list
from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.rowwise import RowLists, RowwiseShape, row_factor
from hwsim.models.sparse import Csr

__all__ = ["MemoryLatency", "RowwiseGaps", "RowwiseRun", "simulate"]

_CYCLE_LIMIT = 1 << 40


@dataclass(frozen=True, kw_only=True)
class RowwiseGaps:
    """Idle cycles before each word of each port, used round and round; an empty list is none.

    Lanes and outputs share a list; each begins at its number times the stride of `simulate`.
    """

    job: ArrayLike = ()
    a_ptr_req: ArrayLike = ()
    a_ptr_rsp: ArrayLike = ()
    a_req: ArrayLike = ()
    a_rsp: ArrayLike = ()
    b_ptr_req: ArrayLike = ()
    b_ptr_rsp: ArrayLike = ()
    b_req: ArrayLike = ()
    b_rsp: ArrayLike = ()
    z: ArrayLike = ()
    spill: ArrayLike = ()
    done: ArrayLike = ()


@dataclass(frozen=True, kw_only=True)
class MemoryLatency:
    """Cycles between the one in which a request passes and the first in which its word may.

    0 offers the word in the next cycle.
    """

    a_ptr: int = 0
    a: int = 0
    b_ptr: int = 0
    b: int = 0


@dataclass(frozen=True, kw_only=True)
class RowwiseRun:
    """What the engine did. Cycle 0 is the first after reset.

    Attributes:
        cycles: until the last word has left.
        lane_cycles: of all lanes, by what they did; they sum to at least lanes x cycles.
        window: int64 [windows], of each result the window; row: in A; column, value, cycle, output.
            A window's closing word has column -1.
        spill_window, spill_row, spill_column, spill_value, spill_cycle: of each spilled product.
        counts: int64 [windows, 8], the counters of each window in the order of the word on `done`.
        flip_cycles, done_cycles: int64 [windows], when hashing ended, when the counters left.
    """

    cycles: int
    lane_cycles: dict[str, int]
    window: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray
    cycle: NDArray[np.int64]
    output: NDArray[np.int64]
    spill_window: NDArray[np.int64]
    spill_row: NDArray[np.int64]
    spill_column: NDArray[np.int64]
    spill_value: NDArray
    spill_cycle: NDArray[np.int64]
    counts: NDArray[np.int64]
    flip_cycles: NDArray[np.int64]
    done_cycles: NDArray[np.int64]

    @property
    def totals(self) -> dict[str, int]:
        """Counters of all windows by the names of `hwsim.models.counters`."""
        sums = self.counts.sum(axis=0)
        return {
            "spgemm.multiply": int(sums[MULTIPLIES]),
            "spgemm.hash.probe": int(sums[PROBES]),
            "spgemm.hash.insert": int(sums[INSERTS]),
            "spgemm.hash.accumulate": int(sums[ACCUMULATES]),
        }

    @property
    def spilled(self) -> int:
        return int(self.counts[:, SPILLED].sum())

    @property
    def waits(self) -> int:
        """Cycles in which a bank waited for a sum to the same entry."""
        return int(self.counts[:, WAITS].sum())

    @property
    def skipped(self) -> int:
        """Non-zeros of A that met an empty row of B."""
        return int(self.counts[:, SKIPPED].sum())

    def renamed(self, rows: NDArray[np.int64]) -> RowwiseRun:
        """The same with the rows of A called `rows`."""
        row = np.full_like(self.row, -1)
        kept = self.column >= 0
        row[kept] = rows[self.row[kept]]
        return replace(self, row=row, spill_row=rows[self.spill_row])

    @property
    def window_cycles(self) -> NDArray[np.int64]:
        """int64 [windows], from the end of one window's hashing to that of the next."""
        return self.counts[:, WINDOW_CYCLES]


def simulate(
    shape: RowwiseShape,
    a: Csr | RowLists,
    b: Csr | RowLists,
    starts: NDArray[np.int64],
    *,
    gaps: RowwiseGaps | None = None,
    latency: MemoryLatency | None = None,
    stride: int = 1,
    bus: BusMemory | None = None,
) -> RowwiseRun:
    """Run the windows of C = A B.

    Args:
        shape: the engine.
        a, b: operands, values of the engine's type.
        starts: int64 [windows + 1], first row of each window and the end, as
            `hwsim.models.rowwise.windows` gives them.
        gaps: back-pressure; none when None.
        latency: of the memory; none when None.
        stride: the gaps of lane or output i begin at entry i * stride of their list; with as many
            as a port has words, each has a list of its own.
        bus: the memory behind one channel that all ports share, beside `latency`.

    Raises:
        ValueError: operands that do not fit one another or the engine's widths, windows without
            rows or with too many, a negative gap or latency.
    """
    gaps, latency = gaps or RowwiseGaps(), latency or MemoryLatency()
    jobs = _checked_jobs(shape, a, b, starts)
    delays = np.array([getattr(latency, f.name) for f in fields(latency)], np.int64)
    if (delays < 0).any():
        raise ValueError(f"latencies must not be negative, but got {int(delays.min())}")
    lists = [gap_list(name, getattr(gaps, name)) for name in PORTS]
    padded = np.zeros((len(lists), max(x.size for x in lists)), np.int64)
    for row, x in zip(padded, lists, strict=True):
        row[: x.size] = x
    (
        cycles, causes, record, z_key, z_value, z_cycle, z_port, s_key, s_value, s_cycle,
    ) = step_windows(
        _sizes(shape, stride), delays, row_factor(shape.hash_bits), jobs,
        *_arrays(a), *_arrays(b),
        padded, np.array([x.size for x in lists], np.int64),
        bus_state(bus, shape.lanes, max(shape.token_queue, shape.request_queue) + 2), _CYCLE_LIMIT,
    )  # fmt: skip
    if cycles < 0:
        raise RuntimeError(f"the engine did not finish in {_CYCLE_LIMIT:,} cycles")
    window = np.zeros(z_key.size, np.int64)
    for output in range(shape.outputs):
        mine = np.flatnonzero(z_port == output)
        window[mine] = _before(z_key[mine] < 0)
    mask = (1 << shape.column_bits) - 1
    spill_window = np.repeat(np.arange(len(record)), record[:, SPILLED])
    closes = z_key < 0
    return RowwiseRun(
        cycles=int(cycles),
        lane_cycles=dict(zip(CAUSES, causes.tolist(), strict=True)),
        window=window,
        row=np.where(closes, -1, jobs[window, 0] + (z_key >> shape.column_bits)),
        column=np.where(closes, -1, z_key & mask),
        value=_canonical(z_value),
        cycle=z_cycle,
        output=z_port,
        spill_window=spill_window,
        spill_row=jobs[spill_window, 0] + (s_key >> shape.column_bits),
        spill_column=s_key & mask,
        spill_value=_canonical(s_value),
        spill_cycle=s_cycle,
        counts=record[:, :FLIP],
        flip_cycles=record[:, FLIP],
        done_cycles=record[:, DONE_CYCLE],
    )


def _checked_jobs(
    shape: RowwiseShape, a: Csr | RowLists, b: Csr | RowLists, starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"columns of A must be rows of B, but got shapes {a.shape} and {b.shape}")
    for name, x in (("A", a), ("B", b)):
        if x.data.dtype != shape.value_dtype:
            raise ValueError(
                f"values of {name} must be {shape.value_dtype}, but got {x.data.dtype}"
            )
        if x.shape[1] > 1 << shape.column_bits:
            raise ValueError(
                f"columns of {name} must be at most 2**{shape.column_bits}, but got {x.shape[1]}"
            )
    rows = np.diff(starts)
    if rows.size and (rows.min() < 1 or rows.max() > 1 << shape.row_bits):
        raise ValueError(
            f"a window must have 1 to {1 << shape.row_bits} rows, "
            f"but got {int(rows.min())} to {int(rows.max())}"
        )
    return np.stack([starts[:-1], rows], axis=1).astype(np.int64)


def _arrays(x: Csr | RowLists) -> tuple[NDArray, NDArray, NDArray]:
    """One type of index, whatever the operand has: columns fit 31 bits."""
    return x.indptr, np.ascontiguousarray(x.indices, np.int32), x.data


def _sizes(shape: RowwiseShape, stride: int) -> NDArray[np.int64]:
    return np.array(
        [
            shape.lanes,
            shape.banks,
            shape.bank_bits,
            shape.slot_bits,
            shape.outputs,
            shape.multiplier_latency,
            shape.adder_latency,
            shape.token_queue,
            shape.request_queue,
            shape.product_queue,
            shape.bank_queue,
            shape.column_bits,
            shape.epoch_bits,
            shape.probe_limit,
            shape.token_length,
            stride,
        ],
        np.int64,
    )


def _before(ends: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many ends stand before each place."""
    return np.cumsum(ends) - ends


def _canonical(values: NDArray) -> NDArray:
    """NaNs as the hardware gives them."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        bits = values.view(np.uint32).copy()
        bits[np.isnan(values)] = CANONICAL_NAN_BITS
        return bits.view(np.float32)
    return values
