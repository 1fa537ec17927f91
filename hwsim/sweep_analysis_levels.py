"""Parameters of finished points as levels, and sets of points that differ in one parameter only."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.yaml12 import parse_value

__all__ = [
    "MISSING", "Factor", "classes", "is_grid", "make_factor", "matched_sets", "value_text",
]  # fmt: skip

_FEW = 5
"""Points a level below which levels of numbers are joined; not given; chosen because a mean of
fewer says little."""
_CLASSES = 8  # joined levels at most; not given; chosen as three halvings of a range


class _Missing:
    def __repr__(self) -> str:
        return "not set"


MISSING = _Missing()
"""Stands for a parameter that a point does not have."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A parameter, or several that move in step, at points.

    Attributes:
        name: paths joined by `+`.
        labels: its different values as text, in order.
        numbers: the same as numbers; None where one is none. Of several parameters, the first's.
        codes: [points], the value of each point as an index of `labels`.
    """

    name: str
    labels: tuple[str, ...]
    numbers: tuple[float, ...] | None
    codes: NDArray[np.int64]


def value_text(value: Any) -> str:
    """A value as `hwsim ... -s KEY=VALUE` reads it back, with the same type."""
    if value is MISSING:
        return repr(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _word(value) if isinstance(value, str) else repr(value)


@lru_cache(maxsize=1024)
def _word(text: str) -> str:
    """A text, in quotes where it would be read as something else."""
    try:
        return text if parse_value(text) == text else json.dumps(text)
    except ValueError:
        return json.dumps(text)


def make_factor(
    paths: Sequence[str], values: Sequence[tuple[Any, ...]], order: Sequence[tuple[Any, ...]] = ()
) -> Factor:
    """A factor from what its parameters are at every point.

    Args:
        paths: its parameters.
        values: one tuple a point.
        order: values in the order in which they are to stand when they are no numbers.
    """
    found: dict[str, tuple[Any, ...]] = {}
    texts = [", ".join(value_text(v) for v in row) for row in values]
    for text, row in zip(texts, values, strict=True):
        found.setdefault(text, row)
    firsts = [row[0] for row in found.values()]
    numeric = bool(firsts) and all(_is_number(v) for v in firsts)
    # values in step with different texts but one first number cannot be told apart by it
    numeric = numeric and len({float(v) for v in firsts}) == len(firsts)
    if numeric:
        labels = sorted(found, key=lambda text: float(found[text][0]))
    else:
        given: dict[str, int] = {}
        for row in order:
            given.setdefault(", ".join(value_text(v) for v in row), len(given))
        labels = sorted(found, key=lambda text: (given.get(text, len(given)), text))
    place = {text: i for i, text in enumerate(labels)}
    return Factor(
        name="+".join(paths),
        labels=tuple(labels),
        numbers=tuple(float(found[t][0]) for t in labels) if numeric else None,
        codes=np.array([place[text] for text in texts], np.int64),
    )


def classes(factor: Factor) -> tuple[NDArray[np.int64], int]:
    """Codes in which rare levels of numbers are joined to classes of about equally many points.

    Returns:
        codes of the points, and how many classes there are.
    """
    count, levels = len(factor.codes), len(factor.labels)
    if factor.numbers is None or levels <= _CLASSES or count / levels >= _FEW:
        return factor.codes, levels
    wanted = max(2, min(_CLASSES, count // _FEW))
    held = np.bincount(factor.codes, minlength=levels)
    middle = np.cumsum(held) - held / 2  # of each level among the points in order
    joined = np.minimum((middle * wanted / count).astype(np.int64), wanted - 1)
    joined = np.unique(joined, return_inverse=True)[1].ravel()
    return joined[factor.codes], int(joined.max()) + 1


def is_grid(factors: Sequence[Factor]) -> bool:
    """Every combination of levels is there exactly once."""
    if not factors:
        return False
    count = len(factors[0].codes)
    if math.prod(len(factor.labels) for factor in factors) != count:
        return False
    return len(np.unique(np.stack([f.codes for f in factors], axis=1), axis=0)) == count


def matched_sets(factors: Sequence[Factor], which: int) -> NDArray[np.int64]:
    """[points], the set of each: points of a set differ in factor `which` alone."""
    others = [f.codes for i, f in enumerate(factors) if i != which]
    count = len(factors[which].codes)
    if not others:
        return np.zeros(count, np.int64)
    stacked = np.stack(others, axis=1)
    return np.unique(stacked, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
