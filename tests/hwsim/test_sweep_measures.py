"""Measures of a sweep: mixes, derived ones, constraints on results, keys, failures."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim import sweep_run
from hwsim.api import simulate
from hwsim.errors import UserError
from hwsim.sweep_measures import combine
from hwsim.sweep_points import Maker, Run, code_version, counts_for_results, evaluate
from hwsim.sweep_run import summarise
from hwsim.sweep_spec import load_spec
from hwsim.sweep_store import Finished, Store

run_sweep = partial(sweep_run.run_sweep, figures=False)

SPEC = {
    "accelerator": "sat",
    "workloads": ["digits_cnn"],
    "parameters": {"rows": [4, 8], "sparsity": ["dense", "2:4"]},
}


def test_a_mix_is_the_weighted_sum_and_keeps_its_parts(tmp_path):
    works = [
        {"name": "digits_cnn", "weight": 3, "batch": 2},
        {"name": "digits_cnn", "weight": 0.5, "phase": "training", "label": "step"},
    ]
    frame = run_sweep(
        SPEC | {"workloads": works, "measures": ["engine.mac_dense"]}, tmp_path, workers=1
    )
    assert len(frame) == 4
    assert set(frame["workload"]) == {"3 digits_cnn + 0.5 step"}
    for row in frame.to_dict("records"):
        changes = [f"rows={row['rows']}", f"sparsity={row['sparsity']}"]
        one = simulate("digits_cnn", "sat", overrides=changes, batch=2).summary
        two = simulate("digits_cnn", "sat", overrides=changes, phase="training").summary
        assert row["cycles"] == 3 * one["cycles"] + 0.5 * two["cycles"]
        assert row["energy_pj"] == pytest.approx(3 * one["energy_pj"] + 0.5 * two["energy_pj"])
        assert row["engine.mac_dense"] == 3 * one["macs_dense"] + 0.5 * two["macs_dense"]
        # utilization of the mix: its kept multiplies over what the array could have done in it
        kept = 3 * one["macs_effective"] + 0.5 * two["macs_effective"]
        assert row["utilization"] == pytest.approx(kept / (row["pes"] * row["cycles"]))
        assert row["cycles@digits_cnn"] == one["cycles"]
        assert row["cycles@step"] == two["cycles"]
    assert frame["pareto"].any()
    assert len(summarise(frame)["pareto"]) == frame["pareto"].sum()


def test_objectives_derived_measures_and_constraints_on_results(tmp_path):
    spec = SPEC | {
        "derived": {"edp": "energy_pj * seconds", "edp_pe": "edp * pes"},
        "objectives": {"edp_pe": "min", "utilization": "max"},
        "constraints": ["cycles < 1900", "sat.stce.mac > 0"],
        "measures": ["sat.stce.mac", "energy_parts_pj.dram", "sat.wuve.update"],
    }
    frame = run_sweep(spec, tmp_path, workers=1)
    assert (frame["edp"] == frame["energy_pj"] * frame["seconds"]).all()
    assert (frame["edp_pe"] == frame["edp"] * frame["pes"]).all()
    broken = frame["cycles"] >= 1900
    assert broken.any() and not broken.all()
    assert (frame["status"] == broken.map({True: "infeasible", False: "done"})).all()
    assert (frame.loc[broken, "error"] == "constraint cycles < 1900 does not hold").all()
    assert not frame.loc[broken, "pareto"].any()
    good = frame[~broken]
    for i, row in good.iterrows():
        better = (good["edp_pe"] <= row["edp_pe"]) & (good["utilization"] >= row["utilization"])
        strictly = (good["edp_pe"] < row["edp_pe"]) | (good["utilization"] > row["utilization"])
        assert row["pareto"] == (not (better & strictly).any()), i
    assert (frame["sat.stce.mac"] > 0).all()
    assert (frame["sat.wuve.update"] == 0).all()  # a counter that inference never moves
    result = simulate("digits_cnn", "sat", overrides=["rows=4", "sparsity=dense"])
    dram = sum(run.energy_parts_pj.get("dram", 0.0) for run in result.runs)
    assert frame["energy_parts_pj.dram"][0] == pytest.approx(dram)


def test_an_objective_that_a_result_lacks_fails_the_point(tmp_path):
    frame = run_sweep(SPEC | {"objectives": {"ipc": "max"}}, tmp_path, workers=1)
    assert (frame["status"] == "failed").all()
    assert set(frame["error"]) == {"objectives.ipc: it has no value here"}


def test_a_derived_measure_without_value_fails_its_point_alone(tmp_path):
    spec = SPEC | {"derived": {"a": "1 / (rows - 4)"}}
    frame = run_sweep(spec, tmp_path, workers=1)
    assert frame["status"].tolist() == ["failed", "failed", "done", "done"]
    assert "has no value for rows=4: division by zero" in frame["error"][0]


def test_area_is_a_measure_of_the_design(tmp_path):
    from hwsim.config import load_config

    area = pytest.importorskip("hwsim.area")
    try:
        area.estimate(load_config("sat"))
    except (UserError, OSError):
        pytest.skip("the area model is not fitted")
    spec = SPEC | {"objectives": {"cycles": "min", "area_lut": "min"}, "measures": ["area_ff"]}
    frame = run_sweep(spec, tmp_path, workers=1)
    for row in frame.to_dict("records"):
        config = load_config("sat", [f"rows={row['rows']}", f"sparsity={row['sparsity']}"])
        assert row["area_lut"] == area.estimate(config).lut
        assert row["area_ff"] == area.estimate(config).ff
    spec = SPEC | {"constraints": ["area_lut < 0"]}
    with pytest.raises(UserError, match="none of the 4 points is allowed"):
        run_sweep(spec, tmp_path / "none", workers=1)


def test_a_defect_in_one_point_is_recorded_and_the_rest_runs(tmp_path, monkeypatch):
    from hwsim import sweep_points

    original = sweep_points._layers_summary

    def broken(run, config):
        if config.rows == 8:
            raise ZeroDivisionError("a\ndefect")
        return original(run, config)

    monkeypatch.setattr(sweep_points, "_layers_summary", broken)
    frame = run_sweep(SPEC, tmp_path, workers=1)
    assert frame["status"].tolist() == ["done", "done", "failed", "failed"]
    assert frame["error"][2] == "ZeroDivisionError: a defect"
    again = run_sweep(SPEC, tmp_path, workers=1, resume=True)  # a failure is not repeated either
    pd.testing.assert_frame_equal(frame, again)


@pytest.mark.slow
def test_sparse_products_are_swept(tmp_path):
    spec = {
        "accelerator": "spgemm", "workloads": ["rmat:scale=6,edges=200,seed=1"],
        "parameters": {"banks": [4, 8]}, "measures": ["spgemm.hash.probe"],
    }  # fmt: skip
    frame = run_sweep(spec, tmp_path, workers=1)
    assert (frame["status"] == "done").all(), frame["error"].tolist()
    assert (frame["spgemm.hash.probe"] > 0).all()
    run = Maker(load_spec(spec)).points({"banks": 4})[0].runs[0]
    assert isinstance(run, Run)
    assert evaluate(run)["cycles"] == frame["cycles"][0]


def test_the_code_is_part_of_the_key(monkeypatch):
    spec = load_spec(SPEC)
    before = Maker(spec).points({"rows": 4, "sparsity": "dense"})[0].key
    monkeypatch.setattr("hwsim.sweep_points.code_version", lambda: "another")
    assert Maker(spec).points({"rows": 4, "sparsity": "dense"})[0].key != before
    assert len(code_version()) == 24


def test_what_counts_for_results():
    for name in ("engine.py", "phases.py", "config.py", "sweep_points.py", "sweep_measures.py"):
        assert counts_for_results("hwsim", name)
    assert counts_for_results("hwsim.models", "digits_cnn.npz")
    assert counts_for_results("hwsim.dataflows", "stce.py")
    for name in (
        "cli.py",
        "figures.py",
        "spgemm_figures.py",
        "sweep_run.py",
        "__pycache__",
        ".x.py",
    ):
        assert not counts_for_results("hwsim", name)


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 50)),
        min_size=1,
        max_size=5,
    )
)
def test_combining_adds_counts_exactly_and_keeps_ratios(parts):
    measures = [
        {"cycles": cycles, "macs_effective": macs, "utilization": macs / (64 * cycles)}
        for cycles, macs, _ in parts
    ]
    weights = [weight for _, _, weight in parts]
    mixed = combine(measures, weights, ["cycles", "macs_effective", "utilization"])
    assert mixed["cycles"] == sum(w * c for c, _, w in parts)
    assert mixed["macs_effective"] == sum(w * m for _, m, w in parts)
    want = mixed["macs_effective"] / (64 * mixed["cycles"])
    assert mixed["utilization"] == pytest.approx(want)
    assert combine([{"a": None}, {"a": 1}], [1, 1], ["a"]) == {"a": None}


def test_the_record_keeps_order_and_never_repeats(tmp_path):
    with Store(tmp_path) as store:
        store.add([Finished("b", {"x": 1}, 0.5), Finished("a", {"x": 2}, 0.25)])
        with pytest.raises(UserError, match="another sweep is running in"):
            Store(tmp_path)
        store.add([Finished("b", {"x": 3}, 9.0), Finished("c", {"x": 4}, 0.125)])
        before = dict(store.records)
    with Store(tmp_path) as store:
        assert store.records == before
        assert [(k, r.order, r.outcome["x"]) for k, r in store.records.items()] == [
            ("b", 1, 1), ("a", 2, 2), ("c", 3, 4),
        ]  # fmt: skip
        store.add([Finished("d", {"x": 5}, 0.0)])
        assert store.records["d"].elapsed >= before["c"].elapsed


def test_a_record_that_is_no_database(tmp_path):
    (tmp_path / "results.sqlite").write_text("not a database, and long enough to tell" * 40)
    with pytest.raises(UserError, match=r"cannot use .*results.sqlite: file is not a database"):
        Store(tmp_path)
