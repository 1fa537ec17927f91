"""PIUMA model: SpGEMM kernels executed thread by thread on real data, with the machine's time.

`run_kernel` is the checked entry. It lays the operands out in DRAM, cuts the work into windows or
tokens, runs the programs of `hwsim.dataflows.piuma_hash` or `hwsim.dataflows.piuma_products` on the
resources of `hwsim.dataflows.piuma_machine`, and returns the product the threads computed, in the
order they computed it, beside what each thread, cache, bank, link and channel did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows import piuma_hash as hashing
from hwsim.dataflows import piuma_machine as machine
from hwsim.dataflows import piuma_products as products
from hwsim.dataflows.spgemm_counts import multiply
from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.sparse import Csr, index_dtype
from hwsim.models.spgemm import row_multiplies

__all__ = ["KERNELS", "PHASES", "TIMELINE", "WAITS", "Die", "MachineRun", "run_kernel"]

KERNELS = ("hash", "inner", "outer")
WAITS = ("pipeline", "cache/dram", "scratchpad", "atomic", "remote", "dma", "barrier", "idle")
"""Causes of a thread's cycles besides issuing, columns of `MachineRun.thread_wait`.

pipeline: the depth of the pipeline and rivals for its issue slots; cache/dram, scratchpad, atomic,
remote: what a memory access takes longer than the pipeline; dma: the engine; barrier: others;
idle: the thread has no part in the kernel, or is done.
"""
TIMELINE = (
    "instructions", "dram_read_bytes", "dram_write_bytes", "scratchpad_entries", "active_threads",
    "cache_hits", "cache_misses", "dma_bytes", "spad_ops",
)  # fmt: skip
"""Columns of `MachineRun.timeline`: events of the bucket, but for `scratchpad_entries` (keys in the
hash tables of the die) and `active_threads` (not parked at a barrier), which are means over it."""
PHASES = (
    "distribution", "cut", "hashing", "write-back", "dma", "multiply", "merge", "intersect",
)  # fmt: skip

_SPAN = np.dtype(
    [
        ("core", np.int32), ("thread", np.int32), ("begin", np.int64), ("end", np.int64),
        ("phase", np.int32), ("window", np.int32),
    ]
)  # fmt: skip
_ALIGN = 1 << 16
_NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Die:
    """The machine and its kernel in whole numbers; `hwsim.config_piuma` explains each.

    Attributes:
        dram_bytes_per_cycle: over all channels, None for no limit; the only one that is no integer
            besides `table_load`.
        work_static, hash_high, table_offset, write_dma: mechanisms of the hash kernels.
    """

    cores: int
    mtps: int
    threads: int
    depth: int
    stps: int
    barrier_cycles: int
    banks: int
    scratchpad_latency: int
    atomic_cycles: int
    float_add_cycles: int
    cache_bytes: int
    cache_ways: int
    line_bytes: int
    cache_latency: int
    mesh_columns: int
    mesh_rows: int
    hop_cycles: int
    link_bytes: int
    header_bytes: int
    dma_bytes_per_cycle: int
    dma_setup_cycles: int
    dma_chunk_bytes: int
    dram_bytes_per_cycle: float | None
    channels: int
    dram_latency: int
    burst_bytes: int
    interleave_bytes: int
    store_cycles: int
    store_queue_cycles: int
    table_slots: int
    table_load: float
    per_core: int
    max_rows: int
    token_size: int
    row_token: int
    merge_products: int
    inner_columns: int
    work_static: bool
    hash_high: bool
    table_offset: bool
    write_dma: bool

    @property
    def workers(self) -> int:
        """Threads of a core that run the kernels: those of the multi-threaded pipelines."""
        return self.mtps * self.threads

    @property
    def threads_per_core(self) -> int:
        return self.workers + self.stps


@dataclass(frozen=True, kw_only=True, eq=False)
class MachineRun:
    """What a kernel did.

    Attributes:
        cycles: clocks until the last thread, engine and DRAM channel was done.
        z: the product, float sums in the order in which the threads merged them.
        counts: events by the names of `hwsim.dataflows.piuma_machine.COUNTS`.
        bytes_by_cause: bytes of DRAM bursts by operand and direction.
        thread_issue: int64[threads], instructions issued, core by core; a core's single-thread
            pipelines come last.
        thread_wait: int64[threads, WAITS]; with `thread_issue` they sum to `cycles`.
        bucket_cycles: clocks of a row of the timeline.
        timeline: int64[buckets, TIMELINE].
        spans: core, thread in the core (-1: the core as a whole), begin, end, phase (index of
            PHASES), window (-1: none), some 20 000 at most.
        windows: windows of rows, or 0.
    """

    cycles: int
    z: Csr
    counts: dict[str, int]
    bytes_by_cause: dict[str, int]
    thread_issue: NDArray[np.int64]
    thread_wait: NDArray[np.int64]
    bucket_cycles: int
    timeline: NDArray[np.int64]
    spans: NDArray[Any]
    windows: int


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
        costs: instructions by step, the names of `hwsim.dataflows.piuma_hash.COSTS`.

    Raises:
        ValueError: the operands do not fit each other, an unknown kernel, a cost is missing, or a
            sum is too large to address.
    """
    if kernel not in KERNELS:
        raise ValueError(f"the kernel must be one of {', '.join(KERNELS)}, but got {kernel!r}")
    missing = [name for name in hashing.COSTS if name not in costs]
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
    state = _State(a, b, die)
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
    core = np.zeros((die.cores, hashing.CORE_COLUMNS), np.int64)
    core[:, hashing.C_FAR_AT] = table_at + 16 * far * np.arange(die.cores)
    table = np.zeros((die.cores * (windows.slots + far), 2), np.int64)
    window_of = np.zeros(a.shape[0] + 1, np.int64)
    window_of[windows.begins[:-1] + 1] = 1
    np.cumsum(window_of, out=window_of)
    sizes = np.zeros(count, np.int64)
    z_key = np.empty(entries, np.int64)
    z_val = np.empty(entries, state.a_val.dtype)
    state.cycles = int(
        hashing.run(
            state.par, np.array([costs[name] for name in hashing.COSTS], np.int64), state.th, core,
            state.ring, state.banks, state.chan, state.links, state.routes, state.places,
            state.cache, state.wheel, state.queue, state.cnt, state.moved, state.totals,
            state.spans, state.last, a.indptr, a.indices, state.a_val, b.indptr, b.indices,
            state.b_val, np.r_[0, np.cumsum(bounds)], window_of, windows.begins, windows.places,
            windows.far, sizes, table, table.view(state.a_val.dtype), z_key, z_val, _NEVER,
        )
    )  # fmt: skip
    shape = (a.shape[0], b.shape[1])
    bits = int(state.par[machine.COLUMN_BITS])
    indptr = np.zeros(shape[0] + 1, np.int64)
    _count_rows(z_key, windows.begins, windows.places, sizes, bits, indptr)
    np.cumsum(indptr, out=indptr)
    indices = np.empty(int(indptr[-1]), index_dtype(shape, int(indptr[-1])))
    data = np.empty(len(indices), z_val.dtype)
    _gather(z_key, z_val, windows.begins, windows.places, sizes, bits, indptr, indices, data)
    return state.finish(_sorted(shape, indptr, indices, data, a.data.dtype), count)


