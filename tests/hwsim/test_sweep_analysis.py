"""Fronts, hypervolumes, importance and sensitivity against definitions written out."""

from __future__ import annotations

import itertools
import time
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hwsim.pareto
from hwsim.pareto import hypervolume, hypervolume_history, pareto_front
from hwsim.sweep_analysis import analyse, scale_of
from hwsim.sweep_analysis_importance import importance_of
from hwsim.sweep_analysis_levels import MISSING, classes, is_grid, make_factor, value_text
from hwsim.sweep_analysis_sensitivity import effect_of
from hwsim.yaml12 import parse_value

WHOLE = st.integers(1, 5).flatmap(
    lambda d: arrays(
        np.int64, st.tuples(st.integers(0, 14), st.just(d)), elements=st.integers(0, 5)
    )
)


@pytest.mark.parametrize("many", [-1, 10**9], ids=["kernel", "scan"])
@given(points=WHOLE)
def test_fronts_are_what_no_other_point_beats(many, points):
    """Both ways to a front, whatever the number of points."""
    beaten = [any((q <= p).all() and (q < p).any() for q in points) for p in points]
    with mock.patch.object(hwsim.pareto, "_MANY", many):
        assert pareto_front(points).tolist() == [not b for b in beaten]


def test_front_of_thousands_equals_a_scan(monkeypatch):
    points = np.random.default_rng(1).integers(0, 40, (4000, 4))
    quick = pareto_front(points)
    monkeypatch.setattr(hwsim.pareto, "_MANY", 10**9)
    assert quick.sum() > 30
    assert (quick == pareto_front(points)).all()


@pytest.mark.slow
def test_front_of_100_000_points_in_seconds():
    """All of them on the front, which is the worst case for a scan."""
    points = np.abs(np.random.default_rng(2).normal(size=(100_000, 4)))
    points = -points / np.linalg.norm(points, axis=1)[:, None]
    pareto_front(points[:5000])  # compiles
    started = time.process_time()
    assert pareto_front(points).all()
    assert time.process_time() - started < 3


@given(points=WHOLE)
def test_hypervolume_counts_the_unit_cells_that_are_dominated(points):
    corner = np.full(points.shape[1], 4)
    cells = itertools.product(range(4), repeat=points.shape[1])
    want = sum(any((p <= c).all() for p in points) for c in cells)
    assert hypervolume(points, corner) == want


@given(points=WHOLE)
def test_hypervolume_over_time_is_that_of_each_beginning(points):
    corner = np.full(points.shape[1], 5)
    want = [hypervolume(points[: i + 1], corner) for i in range(len(points))]
    assert hypervolume_history(points, corner).tolist() == want


def test_hypervolume_of_many_equals_slices():
    """Another way, on numbers that are not whole."""

    def sliced(points, corner):
        if points.shape[1] == 1:
            return corner[0] - points.min()
        points = points[np.argsort(points[:, -1])]
        tops = np.append(points[1:, -1], corner[-1])
        parts = (
            sliced(points[: i + 1, :-1], corner[:-1]) * (top - points[i, -1])
            for i, top in enumerate(tops)
        )
        return sum(parts)

    points = np.random.default_rng(0).random((60, 3))
    corner = np.ones(3)
    assert hypervolume(points, corner) == pytest.approx(sliced(points, corner), rel=1e-12)
    assert hypervolume_history(points, corner)[-1] == pytest.approx(hypervolume(points, corner))


@pytest.mark.parametrize(
    ("points", "corner", "text"),
    [
        ([1, 2], [1], "points must be [points, objectives], but got 1 axes"),
        ([[1.0, np.nan]], [1, 1], "points must not hold NaN"),
        ([[1.0, 2.0]], [1], "one number for each of 2 objectives"),
        ([[1.0]], [np.nan], "reference must not hold NaN"),
    ],
)
def test_bad_points_are_refused(points, corner, text):
    with pytest.raises(ValueError) as caught:
        hypervolume(points, corner)
    assert text in str(caught.value)


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])),
    )
)  # fmt: skip
def test_values_as_text_read_back(value):
    back = parse_value(value_text(value))
    assert back == value
    assert type(back) is type(value)


def test_levels_stand_in_order():
    assert make_factor(["rows"], [(16,), (8,), (16,)]).labels == ("8", "16")
    assert make_factor(["rows"], [(16,), (8,), (16,)]).codes.tolist() == [1, 0, 1]
    words = make_factor(["s"], [("2:8",), ("dense",)], [("dense",), ("2:4",), ("2:8",)])
    assert words.labels == ("dense", "2:8")
    assert words.numbers is None
    assert make_factor(["a"], [(MISSING,), (2,)]).labels == ("2", "not set")
    step = make_factor(["a", "b"], [(1, "x"), (1, "y")])
    assert step.name == "a+b"
    assert step.numbers is None  # one number, two values
    assert make_factor(["a"], [(True,), (False,)]).numbers is None


