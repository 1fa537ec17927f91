"""Methods of a sweep: what they ask for, that they repeat themselves, and what they find."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from hwsim import sweep_run
from hwsim.pareto import pareto_front
from hwsim.sweep_methods import Learnt, make_sampler
from hwsim.sweep_points import Maker, evaluate
from hwsim.sweep_spec import load_spec
from hwsim.sweep_table import TIMING

run_sweep = partial(sweep_run.run_sweep, figures=False)

SIZES = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96]
SPACE = {
    "accelerator": "sat",
    "workloads": ["resnet18"],
    "parameters": {
        "rows": SIZES,
        "cols": SIZES,
        "sparsity": ["dense", "2:4", "2:8", "2:16"],
        "dram.bytes_per_cycle": [12.0, 24.0, 48.0, 96.0, 384.0],
    },
}
ADAPTIVE = ("tpe", "nsga2", "nsga3")


def search(spec, law):
    """All points that a method asks for when `law` gives the objectives, and these."""
    resolved = load_spec(spec)
    sampler = make_sampler(resolved, Maker(resolved))
    points, found = [], []
    while asked := sampler.ask():
        results = [law(p) for p in asked]
        points += asked
        found += results
        sampler.tell(
            [
                Learnt(point=p, objectives=r, feasible=True)
                for p, r in zip(asked, results, strict=True)
            ]
        )
    assert len(points) <= sampler.total
    return points, found


def product(point):
    """A smooth law of the whole configuration with a trade-off."""
    rows, cols, pattern, wide = point.values.values()
    keep = {"dense": 1.0, "2:4": 0.5, "2:8": 0.25, "2:16": 0.125}[pattern]
    return (keep * 1e6 / (rows * cols) + 1e4 / wide, rows * cols * (1 + wide / 400))


@pytest.mark.parametrize("method", ["random", "lhs", *ADAPTIVE])
def test_budgets_are_kept_points_differ_and_repeat_with_the_seed(method):
    spec = SPACE | {"method": {"name": method, "seed": 3}, "budget": 60}
    first, _ = search(spec, product)
    keys = [p.key for p in first]
    assert len(keys) == len(set(keys)) == 60
    assert keys == [p.key for p in search(spec, product)[0]]
    other, _ = search(spec | {"method": {"name": method, "seed": 4}}, product)
    assert keys != [p.key for p in other]


@pytest.mark.parametrize("method", ["random", "lhs", *ADAPTIVE])
def test_a_small_space_is_exhausted(method):
    spec = SPACE | {"parameters": {"rows": [4, 8, 16], "sparsity": ["dense", "2:4"]}}
    points, _ = search(
        spec | {"method": method, "budget": 50}, lambda p: (float(p.values["rows"]), 1.0)
    )
    assert sorted((p.values["rows"], p.values["sparsity"]) for p in points) == [
        (4, "2:4"), (4, "dense"), (8, "2:4"), (8, "dense"), (16, "2:4"), (16, "dense"),
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["random", "lhs", *ADAPTIVE])
def test_only_allowed_points_are_asked_for(method):
    spec = SPACE | {"constraints": ["256 <= rows * cols <= 1024"], "method": method, "budget": 40}
    points, _ = search(spec, product)
    assert len(points) == 40
    assert all(256 <= p.values["rows"] * p.values["cols"] <= 1024 for p in points)


def test_a_hypercube_has_one_point_in_every_slice():
    wide = {"rows": {"low": 1, "high": 1000}, "dram.bytes_per_cycle": {"low": 1.0, "high": 2.0}}
    points, _ = search(
        SPACE | {"parameters": wide, "method": "lhs", "budget": 100}, lambda p: (0.0, 0.0)
    )
    rows = sorted(p.values["rows"] for p in points)
    assert [(r - 1) // 10 for r in rows] == list(range(100))
    shares = sorted(p.values["dram.bytes_per_cycle"] - 1 for p in points)
    assert [int(s * 100) for s in shares] == list(range(100))


@pytest.mark.parametrize("method", ADAPTIVE)
def test_failed_points_do_not_stop_a_search(method):
    spec = SPACE | {"method": method, "budget": 50}
    points, _ = search(spec, lambda p: None if p.values["rows"] > 30 else product(p))
    assert len(points) == 50


@pytest.mark.parametrize(
    "method",
    ["nsga2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tpe", "nsga3"))],
)
def test_learning_beats_chance(method):
    """Mean of the best over seeds, of a law with one optimum."""

    def law(point):
        rows, cols, pattern, wide = point.values.values()
        far = abs(rows - 24) + abs(cols - 12) + (pattern != "2:8") * 20 + abs(wide - 48) / 10
        return (far, far)

    def best(name, seed):
        return min(v[0] for v in search(SPACE | {"method": {"name": name, "seed": seed},
                                                 "budget": 100}, law)[1])  # fmt: skip

    ours = np.mean([best(method, seed) for seed in range(4)])
    chance = np.mean([best("random", seed) for seed in range(4)])
    assert ours < chance


@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(tmp_path, method):
    from hwsim.sweep_execute import SerialExecutor

    class Interrupted:
        def run(self, runs):
            nonlocal left
            for run in runs:
                if not left:
                    raise KeyboardInterrupt
                left -= 1
                yield from SerialExecutor().run([run])

    spec = SPACE | {
        "workloads": ["digits_cnn"],
        "objectives": {"cycles": "min", "energy_pj": "min"},
        "constraints": ["utilization > 0.05"],
        "method": {"name": method, "seed": 1, "population": 8}, "budget": 24,
    }  # fmt: skip
    if method == "tpe":
        del spec["method"]["population"]
    left = 17
    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path / "out", executor=Interrupted())
    again = run_sweep(spec, tmp_path / "out", workers=1, resume=True)
    calm = run_sweep(spec, tmp_path / "calm", workers=1)
    assert len(calm) == 24
    assert again.drop(columns=list(TIMING)).equals(calm.drop(columns=list(TIMING)))
    assert set(calm["status"]) <= {"done", "infeasible"}


def volume(points, corner):
    """Exact hypervolume that points dominate up to a corner, smaller being better: slices along
    the last objective, each the hypervolume of one objective less."""
    points = np.unique(points[(points < corner).all(axis=1)], axis=0)
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1])]
    tops = np.append(points[1:, -1], corner[-1])
    return sum(
        volume(points[: i + 1, :-1], corner[:-1]) * (top - points[i, -1])
        for i, top in enumerate(tops)
        if top > points[i, -1]
    )


def test_volumes_of_boxes():
    assert volume(np.array([[1.0, 2.0]]), np.array([4.0, 4.0])) == 6.0
    assert volume(np.array([[1.0, 3.0], [2.0, 1.0]]), np.array([4.0, 4.0])) == 3 + 6 - 2
    one = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [5.0, 0.0, 0.0]])
    assert volume(one, np.full(3, 3.0)) == 8 + 3 - 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "objectives", [("cycles", "pes"), ("cycles", "energy_pj", "pes")], ids=["two", "three"]
)
def test_nsga2_finds_the_front_of_2000_points_with_200(objectives):
    """At least 95 % of the exhaustive front's hypervolume, for each of three seeds.

    Objectives are taken as logarithms, scaled so that the front spans 0 to 1, and the corner lies
    at 1.1: on the linear scale the small arrays, with their millions of cycles, would swallow the
    rest, and 200 random points would pass too.
    """
    spec = SPACE | {"objectives": dict.fromkeys(objectives, "min")}
    resolved = load_spec(spec)
    every = make_sampler(resolved, Maker(resolved)).ask()
    assert len(every) == 2000
    outcomes = {
        tuple(p.values.values()): evaluate(p.runs[0]) | {"pes": p.design["pes"]} for p in every
    }

    def law(point):
        outcome = outcomes[tuple(point.values.values())]
        return tuple(float(outcome[name]) for name in objectives)

    values = np.log10([law(p) for p in every])
    front = values[pareto_front(values)]
    low, high = front.min(axis=0), front.max(axis=0)
    corner = np.full(len(objectives), 1.1)
    full = volume((front - low) / (high - low), corner)
    for seed in range(3):
        budget = {"method": {"name": "nsga2", "seed": seed}, "budget": 200}
        points, found = search(spec | budget, law)
        assert len(points) == 200
        share = volume((np.log10(found) - low) / (high - low), corner) / full
        assert share >= 0.95, seed
