"""A sparse product on the row-wise engine: the core cycle by cycle, DRAM around it by bandwidth.

The core is `hwsim.dataflows.rowwise_sim`, exact against the RTL; the memory behind its ports
answers after the configured latency, a word a cycle at each port. What the ports move together is
held against the bandwidth window by window: a window lasts as long as the slower of the two, and
what DRAM adds is the part `dram`. That is the approximation: within a window bandwidth is not
shared out word by word. Products that found no slot take further passes (`spill`) over what they
left in memory, until none is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsim.config_spgemm import SpgemmConfig
from hwsim.dataflows.rowwise_sim import MemoryLatency, RowwiseRun, simulate
from hwsim.energy import energy_parts
from hwsim.errors import UserError
from hwsim.models.rowwise import RowLists, row_bound, spill_operands, windows
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseProduct
from hwsim.spgemm_run import SpgemmRun, apportion, total

__all__ = ["assemble", "product_windows", "run_product"]

_POINTER_BYTES = 4
_ELEMENT_BYTES = 8  # 4 of column, 4 of value
_ENTRY_BYTES = 12  # row, column, value


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """One run through the windows: what the core did, what moved."""

    run: RowwiseRun
    read: dict[str, int]
    written: dict[str, int]
    dram_stall: int


def run_product(product: SparseProduct, config: SpgemmConfig) -> SpgemmRun:
    """C = A B on the row-wise engine: values, counts, traffic, cycles and energy.

    Raises:
        UserError: values that the engine's format does not hold, or sizes beyond its widths.
    """
    try:
        a = product.a.astype(config.shape.value_dtype)
        b = a if product.b is product.a else product.b.astype(config.shape.value_dtype)
        passes = _passes(config, a, b)
    except ValueError as error:
        raise UserError(f"{product.layer} on {config.name}: {error}") from None
    z = assemble((product.m, product.n), [done.run for done in passes])
    parts = apportion(passes[0].run.cycles, passes[0].run.lane_cycles)
    parts["spill"] = sum(done.run.cycles for done in passes[1:])
    parts["dram"] = sum(done.dram_stall for done in passes)
    first, again = passes[0], passes[1:]
    # what further passes read lies in the buffer of spilled products
    traffic = dict(first.read)
    traffic["spill.read"] = sum(sum(done.read.values()) for done in again)
    traffic |= total(done.written for done in passes)
    multiplies = first.run.totals["spgemm.multiply"]
    spilled = sum(done.run.spilled for done in passes)
    counters = total(done.run.totals for done in passes) | {
        "spgemm.multiply": multiplies,
        "spgemm.add": multiplies - z.nnz,
        "spgemm.nnz_c": z.nnz,
        "spgemm.hash.spill": spilled,
        "spgemm.hash.wait": sum(done.run.waits for done in passes),
        "dram.read": sum(v for name, v in traffic.items() if name.endswith(".read")),
        "dram.write": sum(v for name, v in traffic.items() if name.endswith(".write")),
    }
    return SpgemmRun(
        layer=product.layer,
        op=product.op,
        m=product.m,
        n=product.n,
        k=product.k,
        nnz_a=a.nnz,
        nnz_b=b.nnz,
        nnz_c=z.nnz,
        dataflow="row_wise_hash",
        cycles=sum(parts.values()),
        parts=parts,
        macs_dense=product.m * product.n * product.k,
        macs_effective=multiplies,
        bytes_by_cause=traffic,
        counters=counters,
        energy_parts_pj=energy_parts(config, counters),
        z=z,
    )


def assemble(shape: tuple[int, int], runs: list[RowwiseRun]) -> Csr:
    """The entries of all passes in CSR; no two have the same place."""
    kept = [run.column >= 0 for run in runs]
    row = np.concatenate([run.row[keep] for run, keep in zip(runs, kept, strict=True)])
    column = np.concatenate([run.column[keep] for run, keep in zip(runs, kept, strict=True)])
    value = np.concatenate([run.value[keep] for run, keep in zip(runs, kept, strict=True)])
    order = np.argsort(row * shape[1] + column)
    counts = np.bincount(row, minlength=shape[0])
    return Csr(
        shape,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        column[order].astype(np.int32),
        value[order],
    )


def product_windows(
    config: SpgemmConfig, a: Csr | RowLists, b: Csr | RowLists
) -> NDArray[np.int64]:
    """First row of each window of C = A B and the end: bounds up to `window_load` of the tables."""
    bound = row_bound(a.indptr, a.indices, b.indptr, b.shape[1])
    capacity = max(1, int(config.capacity * config.window_load))
    return windows(bound, capacity, 1 << config.row_bits)


def _passes(config: SpgemmConfig, a: Csr | RowLists, b: Csr | RowLists) -> list[_Pass]:
    """The product and the passes over what it spilled.

    The first product of a window always finds a slot, so each pass leaves fewer entries than the
    one before.
    """
    done = [_pass(config, a, b)]
    while done[-1].run.spilled:
        left = done[-1].run
        pick, spilled, rows = spill_operands(
            b.shape[1], left.spill_row, left.spill_column, left.spill_value
        )
        again = _pass(config, pick, spilled)
        done.append(replace(again, run=again.run.renamed(rows)))
    return done


def _pass(config: SpgemmConfig, a: Csr | RowLists, b: Csr | RowLists) -> _Pass:
    starts = product_windows(config, a, b)
    wait = config.dram.latency_cycles
    latency = MemoryLatency(a_ptr=wait, a=wait, b_ptr=wait, b=wait)
    run = simulate(config.shape, a, b, starts, latency=latency)
    reads = _window_reads(config, a, b, starts)
    entries = np.bincount(run.window[run.column >= 0], minlength=starts.size - 1)
    spilled = np.bincount(run.spill_window, minlength=starts.size - 1)
    moved = sum(reads.values()) + _ENTRY_BYTES * (entries + spilled)
    burst = config.dram.burst_bytes
    written = {
        "z.write": sum(
            _whole(_ENTRY_BYTES * int(n), burst)
            for n in np.bincount(run.output[run.column >= 0], minlength=config.outputs)
        ),
        "spill.write": _whole(_ENTRY_BYTES * run.spilled, burst),
    }
    stall = 0
    if config.dram.bytes_per_cycle is not None:
        needed = np.ceil(moved / config.dram.bytes_per_cycle).astype(np.int64)
        stall = int(np.maximum(needed - run.window_cycles, 0).sum())
    read = {name: int(per_window.sum()) for name, per_window in reads.items()}
    return _Pass(run=run, read=read, written=written, dram_stall=stall)


def _window_reads(
    config: SpgemmConfig, a: Csr | RowLists, b: Csr | RowLists, starts: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Bytes read in each window by cause, whole bursts: every request touches its own."""
    burst = config.dram.burst_bytes
    pointers = _touched(_POINTER_BYTES * starts[:-1], _POINTER_BYTES * (starts[1:] + 1), burst)
    rows = _touched(_ELEMENT_BYTES * a.indptr[:-1], _ELEMENT_BYTES * a.indptr[1:], burst)
    k = np.arange(b.shape[0], dtype=np.int64)
    pair = _touched(_POINTER_BYTES * k, _POINTER_BYTES * (k + 2), burst)
    pieces = _row_of_b(config, b)
    return {
        "a.read": pointers + _between(rows, starts),
        "b_ptr.read": _between(pair[a.indices], a.indptr[starts]),
        "b.read": _between(pieces[a.indices], a.indptr[starts]),
    }


def _row_of_b(config: SpgemmConfig, b: Csr | RowLists) -> NDArray[np.int64]:
    """Bytes of each row of B, read in requests of `token_length` elements."""
    length = np.diff(b.indptr)
    pieces = -(-length // config.token_length)
    row = np.repeat(np.arange(length.size), pieces)
    ends = np.concatenate([[0], np.cumsum(pieces)])
    at = b.indptr[row] + config.token_length * (np.arange(row.size) - ends[row])
    end = np.minimum(at + config.token_length, b.indptr[row + 1])
    return _between(
        _touched(_ELEMENT_BYTES * at, _ELEMENT_BYTES * end, config.dram.burst_bytes), ends
    )


def _touched(start: NDArray[np.int64], end: NDArray[np.int64], burst: int) -> NDArray[np.int64]:
    """Bytes of the bursts that the bytes start..end lie in; 0 where there are none."""
    return np.where(end > start, (-(-end // burst) - start // burst) * burst, 0)


def _between(amounts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of the amounts from each end to the next."""
    running = np.concatenate([[0], np.cumsum(amounts)])[ends]
    return np.diff(running)


def _whole(amount: int, burst: int) -> int:
    return -(-amount // burst) * burst
