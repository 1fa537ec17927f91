"""Element-wise passes on the vector lanes, bound by lanes or by DRAM."""

from __future__ import annotations

from math import ceil

from hwsim.config import ArrayConfig
from hwsim.energy import energy_parts
from hwsim.layer_run import LayerRun, registered
from hwsim.memory import dram_cycles, run_bytes
from hwsim.models.work import Vector

__all__ = ["stream_cycles", "vector_run"]


def vector_run(work: Vector, config: ArrayConfig) -> LayerRun:
    """A pass over whole tensors, one after the other; nothing of it overlaps with other layers.

    The lanes take one operation a cycle each; what DRAM needs beyond that is `stall_dram`.
    """
    lanes = config.vector_lanes
    if work.fused or not lanes:
        # fused with the product before it, or left to a host that is not modelled
        return LayerRun(work=work, dataflow="fused" if work.fused else "host")
    size, burst = config.number.operand_bytes, config.dram.burst_bytes
    read = int(run_bytes(1, work.elements_in * size, burst) + _packed(work.read_bits, burst))
    written = int(run_bytes(1, work.elements_out * size, burst) + _packed(work.write_bits, burst))
    issue = ceil(work.operations / lanes)
    stall = max(0, stream_cycles(read + written, config) - issue)
    counters = {
        "engine.vector_op": work.operations,
        "engine.stall_dram": stall,
        "buffer.dma": read + written,
        "dram.read": read,
        "dram.write": written,
    }
    return LayerRun(
        work=work,
        dataflow="vector",
        cycles=issue + stall,
        issue=issue,
        stall_dram=stall,
        dram_read_bytes=read,
        dram_write_bytes=written,
        counters=registered(counters),
        energy_parts_pj=energy_parts(config, counters),
    )


def stream_cycles(moved: int, config: ArrayConfig) -> int:
    """Cycles in which DRAM moves `moved` bytes (whole bursts) in one stream."""
    dram = config.dram
    peak = float("inf") if dram.bytes_per_cycle is None else dram.bytes_per_cycle
    return int(dram_cycles(moved, peak, dram.channels, dram.latency_cycles, dram.burst_bytes))


def _packed(bits: int, burst: int) -> int:
    return int(run_bytes(1, ceil(bits / 8), burst))
