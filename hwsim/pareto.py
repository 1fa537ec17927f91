"""Exact non-dominated fronts and hypervolumes of any number of objectives, all minimised.

Fronts of up to four objectives come from a divide and conquer over the points in lexicographic
order (after Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", J. ACM 22,
1975): n log^2 n steps whatever the points are. Few points, and those of more objectives, are
compared with the front so far.

Hypervolumes add the volume that each point alone dominates, and drop an objective each time (While,
Bradstreet and Barone, "A fast way of calculating exact hypervolumes", IEEE Trans. Evolutionary
Computation 16, 2012). Of whole numbers they are exact up to 2^53.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = ["hypervolume", "hypervolume_history", "pareto_front"]

_SORTED = 4  # objectives that the divide and conquer handles
_MANY = (
    2000  # points above which it is worth loading its kernel; not given; chosen as 50 ms of NumPy
)


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points are on the front: no other is at least as good in all and better in one.

    Args:
        points: [points, objectives], smaller is better; equal points are all on the front.

    Raises:
        ValueError: not a matrix, or a NaN.
    """
    array = _matrix(points)
    if not len(array) or not array.shape[1]:
        return np.ones(len(array), bool)
    unique, inverse = np.unique(array, axis=0, return_inverse=True)
    if len(unique) > _MANY and unique.shape[1] <= _SORTED:
        padded = np.zeros((len(unique), _SORTED))
        padded[:, : unique.shape[1]] = unique
        ranks = np.unique(padded[:, 2], return_inverse=True)[1].ravel().astype(np.int64)
        keep = _divided(padded, ranks)
    else:
        keep = _scanned(unique)
    return keep[inverse.ravel()]


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The volume between the points and a reference point that they are better than.

    Args:
        points: [points, objectives], smaller is better; what is not better than the reference in
            all objectives adds nothing.
        reference: [objectives].

    Raises:
        ValueError: not a matrix, a NaN, or a reference of another length.
    """
    return float(_volume(_fronted(_gains(points, reference))))


def hypervolume_history(points: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """The hypervolume of the first point, of the first two, and so on.

    Args:
        points: [points, objectives] in order of finishing, smaller is better.
        reference: [objectives].

    Returns:
        [points], never falling.

    Raises:
        ValueError: as for `hypervolume`.
    """
    return _history(_gains(points, reference))


def _matrix(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, np.float64)
    if array.ndim != 2:
        raise ValueError(f"points must be [points, objectives], but got {array.ndim} axes")
    if np.isnan(array).any():
        raise ValueError("points must not hold NaN")
    return array


def _gains(points: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """How much better each point is than the reference, never less than 0."""
    array = _matrix(points)
    corner = np.asarray(reference, np.float64)
    if corner.shape != array.shape[1:] or not corner.size:
        raise ValueError(
            f"reference must hold one number for each of {array.shape[1]} objectives, but got "
            f"{corner.shape}"
        )
    if np.isnan(corner).any():
        raise ValueError("reference must not hold NaN")
    return np.ascontiguousarray(np.maximum(corner - array, 0.0))


def _fronted(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Different gains on the front, those without volume left out."""
    gains = np.unique(gains[(gains > 0).all(axis=1)], axis=0)
    return np.ascontiguousarray(gains[pareto_front(-gains)])


