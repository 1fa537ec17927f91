"""The space of a sweep: independent axes, conditions between them, and the grid over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.config import Accelerator
from hwsim.errors import UserError
from hwsim.sweep_expression import Expression
from hwsim.sweep_spec import SweepSpec
from hwsim.sweep_spec_parts import Choice, Range, Value

__all__ = ["Axis", "Space", "flat_fields"]

_POINT_LIMIT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Fields that change in step, usually one.

    Attributes:
        paths: the fields.
        rows: their values, one tuple a choice; empty for a continuous axis.
        low, high, log: the ends of a continuous axis and whether its scale is logarithmic.
        whole: its values are rounded to whole numbers.
        ordered: the choices are numbers in ascending order, so that neighbours are alike.
        when: condition for it to have an effect.
        otherwise: its value if not; None is the base configuration's.
    """

    paths: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    ordered: bool = False
    when: Expression | None = None
    otherwise: Value = None

    @property
    def name(self) -> str:
        return "+".join(self.paths)

    def at(self, share: float) -> tuple[Value, ...]:
        """The choice at a share in [0, 1) of the axis."""
        if self.rows:
            return self.rows[min(int(share * len(self.rows)), len(self.rows) - 1)]
        return (self.between(share),)

    def between(self, share: float) -> float:
        """The value at a share in [0, 1] of a continuous axis."""
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else value


