"""Descriptors of the row-wise SpGEMM top, and products and results as bytes in memory.

One opcode, MULTIPLY: all windows of C = A B. Operands are CSR: row pointers are `uint32_t`, and of
each non-zero a `uint32_t` column and its value, `int32_t` or `float`, stand side by side. Windows
are a table of {first row, rows}, `uint32_t` each. Results are three kinds of region:

    z       one region for each result stream of the core, `z_stride` bytes apart. A record is
            {row in the window, column, value, last} packed from bit 0 on, in a slot as
            `hwsim.models.bus_words` says; one with `last` set holds no entry and closes a window.
    spill   the same records of the products that found no slot; one with `last` set ends them.
    counts  for each window eight `uint32_t`, `COUNT_FIELDS`.

docs/spgemm-descriptors.md has an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hwsim.models.bus_words import run_bytes, slot_bytes, unpack_rows
from hwsim.models.registers import Layout, LayoutField
from hwsim.models.rowwise import RowLists, RowwiseShape, row_bound
from hwsim.models.shell_map import MAGIC, RECORD_VERSION, ShellSpec, descriptor
from hwsim.models.sparse import Csr

__all__ = [
    "COUNT_FIELDS",
    "ELEMENT_BYTES",
    "OPCODES",
    "POINTER_BYTES",
    "RECORD_BYTES",
    "SPGEMM_COUNTERS",
    "SPGEMM_ERRORS",
    "SpgemmFormat",
    "SpgemmJob",
    "SpgemmProgram",
    "SpgemmResult",
    "reader_words",
    "spgemm_program",
    "spgemm_records",
    "spgemm_spec",
]

OPCODES = {"multiply": 1}

RECORD_BYTES = 128
"""Of a descriptor."""

POINTER_BYTES = 4
"""Of a row pointer."""

ELEMENT_BYTES = 8
"""Of a non-zero, column and value, and of an entry of the table of windows."""

COUNT_FIELDS = (
    "multiplies",
    "skipped",
    "probes",
    "inserts",
    "accumulates",
    "waits",
    "spilled",
    "cycles",
)
"""Words of a window's counts; `cycles` are those since the window before ended or the descriptor
began."""

SPGEMM_ERRORS = {"window": 16, "pointers": 17, "column": 18, "z_room": 19, "spill_room": 20}
"""window: it has no row, or more than the design's tables number. pointers: a row ends before it
begins. column: of A, and B has no such row. z_room: more entries of C than a region holds.
spill_room: more spilled products than their region holds."""

SPGEMM_COUNTERS = {
    "spgemm.core.cycle": 1,
    "spgemm.multiply": 32,
    "spgemm.hash.probe": 32,
    "spgemm.hash.insert": 32,
    "spgemm.hash.accumulate": 32,
    "spgemm.hash.wait": 32,
    "spgemm.hash.spill": 32,
}
"""Counters of the top behind the shell's, with the bits of their increment; those of the tables
grow when a window ends."""

_COUNT_BITS = 32 * len(COUNT_FIELDS)
_WORD = (1 << 32) - 1


def spgemm_records() -> dict[str, tuple[int, Layout]]:
    """Opcode name -> (opcode, record)."""

    def address(name: str, bit: int, what: str) -> LayoutField:
        return LayoutField(name=name, bit=bit, bits=64, rule="address", description=what)

    fields = (
        LayoutField(name="windows", bit=32, bits=32, rule="nonzero", description="how many"),
        LayoutField(name="b_rows", bit=64, bits=32, rule="nonzero", description="rows of B"),
        LayoutField(name="z_stride", bit=96, bits=32, rule="bytes",
                    description="size of a region of z, and bytes to the next"),
        LayoutField(name="spill_bytes", bit=128, bits=32, rule="bytes",
                    description="size of the region of spilled products, one record at least"),
        address("window_table", 192, "first row and rows of each window"),
        address("a_pointers", 256, "row pointers of A"),
        address("a_elements", 320, "columns and values of A"),
        address("b_pointers", 384, "row pointers of B"),
        address("b_elements", 448, "columns and values of B"),
        address("z", 512, "the first result stream's region"),
        address("spill", 576, "region of spilled products"),
        address("counts", 640, "counts of each window, 32 bytes each"),
    )  # fmt: skip
    layout = descriptor("spgemm_multiply", RECORD_BYTES, fields, "All windows of C = A B.")
    return {"multiply": (OPCODES["multiply"], layout)}


def spgemm_spec(config_hash: int = 0, version: int = 0) -> ShellSpec:
    """The SpGEMM top's part of the shell."""
    return ShellSpec(
        kind="spgemm",
        records=spgemm_records(),
        counters=SPGEMM_COUNTERS,
        errors=SPGEMM_ERRORS,
        config_hash=config_hash,
        version=version,
    )


