"""One training step on a configuration: the products of all stages, the selector, the update.

What depends on the configuration is decided here: where the N:M operand of a product comes from,
whether a weight gradient stays on chip, what copies of the weights the update writes.

- A weight gradient stays in the output buffer if all of it fits into half of that (FP32); the
  update then reads it there. Else it goes through DRAM in FP32.
- WUVE follows the WU product of its layer. It streams FP32 master weights and momenta in and out,
  `wuve_lanes` weights a cycle or as fast as DRAM moves them. Its cycles are those of the engine
  (`hwsim.dataflows.wuve`).
- SORE with pre-generation selects from the new weights as they leave WUVE, once along input and
  once along output channels; its row has what it takes longer than WUVE. Without, it selects on the
  way into the weight buffer, for every tile that is fetched, behind the array's work; its rows have
  what the array waits for it. Its cycles are those of the streaming selector
  (`hwsim.dataflows.sore`): a lane one element a cycle, M cycles a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from hwsim.config import ArrayConfig, SatConfig
from hwsim.dataflows.sore import topn_cycles
from hwsim.dataflows.wuve import update_cycles
from hwsim.energy import energy_parts
from hwsim.engine import pattern_of, run_layer
from hwsim.engine_vector import stream_cycles
from hwsim.errors import UserError
from hwsim.layer_run import LayerRun, registered
from hwsim.memory import run_bytes
from hwsim.models.nm import NMPattern
from hwsim.models.pruning import METHODS
from hwsim.models.work import Gemm, Update, Work

__all__ = ["compact_bytes", "placed", "run_training"]

_UPDATE_OPERATIONS = 8
"""Of one weight: scale, decay (2), momentum (2), step (2), cast; `hwsim.models.update`."""


def run_training(
    work: Sequence[Work],
    config: ArrayConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[LayerRun]:
    """Every row of a training step in order.

    Args:
        work: of `hwsim.models.lowering_training.lower_training`.
        progress: told (items done, items in all).

    Raises:
        UserError: the accelerator cannot train, or a layer does not fit the buffers.
    """
    if not isinstance(config, SatConfig):
        raise UserError(f"training needs an accelerator of kind sat, but {config.name} is another")
    if config.format != "fp16":
        raise UserError(f"training needs format=fp16, but got format={config.format}")
    rows = []
    for i, item in enumerate(work):
        if isinstance(item, Gemm):
            run = run_layer(placed(item, config), config)
            rows.append(run)
            if run.sore_busy:
                rows.append(_online(run, config))
        elif isinstance(item, Update):
            rows += _update(item, config)
        else:
            rows.append(run_layer(item, config))
        progress(i + 1, len(work))
    return rows


def placed(gemm: Gemm, config: SatConfig) -> Gemm:
    """A product as it is run: which operand is pruned and where, where a weight gradient goes.

    Only the operand that enters by columns can be compact. Where the gradient dY is the pruned one
    the product runs as dX^T = W dY^T, and dY is reduced on its way in, because WU needs it dense.
    """
    if gemm.stage == "WU":
        return replace(gemm, z_bits=0 if _stays(gemm.m * gemm.n * gemm.count, config) else 32)
    if pattern_of(gemm, config).dense:
        return gemm
    if gemm.stage == "BP" and METHODS[config.method].backward == "gradients":
        return replace(gemm.turned(), online=True)
    return gemm if config.pregeneration else replace(gemm, online=True)


def compact_bytes(gemm: Gemm, pattern: NMPattern, operand_bytes: int = 2) -> int:
    """Bytes of the compact weights of a product: values, then indices of ceil(log2 M) bits packed.

    At FP16 a weight of many takes 1.125 bytes at 2:4, 0.594 at 2:8, 0.3125 at 2:16.
    """
    slots = pattern.compact_length(gemm.k) * gemm.n * gemm.count
    bits = 0 if pattern.dense else pattern.index_bits
    return slots * operand_bytes + ceil(slots * bits / 8)


def _stays(weights: int, config: SatConfig) -> bool:
    return weights * config.number.accumulator_bytes <= config.buffers.output_bytes // 2


def _online(run: LayerRun, config: SatConfig) -> LayerRun:
    """The selector's row of a product whose operand it reduced on the way in."""
    work = run.work
    counters = {"sat.sore.busy": run.sore_busy}
    return LayerRun(
        work=Update(layer=work.layer, stage="SORE", op=work.op, weights=0),
        dataflow="sore",
        sparsity=run.sparsity,
        cycles=run.sore_wait,
        issue=run.sore_wait,
        counters=registered(counters),
        energy_parts_pj=energy_parts(config, counters),
    )