class Space:
    """All points of a specification.

    Attributes:
        axes: in the order of the parameters.
        paths: the parameters.
        size: how many settings the grid has at most, conditions left aside; None when continuous.

    Raises:
        UserError: an unknown field, fields that cannot move in step, a bad condition.
    """

    def __init__(self, spec: SweepSpec, base: Accelerator) -> None:
        self.base = flat_fields(base)
        self.paths = list(spec.parameters)
        for path in self.paths:
            if path not in self.base:
                known = ", ".join(sorted(self.base))
                raise UserError(
                    f"parameters.{path}: there is no such field; those here are {known}"
                )
        self.axes = self._axes(spec)
        sizes = [len(axis.rows) for axis in self.axes]
        self.size = None if 0 in sizes else math.prod(sizes)

    def check_grid(self, workloads: int) -> None:
        """Refuse what no grid can be.

        Raises:
            UserError: a continuous range, or more than a million points.
        """
        for axis in self.axes:
            if not axis.rows:
                raise UserError(
                    f"parameters.{axis.name}: a grid needs step, factor or points for a range of "
                    f"numbers that are not whole, but got low={axis.low:g} and high={axis.high:g}"
                )
        count = (self.size or 0) * workloads
        if count > _POINT_LIMIT:
            raise UserError(f"a sweep may have at most {_POINT_LIMIT:,} points, but got {count:,}")

    def settle(self, choose: Callable[[Axis], tuple[Value, ...]]) -> dict[str, Value]:
        """Values of every parameter.

        Args:
            choose: asked for every axis that has an effect, in order.
        """
        values: dict[str, Value] = {}
        for axis in self.axes:
            self._put(values, axis, choose(axis) if self._active(axis, values) else None)
        return self._in_order(values)

    def at(self, shares: Sequence[float]) -> dict[str, Value]:
        """Values at shares in [0, 1) of every axis; those of axes without effect are unused."""
        by_axis = dict(zip((axis.name for axis in self.axes), shares, strict=True))
        return self.settle(lambda axis: axis.at(by_axis[axis.name]))

    def grid(self) -> Iterator[dict[str, Value]]:
        """Every setting, the last parameter fastest."""
        for values in self._grid(0, {}):
            yield self._in_order(values)

    def _grid(self, depth: int, values: dict[str, Value]) -> Iterator[dict[str, Value]]:
        if depth == len(self.axes):
            yield values
            return
        axis = self.axes[depth]
        rows: Sequence[tuple[Value, ...] | None] = axis.rows
        if not self._active(axis, values):
            rows = [None]
        for row in rows:
            here = dict(values)
            self._put(here, axis, row)
            yield from self._grid(depth + 1, here)

    def _active(self, axis: Axis, values: Mapping[str, Value]) -> bool:
        if axis.when is None:
            return True
        return axis.when.holds(lambda name: values[name] if name in values else self.base[name])

    def _put(self, values: dict[str, Value], axis: Axis, row: tuple[Value, ...] | None) -> None:
        if row is not None:
            values.update(zip(axis.paths, row, strict=True))
            return
        path = axis.paths[0]  # a condition is on a field of its own
        values[path] = self.base[path] if axis.otherwise is None else axis.otherwise

    def _in_order(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {path: values[path] for path in self.paths}

    def _axes(self, spec: SweepSpec) -> list[Axis]:
        groups: dict[str, list[str]] = {}
        for group in spec.together:
            for path in group:
                if path not in spec.parameters:
                    raise UserError(f"together: {path} is not among the parameters")
                if path in groups:
                    raise UserError(f"together: {path} is named twice")
                groups[path] = group
        axes: list[Axis] = []
        for path in spec.parameters:
            if path not in groups:
                axes.append(self._single(path, spec))
            elif not any(path in axis.paths for axis in axes):
                axes.append(_step(groups[path], spec))
        return axes

    def _single(self, path: str, spec: SweepSpec) -> Axis:
        given = spec.parameters[path]
        if isinstance(given, list):
            return _listed(path, given)
        when = None
        if given.when is not None:
            when = Expression(given.when, f"parameters.{path}.when")
            self._check_condition(when, path, spec)
        values = given.listed()
        if values is not None:
            return _listed(path, values, when, given.otherwise)
        assert isinstance(given, Range)
        return Axis(
            paths=(path,), low=given.low, high=given.high, log=given.log, ordered=True,
            whole=given.whole, when=when, otherwise=given.otherwise,
        )  # fmt: skip

    def _check_condition(self, when: Expression, path: str, spec: SweepSpec) -> None:
        before = self.paths[: self.paths.index(path)]
        for name in when.names:
            if name in spec.parameters and name not in before:
                raise UserError(
                    f"parameters.{path}.when: {name} must stand before {path} among the parameters"
                )
            if name not in self.base:
                raise UserError(f"parameters.{path}.when: there is no field {name}")


def flat_fields(config: Accelerator) -> dict[str, Any]:
    """The fields of a configuration by dotted path, `kind` left out."""
    return dict(_flat(config.model_dump(), ""))


def _flat(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "kind":
            yield f"{prefix}{name}", value


def _listed(
    path: str, values: list[Value], when: Expression | None = None, otherwise: Value = None
) -> Axis:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    ordered = len(numbers) == len(values) and numbers == sorted(numbers)
    rows = tuple((value,) for value in values)
    return Axis(paths=(path,), rows=rows, ordered=ordered, when=when, otherwise=otherwise)


def _step(group: list[str], spec: SweepSpec) -> Axis:
    """An axis of fields that move in step."""
    columns: dict[str, list[Value]] = {}
    for path in group:
        given = spec.parameters[path]
        if isinstance(given, Choice | Range) and given.when is not None:
            raise UserError(f"together: {path} has a condition and cannot move in step with others")
        values = given if isinstance(given, list) else given.listed()
        if values is None:
            raise UserError(f"together: {path} is a continuous range; give it points or a step")
        columns[path] = values
    if len({len(values) for values in columns.values()}) > 1:
        raise UserError(
            "together: fields that move in step need equally many values, but got "
            + ", ".join(f"{len(values)} of {path}" for path, values in columns.items())
        )
    ordered = all(_listed(path, values).ordered for path, values in columns.items())
    rows = tuple(zip(*columns.values(), strict=True))
    return Axis(paths=tuple(group), rows=rows, ordered=ordered)
