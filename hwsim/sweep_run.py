"""Runs a sweep: a pool of processes, a durable record, a tidy table and the Pareto front.

Every finished point is committed to an SQLite file (write-ahead log) by the parent process before
the next one is counted, so that killing any process at any time loses no finished point; `resume`
runs what is missing and nothing twice. The executor is a seam: anything with `run(points)` that
yields (point, outcome) pairs in any order can take the pool's place.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from hwsim.config import ArrayConfig, SparseConfig, StreamConfig
from hwsim.errors import UserError
from hwsim.files import make_folder, write_bytes, write_text, write_with
from hwsim.models.work import Work
from hwsim.pareto import pareto_front
from hwsim.sweep_spec import Point, SweepSpec, load_spec, points

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.models.spgemm import SparseNetwork
    from hwsim.workloads_sparse import Op

__all__ = ["Executor", "evaluate", "run_sweep", "summarise"]

_MEASURES = (
    "pes", "cycles", "seconds", "macs_dense", "macs_effective", "utilization",
    "utilization_dense", "dram_read_bytes", "dram_write_bytes", "energy_pj",
)  # fmt: skip
_DATABASE = "results.sqlite"


class Executor(Protocol):
    """Runs points somewhere and yields each with its outcome as it is done."""

    def run(self, pending: Sequence[Point]) -> Iterator[tuple[Point, dict[str, Any]]]: ...


def run_sweep(
    spec: str | Path | Mapping[str, Any] | SweepSpec,
    folder: str | Path,
    *,
    workers: int = 0,
    resume: bool = False,
    progress: Callable[..., None] = lambda done, total, words="": None,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Run what is missing of a sweep and return one row a point.

    Writes `results.sqlite` as it goes and at the end `results.csv`, `results.parquet` (with the
    `sweep` extra), `sweep.yaml` and `pareto.png`, `pareto.svg`.

    Args:
        spec: specification or YAML file.
        folder: where the results are.
        workers: processes, 0 for one a core, 1 for none besides this one.
        resume: go on in a folder that already holds results of this specification.
        progress: told (done, total, words).
        executor: where points run; a process pool when None.

    Raises:
        UserError: a bad specification or folder, a record that cannot be written, or a worker
            that died; one sentence, and what is finished stays.
        KeyboardInterrupt: Ctrl-C, after what is finished is safe and how to resume was said.
    """
    if workers < 0:
        raise UserError(f"--workers must not be negative, but got {workers}")
    resolved = load_spec(spec)
    every = points(resolved)
    path = make_folder(folder)
    text = yaml.safe_dump(resolved.model_dump(), sort_keys=False)
    _claim(path, text, resume)
    run = executor or _pool(workers or os.cpu_count() or 1, resolved)
    with closing(_open(path / _DATABASE)) as database:
        finished = {key for (key,) in database.execute("SELECT key FROM points")}
        pending = [p for p in every if p.key not in finished]
        done = len(every) - len(pending)
        progress(done, len(every))
        started, before = time.perf_counter(), done
        try:
            for point, outcome in run.run(pending):
                with database:
                    database.execute(
                        "INSERT OR IGNORE INTO points VALUES (?, ?)",
                        (point.key, json.dumps(outcome)),
                    )
                done += 1
                rate = (done - before) / (time.perf_counter() - started)
                progress(done, len(every), f"{rate:.1f} points/s, {_words(outcome)}")
        except sqlite3.Error as error:
            raise UserError(f"cannot write {path / _DATABASE}: {error}") from None
        except BrokenProcessPool:
            raise UserError(
                f"a worker process died, perhaps for lack of memory, after {done} of {len(every)} "
                f"points, all of them safe in {path}; the same command with --resume goes on"
            ) from None
        except KeyboardInterrupt:
            print(
                f"hwsim: stopped after {done} of {len(every)} points, all of them safe in {path}; "
                "the same command with --resume goes on",
                file=sys.stderr,
            )
            raise
        outcomes = dict(database.execute("SELECT key, outcome FROM points"))
    frame = _frame(resolved, every, {k: json.loads(v) for k, v in outcomes.items()})
    _write_tables(frame, path)
    _write_pareto(frame, path)
    return frame