def _update(item: Update, config: SatConfig) -> list[LayerRun]:
    """WUVE's row and, where a copy is pruned, SORE's."""
    pruned = _copies(item, config) if config.pregeneration else []
    sparse_forward = any(g.stage == "FF" for g, _ in pruned)
    sparse_backward = any(g.stage == "BP" for g, _ in pruned)
    copies = sum(compact_bytes(g, p, config.number.operand_bytes) for g, p in pruned)
    # one dense copy serves every stage that has no compact one
    if (item.forward and not sparse_forward) or (item.backward and not sparse_backward):
        copies += item.weights * config.number.operand_bytes
    updated, burst = item.weights + item.others, config.dram.burst_bytes
    on_chip = _stays(item.weights, config)
    # FP32 master weight and momentum; gradients of biases and scales are sums kept on chip
    read = int(run_bytes(2, 4 * updated, burst))
    if not on_chip:
        read += int(run_bytes(1, 4 * item.weights, burst))
    written = int(run_bytes(2, 4 * updated, burst) + run_bytes(1, copies, burst))
    issue = ceil(updated / config.wuve_lanes)
    busy = update_cycles(
        updated, config.wuve_lanes, config.multiplier_latency, config.adder_latency
    )
    stall = max(0, stream_cycles(read + written, config) - busy)
    operations = _UPDATE_OPERATIONS * updated
    counters = {
        "sat.wuve.update": updated,
        "engine.vector_op": operations,
        "engine.stall_dram": stall,
        "buffer.dma": read + written,
        "dram.read": read,
        "dram.write": written,
    }
    rows = [
        LayerRun(
            work=item,
            dataflow="wuve",
            cycles=busy + stall,
            issue=issue,
            stall_dram=stall,
            drain=busy - issue,
            dram_read_bytes=read,
            dram_write_bytes=written,
            counters=registered(counters),
            energy_parts_pj=energy_parts(config, counters),
        )
    ]
    if pruned:
        rows.append(_generate(item, pruned, config, busy + stall))
    return rows


def _generate(
    item: Update, pruned: list[tuple[Gemm, NMPattern]], config: SatConfig, hidden: int
) -> LayerRun:
    """The selector's row of an update, `hidden` cycles of which pass behind WUVE."""
    busy = elements = 0
    for gemm, _ in pruned:
        blocks = ceil(gemm.n / config.sore_lanes) * gemm.count  # columns of a block, k of a column
        busy += topn_cycles(np.array([blocks * gemm.k]))
        elements += gemm.k * gemm.n * gemm.count
    counters = {"sat.sore.element": elements, "sat.sore.busy": busy}
    beyond = max(0, busy - hidden)
    return LayerRun(
        work=replace(item, stage="SORE"),
        dataflow="sore",
        sparsity=str(config.pattern),
        cycles=beyond,
        issue=beyond,
        counters=registered(counters),
        energy_parts_pj=energy_parts(config, counters),
    )


def _copies(item: Update, config: SatConfig) -> list[tuple[Gemm, NMPattern]]:
    """The products whose weights the update writes compact, with their patterns."""
    found = [(g, pattern_of(g, config)) for g in item.forward]
    if METHODS[config.method].backward == "weights":
        found += [(g, pattern_of(g, config)) for g in item.backward]
    return [(g, p) for g, p in found if not p.dense]
