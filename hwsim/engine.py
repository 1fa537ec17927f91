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
from dataclasses import replace
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.config import ArrayConfig, SatConfig, SystolicConfig
from hwsim.dataflows import systolic
from hwsim.dataflows.stce import OS, WS, tail_cycles
from hwsim.energy import energy_parts
from hwsim.engine_vector import vector_run
from hwsim.errors import UserError
from hwsim.layer_run import LayerRun, registered
from hwsim.memory import geometry_array
from hwsim.models.array import ArrayShape
from hwsim.models.nm import NMPattern
from hwsim.models.pruning import METHODS
from hwsim.models.work import Gemm, Vector, Work
from hwsim.phases import PLAIN, ROW_FIELDS, layer_phases, search

__all__ = ["LayerRun", "pattern_of", "predict", "run", "run_layer"]

_MEMORIES = ("input_bytes", "weight_bytes", "output_bytes")
_MODES = {"os": OS, "ws": WS}


def run(
    work: Sequence[Work],
    config: ArrayConfig,
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


def run_layer(work: Work, config: ArrayConfig) -> LayerRun:
    """One layer; equal shapes on equal configurations are computed once.

    Raises:
        UserError: as `run`.
    """
    if isinstance(work, Vector):
        return vector_run(work, config)
    if not isinstance(work, Gemm):
        raise UserError(f"{work.layer}: a weight update runs in training only")
    if isinstance(config, SystolicConfig):
        return _systolic(work, config)
    modes = (OS, WS) if config.dataflow == "auto" else (_MODES[config.dataflow],)
    fitting, refused = _candidates(work, config, modes)
    if not fitting:
        raise refused[0]
    return min(fitting, key=_better)


def predict(work: Gemm, config: SatConfig) -> dict[str, int]:
    """Cycles of a product output and weight stationary, what offline scheduling decides by.

    The better orientation of each; a dataflow that does not fit the buffers is left out. With
    `dataflow` fixed the run takes exactly these cycles, with `auto` the smaller.
    """
    found = {}
    for name, mode in _MODES.items():
        fitting, _ = _candidates(work, config, (mode,))
        if fitting:
            found[name] = min(fitting, key=_better).cycles
    return found


def _candidates(
    work: Gemm, config: SatConfig, modes: Sequence[int]
) -> tuple[list[LayerRun], list[UserError]]:
    """Runs of a product in each mode and orientation, and why others do not fit.

    Z = A B and Z^T = B^T A^T are the same work where neither operand has to be the pruned one.
    """
    shapes = [work, work.turned()] if work.role in ("at", "b") else [work]
    fitting: list[LayerRun] = []
    refused: list[UserError] = []
    for mode in modes:
        for shape in shapes:
            try:
                fitting.append(_sat(shape, config, mode))
            except UserError as error:  # one may fit buffers that the other does not
                refused.append(error)
    return fitting, refused


def _better(run: LayerRun) -> tuple[int, int]:
    return run.cycles + run.sore_wait, run.dram_read_bytes + run.dram_write_bytes


def pattern_of(gemm: Gemm, config: ArrayConfig) -> NMPattern:
    """The pattern that a product's B is pruned to.

    Dense are weight gradients and products of two activations, contractions shorter than a group,
    the first layer (unless the configuration says otherwise) and, on sat, the stages that the
    training method leaves dense.
    """
    pattern = config.pattern
    dense = NMPattern(1, 1)
    if not gemm.weights or gemm.k < pattern.m:
        return dense
    if isinstance(config, SatConfig):
        method = METHODS[config.method]
        if not (method.forward if gemm.stage == "FF" else method.backward):
            return dense
    return dense if gemm.first and config.first_layer_dense else pattern


def _sat(gemm: Gemm, config: SatConfig, mode: int) -> LayerRun:
    pattern = pattern_of(gemm, config)
    slots = pattern.compact_length(gemm.k)
    shape = config.array
    if gemm.role in ("at", "b"):  # m is a width of the layer: chunks of equal height
        height = ceil(gemm.m / ceil(gemm.m / shape.psum_depth))
        shape = replace(shape, psum_depth=max(2, height))
    rows, cols, depth = shape.rows, shape.cols, shape.psum_depth
    array = (
        mode, rows, cols, depth, pattern.n, pattern.m, pattern.index_bits, int(pattern.dense),
        shape.tile_cols, shape.slot_steps, shape.drain_slots, shape.fold_steps, config.sore_lanes,
    )  # fmt: skip
    unit_m, unit_n = (rows, shape.tile_cols) if mode == OS else (depth, cols)
    step_k = pattern.m * rows if not pattern.dense else rows * config.group_size
    tile, parts = _phases(_key(gemm), array, config, (unit_m, unit_n, step_k), shape=shape)
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
        cols, 1, rows, rows, 1,
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
    config: ArrayConfig,
    *,
    dataflow: str,
    pattern: NMPattern,
    tile: tuple[int, int, int],
    parts: dict[str, int],
    issue: int,
    events: dict[str, int],
) -> LayerRun:
    # a weight gradient keeps the accumulator's width
    size = config.number.operand_bytes if gemm.z_bits is None else config.number.accumulator_bytes
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
        "sat.sore.element": parts["sore_elements"],
    }
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
        counters=registered(counters),
        energy_parts_pj=energy_parts(config, counters),
        sore_wait=parts["sore_wait"],
        sore_busy=parts["sore_busy"],
    )


def _key(gemm: Gemm) -> tuple[int, ...]:
    """What of a product decides its tiles and phases."""
    geometry = tuple(int(v) for v in geometry_array(gemm))
    return (gemm.m, gemm.n, gemm.k, gemm.count, int(gemm.shared), *geometry)


@lru_cache(maxsize=4096)
def _phases(
    key: tuple[int, ...],
    array: tuple[int, ...],
    config: ArrayConfig,
    unit: tuple[int, int, int],
    plain: int = 0,
    shape: ArrayShape | None = None,
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
    tail = 0 if shape is None else _tail(shape, array[0], m, tile[0])
    parts = layer_phases(
        m, n, k, count, shared, geometry, array_values, found, dram, size, tail, plain
    )
    return tile, dict(zip(ROW_FIELDS, (int(v) for v in parts), strict=True))


def _tail(array: ArrayShape, mode: int, m: int, tm: int) -> int:
    """Cycles after the last step, of the last buffer tile's last job."""
    height = m - (ceil(m / tm) - 1) * tm
    length = height % array.psum_depth or array.psum_depth
    return max(0, tail_cycles(mode, length, array))


def _dram_array(config: ArrayConfig) -> NDArray[np.float64]:
    d = config.dram
    peak = np.inf if d.bytes_per_cycle is None else d.bytes_per_cycle
    return np.array([peak, d.channels, d.latency_cycles, d.burst_bytes], np.float64)
