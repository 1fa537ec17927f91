"""PIUMA model: SpGEMM kernels executed thread by thread on real data, with the machine's time.

`run_kernel` is the checked entry. It lays the operands out in DRAM, cuts the work into windows or
tokens, runs the programs of `hwsim.dataflows.piuma_hash`, `piuma_outer` or `piuma_inner` on the
resources of `hwsim.dataflows.piuma_machine`, and returns the product the threads computed, in the
order they computed it, beside what each thread, cache, bank, link and channel did. (The outer and
the inner product add in ascending k like the golden product, whose kernel computes their values.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hwsim.dataflows import piuma_hash, piuma_inner, piuma_outer
from hwsim.dataflows.piuma_machine import COLUMN_BITS
from hwsim.dataflows.piuma_program import C_FAR_AT, COSTS, Work
from hwsim.dataflows.piuma_state import PHASES, TIMELINE, WAITS, Die, MachineRun, State, mesh
from hwsim.dataflows.spgemm_counts import multiply
from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.sparse import Csr, index_dtype
from hwsim.models.spgemm import row_multiplies

__all__ = [
    "KERNELS",
    "PHASES",
    "TIMELINE",
    "WAITS",
    "Die",
    "MachineRun",
    "Windows",
    "cut_windows",
    "mesh",
    "run_kernel",
]

KERNELS = ("hash", "inner", "outer")
_NEVER = 1 << 62


@dataclass(frozen=True)
class Windows:
    """Rows grouped so that a group's bound fits a table.

    Attributes:
        begins: int64[windows + 1], first row of each, then m.
        places: int64[windows + 1], running sum of the bounds: where a window's entries go.
        far: int64[windows], slots of a table in DRAM for a row that does not fit, else 0.
        slots: of the scratchpad tables, a power of two, what the largest window needs.
    """

    begins: NDArray[np.int64]
    places: NDArray[np.int64]
    far: NDArray[np.int64]
    slots: int


def run_kernel(a: Csr, b: Csr, kernel: str, die: Die, costs: Mapping[str, int]) -> MachineRun:
    """Runs C = A B on the die.

    Args:
        a, b: operands of one value type.
        kernel: `hash` (with the mechanisms of `die`), `inner` or `outer`.
        die: the machine.
        costs: instructions by step, the names of `hwsim.dataflows.piuma_program.COSTS`.

    Raises:
        ValueError: the operands do not fit each other, an unknown kernel, a cost is missing, or a
            sum is too large to address.
    """
    if kernel not in KERNELS:
        raise ValueError(f"the kernel must be one of {', '.join(KERNELS)}, but got {kernel!r}")
    missing = [name for name in COSTS if name not in costs]
    if missing:
        raise ValueError(f"costs must name every step, but {missing[0]!r} is missing")
    bounds = np.minimum(row_multiplies(a, b), b.shape[1])
    if kernel == "hash":
        return _run_hash(a, b, bounds, die, costs)
    return _run_outer(a, b, die, costs) if kernel == "outer" else _run_inner(a, b, die, costs)


def cut_windows(bounds: NDArray[np.int64], die: Die) -> Windows:
    """Windows over the rows; each core's share of the rows is cut on its own."""
    m = len(bounds)
    entries = int(die.table_slots * die.table_load)
    total = int(bounds.sum())
    limit = min(entries, max(1, -(-total // (die.cores * die.per_core))))
    begins = np.empty(m + 1, np.int64)
    count = _cut(bounds, die.cores, limit, die.max_rows, begins)
    begins = begins[: count + 1].copy()
    places = np.r_[0, np.cumsum(bounds)][begins].astype(np.int64)
    sizes = np.diff(places)
    near = sizes[sizes <= entries]
    slots = min(die.table_slots, _power(int(np.ceil(near.max(initial=1) / die.table_load))))
    far = np.array(
        [_power(int(np.ceil(size / die.table_load))) if size > entries else 0 for size in sizes],
        np.int64,
    )
    return Windows(begins, places, far, max(slots, 8))


@njit(cache=True)
def _cut(bounds, cores, limit, max_rows, begins):  # pragma: no cover - compiled
    m = len(bounds)
    count = 0
    for c in range(cores):
        held = 0
        rows = 0
        for row in range(m * c // cores, m * (c + 1) // cores):
            if rows == 0 or held + bounds[row] > limit or rows == max_rows:
                begins[count] = row
                count += 1
                held = 0
                rows = 0
            held += bounds[row]
            rows += 1
    begins[count] = m
    return count


def _power(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


def _run_hash(
    a: Csr, b: Csr, bounds: NDArray[np.int64], die: Die, costs: Mapping[str, int]
) -> MachineRun:
    windows = cut_windows(bounds, die)
    state = State(a, b, die, costs)
    count = len(windows.far)
    far = int(windows.far.max(initial=0))
    state.set(
        slots=windows.slots, static=die.work_static, high=die.hash_high, offset=die.table_offset,
        dma=die.write_dma, windows=count,
    )  # fmt: skip
    entries = int(windows.places[-1])
    state.place("bound", 8 * a.shape[0])
    state.place("window", 32 * count)
    state.place("z", entries * (8 + state.value_bytes))
    table_at = state.place("table", 16 * far * die.cores)
    state.hw.core[:, C_FAR_AT] = table_at + 16 * far * np.arange(die.cores)
    table = np.zeros((die.cores * (windows.slots + far), 2), np.int64)
    window_of = np.zeros(a.shape[0] + 1, np.int64)
    window_of[windows.begins[:-1] + 1] = 1
    work = Work(
        row_place=np.r_[0, np.cumsum(bounds)].astype(np.int64),
        window_of=np.cumsum(window_of),
        begins=windows.begins,
        places=windows.places,
        far=windows.far,
        sizes=np.zeros(count, np.int64),
        table=table,
        table_v=table.view(state.a.val.dtype),
        z_key=np.empty(entries, np.int64),
        z_val=np.empty(entries, state.a.val.dtype),
    )
    state.cycles = int(piuma_hash.run(state.hw, state.a, state.b, work, _NEVER))
    shape = (a.shape[0], b.shape[1])
    bits = int(state.par[COLUMN_BITS])
    indptr = np.zeros(shape[0] + 1, np.int64)
    _count_rows(work.z_key, work.begins, work.places, work.sizes, bits, indptr)
    np.cumsum(indptr, out=indptr)
    indices = np.empty(int(indptr[-1]), index_dtype(shape, int(indptr[-1])))
    data = np.empty(len(indices), work.z_val.dtype)
    _gather(
        work.z_key, work.z_val, work.begins, work.places, work.sizes, bits, indptr, indices, data
    )
    return state.finish(_sorted(shape, indptr, indices, data, a.data.dtype), count)


def _run_outer(a: Csr, b: Csr, die: Die, costs: Mapping[str, int]) -> MachineRun:
    z = multiply(a, b)
    state = State(a, b, die, costs)
    lengths = b.row_lengths[a.indices]
    product_bytes = 4 + state.value_bytes
    state.place("t_index", 8 * a.shape[0])
    state.place("t_value", int(lengths.sum()) * product_bytes)
    state.place("z", z.nnz * product_bytes)
    order = np.argsort(a.indices, kind="stable")  # A by columns
    places = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    tokens = piuma_outer.merge_tokens(
        a.indptr, a.indices, b.indptr, b.indices, places, z.indptr, die.merge_products,
        die.line_bytes, product_bytes, die.workers, die.cache_bytes,
    )  # fmt: skip
    columns = a.indices[order].astype(np.int64)
    state.cycles = int(
        piuma_outer.outer(
            state.hw, a.rows[order], columns, places[:-1][order], b.indptr, tokens, _NEVER
        )
    )
    return state.finish(z, 0)


def _run_inner(a: Csr, b: Csr, die: Die, costs: Mapping[str, int]) -> MachineRun:
    z = multiply(a, b)
    state = State(a, b, die, costs)
    k, n = b.shape
    state.place("z", z.nnz * (4 + state.value_bytes))
    columns = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(b.indices, minlength=n), out=columns[1:])
    width = die.inner_columns
    edges = columns[np.minimum(np.arange(0, n + width, width), n)]
    largest = int(np.diff(edges).max(initial=0)) * state.get("coordinate_bytes")
    state.cycles = int(
        piuma_inner.inner(
            state.hw, np.zeros(len(state.hw.ring), np.int64), state.a, state.b, columns, width,
            np.zeros(k + 1, np.int64), np.zeros(k + 1, np.int64), np.zeros((k, 2), np.int64),
            np.full(n, -1, np.int64), 2 * largest <= die.cache_bytes, _NEVER,
        )
    )  # fmt: skip
    return state.finish(z, 0)


@njit(cache=True)
def _count_rows(z_key, begins, places, sizes, bits, lengths):  # pragma: no cover - compiled
    for w in range(len(sizes)):
        for p in range(places[w], places[w] + sizes[w]):
            lengths[begins[w] + (z_key[p] >> bits) + 1] += 1


@njit(cache=True)
def _gather(
    z_key, z_val, begins, places, sizes, bits, indptr, indices, data
):  # pragma: no cover - compiled
    mask = (1 << bits) - 1
    rows = 0
    for w in range(len(sizes)):
        rows = max(rows, begins[w + 1] - begins[w])
    used = np.empty(rows, np.int64)
    for w in range(len(sizes)):
        used[:] = 0
        for p in range(places[w], places[w] + sizes[w]):
            r = z_key[p] >> bits
            at = indptr[begins[w] + r] + used[r]
            used[r] += 1
            indices[at] = z_key[p] & mask
            data[at] = z_val[p]


def _sorted(
    shape: tuple[int, int],
    indptr: NDArray[np.int64],
    indices: NDArray[Any],
    data: NDArray[Any],
    dtype: np.dtype[Any],
) -> Csr:
    """Columns ascending, by transposing twice; values in the operands' type."""
    matrix = csr_array((data, indices, indptr), shape=shape).tocsc().tocsr()
    values = matrix.data.astype(dtype)
    if dtype == np.float32:
        values.view(np.uint32)[np.isnan(values)] = CANONICAL_NAN_BITS
    return Csr(shape, indptr, matrix.indices.astype(indices.dtype, copy=False), values)
