"""What the memories cost that computing on change needs, and where they erase what it saves.

Sums and references live from frame to frame. On chip they cost energy; in DRAM they move in whole
every frame, however little has changed, and there is a density above which that costs more than
skipping saves. Two workloads go through the delta engine's own accounting: the GRUs of NSNet2 over
speech, Theta by Theta, and a delta CNN of three layers over a video, quantiser step by step. Each
is compared with two dense machines of as many lanes:

    same     this engine on chip with every item computed on: its sums pass the sum memory
    ideal    every lane busy in every cycle and sums kept in the lanes, so that a product costs its
             multiply-accumulate and its weight, read for each as here; no state

`break_even` gives the same in closed form for one sum of a layer with k products.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np

from hwsim.config import load_config, replace
from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.delta_layer import LayerGeometry
from hwsim.delta_run import DeltaRun
from hwsim.delta_speech import layer_runs
from hwsim.engine_delta import layer_run, run_stream
from hwsim.engine_edgedrnn import LayerStream
from hwsim.models.delta import Conv, DeltaEncoder, Output, dense_sums
from hwsim.models.moving_images import synthetic_video

__all__ = [
    "CNN_STEPS",
    "RIVALS",
    "Clip",
    "break_even",
    "cnn_clip",
    "cnn_rows",
    "crossing",
    "crossings",
    "gru_rows",
]

CNN_STEPS = (1, 2, 4, 8, 16, 32, 64)
"""Quantiser steps in grey levels, and as coarse between layers: of 256 down to 4 levels."""

Place = Literal["chip", "dram"]
Dense = Literal["same", "ideal"]

PLACES: tuple[Place, Place] = ("chip", "dram")
RIVALS: tuple[Dense, Dense] = ("same", "ideal")

_FRAMES = 8  # chosen: the density of this video does not change along it
_SIZE = (144, 176)  # of the clip that the project's delta CNN is measured on
_FILTERS = (8, 16, 16)  # as the project's delta CNN; pooled by 2 after the first two


@dataclass(frozen=True, eq=False)
class Clip:
    """A delta CNN and a video.

    Attributes:
        layers: convolutions whose codes use 8 bits at step 1.
        frames: uint8 [frames, 1, height, width].
    """

    layers: tuple[Conv, ...]
    frames: np.ndarray


def gru_rows(points: Sequence[tuple[int, Sequence[LayerStream]]]) -> list[dict[str, Any]]:
    """A row for each Theta, place of the weights and place of the state, on preset `edgedrnn`.

    Args:
        points: (Theta, what the layers computed).
    """
    rows = []
    for weights in PLACES:
        base = _config("edgedrnn", weights, "chip")
        first = points[0][1]
        dense = layer_runs([_everything(layer) for layer in first], base)
        for state in PLACES:
            config = _config("edgedrnn", weights, state)
            rows += [
                _row("nsnet2", "theta", theta, layer_runs(layers, config), dense, config)
                for theta, layers in points
            ]
    return rows


def cnn_rows(clip: Clip, steps: Sequence[int] = CNN_STEPS) -> list[dict[str, Any]]:
    """A row for each quantiser step and place of the state, on preset `dal`, weights on chip."""
    base = _config("dal", "chip", "chip")
    dense, shape = [], clip.frames.shape[1:]
    for index, layer in enumerate(clip.layers):
        g = LayerGeometry.of(layer, shape)
        ones = np.ones((len(clip.frames), g.height, g.width, g.channels), np.int64)
        dense.append(layer_run(f"conv{index}", "conv", ones, g, base, ones))
        shape = (g.filters, *g.pooled)
    rows = []
    for state in PLACES:
        config = _config("dal", "chip", state)
        for step in steps:
            encoder = DeltaEncoder(shift=step.bit_length() - 1, bits=8, signed=False)
            layers = [_coarser(layer, step) for layer in clip.layers]
            runs = run_stream(encoder, layers, clip.frames, config).runs
            rows.append(_row("delta_cnn", "step", step, runs, dense, config))
    return rows


def cnn_clip(seed: int = 0, *, frames: int = _FRAMES, size: tuple[int, int] = _SIZE) -> Clip:
    """A synthetic video and a CNN 1-8-16-16 of 3 x 3 kernels with random weights.

    The weights are not trained: only how much changes from frame to frame matters here, and that
    is varied over its whole range.

    Args:
        seed: of video and weights.
        frames: how many; the first one changes everywhere and counts as the others do.
        size: height and width.
    """
    rng = np.random.default_rng(seed)
    video = synthetic_video(frames, *size, rng)[:, None]
    layers: list[Conv] = []
    codes = video[0].astype(np.int64)
    for index, filters in enumerate(_FILTERS):
        weight = rng.integers(-127, 128, (filters, len(codes), 3, 3))
        zeros = np.zeros(filters, np.int64)
        bare = Conv(weight, Output(zeros, zeros + 1, 0), pad=1)
        top = np.maximum(1, dense_sums(bare, codes).max(axis=(1, 2)))  # becomes the code 255
        output = Output(zeros, np.maximum(1, (255 << 20) // top), 20, pool=2 if index < 2 else 1)
        layers.append(Conv(weight, output, pad=1))
        codes = output.codes(dense_sums(layers[-1], codes))
    return Clip(tuple(layers), video)


def break_even(
    products: float,
    config: DeltaConfig,
    *,
    state: Place,
    dense: Dense,
    weights: Place = "chip",
) -> float:
    """Share of the products of a sum below which computing on change takes less energy.

    Per frame a sum is read and written once for the output pass, and added to by every product
    that is carried out. References are left out: a layer has far more products than inputs.

    Args:
        products: of a sum in the dense layer: input channels times kernel size.
        config: energies and widths.
        state, weights: where they live; weights in DRAM are fetched for every product, as in GRUs
            and linear layers, where each is used once a frame.
        dense: the machine to compare with, see the module.

    Returns:
        0 when there is no such density, at most 1.
    """
    e, total = config.energy, config.accumulator_bits / 8
    moved = config.weight_bits / 8 * (e.weight_pj + (e.dram_pj if weights == "dram" else 0))
    ideal = e.mac_pj + moved
    each = ideal + 2 * total * e.state_pj
    walk = 2 * total * (e.state_pj + (e.dram_pj if state == "dram" else 0))
    whole = products * ideal if dense == "ideal" else products * each + 2 * total * e.state_pj
    return min(1.0, max(0.0, (whole - walk) / (products * each)))


def crossing(rows: Sequence[dict[str, Any]], gain: str) -> dict[str, Any]:
    """Where a gain falls to 1 as more is computed on.

    Args:
        rows: of one workload, place of weights and place of state, in any order.
        gain: the column.

    Returns:
        `share` of the products, interpolated between the two points around it, whose values are
        `between`; a share of 0 when every point loses, None when none does.
    """
    points = sorted(rows, key=lambda row: row["share"])
    share: float | None = None
    between: list[int] = []
    if points[0][gain] <= 1:
        share = 0.0
    for low, high in itertools.pairwise(points):
        if low[gain] > 1 >= high[gain]:
            # the cost, 1 / gain, grows almost in proportion to the share
            part = (1 - 1 / low[gain]) / (1 / high[gain] - 1 / low[gain])
            share = low["share"] + part * (high["share"] - low["share"])
            between = [low["value"], high["value"]]
    return {"share": share, "between": between}


def crossings(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where each workload's energy saving ends, by place of weights and state and by rival."""
    found = []
    keys = dict.fromkeys((row["workload"], row["weights"], row["state"]) for row in rows)
    for workload, weights, state in keys:
        mine = [
            row
            for row in rows
            if (row["workload"], row["weights"], row["state"]) == (workload, weights, state)
        ]
        for dense in RIVALS:
            at = crossing(mine, f"energy_gain_{dense}")
            found.append(
                {"workload": workload, "weights": weights, "state": state, "dense": dense, **at}
            )
    return found


