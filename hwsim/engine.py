"""Runs a network's work on a configuration: cycles with their causes, traffic, events, energy.

A layer is cut into buffer tiles by a small search, the tiles go through the phase loop, and the
array's own cycles follow its law (`hwsim.dataflows.stce` for sat, which is the RTL's;
`hwsim.dataflows.systolic` for the published simulators' convention). Feature maps go through DRAM
between layers: a map that would fit on chip is not kept there. The products of a layer follow each
other back to back, time steps of a recurrence too, although each needs the one before: that leaves
out an array tail and a store a step, at least 2 to 10 % of the zoo's recurrent layers on `sat`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.config import Accelerator, SatConfig, SystolicConfig
from hwsim.dataflows import systolic
from hwsim.dataflows.stce import OS, WS, tail_cycles
from hwsim.errors import UserError
from hwsim.memory import dram_cycles, geometry_array, run_bytes
from hwsim.models.array import ArrayShape
from hwsim.models.counters import counter
from hwsim.models.nm import NMPattern
from hwsim.models.work import Gemm, Vector, Work
from hwsim.phases import PLAIN, ROW_FIELDS, layer_phases, search

__all__ = ["LayerRun", "pattern_of", "run", "run_layer"]

_MEMORIES = ("input_bytes", "weight_bytes", "output_bytes")


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """One layer and stage on an accelerator.

    Attributes:
        work: what was run.
        dataflow: `os`, `ws`, `is`, or `vector`, `fused`, `host` for element-wise work.
        sparsity: the pattern its weights were run with.
        tile: (tm, tn, tk), outputs and depth of a buffer tile; (0, 0, 0) for element-wise work.
        cycles: the sum of the five parts.
        issue: steps with operands; array_idle: array cycles without; stall_dram, fill, drain as in
            `hwsim.phases`.
        macs_dense, macs_effective: of the dense product; of the kept weights.
        counters: events by registered name.
        energy_pj: counters times energies, by part.
    """

    work: Work
    dataflow: str
    sparsity: str = "dense"
    tile: tuple[int, int, int] = (0, 0, 0)
    cycles: int = 0
    issue: int = 0
    array_idle: int = 0
    stall_dram: int = 0
    fill: int = 0
    drain: int = 0
    macs_dense: int = 0
    macs_effective: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    energy_parts_pj: dict[str, float] = field(default_factory=dict)

    @property
    def energy_pj(self) -> float:
        return sum(self.energy_parts_pj.values())


def run(
    work: Sequence[Work],
    config: Accelerator,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[LayerRun]:
    """Every layer of a network in order.

    Args:
        progress: told (layers done, layers in all).

    Raises:
        UserError: a layer does not fit the buffers, or the configuration cannot run it.
    """
    rows = []
    for i, item in enumerate(work):
        rows.append(run_layer(item, config))
        progress(i + 1, len(work))
    return rows


def run_layer(work: Work, config: Accelerator) -> LayerRun:
    """One layer; equal shapes on equal configurations are computed once.

    Raises:
        UserError: as `run`.
    """
    if isinstance(work, Vector):
        return _vector(work, config)
    if isinstance(config, SystolicConfig):
        return _systolic(work, config)
    if config.dataflow != "auto":
        return _sat(work, config, OS if config.dataflow == "os" else WS)
    fitting: list[LayerRun] = []
    refused: list[UserError] = []
    for mode in (OS, WS):
        try:
            fitting.append(_sat(work, config, mode))
        except UserError as error:  # one dataflow may fit buffers that the other does not
            refused.append(error)
    if not fitting:
        raise refused[0]
    return min(fitting, key=lambda r: (r.cycles, r.dram_read_bytes + r.dram_write_bytes))


def pattern_of(gemm: Gemm, config: Accelerator) -> NMPattern:
    """The pattern that a product's B is pruned to: trained, at least one group deep, not first."""
    pattern = config.pattern
    dense = NMPattern(1, 1)
    if not gemm.weights or gemm.k < pattern.m:
        return dense
    return dense if gemm.first and config.first_layer_dense else pattern