def test_rare_numbers_are_joined_to_classes():
    values = np.random.default_rng(0).permutation(200)
    factor = make_factor(["x"], [(float(v),) for v in values])
    joined, count = classes(factor)
    assert count == 8
    assert np.bincount(joined).tolist() == [25] * 8
    assert (joined == values * 8 // 200).all()


def grid(*sizes):
    """Factors of a whole grid, and their codes."""
    rows = list(itertools.product(*(range(1, n + 1) for n in sizes)))
    factors = [make_factor([f"p{k}"], [(row[k],) for row in rows]) for k in range(len(sizes))]
    return factors, np.array(rows, float)


def test_importance_of_a_sum_and_of_a_product():
    factors, rows = grid(3, 3)
    summed = importance_of("y", 3 * rows[:, 0] + rows[:, 1], factors)
    assert summed.exact
    assert summed.first == pytest.approx((0.9, 0.1))
    assert summed.total == pytest.approx((0.9, 0.1))
    centred = rows - 2
    product = importance_of("y", centred[:, 0] * centred[:, 1], factors)
    assert product.first == pytest.approx((0, 0), abs=1e-12)
    assert product.total == pytest.approx((1, 1))
    assert product.pairs == (("p0", "p1", pytest.approx(1)),)


@given(values=arrays(np.float64, 24, elements=st.integers(-9, 9).map(float)))
def test_shares_on_a_grid_keep_their_definitions(values):
    factors, rows = grid(2, 3, 4)
    found = importance_of("y", values, factors)
    if np.ptp(values) == 0:
        assert found is None
        return
    whole = values.var()
    for k in range(3):
        means = [values[rows[:, k] == v].mean() for v in np.unique(rows[:, k])]
        assert found.first[k] == pytest.approx(np.var(means) / whole)
        others = np.delete(rows, k, axis=1)
        inner = [values[(others == o).all(axis=1)].var() for o in np.unique(others, axis=0)]
        assert found.total[k] == pytest.approx(np.mean(inner) / whole)
        mine = sum(share for a, b, share in found.pairs if f"p{k}" in (a, b))
        assert found.total[k] >= found.first[k] + mine - 1e-9
    assert sum(found.first) + sum(share for *_, share in found.pairs) <= 1 + 1e-9


def test_importance_without_a_grid_is_an_estimate_near_the_truth():
    rng = np.random.default_rng(3)
    x = rng.random((600, 3))
    factors = [make_factor([f"x{k}"], [(float(v),) for v in x[:, k]]) for k in range(3)]
    assert not is_grid(factors)
    found = importance_of("y", 2 * x[:, 0] + x[:, 1], factors)
    assert not found.exact
    assert found.total == (None, None, None)
    # the truth is 0.8, 0.2, 0; classes lose a little within them
    assert found.first == pytest.approx((0.8, 0.2, 0.0), abs=0.05)


def test_sensitivity_of_a_power_law():
    factors, rows = grid(3, 2, 2)
    y = rows[:, 0] ** 2 / rows[:, 1]
    first = effect_of("y", y, factors, 0, chosen=0)
    assert first.matched
    assert first.ratio
    assert first.sets == 4
    assert first.elasticity == pytest.approx((2, 2, 2))
    assert first.middle == pytest.approx(tuple(v**2 / 6 ** (2 / 3) for v in (1, 2, 3)))
    assert first.low == pytest.approx(first.high)
    assert first.chosen == (("2", pytest.approx(4)), ("3", pytest.approx(9)))
    assert effect_of("y", y, factors, 1, None).elasticity == pytest.approx((-1, -1, -1))
    assert effect_of("y", y, factors, 2, None).middle == pytest.approx((1, 1))
    differences = effect_of("y", rows[:, 0] - 2, factors, 0, chosen=0)
    assert not differences.ratio
    assert differences.elasticity is None
    assert differences.middle == (-1, 0, 1)
    assert differences.chosen == (("2", 1), ("3", 2))


def test_sensitivity_without_matched_points_says_so():
    x = np.random.default_rng(4).random((100, 2)) + 0.5
    factors = [make_factor([f"x{k}"], [(float(v),) for v in x[:, k]]) for k in range(2)]
    found = effect_of("y", np.exp(x[:, 0]), factors, 0, None)
    assert (found.matched, found.sets, found.elasticity) == (False, 0, None)
    assert list(found.middle) == sorted(found.middle)
    assert found.low == found.high


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_scales_are_logarithmic_over_a_decade(values):
    assert scale_of(values) == ("log" if max(values) >= 10 * min(values) else "linear")
    assert scale_of([0, *values]) == "linear"


def table(**columns):
    frame = pd.DataFrame(columns)
    frame["order"] = range(1, len(frame) + 1)
    frame["elapsed_seconds"] = frame["order"] / 2
    return frame


def test_a_study_of_a_table():
    frame = table(
        workload=["a"] * 5 + ["b"], status=["done"] * 4 + ["failed", "infeasible"],
        p=[1, 2, 4, 8, 16, 1], q=["s"] * 6,
        cost=[100.0, 10.0, 40.0, 1.0, np.nan, 0.1], gain=[4.0, 2.0, 2.0, 0.0, np.nan, 9.0],
    )  # fmt: skip
    first, second = analyse(frame, {"cost": "min", "gain": "max"}, [["p"], ["q"]])
    assert first.front.tolist() == [True, True, False, True]
    assert [(o.scale, o.best, o.worst) for o in first.objectives] == [
        ("log", 1.0, 100.0), ("linear", 4.0, 0.0)
    ]  # fmt: skip
    assert first.chosen == 1  # halfway in both, the others are at an end of one
    assert first.constant == ("q",)
    # the corner is the worst of each: only the second and third have volume, within the second
    assert first.volume.order.tolist() == [1, 2, 4]
    assert first.volume.scaled.tolist() == pytest.approx([0, 0.25, 0.25])
    assert first.volume.linear.tolist() == pytest.approx([0, 90 / 99 / 2, 90 / 99 / 2])
    assert (second.index, second.chosen, second.volume) == ((), None, None)


def test_a_study_where_nothing_varies():
    frame = table(workload=["a"] * 2, status=["done"] * 2, p=[1, 1], cost=[3.0, 3.0])
    (found,) = analyse(frame, {"cost": "min"}, [["p"]])
    assert found.volume is None
    assert found.importance == found.effects == ()
    assert found.front.all()
    assert found.chosen == 0
