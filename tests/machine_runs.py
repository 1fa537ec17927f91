"""Small made-up runs for tests of the report: numbers that add up, of no real machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.spgemm_machine import machine_names
from hwsim.spgemm_run import SpgemmRun, apportion

CORES, THREADS = 2, 6


@dataclass(frozen=True, kw_only=True)
class FakeMachine:
    """As much of `hwsim.dataflows.piuma.MachineRun` as the report reads."""

    cycles: int
    thread_issue: Any
    thread_wait: Any
    bucket_cycles: int
    timeline: Any
    spans: Any


def made_up_run(layer="p0", cycles=1000, *, machine=True, seed=0, bucket=64, spans=40):
    """A run whose threads' cycles by cause sum to its cycles."""
    rng = np.random.default_rng(seed)
    waits = machine_names("WAITS")
    weights = dict(zip(waits, rng.integers(1, 50, len(waits)).tolist(), strict=True))
    detail = None
    parts = {"issue": cycles - cycles // 3, "cache/dram": cycles // 3}
    if machine:
        share = [
            list(apportion(cycles, {"issue": 30 + 9 * t, **weights}).values())
            for t in range(THREADS)
        ]
        table = np.array(share)
        columns = machine_names("TIMELINE")
        buckets = -(-cycles // bucket)
        timeline = rng.integers(0, 100, (buckets, len(columns)))
        timeline[:, columns.index("active_threads")] = rng.integers(0, THREADS + 1, buckets)
        first = rng.integers(0, cycles - 1, spans)
        kind = [("core", "i4"), ("thread", "i4"), ("begin", "i8"), ("end", "i8"), ("phase", "i4")]
        records = np.zeros(spans, kind)
        records["core"] = rng.integers(0, CORES, spans)
        records["thread"] = rng.integers(0, THREADS // CORES, spans)
        records["begin"] = first
        records["end"] = first + rng.integers(1, cycles - first + 1)
        records["phase"] = rng.integers(0, len(machine_names("PHASES")), spans)
        detail = FakeMachine(
            cycles=cycles,
            thread_issue=table[:, 0],
            thread_wait=table[:, 1:],
            bucket_cycles=bucket,
            timeline=timeline,
            spans=records,
        )
        causes = dict(zip(("issue", *waits), table.sum(axis=0).tolist(), strict=True))
        parts = apportion(cycles, causes)
    return SpgemmRun(
        layer=layer, m=30, n=30, k=30, nnz_a=90, nnz_b=90, nnz_c=200, dataflow="v3", cycles=cycles,
        parts=parts, macs_dense=27000, macs_effective=270,
        bytes_by_cause={"a.read": 1080, "b.read": 3240, "z.write": 2400},
        counters={
            "spgemm.multiply": 270, "spgemm.add": 70, "spgemm.nnz_c": 200,
            "spgemm.hash.probe": 405, "spgemm.hash.insert": 200, "spgemm.hash.accumulate": 70,
            "dram.read": 4320, "dram.write": 2400,
        },
        energy_parts_pj={"logic": 100.5, "dram": 4000.0},
        machine=detail,
    )  # fmt: skip
