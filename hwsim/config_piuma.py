"""Configuration of a PIUMA die for SpGEMM: threads, scratchpads, caches, mesh, DRAM, kernels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hwsim.config_base import DramConfig, Frozen
from hwsim.energy_block import EnergyBlock, Powered

__all__ = [
    "CacheConfig",
    "CostsConfig",
    "DmaConfig",
    "MeshConfig",
    "PipelineConfig",
    "PiumaConfig",
    "PiumaDramConfig",
    "PiumaEnergyConfig",
    "ScratchpadConfig",
    "Switches",
    "WindowConfig",
]

KEY_BYTES = 8
"""A (row, column) pair as tag of a slot or as entry of the result."""
OFFSET_BYTES = 4
VALUE_BYTES = 8

_Cycles = Annotated[int, Field(ge=1, le=4096)]
_Count = Annotated[int, Field(ge=0, le=64)]
_Energy = Annotated[float, Field(ge=0)]

_SWITCHES = {
    "v1": ("static", "high", "fused", "scan"),
    "v2": ("token", "low", "fused", "scan"),
    "v3": ("token", "low", "offset", "dma"),
}


class PipelineConfig(Frozen):
    """Pipelines of one core.

    Attributes:
        mtps: multi-threaded pipelines; each issues one instruction a cycle, round robin over its
            ready threads.
        threads: of one multi-threaded pipeline, each with one instruction in flight.
        depth: cycles from an instruction's issue until its thread is ready again.
        stps: single-thread pipelines; one instruction a cycle as long as none waits for memory.
        barrier_cycles: the collective engine, from a core's last arrival until its threads go on;
            a barrier of the die takes the longest way over the mesh in addition.
    """

    mtps: Annotated[int, Field(ge=1, le=64)]
    threads: Annotated[int, Field(ge=1, le=64)]
    depth: Annotated[int, Field(ge=1, le=64)]
    stps: Annotated[int, Field(ge=1, le=16)]
    barrier_cycles: _Cycles


class ScratchpadConfig(Frozen):
    """Scratchpad of one core, in banks of 8-byte words with an atomic unit each.

    Attributes:
        size_bytes: its capacity.
        banks: a power of two; word w lies in bank w mod banks. A bank takes one access a cycle.
        latency_cycles: from a load's issue until its thread is ready again, without waiting.
        atomic_cycles: a fetch-add or compare-exchange keeps its bank busy so long.
        float_add_cycles: a floating-point fetch-add keeps its word busy so long; other words of
            the bank wait `atomic_cycles`.
    """

    size_bytes: Annotated[int, Field(ge=1024, le=1 << 30)]
    banks: Annotated[int, Field(ge=1, le=1024)]
    latency_cycles: _Cycles
    atomic_cycles: _Cycles
    float_add_cycles: _Cycles


class CacheConfig(Frozen):
    """Non-coherent cache of one core, for operands that no thread writes.

    Attributes:
        size_bytes: a whole number of sets of `ways` lines.
        ways: of a set, least recently used goes first.
        line_bytes: a power of two; a miss reads the whole line.
        latency_cycles: of a hit. A cache takes one access a cycle for each pipeline.
    """

    size_bytes: Annotated[int, Field(ge=64, le=1 << 30)]
    ways: Annotated[int, Field(ge=1, le=64)]
    line_bytes: Annotated[int, Field(ge=8, le=1024)]
    latency_cycles: _Cycles


class MeshConfig(Frozen):
    """Two-dimensional mesh of a die, X first then Y.

    Core c sits at router c of the even ones (column + row even), counted row by row; its memory
    controller at the router right of it (left of it in odd rows). Requests and responses have
    links of their own, so they cannot block each other.

    Attributes:
        columns, rows: routers; columns even.
        hop_cycles: a router and the link behind it.
        link_bytes: a cycle and direction.
        header_bytes: of every packet, besides its data.
    """

    columns: Annotated[int, Field(ge=2, le=16)]
    rows: Annotated[int, Field(ge=1, le=16)]
    hop_cycles: _Cycles
    link_bytes: Annotated[int, Field(ge=1, le=1024)]
    header_bytes: Annotated[int, Field(ge=0, le=256)]


class DmaConfig(Frozen):
    """DMA engine of one core.

    Attributes:
        bytes_per_cycle: moved between scratchpad and mesh, or filled in the scratchpad.
        setup_cycles: from its descriptor to its first byte.
        chunk_bytes: of one DRAM transfer; it asks for the next when the last is on its way.
    """

    bytes_per_cycle: Annotated[int, Field(ge=1, le=4096)]
    setup_cycles: _Cycles
    chunk_bytes: Annotated[int, Field(ge=8, le=4096)]


class PiumaDramConfig(DramConfig):
    """DRAM of the die; `burst_bytes` is the granularity of an access.

    Attributes:
        interleave_bytes: consecutive bytes on one channel; channel c belongs to controller
            c mod cores.
        store_cycles: a store is posted: its thread is ready again after so long ...
        store_queue_cycles: ... unless its channel is backed up by more than this.
    """

    interleave_bytes: Annotated[int, Field(ge=8, le=65536)]
    store_cycles: _Cycles
    store_queue_cycles: _Cycles


class WindowConfig(Frozen):
    """How work is cut.

    Attributes:
        table_slots: slots of a core's hash table, a power of two.
        table_load: a window's rows are chosen so that their upper bound, the sum of
            min(multiplies of the row, columns of B), is at most this share of the slots.
        per_core: windows a core, at least; small products get smaller windows.
        max_rows: of a window.
        token_size: non-zeros of A in a token of the hashing phase; fewer, but one at least, where
            that would not give every thread of the core two tokens of the window.
        row_token: rows in a token of the distribution phase; fewer in the same way.
        merge_products: partial products of a row that one merge token of the outer product takes;
            a longer row is cut into ranges of columns.
        inner_columns: candidate columns in a token of the inner product.
    """

    table_slots: Annotated[int, Field(ge=8, le=1 << 24)]
    table_load: Annotated[float, Field(gt=0, le=1)]
    per_core: Annotated[int, Field(ge=1, le=1024)]
    max_rows: Annotated[int, Field(ge=1, le=1 << 20)]
    token_size: Annotated[int, Field(ge=1, le=1 << 20)]
    row_token: Annotated[int, Field(ge=1, le=1 << 20)]
    merge_products: Annotated[int, Field(ge=1, le=1 << 24)]
    inner_columns: Annotated[int, Field(ge=1, le=1 << 20)]


class CostsConfig(Frozen):
    """Instructions of each step of the kernels, besides the loads, stores and atomics it names.

    Attributes:
        row: static work: the next row of a thread and its bounds; two pointer loads.
        token: claim: operands and test of the result; one fetch-add.
        search: one halving step when a token looks for the row of its first non-zero; one load.
        row_step: a token goes on to the next row; one pointer load.
        entry: a non-zero of A: addresses and loop; loads of its column, its value and two pointers.
        element: a non-zero of B's row: addresses and loop; loads of its column and value.
        multiply: the product.
        hash: key and slot.
        probe: the result of a compare-exchange is compared with the key; one compare-exchange.
        next_slot: a further probe: next slot, wrap.
        accumulate: address of the value; one floating-point fetch-add.
        insert: offset table: a new entry takes the next offset; one fetch-add, three stores.
        offset: offset table: the address from the offset of a known key; one load.
        scan: a slot of the table is looked at; one load.
        emit: an entry found: its place and addresses; one fetch-add, one load, two DRAM stores,
            two stores that clear tag and value.
        copy_entry: an entry of the dense arrays copied by a thread; two loads, two DRAM stores.
        window: a core asks for its next window and reads its bounds; one remote fetch-add.
        dma: a DMA descriptor.
        bound: distribution: a non-zero of A adds to its row's bound; one load of the column, two
            of pointers.
        bound_row: distribution: a row begins and its bound is stored; two pointer loads, one
            DRAM store.
        cut: distribution, single-thread pipeline: a bound joins the window or opens the next;
            one load.
        partial: outer product: a product goes to its row's list; two DRAM stores.
        segment: outer product: a row's list gets a new segment; one remote fetch-add.
        head: outer product, merge: an element leaves its segment; two loads.
        compare: outer product, merge: one level of the tournament over the segments.
        merge_out: outer product: an entry of C leaves the merge; two DRAM stores.
        pair: inner product: a candidate pair begins: bounds of the column; two loads.
        intersect: inner product: a comparison of two coordinates advances a list; one load.
        match: inner product: multiply and add of a match; two loads.
        result: inner product: an entry of C is stored; two DRAM stores.
    """

    row: _Count
    token: _Count
    search: _Count
    row_step: _Count
    entry: _Count
    element: _Count
    multiply: _Count
    hash: _Count
    probe: _Count
    next_slot: _Count
    accumulate: _Count
    insert: _Count
    offset: _Count
    scan: _Count
    emit: _Count
    copy_entry: _Count
    window: _Count
    dma: _Count
    bound: _Count
    bound_row: _Count
    cut: _Count
    partial: _Count
    segment: _Count
    head: _Count
    compare: _Count
    merge_out: _Count
    pair: _Count
    intersect: _Count
    match: _Count
    result: _Count


class PiumaEnergyConfig(EnergyBlock):
    """Energy of each kind of event, in picojoules; the totals are counters times these.

    Attributes:
        instruction_pj: one instruction, its fetch, registers and arithmetic.
        scratchpad_pj: one access of 8 bytes.
        atomic_pj: an atomic operation, besides its two accesses.
        cache_pj: one access.
        dram_pj: a byte to or from DRAM.
        hop_pj: a byte over one link of the mesh.
        static_w: power that does not depend on work, in watts.
    """

    instruction_pj: _Energy
    scratchpad_pj: _Energy
    atomic_pj: _Energy
    cache_pj: _Energy
    dram_pj: _Energy
    hop_pj: _Energy
    static_w: _Energy


class Switches(Frozen):
    """A hash kernel as its four mechanisms."""

    work: Literal["static", "token"]
    hash: Literal["high", "low"]
    table: Literal["fused", "offset"]
    write_back: Literal["scan", "dma"]


class PiumaConfig(Powered):
    """A PIUMA die and the SpGEMM kernel that runs on it.

    Attributes:
        name: shown in reports.
        kernel: `v1`, `v2`, `v3` (atomic hashing), `inner` or `outer` product.
        op: `aa` (C = A A) or `aat` (C = A A^T); None takes `aa` for a square A.
        work, hash, table, write_back: mechanisms of the hash kernels one by one; None takes what
            the kernel stands for. `work`: rows and windows dealt out, or tokens claimed. `hash`:
            high or low bits of (row in window, column). `table`: tag and value in one table, or
            tag and offset into dense arrays. `write_back`: threads store the entries, or the DMA
            engine copies the dense arrays while the next window is hashed.
        clock_hz: clock frequency.
        cores: of the die, half the routers at most.
    """

    kind: Literal["piuma"] = "piuma"
    name: str
    kernel: Literal["v1", "v2", "v3", "inner", "outer"]
    op: Literal["aa", "aat"] | None
    work: Literal["static", "token"] | None = None
    hash: Literal["high", "low"] | None = None
    table: Literal["fused", "offset"] | None = None
    write_back: Literal["scan", "dma"] | None = None
    clock_hz: Annotated[float, Field(gt=0)]
    cores: Annotated[int, Field(ge=1, le=64)]
    pipelines: PipelineConfig
    scratchpad: ScratchpadConfig
    cache: CacheConfig
    mesh: MeshConfig
    dma: DmaConfig
    dram: PiumaDramConfig
    window: WindowConfig
    costs: CostsConfig
    energy: PiumaEnergyConfig

    @model_validator(mode="after")
    def _check(self) -> PiumaConfig:
        for name, value in (
            ("scratchpad.banks", self.scratchpad.banks),
            ("cache.line_bytes", self.cache.line_bytes),
            ("window.table_slots", self.window.table_slots),
            ("dram.interleave_bytes", self.dram.interleave_bytes),
        ):
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, but got {value}")
        if self.cache.size_bytes % (self.cache.ways * self.cache.line_bytes):
            raise ValueError(
                "cache.size_bytes must be a multiple of ways x line_bytes, but got "
                f"{self.cache.size_bytes}, {self.cache.ways} and {self.cache.line_bytes}"
            )
        if self.dram.interleave_bytes < self.cache.line_bytes:
            raise ValueError(
                "dram.interleave_bytes >= cache.line_bytes must hold, but got "
                f"{self.dram.interleave_bytes} and {self.cache.line_bytes}"
            )
        if self.mesh.columns % 2:
            raise ValueError(f"mesh.columns must be even, but got {self.mesh.columns}")
        if 2 * self.cores > self.mesh.columns * self.mesh.rows:
            raise ValueError(
                f"a mesh of {self.mesh.columns} x {self.mesh.rows} has room for "
                f"{self.mesh.columns * self.mesh.rows // 2} cores, but got {self.cores}"
            )
        if self.scratchpad.float_add_cycles > 2 * self.scratchpad.atomic_cycles:
            raise ValueError(
                "scratchpad.float_add_cycles <= 2 x atomic_cycles must hold, since a bank "
                "remembers one busy word, but got "
                f"{self.scratchpad.float_add_cycles} and {self.scratchpad.atomic_cycles}"
            )
        switches = self.switches
        if (switches.table, switches.write_back) == ("fused", "dma"):
            raise ValueError(
                "write_back=dma needs table=offset, since a fused table is not dense, "
                "but got table=fused"
            )
        if self.window_entries < 1:
            raise ValueError(
                "window.table_slots x table_load must be 1 or more, but got "
                f"{self.window.table_slots} x {self.window.table_load}"
            )
        if self.layout_bytes > self.scratchpad.size_bytes:
            raise ValueError(
                f"a table of {self.window.table_slots} slots takes {self.layout_bytes} bytes "
                f"of scratchpad, but scratchpad.size_bytes is {self.scratchpad.size_bytes}"
            )
        return self

    @property
    def switches(self) -> Switches:
        """The mechanisms of the hash kernel, resolved; of `v3` for the inner and outer product."""
        names = ("work", "hash", "table", "write_back")
        of_kernel = _SWITCHES.get(self.kernel, _SWITCHES["v3"])
        own: dict[str, Any] = dict(zip(names, of_kernel, strict=True))
        own.update({name: getattr(self, name) for name in names if getattr(self, name)})
        return Switches(**own)

    @property
    def window_entries(self) -> int:
        """Upper bound of a window's entries."""
        return int(self.window.table_slots * self.window.table_load)

    @property
    def layout_bytes(self) -> int:
        """Scratchpad of a core taken by the table and, with offsets, the dense arrays (two of
        them when the DMA engine empties one while the other fills)."""
        slots = self.window.table_slots
        if self.switches.table == "fused":
            return slots * (KEY_BYTES + VALUE_BYTES)
        buffers = 2 if self.switches.write_back == "dma" else 1
        dense = buffers * self.window_entries * (KEY_BYTES + VALUE_BYTES)
        return slots * (KEY_BYTES + OFFSET_BYTES) + dense

    @property
    def table_slots(self) -> int:
        """Slots of the hash tables of the die."""
        return self.cores * self.window.table_slots

    @property
    def threads_per_core(self) -> int:
        """Threads of the multi-threaded pipelines, then the single-thread pipelines."""
        return self.pipelines.mtps * self.pipelines.threads + self.pipelines.stps

    @property
    def threads(self) -> int:
        """Of the die."""
        return self.cores * self.threads_per_core

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiplies a cycle if every multi-threaded pipeline did nothing else."""
        return float(self.cores * self.pipelines.mtps)
