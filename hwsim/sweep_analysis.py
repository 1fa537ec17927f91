"""What the finished points of a sweep say: fronts, hypervolume over time, importance, sensitivity.

Points of different workloads are never compared; every workload has a study of its own. Points that
failed or break a constraint, and those with an objective that is not finite, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.pareto import hypervolume_history, pareto_front
from hwsim.sweep_analysis_importance import Importance, importance_of
from hwsim.sweep_analysis_levels import Factor, make_factor
from hwsim.sweep_analysis_sensitivity import Effect, effect_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Objective", "Study", "Volume", "analyse", "scale_of", "volume_over_time"]

Scale = Literal["linear", "log"]

_DECADE = 10.0
"""Span above which an objective is taken on a logarithmic scale; not given; chosen because on a
linear one the points within a tenth of the worst value would weigh nearly nothing."""
_MOST = 6
"""Objectives up to which hypervolumes are computed: their time grows exponentially with it."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective at the points of a study.

    Attributes:
        name: of the measure.
        goal: `min` or `max`.
        scale: `log` where all values are above 0 and the largest is at least ten times the
            smallest, else `linear`.
        best, worst: over the finished points.
    """

    name: str
    goal: str
    scale: Scale
    best: float
    worst: float


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Hypervolume after every finished point, as a share of the box between the best value of every
    objective and the worst, over all finished points; the worst is the reference point.

    Objectives that are the same at all points are left out.

    Attributes:
        order: of finishing, those points that added volume, and the last.
        seconds: of the sweep when they were finished; NaN where unknown.
        linear: share with all objectives on linear scales.
        scaled: with those of scale `log` as logarithms; equal to `linear` where there are none.
    """

    order: NDArray[np.int64]
    seconds: NDArray[np.float64]
    linear: NDArray[np.float64]
    scaled: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Study:
    """The finished points of one workload.

    Attributes:
        workload: its label.
        index: labels of the points in the table of results, in order of finishing.
        front: of the same points, which are on the exact front.
        objectives: at these points.
        chosen: position in `index` of the point of the front that is nearest to the best value of
            every objective, each from 0 to 1 on its scale (compromise programming: Zeleny,
            "Compromise programming", in Multiple Criteria Decision Making, 1973); None without
            points.
        volume: None without two different points, or with more than six objectives.
        constant: parameters that have one value.
        importance: of each objective that varies.
        effects: of each parameter that varies on each objective.
    """

    workload: str
    index: tuple[Any, ...]
    front: NDArray[np.bool_]
    objectives: tuple[Objective, ...]
    chosen: int | None
    volume: Volume | None
    constant: tuple[str, ...]
    importance: tuple[Importance, ...]
    effects: tuple[Effect, ...]


def analyse(
    frame: pd.DataFrame,
    objectives: Mapping[str, str],
    axes: Sequence[Sequence[str]],
    orders: Sequence[Sequence[tuple[Any, ...]]] = (),
) -> list[Study]:
    """A study of every workload of a table of results.

    Args:
        frame: columns `workload`, `status`, `order`, `elapsed_seconds`, the parameters and the
            objectives.
        objectives: `min` or `max` by measure.
        axes: parameters that move in step, together; most stand alone.
        orders: of each axis its values in order, for those that are no numbers.

    Returns:
        one a workload in the order of the table, also of those without finished points.
    """
    names = list(objectives)
    known = [*orders, *([()] * (len(axes) - len(orders)))]
    studies = []
    for workload in dict.fromkeys(frame["workload"]):
        rows = frame[(frame["workload"] == workload) & (frame["status"] == "done")]
        if len(rows):
            finite = np.isfinite(rows[names].to_numpy(float)).all(axis=1)
            rows = rows[finite].sort_values("order", kind="stable")
        studies.append(_study(workload, rows, objectives, axes, known))
    return studies


def scale_of(values: ArrayLike) -> Scale:
    """`log` for values above 0 over a decade or more, else `linear`."""
    array = np.asarray(values, np.float64)
    if not array.size or array.min() <= 0 or array.max() < _DECADE * array.min():
        return "linear"
    return "log"


