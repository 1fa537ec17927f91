"""The reproduction of SMASH: ratios of what ran, ranges with reasons, honest sentences, files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from hwsim import reproduce_smash as study_module
from hwsim import reproduce_smash_parameters as parameter_module
from hwsim import reproduce_smash_tasks as task_module
from hwsim.errors import UserError
from hwsim.reproduce import reproduce
from hwsim.reproduce_smash import reproduce_smash
from hwsim.reproduce_smash_parameters import (
    PARAMETERS,
)
from hwsim.reproduce_smash_tasks import Task, measure, run_tasks
from hwsim.workloads_sparse import load_sparse

SMALL = "rmat:scale=7,edges=700,seed=1"


@pytest.fixture(scope="module")
def patched():
    """The study at a hundredth of its size: two unknowns and small inputs."""
    few = tuple(p for p in PARAMETERS if p.name in ("clock_hz", "input.permute"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (study_module, task_module, parameter_module):
            patch.setattr(module, "STUDY_INPUT", SMALL)
        for module in (study_module, task_module):
            patch.setattr(module, "PARAMETERS", few)
            patch.setattr(module, "STUDY_CHANGES", {"window.table_slots": 1024})
        yield


@pytest.fixture(scope="module")
def study(patched):
    ticks = []
    found = reproduce_smash(
        headline="rmat:scale=8,edges=1500,seed=1",
        inputs=["stencil:side=6"],
        workers=0,
        progress=lambda *tick: ticks.append(tick),
    )
    assert ticks[-1][0] == ticks[-1][1] == len(ticks)
    return found


def test_speedups_are_ratios_of_cycles(study):
    cycles = {
        row["dataflow"]: row["cycles"] for row in study.runs if row["input"] == study.headline
    }
    summary = study.summary
    assert summary["speedup_v3_over_v1"] == cycles["v1"] / cycles["v3"]
    assert summary["speedup_v3_over_v2"] == cycles["v2"] / cycles["v3"]
    ran = [kernel for kernel in ("outer", "inner") if kernel in cycles]
    fastest = min(ran, key=lambda kernel: cycles[kernel], default=None)
    assert summary["prior"]["compared"] == fastest
    over = cycles[fastest] / cycles["v3"] if fastest else None
    assert summary["speedup_v3_over_prior"] == over
    assert summary["relative_difference"] == pytest.approx(cycles["v1"] / cycles["v3"] / 9.4 - 1)


def test_every_run_has_the_truth_of_its_input(study):
    truth = {}
    for name in (study.headline, SMALL):
        a = load_sparse(name).products[0].a
        ones = a.to_scipy().copy()
        ones.data[:] = 1
        truth[name] = (
            int(a.row_lengths @ np.bincount(a.indices, minlength=a.shape[0])),
            (ones @ ones).nnz,
        )
    for row in study.runs:
        if row["input"] in truth:
            assert (row["macs_effective"], row["nnz_c"]) == truth[row["input"]], row["dataflow"]
        assert sum(row["parts"].values()) == row["cycles"]
        moved = row["dram_read_bytes"] + row["dram_write_bytes"]
        assert sum(row["bytes_by_cause"].values()) == moved


def test_mechanisms_begin_at_v1_and_end_at_v3(study):
    rows = study.mechanisms
    assert rows[0]["speedup_over_v1"] == 1.0
    assert rows[-1]["speedup_over_v1"] == study.speedup("v1")
    both = next(row for row in rows if row["kernel"] == "v2" and row["table"] is None)
    assert both["speedup_over_v1"] == pytest.approx(study.speedup("v1") / study.speedup("v2"))


def test_sensitivity_has_both_ends_of_every_unknown(study):
    rows = study.sensitivity
    assert [(row["varied"], row["end"]) for row in rows] == [
        (name, end) for name in ("clock_hz", "input.permute") for end in ("low", "high")
    ]
    same = next(row for row in rows if row["value"] == "no")  # the preset's own end
    assert same["speedup_v3_over_v1"] == study.base["speedup_v3_over_v1"]
    assert all(row["reason"] for row in rows)


def test_files_and_text(study, tmp_path):
    files = study.files()
    tables = {"runs", "inputs", "mechanisms", "sensitivity", "search"}
    figures = {"speedup", "causes", "mechanisms", "tornado", "traffic"}
    assert set(files) == {f"{t}.csv" for t in tables} | {f"{f}.png" for f in figures} | {
        "config.yaml"
    }
    assert all(files[f"{name}.png"][1:4] == b"PNG" for name in figures)
    rows = list(csv.DictReader(files["inputs.csv"].decode().splitlines()))
    assert [row["input"] for row in rows] == [row["input"] for row in study.inputs]
    assert json.loads(json.dumps(study.summary, allow_nan=False)) == study.summary
    text = "\n".join(study.lines())
    assert "published 9.4" in text
    assert f"{study.summary['speedup_v3_over_v1']:.2f}" in text


def test_an_inner_product_of_too_many_pairs_is_skipped_with_the_reason(monkeypatch):
    monkeypatch.setattr(task_module, "INNER_PAIRS", 100)
    found = measure(Task(("x",), "piuma", "stencil:side=4", (("kernel", "inner"),)))
    assert found == {"skipped": "256 candidate pairs, more than 100"}


def test_outcomes_come_in_the_order_of_the_tasks():
    tasks = [
        Task(("run", name, "inner_product"), "inner_product", name)
        for name in ("stencil:side=9", "stencil:side=3")
    ]
    seen = []
    found = run_tasks(tasks, 0, seen.append)
    assert list(found) == [task.key for task in tasks]
    assert seen == tasks
    assert found[tasks[1].key]["nnz_a"] == 49


def test_folders_without_matrices_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"^--data must be a folder of matrices, but got .*none$"):
        reproduce("smash", data=tmp_path / "none")
    with pytest.raises(UserError, match=r"^there is no \.mtx or \.mtx\.gz file in "):
        reproduce("smash", data=tmp_path)
