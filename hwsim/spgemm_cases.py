"""Random products, stalls and designs for the row-wise SpGEMM engine, and the words on its ports.

A case's kind says what is special about it; `KINDS` lists them. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hwsim.config_spgemm import SpgemmConfig
from hwsim.dataflows.rowwise_sim import MemoryLatency, RowwiseGaps, RowwiseRun
from hwsim.models.rowwise import RowLists, RowwiseShape, row_bound, windows
from hwsim.models.sparse import Csr

__all__ = ["KINDS", "SpgemmCase", "bench_case", "expected_words", "make_case", "spgemm_designs"]

KINDS = (
    "random",
    "empty rows",
    "hot column",
    "full table",
    "overflow",
    "one element",
    "rectangular",
    "many windows",
)
"""What is special: nothing; many empty rows on both sides; one column of C takes most products; as
many entries as all tables hold; more than they hold; a single non-zero; sizes far from square;
windows of one or two rows, so that epochs run out."""

_WATCH_CYCLES = 20  # after the last result nothing may follow for this long
_SPECIALS = np.array(
    [0x7F800000, 0xFF800000, 0x7FC00000, 0x00000001, 0x807FFFFF, 0x80000000, 0x7F7FFFFF], np.uint32
).view(np.float32)
"""Infinities, a NaN, the least and the largest subnormal, -0.0, the largest number."""


@dataclass(frozen=True, kw_only=True)
class SpgemmCase:
    """A product, its windows and stalls.

    Attributes:
        number: of the case in its run.
        design: which of the run's designs.
        kind: one of `KINDS`.
        a, b: operands.
        starts: first row of each window and the end.
        gaps, latency: back-pressure and the memory's latency.
        exact: sums do not depend on their order: integers, or floats that hold small ones.
    """

    number: int
    design: int
    kind: str
    a: Csr | RowLists
    b: Csr | RowLists
    starts: NDArray[np.int64]
    gaps: RowwiseGaps
    latency: MemoryLatency
    exact: bool

    def __str__(self) -> str:
        (m, k), n = self.a.shape, self.b.shape[1]
        stalled = [name for name, gaps in vars(self.gaps).items() if len(gaps)]
        return (
            f"{self.kind}: {m}x{k}x{n}, {self.a.nnz} and {self.b.nnz} non-zeros, "
            f"{len(self.starts) - 1} windows, stalls on {', '.join(stalled) or 'no port'}"
        )


def spgemm_designs(config: SpgemmConfig) -> list[SpgemmConfig]:
    """Small designs with the configuration's latencies, format and widths, and others beside them.

    Lanes and banks are instances of one module each, so a few of them mix up what many would;
    tables are small enough that short products fill them.
    """
    own = {
        "lanes": min(config.lanes, 3),
        "banks": min(config.banks, 4),
        "outputs": min(config.outputs, 2),
        "entries": min(config.entries, 8),
        "probe_limit": None,
        "epoch_bits": min(config.epoch_bits, 2),
        "token_length": min(config.token_length, 4),
    }
    single = {"lanes": 1, "banks": 1, "outputs": 1, "entries": 4, "probe_limit": None}
    least = {
        "multiplier_latency": 1,
        "adder_latency": 1,
        "token_queue": 2,
        "request_queue": 2,
        "product_queue": 2,
        "bank_queue": 2,
        "epoch_bits": 1,
    }
    other = "int32" if config.format == "fp32" else "fp32"
    deep = {"multiplier_latency": 5, "adder_latency": 6, "row_bits": 5, "column_bits": 9}
    wide = {
        "lanes": 4,
        "banks": 2,
        "outputs": 2,
        "entries": 16,
        "probe_limit": 3,
        "token_length": 1,
    }
    changes: list[dict[str, Any]] = [
        own,
        own | {"format": other},
        single | least | {"format": "int32"},
        single | deep | {"format": "fp32"},
        wide | least | {"format": "fp32", "bank_queue": 3, "epoch_bits": 3},
    ]
    data = config.model_dump()
    return [SpgemmConfig.model_validate(data | change) for change in changes]


def make_case(designs: Sequence[SpgemmConfig], seed: int, number: int) -> SpgemmCase:
    """Case `number` of a run; designs and kinds take turns."""
    rng = np.random.default_rng([seed, number])
    design = number % len(designs)
    config = designs[design]
    kind = KINDS[number // len(designs) % len(KINDS)]
    exact = config.format == "int32" or bool(rng.integers(0, 2))
    a, b = _operands(rng, config, kind, exact)
    bound = row_bound(a.indptr, a.indices, b.indptr, b.shape[1])
    capacity, rows = config.capacity, 1 << config.row_bits
    if kind in ("overflow", "full table"):
        capacity *= 8  # several rows at once, more than fits
    if kind == "many windows":
        rows = int(rng.integers(1, 3))
    return SpgemmCase(
        number=number,
        design=design,
        kind=kind,
        a=a,
        b=b,
        starts=windows(bound, capacity, rows),
        gaps=_gaps(rng),
        latency=MemoryLatency(**{name: int(rng.integers(0, 9)) for name in ("a_ptr", "a", "b")}),
        exact=exact,
    )


def bench_case(
    shape: RowwiseShape, case: SpgemmCase, run: RowwiseRun, words: dict[str, list[int]]
) -> dict[str, Any]:
    """What `hwsim.rtl.bench_rowwise` takes."""
    a, b = case.a, case.b
    starts = case.starts.tolist()
    gaps = {name: [int(g) for g in given] for name, given in vars(case.gaps).items()}

    def turned(name: str, by: int) -> list[int]:
        given = gaps[name] or [0]
        by %= len(given)
        return given[by:] + given[:by]

    pointers = [int(p) for p in b.indptr]
    pairs = [start | end << 32 for start, end in pairwise(pointers)]
    late = case.latency
    memories = {
        "a_ptr": ([int(p) for p in a.indptr], True, late.a_ptr,
                  turned("a_ptr_req", 0), turned("a_ptr_rsp", 0)),
        "a": (_elements(shape, a), True, late.a, turned("a_req", 0), turned("a_rsp", 0)),
        "b_ptr": (pairs, False, late.b_ptr, turned("b_ptr_req", 0), turned("b_ptr_rsp", 0)),
    }  # fmt: skip
    elements = _elements(shape, b)
    for lane in range(shape.lanes):
        memories[f"b{lane}"] = (
            elements, True, late.b, turned("b_req", lane), turned("b_rsp", lane),
        )  # fmt: skip
    sinks = {f"z{o}": (len(words[f"z{o}"]), turned("z", o)) for o in range(shape.outputs)}
    sinks |= {name: (len(words[name]), turned(name, 0)) for name in ("spill", "done")}
    jobs = [start | (end - start) << 32 for start, end in pairwise(starts)]
    return {
        "jobs": (jobs, gaps["job"]),
        "memories": memories,
        "sinks": sinks,
        "limit": 2 * run.cycles + 1000,
        "watch": _WATCH_CYCLES,
    }


def expected_words(
    shape: RowwiseShape, case: SpgemmCase, run: RowwiseRun
) -> tuple[dict[str, list[int]], dict[str, NDArray[np.int64]]]:
    """The simulator's words on every result port and the cycle of each."""
    closes = run.column < 0
    first = case.starts[run.window]
    last = 1 << (shape.row_bits + shape.column_bits + 32)
    entries = _entries(shape, run.row - first, run.column, run.value)
    words = {}
    cycles = {}
    for o in range(shape.outputs):
        mine = np.flatnonzero(run.output == o)
        words[f"z{o}"] = [last if closes[i] else entries[i] for i in mine]
        cycles[f"z{o}"] = run.cycle[mine]
    local = run.spill_row - case.starts[run.spill_window]
    words["spill"] = _entries(shape, local, run.spill_column, run.spill_value)
    cycles["spill"] = run.spill_cycle
    words["done"] = [sum(int(count) << 32 * i for i, count in enumerate(row)) for row in run.counts]
    cycles["done"] = run.done_cycles
    return words, cycles


