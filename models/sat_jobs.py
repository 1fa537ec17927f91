"""Descriptors of the sparse array's AXI top, and operands and results as bytes in memory.

A descriptor is a job of the array with what feeds it: an operand is `segments` runs of `beats`
beats, each played to the array `repeats` times before the next, and results are one run in the
order in which they leave the array. So A lies in memory once, not once for every column tile, and B
once, not once for every row tile; the hardware holds a run on chip where it fits (`buffer_beats`)
and fetches it again where it does not.

`hwsim.models.bus_words` says how beats lie in bus words, `hwsim.sat_layers` packs whole layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from hwsim.models.array import ArrayShape
from hwsim.models.bus_words import pack_rows, run_bytes, slot_bytes, unpack_rows
from hwsim.models.formats import NumberFormat
from hwsim.models.registers import Layout, LayoutField
from hwsim.models.shell_map import MAGIC, RECORD_VERSION, ShellSpec, descriptor

__all__ = [
    "GEMM_OPCODE",
    "SPREAD_BITS",
    "TAIL_BITS",
    "GemmJob",
    "Operand",
    "a_beat_bits",
    "a_rows",
    "b_beat_bits",
    "b_rows",
    "buffer_beats",
    "fetches",
    "gemm_record",
    "sat_spec",
    "spread_of",
    "squeezed",
    "stored_bytes",
    "stored_rows",
    "unpack_results",
    "z_beat_bits",
]

GEMM_OPCODE = 1
"""Opcode of a product on the array."""

SPREAD_BITS, TAIL_BITS = 3, 6
"""Of an operand's `spread` and `tail`: a group serves 32 slots at most, so 32 rows share one."""

_COUNTERS = {
    "sat.stce.job": 1,
    "sat.stce.active": 1,
    "sat.stce.stall_a": 1,
    "sat.stce.stall_b": 1,
    "sat.stce.stall_z": 1,
    "sat.stce.step": 1,
    "sat.stce.a_beat": 1,
    "sat.stce.b_beat": 1,
    "sat.stce.z_beat": 1,
}
"""The family's counters with the bits of their increment, but for `sat.stce.slot`, whose increment
is the array's size."""


@dataclass(frozen=True, kw_only=True)
class Operand:
    """Runs of beats in memory and how often they are played.

    Attributes:
        base: address of the first run, bytes.
        stride: bytes from a run to the next.
        beats: of a run.
        segments: runs.
        repeats: times that each run is played before the next.
        spread: log2 of the rows that share a group (A only): a stored beat is then 2**spread beats
            of the array, the groups of the first lowest.
        tail: beats of the array that a run's last stored beat holds, 1..2**spread.
    """

    base: int
    stride: int
    beats: int
    segments: int
    repeats: int
    spread: int = 0
    tail: int = 1

    @property
    def played(self) -> int:
        """Beats that reach the array."""
        return (((self.beats - 1) << self.spread) + self.tail) * self.segments * self.repeats


@dataclass(frozen=True, kw_only=True)
class GemmJob:
    """A descriptor in words: a job of the array and its operands.

    Attributes:
        mode, tiles, folds, length, word_steps: the job, as the array takes it.
        a, b: the operands; both None where they come from AXI4-Streams.
        z_base: where the results go.
        z_beats: result beats, also the length of the stream's packet.
        irq: interrupt when it is completed.
        wait: start only when all before it are completed.
    """

    mode: int
    tiles: int
    folds: int
    length: int
    word_steps: int
    a: Operand | None
    b: Operand | None
    z_base: int
    z_beats: int
    irq: bool = False
    wait: bool = False

    def pack(self) -> bytes:
        """The record's bytes.

        Raises:
            ValueError: a value does not fit its field, or just one operand is given.
        """
        if (self.a is None) != (self.b is None):
            raise ValueError("a and b must both be operands or both be None")
        values = {
            "magic": MAGIC,
            "opcode": GEMM_OPCODE,
            "version": RECORD_VERSION,
            "irq": int(self.irq),
            "wait": int(self.wait),
            "mode": self.mode,
            "tiles": self.tiles,
            "folds": self.folds,
            "length": self.length,
            "word_steps": self.word_steps,
            "z_beats": self.z_beats,
        }
        if self.a is not None and self.b is not None:
            values["z_base"] = self.z_base
            for name, operand in (("a", self.a), ("b", self.b)):
                for part in ("base", "stride", "beats", "segments", "repeats"):
                    values[f"{name}_{part}"] = getattr(operand, part)
            values |= {"a_spread": self.a.spread, "a_tail": self.a.tail}
        return gemm_record(streams=self.a is None).pack(**values)


