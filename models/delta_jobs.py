"""Descriptors of the delta top, and layers, frames and results as bytes in memory.

Four opcodes. LAYER sets an engine up: its constants from a record of 32-bit words, its biases and
factors, or a GRU's first sums. WEIGHTS loads an engine's weights into the on-chip memory, where the
design has one; without, LAYER names their address and they are fetched column by column. FRAMES
runs frames: state is kept from one to the next. RESET forgets references, sums and state, and
keeps layers and weights. docs/delta-descriptors.md has an example.

In memory every element has the least C type that holds it, so a frame is an array of `int8_t`,
`int16_t` or `int32_t`; weights alone are packed bit by bit within a beat. Beats, `lanes` or
`detector_width` elements, lie as `hwsim.models.bus_words` says; with a power of two of lanes that
is without any gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsim.models.bus_words import pack_rows, run_bytes, unpack_rows
from hwsim.models.delta_shape import DeltaShape
from hwsim.models.registers import Layout, LayoutField
from hwsim.models.shell_map import MAGIC, RECORD_VERSION, ShellSpec, descriptor

__all__ = [
    "DELTA_COUNTERS",
    "DELTA_ERRORS",
    "GRU_RECORD",
    "LAYER_RECORD",
    "OPCODES",
    "RECORD_BYTES",
    "DeltaFormat",
    "DeltaProgram",
    "EngineSetup",
    "FrameJob",
    "delta_program",
    "delta_records",
    "delta_spec",
    "record_names",
]

OPCODES = {"layer": 1, "weights": 2, "frames": 3, "reset": 4}

RECORD_BYTES = 64
"""Of a descriptor."""

DELTA_ERRORS = {"engine": 16, "beats": 17, "no_layer": 18, "weight_memory": 19}
"""engine: there is none of this number. beats: their count is not what the layer's record says.
no_layer: an engine has not been set up yet. weight_memory: WEIGHTS for a design without on-chip
weights, or more words than the memory has."""

DELTA_COUNTERS = {
    "delta.core.cycle": 32,
    "delta.mac": 11,
    "delta.stall_x": 1,
    "delta.stall_weight": 5,
    "delta.stall_result": 1,
}
"""Counters of the top behind the shell's, with the bits of their increment: 16 engines of 64 lanes
may add at once."""

GRU_RECORD = (
    "input_words",
    "state_words",
    "groups",
    "column",
    "theta",
    "frame_beats",
    "result_beats",
)
"""32-bit words of a GRU's record: the constants of `hwsim.rtl.delta_parts.config_layout`, then
beats of a frame and of its results."""

LAYER_RECORD = (
    "channel_words",
    "width",
    "height",
    "start_q",
    "start_r",
    "stride",
    "kernel_h",
    "kernel_w",
    "last_y",
    "last_x",
    "out_words",
    "weight_channel",
    "weight_row",
    "sigma_row",
    "sigma_words",
    "pool",
    "pool_row",
    "pool_step",
    "pooled_h",
    "pooled_w",
    "factor",
    "factor_shift",
    "signed",
    "theta",
    "shift",
    "relu",
    "frame_beats",
    "result_beats",
)
"""The same of a layer."""

Ints = NDArray[np.int64]


def record_names(shape: DeltaShape) -> tuple[str, ...]:
    """Words of the record of an engine of this shape."""
    return GRU_RECORD if shape.gru else LAYER_RECORD


def delta_records() -> dict[str, tuple[int, Layout]]:
    """Opcode name -> (opcode, record)."""
    engine = LayoutField(name="engine", bit=32, bits=8, description="number in the chain, from 0")
    weights = LayoutField(name="weights", bit=256, bits=64, rule="address",
                          description="address of the words of weights")  # fmt: skip

    def beats(what: str) -> LayoutField:
        return LayoutField(name="beats", bit=64, bits=32, rule="nonzero", description=what)

    def address(name: str, bit: int, what: str) -> LayoutField:
        return LayoutField(name=name, bit=bit, bits=64, rule="address", description=what)

    def stride(name: str, bit: int, what: str) -> LayoutField:
        return LayoutField(name=name, bit=bit, bits=32, rule="bytes", description=what)

    made = {
        "layer": (
            (
                engine,
                beats("words of parameters: out_words of a layer, 4 * groups of a GRU"),
                address("record", 128, "address of the layer's constants, 32 bits each"),
                address("parameters", 192, "address of biases and factors, or of first sums"),
                weights,
            ),
            "Sets an engine up; its state is that from reset.",
        ),
        "weights": (
            (engine, beats("words of weights"), weights),
            "Loads an engine's weights into the on-chip memory.",
        ),
        "frames": (
            (
                LayoutField(name="count", bit=64, bits=32, rule="nonzero", description="frames"),
                address("x", 128, "address of the first frame"),
                address("o", 192, "address of the first frame's results"),
                stride("x_stride", 320, "bytes from a frame to the next"),
                stride("o_stride", 352, "bytes from a frame's results to the next"),
            ),
            "Runs frames; addresses count only where data are in memory.",
        ),
        "reset": ((), "Forgets references, sums and state; layers and weights stay."),
    }
    return {
        name: (OPCODES[name], descriptor(f"delta_{name}", RECORD_BYTES, fields, text))
        for name, (fields, text) in made.items()
    }


def delta_spec(config_hash: int = 0, version: int = 0) -> ShellSpec:
    """The delta top's part of the shell."""
    return ShellSpec(
        kind="delta",
        records=delta_records(),
        counters=DELTA_COUNTERS,
        errors=DELTA_ERRORS,
        config_hash=config_hash,
        version=version,
    )


