"""Recurrent streams on the delta engine's GRU form: what it computes, and EdgeDRNN's cycles.

The layers' values are the machine's integers bit for bit (`hwsim.models.delta_gru`, its fast kernel
in `hwsim.dataflows.gru_stream`); which items are non-zero comes from those values, and the cycles
from the law in `hwsim.dataflows.delta_rnn`, frame by frame. Layers in front of the GRUs and behind
them run in float on the host, as in EdgeDRNN, and are not counted.

A frame's cycles of a layer are attributed so that they sum:

    columns      the lanes add weight columns, non-zeros times 3H / lanes
    stall_dram   what a column takes longer because DRAM is narrower than the lanes
    scan         the lanes wait for the encoder's scan, the rest of the layer's law
    activation   5 H / lanes, the gate functions (of an LSTM too: not given, chosen equal)
    pipeline     15 a layer, less one a network
    weight_start the first weight's way from DRAM, beyond one cycle
    state        references, sums and the state to and from DRAM, if they live there
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.delta_rnn import layer_cycles_many
from hwsim.dataflows.gru_stream import codes, fixed_stream, float_stream, lstm_stream
from hwsim.delta_result import DeltaResult
from hwsim.delta_run import DeltaRun
from hwsim.energy import energy_parts
from hwsim.errors import UserError
from hwsim.models.delta_gru import GruWeights
from hwsim.models.nsnet2 import Gru
from hwsim.models.silero import Lstm
from hwsim.workloads_stream import GruStream, load_stream

__all__ = ["Arithmetic", "LayerStream", "gru_layers", "gru_run", "simulate_stream", "snr_db"]

Arithmetic = Literal["fixed", "float"]
Floats = NDArray[np.float64]
_GATES = 3
_LSTM_GATES = 4
_SUMS = 4  # a unit's sums: z, r, the input's and the state's part of the candidate


@dataclass(frozen=True, eq=False)
class LayerStream:
    """What a GRU layer did over a stream.

    Attributes:
        inputs, hidden: X and H.
        nonzero: bool[T, X + H], items that were computed on.
        states: float64[T, H].
        saturations: additions that left the accumulator's range.
        gates: rows of a weight column a unit, 3, or 4 of an LSTM.
    """

    inputs: int
    hidden: int
    nonzero: NDArray[np.bool_]
    states: Floats
    saturations: int
    gates: int = _GATES


def simulate_stream(
    workload: str,
    config: DeltaConfig,
    *,
    source: str | Path | None = None,
    arithmetic: Arithmetic = "fixed",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DeltaResult:
    """Run a recurrent network over a stream of real frames.

    Args:
        workload: a name of `hwsim.workloads_stream.STREAMS`.
        config: of kind delta, engine gru.
        source: a `.wav` or `.npy` file; None is the workload's example.
        arithmetic: `fixed`, the machine's integers; `float`, where only the comparison with
            Theta is in the activations' format.
        seed: kept in the summary; nothing here is random.
        progress: told (layers done, in all).

    Returns:
        the result; its summary has `snr_db`, of the output against the float network without
        skipping, and `snr_dense_db`, of the same machine at Theta = 0.

    Raises:
        UserError: an unknown workload, a stream that cannot be used, or a network that does not
            fit the engine.
    """
    if config.engine != "gru" or config.theta is None:
        raise UserError(
            f"workload {workload} needs a delta engine of engine gru, but {config.name} is of "
            f"engine {config.engine}"
        )
    stream = load_stream(workload, source)
    _check_fit(stream, config)
    total = 2 * len(stream.grus) + 1
    theta = config.theta
    layers = gru_layers(stream, config, theta, arithmetic)
    progress(len(stream.grus), total)
    dense = layers if theta == 0 else gru_layers(stream, config, 0, arithmetic)
    progress(total - 1, total)
    runs = tuple(
        gru_run(_name(index, layer), layer, config, first=index == 0)
        for index, layer in enumerate(layers)
    )
    wanted = stream.output(stream.reference())
    found = stream.output(layers[-1].states)
    result = DeltaResult(
        workload=workload,
        config=config,
        runs=runs,
        frames=len(stream.frames),
        rate_hz=stream.frames.rate_hz,
        dense_cycles=_dense(layers, config),
        quality={
            "theta": theta,
            "arithmetic": "float" if _has_lstm(stream) else arithmetic,
            "snr_db": snr_db(wanted, found),
            "snr_dense_db": snr_db(wanted, stream.output(dense[-1].states)),
            "saturations": sum(layer.saturations for layer in layers),
        },
        seed=seed,
        notes=stream.frames.notes + stream.notes,
    )
    progress(total, total)
    return result


def gru_layers(
    stream: GruStream, config: DeltaConfig, theta: int, arithmetic: Arithmetic = "fixed"
) -> list[LayerStream]:
    """Values and non-zero items of all recurrent layers, one after the other.

    An LSTM is computed in float whatever `arithmetic` says: the engine has no unit for it.
    """
    x: Floats = stream.inputs()
    layers = []
    for gru in stream.grus:
        if isinstance(gru, Lstm):
            states, nonzero = lstm_stream(x, gru.w, gru.r, gru.bias, theta)
            layers.append(LayerStream(gru.inputs, gru.hidden, nonzero, states, 0, _LSTM_GATES))
            x = states
            continue
        if arithmetic == "float":
            states, nonzero = float_stream(x, gru.w, gru.r, gru.wb, gru.rb, theta)
            saturations = 0
        else:
            states, nonzero, saturations = _fixed(x, gru, config, theta)
        layers.append(LayerStream(gru.inputs, gru.hidden, nonzero, states, saturations))
        x = states
    return layers


def gru_run(layer: str, stream: LayerStream, config: DeltaConfig, *, first: bool) -> DeltaRun:
    """Cycles, traffic and energy of one GRU layer.

    Args:
        layer: its name.
        stream: what it computed.
        first: of the network; its pipeline takes one cycle less.
    """
    x, hidden, lanes = stream.inputs, stream.hidden, config.lanes
    frames = len(stream.nonzero)
    events = stream.nonzero.sum(axis=1, dtype=np.int64)
    gates = stream.gates
    column = gates * hidden // lanes
    slow = _column_cycles(stream, config)
    law = layer_cycles_many(x, hidden, stream.nonzero, lanes, config.fifo_depth, column_cycles=slow)
    moved = _traffic(stream, events, config)
    state_cycles = _state_cycles(stream, config)
    start = _first_beat(config)
    pipeline = 14 if first else 15
    count = int(events.sum())
    activation = 5 * hidden // lanes
    parts = {
        "columns": count * column,
        "stall_dram": count * (slow - column),
        "scan": int(law.sum()) - count * slow - frames * activation,
        "activation": frames * activation,
        "pipeline": frames * pipeline,
        "weight_start": frames * start,
        "state": frames * state_cycles,
    }
    macs = count * gates * hidden
    counters = {
        "delta.item": frames * (x + hidden),
        "delta.event": count,
        "delta.mac": macs,
        "delta.gate": frames * hidden,
        "delta.weight_bytes": count * _bytes(gates * hidden, config.weight_bits),
        "delta.state_bits": _state_bits(frames, count, stream, config),
        "dram.read": sum(v for k, v in moved.items() if k.endswith(".read")),
        "dram.write": sum(v for k, v in moved.items() if k.endswith(".write")),
    }
    return DeltaRun(
        layer=layer,
        op="lstm" if gates == _LSTM_GATES else "gru",
        m=frames,
        n=gates * hidden,
        k=x + hidden,
        dataflow="edgedrnn",
        cycles=sum(parts.values()),
        parts=parts,
        macs_dense=frames * gates * hidden * (x + hidden),
        macs_effective=macs,
        items_in=frames * (x + hidden),
        nonzero_in=count,
        frame_cycles=law + (pipeline + start + state_cycles),
        frame_nonzero=events,
        bytes_by_cause=moved,
        state_bytes=_state_bytes(stream, config),
        counters=counters,
        energy_parts_pj=energy_parts(config, counters),
    )


def snr_db(wanted: Floats, found: Floats) -> float | None:
    """10 log10 of the signal's energy over the difference's; None when they are equal."""
    noise = float(((wanted - found) ** 2).sum())
    signal = float((wanted**2).sum())
    return 10 * float(np.log10(signal / noise)) if noise and signal else None


def _name(index: int, layer: LayerStream) -> str:
    return f"lstm{index}" if layer.gates == _LSTM_GATES else f"gru{index}"


def _has_lstm(stream: GruStream) -> bool:
    return any(isinstance(layer, Lstm) for layer in stream.grus)


def _fixed(
    x: Floats, gru: Gru, config: DeltaConfig, theta: int
) -> tuple[Floats, NDArray[np.bool_], int]:
    bias = np.concatenate([gru.wb, gru.rb])
    weights = GruWeights.quantise(gru.w, gru.r, bias, config.shape)
    items = codes(x, config.activation_fraction, config.activation_bits)
    states, nonzero, saturations = fixed_stream(items, weights, config.shape, theta)
    return states / (1 << config.activation_fraction), nonzero, saturations


def _check_fit(stream: GruStream, config: DeltaConfig) -> None:
    for index, gru in enumerate(stream.grus):
        items, hidden = gru.inputs + gru.hidden, gru.hidden
        if hidden % config.lanes:
            raise UserError(
                f"lanes must divide the {hidden} units of layer gru{index}, but got {config.lanes}"
            )
        if items > config.reference_words * config.detector_width:
            raise UserError(
                f"layer gru{index} needs reference_words for {items} items, "
                f"but got {config.reference_words}"
            )
        if _SUMS * hidden > config.sigma_words * config.lanes:
            raise UserError(
                f"layer gru{index} needs sigma_words for {_SUMS * hidden} sums, "
                f"but got {config.sigma_words} words of {config.lanes}"
            )
    if config.detector_width != 1:
        raise UserError(
            "detector_width must be 1 where EdgeDRNN's law gives the cycles, "
            f"but got {config.detector_width}"
        )


def _bytes(elements: int, bits: int) -> int:
    return ceil(elements * bits / 8)


def _column_cycles(stream: LayerStream, config: DeltaConfig) -> int:
    """Cycles of a weight column: the lanes', or DRAM's where that is slower."""
    lanes = stream.gates * stream.hidden // config.lanes
    if config.weight_memory == "chip" or config.dram.bytes_per_cycle is None:
        return lanes
    beats = ceil(_column_bytes(stream, config) / config.dram.bytes_per_cycle)
    return max(lanes, beats)


def _column_bytes(stream: LayerStream, config: DeltaConfig) -> int:
    """Of a weight column in whole bursts."""
    burst = config.dram.burst_bytes
    return ceil(_bytes(stream.gates * stream.hidden, config.weight_bits) / burst) * burst


def _first_beat(config: DeltaConfig) -> int:
    """max(0, d - 1) a layer-step, d the cycles from a request to its first beat."""
    return max(0, config.dram.latency_cycles - 1) if config.weight_memory == "dram" else 0


def _state_bytes(stream: LayerStream, config: DeltaConfig) -> int:
    """References of all items, sums and the state of all units; an LSTM's cells are as wide as
    sums."""
    items = _bytes(stream.inputs + stream.hidden, config.activation_bits)
    words = _SUMS + (stream.gates == _LSTM_GATES)
    sums = _bytes(words * stream.hidden, config.accumulator_bits)
    return items + sums + _bytes(stream.hidden, config.activation_bits)


def _state_cycles(stream: LayerStream, config: DeltaConfig) -> int:
    """Cycles in which a frame's state comes from DRAM and goes back, not overlapped."""
    if config.state_memory == "chip" or config.dram.bytes_per_cycle is None:
        return 0
    moved = ceil(_state_bytes(stream, config) / config.dram.bytes_per_cycle)
    return 2 * (moved + config.dram.latency_cycles)


