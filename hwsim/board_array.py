"""Products on a sparse array that sits on a board: memory, descriptors, results.

The board's memory holds every layer's weights, descriptors and room for operands and results. A
product then moves only what has changed: the driver keeps a copy of what the memory holds and
writes the blocks that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsim.config import SatConfig
from hwsim.driver import Board
from hwsim.errors import UserError
from hwsim.sat_layers import Layer, MemoryImage, pack_layers

__all__ = ["ArrayOnBoard"]

_BLOCK_BYTES = 64
"""Blocks that are compared with the copy. Not given; chosen because a frame's header and checksums
cost 22 bytes."""

_PAGE_BYTES = 4096
"""Images start at multiples of this."""


class ArrayOnBoard:
    """The array behind `Board`, for products of fixed shape by name.

    Args:
        board: the design's registers and memory.
        config: its configuration.

    Attributes:
        array_cycles: cycles that the array's lists took so far, by the design's own counter.
    """

    def __init__(self, board: Board, config: SatConfig) -> None:
        self.board = board
        self.config = config
        self.array_cycles = 0
        self._layers: dict[str, tuple[Layer, int]] = {}
        self._copy = np.zeros(0, np.uint8)
        self._known = np.zeros(0, np.bool_)

    def load(self, layers: Sequence[Layer]) -> None:
        """Check the design, reset it, and write layers with their operands and descriptors.

        Args:
            layers: with names of their own; their `a` is what the memory holds first.

        Raises:
            UserError: they do not fit the memory, it is another design, or there is no answer.
        """
        size = self.board.link.memory_bytes()
        self.board.identify()
        self.board.reset()
        self._copy = np.zeros(size, np.uint8)
        self._known = np.zeros(size // _BLOCK_BYTES, np.bool_)
        self._layers = {}
        base = 0
        images = []
        for layer in layers:
            image = pack_layers(self.config, [layer], base=base)
            images.append(image)
            self._layers[layer.name] = (layer, base)
            base += -(-len(image.data) // _PAGE_BYTES) * _PAGE_BYTES
        if base > size:
            raise UserError(
                f"the layers take {base:,} bytes, but the board's memory has {size:,}: "
                "send fewer images at once"
            )
        for image in images:
            self._write(image)

    def product(self, name: str, a: NDArray) -> NDArray:
        """Z = A B of a loaded layer, A of the shape that it was loaded with.

        Raises:
            UserError: no such layer, A has another shape, or the board fails.
        """
        if name not in self._layers:
            raise UserError(f"layer {name!r} is not loaded")
        layer, base = self._layers[name]
        if a.shape != layer.a.shape:
            raise UserError(
                f"layer {name!r} was loaded for A of shape {layer.a.shape}, but got {a.shape}"
            )
        image = pack_layers(self.config, [replace(layer, a=a)], base=base)
        self._write(image)
        self.board.write("control", clear_counters=1)
        self.board.run(image.list_address, image.count)
        self.array_cycles += self.board.counter("bus_cycle")
        memory = image.data.copy()
        for start, stop in _results(image):
            memory[start:stop] = np.frombuffer(
                self.board.link.read_memory(base + start, stop - start), np.uint8
            )
        (z,) = image.results(memory)
        return z

    def _write(self, image: MemoryImage) -> None:
        """Write the blocks of an image that differ from the copy, but those of results."""
        blocks = len(image.data) // _BLOCK_BYTES
        first = image.base // _BLOCK_BYTES
        new = image.data[: blocks * _BLOCK_BYTES].reshape(blocks, _BLOCK_BYTES)
        here = slice(image.base, image.base + blocks * _BLOCK_BYTES)
        old = self._copy[here].reshape(blocks, _BLOCK_BYTES)
        known = self._known[first : first + blocks]
        differs = (new != old).any(axis=1) | ~known
        for start, stop in _results(image):
            differs[start // _BLOCK_BYTES : -(-stop // _BLOCK_BYTES)] = False
        edges = np.flatnonzero(np.diff(differs.astype(np.int8), prepend=0, append=0))
        for start, stop in edges.reshape(-1, 2).tolist():
            at = image.base + start * _BLOCK_BYTES
            self.board.link.write_memory(at, new[start:stop].tobytes())
        old[differs] = new[differs]
        known[differs] = True


def _results(image: MemoryImage) -> list[tuple[int, int]]:
    """Byte ranges of an image's results, relative to its base."""
    from hwsim.models.bus_words import run_bytes
    from hwsim.models.sat_jobs import z_beat_bits

    config = image.config
    bits = z_beat_bits(config.number, config.array)
    found = []
    for job in image.jobs:
        start = job.z_base - image.base
        found.append((start, start + run_bytes(job.z_beats, bits, config.bus.data_bits)))
    return found
