"""Sweeps: the grid, durability under kill -9, resuming, failures, the front."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim import sweep_run
from hwsim.api import simulate
from hwsim.errors import UserError
from hwsim.pareto import pareto_front
from hwsim.sweep_execute import SerialExecutor
from hwsim.sweep_methods import make_sampler
from hwsim.sweep_points import Maker
from hwsim.sweep_run import summarise
from hwsim.sweep_spec import load_spec
from hwsim.sweep_table import TIMING

run_sweep = partial(sweep_run.run_sweep, figures=False)

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


def points(spec):
    """Every point of a grid."""
    return make_sampler(spec, Maker(spec)).ask()


def results_of(frame):
    """The results without the columns that tell how long they took."""
    return frame.drop(columns=list(TIMING))


class Each:
    """Executes runs one by one in this process; `before` is called with the number done."""

    def __init__(self, before=lambda done: None):
        self.before = before
        self.seen = []

    def run(self, runs):
        for run in runs:
            self.before(len(self.seen))
            self.seen.append(run.key)
            yield from SerialExecutor().run([run])


def test_grid_is_the_product_with_fields_in_step():
    every = points(load_spec(SPEC))
    assert len(every) == 3 * 2 * 2 * 2
    assert len({p.key for p in every}) == len(every)
    assert all(p.runs[0].config.rows == p.runs[0].config.cols for p in every)


def test_equal_points_are_computed_once():
    spec = SPEC | {"parameters": {"rows": [4, 4, 8]}, "together": []}
    assert len(points(load_spec(spec))) == 4


def test_run_writes_tidy_tables_and_figures(tmp_path):
    frame = run_sweep(SPEC, tmp_path / "out", workers=1, figures=True)
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
    pd.testing.assert_frame_equal(results_of(one), results_of(two))


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


def test_training_steps_are_swept(tmp_path):
    spec = {
        "accelerator": "sat", "workloads": ["digits_cnn", "lstm"], "phase": "training", "batch": 4,
        "parameters": {"pregeneration": [True, False], "method": ["bdwp"]},
    }  # fmt: skip
    frame = run_sweep(spec, tmp_path, workers=1)
    trained, refused = frame[frame["workload"] == "digits_cnn"], frame[frame["workload"] == "lstm"]
    each = [["pregeneration=true"], ["pregeneration=false"]]
    steps = [simulate("digits_cnn", "sat", overrides=o, phase="training", batch=4) for o in each]
    assert sorted(trained["cycles"]) == sorted(s.summary["cycles"] for s in steps)
    assert refused["error"].str.startswith("training of recurrent layers is not modelled").all()


def test_resume_runs_only_what_is_missing(tmp_path):
    out = tmp_path / "out"
    whole = run_sweep(SPEC, out, workers=1)
    with sqlite3.connect(out / "results.sqlite") as database:
        database.execute("DELETE FROM runs WHERE key IN (SELECT key FROM runs LIMIT 5)")
    database.close()
    executor = Each()
    again = run_sweep(SPEC, out, resume=True, executor=executor)
    assert len(executor.seen) == 5
    pd.testing.assert_frame_equal(results_of(whole), results_of(again))


def test_folders_are_not_overwritten(tmp_path):
    run_sweep(SPEC, tmp_path / "out", workers=1)
    with pytest.raises(UserError, match="--resume goes on with it"):
        run_sweep(SPEC, tmp_path / "out", workers=1)
    other = SPEC | {"workloads": ["resnet9"]}
    with pytest.raises(UserError, match="holds the results of another sweep"):
        run_sweep(other, tmp_path / "out", workers=1, resume=True)


def test_ctrl_c_keeps_what_is_done(tmp_path, capsys):
    def interrupt(done):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(SPEC, tmp_path / "out", executor=Each(interrupt))
    assert "stopped after 3 of 24 points" in capsys.readouterr().err
    frame = run_sweep(SPEC, tmp_path / "out", workers=1, resume=True)
    assert len(frame) == 24


def command(*args):
    """A sweep in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from hwsim.cli import main; main()", "sweep", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def recorded(folder):
    """Keys that the record in `folder` holds now, in the order in which they came."""
    if not (folder / "results.sqlite").exists():
        return []
    database = sqlite3.connect(folder / "results.sqlite")
    try:
        return [key for (key,) in database.execute("SELECT key FROM runs ORDER BY position")]
    except sqlite3.OperationalError:  # the table is not there yet
        return []
    finally:
        database.close()


