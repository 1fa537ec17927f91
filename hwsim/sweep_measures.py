"""What a sweep measures: names, where each comes from, derived ones, constraints, objectives.

A measure belongs to a design when the configuration alone decides it (its fields, `pes`, `area_*`
of the fitted synthesis model, tables) and else to a run. Constraints on designs are looked at
before anything runs.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hwsim.config import Accelerator, SatConfig, SparseConfig, StreamConfig
from hwsim.errors import UserError
from hwsim.models.counters import COUNTERS
from hwsim.sweep_expression import Expression
from hwsim.sweep_spec import SweepSpec
from hwsim.sweep_spec_axes import flat_fields
from hwsim.sweep_spec_parts import Table, Value

__all__ = ["BASIC", "Measures", "combine", "flat_summary"]

BASIC = (
    "pes", "cycles", "seconds", "macs_dense", "macs_effective", "utilization",
    "utilization_dense", "dram_read_bytes", "dram_write_bytes", "energy_pj",
)  # fmt: skip
"""Measures that every table of results has."""

_SUMMARY = frozenset(
    {
        "kept_bytes", "nnz_c", "multiplies_per_second", "dram_bandwidth_share", "cache_hit_rate",
        "probes_per_insert", "ipc", "frames", "frame_rate_hz", "dense_cycles", "speedup",
        "realtime",
    }
)  # fmt: skip
"""Further numbers of summary.json; which of them there are depends on the accelerator."""

_GROUPS = (
    "energy_parts_pj", "stage_cycles", "parts", "bytes_by_cause", "scratchpad_occupancy",
    "threads", "latency",
)  # fmt: skip
"""Mappings of summary.json, whose numbers are named `group.name`."""

_MEANS = frozenset(
    {
        "utilization", "utilization_dense", "multiplies_per_second", "dram_bandwidth_share",
        "cache_hit_rate", "probes_per_insert", "ipc", "frame_rate_hz", "speedup", "realtime",
    }
)  # fmt: skip
"""Shares and rates, whose mix is a mean weighted by cycles; everything else adds up."""

_AREA = "area_"


class Measures:
    """The measures of a specification.

    Attributes:
        objectives: (name, sign) with sign -1 where more is better.
        wanted: names that a run must give beside `BASIC`.
        columns: measures of the table of results, in order.

    Raises:
        UserError: an unknown name, a malformed expression, a constraint that can never hold.
    """

    def __init__(self, spec: SweepSpec, base: Accelerator) -> None:
        self._fields = set(flat_fields(base))
        self._tables = spec.tables
        self._trains = any(work.phase == "training" for work in spec.runs_on)
        self._area = tuple(_area(base, self._trains)) if _names_area(spec) else ()
        self._of_tables = [name for table in spec.tables for name in table.measures]
        self._check_tables()
        self._derived: dict[str, Expression] = {}
        for name, text in spec.derived.items():
            if name in self._fields or name in BASIC or name in self._of_tables:
                raise UserError(f"derived.{name}: there is already a field or measure of that name")
            expression = Expression(text, f"derived.{name}")
            self._check_names(expression.names, f"derived.{name}")
            self._derived[name] = expression
        self._before: list[Expression] = []
        self._after: list[Expression] = []
        for i, text in enumerate(spec.constraints):
            expression = Expression(text, f"constraints.{i}")
            self._check_names(expression.names, f"constraints.{i}")
            if not expression.names and not expression.holds(_nothing):
                raise UserError(f"constraints.{i}: {text!r} never holds")
            early = all(self._of_design(name) for name in expression.names)
            (self._before if early else self._after).append(expression)
        self._check_names(list(spec.objectives), "objectives")
        for name in spec.objectives:
            if isinstance(flat_fields(base).get(name), str):
                raise UserError(f"objectives.{name}: it must be a number, but the field is a text")
        self._check_names(spec.measures, "measures")
        self.objectives = [
            (name, -1.0 if goal == "max" else 1.0) for name, goal in spec.objectives.items()
        ]
        shown = [*spec.objectives, *spec.measures, *self._of_tables, *self._derived]
        shown = [name for name in dict.fromkeys(shown) if name not in spec.parameters]
        self.columns = [*BASIC, *(name for name in shown if name not in BASIC)]
        needed = set(shown)
        for expression in (*self._derived.values(), *self._after):
            needed |= set(expression.names)
        self.wanted = tuple(
            sorted(
                n for n in needed if not self._of_design(n) and n not in {*BASIC, *self._derived}
            )
        )

    @property
    def constrained(self) -> bool:
        """There are constraints on results."""
        return bool(self._after)

    def design(self, config: Accelerator) -> dict[str, Any]:
        """What the configuration alone decides: fields, `pes`, areas, tables.

        Raises:
            UserError: no row of a table fits, or there is no area model of this machine.
        """
        found = flat_fields(config) | {"pes": _pes(config)}
        if self._area:
            found |= _area(config, self._trains)
        for table in self._tables:
            found |= _fitting(table, found)
        return found

    def broken_before(self, design: Mapping[str, Any]) -> str:
        """The first constraint on the design that does not hold, or "".

        Raises:
            UserError: a constraint has no value here.
        """
        return self._first_broken(self._before, design)

    def finish(self, design: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[dict, str]:
        """All measures of a point that ran, and the constraint that it breaks or "".

        Raises:
            UserError: a derived measure or a constraint has no value, an objective is missing.
        """
        names: dict[str, Any] = {**design, **run}
        for name, expression in self._derived.items():
            names[name] = expression.value(_reader(names))
        for name, _ in self.objectives:
            value = names.get(name)
            if isinstance(value, str) or value is None or not math.isfinite(value):
                raise UserError(f"objectives.{name}: it has no value here")
        broken = self._first_broken(self._after, names)
        return {name: names.get(name) for name in self.columns}, broken

    def _first_broken(self, constraints: Sequence[Expression], names: Mapping[str, Any]) -> str:
        read = _reader(names)
        for expression in constraints:
            if not expression.holds(read):
                return f"constraint {expression.text} does not hold"
        return ""

    def _of_design(self, name: str) -> bool:
        if name in self._derived:
            return all(self._of_design(part) for part in self._derived[name].names)
        return (
            name in self._fields or name == "pes" or name in self._area or name in self._of_tables
        )

    def _check_names(self, names: Sequence[str], where: str) -> None:
        known = {
            *self._fields, *BASIC, *_SUMMARY, *self._area, *self._of_tables, *self._derived,
            *(counter.name for counter in COUNTERS.values()),
        }  # fmt: skip
        for name in names:
            group, dot, rest = name.partition(".")
            if name in known or (dot and rest and group in _GROUPS):
                continue
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; {close[0]} is near" if close else ""
            raise UserError(f"{where}: there is no field or measure {name}{hint}")

    def _check_tables(self) -> None:
        for i, table in enumerate(self._tables):
            for path in table.match:
                if path not in self._fields:
                    raise UserError(f"tables.{i}.match: there is no field {path}")
            for name in table.measures:
                if name in self._fields or name in BASIC or self._of_tables.count(name) > 1:
                    raise UserError(f"tables.{i}.measures: {name} is taken; give another name")
            _check_cells(table, f"tables.{i}")


def flat_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Every number of a result's summary by name: counters by theirs, groups as `group.name`."""
    found = {k: v for k, v in summary.items() if _is_number(v)}
    for group in _GROUPS:
        part = summary.get(group)
        if isinstance(part, Mapping):
            found |= {f"{group}.{k}": v for k, v in part.items() if _is_number(v)}
    return found | dict(summary.get("counters") or {})


