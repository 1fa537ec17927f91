"""Layers by their masks on machines that skip zeros: cycles by each machine's published law.

The law is of the array alone. Where `dram.bytes_per_cycle` is given, a layer takes at least as long
as its compulsory traffic: weights and activations once, non-zero values and one bit a position, and
every output once; what that adds is `stall_dram`. `speedup` in the summary is over the machine's
dense counterpart with as many multipliers, which is also given the layer's zeros:

    eyeriss_v2_pe   every multiply of a PE's filters, one a cycle
    cnvlutin        DaDianNao: a brick of each lane a cycle, empty or not
    scnn            a dot product of F I values a cycle and PE
    sparten         the dot product of each unit's filter, one multiply a cycle
    spartus         every column, every row
    seneca          every pixel with all its channels
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.config_mac_skip import MacSkipConfig
from hwsim.dataflows.mac_skip import (
    cnvlutin_cycles,
    effectual_macs,
    seneca_cycles,
    spartus_cycles,
)
from hwsim.dataflows.scnn import scnn_cycles, scnn_dense_cycles
from hwsim.dataflows.sparten import sparten_cycles
from hwsim.delta_result import DeltaResult
from hwsim.delta_run import DeltaRun
from hwsim.energy import energy_parts
from hwsim.errors import UserError
from hwsim.models.masks import MaskedLayer

__all__ = ["LayerCost", "layer_cost", "run_masked", "simulate_masked"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer on one input.

    Attributes:
        cycles: of the array; `conflicts` are those of them that wait for accumulator banks.
        dense_cycles: of the dense counterpart.
        issued: multiplies, those with a zero that the machine cannot tell among them.
        effectual: multiplies of which neither operand is zero.
    """

    cycles: int
    conflicts: int
    dense_cycles: int
    issued: int
    effectual: int


def layer_cost(layer: MaskedLayer, config: MacSkipConfig) -> LayerCost:
    """A layer's cycles by the machine's law."""
    products = [layer.operands(group) for group in range(layer.groups)]
    effectual = sum(effectual_macs(acts, weights) for acts, weights in products)
    if config.engine == "scnn":
        cycles, conflicts = scnn_cycles(layer, config.scnn)
        dense = scnn_dense_cycles(layer, config.scnn)
        # what lies outside the output is multiplied too; it is not counted
        return LayerCost(
            cycles=cycles,
            conflicts=conflicts,
            dense_cycles=dense,
            issued=effectual,
            effectual=effectual,
        )
    if config.engine == "seneca":
        return _seneca(layer, config, effectual)
    law = _LAWS[config.engine]
    each = [law(acts, weights, layer, config) for acts, weights in products]
    return LayerCost(
        cycles=sum(cycles for cycles, _, _ in each),
        conflicts=0,
        dense_cycles=sum(dense for _, dense, _ in each),
        issued=sum(issued for _, _, issued in each),
        effectual=effectual,
    )


def run_masked(inputs: Sequence[Sequence[MaskedLayer]], config: MacSkipConfig) -> list[DeltaRun]:
    """A network's layers over several inputs.

    Args:
        inputs: for each input the layers with its masks, the same layers in the same order.
        config: the machine.
    """
    return [_run(layers, config) for layers in zip(*inputs, strict=True)]


