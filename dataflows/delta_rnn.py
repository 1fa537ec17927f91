"""EdgeDRNN: exact cycles of a DeltaGRU layer-step from the positions of its non-zero deltas.

The machine (Gao et al., arXiv 1912.12193 and 2012.13600) scans one item a cycle, the X deltas of
the input at positions 0..X-1, then the H deltas of the state at X..X+H-1. A non-zero item enters a
FIFO with its weight column of 3H elements; the column's rows are interleaved over the PEs, so it
occupies all of them for S = 3H / num_pe cycles and they never wait for each other. The last item
of the input and of the state enters the FIFO even when it is zero and then costs one cycle. When
the FIFO is full the scan stops, and everything behind it is late by as much. The activation
phase takes 5 cycles for num_pe units.

The law was checked against the authors' RTL (8 PEs, a FIFO of 32, one beat a cycle from memory):
no error in 486 steps with H 64..768, 1 to 3 layers and sparsity 0.15 to 0.88. Other numbers of PEs
and other depths follow the same law and were not checked there.

`layer_cycles` is one layer-step, `step_cycles` the latency of a network's step, `layer_cycles_many`
the same law over many steps of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FIFO_DEPTH",
    "NUM_PE",
    "dense_cycles",
    "layer_cycles",
    "layer_cycles_many",
    "network_cycles",
    "step_cycles",
]

NUM_PE = 8
FIFO_DEPTH = 32
"""EdgeDRNN as published: arXiv 2012.13600, section IV."""

_ACTIVATION_CYCLES = 5  # for num_pe units
_LAYER_LATENCY = 15  # pipeline of a layer, of the fit to the authors' RTL
_FIRST_FREE = -9  # cycle from which the first column could start, of the same fit
_LARGEST = 1 << 20  # items and units; cycles then stay far inside 64 bits


def layer_cycles(
    inputs: int,
    hidden: int,
    positions: Iterable[int] | ArrayLike,
    num_pe: int = NUM_PE,
    fifo_depth: int = FIFO_DEPTH,
    *,
    memory_latency: int = 1,
) -> int:
    """Cycles of one layer-step.

    Args:
        inputs: X, items of the input.
        hidden: H, units; a multiple of `num_pe`.
        positions: of the non-zero items, 0..X+H-1 in any order; x first, then h.
        num_pe: multiply-accumulate lanes.
        fifo_depth: an item enters the FIFO once the one `fifo_depth - 1` before it has ended.
        memory_latency: d, cycles from a request to its first beat; adds max(0, d - 1).

    Raises:
        ValueError: a size out of range, hidden no multiple of num_pe, a position outside the scan.
    """
    if isinstance(positions, np.ndarray) and positions.dtype == np.int64 and positions.ndim == 1:
        where: NDArray[np.int64] = positions
    else:
        where = _positions(positions)
    _check(inputs, hidden, num_pe, fifo_depth, memory_latency)
    column = 3 * hidden // num_pe
    cycles = _layer(inputs, hidden, where, num_pe, fifo_depth, column)
    if cycles < 0:  # not ascending, or outside: the usual case does not pay for the difference
        where = np.unique(where)
        if where[0] < 0 or where[-1] >= inputs + hidden:
            wrong = where[0] if where[0] < 0 else where[-1]
            raise ValueError(
                f"positions must be in 0..inputs+hidden-1 = 0..{inputs + hidden - 1}, "
                f"but got {wrong}"
            )
        cycles = _layer(inputs, hidden, where, num_pe, fifo_depth, column)
    return int(cycles) + max(0, memory_latency - 1)


def step_cycles(
    layers: Iterable[tuple[int, int, Iterable[int] | ArrayLike]],
    num_pe: int = NUM_PE,
    fifo_depth: int = FIFO_DEPTH,
    *,
    memory_latency: int = 1,
) -> int:
    """Latency of a network's step in cycles, from valid input to the last beat of output.

    Args:
        layers: (inputs, hidden, positions) of each layer, as `layer_cycles` takes them.
        num_pe, fifo_depth, memory_latency: as there.

    Raises:
        ValueError: no layer, or one that `layer_cycles` refuses.
    """
    each = [
        layer_cycles(inputs, hidden, positions, num_pe, fifo_depth, memory_latency=memory_latency)
        for inputs, hidden, positions in layers
    ]
    return _latency(sum(each), len(each))


def layer_cycles_many(
    inputs: int,
    hidden: int,
    nonzero: ArrayLike,
    num_pe: int = NUM_PE,
    fifo_depth: int = FIFO_DEPTH,
    *,
    memory_latency: int = 1,
    column_cycles: int | None = None,
) -> NDArray[np.int64]:
    """Cycles of many steps of a layer.

    Args:
        nonzero: bool[steps, inputs + hidden], True where an item is not zero.
        column_cycles: that a weight column takes when memory is slower than the lanes; None is
            S = 3 hidden / num_pe.

    Returns:
        int64[steps].

    Raises:
        ValueError: as `layer_cycles`, or an array of another shape.
    """
    _check(inputs, hidden, num_pe, fifo_depth, memory_latency)
    mask = np.ascontiguousarray(nonzero, np.bool_)
    if mask.ndim != 2 or mask.shape[1] != inputs + hidden:
        raise ValueError(
            f"nonzero must be [steps, inputs + hidden = {inputs + hidden}], "
            f"but got shape {mask.shape}"
        )
    least = 3 * hidden // num_pe
    column = least if column_cycles is None else column_cycles
    if column < least:
        raise ValueError(f"column_cycles must be at least {least}, but got {column}")
    cycles = np.empty(mask.shape[0], np.int64)
    _layers(inputs, hidden, mask, num_pe, fifo_depth, column, cycles)
    return cycles + max(0, memory_latency - 1)


def network_cycles(
    layers: Iterable[tuple[int, int, ArrayLike]],
    num_pe: int = NUM_PE,
    fifo_depth: int = FIFO_DEPTH,
    *,
    memory_latency: int = 1,
) -> NDArray[np.int64]:
    """`step_cycles` of many steps: int64[steps] from (inputs, hidden, bool[steps, X + H])."""
    each = [
        layer_cycles_many(
            inputs, hidden, nonzero, num_pe, fifo_depth, memory_latency=memory_latency
        )
        for inputs, hidden, nonzero in layers
    ]
    if len({len(cycles) for cycles in each}) > 1:
        raise ValueError(
            f"all layers must have the same number of steps, but got {[len(c) for c in each]}"
        )
    return np.asarray(_latency(sum(each), len(each)))


def dense_cycles(
    layers: Iterable[tuple[int, int]], num_pe: int = NUM_PE, fifo_depth: int = FIFO_DEPTH
) -> int:
    """`step_cycles` of (inputs, hidden) layers in which no item is zero."""
    return step_cycles(
        ((x, h, np.arange(x + h, dtype=np.int64)) for x, h in layers), num_pe, fifo_depth
    )


def _latency(cycles: Any, layers: int) -> Any:
    if not layers:
        raise ValueError("layers must hold at least one layer, but got none")
    return cycles + _LAYER_LATENCY * layers - 1


def _positions(positions: Any) -> NDArray[np.int64]:
    if not isinstance(positions, (np.ndarray, list, tuple)):
        positions = list(positions)
    where = np.asarray(positions)
    if where.size == 0:
        return np.empty(0, np.int64)
    if where.ndim != 1 or where.dtype.kind not in "iu":
        raise ValueError(
            "positions must be a flat sequence of integers, "
            f"but got shape {where.shape} of {where.dtype}"
        )
    return where.astype(np.int64)


def _check(inputs: int, hidden: int, num_pe: int, fifo_depth: int, memory_latency: int) -> None:
    if not 1 <= inputs <= _LARGEST:
        raise ValueError(f"inputs must be in 1..{_LARGEST}, but got {inputs}")
    if not 1 <= hidden <= _LARGEST:
        raise ValueError(f"hidden must be in 1..{_LARGEST}, but got {hidden}")
    if not 1 <= num_pe <= _LARGEST:
        raise ValueError(f"num_pe must be in 1..{_LARGEST}, but got {num_pe}")
    if hidden % num_pe:
        raise ValueError(
            f"hidden must be a multiple of num_pe, but got hidden={hidden} and num_pe={num_pe}"
        )
    if not 2 <= fifo_depth <= _LARGEST:
        raise ValueError(f"fifo_depth must be in 2..{_LARGEST}, but got {fifo_depth}")
    if memory_latency < 0:
        raise ValueError(f"memory_latency must not be negative, but got {memory_latency}")


@njit(cache=True)
def _layer(
    inputs: int,
    hidden: int,
    positions: NDArray[np.int64],
    num_pe: int,
    fifo_depth: int,
    column: int,
) -> int:  # pragma: no cover - compiled
    """`layer_cycles` with an ideal memory; -1 if the positions do not ascend inside the scan."""
    held = fifo_depth - 1
    ends = np.empty(held, np.int64)  # end[n - held] stands where end[n] will
    slot, full = 0, False
    free, shift = _FIRST_FREE, 0
    last_x, last = inputs - 1, inputs + hidden - 1
    previous = -1
    count = positions.shape[0]
    n = 0
    while previous < last:
        cost = column
        p = positions[n] if n < count else last + 1
        if n < count and (p <= previous or p > last):
            return -1
        if previous < last_x < p:
            p, cost = last_x, 1
        elif p > last:
            p, cost = last, 1
        else:
            n += 1
        available = p + shift + (1 if p > last_x else 0)
        if full and available < ends[slot]:
            shift += ends[slot] - available
            available = ends[slot]
        free = max(available, free) + cost
        ends[slot] = free
        slot += 1
        if slot == held:
            slot, full = 0, True
        previous = p
    if n < count:  # positions beyond the last item
        return -1
    return free + _ACTIVATION_CYCLES * hidden // num_pe


@njit(cache=True)
def _layers(
    inputs: int,
    hidden: int,
    mask: NDArray[np.bool_],
    num_pe: int,
    fifo_depth: int,
    column: int,
    cycles: NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """`_layer` for each row of a mask."""
    positions = np.empty(inputs + hidden, np.int64)
    for step in range(mask.shape[0]):
        count = 0
        for p in range(inputs + hidden):
            positions[count] = p
            count += mask[step, p]
        cycles[step] = _layer(inputs, hidden, positions[:count], num_pe, fifo_depth, column)
