"""Words of stream ports: arrays of fields to packed integers and back, lowest field first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["field_bits", "pack_words", "unpack_field"]


def field_bits(values: NDArray, width: int) -> NDArray[np.uint8]:
    """The low `width` bits of unsigned values as a last axis [..., width], lowest bit first."""
    wide = np.ascontiguousarray(values).astype(np.uint64)
    return ((wide[..., None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8)


def pack_words(*fields: NDArray[np.uint8]) -> list[int]:
    """One integer a beat from bit planes, each [beats, ...] with all its axes flattened."""
    flat = np.concatenate([f.reshape(len(f), -1) for f in fields], axis=1)
    rows = np.packbits(flat, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack_field(
    words: Sequence[int], total: int, start: int, stride: int, shape: tuple[int, ...], width: int
) -> NDArray[np.uint64]:
    """A field repeated over the lanes of packed words, [beats, *shape].

    Args:
        words: integers of `total` bits.
        start: lowest bit of the field in the first lane.
        stride: bits of a lane; the first axis of `shape` runs over the lanes, further axes over
            neighbouring fields of `width` bits.
    """
    size = -(-total // 8)
    raw = np.frombuffer(b"".join(w.to_bytes(size, "little") for w in words), np.uint8)
    bits = np.unpackbits(raw.reshape(len(words), size), axis=1, bitorder="little")
    inner = int(np.prod(shape[1:], dtype=np.int64))
    lanes = np.arange(shape[0])[:, None, None] * stride
    at = start + lanes + np.arange(inner)[:, None] * width + np.arange(width)
    picked = bits[:, at].astype(np.uint64)
    weights = np.uint64(1) << np.arange(width, dtype=np.uint64)
    return (picked * weights).sum(axis=-1, dtype=np.uint64).reshape(len(words), *shape)
