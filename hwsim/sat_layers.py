"""Layers packed for the sparse array's AXI top: a memory image with its list of descriptors.

A product is one descriptor where its compact B fits on chip, else one for every range of columns
that does, if that moves fewer bytes than fetching B again for every row tile; a weight-stationary
product is cut into chunks of rows as well (`hwsim.dataflows.stce.gemm_jobs`). Operands and results
lie in the order of the array's streams (`hwsim.dataflows.stce_feed`), A once and B once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.config import SatConfig
from hwsim.dataflows.stce import OS, gemm_jobs
from hwsim.dataflows.stce_feed import OperandStreams, gemm_streams, lay_out
from hwsim.models.bus_words import run_bytes
from hwsim.models.nm import Compact
from hwsim.models.sat_jobs import (
    GemmJob,
    Operand,
    a_beat_bits,
    a_rows,
    b_beat_bits,
    b_rows,
    buffer_beats,
    fetches,
    gemm_record,
    spread_of,
    squeezed,
    stored_rows,
    unpack_results,
    z_beat_bits,
)

__all__ = ["Layer", "MemoryImage", "Placed", "pack_layers", "read_bytes"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A product Z[m, n] = A[m, k] B[k, n].

    Attributes:
        name: shown in reports.
        a: activations.
        b: weights, dense or compact along k.
        mode: `hwsim.dataflows.stce.OS` or `WS`.
        wait: it starts only when all before it are completed.
    """

    name: str
    a: NDArray
    b: NDArray | Compact
    mode: int
    wait: bool = False


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a layer lies in memory.

    Attributes:
        layer: the layer.
        jobs: its descriptors in order.
        order: for each range of columns its descriptors' numbers among `jobs`, what places their
            result beats, and the range.
    """

    layer: Layer
    jobs: list[GemmJob]
    order: list[tuple[list[int], OperandStreams, slice]]


@dataclass(frozen=True, kw_only=True)
class MemoryImage:
    """Layers as bytes in memory.

    Attributes:
        base: address of the first byte.
        data: uint8 [bytes]; where results go it is 0.
        list_address, count: of the descriptors.
        layers: in the order of their descriptors.
    """

    config: SatConfig
    base: int
    data: NDArray[np.uint8]
    list_address: int
    count: int
    layers: list[Placed]

    @property
    def jobs(self) -> list[GemmJob]:
        """All descriptors in order."""
        return [job for placed in self.layers for job in placed.jobs]

    @property
    def array_jobs(self) -> NDArray[np.int64]:
        """The array's jobs [jobs, 5] as `hwsim.dataflows.stce_sim.timeline` takes them."""
        rows = [(j.mode, j.tiles, j.folds, j.length, j.word_steps) for j in self.jobs]
        return np.array(rows, np.int64)

    def results(self, memory: NDArray[np.uint8]) -> list[NDArray]:
        """Z of every layer from the memory's bytes after a run, [len(data)]."""
        return [self._gather(placed, memory) for placed in self.layers]

    def _gather(self, placed: Placed, memory: NDArray[np.uint8]) -> NDArray:
        fmt, array, bus = self.config.number, self.config.array, self.config.bus.data_bits
        m, n = len(placed.layer.a), _columns(placed.layer.b)
        z = np.zeros((m, n), fmt.accumulator_dtype)
        for numbers, streams, columns in placed.order:
            beats = [
                unpack_results(memory[job.z_base - self.base :], job.z_beats, fmt, array, bus)
                for job in (placed.jobs[i] for i in numbers)
            ]
            z[:, columns] = streams.gather(np.concatenate(beats))
        return z


def pack_layers(config: SatConfig, layers: Sequence[Layer], *, base: int = 0) -> MemoryImage:
    """Layers as a memory image with descriptors; the last one raises an interrupt.

    Args:
        config: array, buffers and buses.
        layers: at least one.
        base: address of the image, a multiple of 4096.

    Raises:
        ValueError: no layer, a misaligned base, or operands that do not fit the array
            (`hwsim.dataflows.stce_feed.gemm_streams`).
    """
    if not layers:
        raise ValueError("layers must hold at least one, but got none")
    if base < 0 or base % 4096:
        raise ValueError(f"base must be a multiple of 4096, but got {base:#x}")
    count = sum(
        len(_column_ranges(config, layer)) * len(_row_chunks(config, layer)) for layer in layers
    )
    space = _Space(config, base)
    list_address = space.take(count * gemm_record(streams=False).size_bytes)
    placed = [_place(config, layer, space) for layer in layers]
    last = placed[-1]
    last.jobs[-1] = replace(last.jobs[-1], irq=True)
    jobs = [job for one in placed for job in one.jobs]
    space.put(list_address, np.frombuffer(b"".join(job.pack() for job in jobs), np.uint8))
    return MemoryImage(
        config=config,
        base=base,
        data=space.image(),
        list_address=list_address,
        count=count,
        layers=placed,
    )