def evaluate(point: Point, phase: str, batch: int, seed: int) -> dict[str, Any]:
    """One point's outcome: its measures, or the sentence that says why there are none."""
    config = point.config
    if config is None:
        return {"status": "failed", "error": point.error}
    try:
        if isinstance(config, SparseConfig):
            summary = _sparse_summary(point.workload, config, seed)
        elif isinstance(config, StreamConfig):
            summary = _stream_summary(point.workload, config, seed)
        else:
            summary = _layers_summary(point.workload, config, phase, batch, seed)
    except UserError as error:
        return {"status": "failed", "error": str(error)}
    return {"status": "done", "error": ""} | {name: summary.get(name) for name in _MEASURES}


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Points, failures and the front of cycles against PEs, plain data."""
    good = frame[frame["status"] == "done"]
    front = good[good["pareto"]].sort_values(["workload", "pes", "cycles"])
    columns = [c for c in frame.columns if c not in ("key", "status", "error", "pareto")]
    shown = [c for c in columns if c not in _MEASURES] + ["pes", "cycles"]
    return {
        "points": len(frame),
        "failed": int((frame["status"] == "failed").sum()),
        "pareto": json.loads(front[shown].to_json(orient="records")),
    }


class _Serial:
    """All points in this process."""

    def __init__(self, spec: SweepSpec) -> None:
        self.spec = spec

    def run(self, pending: Sequence[Point]) -> Iterator[tuple[Point, dict[str, Any]]]:
        for point in pending:
            yield point, evaluate(point, self.spec.phase, self.spec.batch, self.spec.seed)


class _Processes:
    """A pool of processes; each keeps its lowered networks between points."""

    def __init__(self, workers: int, spec: SweepSpec) -> None:
        self.workers = workers
        self.spec = spec

    def run(self, pending: Sequence[Point]) -> Iterator[tuple[Point, dict[str, Any]]]:
        args = (self.spec.phase, self.spec.batch, self.spec.seed)
        # spawn: no lock or thread of this process is inherited
        pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))
        try:
            waiting: dict[Future[dict[str, Any]], Point] = {}
            queue = iter(pending)
            exhausted = False
            while True:
                while not exhausted and len(waiting) < 4 * self.workers:
                    point = next(queue, None)
                    if point is None:
                        exhausted = True
                        break
                    waiting[pool.submit(evaluate, point, *args)] = point
                if not waiting:
                    break
                ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int, spec: SweepSpec) -> Executor:
    return _Serial(spec) if workers == 1 else _Processes(workers, spec)


@lru_cache(maxsize=64)
def _work(workload: str, phase: str, batch: int, seed: int) -> tuple[Work, ...]:
    from hwsim.models.lowering import lower
    from hwsim.models.lowering_training import lower_training
    from hwsim.workloads import load_network

    network = load_network(workload, batch=batch, seed=seed)
    try:
        return tuple((lower_training if phase == "training" else lower)(network))
    except ValueError as error:
        raise UserError(str(error)) from None


def _layers_summary(
    workload: str, config: ArrayConfig, phase: str, batch: int, seed: int
) -> dict[str, Any]:
    from hwsim.engine import run
    from hwsim.result import Result
    from hwsim.training import run_training

    work = _work(workload, phase, batch, seed)
    result = Result(
        workload=workload,
        config=config,
        phase=phase,
        batch=batch,
        seed=seed,
        runs=tuple((run_training if phase == "training" else run)(work, config)),
    )
    return result.summary | {"pes": config.pes}


def _sparse_summary(workload: str, config: SparseConfig, seed: int) -> dict[str, Any]:
    from hwsim.engine_sparse import run_products
    from hwsim.spgemm_result import SpgemmResult

    products = _sparse(workload, config.op, seed).products
    runs = tuple(run_products(products, config))
    result = SpgemmResult(workload=workload, config=config, runs=runs, seed=seed)
    # what a multiply a cycle is to an array, its peak is to any other machine
    return result.summary | {"pes": round(config.peak_macs_per_cycle)}


def _stream_summary(workload: str, config: StreamConfig, seed: int) -> dict[str, Any]:
    from hwsim.engine_stream import simulate_stream

    summary = simulate_stream(workload, config, seed=seed).summary
    return summary | {"pes": round(config.peak_macs_per_s / config.clock_hz)}


@lru_cache(maxsize=4)  # operands of a network may be large
def _sparse(workload: str, op: Op | None, seed: int) -> SparseNetwork:
    from hwsim.workloads_sparse import load_sparse

    return load_sparse(workload, op, seed)


def _words(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['cycles']:,} cycles" if outcome["status"] == "done" else "failed"


def _claim(path: Path, text: str, resume: bool) -> None:
    """The folder is fresh, or holds this very sweep and `resume` was asked for."""
    known = path / "sweep.yaml"
    if not known.exists():
        # a run killed while it wrote this file leaves only its temporary copy
        if any(not entry.name.startswith(f".{known.name}.") for entry in path.iterdir()):
            raise UserError(f"{path} is not empty and holds no sweep; give an empty folder")
        write_text(known, text)
        return
    if known.read_text(encoding="utf-8") != text:
        raise UserError(f"{path} holds the results of another sweep; give another folder")
    if not resume:
        raise UserError(f"{path} already holds results of this sweep; --resume goes on with it")


def _open(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, outcome TEXT)")
    except sqlite3.Error as error:
        raise UserError(f"cannot use {path}: {error}") from None
    return database


def _frame(
    spec: SweepSpec, every: Sequence[Point], outcomes: Mapping[str, dict[str, Any]]
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for point in every:
        outcome = outcomes[point.key]
        measures = {name: outcome.get(name) for name in _MEASURES}
        rows.append(
            {"key": point.key, "workload": point.workload}
            | point.values
            | {"status": outcome["status"], "error": outcome["error"]}
            | measures
        )
    frame = pd.DataFrame(rows)
    frame["pareto"] = False
    for _, group in frame[frame["status"] == "done"].groupby("workload"):
        front = pareto_front(group[["pes", "cycles"]].to_numpy(float))
        frame.loc[group.index, "pareto"] = front
    for name in ("pes", "cycles", "macs_dense", "macs_effective"):
        frame[name] = frame[name].astype("Int64")
    return frame


def _write_tables(frame: pd.DataFrame, path: Path) -> None:
    write_text(path / "results.csv", frame.to_csv(index=False))
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
    write_with(path / "results.parquet", lambda handle: plain.to_parquet(handle, index=False))


def _write_pareto(frame: pd.DataFrame, path: Path) -> None:
    from hwsim.figures import render
    from hwsim.sweep_figures import plot_pareto

    figure = plot_pareto(frame).figure
    for kind in ("png", "svg"):
        write_bytes(path / f"pareto.{kind}", render(figure, kind))
