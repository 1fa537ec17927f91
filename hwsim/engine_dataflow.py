"""SpGEMM dataflows: exact counts of a product's events, and a law for how long they take.

A phase lasts as long as its busiest resource: events over the PEs that do one each a cycle, bytes
over the bandwidth. Work is taken to be spread evenly, as the published throughput models do, so the
cycles are a lower bound of the machine's; TeAAL's law for Gamma is this one. The time is attributed
in the order in which a phase names its resources, DRAM last: each is charged with the cycles it
adds to those before it, and the first request's latency with `fill`, so parts sum to the cycles.

    row_wise        one phase: multiply, merge, add, DRAM
    inner           one phase: compare (a multiply is the comparison that agrees), DRAM
    outer           multiply phase: multiply, DRAM; merge phase: merge, add, DRAM
    two_pass_hash   symbolic pass: probe, DRAM; numeric pass: probe, multiply, DRAM

Every dataflow adds an entry's products in ascending k, so all give the golden product's bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from hwsim.config_base import DramConfig
from hwsim.config_dataflow import SpgemmDataflowConfig
from hwsim.dataflows.fibre_cache import CacheCounts, fibre_lines, fibre_traffic
from hwsim.dataflows.merger import insertions, merged_elements, row_fibres
from hwsim.dataflows.row_order import affinity_order, permute_rows
from hwsim.dataflows.spgemm_counts import Counts, count, multiply
from hwsim.dataflows.spgemm_hash import HashCounts, hash_product
from hwsim.dataflows.spgemm_inner import inner_counts, inner_traffic
from hwsim.dataflows.spgemm_outer import outer_traffic
from hwsim.energy import energy_parts
from hwsim.errors import UserError
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseProduct
from hwsim.spgemm_run import SpgemmRun

__all__ = ["run_product"]

_COORDINATE = 4
_POINTER = 4


@dataclass(frozen=True, kw_only=True)
class _Phase:
    """What happens side by side: cycles by resource and bytes by cause."""

    work: dict[str, int]
    traffic: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class _Events:
    """What a dataflow does for one product."""

    phases: tuple[_Phase, ...]
    counters: dict[str, int] = field(default_factory=dict)
    cache_bytes: int = 0
    z: Csr | None = None


def run_product(product: SparseProduct, config: SpgemmDataflowConfig) -> SpgemmRun:
    """C = A B in the configured dataflow: values, counts, traffic, cycles and energy.

    Raises:
        UserError: an affinity order of too many rows.
    """
    a, b = product.a, product.b
    counts = count(a, b)
    events = _DATAFLOWS[config.dataflow](a, b, counts, config)
    parts: dict[str, int] = {}
    traffic: dict[str, int] = {}
    for phase in events.phases:
        _add(parts, _phase_parts(phase, config.dram))
        _add(traffic, phase.traffic)
    reads = sum(v for name, v in traffic.items() if name.endswith(".read"))
    writes = sum(v for name, v in traffic.items() if name.endswith(".write"))
    counters = {
        "spgemm.multiply": counts.multiplies,
        "spgemm.add": counts.adds,
        "spgemm.nnz_c": counts.nnz_c,
        **events.counters,
        "spgemm.fibre_cache.read": events.cache_bytes,
        "dram.read": reads,
        "dram.write": writes,
    }
    return SpgemmRun(
        layer=product.layer,
        op=product.op,
        m=product.m,
        n=product.n,
        k=product.k,
        nnz_a=a.nnz,
        nnz_b=b.nnz,
        nnz_c=counts.nnz_c,
        dataflow=config.dataflow,
        cycles=sum(parts.values()),
        parts=parts,
        macs_dense=product.m * product.n * product.k,
        macs_effective=counts.multiplies,
        bytes_by_cause=traffic,
        counters=counters,
        energy_parts_pj=energy_parts(config, counters),
        z=multiply(a, b, counts.row_nnz) if events.z is None else events.z,
    )


def _row_wise(a: Csr, b: Csr, counts: Counts, config: SpgemmDataflowConfig) -> _Events:
    cache = _cache(_ordered(a, config), b, config, config.value_bytes)
    merged = int(
        merged_elements(row_fibres(a, b), counts.row_multiplies, config.merger_radix).sum()
    )
    work = {
        "multiply": ceil(counts.multiplies / config.pes),
        "merge": ceil(merged / config.pes),
        "add": ceil(counts.adds / config.pes),
    }
    traffic = {
        "a.read": _rows_bytes(a.row_lengths, config, config.value_bytes),
        "b.read": cache.bytes_fetched,
        "z.write": _z_bytes(counts, config),
    }
    return _Events(
        phases=(_Phase(work=work, traffic=traffic),),
        counters={
            "spgemm.fibre_cache.hit": cache.row_hits,
            "spgemm.fibre_cache.miss": cache.row_misses,
            "spgemm.merge.element": merged,
        },
        cache_bytes=cache.bytes_read,
    )


def _outer(a: Csr, b: Csr, counts: Counts, config: SpgemmDataflowConfig) -> _Events:
    moved = outer_traffic(
        a,
        b,
        counts,
        cache_bytes=config.memory.cache_bytes,
        line_bytes=config.dram.burst_bytes,
        value_bytes=config.value_bytes,
    )
    compares = int(insertions(a, b).sum())
    multiply_phase = _Phase(
        work={"multiply": ceil(counts.multiplies / config.pes)},
        traffic={"a.read": moved.a_read, "b.read": moved.b_read, "t.write": moved.t_write},
    )
    merge_phase = _Phase(
        work={
            "merge": ceil(compares / config.merge_pes),
            "add": ceil(counts.adds / config.merge_pes),
        },
        traffic={"t.read": moved.t_read, "z.write": moved.z_write},
    )
    return _Events(
        phases=(multiply_phase, merge_phase),
        counters={
            "spgemm.outer.partial": counts.multiplies,
            "spgemm.merge.compare": compares,
        },
        cache_bytes=counts.multiplies * (_COORDINATE + config.value_bytes),
    )


def _inner(a: Csr, b: Csr, counts: Counts, config: SpgemmDataflowConfig) -> _Events:
    tried = inner_counts(a, b, counts.multiplies)
    moved = inner_traffic(
        a,
        b,
        counts,
        buffer_bytes=config.memory.buffer_bytes,
        cache_bytes=config.memory.cache_bytes,
        line_bytes=config.dram.burst_bytes,
        value_bytes=config.value_bytes,
    )
    phase = _Phase(
        work={"compare": ceil(tried.compares / config.pes)},
        traffic={"a.read": moved.a_read, "b.read": moved.b_read, "z.write": moved.z_write},
    )
    return _Events(
        phases=(phase,),
        counters={"spgemm.inner.pair": tried.pairs, "spgemm.inner.compare": tried.compares},
        # A step moves past one coordinate, or past two and on to their values where they agree.
        cache_bytes=_COORDINATE * (tried.compares + counts.multiplies)
        + 2 * config.value_bytes * counts.multiplies,
    )


def _two_pass_hash(a: Csr, b: Csr, counts: Counts, config: SpgemmDataflowConfig) -> _Events:
    z, done = hash_product(a, b, scale=config.hash_scale, min_slots=config.min_slots)
    structure, full = _cache(a, b, config, 0), _cache(a, b, config, config.value_bytes)
    symbolic, numeric = int(done.symbolic_probes.sum()), int(done.numeric_probes.sum())
    spilled = _spilled(done, config)
    symbolic_pass = _Phase(
        work={"probe": ceil(symbolic / config.pes)},
        traffic={
            "a.read": _rows_bytes(a.row_lengths, config, 0),
            "b.read": structure.bytes_fetched,
            "t.read": spilled[0],
            "t.write": spilled[1],
        },
    )
    numeric_pass = _Phase(
        work={
            "probe": ceil(numeric / config.pes),
            "multiply": ceil(counts.multiplies / config.pes),
        },
        traffic={
            "a.read": _rows_bytes(a.row_lengths, config, config.value_bytes),
            "b.read": full.bytes_fetched,
            "t.read": spilled[2],
            "t.write": spilled[3],
            "z.write": _z_bytes(counts, config),
        },
    )
    return _Events(
        phases=(symbolic_pass, numeric_pass),
        counters={
            "spgemm.hash.probe": symbolic + numeric,
            "spgemm.hash.insert": 2 * counts.nnz_c,
            "spgemm.hash.accumulate": counts.adds,
            "spgemm.fibre_cache.hit": structure.row_hits + full.row_hits,
            "spgemm.fibre_cache.miss": structure.row_misses + full.row_misses,
        },
        cache_bytes=structure.bytes_read + full.bytes_read,
        z=z,
    )


_DATAFLOWS = {
    "row_wise": _row_wise,
    "outer": _outer,
    "inner": _inner,
    "two_pass_hash": _two_pass_hash,
}


def _phase_parts(phase: _Phase, dram: DramConfig) -> dict[str, int]:
    """Cycles of a phase by cause: what each resource adds to the maximum of those before it."""
    moved = sum(phase.traffic.values())
    transfer = 0 if dram.bytes_per_cycle is None else ceil(moved / dram.bytes_per_cycle)
    parts = {}
    so_far = 0
    for name, cycles in {**phase.work, "stall.dram": transfer}.items():
        parts[name] = max(cycles - so_far, 0)
        so_far = max(so_far, cycles)
    parts["fill"] = dram.latency_cycles if moved else 0
    return parts


def _ordered(a: Csr, config: SpgemmDataflowConfig) -> Csr:
    """A with its rows in the order in which they are taken; C's rows stay where they are."""
    if config.row_order == "natural":
        return a
    try:
        return permute_rows(a, affinity_order(a, config.memory.cache_bytes))
    except ValueError as error:
        raise UserError(f"row_order: {error}") from None


