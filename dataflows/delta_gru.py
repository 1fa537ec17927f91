"""What the GRU engine does for a sequence's events: words of its scan, columns, gates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.delta_sim import GATE_BEATS, EngineWork
from hwsim.models.delta_shape import DeltaShape

__all__ = ["gru_work"]


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