def _traffic(stream: LayerStream, events: NDArray[np.int64], config: DeltaConfig) -> dict[str, int]:
    frames, moved = len(events), {}
    if config.weight_memory == "dram":
        moved["weights.read"] = int(events.sum()) * _column_bytes(stream, config)
    if config.state_memory == "dram":
        state = frames * _state_bytes(stream, config)
        moved |= {"state.read": state, "state.write": state}
    return moved


def _state_bits(frames: int, events: int, stream: LayerStream, config: DeltaConfig) -> int:
    """Every event reads and writes its column of sums, every item reads its reference; an event
    writes it; the gates read four sums and write the state."""
    width, sums = config.activation_bits, config.accumulator_bits
    items = frames * (stream.inputs + stream.hidden)
    state = (items + events) * width + 2 * events * stream.gates * stream.hidden * sums
    return state + frames * stream.hidden * (_SUMS * sums + width)


def _dense(layers: list[LayerStream], config: DeltaConfig) -> int:
    """Cycles of the same frames on the same machine when every item is computed on."""
    total = 0
    for index, layer in enumerate(layers):
        full: Any = np.ones((1, layer.nonzero.shape[1]), np.bool_)
        one = LayerStream(layer.inputs, layer.hidden, full, layer.states[:1], 0, layer.gates)
        total += gru_run("dense", one, config, first=index == 0).cycles
    return total * len(layers[0].nonzero)
