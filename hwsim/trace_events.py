"""A run of the machine model as a trace for Perfetto or chrome://tracing.

The Chrome trace-event format (Google, "Trace Event Format", JSON object form): cores are processes,
hardware threads their threads, phases of windows complete events (`ph` X), and instructions a
cycle, DRAM bandwidth, table slots in use and active threads counters (`ph` C) of the die. Times are
microseconds with fractions, as the format has them; one cycle is `1e6 / clock_hz`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hwsim.spgemm_machine import machine_names

__all__ = ["MAX_EVENTS", "trace_json"]

MAX_EVENTS = 80_000
"""Complete events at most, the longest ones; with about 120 bytes each below 10 MB. Not given;
chosen because a trace of more than 20 MB loads slowly in a browser."""

_MAX_COUNTS = 4_000
_DIE = 0  # process of the counters; core c is process c + 1


def trace_json(result: Any, *, most: int = MAX_EVENTS) -> bytes:
    """The trace of a `hwsim.spgemm_result.SpgemmResult` whose runs have machine detail.

    Products follow each other in time. What a bound left out is counted in `otherData`.

    Args:
        most: complete events at most.
    """
    clock = result.config.clock_hz
    events: list[dict[str, Any]] = [_name("process_name", _DIE, 0, "die")]
    threads: set[tuple[int, int]] = set()
    start = dropped = 0
    shown = [run for run in result.runs if run.machine is not None]
    share = max(1, most // max(1, len(shown)))
    for run in shown:
        spans = run.machine.spans
        if len(spans) > share:
            kept = np.sort(np.argsort(spans["begin"] - spans["end"], kind="stable")[:share])
            dropped += len(spans) - share
            spans = spans[kept]
        phases = machine_names("PHASES")
        for core, thread, begin, end, phase in zip(
            *(spans[f].tolist() for f in ("core", "thread", "begin", "end", "phase")), strict=True
        ):
            threads.add((core, thread))
            events.append(
                {
                    "name": phases[phase],
                    "cat": run.layer,
                    "ph": "X",
                    "ts": _us(start + begin, clock),
                    "dur": _us(end - begin, clock),
                    "pid": core + 1,
                    "tid": thread,
                }
            )
        start += run.cycles
    for core in sorted({core for core, _ in threads}):
        events.append(_name("process_name", core + 1, 0, f"core {core}"))
    events += [_name("thread_name", c + 1, t, f"thread {t}") for c, t in sorted(threads)]
    events += _counters(result, clock)
    trace = {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "workload": result.workload,
            "accelerator": result.config.name,
            "clock_hz": clock,
            "cycles": start,
            "events_left_out": dropped,
        },
    }
    return (json.dumps(trace, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _counters(result: Any, clock: float) -> list[dict[str, Any]]:
    """Counter events at the begin of a time bucket; a last one sets all to 0."""
    rows = result.timeline
    group = max(1, -(-len(rows) // _MAX_COUNTS))
    events = []
    for first in range(0, len(rows), group):
        some = rows[first : first + group]
        length = sum(row["length"] for row in some)
        at = _us(some[0]["begin"], clock)

        def mean(name: str, some: Any = some, length: int = length) -> float:
            return sum(row[name] * row["length"] for row in some) / length

        def rate(name: str, some: Any = some, length: int = length) -> float:
            return sum(row[name] for row in some) / length

        events += [
            _count("IPC", at, {"instructions a cycle": round(rate("instructions"), 4)}),
            _count(
                "DRAM GB/s",
                at,
                {
                    "read": round(rate("dram_read_bytes") * clock / 1e9, 4),
                    "written": round(rate("dram_write_bytes") * clock / 1e9, 4),
                },
            ),
            _count("table slots in use", at, {"entries": round(mean("scratchpad_entries"), 1)}),
            _count("active threads", at, {"threads": round(mean("active_threads"), 2)}),
        ]
    if rows:
        end = _us(rows[-1]["begin"] + rows[-1]["length"], clock)
        events += [
            _count(event["name"], end, dict.fromkeys(event["args"], 0)) for event in events[-4:]
        ]
    return events


def _count(name: str, at: float, values: dict[str, float]) -> dict[str, Any]:
    return {"name": name, "ph": "C", "ts": at, "pid": _DIE, "tid": 0, "args": values}


def _name(kind: str, pid: int, tid: int, text: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": text}}


def _us(cycles: int, clock: float) -> float:
    # to a picosecond: less than any clock's cycle, and short in the file
    return round(cycles * 1e6 / clock, 6)