def _cache(a: Csr, b: Csr, config: SpgemmDataflowConfig, value_bytes: int) -> CacheCounts:
    return fibre_traffic(
        a.indices,
        b.row_lengths,
        cache_bytes=config.memory.cache_bytes,
        line_bytes=config.dram.burst_bytes,
        policy=config.memory.policy,
        coordinate_bytes=_COORDINATE,
        value_bytes=value_bytes,
        pointer_bytes=_POINTER,
    )


def _rows_bytes(lengths: np.ndarray, config: SpgemmDataflowConfig, value_bytes: int) -> int:
    """Bytes of all fibres of these lengths and of a pointer for each."""
    line = config.dram.burst_bytes
    lines = int(fibre_lines(lengths, line, _COORDINATE, value_bytes).sum())
    return line * (lines + -(-_POINTER * len(lengths) // line))


def _z_bytes(counts: Counts, config: SpgemmDataflowConfig) -> int:
    """Bytes of C: rows follow each other without gaps, as they are written in order."""
    elements = counts.nnz_c * (_COORDINATE + config.value_bytes)
    return elements + _POINTER * len(counts.row_nnz)


def _spilled(done: HashCounts, config: SpgemmDataflowConfig) -> tuple[int, int, int, int]:
    """Bytes read and written for tables that do not fit on chip, symbolic pass, then numeric.

    A probe reads a burst; what it inserts or accumulates writes one.
    """
    burst, fits = config.dram.burst_bytes, config.memory.buffer_bytes
    symbolic = done.symbolic_slots * _COORDINATE > fits
    numeric = done.numeric_slots * (_COORDINATE + config.value_bytes) > fits
    return (
        burst * int(done.symbolic_probes[symbolic].sum()),
        burst * int(done.row_nnz[symbolic].sum()),
        burst * int(done.numeric_probes[numeric].sum()),
        burst * int(done.row_multiplies[numeric].sum()),
    )


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0) + value
