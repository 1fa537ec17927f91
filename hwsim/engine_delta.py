"""Linear and convolutional delta layers over a stream of frames on the delta engine.

Values are the machine's integers bit for bit (`hwsim.dataflows.delta_layer`), cycles those of one
engine a layer whose ports never stall: of one cluster exactly the RTL's. Clusters each take their
share of every event and meet at a frame's end, so a frame lasts as long as its slowest cluster;
that is a law, the RTL is one cluster. A frame's cycles are those between its last result and the
one of the frame before, so a scan that overlaps the walk of the frame before counts once.

A frame's cycles of a layer are attributed so that they sum:

    add          the lanes add products, or pass an event without any; the mean of the clusters
    imbalance    what the slowest cluster adds longer than the mean
    walk         the lanes read their sums for the output pass
    set          sums are set to 0, in the first frame
    wait         the lanes wait: for the scan, for weights beyond `prefetch`, for the last code
    stall_dram   what the frame's traffic takes longer than all that

Traffic. Weights in DRAM: every word that an event adds. State in DRAM: every reference is read, one
that moves is written; every sum is read for the output pass, one that an event adds to is written,
once a frame (sums stay on chip while a frame's events add to them: the least that any engine
moves).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.delta_layer import (
    DeltaLayerState,
    LayerGeometry,
    cluster_work,
    frame_cycles,
)
from hwsim.delta_run import DeltaRun
from hwsim.energy import energy_parts
from hwsim.errors import UserError
from hwsim.models.delta import Conv, DeltaEncoder, Linear

__all__ = ["LayerStreams", "dense_cycles", "layer_run", "run_stream"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerStreams:
    """A network over a stream.

    Attributes:
        runs: of the layers, in order.
        codes: int64 [frames, height, width, filters], the last layer's.
        saturations: additions that left the accumulator's range, of each layer.
    """

    runs: tuple[DeltaRun, ...]
    codes: Ints
    saturations: tuple[int, ...]


def run_stream(
    encoder: DeltaEncoder,
    layers: Sequence[Linear | Conv],
    frames: NDArray,
    config: DeltaConfig,
    *,
    names: Sequence[str] | None = None,
) -> LayerStreams:
    """Frames through a network of delta layers.

    Args:
        encoder: of the input, before its first frame; the configuration's theta, if any, replaces
            its rule.
        layers: with codes of `activation_bits`.
        frames: integers [frames, channels, height, width] or [frames, elements], at least two.
        config: of kind delta, engine layer.
        names: of the layers; None makes `conv0`, `linear1`, ...

    Raises:
        UserError: a configuration of another engine, frames that are no clip, or a layer that
            does not fit the engine's memories.
    """
    if config.engine != "layer":
        raise UserError(
            f"engine must be layer for linear and conv layers, but {config.name} is {config.engine}"
        )
    clip = frames[:, :, None, None] if frames.ndim == 2 else frames
    if clip.ndim != 4 or len(clip) < 2 or not np.issubdtype(clip.dtype, np.integer):
        raise UserError(
            "a clip must be two frames of integers or more, [frames, channels, height, width], "
            f"but got {frames.dtype} of shape {frames.shape}"
        )
    rule = DeltaEncoder(
        theta=encoder.theta if config.theta is None else config.theta,
        multiplier=encoder.multiplier,
        shift=encoder.shift,
        bits=encoder.bits,
        signed=encoder.signed,
    )
    deltas = np.stack([np.moveaxis(rule.step(frame), 0, -1) for frame in clip])
    given: tuple[int, ...] = clip.shape[1:]
    runs: list[DeltaRun] = []
    saturations = []
    for index, layer in enumerate(layers):
        op = "linear" if isinstance(layer, Linear) else "conv"
        name = names[index] if names else f"{op}{index}"
        try:
            state = DeltaLayerState(layer, given, accumulator_bits=config.accumulator_bits)
        except ValueError as error:
            raise UserError(f"layer {name}: {error}") from None
        _check_fits(name, layer, state.geometry, config)
        out = np.stack([state.step(delta) for delta in deltas])
        run_of = deltas
        if op == "linear":  # as ONNX flattens it, which is the order of its scan
            run_of = np.moveaxis(deltas, -1, 1).reshape(len(deltas), 1, 1, -1)
        runs.append(layer_run(name, op, run_of, state.geometry, config, out))
        saturations.append(state.saturations)
        deltas, given = out, (out.shape[-1], *out.shape[1:3])
    return LayerStreams(tuple(runs), np.cumsum(deltas, axis=0), tuple(saturations))


def layer_run(
    name: str, op: str, deltas: Ints, geometry: LayerGeometry, config: DeltaConfig, out: Ints
) -> DeltaRun:
    """Cycles, traffic and energy of one layer.

    Args:
        name, op: of the record.
        deltas: int64 [frames, height, width, channels], the input's differences.
        geometry: of the layer.
        config: of the engine.
        out: int64 [frames, ...], the differences of its codes.
    """
    g, frames = geometry, len(deltas)
    nonzero = deltas != 0
    events = nonzero.reshape(frames, -1).sum(1)
    cycles, parts = _frame_parts(nonzero, g, config)
    rows, columns = g.reached()
    pixels = rows.sum(1)[:, None] * columns.sum(1)
    macs = int((nonzero.sum(3) * pixels).sum()) * g.filters
    moved, traffic = _traffic(nonzero, g, config)
    late = np.maximum(0, _dram_cycles(traffic, config) - cycles)
    parts["stall_dram"] = int(late.sum())
    counters = {
        "delta.item": nonzero.size,
        "delta.event": int(events.sum()),
        "delta.mac": macs,
        "delta.weight_bytes": int(traffic["weights.read"].sum()),
        "delta.state_bits": 8 * _on_chip_state(traffic),
        "dram.read": sum(v for k, v in moved.items() if k.endswith(".read")),
        "dram.write": sum(v for k, v in moved.items() if k.endswith(".write")),
    }
    outputs = g.out_height * g.out_width
    taps = g.channels * g.kernel_height * g.kernel_width
    return DeltaRun(
        layer=name,
        op=op,
        m=frames * outputs,
        n=g.filters,
        k=taps,
        dataflow="delta",
        cycles=int((cycles + late).sum()),
        parts=parts,
        macs_dense=frames * outputs * g.filters * taps,
        macs_effective=macs,
        items_in=nonzero.size,
        nonzero_in=int(events.sum()),
        items_out=out.size,
        nonzero_out=int(np.count_nonzero(out)),
        frame_cycles=cycles + late,
        frame_nonzero=events,
        bytes_by_cause=moved,
        state_bytes=sum(_state_bytes(g, config)),
        counters=counters,
        energy_parts_pj=energy_parts(config, counters),
    )


def dense_cycles(
    layers: Sequence[Linear | Conv], shape: tuple[int, ...], frames: int, config: DeltaConfig
) -> int:
    """Cycles of the same engine when every element of every frame is an event.

    Args:
        layers: of the network.
        shape: of the input, [channels, height, width] or [elements].
        frames: how many, at least 2.
        config: of the engine.
    """
    total = 0
    given = shape if len(shape) == 3 else (shape[0], 1, 1)
    for layer in layers:
        g = LayerGeometry.of(layer, given)
        # frames after the second repeat it: the lanes never catch up with a dense scan
        few = np.ones((min(frames, 3), g.height, g.width, g.channels), np.int64)
        run = layer_run("dense", "conv", few, g, config, few)
        each = run.frame_cycles
        total += int(each.sum()) + int(each[-1]) * (frames - len(each))
        given = (g.filters, *g.pooled)
    return total


def _frame_parts(
    nonzero: NDArray[np.bool_], g: LayerGeometry, config: DeltaConfig
) -> tuple[Ints, dict[str, int]]:
    """Cycles of each frame without DRAM, and their causes."""
    shape, frames = config.shape, len(nonzero)
    latency = config.dram.latency_cycles if config.weight_memory == "dram" else 1
    each, busy, walks, sets = [], [], [], []
    for work in cluster_work(nonzero, g, shape, config.clusters):
        if work.walk:
            ends, adds = frame_cycles(work, shape, max(1, latency))
        else:  # more clusters than words of results
            ends, adds = np.full(frames, -1, np.int64), np.zeros(frames, np.int64)
        each.append(np.diff(ends, prepend=-1))
        busy.append(adds)
        walks.append(work.walk + 1 if work.walk else 0)
        sets.append(work.set_words if work.walk else 0)
    cycles, adds = np.stack(each), np.stack(busy)
    slowest = cycles.argmax(axis=0)
    most = np.take_along_axis(adds, slowest[None], 0)[0]
    mean = np.minimum(adds.sum(0) // config.clusters, most)
    total = cycles.max(axis=0)
    walk = np.array(walks)[slowest]
    parts = {
        "add": int(mean.sum()),
        "imbalance": int((most - mean).sum()),
        "walk": int(walk.sum()),
        "set": sets[int(slowest[0])],
    }
    parts["wait"] = int(total.sum()) - sum(parts.values())
    return total, parts


def _traffic(
    nonzero: NDArray[np.bool_], g: LayerGeometry, config: DeltaConfig
) -> tuple[dict[str, int], dict[str, Ints]]:
    """DRAM bytes by cause; and bytes of each frame that weights and state move, wherever."""
    frames = len(nonzero)
    rows, columns = (x.astype(np.int64) for x in g.reached())
    pixels = rows.sum(1)[:, None] * columns.sum(1)
    here = nonzero.any(3).astype(np.int64)
    touched = (np.einsum("thw,hy,wx->tyx", here, rows, columns, optimize=True) > 0).sum((1, 2))
    words = -(-g.filters // config.lanes)
    events = nonzero.reshape(frames, -1).sum(1)
    items = np.full(frames, nonzero[0].size, np.int64)
    reference, total = config.activation_bits / 8, config.accumulator_bits / 8
    adds = (nonzero.sum(3) * pixels).sum((1, 2))
    sums = np.full(frames, g.out_height * g.out_width * g.filters, np.int64)
    bytes_of = {
        "weights.read": adds * ceil(words * config.lanes * config.weight_bits / 8),
        "reference.read": _up(items * reference),
        "reference.write": _up(events * reference),
        "sum.read": _up(sums * total),
        "sum.write": _up(touched * g.filters * total),
    }
    bytes_of["add.state"] = _up(adds * g.filters * 2 * total)  # on chip: a read and a write each
    where = {"weights": config.weight_memory, "reference": config.state_memory,
             "sum": config.state_memory}  # fmt: skip
    moved = {
        name: int(x.sum())
        for name, x in bytes_of.items()
        if where.get(name.partition(".")[0]) == "dram"
    }
    return moved, bytes_of


def _on_chip_state(traffic: dict[str, Ints]) -> int:
    """Bytes of references and sums, wherever they live: they pass on-chip memory."""
    return sum(int(x.sum()) for name, x in traffic.items() if name != "weights.read")


def _up(x: NDArray) -> Ints:
    return np.ceil(x).astype(np.int64)


def _dram_cycles(traffic: dict[str, Ints], config: DeltaConfig) -> Ints:
    """Cycles that each frame's traffic takes, besides the engine's work."""
    dram = config.dram
    kinds = []
    if config.weight_memory == "dram":
        kinds += ["weights.read"]
    if config.state_memory == "dram":
        kinds += ["reference.read", "reference.write", "sum.read", "sum.write"]
    moved = np.sum([traffic[kind] for kind in kinds], axis=0, dtype=np.int64)
    if not kinds or dram.bytes_per_cycle is None:
        return np.zeros(len(traffic["sum.read"]), np.int64)
    return np.ceil(moved / dram.bytes_per_cycle).astype(np.int64) + dram.latency_cycles


def _state_bytes(g: LayerGeometry, config: DeltaConfig) -> tuple[int, int]:
    """Of references and of sums."""
    items = g.height * g.width * g.channels
    sums = g.out_height * g.out_width * g.filters
    return ceil(items * config.activation_bits / 8), ceil(sums * config.accumulator_bits / 8)


def _check_fits(name: str, layer: Linear | Conv, g: LayerGeometry, config: DeltaConfig) -> None:
    words = g.out_words(config.lanes)
    for what, need, have in (
        (
            "reference_words",
            g.height * g.width * g.channel_words(config.detector_width),
            config.reference_words,
        ),
        ("sigma_words", -(-words * g.out_height * g.out_width // config.clusters),
         config.sigma_words),
        ("parameter_words", words, config.parameter_words),
        ("activation_bits", layer.output.bits, config.activation_bits),
    ):  # fmt: skip
        if need > have:
            raise UserError(f"layer {name} needs {what}={need}, but got {have}")
