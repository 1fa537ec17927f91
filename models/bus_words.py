"""Beats of a core's stream as bytes in memory: one rule for host code and RTL.

A beat of `beat_bits` bits takes a slot: the least power of two of bytes that holds it while that is
no wider than a bus word, else whole bus words. Slots follow one another from the run's start, the
first at the lowest address, little-endian, padding bits zero; the run is padded to whole bus words.
So a beat never straddles bus words unless it is wider than one, and hardware that cuts words into
beats is a multiplexer, not a barrel shifter.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = [
    "beats_per_word",
    "pack_beats",
    "pack_rows",
    "run_bytes",
    "slot_bytes",
    "unpack_beats",
    "unpack_rows",
    "words_per_beat",
]


def slot_bytes(beat_bits: int, bus_bits: int) -> int:
    """Bytes of a beat in memory.

    Raises:
        ValueError: `beat_bits` is below 1, or `bus_bits` is no power of two of whole bytes.
    """
    if beat_bits < 1:
        raise ValueError(f"beat_bits >= 1 must hold, but got {beat_bits}")
    if bus_bits < 8 or bus_bits & (bus_bits - 1):
        raise ValueError(f"bus_bits must be a power of two >= 8, but got {bus_bits}")
    needed = -(-beat_bits // 8)
    word = bus_bits // 8
    if needed > word:
        return -(-needed // word) * word
    return 1 << (needed - 1).bit_length()


def beats_per_word(beat_bits: int, bus_bits: int) -> int:
    """Beats in a bus word; 0 when a beat is wider than one."""
    return bus_bits // 8 // slot_bytes(beat_bits, bus_bits)


def words_per_beat(beat_bits: int, bus_bits: int) -> int:
    """Bus words that a beat takes, at least 1."""
    return max(1, slot_bytes(beat_bits, bus_bits) * 8 // bus_bits)


def run_bytes(beats: int, beat_bits: int, bus_bits: int) -> int:
    """Bytes of a run of beats, whole bus words."""
    word = bus_bits // 8
    return -(-beats * slot_bytes(beat_bits, bus_bits) // word) * word


def pack_beats(beats: Iterable[int], beat_bits: int, bus_bits: int) -> npt.NDArray[np.uint8]:
    """Bytes of a run, (run_bytes,).

    Args:
        beats: non-negative integers of `beat_bits` bits at most.
        beat_bits: width of a beat.
        bus_bits: width of the bus.

    Raises:
        ValueError: a beat has more bits, or is negative.
    """
    slot = slot_bytes(beat_bits, bus_bits)
    chunks = []
    for beat in beats:
        if beat < 0 or beat >> beat_bits:
            raise ValueError(f"beats must have {beat_bits} bits at most, but got {beat:#x}")
        chunks.append(int(beat).to_bytes(slot, "little"))
    packed = b"".join(chunks).ljust(run_bytes(len(chunks), beat_bits, bus_bits), b"\0")
    return np.frombuffer(packed, dtype=np.uint8).copy()


def unpack_beats(image: npt.ArrayLike, beats: int, beat_bits: int, bus_bits: int) -> list[int]:
    """The first `beats` beats of a run; what `pack_beats` packed.

    Raises:
        ValueError: the image is shorter than they are.
    """
    rows = unpack_rows(image, beats, beat_bits, bus_bits)
    mask = (1 << beat_bits) - 1
    return [int.from_bytes(row.tobytes(), "little") & mask for row in rows]


def pack_rows(rows: npt.ArrayLike, beat_bits: int, bus_bits: int) -> npt.NDArray[np.uint8]:
    """As `pack_beats`, of beats that are bytes already: uint8 (beats, ceil(beat_bits / 8)).

    Raises:
        ValueError: the rows are not of that shape.
    """
    given = np.asarray(rows, dtype=np.uint8)
    needed = -(-beat_bits // 8)
    if given.ndim != 2 or given.shape[1] != needed:
        raise ValueError(f"rows must be (beats, {needed}), but got shape {given.shape}")
    slot = slot_bytes(beat_bits, bus_bits)
    image = np.zeros(run_bytes(len(given), beat_bits, bus_bits), dtype=np.uint8)
    image[: len(given) * slot].reshape(-1, slot)[:, :needed] = given
    return image


def unpack_rows(
    image: npt.ArrayLike, beats: int, beat_bits: int, bus_bits: int
) -> npt.NDArray[np.uint8]:
    """The first `beats` beats of a run as bytes, uint8 (beats, ceil(beat_bits / 8)).

    Args:
        image: bytes, or uint8.
        beats: how many.
        beat_bits: width of a beat.
        bus_bits: width of the bus.

    Raises:
        ValueError: the image is shorter than they are.
    """
    slot = slot_bytes(beat_bits, bus_bits)
    if isinstance(image, bytes | bytearray | memoryview):
        given = np.frombuffer(bytes(image), dtype=np.uint8)
    else:
        given = np.ascontiguousarray(image, dtype=np.uint8).reshape(-1)
    if len(given) < beats * slot:
        raise ValueError(f"{beats} beats take {beats * slot} bytes, but got {len(given)}")
    return given[: beats * slot].reshape(-1, slot)[:, : -(-beat_bits // 8)]
