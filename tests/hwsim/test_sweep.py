"""Sweeps: the grid, durability under kill -9, resuming, failures, the front."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import UserError
from hwsim.pareto import pareto_front
from hwsim.sweep_run import run_sweep, summarise
from hwsim.sweep_spec import load_spec, points

SPEC = {
    "accelerator": "sat",
    "workloads": ["resnet9", "digits_cnn"],
    "parameters": {
        "rows": [4, 8, 16],
        "cols": [4, 8, 16],
        "sparsity": ["dense", "2:4"],
        "dram.bytes_per_cycle": [8.0, None],
    },
    "together": [["rows", "cols"]],
}


def test_grid_is_the_product_with_fields_in_step():
    found = points(load_spec(SPEC))
    assert len(found) == 3 * 2 * 2 * 2
    assert len({p.key for p in found}) == len(found)
    assert all(p.config.rows == p.config.cols for p in found)


def test_equal_points_are_computed_once():
    spec = SPEC | {"parameters": {"rows": [4, 4, 8]}, "together": []}
    assert len(points(load_spec(spec))) == 4


def test_run_writes_tidy_tables_and_figures(tmp_path):
    frame = run_sweep(SPEC, tmp_path / "out", workers=1)
    out = tmp_path / "out"
    assert len(frame) == 24
    assert (frame["status"] == "done").all()
    csv = pd.read_csv(out / "results.csv")
    parquet = pd.read_parquet(out / "results.parquet")
    assert csv["key"].tolist() == parquet["key"].tolist() == frame["key"].tolist()
    assert csv["cycles"].tolist() == frame["cycles"].tolist()
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    for _, group in frame.groupby("workload"):
        front = group[group["pareto"]]
        for _, row in group.iterrows():
            better = (front["pes"] <= row["pes"]) & (front["cycles"] <= row["cycles"])
            assert better.any()
    assert summarise(frame)["points"] == 24


def test_processes_give_what_one_process_gives(tmp_path):
    one = run_sweep(SPEC, tmp_path / "one", workers=1)
    two = run_sweep(SPEC, tmp_path / "two", workers=2)
    pd.testing.assert_frame_equal(one, two)


def test_a_point_that_breaks_a_rule_is_recorded_and_the_rest_runs(tmp_path):
    spec = {
        "accelerator": "sat",
        "workloads": ["resnet9"],
        "parameters": {"psum_depth": [64, 100], "buffers.input_bytes": [64, 2097152]},
    }
    frame = run_sweep(spec, tmp_path, workers=1)
    assert frame["status"].tolist() == ["failed", "done", "failed", "failed"]
    assert "half of it must hold" in frame["error"][0]
    assert "psum_depth must be a power of two, but got 100" in frame["error"][2]


def test_resume_runs_only_what_is_missing(tmp_path):
    out = tmp_path / "out"
    whole = run_sweep(SPEC, out, workers=1)
    with sqlite3.connect(out / "results.sqlite") as database:
        database.execute("DELETE FROM points WHERE key IN (SELECT key FROM points LIMIT 5)")
    database.close()
    seen = []

    class Executor:
        def run(self, pending):
            from hwsim.sweep_run import evaluate

            for point in pending:
                seen.append(point.key)
                yield point, evaluate(point, "inference", 1, 0)

    again = run_sweep(SPEC, out, resume=True, executor=Executor())
    assert len(seen) == 5
    pd.testing.assert_frame_equal(whole, again)


def test_folders_are_not_overwritten(tmp_path):
    run_sweep(SPEC, tmp_path / "out", workers=1)
    with pytest.raises(UserError, match="--resume goes on with it"):
        run_sweep(SPEC, tmp_path / "out", workers=1)
    other = SPEC | {"workloads": ["resnet9"]}
    with pytest.raises(UserError, match="holds the results of another sweep"):
        run_sweep(other, tmp_path / "out", workers=1, resume=True)


def test_ctrl_c_keeps_what_is_done(tmp_path, capsys):
    class Interrupted:
        def run(self, pending):
            from hwsim.sweep_run import evaluate

            for i, point in enumerate(pending):
                if i == 3:
                    raise KeyboardInterrupt
                yield point, evaluate(point, "inference", 1, 0)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(SPEC, tmp_path / "out", executor=Interrupted())
    assert "stopped after 3 of 24 points" in capsys.readouterr().err
    frame = run_sweep(SPEC, tmp_path / "out", workers=1, resume=True)
    assert len(frame) == 24


@pytest.mark.slow
def test_kill_9_loses_and_repeats_nothing(tmp_path):
    import yaml

    spec = SPEC | {
        "workloads": ["resnet9", "resnet18", "resnet50", "vgg19", "vit_small"],
        "parameters": SPEC["parameters"] | {"psum_depth": [32, 64, 128, 256, 512]},
    }
    undisturbed = run_sweep(spec, tmp_path / "calm", workers=2)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    out = tmp_path / "out"
    rng = random.Random(4)
    kept = 0
    for attempt in range(40):
        args = ["sweep", str(path), "-o", str(out), "--workers", "2"]
        args += ["--resume"] if (out / "sweep.yaml").exists() else []
        process = subprocess.Popen(
            [sys.executable, "-c", "from hwsim.cli import main; main()", *args],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=rng.uniform(2.0, 5.0) if attempt < 6 else 120)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.1)
            if (out / "results.sqlite").exists():
                with sqlite3.connect(out / "results.sqlite") as database:
                    found = database.execute("SELECT COUNT(*) FROM points").fetchone()[0]
                database.close()
                assert found >= kept
                kept = found
    assert process.returncode == 0
    disturbed = pd.read_csv(out / "results.csv")
    assert disturbed["key"].is_unique
    assert disturbed["key"].tolist() == undisturbed["key"].tolist()
    assert disturbed["cycles"].tolist() == undisturbed["cycles"].tolist()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"accelerator": "tpu"}, "accelerator 'tpu' is neither a preset"),
        ({"workloads": []}, "workloads: list should have at least 1 item"),
        ({"workloads": ["resnet1"]}, "workload 'resnet1' is neither"),
        ({"parameters": {}}, "parameters: dictionary should have at least 1 item"),
        ({"parameters": {"rwos": [1]}, "together": []}, "parameters.rwos: there is no such field"),
        ({"together": [["rows", "sparsity"]]}, "equally many values, but got 3 of rows, 2 of spar"),
        ({"together": [["rows", "group"]]}, "together: group is not among the parameters"),
        ({"together": [["rows", "cols"], ["cols", "rows"]]}, "together: cols is named twice"),
        ({"batch": 0}, "batch: input should be greater than or equal to 1, but got 0"),
        ({"color": "red"}, "color: there is no such field; those here are accelerator"),
        ({"parameters": {"rows": list(range(1, 1001)), "cols": list(range(1, 1002))},
          "together": []}, "at most 1,000,000 points, but got 2,002,000"),
    ],
)  # fmt: skip
def test_bad_specifications(change, text):
    with pytest.raises(UserError) as caught:
        points(load_spec(SPEC | change))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.integers(1, 4).flatmap(
        lambda d: st.lists(st.tuples(*[st.integers(0, 6)] * d), min_size=1, max_size=30)
    )
)
def test_front_against_brute_force(rows):
    array = np.array(rows)
    want = [
        not any((other <= row).all() and (other < row).any() for other in array) for row in array
    ]
    assert pareto_front(array).tolist() == want


def test_front_arguments():
    assert pareto_front(np.zeros((0, 2))).tolist() == []
    with pytest.raises(ValueError, match="points must be"):
        pareto_front([1, 2])
    with pytest.raises(ValueError, match="must not hold NaN"):
        pareto_front([[np.nan, 1]])