def _sat(gemm: Gemm, config: SatConfig, mode: int) -> LayerRun:
    pattern = pattern_of(gemm, config)
    slots = pattern.compact_length(gemm.k)
    rows, cols, depth = config.rows, config.cols, config.psum_depth
    shape = config.array
    array = (
        mode, rows, cols, depth, pattern.n, pattern.m, pattern.index_bits, int(pattern.dense),
        shape.tile_cols, shape.slot_steps, shape.drain_slots, shape.fold_steps,
    )  # fmt: skip
    unit_m, unit_n = (rows, shape.tile_cols) if mode == OS else (depth, cols)
    step_k = pattern.m * rows if not pattern.dense else rows * config.group_size
    tile, parts = _phases(_key(gemm), array, config, (unit_m, unit_n, step_k))
    # the first tile of a unit of outputs brings its steps; a chunked k adds to them
    if mode == OS:
        tiles = ceil(gemm.m / rows) * ceil(gemm.n / shape.tile_cols)
        issue = tiles * slots * shape.interleave * gemm.count
    else:
        issue = ceil(gemm.n / cols) * ceil(slots / rows) * gemm.m * gemm.count
    size = config.number.operand_bytes
    pair_bits = config.number.operand_bits + (0 if pattern.dense else pattern.index_bits)
    if mode == OS:
        a_read = gemm.m * gemm.k * ceil(gemm.n / shape.tile_cols) * size
        b_read = slots * gemm.n * ceil(gemm.m / rows) * pair_bits // 8
    else:
        a_read = gemm.m * gemm.k * ceil(gemm.n / cols) * size
        b_read = slots * gemm.n * ceil(gemm.m / min(depth, tile[0])) * pair_bits // 8
    return _finish(
        gemm,
        config,
        dataflow="os" if mode == OS else "ws",
        pattern=pattern,
        tile=tile,
        parts=parts,
        issue=issue,
        events={
            "sat.stce.mac": gemm.m * gemm.n * slots * gemm.count,
            "sat.stce.job": parts["jobs"],
            "sat.stce.step": issue,
            "buffer.input_read": a_read * gemm.count,
            "buffer.weight_read": b_read * gemm.count,
        },
    )


def _systolic(gemm: Gemm, config: SystolicConfig) -> LayerRun:
    pattern = pattern_of(gemm, config)
    slots = pattern.compact_length(gemm.k)
    rows, cols, kind = config.rows, config.cols, config.dataflow
    events = systolic.counts(kind, gemm.m, gemm.n, slots, rows, cols, drain=config.drain)
    array = (
        PLAIN, rows, cols, 0, pattern.n, pattern.m, pattern.index_bits, int(pattern.dense),
        cols, 1, rows, rows,
    )  # fmt: skip
    step_k = pattern.m * rows
    tile, parts = _phases(_key(gemm), array, config, (rows, cols, step_k), events.cycles)
    stream = {"os": slots, "ws": gemm.m, "is": gemm.n}[kind]
    issue = events.folds * stream * gemm.count
    size = config.number.operand_bytes
    return _finish(
        gemm,
        config,
        dataflow=kind,
        pattern=pattern,
        tile=tile,
        parts=parts,
        issue=min(issue, parts["compute"]),
        events={
            "systolic.array.mac": events.macs * gemm.count,
            "systolic.array.fold": events.folds * gemm.count,
            "systolic.array.step": issue,
            "buffer.input_read": events.a_reads * size * gemm.count,
            "buffer.weight_read": events.b_reads * size * gemm.count,
        },
    )


def _finish(
    gemm: Gemm,
    config: Accelerator,
    *,
    dataflow: str,
    pattern: NMPattern,
    tile: tuple[int, int, int],
    parts: dict[str, int],
    issue: int,
    events: dict[str, int],
) -> LayerRun:
    size = config.number.operand_bytes
    counters = events | {
        "engine.mac_dense": gemm.macs,
        "engine.mac_effective": gemm.m * gemm.n * pattern.kept(gemm.k) * gemm.count,
        "engine.array_idle": parts["compute"] - issue,
        "engine.stall_dram": parts["stall_dram"],
        "engine.fill": parts["fill"],
        "engine.drain": parts["drain"],
        "buffer.output_write": gemm.m * gemm.n * gemm.count * size,
        "buffer.dma": parts["dram_read"] + parts["dram_write"],
        "dram.read": parts["dram_read"],
        "dram.write": parts["dram_write"],
    }
    macs = counters.get("sat.stce.mac", counters.get("systolic.array.mac", 0))
    return LayerRun(
        work=gemm,
        dataflow=dataflow,
        sparsity=str(pattern),
        tile=tile,
        cycles=parts["compute"] + parts["stall_dram"] + parts["fill"] + parts["drain"],
        issue=issue,
        array_idle=parts["compute"] - issue,
        stall_dram=parts["stall_dram"],
        fill=parts["fill"],
        drain=parts["drain"],
        macs_dense=counters["engine.mac_dense"],
        macs_effective=counters["engine.mac_effective"],
        dram_read_bytes=parts["dram_read"],
        dram_write_bytes=parts["dram_write"],
        counters=_registered(counters),
        energy_parts_pj=_energy(config, counters, macs, 0),
    )


