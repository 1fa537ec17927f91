"""A folder of a sweep read back: specification, points with their parameters as values, counts.

`results.csv` is the source where it is. A sweep that was interrupted has none yet: then the record
is read, also while the sweep is running, and the points that are finished so far are taken.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.sweep_analysis_levels import MISSING, value_text
from hwsim.sweep_spec import SweepSpec, load_spec
from hwsim.sweep_spec_axes import Axis, Space
from hwsim.sweep_spec_parts import Workload

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.sweep_store import Record

__all__ = ["SweepFolder", "command_lines", "load_sweep", "mix_name", "works_of"]

_TEXT = ("key", "workload", "status", "error")
_OTHER = (*_TEXT, "pareto")


@dataclass(frozen=True, kw_only=True)
class SweepFolder:
    """What a sweep has given so far.

    Attributes:
        path: the folder.
        spec: its specification.
        base: fields of the accelerator that every point starts from, by dotted path.
        axes: parameters, those that move in step together.
        frame: one row a point as in `results.csv`, parameters as the specification's values.
        measures: names of the columns of measures.
        unfinished: points that are known to be missing; None where more may be asked for.
        complete: read from `results.csv`.
    """

    path: Path
    spec: SweepSpec
    base: dict[str, Any]
    axes: tuple[Axis, ...]
    frame: pd.DataFrame
    measures: tuple[str, ...]
    unfinished: int | None
    complete: bool


def load_sweep(folder: str | Path) -> SweepFolder:
    """Read `sweep.yaml` and the results of a folder.

    Raises:
        UserError: a file is not there or not what `hwsim sweep` wrote.
    """
    import pandas as pd

    path = Path(folder)
    spec = load_spec(path / "sweep.yaml")
    space = Space(spec, load_config(spec.accelerator))
    complete = (path / "results.csv").exists()
    unfinished: int | None = 0
    if complete:
        frame = _read_csv(path / "results.csv", spec)
    else:
        frame, unfinished = _from_record(path, spec)
    for axis in space.axes:
        for k, name in enumerate(axis.paths):
            values = _values(frame[name], axis, k, space.base[name], path)
            # objects: pandas would make numbers of another type of them
            frame[name] = pd.Series(values, index=frame.index, dtype=object)
    measures = tuple(c for c in frame.columns if c not in (*_OTHER, *spec.parameters))
    return SweepFolder(
        path=path, spec=spec, base=space.base, axes=tuple(space.axes), frame=frame,
        measures=measures, unfinished=unfinished, complete=complete,
    )  # fmt: skip


def works_of(spec: SweepSpec, label: str) -> list[Workload]:
    """The runs behind a row whose column `workload` is the label: one, or those of the mix."""
    works = spec.runs_on
    return works if spec.mixed else [work for work in works if work.label == label]


def mix_name(works: Sequence[Workload]) -> str:
    """What the column `workload` of a mix says."""
    return " + ".join(f"{float(w.weight or 0):g} {w.label}" for w in works)


def command_lines(spec: SweepSpec, label: str, values: Mapping[str, Any]) -> list[str]:
    """Command lines that reproduce a point: one, or one for each workload of a mix.

    Args:
        spec: of the sweep.
        label: of the row.
        values: of its parameters; those left out stay as in the accelerator.
    """
    sets = [
        f"-s {shlex.quote(f'{path}={value_text(v)}')}"
        for path, v in values.items()
        if v is not MISSING
    ]
    lines = []
    for work in works_of(spec, label):
        words = [f"hwsim simulate {shlex.quote(work.name)} -a {shlex.quote(spec.accelerator)}"]
        words += sets
        words += [f"--phase {work.phase}"] if work.phase == "training" else []
        words += [f"--batch {work.batch}"] if (work.batch or 1) != 1 else []
        words += [f"--seed {work.seed}"] if work.seed else []
        lines.append(" ".join(words))
    return lines


def _read_csv(path: Path, spec: SweepSpec) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:  # pandas raises ValueErrors for what is no CSV
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {reason}") from None
    for name in (*_OTHER, *spec.parameters, *spec.objectives, "order", "elapsed_seconds"):
        if name not in frame:
            raise UserError(f"{path} must have the column {name}, but has none")
    for name in frame.columns:
        if name in _TEXT or name in spec.parameters:
            continue
        if name == "pareto":
            frame[name] = frame[name] == "True"
            continue
        try:
            frame[name] = pd.to_numeric(frame[name].replace("", None))
        except (ValueError, TypeError):  # a field of text that is shown as a measure
            if name in spec.objectives:
                raise UserError(f"{path}: column {name} must hold numbers only") from None
    return frame


def _from_record(path: Path, spec: SweepSpec) -> tuple[pd.DataFrame, int | None]:
    """Points that are finished, and how many more there are to come."""
    from hwsim.sweep_methods import make_sampler
    from hwsim.sweep_points import Maker
    from hwsim.sweep_run import learnt_from, outcome_of
    from hwsim.sweep_table import make_frame

    records = _read_records(path)
    maker = Maker(spec)
    sampler = make_sampler(spec, maker)
    every, outcomes = [], []
    missing = 0
    while points := sampler.ask():
        ready = [p for p in points if all(run.key in records for run in p.runs)]
        found = [outcome_of(p, maker.measures, records) for p in ready]
        every += ready
        outcomes += found
        missing = len(points) - len(ready)
        if missing:
            break
        pairs = zip(points, found, strict=True)
        sampler.tell([learnt_from(point, outcome, maker.measures) for point, outcome in pairs])
    frame = make_frame(spec, maker.measures, every, outcomes, records)
    adaptive = missing > 0 and spec.method.adaptive
    return frame, max(missing, sampler.total - len(every)) if adaptive else missing


def _read_records(path: Path) -> dict[str, Record]:
    import json

    from hwsim.sweep_store import DATABASE, Record

    file = path / DATABASE
    if not file.exists():
        raise UserError(f"{path} holds no results: neither results.csv nor {DATABASE} is there")
    try:
        # the sweep may be running: reading takes no lock and changes nothing
        database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = database.execute(
                "SELECT key, outcome, took, elapsed FROM runs ORDER BY position"
            ).fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise UserError(f"cannot read {file}: {error}") from None
    return {
        key: Record(json.loads(outcome), order, took, elapsed)
        for order, (key, outcome, took, elapsed) in enumerate(rows, 1)
    }


def _values(cells: pd.Series, axis: Axis, k: int, base: Any, path: Path) -> list[Any]:
    """Cells of a parameter as the values that the specification gave them.

    A column that holds numbers and gaps has lost which were whole; the specification knows.
    """
    known: dict[Any, Any] = {}
    given = () if axis.otherwise is None else (axis.otherwise,)
    for value in (*(row[k] for row in axis.rows), *given, base):
        for spelling in _spellings(value):
            known.setdefault(spelling, value)
    found = []
    for cell in cells:
        spelled = _spellings(cell)
        match = next((s for s in spelled if s in known), None)
        if match is not None:
            found.append(known[match])
        elif "" in spelled:
            found.append(MISSING)
        elif axis.rows:
            raise UserError(
                f"{path}: {axis.paths[k]} has the value {cell!r}, which its specification does not"
            )
        else:
            number = float(cell)
            found.append(round(number) if axis.whole else number)
    return found


def _spellings(value: Any) -> list[str]:
    """How a value may stand in a table: as itself, and a number as any other that is equal."""
    if value is None or value != value or value == "":
        return [""]
    if isinstance(value, bool):
        return [str(value)]
    try:
        return [f"number {float(value)!r}", str(value)]
    except (TypeError, ValueError):
        return [str(value)]
