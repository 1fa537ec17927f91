"""SCNN (ISCA 2017): Cartesian products of non-zero weights and activations in planar tiles.

Each PE of a grid holds a tile of the input map and multiplies, channel by channel, every non-zero
weight of a group of filters with every non-zero activation of its tile, F weights and I activations
a cycle: ceil(nnz_w / F) ceil(nnz_a / I) cycles a channel. The products go to accumulator banks that
take one a cycle each; queues level what arrives within a channel, so a channel lasts at least as
long as its busiest bank has products. The PEs wait for each other at the end of a group of filters.

With a stride s only activations and weights of the same phase meet in an output: the s x s phases
are multiplied apart (not given in the paper; chosen, because otherwise most products are useless).
A product whose output lies outside the map is formed and dropped.

The word of an output in the accumulators is ((filter of the group) * rows + row) * columns +
column of the tile with its halo, its bank that modulo the banks (not given; chosen).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.masks import MaskedLayer

__all__ = ["ScnnShape", "scnn_cycles", "scnn_dense_cycles"]


@dataclass(frozen=True, kw_only=True)
class ScnnShape:
    """The machine.

    Attributes:
        rows, cols: of the grid of PEs.
        weights: F, non-zero weights a cycle.
        activations: I, non-zero activations a cycle.
        filters: of a group, Kc.
        banks: of accumulators; 0 leaves conflicts out.
    """

    rows: int
    cols: int
    weights: int
    activations: int
    filters: int
    banks: int


def scnn_cycles(layer: MaskedLayer, shape: ScnnShape) -> tuple[int, int]:
    """(cycles, of which bank conflicts on the slowest PEs) of a layer.

    Raises:
        ValueError: banks are no power of two.
    """
    if shape.banks & (shape.banks - 1):
        raise ValueError(f"banks must be a power of two or 0, but got {shape.banks}")
    total = conflicts = 0
    channels, kernels = layer.weights.shape[1], layer.filters // layer.groups
    for group in range(layer.groups):
        acts = layer.activations[group * channels : (group + 1) * channels]
        weights = layer.weights[group * kernels : (group + 1) * kernels]
        (top, _), (left, _) = layer.pads
        arguments: tuple[Any, ...] = (
            np.ascontiguousarray(acts),
            np.ascontiguousarray(weights),
            *layer.strides,
            top,
            left,
            *layer.out,
            shape.rows,
            shape.cols,
            shape.weights,
            shape.activations,
            shape.filters,
            shape.banks,
        )
        one, two = _group_cycles(*arguments)
        total += one
        conflicts += two
    return int(total), int(conflicts)


def scnn_dense_cycles(layer: MaskedLayer, shape: ScnnShape) -> int:
    """The dense counterpart with as many multipliers: each PE sums the outputs of its tile, F I
    products of an output a cycle."""
    height, width = layer.out
    tile = -(-height // shape.rows) * -(-width // shape.cols)
    return tile * layer.filters * -(-layer.taps // (shape.weights * shape.activations))


@njit(cache=True)
def _group_cycles(
    acts: NDArray[np.bool_],
    weights: NDArray[np.bool_],
    stride_y: int,
    stride_x: int,
    top: int,
    left: int,
    out_h: int,
    out_w: int,
    rows: int,
    cols: int,
    wide_w: int,
    wide_a: int,
    deep: int,
    banks: int,
) -> tuple[int, int]:  # pragma: no cover - compiled
    channels, height, width = acts.shape
    filters, _, kernel_h, kernel_w = weights.shape
    tile_h, tile_w = -(-height // rows), -(-width // cols)
    # outputs that a tile's activations reach, from its first
    reach_h = (tile_h + kernel_h - 2) // stride_y + 2
    reach_w = (tile_w + kernel_w - 2) // stride_x + 2
    w_k = np.empty(deep * kernel_h * kernel_w, np.int64)
    w_y, w_x = np.empty_like(w_k), np.empty_like(w_k)
    a_y = np.empty(tile_h * tile_w, np.int64)
    a_x = np.empty_like(a_y)
    load = np.zeros(max(banks, 1), np.int64)
    cycles = conflicts = 0
    for first in range(0, filters, deep):
        slowest = slowest_conflicts = 0
        for pe in range(rows * cols):
            y0, x0 = pe // cols * tile_h, pe % cols * tile_w
            y1, x1 = min(y0 + tile_h, height), min(x0 + tile_w, width)
            if y0 >= height or x0 >= width:
                continue
            time = lost = 0
            # of the highest and leftmost output that the tile reaches
            base_y = (y0 + top - kernel_h + 1) // stride_y
            base_x = (x0 + left - kernel_w + 1) // stride_x
            for c in range(channels):
                for phase in range(stride_y * stride_x):
                    phase_y, phase_x = phase // stride_x, phase % stride_x
                    some_a = 0
                    for y in range(y0, y1):
                        if (y + top) % stride_y != phase_y:
                            continue
                        for x in range(x0, x1):
                            if acts[c, y, x] and (x + left) % stride_x == phase_x:
                                # in one phase the stride divides differences
                                a_y[some_a] = (y + top) // stride_y
                                a_x[some_a] = (x + left) // stride_x
                                some_a += 1
                    if some_a == 0:
                        continue
                    some_w = 0
                    for k in range(first, min(first + deep, filters)):
                        for r in range(phase_y, kernel_h, stride_y):
                            for s in range(phase_x, kernel_w, stride_x):
                                if weights[k, c, r, s]:
                                    w_k[some_w] = k - first
                                    w_y[some_w], w_x[some_w] = r // stride_y, s // stride_x
                                    some_w += 1
                    steps = -(-some_w // wide_w) * -(-some_a // wide_a)
                    time += steps
                    if banks == 0:
                        continue
                    load[:] = 0
                    for w in range(some_w):
                        for a in range(some_a):
                            oy, ox = a_y[a] - w_y[w], a_x[a] - w_x[w]
                            if oy < 0 or oy >= out_h or ox < 0 or ox >= out_w:
                                continue
                            word = (w_k[w] * reach_h + oy - base_y) * reach_w + ox - base_x
                            load[word & (banks - 1)] += 1
                    lost += max(load.max() - steps, 0)
            if time + lost > slowest:
                slowest, slowest_conflicts = time + lost, lost
        cycles += slowest
        conflicts += slowest_conflicts
    return cycles, conflicts
