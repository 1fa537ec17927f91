"""What the report takes from the machine model: threads, timeline and shares of a run.

Works on `hwsim.dataflows.piuma.MachineRun`; results of other engines have none and give empty
tables and nulls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hwsim.dataflows.piuma import MachineRun
    from hwsim.spgemm_run import SpgemmRun

__all__ = [
    "MACHINE_FIGURES",
    "NOT_ACTIVE",
    "machine_names",
    "machine_summary",
    "thread_rows",
    "timeline_rows",
]

MACHINE_FIGURES = ("threads", "timeline")
"""Figures that only results of the machine model have."""

NOT_ACTIVE = ("barrier", "idle")
"""Waits of a thread that has no work: its other cycles are active."""

_BINS = 20


def thread_rows(runs: Sequence[SpgemmRun], config: Any) -> list[dict[str, Any]]:
    """One dictionary a product and thread: layer, core, thread in the core, cycles, `issue` and a
    column for each wait of `hwsim.dataflows.piuma.WAITS`."""
    rows = []
    for run in runs:
        machine = run.machine
        if machine is None:
            continue
        waits = machine_names("WAITS")
        per_core = len(machine.thread_issue) // config.cores
        for thread, issued in enumerate(machine.thread_issue.tolist()):
            rows.append(
                {
                    "layer": run.layer,
                    "core": thread // per_core,
                    "thread": thread % per_core,
                    "cycles": run.cycles,
                    "issue": issued,
                    **dict(zip(waits, machine.thread_wait[thread].tolist(), strict=True)),
                }
            )
    return rows


def timeline_rows(runs: Sequence[SpgemmRun]) -> list[dict[str, Any]]:
    """One dictionary a time bucket: layer, begin in cycles of the whole workload, length in cycles
    (the last bucket of a product is shorter), and the columns of `hwsim.dataflows.piuma.TIMELINE`.
    """
    rows: list[dict[str, Any]] = []
    start = 0
    for run in runs:
        machine = run.machine
        if machine is not None:
            names = machine_names("TIMELINE")
            for bucket, values in enumerate(machine.timeline.tolist()):
                begin = bucket * machine.bucket_cycles
                length = min(machine.bucket_cycles, run.cycles - begin)
                if length > 0:
                    rows.append(
                        {
                            "layer": run.layer,
                            "begin": start + begin,
                            "length": length,
                            **dict(zip(names, values, strict=True)),
                        }
                    )
        start += run.cycles
    return rows


def machine_summary(runs: Sequence[SpgemmRun], config: Any) -> dict[str, Any]:
    """Keys of summary.json that need the machine model; null where it did not run.

    `ipc`: instructions a cycle of the whole die. `scratchpad_occupancy`: entries in use, mean over
    time and peak, as shares of `capacity_entries`. `threads`: how many, the mean share of cycles
    in which a thread issues and in which it has work, and a histogram of the latter (20 bins from
    0 to 1, threads in each, over all products).
    """
    seen = [(run, run.machine) for run in runs if run.machine is not None]
    cycles = sum(run.cycles for run, _ in seen)
    if not cycles:
        return {"ipc": None, "scratchpad_occupancy": None, "threads": None}
    issued = sum(int(machine.thread_issue.sum()) for _, machine in seen)
    counts = sum((_histogram(machine, run.cycles) for run, machine in seen), np.zeros(_BINS, int))
    threads = len(seen[0][1].thread_issue)
    active = sum(int(_active(machine, run.cycles).sum()) for run, machine in seen)
    return {
        "ipc": issued / cycles,
        "scratchpad_occupancy": _occupancy(seen, cycles, config),
        "threads": {
            "count": threads,
            "issue_share": issued / (threads * cycles),
            "active_share": active / (threads * cycles),
            "active_histogram": counts.tolist(),
        },
    }


def machine_names(table: str) -> tuple[str, ...]:
    """Names that `hwsim.dataflows.piuma` gives to columns and phases: WAITS, TIMELINE, PHASES."""
    from hwsim.dataflows import piuma

    return tuple(getattr(piuma, table))


def _occupancy(
    seen: Sequence[tuple[SpgemmRun, MachineRun]], cycles: int, config: Any
) -> dict[str, Any]:
    column = machine_names("TIMELINE").index("scratchpad_entries")
    weighted, peak = 0, 0
    for run, machine in seen:
        entries = machine.timeline[:, column]
        begins = np.arange(len(entries)) * machine.bucket_cycles
        lengths = np.clip(run.cycles - begins, 0, machine.bucket_cycles)
        weighted += int((entries * lengths).sum())
        peak = max(peak, int(entries.max(initial=0)))
    capacity = config.table_slots
    return {
        "mean": weighted / cycles / capacity,
        "peak": peak / capacity,
        "capacity_entries": capacity,
    }


def _active(machine: MachineRun, cycles: int) -> np.ndarray:
    """int64[threads], cycles in which each thread had work."""
    waits = machine_names("WAITS")
    away = machine.thread_wait[:, [waits.index(name) for name in NOT_ACTIVE]].sum(axis=1)
    return cycles - away


def _histogram(machine: MachineRun, cycles: int) -> np.ndarray:
    shares = _active(machine, cycles) / max(cycles, 1)
    return np.histogram(shares, bins=_BINS, range=(0.0, 1.0))[0]