def _operands(rng: Generator, config: SpgemmConfig, kind: str, exact: bool) -> tuple[Csr, Csr]:
    columns = 1 << min(config.column_bits, 6)
    m, k, n = (int(rng.integers(2, 20)) for _ in range(3))
    density = float(rng.choice([0.1, 0.25, 0.5]))
    if kind == "one element":
        density = 0.0
    if kind == "rectangular":
        m, k, n = ((1, 30, 5), (40, 2, 3), (3, 3, columns), (2, 40, columns))[rng.integers(0, 4)]
    if kind == "full table":  # rows of B that name as many columns as all tables hold
        m, k, n = 2, int(rng.integers(2, 5)), config.capacity
        density = 1.0
    if kind == "overflow":
        m, k, n = 3, int(rng.integers(2, 8)), min(2 * config.capacity, 2**config.column_bits)
        density = 0.6
    filled_a = rng.random((m, k)) < density
    filled_b = rng.random((k, n)) < density
    if kind == "full table":
        filled_a[1:] = False  # one row of C, with a sum at every entry
    if kind == "one element":
        filled_a[rng.integers(0, m), rng.integers(0, k)] = True
        filled_b[rng.integers(0, k)] = rng.random(n) < 0.5
    if kind == "empty rows":
        filled_a[rng.random(m) < 0.6] = False
        filled_b[rng.random(k) < 0.6] = False
    if kind == "hot column":
        filled_b &= rng.random((k, n)) < 0.3
        filled_b[:, 0] = True
    return _matrix(rng, filled_a, config, exact), _matrix(rng, filled_b, config, exact)


def _matrix(rng: Generator, filled: NDArray[np.bool_], config: SpgemmConfig, exact: bool) -> Csr:
    rows, cols = np.nonzero(filled)
    size = rows.size
    if config.format == "int32":
        values = rng.integers(-(2**31), 2**31, size).astype(np.int32)
    elif exact:
        values = rng.integers(-64, 65, size).astype(np.float32)
    else:
        values = (rng.standard_normal(size) * 2.0 ** rng.integers(-20, 20, size)).astype(np.float32)
        special = rng.random(size) < 0.05
        values[special] = rng.choice(_SPECIALS, int(special.sum()))
    return Csr.from_coo(filled.shape, rows, cols, values)


def _gaps(rng: Generator) -> RowwiseGaps:
    """No stalls in a quarter of the cases, else each port stalls in half of them."""
    if rng.integers(0, 4) == 0:
        return RowwiseGaps()
    names = [name for name in RowwiseGaps.__dataclass_fields__ if rng.integers(0, 2)]
    return RowwiseGaps(
        **{name: rng.integers(0, 5, int(rng.integers(1, 12))).tolist() for name in names}
    )


def _elements(shape: RowwiseShape, x: Csr | RowLists) -> list[int]:
    bits = x.data.view(np.uint32)
    return [
        int(col) | int(value) << shape.column_bits
        for col, value in zip(x.indices, bits, strict=True)
    ]


def _entries(shape: RowwiseShape, row: NDArray, column: NDArray, value: NDArray) -> list[int]:
    bits = np.ascontiguousarray(value).view(np.uint32)
    at = shape.row_bits + shape.column_bits
    return [
        int(r) | int(c) << shape.row_bits | int(v) << at
        for r, c, v in zip(row, column, bits, strict=True)
    ]
