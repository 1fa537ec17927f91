"""What an objective does when one parameter changes and all others stay, from finished points.

Points that differ in one parameter alone are a matched set; nothing is run for it. Where a sweep
has no such sets (random points, a Latin hypercube) the means of the points of a level stand in, and
the result says so: there the other parameters vary too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.sweep_analysis_levels import Factor, classes, matched_sets

__all__ = ["Effect", "effect_of"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of one parameter on one objective.

    Attributes:
        parameter, objective: names.
        matched: from points that differ in this parameter alone; else from means of levels.
        sets: how many matched sets there are; 0 where `matched` is False.
        ratio: changes are factors; else, where the objective is not always above 0, differences.
        labels: levels of the parameter, or classes of them.
        low, middle, high: at each level the quartiles over the sets of the objective compared with
            the set's mean (the geometric one of factors); without sets all three are the mean.
        elasticity: quartiles of d ln(objective) / d ln(parameter) between neighbouring levels of
            matched sets; None where the parameter or the objective is not always above 0.
        chosen: (level, change) of every point that differs from the chosen one in this parameter
            alone.
    """

    parameter: str
    objective: str
    matched: bool
    sets: int
    ratio: bool
    labels: tuple[str, ...]
    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]
    elasticity: tuple[float, float, float] | None
    chosen: tuple[tuple[str, float], ...]


def effect_of(
    objective: str,
    values: NDArray[np.float64],
    factors: Sequence[Factor],
    which: int,
    chosen: int | None,
) -> Effect | None:
    """The effect of factor `which` on values at points.

    Args:
        objective: name.
        values: [points].
        factors: parameters at the same points.
        which: index of the factor.
        chosen: index of a point that neighbours are compared with.

    Returns:
        None without two levels or two points.
    """
    factor = factors[which]
    if len(factor.labels) < 2 or len(values) < 2:
        return None
    ratio = bool((values > 0).all())
    y = np.log(values) if ratio else values
    sets = matched_sets(factors, which)
    held = np.bincount(sets)
    usable = held[sets] >= 2
    if usable.any():
        # only whole sets compare all levels with the same mean
        full = held == len(factor.labels)
        if full.any():
            usable = full[sets]
        mean = np.bincount(sets, weights=y) / np.maximum(held, 1)
        change = (y - mean[sets])[usable]
        codes, labels = factor.codes[usable], factor.labels
        count = len(np.unique(sets[usable]))
        present = [i for i in range(len(labels)) if (codes == i).any()]
        quartiles = np.array([np.quantile(change[codes == i], (0.25, 0.5, 0.75)) for i in present])
        labels = tuple(labels[i] for i in present)
    else:
        count = 0
        joined, number = classes(factor)
        labels = _class_labels(factor, joined, number)
        means = np.array([y[joined == i].mean() for i in range(number)]) - y.mean()
        quartiles = np.repeat(means[:, None], 3, axis=1)
    if ratio:
        quartiles = np.exp(quartiles)
    low, middle, high = (tuple(float(v) for v in quartiles[:, k]) for k in range(3))
    return Effect(
        parameter=factor.name, objective=objective, matched=count > 0, sets=count, ratio=ratio,
        labels=labels, low=low, middle=middle, high=high,
        elasticity=_elasticity(y, factor, sets) if ratio else None,
        chosen=_neighbours(y, factor, sets, chosen, ratio),
    )  # fmt: skip


def _elasticity(
    logs: NDArray[np.float64], factor: Factor, sets: NDArray[np.int64]
) -> tuple[float, float, float] | None:
    """Quartiles of the slope between neighbours of a matched set, both on logarithmic scales."""
    if factor.numbers is None or min(factor.numbers) <= 0:
        return None
    order = np.lexsort((factor.codes, sets))
    beside = sets[order][1:] == sets[order][:-1]
    x = np.log(np.array(factor.numbers))[factor.codes[order]]
    steps = np.diff(x)
    beside &= steps > 0
    if not beside.any():
        return None
    slopes = np.diff(logs[order])[beside] / steps[beside]
    first, second, third = (float(v) for v in np.quantile(slopes, (0.25, 0.5, 0.75)))
    return first, second, third


def _neighbours(
    y: NDArray[np.float64],
    factor: Factor,
    sets: NDArray[np.int64],
    chosen: int | None,
    ratio: bool,
) -> tuple[tuple[str, float], ...]:
    if chosen is None:
        return ()
    found = []
    for i in np.flatnonzero(sets == sets[chosen]):
        if factor.codes[i] != factor.codes[chosen]:
            change = y[i] - y[chosen]
            found.append((int(factor.codes[i]), float(np.exp(change) if ratio else change)))
    return tuple((factor.labels[code], change) for code, change in sorted(found))


def _class_labels(factor: Factor, joined: NDArray[np.int64], number: int) -> tuple[str, ...]:
    if number == len(factor.labels):
        return factor.labels
    labels = []
    for i in range(number):
        codes = factor.codes[joined == i]
        first, last = factor.labels[codes.min()], factor.labels[codes.max()]
        labels.append(first if first == last else f"{_short(first)} to {_short(last)}")
    return tuple(labels)


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text