def combine(
    measures: Sequence[Mapping[str, Any]], weights: Sequence[float], names: Sequence[str]
) -> dict[str, Any]:
    """The measures of a mix: the weighted sum over its workloads; of shares and rates the mean,
    weighted by weight times cycles, which for a utilization is the mix's own."""
    cycles = [w * (m.get("cycles") or 0) for m, w in zip(measures, weights, strict=True)]
    mixed: dict[str, Any] = {}
    for name in names:
        values: list[Any] = [m.get(name) for m in measures]
        if any(value is None for value in values):
            mixed[name] = None
        elif name in _MEANS or name.startswith(("threads.", "scratchpad_occupancy.", "latency.")):
            total = math.fsum(cycles)
            parts = (c * v for c, v in zip(cycles, values, strict=True))
            mixed[name] = math.fsum(parts) / total if total else 0.0
        else:
            mixed[name] = _sum([w * v for w, v in zip(weights, values, strict=True)])
    return mixed


def _sum(parts: Sequence[Any]) -> Any:
    """Exact in whole numbers."""
    return sum(parts) if all(isinstance(p, int) for p in parts) else math.fsum(parts)


def _reader(names: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        if name in names:
            return names[name]
        raise UserError(f"{name}: this result has no such measure")

    return read


def _nothing(name: str) -> Any:
    raise UserError(f"{name}: there is no such name")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pes(config: Accelerator) -> int:
    """Processing elements; of other machines than arrays, multiplies a cycle at their peak."""
    if isinstance(config, SparseConfig):
        return round(config.peak_macs_per_cycle)
    if isinstance(config, StreamConfig):
        return round(config.peak_macs_per_s / config.clock_hz)
    return config.pes


def _names_area(spec: SweepSpec) -> bool:
    texts = [*spec.objectives, *spec.measures, *spec.constraints, *spec.derived.values()]
    return any(_AREA in text for text in texts)


def _area(config: Accelerator, training: bool) -> dict[str, Any]:
    """Counts of the area model, each under `area_` and its own name: LUTs, flip-flops, multipliers
    and block RAMs of UltraScale+, and of the generic target gates and bits of memory. With
    `training` an array of kind sat has its training units too."""
    try:
        from hwsim.area import estimate
    except ImportError:
        raise UserError("area: this version of hwsim has no model of area") from None
    whole = training and isinstance(config, SatConfig)
    try:
        fpga = estimate(config, "xcup", training=whole)
    except UserError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"area: there is no estimate of {config.name}: {error}") from None
    counts = {name: getattr(fpga, name) for name in ("lut", "ff", "dsp", "bram", "buffer_bram")}
    # a table of synthesized points need not have this target's
    with suppress(UserError):
        asic = estimate(config, "generic", training=whole)
        counts |= {name: getattr(asic, name) for name in ("gates", "transistors", "memory_bits")}
    return {f"{_AREA}{name}": value for name, value in counts.items()}