def _run_outer(a: Csr, b: Csr, die: Die, costs: Mapping[str, int]) -> MachineRun:
    z = multiply(a, b)
    state = _State(a, b, die)
    lengths = b.row_lengths[a.indices]
    total = int(lengths.sum())
    state.place("t_index", 8 * a.shape[0])
    state.place("t_value", total * (4 + state.value_bytes))
    state.place("z", z.nnz * (4 + state.value_bytes))
    order = np.argsort(a.indices, kind="stable")  # A by columns
    places = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    tokens = _merge_tokens(
        a.indptr, a.indices, b.indptr, b.indices, places, z.indptr, die.merge_products,
        die.line_bytes, 4 + state.value_bytes, die.workers, die.cache_bytes,
    )  # fmt: skip
    state.cycles = int(
        products.outer(
            state.par, np.array([costs[name] for name in hashing.COSTS], np.int64), state.th,
            state.ring, state.banks, state.chan, state.links, state.routes, state.places,
            state.cache, state.wheel, state.queue, state.cnt, state.moved, state.totals,
            state.spans, state.last, a.rows[order], a.indices[order].astype(np.int64),
            places[:-1][order], b.indptr, *np.ascontiguousarray(tokens.T), _NEVER,
        )
    )  # fmt: skip
    return state.finish(z, 0)


