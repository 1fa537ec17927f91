"""Sweeps that cannot be: one sentence, no traceback, and what was finished stays."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import yaml

from hwsim.errors import UserError
from hwsim.sweep_execute import choose_executor
from hwsim.sweep_methods import make_sampler
from hwsim.sweep_points import Maker
from hwsim.sweep_run import complaint, run_sweep
from hwsim.sweep_spec import load_spec

SPEC = {
    "accelerator": "sat",
    "workloads": ["digits_cnn"],
    "parameters": {"rows": [4, 8], "cols": [4]},
}


def table(cell, where=None):
    """A table of `acc` by rows, with a cell in its second row."""
    rows = [{"r": 4, "a": 1, "net": "x"}, {"r": 8, "a": cell, "net": "y"}]
    measures = {"match": {"rows": "r"}, "measures": {"acc": "a"}}
    return SPEC | {"tables": [{"rows": rows, **measures, "where": where or {}}]}


def refused(spec):
    """The sentence with which a specification is refused before anything runs."""
    with pytest.raises(UserError) as caught:
        loaded = load_spec(spec)
        make_sampler(loaded, Maker(loaded)).ask()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [("nan", "'nan'"), ("-inf", "'-inf'"), ("many", "'many'"), ("", "''"), (None, "None")],
)
def test_a_table_holds_finite_numbers(cell, shown):
    text = f"tables.0: column a must hold finite numbers, but row 2 has {shown}"
    assert refused(table(cell)) == text


def test_rows_that_a_table_leaves_out_may_hold_anything():
    spec = load_spec(table("nan", where={"net": "x"}))
    first, second = make_sampler(spec, Maker(spec)).ask()
    assert first.design["acc"] == 1
    assert second.error == "tables: no row of acc fits rows=8"


def test_a_row_without_the_column_that_is_matched():
    spec = table(1)
    del spec["tables"][0]["rows"][1]["r"]
    assert refused(spec) == "tables.0: row 2 has no column 'r'"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("form", ["list", "values", "low", "high"])
def test_numbers_of_a_parameter_are_finite(value, form):
    given = {
        "list": [8, value],
        "values": {"values": [value]},
        "low": {"low": value, "high": 9.0, "points": 3},
        "high": {"low": 1.0, "high": value, "points": 3},
    }[form]
    text = refused(SPEC | {"parameters": {"dram.bytes_per_cycle": given}})
    assert text == (f"parameters.dram.bytes_per_cycle: its numbers must be finite, but got {value}")


def test_a_sweep_whose_every_size_is_negative_is_refused():
    text = refused(SPEC | {"parameters": {"rows": [-4, -8]}})
    assert text == (
        "none of the 2 points is allowed: rows: input should be greater than or equal to 1, "
        "but got -4"
    )


def test_a_constraint_without_a_value_anywhere_is_refused():
    text = refused(SPEC | {"constraints": ["rows / 0 > 1"]})
    assert text.startswith("none of the 2 points is allowed: constraints.0: 'rows / 0 > 1' has no")


def test_an_objective_is_a_number(tmp_path):
    text = "objectives.sparsity: it must be a number, but the field is a text"
    assert refused(SPEC | {"objectives": {"sparsity": "min"}}) == text
    infinite = {"derived": {"x": "cycles * 1e400"}, "objectives": {"x": "min"}}
    frame = run_sweep(SPEC | infinite, tmp_path, workers=1)
    assert set(frame["error"]) == {"objectives.x: it has no value here"}


def test_an_objective_may_be_a_parameter(tmp_path):
    objectives = {"objectives": {"cycles": "min", "rows": "min"}}
    frame = run_sweep(SPEC | objectives, tmp_path, workers=1)
    assert frame["pareto"].tolist() == [True, True]
    assert complaint(frame) == ""


def test_a_sweep_without_a_good_point_says_why_and_keeps_its_results(tmp_path):
    spec = SPEC | {"constraints": ["cycles < 0"]}
    frame = run_sweep(spec, tmp_path / "a", workers=1)
    assert complaint(frame) == (
        "none of the 2 points has a result that is allowed: constraint cycles < 0 does not hold"
    )
    assert (tmp_path / "a" / "results.csv").read_text().count("infeasible") == 2
    spec = SPEC | {"derived": {"x": "1 / (rows - rows)"}, "objectives": {"x": "min"}}
    text = complaint(run_sweep(spec, tmp_path / "b", workers=1))
    assert "derived.x: '1 / (rows - rows)' has no value for" in text
    assert text.endswith("; 1 other reasons are in results.csv")


@pytest.mark.parametrize(
    "address", ["", "bogus", "http://here:1", "tcp://here", "tcp://", "tcp://here:port"]
)
def test_an_address_of_a_scheduler_that_is_none(address):
    pytest.importorskip("distributed")
    with pytest.raises(UserError) as caught:
        choose_executor(1, address, ())
    assert str(caught.value) == f"--scheduler must read tcp://HOST:PORT, but got {address!r}"


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("keep")
    for folder in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(UserError, match="cannot make the folder"):
            run_sweep(SPEC, folder, workers=1)
    assert (tmp_path / "file").read_text() == "keep"


def command(*arguments):
    """`hwsim sweep` with arguments: exit status and stderr."""
    code = "from hwsim.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.slow
def test_a_full_disk_keeps_what_is_finished(tmp_path):
    """On a file system of 160 KB, and again after it has grown."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        path = tmp_path / "spec.yaml"
        large = {"parameters": {"rows": {"low": 4, "high": 30}, "cols": {"low": 4, "high": 17}}}
        path.write_text(yaml.safe_dump(SPEC | large))
        status, errors = command(path, "--workers", 1, "-o", disk / "out")
        assert status == 2
        assert "results.sqlite: database or disk is full" in errors
        assert errors.count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        status, errors = command(path, "--workers", 1, "--resume", "-o", disk / "out")
        assert status == 0, errors
        lines = (disk / "out" / "results.csv").read_text().splitlines()
        assert len(lines) == 1 + 27 * 14
    finally:
        subprocess.run(["umount", disk], check=True)
