"""State of a PIUMA run: the die as numbers, its arrays, and what is read off them at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows import piuma_machine as machine
from hwsim.dataflows.piuma_program import CORE_COLUMNS, COSTS, ENDED, Matrix
from hwsim.models.sparse import Csr

__all__ = ["PHASES", "TIMELINE", "WAITS", "Die", "MachineRun", "State", "mesh"]

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


class State:
    """Arrays of one run: `hw` for the programs, `a` and `b` for the operands they read."""

    def __init__(self, a: Csr, b: Csr, die: Die, costs: Mapping[str, int]) -> None:
        self.die = die
        wide = a.data.dtype.kind == "i"  # sums of int32 wrap alike in 64 bits, cut at the end
        values = [x.data.astype(np.int64) if wide else x.data for x in (a, b)]
        self.a = Matrix(a.indptr, a.indices, values[0])
        self.b = Matrix(b.indptr, b.indices, values[1])
        self.value_bytes = a.data.dtype.itemsize
        self.cycles = 0
        self.par = np.zeros(len(machine.PARAMETERS), np.int64)
        self._next = 0
        workers, per_core = die.workers, die.threads_per_core
        routers = die.mesh_columns * die.mesh_rows
        routes, places, links, longest = mesh(die)
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
        cnt = np.zeros(len(machine.COUNTS), np.int64)
        net = machine.Net(
            par=self.par,
            chan=np.zeros(die.channels, np.int64),
            links=np.zeros(2 * links, np.int64),
            routes=routes,
            places=places,
            cnt=cnt,
            moved=np.zeros(len(machine.BYTE_CAUSES), np.int64),
        )
        pipes = die.cores * (die.mtps + die.stps)
        self.hw = machine.Machine(
            par=self.par,
            cost=np.array([costs[name] for name in COSTS], np.int64),
            th=np.zeros((total + die.cores, machine.THREAD_COLUMNS), np.int64),
            core=np.zeros((die.cores, CORE_COLUMNS), np.int64),
            ring=np.full((pipes, machine.RING, 2), -1, np.int64),
            banks=np.zeros((die.cores * die.banks, 3), np.int64),
            cache=np.full((die.cores * sets, 3 * die.cache_ways), -1, np.int64),
            wheel=np.full((machine.WHEEL, 2), -1, np.int64),
            queue=np.zeros(machine.QUEUE_COLUMNS, np.int64),
            cnt=cnt,
            totals=np.zeros((machine.BUCKETS, len(TIMELINE)), np.int64),
            spans=np.zeros((machine.SPANS, 6), np.int64),
            last=np.full((die.cores, len(PHASES)), -1, np.int64),
            net=net,
        )
        self.hw.banks[:, 1] = -1
        self.hw.queue[machine.SHIFT] = 8
        self.hw.queue[machine.BOUNDARY] = 1 << 8
        self._threads()

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

    def _threads(self) -> None:
        """Which core and pipeline a thread belongs to, and how often it can issue."""
        die, th = self.die, self.hw.th
        per_core = die.threads_per_core
        total = die.cores * per_core
        thread = np.arange(total)
        inner = thread % per_core
        single = inner >= die.workers
        pipe = np.where(single, die.mtps + inner - die.workers, inner % die.mtps)
        th[:, machine.ADDRESS] = -1
        th[:total, machine.CORE] = thread // per_core
        th[total:, machine.CORE] = np.arange(die.cores)
        th[:total, machine.PIPE] = pipe + thread // per_core * (die.mtps + die.stps)
        th[:total, machine.STEP] = np.where(single, 1, die.depth)

    def finish(self, z: Csr, windows: int) -> MachineRun:
        if self.cycles < 0:
            raise RuntimeError(f"the machine stopped with code {self.cycles}")
        hw = self.hw
        total = self.die.cores * self.die.threads_per_core
        th = self.hw.th[:total]
        issued = th[:, machine.ISSUED].copy()
        wait = th[:, machine.WAIT : machine.WAIT + len(WAITS)].copy()
        ended = th[:, ENDED]
        wait[:, WAITS.index("idle")] += self.cycles - ended
        timeline, bucket = self._timeline()
        rows = self.hw.spans[: self.hw.queue[machine.SPAN_COUNT]]
        spans = np.empty(len(rows), _SPAN)
        for column, name in enumerate(_SPAN.names or ()):
            spans[name] = rows[:, column]
        moved = {n: int(v) for n, v in zip(machine.BYTE_CAUSES, hw.net.moved, strict=True) if v}
        return MachineRun(
            cycles=self.cycles,
            z=z,
            counts={n: int(v) for n, v in zip(machine.COUNTS, hw.cnt, strict=True)},
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
        queue, cnt, moved, totals = self.hw.queue, self.hw.cnt, self.hw.net.moved, self.hw.totals
        machine.close_buckets(queue, cnt, moved, totals, self.cycles)
        full = int(queue[machine.BUCKET])
        bucket = 1 << int(queue[machine.SHIFT])
        machine.gauge(queue, cnt, machine.ENTRY_GAUGE, 0, self.cycles)
        machine.gauge(queue, cnt, machine.ACTIVE_GAUGE, 0, self.cycles)
        rest = self.cycles - full * bucket
        rows = totals[: full + 1].copy()
        machine.totals_of(cnt, moved, rows, full)
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