def reader_words(lanes: int, block_words: int, outstanding: int) -> tuple[int, int, int, int, int]:
    """Bus words of the queues of the readers of windows, A's row pointers, A's non-zeros, B's row
    pointers, and of each lane.

    Not given; chosen: two bursts; for A's non-zeros and B's pointers half of those that may be
    under way, for the lanes all of them together, so that each sort can fill the channel nearly.

    Args:
        lanes: of the engine.
        block_words: of a burst.
        outstanding: bursts that may be under way.
    """
    block = max(2, block_words)
    half, lane = max(2, outstanding // 2), max(2, -(-outstanding // lanes))
    return 2 * block, 2 * block, half * block, half * block, lane * block


@dataclass(frozen=True)
class SpgemmFormat:
    """Bytes of operands and results on a bus of `bus_bits`.

    Attributes:
        shape: of the engine.
        bus_bits: width of the AXI4 master's data.
    """

    shape: RowwiseShape
    bus_bits: int

    @property
    def result_bits(self) -> int:
        """Of a record of z or spill: row, column, value, `last`."""
        return self.shape.row_bits + self.shape.column_bits + 33

    @property
    def result_bytes(self) -> int:
        """Of its slot."""
        return slot_bytes(self.result_bits, self.bus_bits)

    def pointers(self, indptr: NDArray) -> NDArray[np.uint8]:
        """Row pointers [rows + 1].

        Raises:
            ValueError: one has more than 32 bits or is negative.
        """
        if indptr.size and not (indptr.min() >= 0 and indptr.max() <= _WORD):
            raise ValueError(f"row pointers must have 32 bits, but got {indptr.max()}")
        return _bytes(indptr.astype("<u4"))

    def elements(self, x: Csr | RowLists) -> NDArray[np.uint8]:
        """Non-zeros of A or B.

        Raises:
            ValueError: values not of the engine's type, or a column beyond its width.
        """
        if x.data.dtype != self.shape.value_dtype:
            raise ValueError(f"values must be {self.shape.value_dtype}, but got {x.data.dtype}")
        if x.indices.size and x.indices.max() >> self.shape.column_bits:
            raise ValueError(
                f"columns must be below 2**{self.shape.column_bits}, but got {x.indices.max()}"
            )
        values = np.ascontiguousarray(x.data).view(np.uint32)
        return _bytes(np.stack([x.indices.astype("<u4"), values.astype("<u4")], axis=1))

    def windows(self, starts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The table of windows, of the first row of each and the end."""
        table = np.stack([starts[:-1], np.diff(starts)], axis=1)
        if table.size and not (table.min() >= 0 and table.max() <= _WORD):
            raise ValueError(f"rows of windows must have 32 bits, but got {table.max()}")
        return _bytes(table.astype("<u4"))

    def records(self, image: NDArray[np.uint8]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Row in the window, column, value and `last` of each whole slot of a region, int64 but for
        the values."""
        slots = len(image) // self.result_bytes
        rows = unpack_rows(image, slots, self.result_bits, self.bus_bits)
        wide = np.zeros((slots, 16), np.uint8)
        wide[:, : rows.shape[1]] = rows
        low, high = wide.view("<u8").T
        shape = self.shape
        ends = np.cumsum([0, shape.row_bits, shape.column_bits, 32, 1]).tolist()
        cut = [_field(low, high, at, end - at) for at, end in pairwise(ends)]
        row, column, value, last = cut
        return row, column, value.astype("<u4").view(shape.value_dtype), last

    def counts(self, image: NDArray[np.uint8], windows: int) -> NDArray[np.int64]:
        """Counts of each window, int64 [windows, 8]."""
        rows = unpack_rows(image, windows, _COUNT_BITS, self.bus_bits)
        return np.ascontiguousarray(rows).view("<u4").astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class SpgemmJob:
    """A product, or a pass over spilled products, that one descriptor runs.

    Attributes:
        a, b: operands, values of the engine's type.
        starts: int64 [windows + 1], first row of each window and the end, as
            `hwsim.models.rowwise.windows` gives them.
        z_records: records that each region of z holds at least; None is the most that there can be,
            all entries in one region.
        spill_records: records of the region of spilled products, the closing one included; None is
            the most that there can be, all products. Regions are rounded up to whole bursts.
    """

    a: Csr | RowLists
    b: Csr | RowLists
    starts: NDArray[np.int64]
    z_records: int | None = None
    spill_records: int | None = None


@dataclass(frozen=True, kw_only=True)
class SpgemmResult:
    """What a descriptor left in memory. Names as in `hwsim.dataflows.rowwise_sim.RowwiseRun`.

    Attributes:
        window, row, column, value, output: of each record of z, region after region; row in A; a
            window's closing record has row and column -1.
        spill_window, spill_row, spill_column, spill_value: of each spilled product.
        counts: int64 [windows, 8], `COUNT_FIELDS`.
    """

    window: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray
    output: NDArray[np.int64]
    spill_window: NDArray[np.int64]
    spill_row: NDArray[np.int64]
    spill_column: NDArray[np.int64]
    spill_value: NDArray
    counts: NDArray[np.int64]

    @property
    def spilled(self) -> int:
        return int(self.counts[:, COUNT_FIELDS.index("spilled")].sum())


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a job's results are."""

    z: int
    z_stride: int
    spill: int
    spill_bytes: int
    counts: int
    starts: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SpgemmProgram:
    """A memory image with its list of descriptors.

    Attributes:
        base: address of the image's first byte.
        image: uint8; results stand in it as zeros.
        list_address: of the first descriptor.
        count: descriptors, one for each job.
        format: of the bytes.
        places: of each job's results.
    """

    base: int
    image: NDArray[np.uint8]
    list_address: int
    count: int
    format: SpgemmFormat
    places: Sequence[_Place]

    def results(self, image: NDArray[np.uint8]) -> list[SpgemmResult]:
        """What each job left in an image as the run left it.

        Raises:
            ValueError: an image of another size, or a region whose windows are not all closed.
        """
        if image.shape != self.image.shape:
            raise ValueError(f"the image has {self.image.shape} bytes, but got {image.shape}")
        return [self._result(image, place) for place in self.places]

    def _result(self, image: NDArray[np.uint8], place: _Place) -> SpgemmResult:
        form, count = self.format, len(place.starts) - 1
        counts = form.counts(image[place.counts - self.base :], count)
        parts = []
        for output in range(form.shape.outputs):
            start = place.z - self.base + output * place.z_stride
            row, column, value, last = form.records(image[start : start + place.z_stride])
            ends = np.flatnonzero(last)
            if ends.size < count:
                raise ValueError(f"output {output} closed {ends.size} windows of {count}")
            used = int(ends[count - 1]) + 1
            window = np.cumsum(last[:used]) - last[:used]
            closes = last[:used] == 1
            row, column = row[:used] + place.starts[window], column[:used].copy()
            row[closes] = column[closes] = -1
            where = np.full(used, output, np.int64)
            parts.append((window, row, column, value[:used], where))
        start = place.spill - self.base
        row, column, value, last = form.records(image[start : start + place.spill_bytes])
        spilled = counts[:, COUNT_FIELDS.index("spilled")]
        total = int(spilled.sum())
        if total >= last.size or last[:total].any() or not last[total]:
            raise ValueError(f"the spilled products do not end behind the {total} counted")
        window = np.repeat(np.arange(count), spilled)
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return SpgemmResult(
            window=joined[0], row=joined[1], column=joined[2], value=joined[3], output=joined[4],
            spill_window=window, spill_row=row[:total] + place.starts[window],
            spill_column=column[:total], spill_value=value[:total], counts=counts,
        )  # fmt: skip


def spgemm_program(
    form: SpgemmFormat, jobs: Sequence[SpgemmJob], *, base: int = 0, align: int = 128
) -> SpgemmProgram:
    """Packs products.

    Args:
        form: of the bytes.
        jobs: run one after the other, each by a descriptor.
        base: address of the image, a multiple of `align`.
        align: bytes at whose multiples arrays begin, a multiple of the bus's; that of a burst saves
            bursts.

    Raises:
        ValueError: no job, a misaligned base, or what does not fit its format.
    """
    if not jobs:
        raise ValueError("a program must have jobs, but got none")
    if align % (form.bus_bits // 8) or base % align:
        raise ValueError(
            f"base must be a multiple of align and align of the bus's {form.bus_bits // 8} bytes, "
            f"but got base={base:#x} and align={align}"
        )
    room = _Room(base, align)
    layout = spgemm_records()["multiply"][1]
    places, listed = [], []
    for job in jobs:
        windows = len(job.starts) - 1
        if windows < 1:
            raise ValueError(f"a product must have windows, but got {windows}")
        bound = row_bound(job.a.indptr, job.a.indices, job.b.indptr, job.b.shape[1])
        products = int(np.diff(job.b.indptr)[job.a.indices].sum())
        sizes = {
            "z_stride": int(bound.sum()) + windows if job.z_records is None else job.z_records,
            "spill_bytes": products + 1 if job.spill_records is None else job.spill_records,
        }
        sizes = {
            name: -(-run_bytes(records, form.result_bits, form.bus_bits) // align) * align
            for name, records in sizes.items()
        }
        a_elements = form.elements(job.a)
        b_elements = a_elements if job.b is job.a else form.elements(job.b)
        addresses = {
            "window_table": room.put(form.windows(job.starts)),
            "a_pointers": room.put(form.pointers(job.a.indptr)),
            "a_elements": room.put(a_elements),
        }
        if job.b is job.a:
            addresses["b_pointers"] = addresses["a_pointers"]
            addresses["b_elements"] = addresses["a_elements"]
        else:
            addresses["b_pointers"] = room.put(form.pointers(job.b.indptr))
            addresses["b_elements"] = room.put(b_elements)
        addresses["z"] = room.skip(sizes["z_stride"] * form.shape.outputs)
        addresses["spill"] = room.skip(sizes["spill_bytes"])
        addresses["counts"] = room.skip(run_bytes(windows, _COUNT_BITS, form.bus_bits))
        listed.append(
            layout.pack(
                magic=MAGIC, opcode=OPCODES["multiply"], version=RECORD_VERSION,
                windows=windows, b_rows=job.b.shape[0], **sizes, **addresses,
            )
        )  # fmt: skip
        places.append(
            _Place(z=addresses["z"], spill=addresses["spill"], counts=addresses["counts"],
                   starts=job.starts, **sizes)
        )  # fmt: skip
    address = room.put(np.frombuffer(b"".join(listed), np.uint8))
    return SpgemmProgram(
        base=base, image=np.concatenate(room.chunks), list_address=address, count=len(jobs),
        format=form, places=places,
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

    def skip(self, size: int) -> int:
        """Append room for results; returns its address."""
        return self.put(np.zeros(size, np.uint8))


def _bytes(words: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words).reshape(-1).view(np.uint8)


def _field(low: NDArray, high: NDArray, at: int, bits: int) -> NDArray[np.int64]:
    """Bits of the 128-bit numbers high:low, fewer than 64."""
    shift = np.uint64(at % 64)
    if at >= 64:
        word = high >> shift
    elif at + bits > 64:
        word = low >> shift | high << np.uint64(64 - at)
    else:
        word = low >> shift
    return (word & np.uint64((1 << bits) - 1)).astype(np.int64)