def gemm_record(*, streams: bool) -> Layout:
    """The record of a descriptor.

    Args:
        streams: operands and results are AXI4-Streams, so it has no addresses.
    """
    job = (
        LayoutField(
            name="mode", bit=32, bits=1, description="operand that stays in the array",
            values={"output_stationary": 0, "weight_stationary": 1},
        ),
        LayoutField(name="word_steps", bit=40, bits=6, rule="nonzero",
                    description="slots that one group of activations serves"),
        LayoutField(name="folds", bit=48, bits=16, rule="nonzero",
                    description="folds of k a tile (weight stationary), else 1"),
        LayoutField(name="tiles", bit=64, bits=24, rule="nonzero", description="unit tiles"),
        LayoutField(name="length", bit=96, bits=17, rule="nonzero",
                    description="slots (output) or rows of A (weight stationary) of a tile"),
        LayoutField(name="z_beats", bit=128, bits=32, rule="nonzero", description="result beats"),
    )  # fmt: skip
    if streams:
        return descriptor("sat_gemm", 64, job, "A product whose operands are AXI4-Streams.")
    memory = [
        LayoutField(name="z_base", bit=192, bits=64, rule="address",
                    description="where the result beats go, in one run"),
    ]  # fmt: skip
    for name, bit in (("a", 256), ("b", 512)):
        memory += [
            LayoutField(name=f"{name}_base", bit=bit, bits=64, rule="address",
                        description=f"first run of {name.upper()}"),
            LayoutField(name=f"{name}_stride", bit=bit + 64, bits=32, rule="bytes",
                        description="bytes from a run to the next"),
            LayoutField(name=f"{name}_beats", bit=bit + 96, bits=32, rule="nonzero",
                        description="beats of a run"),
            LayoutField(name=f"{name}_segments", bit=bit + 128, bits=32, rule="nonzero",
                        description="runs"),
            LayoutField(name=f"{name}_repeats", bit=bit + 160, bits=32, rule="nonzero",
                        description="times that a run is played before the next"),
        ]  # fmt: skip
    memory += [
        LayoutField(name="a_spread", bit=448, bits=SPREAD_BITS,
                    description="log2 of the rows that share a group of A"),
        LayoutField(name="a_tail", bit=456, bits=TAIL_BITS, rule="nonzero",
                    description="beats of the array in a run's last stored beat of A"),
    ]  # fmt: skip
    return descriptor(
        "sat_gemm", 128, (*job, *memory), "A product whose operands and results are in memory."
    )


def sat_spec(array: ArrayShape, *, streams: bool, config_hash: int, version: int) -> ShellSpec:
    """The array's part of the shell."""
    slots = (array.rows * array.cols).bit_length()
    return ShellSpec(
        kind="sat",
        records={"gemm": (GEMM_OPCODE, gemm_record(streams=streams))},
        counters={**_COUNTERS, "sat.stce.slot": slots},
        config_hash=config_hash,
        version=version,
    )


def a_beat_bits(fmt: NumberFormat, array: ArrayShape) -> int:
    """Of a beat of activations: `rows` groups, row 0 lowest."""
    return array.rows * array.group * fmt.operand_bits


def b_beat_bits(fmt: NumberFormat, array: ArrayShape) -> int:
    """Of a beat of weights: `cols` pairs, column 0 lowest, the value below the index."""
    return array.cols * _pair_bits(fmt, array)


def z_beat_bits(fmt: NumberFormat, array: ArrayShape) -> int:
    """Of a beat of results: `cols` sums, column 0 lowest."""
    return array.cols * fmt.accumulator_bits