@dataclass(frozen=True)
class DeltaFormat:
    """Bytes of an engine's streams on a bus of `bus_bits`.

    Attributes:
        shape: of the engine.
        bus_bits: width of the AXI4 master's data.
    """

    shape: DeltaShape
    bus_bits: int

    @property
    def item_bits(self) -> int:
        """Of an element of frames and results in memory."""
        return _storage(self.shape.item_bits)

    @property
    def sum_bits(self) -> int:
        """Of a sum in memory, and of a bias or a factor: `int32_t` at least."""
        return max(32, _storage(self.shape.accumulator_bits))

    @property
    def x_bits(self) -> int:
        """Of a beat of a frame."""
        return self.shape.detector_width * self.item_bits

    @property
    def o_bits(self) -> int:
        """Of a beat of results."""
        return self.shape.lanes * self.item_bits

    @property
    def weight_bits(self) -> int:
        """Of a word of weights, packed."""
        return self.shape.lanes * self.shape.weight_bits

    @property
    def parameter_bits(self) -> int:
        """Of a beat of sums (GRU), or of biases and factors in turn (layer)."""
        return self.shape.lanes * self.sum_bits * (1 if self.shape.gru else 2)

    def record(self, values: Mapping[str, int]) -> NDArray[np.uint8]:
        """A layer's record, whole bus words.

        Raises:
            ValueError: names that are not those of the record, or a value of more than 32 bits.
        """
        names = record_names(self.shape)
        if set(values) != set(names):
            raise ValueError(f"a record must have {', '.join(names)}, but got {', '.join(values)}")
        for name in names:
            if not 0 <= values[name] < 1 << 32:
                raise ValueError(f"{name}: 0 <= value < 2**32 must hold, but got {values[name]}")
        words = np.array([values[name] for name in names], "<u4").view(np.uint8)
        return np.pad(words, (0, -len(words) % (self.bus_bits // 8)))

    def frames(self, items: NDArray) -> NDArray[np.uint8]:
        """Frames [frames, beats, detector_width] as bytes [frames, bytes of one], bus words.

        Raises:
            ValueError: not of that shape, or an element does not fit.
        """
        if items.ndim != 3 or items.shape[2] != self.shape.detector_width:
            raise ValueError(
                f"frames must be [frames, beats, {self.shape.detector_width}], "
                f"but got {items.shape}"
            )
        rows = self._elements(items, self.shape.item_bits, self.item_bits)
        return np.stack([pack_rows(frame, self.x_bits, self.bus_bits) for frame in rows])

    def results(self, image: NDArray[np.uint8], beats: int) -> Ints:
        """Results [frames, beats, lanes] of bytes [frames, at least those of one]."""
        rows = np.stack([unpack_rows(one, beats, self.o_bits, self.bus_bits) for one in image])
        typed = np.ascontiguousarray(rows).view(f"<i{self.item_bits // 8}")
        return typed.astype(np.int64).reshape(len(image), beats, self.shape.lanes)

    def result_bytes(self, beats: int) -> int:
        """Of a frame's results, whole bus words."""
        return run_bytes(beats, self.o_bits, self.bus_bits)

    def weights(self, words: NDArray) -> NDArray[np.uint8]:
        """Words of weights [words, lanes], lane 0 in the lowest bits, whole bus words.

        Raises:
            ValueError: not of that shape, or a weight does not fit.
        """
        bits = self.shape.weight_bits
        given = _checked(words, 2, self.shape.lanes, bits, "weights")
        planes = (given.view(np.uint64)[..., None] >> np.arange(bits, dtype=np.uint64)) & 1
        rows = np.packbits(planes.reshape(len(given), -1).astype(np.uint8), axis=1,
                           bitorder="little")  # fmt: skip
        return pack_rows(rows, self.weight_bits, self.bus_bits)

    def sums(self, words: NDArray) -> NDArray[np.uint8]:
        """A GRU's first sums [words, lanes], whole bus words.

        Raises:
            ValueError: not of that shape, or a sum does not fit.
        """
        rows = self._elements(words[None], self.shape.accumulator_bits, self.sum_bits)[0]
        return pack_rows(rows, self.parameter_bits, self.bus_bits)

    def parameters(self, bias: NDArray, factor: NDArray) -> NDArray[np.uint8]:
        """A layer's biases and factors, each [words, lanes], in turn; whole bus words.

        Raises:
            ValueError: not of that shape, or a bias does not fit.
        """
        if factor.shape != bias.shape:
            raise ValueError(f"factors must be {bias.shape}, but got {factor.shape}")
        biases = self._elements(bias[None], self.shape.accumulator_bits, self.sum_bits)[0]
        factors = self._elements(factor[None], self.sum_bits, self.sum_bits)[0]
        size = self.sum_bits // 8
        turn = np.stack([x.reshape(len(bias), -1, size) for x in (biases, factors)], axis=2)
        return pack_rows(turn.reshape(len(bias), -1), self.parameter_bits, self.bus_bits)

    def _elements(self, values: NDArray, bits: int, storage: int) -> NDArray[np.uint8]:
        """[..., beats, elements] of `bits` as bytes of `storage` bits each [..., beats, bytes]."""
        given = _checked(values, 3, values.shape[-1], bits, "elements")
        typed = given.astype(f"<i{storage // 8}")
        return np.ascontiguousarray(typed).view(np.uint8).reshape(*values.shape[:-1], -1)


@dataclass(frozen=True, kw_only=True)
class EngineSetup:
    """What LAYER and WEIGHTS need of an engine.

    Attributes:
        record: of the layer, by the names of `record_names`.
        weights: int64 [words, lanes].
        sums: of a GRU, int64 [4 * groups, lanes]; None of a layer.
        bias, factor: of a layer, int64 [out_words, lanes]; None of a GRU.
    """

    record: Mapping[str, int]
    weights: Ints
    sums: Ints | None = None
    bias: Ints | None = None
    factor: Ints | None = None


@dataclass(frozen=True, kw_only=True)
class FrameJob:
    """Frames that one FRAMES descriptor runs.

    Attributes:
        items: int64 [frames, beats, detector_width].
        reset: a RESET goes before it.
    """

    items: Ints
    reset: bool = False


@dataclass(frozen=True, kw_only=True)
class DeltaProgram:
    """A memory image with its list of descriptors.

    Attributes:
        base: address of the image's first byte.
        image: uint8; results stand in it as zeros.
        list_address: of the first descriptor.
        count: descriptors.
        results: of each `FrameJob`, (address, frames, bytes of one, beats of one).
        format: of the bytes.
    """

    base: int
    image: NDArray[np.uint8]
    list_address: int
    count: int
    results: Sequence[tuple[int, int, int, int]]
    format: DeltaFormat

    def outputs(self, image: NDArray[np.uint8]) -> list[Ints]:
        """Results of each `FrameJob` in an image as the run left it, int64 [frames, beats, lanes].

        Raises:
            ValueError: an image of another size.
        """
        if image.shape != self.image.shape:
            raise ValueError(f"the image has {self.image.shape} bytes, but got {image.shape}")
        out = []
        for address, frames, size, beats in self.results:
            start = address - self.base
            part = image[start : start + frames * size].reshape(frames, size)
            out.append(self.format.results(part, beats))
        return out


def delta_program(
    form: DeltaFormat,
    engines: Sequence[EngineSetup],
    jobs: Sequence[FrameJob],
    *,
    on_chip: bool,
    base: int = 0,
) -> DeltaProgram:
    """Packs a network and its frames.

    Args:
        form: of the bytes.
        engines: of the chain, in order.
        jobs: run one after the other.
        on_chip: the design has on-chip weight memories: WEIGHTS loads them.
        base: address of the image, a multiple of the bus's bytes.

    Raises:
        ValueError: no engine, no job, a misaligned base, frames that are not the first layer's, or
            what does not fit its format.
    """
    if not engines or not jobs:
        raise ValueError(f"a program must have engines and frames, but got {len(engines)} engines "
                         f"and {len(jobs)} jobs")  # fmt: skip
    if base % (form.bus_bits // 8):
        raise ValueError(
            f"base must be a multiple of the bus's {form.bus_bits // 8} bytes, but got {base:#x}"
        )
    room = _Room(base, form.bus_bits // 8)
    records: list[tuple[str, dict[str, int]]] = []
    for number, engine in enumerate(engines):
        record = room.put(form.record(engine.record))
        weights = room.put(form.weights(engine.weights))
        if engine.sums is not None:
            parameters, beats = room.put(form.sums(engine.sums)), len(engine.sums)
        elif engine.bias is not None and engine.factor is not None:
            parameters = room.put(form.parameters(engine.bias, engine.factor))
            beats = len(engine.bias)
        else:
            raise ValueError(f"engine {number} must have sums, or bias and factor")
        records.append(
            ("layer", {"engine": number, "beats": beats, "record": record,
                       "parameters": parameters, "weights": 0 if on_chip else weights})
        )  # fmt: skip
        if on_chip:
            records.append(("weights", {"engine": number, "beats": len(engine.weights),
                                        "weights": weights}))  # fmt: skip
    results = []
    for job in jobs:
        if job.items.ndim != 3 or job.items.shape[1] != engines[0].record["frame_beats"]:
            raise ValueError(
                f"frames must have {engines[0].record['frame_beats']} beats, "
                f"but got {job.items.shape}"
            )
        if job.reset:
            records.append(("reset", {}))
        beats = engines[-1].record["result_beats"]
        size, frames = form.result_bytes(beats), form.frames(job.items)
        o = room.put(np.zeros(len(frames) * size, np.uint8))
        records.append(("frames", {"count": len(frames), "x": room.put(frames.reshape(-1)), "o": o,
                                   "x_stride": frames.shape[1], "o_stride": size}))  # fmt: skip
        results.append((o, len(frames), size, beats))
    layouts = delta_records()
    listed = b"".join(
        layouts[name][1].pack(magic=MAGIC, opcode=OPCODES[name], version=RECORD_VERSION, **values)
        for name, values in records
    )
    address = room.put(np.frombuffer(listed, np.uint8))
    return DeltaProgram(
        base=base, image=np.concatenate(room.chunks), list_address=address, count=len(records),
        results=results, format=form,
    )  # fmt: skip


@dataclass
class _Room:
    """An image that grows; every chunk begins at a multiple of `align` bytes."""

    base: int
    align: int
    used: int = 0
    chunks: list[NDArray[np.uint8]] = field(default_factory=list)

    def put(self, chunk: NDArray[np.uint8]) -> int:
        """Append a chunk; returns its address."""
        address = self.base + self.used
        whole = np.pad(chunk, (0, -len(chunk) % self.align))
        self.chunks.append(whole)
        self.used += len(whole)
        return address


def _storage(bits: int) -> int:
    """Bits of the least C integer that holds `bits`."""
    return max(8, 1 << (bits - 1).bit_length())


def _checked(values: NDArray, axes: int, elements: int, bits: int, what: str) -> Ints:
    """Values as int64, of the right shape and in two's complement of `bits`."""
    given = np.ascontiguousarray(values, np.int64)
    if given.ndim != axes or given.shape[-1] != elements:
        raise ValueError(
            f"{what} must have {axes} axes, the last {elements}, but got {given.shape}"
        )
    top = 1 << (bits - 1)
    if given.size and not (-top <= given.min() and given.max() < top):
        raise ValueError(
            f"{what} must fit {bits} bits in two's complement, but got {given.min()}..{given.max()}"
        )
    return given
