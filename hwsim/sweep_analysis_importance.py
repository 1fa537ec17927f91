"""How much of the spread of an objective is due to each parameter.

Shares of variance, as in the analysis of variance and in Sobol's indices ("Global sensitivity
indices for nonlinear mathematical models", Mathematics and Computers in Simulation 55, 2001), with
every finished point of the same weight:

- `first`: variance of the means over the points of one level, over the variance of all points;
- `total`: mean variance among points that differ in this parameter alone, over the variance of all
  points: `first` and everything in which the parameter takes part;
- pairs: what the means over two parameters explain beyond the two.

Where the points are a whole grid these are exact. Where they are not (points that failed, random
points, a search) `first` is estimated from the same points (Plischke, Borgonovo and Smith, "Global
sensitivity measures from given data", European J. of Operational Research 226, 2013), less what
levels explain by chance (epsilon squared: Kelley, "An unbiased correlation ratio measure", PNAS 21,
1935); `total` and pairs are left out. Nothing is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hwsim.sweep_analysis_levels import Factor, classes, is_grid, matched_sets

__all__ = ["Importance", "importance_of"]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Shares of one objective's variance.

    Attributes:
        objective: name of the measure.
        exact: the points are a whole grid.
        names: parameters that have several values.
        first: share of each alone.
        total: share with everything in which it takes part; None where it is not exact.
        pairs: (parameter, parameter, share of the two together beyond each alone), largest first;
            empty where it is not exact.
    """

    objective: str
    exact: bool
    names: tuple[str, ...]
    first: tuple[float, ...]
    total: tuple[float | None, ...]
    pairs: tuple[tuple[str, str, float], ...]


def importance_of(
    objective: str, values: NDArray[np.float64], factors: Sequence[Factor]
) -> Importance | None:
    """Shares of the variance of values at points.

    Args:
        objective: name.
        values: [points], on the scale on which the spread is meant.
        factors: parameters at the same points, each with at least two levels.

    Returns:
        None where the values do not differ or there is no factor.
    """
    if not factors or len(values) < 2 or np.ptp(values) == 0:
        return None
    exact = is_grid(factors)
    centred = (values - values.mean()) / np.ptp(values)
    whole = float(np.mean(centred**2))
    names = tuple(factor.name for factor in factors)
    if not exact:
        first = tuple(_estimated(centred, *classes(factor)) for factor in factors)
        return Importance(
            objective=objective, exact=False, names=names, first=first,
            total=(None,) * len(names), pairs=(),
        )  # fmt: skip
    first = tuple(_between(centred, f.codes) / whole for f in factors)
    total = tuple(
        1.0 - _between(centred, matched_sets(factors, i)) / whole for i in range(len(factors))
    )
    pairs = []
    for i, j in combinations(range(len(factors)), 2):
        both = factors[i].codes * len(factors[j].labels) + factors[j].codes
        share = _between(centred, both) / whole - first[i] - first[j]
        pairs.append((names[i], names[j], max(0.0, share)))
    pairs.sort(key=lambda pair: (-pair[2], pair[:2]))
    return Importance(
        objective=objective, exact=True, names=names, first=first,
        total=tuple(max(0.0, share) for share in total), pairs=tuple(pairs),
    )  # fmt: skip


def _between(centred: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """Variance of the means of the levels; values with mean 0."""
    held = np.bincount(codes)
    sums = np.bincount(codes, weights=centred)
    return float(np.sum(sums[held > 0] ** 2 / held[held > 0]) / len(centred))


def _estimated(centred: NDArray[np.float64], codes: NDArray[np.int64], levels: int) -> float:
    """The share that levels explain, less what as many levels without meaning would."""
    count = len(centred)
    whole = float(np.sum(centred**2))
    between = _between(centred, codes) * count
    if count <= levels:
        return 0.0  # every point has a level of its own: nothing can be told
    chance = (levels - 1) * (whole - between) / (count - levels)
    return max(0.0, (between - chance) / whole)