def wait_for_more(process, folder, than):
    """Until the record grows; the number of points, or None when the process is done."""
    deadline = time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < deadline, "the sweep makes no progress"
        if len(recorded(folder)) > than:
            return len(recorded(folder))
        time.sleep(0.01)
    return None


def large(tmp_path):
    """A grid that takes seconds, and its file."""
    import yaml

    spec = SPEC | {
        "workloads": ["resnet9", "resnet18"],
        "parameters": SPEC["parameters"] | {"psum_depth": [32, 64, 128, 256, 512]},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return spec, path


def test_kill_9_loses_and_repeats_nothing(tmp_path):
    """One process; tests of the cluster kill its workers too."""
    spec, path = large(tmp_path)
    out = tmp_path / "out"
    rng = random.Random(4)
    kept = []
    for _ in range(2):
        process = command(path, "-o", out, "--workers", "1", *(["--resume"] if kept else []))
        with process:
            assert wait_for_more(process, out, len(kept)) is not None
            time.sleep(rng.uniform(0.0, 0.2))
            os.killpg(process.pid, signal.SIGKILL)
        found = recorded(out)
        assert found[: len(kept)] == kept  # nothing that was finished is lost or done again
        kept = found
    frame = run_sweep(path, out, workers=1, resume=True)
    assert 0 < len(kept) < len(frame), "every kill came too late to test anything"
    assert len(set(recorded(out))) == len(recorded(out)) == len(frame)
    run_sweep(spec, tmp_path / "calm", workers=1)
    for read, name in ((pd.read_csv, "results.csv"), (pd.read_parquet, "results.parquet")):
        undisturbed = results_of(read(tmp_path / "calm" / name))
        pd.testing.assert_frame_equal(undisturbed, results_of(read(out / name)))


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_stops_workers_and_says_how_to_go_on(tmp_path):
    _, path = large(tmp_path)
    out = tmp_path / "out"
    with command(path, "-o", out, "--workers", "2") as process:
        assert wait_for_more(process, out, 0) is not None
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command with --resume goes on" in errors
    assert "Traceback" not in errors
    assert recorded(out)


def test_a_record_that_cannot_be_written_costs_a_sentence(tmp_path):
    def drop(done):
        if done == 1:
            database = sqlite3.connect(tmp_path / "results.sqlite")
            with database:
                database.execute("DROP TABLE runs")
            database.close()

    with pytest.raises(UserError, match=r"cannot write .*results.sqlite: no such table: runs"):
        run_sweep(SPEC, tmp_path, executor=Each(drop))


def test_a_run_killed_while_it_claimed_the_folder_does_not_block_it(tmp_path):
    (tmp_path / ".sweep.yaml.k3j2").write_text("half")
    spec = SPEC | {"workloads": ["digits_cnn"], "parameters": {"rows": [4]}, "together": []}
    assert len(run_sweep(spec, tmp_path, workers=1)) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no sweep"):
        run_sweep(spec, tmp_path / "other", workers=1)


def test_progress_tells_the_rate(tmp_path):
    told = []
    spec = SPEC | {"workloads": ["digits_cnn"], "parameters": {"rows": [4, 8]}, "together": []}
    run_sweep(spec, tmp_path, workers=1, progress=lambda *words: told.append(words))
    assert told[0][:2] == (0, 2)
    assert told[-1][:2] == (2, 2)
    for part in ("points/s", "0:00 left", "best cycles "):
        assert part in told[-1][2]


def test_keys_tell_apart_what_changes_a_result_and_nothing_else():
    def keys(change):
        spec = {"accelerator": "sat", "workloads": ["resnet9"], "parameters": {"rows": [8]}}
        return [point.key for point in points(load_spec(spec | change))]

    base = keys({})
    assert keys({}) == base
    assert keys({"parameters": {"cols": [32], "rows": [8]}}) == base  # 32 is the preset's
    assert keys({"parameters": {"rows": [8], "sparsity": ["1:1"]}}) == keys(
        {"parameters": {"rows": [8], "sparsity": ["dense"]}}
    )
    for change in (
        {"workloads": ["resnet18"]},
        {"parameters": {"rows": [16]}},
        {"batch": 2},
        {"seed": 1},
        {"accelerator": "systolic"},
    ):
        assert keys(change) != base


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
        ({"phase": "sleep"}, "phase: input should be 'inference' or 'training', but got 'sleep'"),
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
