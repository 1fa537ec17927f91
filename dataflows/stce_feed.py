"""Operand streams of the sparse array: what a product's tiles put on the ports, beat by beat.

The streams are what an address generator in front of the array fetches: groups of activations for
every row, (value, index) pairs for every column, and where each result beat belongs in Z.

A pattern N:M runs on hardware that holds `group` activations a PE whenever M divides `group`: a
group then carries group / M pattern groups and serves N * group / M pairs. Dense is the same with
every element kept, so a k that `group` does not divide costs no step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.stce import OS, gemm_jobs
from hwsim.models.array import ArrayShape
from hwsim.models.formats import NumberFormat
from hwsim.models.nm import Compact

__all__ = ["OperandStreams", "gemm_streams", "lay_out"]


@dataclass(frozen=True, kw_only=True)
class OperandStreams:
    """The beats of one product.

    Attributes:
        jobs: int64 [jobs, 5]: mode, tiles, folds, length, word_steps.
        a: operands [beats, rows, group].
        b_values, b_indices: operands and uint8 [beats, cols].
        z_rows, z_cols: int64 [beats] the row of Z a result beat belongs to (-1 for padding) and
            its first column.
        shape: (m, n) of Z.
    """

    jobs: NDArray[np.int64]
    a: NDArray
    b_values: NDArray
    b_indices: NDArray[np.uint8]
    z_rows: NDArray[np.int64]
    z_cols: NDArray[np.int64]
    shape: tuple[int, int]

    def gather(self, beats: NDArray) -> NDArray:
        """Z[m, n] from the result beats [beats, cols]."""
        m, n = self.shape
        cols = beats.shape[1]
        z = np.zeros((m, int(self.z_cols.max()) + cols), beats.dtype)
        real = self.z_rows >= 0
        columns = self.z_cols[real, None] + np.arange(cols)
        z[self.z_rows[real, None], columns] = beats[real]
        return z[:, :n]


def gemm_streams(
    a: NDArray,
    b: NDArray | Compact,
    fmt: NumberFormat,
    *,
    mode: int,
    array: ArrayShape,
) -> OperandStreams:
    """The streams of Z[m, n] = A[m, k] B[k, n] on an array.

    Args:
        a: activations.
        b: weights, dense or compact along k.
        mode: `hwsim.dataflows.stce.OS` or `WS`.
        array: its shape; `group` must be a multiple of a compact B's M.

    Raises:
        ValueError: the shapes do not agree, an axis is empty, or M does not divide `group`.
    """
    a = fmt.operand(a)
    group = array.group
    slots = _slots(b, fmt, group)
    if a.ndim != 2 or a.shape[1] != slots.k:
        raise ValueError(f"A[m, k] and B[k, n] must share k, but got {a.shape} and k={slots.k}")
    (m, k), n = a.shape, slots.values.shape[1]
    if 0 in (m, k, n):
        raise ValueError(f"m, n and k must be at least 1, but got m={m}, n={n}, k={k}")

    return lay_out(a, slots.values, slots.indices, slots.word_steps, mode, array)


def lay_out(
    a: NDArray,
    values: NDArray,
    indices: NDArray,
    word_steps: int,
    mode: int,
    array: ArrayShape,
) -> OperandStreams:
    """The streams of a product whose B is given as slots; what pads a tile is 0.

    The arrays may hold anything in place of operands, addresses for example.

    Args:
        a: [m, k].
        values, indices: [k', n], a slot's operand and its place in the group of activations.
        word_steps: slots that one group of activations serves.
        mode: `hwsim.dataflows.stce.OS` or `WS`.
        array: the array's shape.
    """
    group = array.group
    m, k = a.shape
    steps, n = values.shape
    words = ceil(k / group)
    grouped = np.zeros((m, words, group), a.dtype)
    grouped.reshape(m, -1)[:, :k] = a
    tile = array.tile_cols if mode == OS else array.cols
    padded_values = np.zeros((steps, ceil(n / tile) * tile), values.dtype)
    padded_indices = np.zeros(padded_values.shape, indices.dtype)
    padded_values[:, :n], padded_indices[:, :n] = values, indices

    shapes = gemm_jobs(mode, m, n, steps, array)
    jobs = np.array([(mode, *shape, word_steps) for shape in shapes], np.int64)
    build = _output_stationary if mode == OS else _weight_stationary
    arrays = build(grouped, padded_values, padded_indices, word_steps, array)
    return OperandStreams(
        jobs=jobs,
        a=arrays[0],
        b_values=arrays[1],
        b_indices=arrays[2],
        z_rows=arrays[3],
        z_cols=arrays[4],
        shape=(m, n),
    )


@dataclass(frozen=True)
class _Slots:
    """B as (value, index in the hardware group) slots [k', n]."""

    values: NDArray
    indices: NDArray[np.uint8]
    word_steps: int
    k: int


_Beats = tuple[NDArray, NDArray, NDArray, NDArray, NDArray]


def _slots(b: NDArray | Compact, fmt: NumberFormat, group: int) -> _Slots:
    if isinstance(b, Compact) and not b.pattern.dense:
        n, m = b.pattern.n, b.pattern.m
        if group % m:
            raise ValueError(f"M of the pattern must divide group, but got M={m}, group={group}")
        share = group // m
        base = (np.arange(b.values.shape[0]) // n % share * m).astype(np.uint8)
        return _Slots(fmt.operand(b.values), b.indices + base[:, None], n * share, b.k)
    dense = fmt.operand(b.dense() if isinstance(b, Compact) else b)
    if dense.ndim != 2:
        raise ValueError(f"B must be a matrix, but got {dense.ndim} axes")
    k = dense.shape[0]
    index = (np.arange(k) % group).astype(np.uint8)
    return _Slots(dense, np.repeat(index[:, None], dense.shape[1], axis=1), group, k)


def _output_stationary(
    grouped: NDArray,
    values: NDArray,
    indices: NDArray,
    word_steps: int,
    array: ArrayShape,
) -> _Beats:
    m, _, group = grouped.shape
    steps = values.shape[0]
    rows, cols, turns = array.rows, array.cols, array.interleave
    row_tiles, column_tiles = ceil(m / rows), values.shape[1] // array.tile_cols
    words = ceil(steps / word_steps)
    padded = np.zeros((row_tiles * rows, words, group), grouped.dtype)
    padded[:m] = grouped[:, :words]
    tiles = padded.reshape(row_tiles, rows, words, group).transpose(0, 2, 1, 3)
    a = np.repeat(tiles[:, None], column_tiles, axis=1).reshape(-1, rows, group)

    def columns(x: NDArray) -> NDArray:
        # a slot's beats are the interleaved column tiles in turn
        by_tile = x.reshape(steps, column_tiles, turns, cols).transpose(1, 0, 2, 3)
        return np.tile(by_tile.reshape(-1, cols), (row_tiles, 1))

    shape = (row_tiles, column_tiles, rows, turns)
    row = np.arange(row_tiles * rows).reshape(row_tiles, 1, rows, 1)[:, :, ::-1]  # last row first
    z_rows = np.broadcast_to(np.where(row < m, row, -1), shape).ravel()
    column = np.arange(column_tiles * turns).reshape(1, column_tiles, 1, turns) * cols
    z_cols = np.broadcast_to(column, shape).ravel()
    return a, columns(values), columns(indices), z_rows, z_cols


def _weight_stationary(
    grouped: NDArray,
    values: NDArray,
    indices: NDArray,
    word_steps: int,
    array: ArrayShape,
) -> _Beats:
    m, _, group = grouped.shape
    steps = values.shape[0]
    rows, cols, psum_depth = array.rows, array.cols, array.psum_depth
    column_tiles, folds = values.shape[1] // cols, ceil(steps / rows)
    chunks = [(lo, min(lo + psum_depth, m)) for lo in range(0, m, psum_depth)]

    slot = np.arange(folds * rows)
    word = np.where(slot < steps, np.minimum(slot, steps - 1) // word_steps, 0)
    held = grouped[:, word]  # [m, folds * rows, group]
    held[:, slot >= steps] = 0
    held = held.reshape(m, folds, rows, group).transpose(1, 0, 2, 3)
    a = np.concatenate(
        [
            np.tile(held[:, lo:hi].reshape(-1, rows, group), (column_tiles, 1, 1))
            for lo, hi in chunks
        ]
    )

    def columns(x: NDArray) -> NDArray:
        padded = np.zeros((folds * rows, x.shape[1]), x.dtype)
        padded[:steps] = x
        by_tile = padded.reshape(folds, rows, column_tiles, cols)[:, ::-1]  # last row first
        return np.tile(by_tile.transpose(2, 0, 1, 3).reshape(-1, cols), (len(chunks), 1))

    z_rows = np.concatenate([np.tile(np.arange(lo, hi), column_tiles) for lo, hi in chunks])
    z_cols = np.concatenate(
        [np.repeat(np.arange(column_tiles) * cols, hi - lo) for lo, hi in chunks]
    )
    return a, columns(values), columns(indices), z_rows, z_cols
