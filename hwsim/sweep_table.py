"""The table of a sweep's results: one row a point, its files, and a summary of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.files import write_text, write_with
from hwsim.pareto import pareto_front
from hwsim.sweep_measures import Measures
from hwsim.sweep_points import Point
from hwsim.sweep_spec import SweepSpec
from hwsim.sweep_store import Record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TIMING", "make_frame", "summarise", "write_results"]

TIMING = ("order", "run_seconds", "elapsed_seconds")
"""Columns that say how the sweep went and not what was found; they differ from run to run."""

_COUNTS = ("pes", "cycles", "macs_dense", "macs_effective", "dram_read_bytes", "dram_write_bytes")


def make_frame(
    spec: SweepSpec,
    measures: Measures,
    every: Sequence[Point],
    outcomes: Sequence[Mapping[str, Any]],
    records: Mapping[str, Record],
) -> pd.DataFrame:
    """One row a point.

    Columns: `key`, `workload`, the parameters by path, `status` (`done`, `failed`, `infeasible`),
    `error`, the measures; of a mix also `NAME@LABEL`, the basic measures of each workload; `order`
    in which points were finished, from 1; `run_seconds` that its runs took, `elapsed_seconds` of
    the sweep when it was finished; `pareto`, whether it is on the exact front of the objectives
    among the rows of its workload that are done. `attrs["objectives"]` are the specification's.
    """
    import pandas as pd

    ranks = _ranks(every, records)
    rows = []
    for point, outcome, rank in zip(every, outcomes, ranks, strict=True):
        row = {"key": point.key, "workload": point.workload} | point.values
        row |= {"status": outcome["status"], "error": outcome["error"]}
        row |= {name: outcome.get(name) for name in measures.columns}
        if len(point.labels) > 1:
            row |= _parts(point, records)
        runs = [records[run.key] for run in point.runs]
        times = (rank, sum(r.took for r in runs), max(r.elapsed for r in runs)) if runs else ()
        rows.append(row | dict(zip(TIMING, times or (None, None, None), strict=True)))
    frame = pd.DataFrame(rows, columns=None if rows else _columns(spec, measures))
    frame.attrs["objectives"] = dict(spec.objectives)
    frame["pareto"] = False
    signs = np.array([sign for _, sign in measures.objectives])
    names = [name for name, _ in measures.objectives]
    for _, group in frame[frame["status"] == "done"].groupby("workload"):
        values = group[names].to_numpy(float) * signs
        frame.loc[group.index, "pareto"] = pareto_front(values)
    for name in ("order", *_COUNTS):
        whole = frame[name].dropna()
        if all(float(value).is_integer() for value in whole):  # a mix may have fractions
            frame[name] = frame[name].astype("Int64")
    return frame


def write_results(frame: pd.DataFrame, path: Path, *, figures: bool = True) -> None:
    """Write `results.csv` and `results.parquet`; with `figures` those and `report.html` too.

    Args:
        frame: of `make_frame`.
        path: the folder, which holds `sweep.yaml`.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    from hwsim.sweep_report import write_sweep_report

    write_text(path / "results.csv", frame.to_csv(index=False))
    _write_parquet(frame, path / "results.parquet")
    if figures:
        write_sweep_report(path)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Points, failures and the front, plain data."""
    objectives = ["pes", "cycles"]
    objectives += [n for n in frame.attrs.get("objectives", ()) if n not in objectives]
    good = frame[frame["status"] == "done"]
    front = good[good["pareto"]].sort_values(["workload", *objectives])
    columns = list(frame.columns)
    parameters = columns[columns.index("workload") : columns.index("status")]
    shown = [*parameters, *(name for name in objectives if name not in parameters)]
    return {
        "points": len(frame),
        "failed": int((frame["status"] == "failed").sum()),
        "infeasible": int((frame["status"] == "infeasible").sum()),
        "pareto": json.loads(front[shown].to_json(orient="records")),
    }


def _columns(spec: SweepSpec, measures: Measures) -> list[str]:
    """Of a table without rows."""
    names = ["key", "workload", *spec.parameters, "status", "error", *measures.columns, *TIMING]
    return list(dict.fromkeys(names))


def _ranks(every: Sequence[Point], records: Mapping[str, Record]) -> list[int | None]:
    """The order in which points were finished: a point is with the last of its runs."""
    last = [max((records[run.key].order for run in point.runs), default=None) for point in every]
    order = sorted((value, i) for i, value in enumerate(last) if value is not None)
    ranks: list[int | None] = [None] * len(every)
    for rank, (_, i) in enumerate(order, 1):
        ranks[i] = rank
    return ranks


def _parts(point: Point, records: Mapping[str, Record]) -> dict[str, Any]:
    """Basic measures of each workload of a mix."""
    found = {}
    for i, label in enumerate(point.labels):
        outcome = records[point.runs[i].key].outcome if point.runs else {}
        for name in ("cycles", "seconds", "energy_pj", "utilization"):
            found[f"{name}@{label}"] = outcome.get(name)
    return found


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        import pyarrow  # noqa: F401 - pandas writes Parquet with it
    except ImportError:
        print("hwsim: results.parquet needs the sweep extra (pyarrow)", file=sys.stderr)
        return
    # a column of numbers and words (a sparsity or none) becomes words
    plain = frame.copy()
    for name in plain.columns:
        if plain[name].dtype == object and name not in ("key", "workload"):
            plain[name] = plain[name].astype(str)
    write_with(path, lambda handle: plain.to_parquet(handle, index=False))
