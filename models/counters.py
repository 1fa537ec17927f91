"""Event counters: one dotted name, a unit and a description, for kernels, reports and RTL alike."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COUNTERS", "Counter", "counter"]


@dataclass(frozen=True)
class Counter:
    """What a counter counts.

    Attributes:
        name: dotted, family.block.event; `engine`, `dram` and `buffer` belong to all families.
        unit: of one count.
        description: a phrase.
    """

    name: str
    unit: str
    description: str


_ALL = (
    Counter("sat.stce.mac", "MAC", "multiply-accumulates issued, kept weights and padding slots"),
    Counter("sat.stce.job", "job", "descriptors accepted by the array's sequencer"),
    Counter("sat.stce.step", "cycle", "steps in which operands of a product enter the array"),
    Counter("sat.stce.active", "cycle", "cycles in which the array advances while it holds a job"),
    Counter("sat.stce.stall_a", "cycle", "cycles in which the array waits for activations"),
    Counter("sat.stce.stall_b", "cycle", "cycles in which the array waits for weights"),
    Counter("sat.stce.stall_z", "cycle", "cycles in which the array waits for room for results"),
    Counter("sat.stce.a_beat", "beat", "beats of activations that the array took"),
    Counter("sat.stce.b_beat", "beat", "beats of weights that the array took"),
    Counter("sat.stce.z_beat", "beat", "beats of results that the array gave"),
    Counter("sat.stce.slot", "MAC", "multiply-accumulates issued, the padding of tiles included"),
    Counter("sat.sore.element", "element", "dense elements that go through the N:M selector"),
    Counter("sat.sore.busy", "cycle", "cycles in which the N:M selector works, hidden or not"),
    Counter("sat.wuve.update", "weight", "weights and other trained elements updated"),
    Counter("systolic.array.mac", "MAC", "multiply-accumulates issued"),
    Counter("systolic.array.fold", "fold", "times the array is filled"),
    Counter("systolic.array.step", "cycle", "cycles in which a fold's operands stream"),
    Counter("spgemm.core.cycle", "cycle", "cycles of the core from a product's start to its end"),
    Counter("spgemm.multiply", "multiply", "products A[i,k] B[k,j] formed"),
    Counter("spgemm.add", "add", "products merged into an entry of C that is already there"),
    Counter("spgemm.nnz_c", "entry", "entries of C by structure; a sum of zero stays"),
    Counter("spgemm.hash.probe", "probe", "table slots looked at, the one that matches included"),
    Counter("spgemm.hash.insert", "entry", "keys that claimed an empty slot"),
    Counter("spgemm.hash.accumulate", "add", "products added to a key already in the table"),
    Counter("spgemm.hash.spill", "multiply", "products that found no slot and take a further pass"),
    Counter("spgemm.hash.wait", "cycle", "bank cycles spent waiting for a sum to the same entry"),
    Counter("spgemm.fibre_cache.hit", "row", "row fibres of B found whole in the fibre cache"),
    Counter("spgemm.fibre_cache.miss", "row", "row fibres of B fetched from DRAM"),
    Counter("spgemm.fibre_cache.read", "byte", "bytes of B read on chip, whatever holds them"),
    Counter("spgemm.merge.element", "element", "elements that pass a merger, every level"),
    Counter("spgemm.merge.compare", "compare", "comparisons of a sorted list of heads"),
    Counter("spgemm.inner.pair", "pair", "row and column pairs intersected"),
    Counter("spgemm.inner.compare", "compare", "coordinate comparisons of sorted intersections"),
    Counter("spgemm.outer.partial", "entry", "partial products stored to and read back from DRAM"),
    Counter("delta.item", "item", "elements compared with what was sent of them before"),
    Counter("delta.event", "event", "non-zero differences that are computed on"),
    Counter("delta.mac", "MAC", "multiply-accumulates of events with their weights"),
    Counter("delta.core.cycle", "cycle", "cycles of a core from reset to its last result so far"),
    Counter("delta.weight_bytes", "byte", "bytes of weights read on chip, wherever they live"),
    Counter("delta.state_bits", "bit", "bits of references, sums and codes moved on chip"),
    Counter("delta.stall_x", "cycle", "cycles in which a core would take a frame's word"),
    Counter("delta.stall_weight", "cycle", "cycles in which lanes wait for a word of weights"),
    Counter("delta.stall_result", "cycle", "cycles in which a result waits to be taken"),
    Counter("delta.gate", "unit", "units of a recurrent layer through the gate functions"),
    Counter("spgemm.piuma.instruction", "instruction", "instructions issued by all pipelines"),
    Counter("spgemm.piuma.scratchpad", "access", "words read or written in a scratchpad"),
    Counter("spgemm.piuma.atomic", "access", "atomic operations carried out by a scratchpad"),
    Counter("spgemm.piuma.remote", "access", "accesses to another core's scratchpad"),
    Counter("spgemm.piuma.barrier", "barrier", "times that a core's threads waited for all"),
    Counter("spgemm.piuma.spin", "access", "reads of a claimed slot whose offset is not there yet"),
    Counter("spgemm.piuma.dma", "byte", "bytes moved by DMA engines"),
    Counter("spgemm.piuma.hop", "byte", "bytes times mesh hops"),
    Counter("spgemm.piuma.cycle", "cycle", "cycles of the die, which draws power without work"),
    Counter("spgemm.piuma.window", "window", "windows of rows"),
    Counter("spgemm.piuma.far_window", "window", "windows whose table does not fit and is in DRAM"),
    Counter("spgemm.cache.hit", "access", "loads that hit a core's cache"),
    Counter("spgemm.cache.miss", "access", "loads that miss a core's cache"),
    Counter(
        "mac_skip.issued", "MAC", "multiplies issued, by zeros that the machine cannot tell too"
    ),
    Counter("mac_skip.dense_cycle", "cycle", "cycles of the dense counterpart"),
    Counter("engine.mac_dense", "MAC", "multiply-accumulates of the dense products"),
    Counter("engine.mac_effective", "MAC", "multiply-accumulates whose weight is kept"),
    Counter("engine.vector_op", "op", "element-wise operations outside the array"),
    Counter("engine.array_idle", "cycle", "array cycles without new operands: skew, short tiles"),
    Counter("engine.stall_dram", "cycle", "cycles in which the array waits for DRAM"),
    Counter("engine.fill", "cycle", "cycles before the first tile of a layer is on chip"),
    Counter("engine.drain", "cycle", "cycles after a layer's last step until its result is stored"),
    Counter("buffer.input_read", "byte", "activations read from the input buffer"),
    Counter("buffer.weight_read", "byte", "weights and indices read from the weight buffer"),
    Counter("buffer.output_write", "byte", "results written to the output buffer"),
    Counter("buffer.dma", "byte", "bytes moved between buffers and DRAM"),
    Counter("bus.cycle", "cycle", "cycles in which a list of descriptors runs"),
    Counter("bus.read_burst", "burst", "AXI read bursts asked for"),
    Counter("bus.write_burst", "burst", "AXI write bursts that went out"),
    Counter("dram.read", "byte", "bytes read from DRAM, whole bursts"),
    Counter("dram.write", "byte", "bytes written to DRAM, whole bursts"),
)

COUNTERS: dict[str, Counter] = {c.name: c for c in _ALL}
"""Counters by name."""


def counter(name: str) -> Counter:
    """The counter of that name.

    Raises:
        ValueError: there is none; a kernel or report uses a name that is not registered.
    """
    if name not in COUNTERS:
        raise ValueError(f"there is no counter {name!r}")
    return COUNTERS[name]