def _fitting(table: Table, fields: Mapping[str, Any]) -> dict[str, float]:
    """Measures of a table for a design: means over the rows that fit."""
    rows = [
        row
        for row in table.rows or ()
        if _counts(row, table)
        and all(_same(row[column], fields[path]) for path, column in table.match.items())
    ]
    if not rows:
        where = ", ".join(f"{path}={fields[path]}" for path in table.match)
        raise UserError(f"tables: no row of {', '.join(table.measures)} fits {where}")
    return {
        name: math.fsum(_number(row[column]) for row in rows) / len(rows)
        for name, column in table.measures.items()
    }


def _counts(row: Mapping[str, Value], table: Table) -> bool:
    """A row has the values that the table's `where` asks for."""
    return all(_same(row.get(c), value, blank=False) for c, value in table.where.items())


def _check_cells(table: Table, where: str) -> None:
    """Refuse a table whose measures are no finite numbers, in the rows that count."""
    for place, row in enumerate(table.rows or (), 1):
        if not _counts(row, table):
            continue
        for column in table.match.values():
            if column not in row:
                raise UserError(f"{where}: row {place} has no column {column!r}")
        for column in table.measures.values():
            if not math.isfinite(_number(row.get(column))):
                raise UserError(
                    f"{where}: column {column} must hold finite numbers, but row {place} has "
                    f"{row.get(column)!r}"
                )


def _number(cell: Value) -> float:
    """A cell as a number, NaN where it is none."""
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _same(cell: Value, value: Any, blank: bool = True) -> bool:
    """A cell of a table fits a value: as text or as a number; an empty one fits all."""
    if cell is None or cell == "":
        return blank or value in (None, "")
    if str(cell).lower() == str(value).lower():
        return True
    try:
        return not isinstance(value, str) and float(cell) == float(value)
    except (TypeError, ValueError):
        return False