def buffer_beats(memory_bytes: int, beat_bits: int) -> int:
    """Beats that an on-chip memory holds: a power of two, 4 at least."""
    return max(4, 1 << max(0, (memory_bytes * 8 // beat_bits).bit_length() - 1))


def fetches(operand: Operand, memory_bytes: int, beat_bits: int) -> int:
    """Times that each run is read from memory: once where it fits on chip."""
    return 1 if operand.beats <= buffer_beats(memory_bytes, beat_bits) else operand.repeats


def stored_bytes(beats: int, beat_bits: int, bus_bits: int) -> int:
    """Bytes that a write of a run of results strobes: whole slots."""
    return beats * slot_bytes(beat_bits, bus_bits)


def spread_of(array: ArrayShape, steps: int, word_steps: int) -> int:
    """log2 of how many neighbouring rows share a group of A when weight stationary.

    Args:
        array: the array's shape.
        steps: k', slots of a column.
        word_steps: slots that one group of activations serves.
    """
    common = gcd(array.rows, steps, word_steps)
    return (common & -common).bit_length() - 1


def squeezed(a: NDArray, segments: int, spread: int) -> NDArray:
    """Beats of activations without the groups that rows share.

    Args:
        a: [segments * beats, rows, group], groups equal in every 2**spread neighbouring rows.
        segments: runs.
        spread: log2 of these rows.

    Returns:
        [segments * ceil(beats / 2**spread), rows, group], a run's last one filled up with zeros.
    """
    share = 1 << spread
    _, rows, group = a.shape
    runs = a[:, ::share].reshape(segments, -1, rows // share, group)
    beats = runs.shape[1]
    stored = -(-beats // share)
    filled = np.zeros((segments, stored * share, rows // share, group), a.dtype)
    filled[:, :beats] = runs
    return filled.reshape(segments * stored, rows, group)


def a_rows(a: NDArray) -> NDArray[np.uint8]:
    """Beats of activations [beats, rows, group] as bytes [beats, a_beat_bits / 8]."""
    return np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1)


def b_rows(
    values: NDArray, indices: NDArray[np.uint8], fmt: NumberFormat, array: ArrayShape
) -> NDArray[np.uint8]:
    """Beats of weights [beats, cols] as bytes [beats, ceil(b_beat_bits / 8)]."""
    unsigned = {8: np.uint8, 16: np.uint16}[fmt.operand_bits]
    value = np.ascontiguousarray(values, fmt.operand_dtype).view(unsigned).astype(np.uint32)
    pair = value | indices.astype(np.uint32) << np.uint32(fmt.operand_bits)
    width = _pair_bits(fmt, array)
    planes = (pair[:, :, None] >> np.arange(width, dtype=np.uint32)) & np.uint32(1)
    flat = planes.astype(np.uint8).reshape(len(pair), -1)
    return np.packbits(flat, axis=1, bitorder="little")


def stored_rows(
    rows: NDArray[np.uint8], segments: int, beat_bits: int, bus_bits: int
) -> tuple[NDArray[np.uint8], int]:
    """Runs of equal length one after the other as bytes in memory, and the stride between them.

    Args:
        rows: [segments * beats, bytes of a beat].
        segments: runs.
        beat_bits, bus_bits: widths.

    Raises:
        ValueError: the beats are not a multiple of `segments`.
    """
    if segments < 1 or len(rows) % segments:
        raise ValueError(f"segments must divide the beats, but got {segments} and {len(rows)}")
    beats = len(rows) // segments
    stride = run_bytes(beats, beat_bits, bus_bits)
    if stride == beats * slot_bytes(beat_bits, bus_bits):
        return pack_rows(rows, beat_bits, bus_bits), stride
    runs = rows.reshape(segments, beats, -1)
    return np.concatenate([pack_rows(run, beat_bits, bus_bits) for run in runs]), stride


def unpack_results(
    image: NDArray[np.uint8], beats: int, fmt: NumberFormat, array: ArrayShape, bus_bits: int
) -> NDArray:
    """Result beats [beats, cols] in the accumulator's format from a run in memory.

    Raises:
        ValueError: the image is shorter than they are.
    """
    rows = unpack_rows(image, beats, z_beat_bits(fmt, array), bus_bits)
    return np.ascontiguousarray(rows).view(fmt.accumulator_dtype).reshape(beats, array.cols)


def _pair_bits(fmt: NumberFormat, array: ArrayShape) -> int:
    """As `hwsim.rtl.stce.array_members`: an index has one bit at least."""
    return fmt.operand_bits + max(1, (array.group - 1).bit_length())