def read_bytes(config: SatConfig, job: GemmJob) -> int:
    """Bytes that a descriptor's operands move on the bus, its record not counted."""
    fmt, array, bus = config.number, config.array, config.bus.data_bits
    total = 0
    for operand, bits, memory in (
        (job.a, a_beat_bits(fmt, array), config.buffers.input_bytes),
        (job.b, b_beat_bits(fmt, array), config.buffers.weight_bytes),
    ):
        if operand is not None:
            runs = operand.segments * fetches(operand, memory, bits)
            total += runs * run_bytes(operand.beats, bits, bus)
    return total


class _Space:
    """Memory that is given out piece by piece, each at a burst's boundary."""

    def __init__(self, config: SatConfig, base: int) -> None:
        bus = config.bus
        self.base = base
        self.align = min(4096, bus.burst_beats * bus.data_bits // 8)
        self.at = base
        self.pieces: list[tuple[int, NDArray[np.uint8]]] = []

    def take(self, size: int) -> int:
        address = self.at
        self.at += ceil(size / self.align) * self.align
        return address

    def put(self, address: int, content: NDArray[np.uint8]) -> None:
        self.pieces.append((address, content))

    def add(self, content: NDArray[np.uint8]) -> int:
        address = self.take(len(content))
        self.put(address, content)
        return address

    def image(self) -> NDArray[np.uint8]:
        memory = np.zeros(self.at - self.base, np.uint8)
        for address, content in self.pieces:
            memory[address - self.base : address - self.base + len(content)] = content
        return memory


def _columns(b: NDArray | Compact) -> int:
    return b.values.shape[1] if isinstance(b, Compact) else b.shape[1]


def _part(b: NDArray | Compact, columns: slice) -> NDArray | Compact:
    if isinstance(b, Compact):
        return Compact(b.values[:, columns], b.indices[:, columns], b.pattern, b.k)
    return b[:, columns]


def _slots(config: SatConfig, b: NDArray | Compact) -> tuple[int, int]:
    """(k', slots that one group of activations serves), as `gemm_streams` finds them."""
    group = config.array.group
    if isinstance(b, Compact) and not b.pattern.dense:
        return b.values.shape[0], b.pattern.n * group // b.pattern.m
    return (b.k if isinstance(b, Compact) else b.shape[0]), group


def _row_chunks(config: SatConfig, layer: Layer) -> list[tuple[int, int, int]]:
    """(tiles of one column tile, folds, length) of the jobs a range of columns is cut into."""
    array = config.array
    one_tile = array.tile_cols if layer.mode == OS else array.cols
    steps, _ = _slots(config, layer.b)
    return gemm_jobs(layer.mode, len(layer.a), one_tile, steps, array)


def _b_beats(config: SatConfig, layer: Layer, columns: int) -> int:
    """Beats of B of a range of columns, each once."""
    array, (steps, _) = config.array, _slots(config, layer.b)
    if layer.mode == OS:
        return ceil(columns / array.tile_cols) * steps * array.interleave
    return ceil(columns / array.cols) * ceil(steps / array.rows) * array.rows


def _a_beats(config: SatConfig, layer: Layer) -> tuple[int, int]:
    """(beats of A's longest run, beats of A in all, each once)."""
    array, (steps, word_steps) = config.array, _slots(config, layer.b)
    m = len(layer.a)
    if layer.mode == OS:
        words = ceil(steps / word_steps)
        return words, ceil(m / array.rows) * words
    folds, share = ceil(steps / array.rows), 1 << spread_of(array, steps, word_steps)
    return ceil(folds * min(m, array.psum_depth) / share), ceil(folds * m / share)


def _column_ranges(config: SatConfig, layer: Layer) -> list[slice]:
    """The ranges of columns that become descriptors of their own: those that move fewest bytes."""
    fmt, array, bus = config.number, config.array, config.bus.data_bits
    n = _columns(layer.b)
    tile = array.tile_cols if layer.mode == OS else array.cols
    tiles = ceil(n / tile)
    rounds = ceil(len(layer.a) / (array.rows if layer.mode == OS else array.psum_depth))
    a_bits, b_bits = a_beat_bits(fmt, array), b_beat_bits(fmt, array)
    a_run, a_all = _a_beats(config, layer)
    a_depth = buffer_beats(config.buffers.input_bytes, a_bits)
    b_depth = buffer_beats(config.buffers.weight_bytes, b_bits)

    def moved(step: int) -> int:
        """Bytes read with `step` column tiles a range."""
        total = 0
        for first in range(0, tiles, step):
            here = min(step, tiles - first)
            beats = _b_beats(config, layer, here * tile)
            total += run_bytes(beats, b_bits, bus) * (1 if beats <= b_depth else rounds)
            total += run_bytes(a_all, a_bits, bus) * (1 if a_run <= a_depth else here)
        return total

    # at most half of the memory, so that the next range comes in behind
    fitting = [s for s in range(1, tiles) if _b_beats(config, layer, s * tile) <= b_depth // 2]
    step = min([tiles, *fitting[-1:]], key=moved)
    return [slice(lo, min(lo + step * tile, n)) for lo in range(0, n, step * tile)]


def _place(config: SatConfig, layer: Layer, space: _Space) -> Placed:
    """A layer's operands put into memory, and its descriptors."""
    fmt, array, bus = config.number, config.array, config.bus.data_bits
    a_bits, b_bits, z_bits = (bits(fmt, array) for bits in (a_beat_bits, b_beat_bits, z_beat_bits))
    m = len(layer.a)
    steps, word_steps = _slots(config, layer.b)
    spread = 0 if layer.mode == OS else spread_of(array, steps, word_steps)
    tile = array.tile_cols if layer.mode == OS else array.cols
    chunks = _row_chunks(config, layer)

    # A against one column tile is A once.
    a = gemm_streams(layer.a, _part(layer.b, slice(0, tile)), fmt, mode=layer.mode, array=array).a
    a_parts: list[Operand] = []  # of each chunk
    at = 0
    for tiles, folds, length in chunks:
        beats = ceil(length / word_steps) if layer.mode == OS else folds * length
        held = squeezed(a[at : at + tiles * beats], tiles, spread)
        content, stride = stored_rows(a_rows(held), tiles, a_bits, bus)
        a_parts.append(
            Operand(
                base=space.add(content),
                stride=stride,
                beats=len(held) // tiles,
                segments=tiles,
                repeats=1,
                spread=spread,
                tail=(beats - 1) % (1 << spread) + 1,
            )
        )
        at += tiles * beats

    jobs: list[GemmJob] = []
    order = []
    for columns in _column_ranges(config, layer):
        part = _part(layer.b, columns)
        # B against one row of A is B once.
        streams = gemm_streams(layer.a[:1], part, fmt, mode=layer.mode, array=array)
        rows = b_rows(streams.b_values, streams.b_indices, fmt, array)
        content, b_stride = stored_rows(rows, 1, b_bits, bus)
        b_base = space.add(content)
        wide = columns.stop - columns.start
        column_tiles = ceil(wide / tile)
        numbers = []
        for (tiles, folds, length), operand in zip(chunks, a_parts, strict=True):
            z_beats = tiles * column_tiles * (array.tile_beats if layer.mode == OS else length)
            numbers.append(len(jobs))
            jobs.append(
                GemmJob(
                    mode=layer.mode,
                    tiles=tiles * column_tiles,
                    folds=folds,
                    length=length,
                    word_steps=word_steps,
                    a=replace(operand, repeats=column_tiles),
                    b=Operand(
                        base=b_base, stride=b_stride, beats=len(rows), segments=1, repeats=tiles
                    ),
                    z_base=space.take(run_bytes(z_beats, z_bits, bus)),
                    z_beats=z_beats,
                    wait=layer.wait and not jobs,
                )
            )
        # where results go does not depend on k
        empty = np.zeros((m, 1), np.int8), np.zeros((1, wide), np.int8)
        places = lay_out(*empty, np.zeros((1, wide), np.uint8), 1, layer.mode, array)
        order.append((numbers, places, columns))
    return Placed(layer=layer, jobs=jobs, order=order)