def _config(preset: str, weights: Place, state: Place) -> DeltaConfig:
    found = replace(load_config(preset), {"weight_memory": weights, "state_memory": state})
    assert isinstance(found, DeltaConfig)
    return found


def _everything(layer: LayerStream) -> LayerStream:
    mask = np.ones((1, layer.nonzero.shape[1]), np.bool_)
    return LayerStream(layer.inputs, layer.hidden, mask, layer.states[:1], 0)


def _coarser(layer: Conv, step: int) -> Conv:
    old = layer.output
    output = Output(old.bias, np.maximum(1, old.multiplier // step), old.shift, pool=old.pool)
    return Conv(layer.weight, output, stride=layer.stride, pad=layer.pad)


def _row(
    workload: str,
    varied: str,
    value: int,
    runs: Sequence[DeltaRun],
    dense: Sequence[DeltaRun],
    config: DeltaConfig,
) -> dict[str, Any]:
    """Means a frame; gains are a dense machine's cost over this one's.

    Of `state_bytes`, `reference_bytes` are references, the rest sums and a GRU's state.

    `bandwidth_erased` is in DRAM bytes a cycle: with less, moving the state makes a frame as long
    as the same engine's with nothing skipped. Layer engines move it while they work, the GRU engine
    before and after.
    """
    frames, all_frames = len(runs[0].frame_cycles), len(dense[0].frame_cycles)
    dense_cycles = sum(run.cycles for run in dense) / all_frames
    macs = sum(run.macs_dense for run in runs) / frames
    energy, cycles = sum(r.energy_pj for r in runs) / frames, sum(r.cycles for r in runs) / frames
    same = sum(run.energy_pj for run in dense) / all_frames
    parts = ("mac", "weights", "dram")  # with the state on chip DRAM has the weights only
    ideal = sum(run.energy_parts_pj[part] for run in dense for part in parts) / all_frames
    state_bytes = sum(
        count
        for run in runs
        for cause, count in run.bytes_by_cause.items()
        if not cause.startswith("weights.")
    )
    serial = (cycles - sum(r.parts.get("state", 0) for r in runs) / frames) * (varied == "theta")
    references = sum(run.items_in for run in runs) // frames * config.activation_bits / 8
    state = sum(run.energy_parts_pj["state"] for run in runs) + state_bytes * config.energy.dram_pj
    return {
        "workload": workload,
        "varied": varied,
        "value": value,
        "weights": config.weight_memory,
        "state": config.state_memory,
        "share": sum(run.macs_effective for run in runs) / frames / macs,
        "density": sum(r.nonzero_in for r in runs) / sum(r.items_in for r in runs),
        "state_bytes": sum(run.state_bytes for run in runs),
        "reference_bytes": ceil(references),
        "dram_bytes": sum(r.dram_read_bytes + r.dram_write_bytes for r in runs) / frames,
        "dram_state_bytes": state_bytes / frames,
        "energy_uj": 1e-6 * energy,
        "state_energy_uj": 1e-6 * state / frames,
        "cycles": cycles,
        "energy_gain_same": same / energy,
        "energy_gain_ideal": ideal / energy,
        "cycle_gain_same": dense_cycles / cycles,
        "cycle_gain_ideal": macs / (config.lanes * config.clusters) / cycles,
        "bandwidth_erased": state_bytes / frames / (dense_cycles - serial),
    }
