"""Fast exact values and events of the GRU engine: `hwsim.models.delta_gru`, compiled.

The sums of an event's column are added one event after the other, as the lanes do, so saturation
strikes where it does in hardware.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows.delta_sim import GATE_BEATS, EngineWork
from hwsim.models.delta_gru import GruWeights, gates
from hwsim.models.delta_shape import DeltaShape

__all__ = ["GruRun", "gru_work", "run_gru"]

Ints = NDArray[np.int64]


class GruRun(NamedTuple):
    """What a sequence did.

    Attributes:
        h: int64 [steps, H], the state after each step.
        nonzero: bool [steps, X + H], the items that were events.
        saturations: additions that left the accumulator's range.
    """

    h: Ints
    nonzero: NDArray[np.bool_]
    saturations: int


def run_gru(weights: GruWeights, shape: DeltaShape, theta: int, x: NDArray) -> GruRun:
    """A sequence from the start.

    Args:
        weights: of the layer.
        shape: number formats.
        theta: threshold in units of an activation's last bit.
        x: integers [steps, X].

    Raises:
        ValueError: a shape that does not fit the weights, or a negative Theta.
    """
    if x.ndim != 2 or x.shape[1] != weights.inputs:
        raise ValueError(f"x must be [steps, {weights.inputs}], but got {x.shape}")
    if theta < 0:
        raise ValueError(f"theta must not be negative, but got {theta}")
    inputs, hidden = weights.inputs, weights.hidden
    columns = np.ascontiguousarray(np.concatenate([weights.w, weights.r], axis=1).T)
    sums = weights.bias.copy()
    h = np.zeros(hidden, np.int64)
    reference = np.zeros(inputs + hidden, np.int64)
    top = 1 << (shape.accumulator_bits - 1)
    states = np.zeros((len(x), hidden), np.int64)
    nonzero = np.zeros((len(x), inputs + hidden), np.bool_)
    saturations = 0
    for t, given in enumerate(np.ascontiguousarray(x, np.int64)):
        items = np.concatenate([given, h])
        saturations += _step(items, reference, columns, sums, inputs, theta, top, nonzero[t])
        h = gates(sums, h, shape)
        states[t] = h
    return GruRun(states, nonzero, saturations)


def gru_work(nonzero: NDArray[np.bool_], inputs: int, shape: DeltaShape) -> EngineWork:
    """What the engine does for these events.

    Args:
        nonzero: bool [steps, X + H].
        inputs: X.
        shape: of the engine.

    Raises:
        ValueError: H is no multiple of the lanes.
    """
    steps, items = nonzero.shape
    hidden, width = items - inputs, shape.detector_width
    if hidden % shape.lanes:
        raise ValueError(f"hidden must be a multiple of lanes={shape.lanes}, but got {hidden}")
    spare = -inputs % width  # x is filled up to whole words
    events = np.zeros((steps, inputs + spare + hidden), np.bool_)
    events[:, :inputs] = nonzero[:, :inputs]
    events[:, inputs + spare :] = nonzero[:, inputs:]
    sent = events.copy()
    sent[:, [inputs + spare - 1, -1]] = True  # the last of x and of h always enter the FIFO
    reads = events[sent]
    groups = hidden // shape.lanes
    return EngineWork(
        counts=sent.reshape(steps, -1, width).sum(2),
        beats=np.where(reads, 3 * groups, 1),
        reads=reads,
        input_words=(inputs + spare) // width,
        set_words=4 * groups,
        walk=GATE_BEATS * groups,
        window=GATE_BEATS,
    )


@njit(cache=True)
def _step(
    items, reference, columns, sums, inputs, theta, top, nonzero
):  # pragma: no cover - compiled
    hidden = sums.shape[1]
    saturations = 0
    for p in range(items.size):
        delta = items[p] - reference[p]
        if delta == 0 or abs(delta) < theta:
            continue
        nonzero[p] = True
        reference[p] = items[p]
        for gate in range(3):
            row = 3 if gate == 2 and p >= inputs else gate
            for unit in range(hidden):
                total = sums[row, unit] + delta * columns[p, gate * hidden + unit]
                kept = min(max(total, -top), top - 1)
                saturations += kept != total
                sums[row, unit] = kept
    return saturations
