"""Parts of a sweep's specification: a parameter's values, a workload, a table, a method."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwsim.config import sentence
from hwsim.errors import UserError

__all__ = [
    "METHODS",
    "Choice",
    "Method",
    "Range",
    "Table",
    "Value",
    "Workload",
    "parse_method",
    "parse_parameter",
    "parse_table",
    "parse_workload",
]

Value = bool | int | float | str | None

METHODS = ("grid", "random", "lhs", "tpe", "nsga2", "nsga3")
"""Names of the methods: every point, random points, a Latin hypercube, and Optuna's TPE, NSGA-II
and NSGA-III."""

_VALUE_LIMIT = 100_000  # not given; chosen because a grid of more could not be run either
_TABLE_LIMIT = 20_000  # rows; not given; chosen because the table is kept in sweep.yaml
Part = TypeVar("Part", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Choice(_Part):
    """Values of a parameter one by one.

    Attributes:
        values: in order; methods that search take numbers as ordered and the rest as names.
        when: condition on fields and earlier parameters; where it does not hold the parameter has
            no effect and takes `otherwise`, or the base configuration's value.
        otherwise: a value for that case.
    """

    values: Annotated[list[Value], Field(min_length=1)]
    when: str | None = None
    otherwise: Value = None

    def listed(self) -> list[Value] | None:
        """Every value."""
        return self.values


class Range(_Part):
    """Values of a parameter from `low` to `high`, both included.

    Whole numbers go by `step`, 1 when nothing is said. `factor` multiplies, `points` spaces evenly
    (on a logarithmic scale with `log`). Numbers with a point and none of these are continuous,
    which a grid cannot be.

    Attributes:
        low, high: the ends.
        step: from one value to the next.
        factor: from one value to the next, at least above 1.
        points: how many values.
        log: logarithmic scale, of `points` or of a continuous range.
        when, otherwise: as in `Choice`.
    """

    low: int | float
    high: int | float
    step: Annotated[int | float, Field(gt=0)] | None = None
    factor: Annotated[int | float, Field(gt=1)] | None = None
    points: Annotated[int, Field(ge=2, le=_VALUE_LIMIT)] | None = None
    log: bool = False
    when: str | None = None
    otherwise: Value = None

    @model_validator(mode="after")
    def _check(self) -> Range:
        if self.low > self.high:
            raise ValueError(
                f"low must not be above high, but got low={self.low} and high={self.high}"
            )
        given = [n for n in ("step", "factor", "points") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"give at most one of step, factor and points, but got {given}")
        if (self.log or self.factor) and self.low <= 0:
            raise ValueError(f"a logarithmic range must start above 0, but got low={self.low}")
        if self.log and (self.step or self.factor):
            raise ValueError(f"log goes with points or alone, but got {given[0]}")
        if self.count() > _VALUE_LIMIT:
            raise ValueError(f"a range may have at most {_VALUE_LIMIT:,} values")
        return self

    @property
    def whole(self) -> bool:
        """All values are whole numbers."""
        ends = isinstance(self.low, int) and isinstance(self.high, int)
        return ends and (self.step is None or isinstance(self.step, int))

    def count(self) -> int:
        """How many values, 0 for a continuous range; before equal ones are joined."""
        if self.points:
            return self.points
        if self.factor:
            return math.floor(math.log(self.high / self.low, self.factor) + 1e-9) + 1
        if self.step or (self.whole and not self.log):
            return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1
        return 0

    def listed(self) -> list[Value] | None:
        """Every value in order, None for a continuous range."""
        count = self.count()
        if count == 0:
            return None
        if self.factor:
            found = [self.low * self.factor**i for i in range(count)]
        elif self.points is None:
            found = [self.low + (self.step or 1) * i for i in range(count)]
        elif self.log:
            ratio = self.high / self.low
            found = [self.low * ratio ** (i / (count - 1)) for i in range(count)]
        else:
            found = [self.low + (self.high - self.low) * i / (count - 1) for i in range(count)]
        if self.points:
            found[-1] = self.high
        # an integer field refuses 8.0; steps of 0.1 and logarithms leave crumbs at the 16th digit
        rounded = [round(v) if self.whole else float(f"{v:.12g}") for v in found]
        return [rounded[0], *(b for a, b in pairwise(rounded) if a != b)]


class Workload(_Part):
    """One workload of a sweep.

    Attributes:
        name: as WORKLOAD of `hwsim simulate`.
        weight: its part in the mix; then a point is a configuration on the whole mix.
        phase, batch, seed: for this workload; None takes the sweep's.
        label: shown in results; None is the name.
    """

    name: str
    weight: Annotated[float | int, Field(gt=0)] | None = None
    phase: Literal["inference", "training"] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    label: str | None = None


class Table(_Part):
    """Measures that no simulation gives, by values of fields: accuracy by pattern, prices by board.

    Attributes:
        file: CSV with a header, relative to the specification; read once into `rows`.
        rows: the same, one mapping a row.
        match: column by field path; a row is taken where all these fields have its values. An empty
            cell fits any value.
        measures: column by name of the measure; of several fitting rows the mean.
        where: values that other columns must have.
    """

    file: str | None = None
    rows: list[dict[str, Value]] | None = None
    match: Annotated[dict[str, str], Field(min_length=1)]
    measures: Annotated[dict[str, str], Field(min_length=1)]
    where: dict[str, Value] = {}

    @model_validator(mode="after")
    def _check(self) -> Table:
        if (self.file is None) == (self.rows is None):
            raise ValueError("a table needs either file or rows")
        return self


class Method(_Part):
    """How points are chosen.

    Attributes:
        name: one of `METHODS`.
        seed: of what is random in it; None takes the sweep's.
        population: of NSGA-II and NSGA-III: points of a generation.
        batch: of TPE: points that are chosen before the results of the first are known.
    """

    name: Literal["grid", "random", "lhs", "tpe", "nsga2", "nsga3"] = "grid"
    seed: Annotated[int, Field(ge=0)] | None = None
    population: Annotated[int, Field(ge=4, le=10_000)] | None = None
    batch: Annotated[int, Field(ge=1, le=10_000)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Method:
        if self.population is not None and self.name not in ("nsga2", "nsga3"):
            raise ValueError(f"population is for nsga2 and nsga3, but the method is {self.name}")
        if self.batch is not None and self.name != "tpe":
            raise ValueError(f"batch is for tpe, but the method is {self.name}")
        return self

    @property
    def adaptive(self) -> bool:
        """It learns from results."""
        return self.name in ("tpe", "nsga2", "nsga3")


def parse_parameter(value: Any) -> Any:
    """A list, `Choice` or `Range` from YAML; ValueError says what is wrong in one sentence."""
    if isinstance(value, Choice | Range):
        return value
    inner = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    )
    for number in (n for part in inner for n in (part if isinstance(part, list) else [part])):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"its numbers must be finite, but got {number}")
    if isinstance(value, list):
        return _part(Choice, {"values": value}, hide="values").values
    if not isinstance(value, Mapping):
        raise ValueError(f"it must be a list, or a mapping with values or low, but got {value!r}")
    if "values" in value:
        return _part(Choice, value)
    if "low" in value or "high" in value:
        return _part(Range, value)
    raise ValueError(f"a mapping needs values, or low and high, but got {dict(value)!r}")


def parse_workload(value: Any) -> Any:
    """A name or `Workload` from YAML."""
    return _part(Workload, value) if isinstance(value, Mapping) else value


def parse_method(value: Any) -> Any:
    """A `Method` from its name or a mapping."""
    if isinstance(value, Method):
        return value
    return _part(Method, {"name": value} if isinstance(value, str) else value)


def parse_table(table: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """A table's mapping with the rows of its file in it.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    data = dict(table)
    name = data.get("file")
    if not isinstance(name, str):
        return data
    try:
        with (folder / name).open(encoding="utf-8-sig", newline="") as handle:
            rows = [dict(row) for row in csv.DictReader(handle, restkey="", restval="")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{where}.file: cannot read {name}: {reason}") from None
    if len(rows) > _TABLE_LIMIT:
        raise UserError(
            f"{where}.file: at most {_TABLE_LIMIT:,} rows, but {name} has {len(rows):,}"
        )
    wanted: set[str] = set()
    for part in ("match", "measures"):
        if isinstance(data.get(part), Mapping):
            wanted |= {str(column) for column in data[part].values()}
    if isinstance(data.get("where"), Mapping):
        wanted |= {str(column) for column in data["where"]}
    for column in sorted(wanted):
        if not rows or column not in rows[0]:
            known = ", ".join(rows[0]) if rows else "none: it is empty"
            raise UserError(f"{where}: {name} has no column {column!r}; those there are {known}")
    data["file"] = None
    data["rows"] = [{c: row[c] for c in sorted(wanted)} for row in rows]
    return data


def _part(model: type[Part], value: Any, hide: str = "") -> Part:
    """The value as a model; a broken rule becomes a ValueError with one sentence."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        text = sentence(error, "", list(model.model_fields))
        if hide:
            text = text.removeprefix(hide).lstrip(".: ")
        raise ValueError(text.removeprefix(": ")) from None