def simulate_masked(
    workload: str,
    inputs: Iterable[Sequence[MaskedLayer]],
    config: MacSkipConfig,
    *,
    seed: int = 0,
    notes: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DeltaResult:
    """The result of a network's real masks on a machine; an input is a frame.

    Raises:
        UserError: there is no input.
    """
    each = [list(layers) for layers in inputs]
    if not each or not each[0]:
        raise UserError(f"{workload}: there must be at least one input with layers, but got none")
    runs, dense = [], 0
    for index, layers in enumerate(zip(*each, strict=True)):
        runs.append(_run(layers, config))
        dense += runs[-1].counters.get("mac_skip.dense_cycle", 0)
        progress(index + 1, len(each[0]))
    effectual = sum(run.macs_effective for run in runs)
    return DeltaResult(
        workload=workload,
        config=config,
        runs=tuple(runs),
        frames=len(each),
        dense_cycles=dense,
        quality={"effectual_share": effectual / sum(run.macs_dense for run in runs)},
        seed=seed,
        notes=notes,
    )


def _run(layers: Sequence[MaskedLayer], config: MacSkipConfig) -> DeltaRun:
    """One layer over all inputs."""
    costs = [layer_cost(layer, config) for layer in layers]
    moved = [_traffic(layer, config) for layer in layers]
    wide = config.dram.bytes_per_cycle
    stalls = []
    for cost, traffic in zip(costs, moved, strict=True):
        least = config.dram.latency_cycles + ceil(sum(traffic.values()) / wide) if wide else 0
        stalls.append(max(0, least - cost.cycles))
    first = layers[0]
    cycles = np.array([c.cycles for c in costs], np.int64)
    conflicts = sum(c.conflicts for c in costs)
    nonzero = np.array([np.count_nonzero(layer.activations) for layer in layers], np.int64)
    traffic = {name: sum(one[name] for one in moved) for name in moved[0]}
    counters = {
        "mac_skip.issued": sum(c.issued for c in costs),
        "mac_skip.dense_cycle": sum(c.dense_cycles for c in costs),
        "dram.read": traffic["weights.read"] + traffic["input.read"],
        "dram.write": traffic["output.write"],
    }
    return DeltaRun(
        layer=first.name,
        op="linear" if first.activations.shape[1:] == (1, 1) else "conv",
        m=len(layers) * first.pixels,
        n=first.filters,
        k=first.taps,
        dataflow=config.engine,
        cycles=int(cycles.sum()) + sum(stalls),
        parts={
            "compute": int(cycles.sum()) - conflicts,
            "bank_conflict": conflicts,
            "stall_dram": sum(stalls),
        },
        macs_dense=sum(layer.macs_dense for layer in layers),
        macs_effective=sum(c.effectual for c in costs),
        items_in=sum(layer.activations.size for layer in layers),
        nonzero_in=int(nonzero.sum()),
        frame_cycles=cycles + np.array(stalls, np.int64),
        frame_nonzero=nonzero,
        bytes_by_cause=traffic,
        counters=counters,
        energy_parts_pj=energy_parts(config, counters),
    )


def _traffic(layer: MaskedLayer, config: MacSkipConfig) -> dict[str, int]:
    """Compulsory bytes of a layer and input."""
    return {
        "weights.read": _compressed(layer.weights, config),
        "input.read": _compressed(layer.activations, config),
        "output.write": layer.filters * layer.pixels * config.value_bytes,
    }


def _compressed(mask: Mask, config: MacSkipConfig) -> int:
    """Non-zero values and a bit a position, whole bursts."""
    burst = config.dram.burst_bytes
    size = int(np.count_nonzero(mask)) * config.value_bytes + ceil(mask.size / 8)
    return ceil(size / burst) * burst


def _eyeriss(
    acts: Mask, weights: Mask, layer: MaskedLayer, config: MacSkipConfig
) -> tuple[int, int, int]:
    """(cycles, dense cycles, multiplies issued); PE u has the filters u, u + units, ..."""
    units = config.count("units")
    each = [effectual_macs(acts, weights[unit::units]) for unit in range(min(units, len(weights)))]
    return max(each), acts.size * ceil(len(weights) / units), sum(each)


def _cnvlutin(
    acts: Mask, weights: Mask, layer: MaskedLayer, config: MacSkipConfig
) -> tuple[int, int, int]:
    channels, brick, lanes = layer.weights.shape[1], config.count("chunk"), config.count("lanes")
    parallel = config.count("units") * config.count("filters")
    cycles = cnvlutin_cycles(
        acts, len(weights), channels=channels, lanes=lanes, brick=brick, parallel=parallel
    )
    bricks = acts.shape[1] // channels * ceil(channels / brick)
    dense = len(acts) * ceil(bricks * brick / lanes) * ceil(len(weights) / parallel)
    return cycles, dense, int(np.count_nonzero(acts)) * len(weights)


def _sparten(
    acts: Mask, weights: Mask, layer: MaskedLayer, config: MacSkipConfig
) -> tuple[int, int, int]:
    clusters, units = config.count("units"), config.count("lanes")
    cycles = sparten_cycles(
        acts,
        weights,
        clusters=clusters,
        units=units,
        chunk=config.count("chunk"),
        greedy=bool(config.greedy),
    )
    dense = ceil(len(acts) / clusters) * ceil(len(weights) / units) * acts.shape[1]
    return cycles, dense, effectual_macs(acts, weights)


def _spartus(
    acts: Mask, weights: Mask, layer: MaskedLayer, config: MacSkipConfig
) -> tuple[int, int, int]:
    """A pixel is a step, a tap a column."""
    arrays, pes = config.count("units"), config.count("lanes")
    steps = spartus_cycles(acts, weights, arrays=arrays, pes=pes)
    dense = len(acts) * ceil(acts.shape[1] / arrays) * ceil(len(weights) / pes)
    return int(steps.sum()), dense, effectual_macs(acts, weights)


def _seneca(layer: MaskedLayer, config: MacSkipConfig, effectual: int) -> LayerCost:
    """Events are the input's; an event reaches every filter at every tap of the kernel."""
    kernel = layer.weights.shape[2] * layer.weights.shape[3]
    fan_out = layer.filters // layer.groups * kernel
    events = np.moveaxis(layer.activations, 0, -1).reshape(-1, layer.activations.shape[0])

    def cycles(mask: Mask) -> int:
        return sum(
            seneca_cycles(
                part,
                fan_out=fan_out,
                lanes=config.count("lanes"),
                group=config.count("chunk"),
                pixel_cycles=config.count("pixel_cycles"),
            )
            for part in np.split(mask, layer.groups, axis=1)
        )

    return LayerCost(
        cycles=cycles(events),
        conflicts=0,
        dense_cycles=cycles(np.ones_like(events)),
        issued=int(np.count_nonzero(events)) * fan_out,
        effectual=effectual,
    )


_LAWS = {
    "eyeriss_v2_pe": _eyeriss,
    "cnvlutin": _cnvlutin,
    "sparten": _sparten,
    "spartus": _spartus,
}