def _vector(work: Vector, config: Accelerator) -> LayerRun:
    lanes = config.vector_lanes
    if work.fused or not lanes:
        # fused with the product before it, or left to a host that is not modelled
        return LayerRun(work=work, dataflow="fused" if work.fused else "host")
    size, dram = config.number.operand_bytes, config.dram
    burst = dram.burst_bytes
    read = int(run_bytes(1, work.elements_in * size, burst))
    written = int(run_bytes(1, work.elements_out * size, burst))
    moving = int(
        dram_cycles(
            read + written,
            float("inf") if dram.bytes_per_cycle is None else dram.bytes_per_cycle,
            dram.channels,
            dram.latency_cycles,
            burst,
        )
    )
    issue = ceil(work.operations / lanes)
    stall = max(0, moving - issue)
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
        counters=_registered(counters),
        energy_parts_pj=_energy(config, counters, 0, work.operations),
    )


def _energy(
    config: Accelerator, counters: dict[str, int], macs: int, operations: int
) -> dict[str, float]:
    """Energy by part: every term is one counter, or a sum of them, times one energy."""
    e = config.energy
    reads = counters.get("buffer.input_read", 0) + counters.get("buffer.weight_read", 0)
    moved = counters.get("buffer.dma", 0)
    return {
        "mac": macs * e.mac_pj,
        "vector": operations * e.vector_pj,
        # what DMA brings is written once on chip, what it takes is read once
        "buffer": (reads + counters.get("dram.write", 0)) * e.buffer_read_pj
        + (counters.get("buffer.output_write", 0) + counters.get("dram.read", 0))
        * e.buffer_write_pj,
        "dram": moved * e.dram_pj,
    }


def _registered(counters: dict[str, int]) -> dict[str, int]:
    return {counter(name).name: int(value) for name, value in counters.items() if value}


def _key(gemm: Gemm) -> tuple[int, ...]:
    """What of a product decides its tiles and phases."""
    geometry = tuple(int(v) for v in geometry_array(gemm))
    return (gemm.m, gemm.n, gemm.k, gemm.count, int(gemm.shared), *geometry)


@lru_cache(maxsize=4096)
def _phases(
    key: tuple[int, ...],
    array: tuple[int, ...],
    config: Accelerator,
    unit: tuple[int, int, int],
    plain: int = 0,
) -> tuple[tuple[int, int, int], dict[str, int]]:
    """The tile that the search takes and the parts of the phase loop over it."""
    m, n, k, count, shared = key[:5]
    geometry = np.array(key[5:], np.int64)
    array_values = np.array(array, np.int64)
    dram = _dram_array(config)
    size = config.number.operand_bytes
    buffers = [getattr(config.buffers, name) for name in _MEMORIES]
    halves = np.array([b // 2 for b in buffers], np.int64)
    found = search(
        m,
        n,
        k,
        count,
        shared,
        geometry,
        array_values,
        dram,
        size,
        config.number.accumulator_bytes,
        halves,
        *unit,
        plain,
    )
    if found[0] == 0:
        name = _MEMORIES[int(found[1])]
        raise UserError(
            f"buffers.{name}: half of it must hold the smallest tile of a product m={m}, n={n}, "
            f"k={k} on this array, but got {getattr(config.buffers, name)}"
        )
    tile = (int(found[0]), int(found[1]), int(found[2]))
    tail = _tail(config.array, array[0], m, tile[0]) if isinstance(config, SatConfig) else 0
    parts = layer_phases(
        m, n, k, count, shared, geometry, array_values, found, dram, size, tail, plain
    )
    return tile, dict(zip(ROW_FIELDS, (int(v) for v in parts), strict=True))


def _tail(array: ArrayShape, mode: int, m: int, tm: int) -> int:
    """Cycles after the last step, of the last buffer tile's last job."""
    height = m - (ceil(m / tm) - 1) * tm
    length = height % array.psum_depth or array.psum_depth
    return max(0, tail_cycles(mode, length, array))


def _dram_array(config: Accelerator) -> NDArray[np.float64]:
    d = config.dram
    peak = np.inf if d.bytes_per_cycle is None else d.bytes_per_cycle
    return np.array([peak, d.channels, d.latency_cycles, d.burst_bytes], np.float64)
