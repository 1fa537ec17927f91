"""Exact non-dominated fronts of any number of objectives, all minimised."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["pareto_front"]


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points are on the front: no other is at least as good in all and better in one.

    Args:
        points: [points, objectives], smaller is better; equal points are all on the front.

    Raises:
        ValueError: not a matrix, or a NaN.
    """
    array = np.asarray(points, np.float64)
    if array.ndim != 2:
        raise ValueError(f"points must be [points, objectives], but got {array.ndim} axes")
    if np.isnan(array).any():
        raise ValueError("points must not hold NaN")
    if not len(array):
        return np.zeros(0, bool)
    unique, inverse = np.unique(array, axis=0, return_inverse=True)
    keep = np.ones(len(unique), bool)
    # In lexicographic order nothing later dominates something earlier.
    front: list[NDArray] = []
    for i, point in enumerate(unique):
        if front and (np.asarray(front) <= point).all(axis=1).any():
            keep[i] = False
        else:
            front.append(point)
    return keep[inverse.ravel()]