def _run_inner(a: Csr, b: Csr, die: Die, costs: Mapping[str, int]) -> MachineRun:
    z = multiply(a, b)
    state = _State(a, b, die)
    k, n = b.shape
    state.place("z", z.nnz * (4 + state.value_bytes))
    columns = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(b.indices, minlength=n), out=columns[1:])
    width = die.inner_columns
    edges = columns[np.minimum(np.arange(0, n + width, width), n)]
    largest = int(np.diff(edges).max(initial=0)) * state.get("coordinate_bytes")
    state.cycles = int(
        products.inner(
            state.par, np.array([costs[name] for name in hashing.COSTS], np.int64), state.th,
            state.ring, state.banks, state.chan, state.links, state.routes, state.places,
            state.cache, state.wheel, state.queue, state.cnt, state.moved, state.totals,
            state.spans, state.last, np.zeros(len(state.ring), np.int64), a.indptr, a.indices,
            b.indptr, b.indices, columns, width, np.zeros(k + 1, np.int64),
            np.zeros(k + 1, np.int64), np.zeros((k, 2), np.int64), np.full(n, -1, np.int64),
            2 * largest <= die.cache_bytes, _NEVER,
        )
    )  # fmt: skip
    return state.finish(z, 0)


def _merge_tokens(
    a_ptr: NDArray[Any], a_idx: NDArray[Any], b_ptr: NDArray[Any], b_idx: NDArray[Any],
    places: NDArray[np.int64], z_ptr: NDArray[np.int64], limit: int, line: int, size: int,
    workers: int, cache: int,
) -> NDArray[np.int64]:  # fmt: skip
    """int64[tokens, 8]: products, segments, halving steps, place of the first product, stride,
    entries, place of the first entry, cached or not. Rows of more than `limit` products are cut
    into ranges of columns at equal shares of their products."""
    counts = np.diff(places[a_ptr])
    room = int((counts // limit + 1).sum() * 2 + len(counts))
    tokens = np.empty((room, 8), np.int64)
    count = _fill_tokens(
        a_ptr, a_idx, b_ptr, b_idx, places, z_ptr, limit, line, size, workers, cache, tokens
    )
    return tokens[:count]


@njit(cache=True)
def _fill_tokens(
    a_ptr, a_idx, b_ptr, b_idx, places, z_ptr, limit, line, size, workers, cache, tokens
):  # pragma: no cover - compiled
    count = 0
    for row in range(len(a_ptr) - 1):
        first = places[a_ptr[row]]
        products_of = places[a_ptr[row + 1]] - first
        if products_of == 0:
            continue
        segments = 0
        for e in range(a_ptr[row], a_ptr[row + 1]):
            segments += places[e + 1] > places[e]
        if products_of <= limit:
            held = min(segments * line, products_of * size) * workers
            tokens[count, 0] = products_of
            tokens[count, 1] = segments
            tokens[count, 2] = 0
            tokens[count, 3] = first
            tokens[count, 4] = 1
            tokens[count, 5] = z_ptr[row + 1] - z_ptr[row]
            tokens[count, 6] = z_ptr[row]
            tokens[count, 7] = held <= cache
            count += 1
            continue
        columns = np.empty(products_of, np.int64)
        at = 0
        for e in range(a_ptr[row], a_ptr[row + 1]):
            for p in range(b_ptr[a_idx[e]], b_ptr[a_idx[e] + 1]):
                columns[at] = b_idx[p]
                at += 1
        columns.sort()
        steps = 1
        while (1 << steps) * segments < products_of:
            steps += 1
        ranges = -(-products_of // limit)
        share = -(-products_of // ranges)
        begin = 0
        done = z_ptr[row]
        index = 0
        while begin < products_of:
            stop = min(begin + share, products_of)
            while stop < products_of and columns[stop] == columns[stop - 1]:
                stop += 1
            entries = 1
            for p in range(begin + 1, stop):
                entries += columns[p] != columns[p - 1]
            long = (stop - begin) * size >= segments * line
            tokens[count, 0] = stop - begin
            tokens[count, 1] = segments
            tokens[count, 2] = steps
            tokens[count, 3] = first + (begin if long else index)
            tokens[count, 4] = 1 if long else ranges
            tokens[count, 5] = entries
            tokens[count, 6] = done
            tokens[count, 7] = long and segments * line * workers <= cache
            count += 1
            done += entries
            begin = stop
            index += 1
    return count


class _State:
    """Arrays of one run."""

    def __init__(self, a: Csr, b: Csr, die: Die) -> None:
        self.die = die
        wide = a.data.dtype.kind == "i"  # sums of int32 wrap alike in 64 bits, cut at the end
        self.a_val = a.data.astype(np.int64) if wide else a.data
        self.b_val = b.data.astype(np.int64) if wide else b.data
        self.value_bytes = a.data.dtype.itemsize
        self.cycles = 0
        self.par = np.zeros(len(machine.PARAMETERS), np.int64)
        self._next = 0
        workers, per_core = die.workers, die.threads_per_core
        routers = die.mesh_columns * die.mesh_rows
        self.routes, self.places, links, longest = mesh(die)
        ticks = 0.0
        if die.dram_bytes_per_cycle is not None:
            ticks = machine.TICKS * die.burst_bytes * die.channels / die.dram_bytes_per_cycle
        sets = die.cache_bytes // (die.cache_ways * die.line_bytes)
        coordinate = max(a.indices.dtype.itemsize, b.indices.dtype.itemsize)
        self.set(
            cores=die.cores, threads_per_core=per_core, workers=workers, depth=die.depth,
            barrier=die.barrier_cycles,
            far_barrier=die.barrier_cycles + 2 * longest * die.hop_cycles, banks=die.banks,
            scratchpad_latency=die.scratchpad_latency, atomic_cycles=die.atomic_cycles,
            float_add_cycles=die.float_add_cycles, sets=sets, ways=die.cache_ways,
            line_shift=die.line_bytes.bit_length() - 1, cache_latency=die.cache_latency,
            hop_cycles=die.hop_cycles, link_bytes=die.link_bytes, header_bytes=die.header_bytes,
            routers=routers, links=links, dma_bytes=die.dma_bytes_per_cycle,
            dma_setup=die.dma_setup_cycles, dma_chunk=die.dma_chunk_bytes, channels=die.channels,
            interleave_shift=die.interleave_bytes.bit_length() - 1, burst=die.burst_bytes,
            burst_ticks=round(ticks), dram_latency=die.dram_latency, store_cycles=die.store_cycles,
            store_queue=die.store_queue_cycles, token_size=die.token_size,
            row_token=min(die.row_token, max(1, a.shape[0] // (2 * die.cores * workers))),
            merge_products=die.merge_products,
            inner_columns=die.inner_columns, m=a.shape[0], n=b.shape[1], k=a.shape[1],
            column_bits=max(b.shape[1] - 1, 1).bit_length(), value_bytes=self.value_bytes,
            coordinate_bytes=coordinate, pointer_bytes=coordinate,
        )  # fmt: skip
        for name, matrix in (("a", a), ("b", b)):
            if name == "b" and b is a:
                for part in ("pointer", "index", "value"):
                    self.set(**{f"b_{part}": int(self.get(f"a_{part}"))})
                break
            self.place(f"{name}_pointer", coordinate * (matrix.shape[0] + 1))
            self.place(f"{name}_index", coordinate * matrix.nnz)
            self.place(f"{name}_value", self.value_bytes * matrix.nnz)
        total = die.cores * per_core
        self.th = np.zeros((total + die.cores, machine.THREAD_COLUMNS), np.int64)
        thread = np.arange(total)
        inner = thread % per_core
        self.th[:, machine.ADDRESS] = -1
        self.th[:total, machine.CORE] = thread // per_core
        self.th[total:, machine.CORE] = np.arange(die.cores)
        single = inner >= workers
        pipe = np.where(single, die.mtps + inner - workers, inner % die.mtps)
        self.th[:total, machine.PIPE] = pipe + thread // per_core * (die.mtps + die.stps)
        self.th[:total, machine.STEP] = np.where(single, 1, die.depth)
        self.ring = np.full((die.cores * (die.mtps + die.stps), machine.RING, 2), -1, np.int64)
        self.banks = np.zeros((die.cores * die.banks, 3), np.int64)
        self.banks[:, 1] = -1
        self.chan = np.zeros(die.channels, np.int64)
        self.links = np.zeros(2 * links, np.int64)
        self.cache = np.full((die.cores * sets, 3 * die.cache_ways), -1, np.int64)
        self.wheel = np.full((machine.WHEEL, 2), -1, np.int64)
        self.queue = np.zeros(machine.HEADS, np.int64)
        self.queue[machine.SHIFT] = 8
        self.queue[machine.BOUNDARY] = 1 << 8
        self.cnt = np.zeros(len(machine.COUNTS), np.int64)
        self.moved = np.zeros(len(machine.BYTE_CAUSES), np.int64)
        self.totals = np.zeros((machine.BUCKETS, len(TIMELINE)), np.int64)
        self.spans = np.zeros((machine.SPANS, 6), np.int64)
        self.last = np.full((die.cores, len(PHASES)), -1, np.int64)

    def set(self, **values: int) -> None:
        for name, value in values.items():
            self.par[machine.PARAMETERS.index(name)] = value

    def get(self, name: str) -> int:
        return int(self.par[machine.PARAMETERS.index(name)])

    def place(self, name: str, size: int) -> int:
        """Gives an array its addresses; the first one."""
        at = self._next
        self.set(**{name: at})
        self._next = -(-(at + size) // _ALIGN) * _ALIGN
        return at

    def finish(self, z: Csr, windows: int) -> MachineRun:
        if self.cycles < 0:
            raise RuntimeError(f"the machine stopped with code {self.cycles}")
        total = self.die.cores * self.die.threads_per_core
        th = self.th[:total]
        issued = th[:, machine.ISSUED].copy()
        wait = th[:, machine.WAIT : machine.WAIT + len(WAITS)].copy()
        ended = th[:, hashing.ENDED]
        wait[:, WAITS.index("idle")] += self.cycles - ended
        timeline, bucket = self._timeline()
        rows = self.spans[: self.queue[machine.SPAN_COUNT]]
        spans = np.empty(len(rows), _SPAN)
        for column, name in enumerate(_SPAN.names or ()):
            spans[name] = rows[:, column]
        moved = {n: int(v) for n, v in zip(machine.BYTE_CAUSES, self.moved, strict=True) if v}
        return MachineRun(
            cycles=self.cycles,
            z=z,
            counts={n: int(v) for n, v in zip(machine.COUNTS, self.cnt, strict=True)},
            bytes_by_cause=moved,
            thread_issue=issued,
            thread_wait=wait,
            bucket_cycles=bucket,
            timeline=timeline,
            spans=spans,
            windows=windows,
        )

    def _timeline(self) -> tuple[NDArray[np.int64], int]:
        """Events of each bucket from running totals; sums over time become means."""
        queue, bucket = self.queue, 1 << int(self.queue[machine.SHIFT])
        machine.close_buckets(queue, self.cnt, self.moved, self.totals, self.cycles)
        full = int(queue[machine.BUCKET])
        bucket = 1 << int(queue[machine.SHIFT])
        machine.gauge(queue, self.cnt, machine.ENTRY_GAUGE, 0, self.cycles)
        machine.gauge(queue, self.cnt, machine.ACTIVE_GAUGE, 0, self.cycles)
        rest = self.cycles - full * bucket
        rows = self.totals[: full + 1].copy()
        machine.totals_of(self.cnt, self.moved, rows, full)
        if rest == 0:
            rows = rows[:full]
        table = np.diff(rows, axis=0, prepend=0)
        lengths = np.full(len(table), bucket)
        if rest:
            lengths[-1] = rest
        for name in ("scratchpad_entries", "active_threads"):
            table[:, TIMELINE.index(name)] //= np.maximum(lengths, 1)
        return table, bucket


def mesh(die: Die) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    """Routes, places, number of links and the longest route of the die's mesh.

    Returns:
        routes int64[routers^2, 1 + longest]: hops from router s to t in row s * routers + t, then
        the links, X first; places int64[2, cores]: routers of the cores and of their memory
        controllers; links, four a router (east, west, south, north); the longest route.
    """
    columns, rows = die.mesh_columns, die.mesh_rows
    routers = columns * rows
    longest = columns + rows - 2
    routes = np.zeros((routers * routers, 1 + max(longest, 1)), np.int64)
    for source in range(routers):
        for target in range(routers):
            x, y = source % columns, source // columns
            tx, ty = target % columns, target // columns
            path = []
            while x != tx:
                path.append(4 * (y * columns + x) + (0 if tx > x else 1))
                x += 1 if tx > x else -1
            while y != ty:
                path.append(4 * (y * columns + x) + (2 if ty > y else 3))
                y += 1 if ty > y else -1
            row = source * routers + target
            routes[row, 0] = len(path)
            routes[row, 1 : 1 + len(path)] = path
    even = [r for r in range(routers) if (r % columns + r // columns) % 2 == 0][: die.cores]
    beside = [r + (1 if (r // columns) % 2 == 0 else -1) for r in even]
    return routes, np.array([even, beside], np.int64), 4 * routers, longest


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
    from scipy.sparse import csr_array

    matrix = csr_array((data, indices, indptr), shape=shape).tocsc().tocsr()
    values = matrix.data.astype(dtype)
    if dtype == np.float32:
        values.view(np.uint32)[np.isnan(values)] = CANONICAL_NAN_BITS
    return Csr(shape, indptr, matrix.indices.astype(indices.dtype, copy=False), values)
