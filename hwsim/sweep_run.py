"""Runs a sweep: rounds of points from a method, an executor, a durable record, a tidy table.

Every finished batch is committed to the record by this process before the next is counted, so that
killing any process at any time loses no finished run; `resume` asks the method for the same points
again, takes from the record what is there and runs the rest. See `hwsim.sweep_store` for the
record, `hwsim.sweep_execute` for where runs are executed, `hwsim.sweep_methods` for the rounds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hwsim.errors import UserError
from hwsim.files import make_folder, write_text
from hwsim.sweep_execute import Executor, SerialExecutor, choose_executor
from hwsim.sweep_measures import Measures, combine
from hwsim.sweep_methods import Learnt, make_sampler
from hwsim.sweep_points import Maker, Point
from hwsim.sweep_progress import Progress
from hwsim.sweep_spec import SweepSpec, load_spec
from hwsim.sweep_store import DATABASE, Record, Store
from hwsim.sweep_table import make_frame, summarise, write_results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["complaint", "learnt_from", "outcome_of", "run_sweep", "summarise"]


def run_sweep(
    spec: str | Path | Mapping[str, Any] | SweepSpec,
    folder: str | Path,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    resume: bool = False,
    progress: Callable[..., None] = lambda done, total, words="": None,
    executor: Executor | None = None,
    figures: bool = True,
) -> pd.DataFrame:
    """Run what is missing of a sweep and return one row a point.

    Writes `results.sqlite` as it goes and at the end `results.csv`, `results.parquet` (with the
    `sweep` extra), `sweep.yaml`, `report.html` and the figures of `hwsim.sweep_figures`.

    Args:
        spec: specification or YAML file.
        folder: where the results are, on a local disk.
        workers: processes, 0 for one a core, 1 for none besides this one.
        scheduler: address of a Dask scheduler whose workers run the points instead.
        resume: go on in a folder that already holds results of this specification.
        progress: told (done, total, words).
        executor: where runs are executed; decides over `workers` and `scheduler`.
        figures: write the report and the figures, which take about two seconds of a core.

    Raises:
        UserError: a bad specification or folder, a record that cannot be written, a scheduler that
            does not answer or is gone; one sentence, and what is finished stays.
        KeyboardInterrupt: Ctrl-C, after what is finished is safe and how to resume was said.
    """
    if workers < 0:
        raise UserError(f"--workers must not be negative, but got {workers}")
    resolved = load_spec(spec)
    maker = Maker(resolved)
    sampler = make_sampler(resolved, maker)
    path = make_folder(folder)
    text = yaml.safe_dump(resolved.model_dump(), sort_keys=False)
    _check_folder(path, text, resume)
    with ExitStack() as stack:
        if executor is None and scheduler is not None:  # before anything is written
            executor = stack.enter_context(
                choose_executor(workers, scheduler, maker.measures.wanted)
            )
        if not (path / "sweep.yaml").exists():
            write_text(path / "sweep.yaml", text)
        store = stack.enter_context(Store(path))
        told = Progress(progress, maker.measures, sampler.total)
        every: list[Point] = []
        try:
            while points := sampler.ask():
                every += points
                missing = {r.key: r for p in points for r in p.runs if r.key not in store.records}
                told.round(points, store.records)
                if missing and executor is None:
                    executor = stack.enter_context(_local(workers, maker.measures))
                if missing and executor is not None:
                    for finished in executor.run(list(missing.values())):
                        store.add(finished)
                        told.finished(finished, store.records)
                rows = [outcome_of(point, maker.measures, store.records) for point in points]
                pairs = zip(points, rows, strict=True)
                sampler.tell([learnt_from(p, row, maker.measures) for p, row in pairs])
        except UserError as error:
            if not store.records:
                raise
            raise UserError(
                f"{error}; {len(store.records)} finished runs are safe in {path}, and the same "
                "command with --resume goes on"
            ) from None
        except KeyboardInterrupt:
            print(
                f"hwsim: stopped after {told.done} of {told.total} points, all of them safe in "
                f"{path}; the same command with --resume goes on, hwsim report {path} shows them",
                file=sys.stderr,
            )
            raise
        outcomes = [outcome_of(point, maker.measures, store.records) for point in every]
        frame = make_frame(resolved, maker.measures, every, outcomes, store.records)
    write_results(frame, path, figures=figures)
    return frame


def outcome_of(point: Point, measures: Measures, records: Mapping[str, Record]) -> dict[str, Any]:
    """Status, error and measures of a point whose runs are recorded."""
    if point.status:
        return {"status": point.status, "error": point.error}
    outcomes = [records[run.key].outcome for run in point.runs]
    for outcome, label in zip(outcomes, point.labels, strict=True):
        if outcome["status"] != "done":
            where = f"{label}: " if len(outcomes) > 1 else ""
            return {"status": "failed", "error": where + outcome["error"]}
    names = [name for name in outcomes[0] if name not in ("status", "error")]
    if len(outcomes) > 1:
        mixed = combine(outcomes, point.weights, names)
    else:
        scale = point.weights[0]
        mixed = outcomes[0] if scale == 1 else combine(outcomes, point.weights, names)
    try:
        found, broken = measures.finish(point.design, {name: mixed[name] for name in names})
    except UserError as error:
        return {"status": "failed", "error": str(error)}
    return {"status": "infeasible" if broken else "done", "error": broken} | found


def learnt_from(point: Point, outcome: Mapping[str, Any], measures: Measures) -> Learnt:
    """What a method is told of a point and its outcome."""
    if point.status or outcome["status"] == "failed":  # nothing was run, or it failed
        return Learnt(point=point, objectives=None, feasible=False)
    found = {**point.design, **outcome}  # an objective may be a field, even one that is swept
    values = tuple(sign * float(found[name]) for name, sign in measures.objectives)
    return Learnt(point=point, objectives=values, feasible=outcome["status"] == "done")


def complaint(frame: pd.DataFrame) -> str:
    """Why no point of a sweep is any good, as a sentence, or "" when there is one.

    The results stay; a command line ends with this sentence and a status that is not 0.
    """
    if not len(frame) or (frame["status"] == "done").any():
        return ""
    found = frame["error"].value_counts()
    others = f"; {len(found) - 1:,} other reasons are in results.csv" if len(found) > 1 else ""
    return (
        f"none of the {len(frame):,} points has a result that is allowed: {found.index[0]}{others}"
    )


def _local(workers: int, measures: Measures) -> Executor:
    """Processes of this machine; without Dask and when none were asked for, this one."""
    count = workers or os.cpu_count() or 1
    if not workers and count > 1 and find_spec("distributed") is None:
        print(
            "hwsim: Dask is not installed (pip install 'hwsim[sweep]'), so one process runs all",
            file=sys.stderr,
        )
        return SerialExecutor(measures.wanted)
    return choose_executor(count, None, measures.wanted)


def _check_folder(path: Path, text: str, resume: bool) -> None:
    """The folder is fresh, or holds this very sweep and `resume` was asked for."""
    known = path / "sweep.yaml"
    if not known.exists():
        # a run killed before it wrote this file leaves only temporary ones
        left = (f".{known.name}.", f".{DATABASE}.")
        if any(not entry.name.startswith(left) for entry in path.iterdir()):
            raise UserError(f"{path} is not empty and holds no sweep; give an empty folder")
        return
    if known.read_text(encoding="utf-8") != text:
        raise UserError(f"{path} holds the results of another sweep; give another folder")
    if not resume:
        raise UserError(f"{path} already holds results of this sweep; --resume goes on with it")