def _scanned(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The front of different points in lexicographic order, any number of objectives."""
    keep = np.ones(len(points), bool)
    front = np.empty_like(points)
    count = 0
    for i, point in enumerate(points):
        if (front[:count] <= point).all(axis=1).any():
            keep[i] = False
        else:
            front[count] = point
            count += 1
    return keep


@njit(cache=True)
def _divided(points: NDArray, ranks: NDArray) -> NDArray:
    """The front of different points in lexicographic order, four objectives.

    Nothing later dominates something earlier, so each half of a block is asked whether its earlier
    neighbour dominates it: both sorted by the second objective, a binary indexed tree over `ranks`
    (of the third) holds the least fourth so far.
    """
    n = len(points)
    keep = np.ones(n, np.bool_)
    order = np.arange(n)
    merged = np.empty(n, np.int64)
    size = ranks.max() + 1
    tree = np.full(size + 1, np.inf)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            middle = min(low + width, n)
            high = min(low + 2 * width, n)
            left = low
            for right in range(middle, high):
                j = order[right]
                while left < middle and points[order[left], 1] <= points[j, 1]:
                    i = order[left]
                    at = ranks[i] + 1
                    while at <= size:
                        tree[at] = min(tree[at], points[i, 3])
                        at += at & -at
                    merged[left + right - middle] = i
                    left += 1
                at = ranks[j] + 1
                while at > 0 and keep[j]:
                    if tree[at] <= points[j, 3]:
                        keep[j] = False
                    at -= at & -at
                merged[left + right - middle] = j
            for rest in range(left, middle):
                merged[rest + high - middle] = order[rest]
            for used in range(low, left):
                at = ranks[order[used]] + 1
                while at <= size:
                    tree[at] = np.inf
                    at += at & -at
            order[low:high] = merged[low:high]
        width *= 2
    return keep


@njit(cache=True)
def _volume(gains: NDArray) -> float:
    """Volume of the union of boxes from 0 to each of the gains, all above 0.

    Plain loops: what NumPy would do here takes seconds to compile.
    """
    n, objectives = gains.shape
    last = objectives - 1
    order = _ascending(gains, last)
    total = 0.0
    if last == 0:
        return gains[order[n - 1], 0] if n else 0.0
    if last == 1:  # steps from the highest down
        reach = 0.0
        for p in range(n - 1, -1, -1):
            i = order[p]
            if gains[i, 0] > reach:
                total += gains[i, 1] * (gains[i, 0] - reach)
                reach = gains[i, 0]
        return total
    shared = np.empty((n, last))
    for p in range(n):
        # all later ones are at least as large in the last objective, which so drops out
        i = order[p]
        box = 1.0
        for k in range(last):
            box *= gains[i, k]
        count = 0
        for q in range(p + 1, n):
            count = _add(shared, count, gains[order[q]], gains[i])
        total += gains[i, last] * (box - _volume(shared[:count]))
    return total


@njit(cache=True)
def _ascending(gains: NDArray, column: int) -> NDArray:
    """Order of the rows by a column; insertion, as sets are small or sorted already."""
    n = len(gains)
    order = np.empty(n, np.int64)
    for i in range(n):
        value = gains[i, column]
        at = i
        while at > 0 and gains[order[at - 1], column] > value:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    return order


@njit(cache=True)
def _add(front: NDArray, count: int, gain: NDArray, cap: NDArray) -> int:
    """Put the lesser of gain and cap to the first `count` rows of a front; the new count.

    A row that is at least as large in all objectives keeps it out; rows that it is at least as
    large as are dropped.
    """
    objectives = front.shape[1]
    for f in range(count):
        k = 0
        while k < objectives and front[f, k] >= min(gain[k], cap[k]):
            k += 1
        if k == objectives:
            return count
    left = 0
    for f in range(count):
        k = 0
        while k < objectives and min(gain[k], cap[k]) >= front[f, k]:
            k += 1
        if k < objectives:
            for j in range(objectives):
                front[left, j] = front[f, j]
            left += 1
    for j in range(objectives):
        front[left, j] = min(gain[j], cap[j])
    return left + 1


@njit(cache=True)
def _history(gains: NDArray) -> NDArray:
    """Volume after each of the gains: what a new point alone dominates is added."""
    n, objectives = gains.shape
    found = np.zeros(n)
    front = np.empty((n, objectives))
    shared = np.empty((n, objectives))
    size = 0
    total = 0.0
    for i in range(n):
        box = 1.0
        for k in range(objectives):
            box *= gains[i, k]
        if box > 0.0:
            count = 0
            for f in range(size):
                count = _add(shared, count, front[f], gains[i])
            new = box - _volume(shared[:count])
            if new > 0.0:
                total += new
                size = _add(front, size, gains[i], gains[i])
        found[i] = total
    return found