def volume_over_time(
    values: NDArray[np.float64],
    objectives: Sequence[Objective],
    order: ArrayLike,
    seconds: ArrayLike,
) -> Volume | None:
    """Hypervolume after each point; see `Volume`.

    Args:
        values: [points, objectives] in order of finishing.
        objectives: their goals and scales.
        order, seconds: [points], what the time axis shows.

    Returns:
        None where no objective varies or there are more than six.
    """
    varied = [k for k, o in enumerate(objectives) if o.best != o.worst]
    if not varied or len(varied) > _MOST:
        return None
    some = [objectives[k] for k in varied]
    linear = _history(values[:, varied], some, False)
    logs = any(o.scale == "log" for o in some)
    scaled = _history(values[:, varied], some, True) if logs else linear
    grew = np.flatnonzero(np.diff(scaled, prepend=-1.0) > 0)
    shown = np.unique(np.append(grew, len(values) - 1))
    return Volume(
        order=np.asarray(order, np.int64)[shown],
        seconds=np.asarray(seconds, np.float64)[shown],
        linear=linear[shown],
        scaled=scaled[shown],
    )


def _history(
    values: NDArray[np.float64], objectives: Sequence[Objective], scaled: bool
) -> NDArray[np.float64]:
    shares = _distances(values, objectives, scaled)
    return hypervolume_history(shares, np.ones(len(objectives)))


def _distances(
    values: NDArray[np.float64], objectives: Sequence[Objective], scaled: bool = True
) -> NDArray[np.float64]:
    """0 at the best value of an objective and 1 at the worst; 0 where they are the same."""
    found = np.zeros_like(values)
    for k, objective in enumerate(objectives):
        ends = np.array([objective.best, objective.worst])
        column = values[:, k]
        if scaled and objective.scale == "log":
            ends, column = np.log(ends), np.log(column)
        if ends[0] != ends[1]:
            found[:, k] = np.clip((column - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
    return found


def _study(
    workload: str,
    rows: pd.DataFrame,
    goals: Mapping[str, str],
    axes: Sequence[Sequence[str]],
    orders: Sequence[Sequence[tuple[Any, ...]]],
) -> Study:
    if not len(rows):
        return Study(
            workload=workload, index=(), front=np.zeros(0, bool), objectives=(), chosen=None,
            volume=None, constant=(), importance=(), effects=(),
        )  # fmt: skip
    values = rows[list(goals)].to_numpy(float)
    signs = np.array([-1.0 if goal == "max" else 1.0 for goal in goals.values()])
    front = pareto_front(values * signs)
    objectives = tuple(
        Objective(
            name=name, goal=goal, scale=scale_of(values[:, k]),
            best=float((values[:, k] * signs[k]).min() * signs[k]),
            worst=float((values[:, k] * signs[k]).max() * signs[k]),
        )
        for k, (name, goal) in enumerate(goals.items())
    )  # fmt: skip
    factors = [
        make_factor(paths, list(zip(*(rows[p] for p in paths), strict=True)), order)
        for paths, order in zip(axes, orders, strict=True)
    ]
    varied = [factor for factor in factors if len(factor.labels) > 1]
    chosen = _nearest(values, objectives, front)
    return Study(
        workload=workload,
        index=tuple(rows.index),
        front=front,
        objectives=objectives,
        chosen=chosen,
        volume=volume_over_time(values, objectives, rows["order"], rows["elapsed_seconds"]),
        constant=tuple(factor.name for factor in factors if len(factor.labels) == 1),
        importance=_importance(values, objectives, varied),
        effects=tuple(
            effect
            for i in range(len(varied))
            for k, objective in enumerate(objectives)
            if (effect := effect_of(objective.name, values[:, k], varied, i, chosen)) is not None
        ),
    )


def _nearest(
    values: NDArray[np.float64], objectives: Sequence[Objective], front: NDArray[np.bool_]
) -> int:
    far = np.sqrt((_distances(values, objectives) ** 2).sum(axis=1))
    return int(np.argmin(np.where(front, far, math.inf)))


def _importance(
    values: NDArray[np.float64], objectives: Sequence[Objective], factors: Sequence[Factor]
) -> tuple[Importance, ...]:
    found = []
    for k, objective in enumerate(objectives):
        column = np.log(values[:, k]) if objective.scale == "log" else values[:, k]
        shares = importance_of(objective.name, column, factors)
        if shares is not None:
            found.append(shares)
    return tuple(found)
