"""Results on disk and in Python: whole sets of files, reports of what was run, names that stay."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
from networks import find

import hwsim
from hwsim import files
from hwsim.api import simulate
from hwsim.errors import UserError
from hwsim.files import write_all
from hwsim.html import write_report
from hwsim.result import FIGURE_NAMES
from hwsim.saved import load_result

FIGURES = {f"{name}.{kind}" for name in FIGURE_NAMES for kind in ("png", "svg")}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def full_disk(monkeypatch):
    """Makes the n-th file from now fail as on a full disk."""

    def after(number):
        left = [number]
        real = os.fsync

        def fsync(handle):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        monkeypatch.setattr(files.os, "fsync", fsync)

    return after


@pytest.mark.parametrize("number", range(3))
def test_a_disk_that_fills_half_way_keeps_the_whole_old_set(number, tmp_path, full_disk):
    simulate("digits_mlp", "sat").write(tmp_path, figures=False)
    before = contents(tmp_path)
    new = simulate("resnet9", "sat", overrides=["rows=16"])
    full_disk(number)
    with pytest.raises(UserError, match=r"^cannot write .*: No space left on device$"):
        new.write(tmp_path, figures=False)
    assert contents(tmp_path) == before  # no mix of two runs, no temporary files


def test_an_interrupt_leaves_no_temporary_files(tmp_path, monkeypatch):
    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_all(tmp_path, {"a": b"1"})
    assert contents(tmp_path) == {}


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"^cannot make the folder .*file"):
        simulate("digits_mlp", "sat").write(tmp_path / "file", figures=False)
    with pytest.raises(UserError, match=r"^cannot write .*gone/a: No such file or directory$"):
        write_all(tmp_path / "gone", {"a": b""})


def test_figures_of_an_earlier_run_do_not_stay(tmp_path):
    (tmp_path / "notes.png").write_bytes(b"mine")
    simulate("digits_mlp", "sat").write(tmp_path)
    assert set(contents(tmp_path)) >= FIGURES
    simulate("resnet9", "sat").write(tmp_path, figures=False)
    assert not set(contents(tmp_path)) & FIGURES
    assert (tmp_path / "notes.png").read_bytes() == b"mine"


def test_a_report_shows_the_run_in_the_folder(tmp_path):
    """Drawn from the files: equal to the run's own figures, whatever lay there before."""
    result = simulate("resnet9", "sat", batch=2)
    result.write(tmp_path / "run")
    result.write(tmp_path / "bare", figures=False)
    (tmp_path / "bare" / "cycles.png").write_bytes(b"of another run")
    write_report(tmp_path / "bare")
    run, bare = contents(tmp_path / "run"), contents(tmp_path / "bare")
    assert {name: bare[name] for name in run} == run


def test_a_report_of_an_imported_network(tmp_path):
    simulate(find("silero_vad"), "sat").write(tmp_path, figures=False)
    page = write_report(tmp_path).read_text()
    assert page.count("data:image/png;base64,") == len(FIGURE_NAMES)
    assert "silero_vad on sat" in page


def test_a_result_reads_back_exactly(tmp_path):
    result = simulate("resnet18", "sat", overrides=["sparsity=2:4"])
    saved = load_result(result.write(tmp_path, figures=False))
    assert saved.rows == result.rows
    assert saved.summary == json.loads(result.to_json(layers=False))
    assert saved.config == result.config


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("summary.json", "{", "[", "is not valid JSON"),
        ("summary.json", '"counters"', '"counts"', "must have the key counters"),
        ("layers.csv", "layer,", "name,", "must have the column layer"),
        ("layers.csv", "Gemm,1,", "Gemm,one,", "m must be a number in line 2, but got 'one'"),
        ("config.yaml", "kind: sat", "kind: tpu", "kind: must be one of systolic, sat"),
    ],
)
def test_a_report_of_spoilt_files_names_what_is_wrong(name, old, new, text, tmp_path):
    simulate("digits_mlp", "sat").write(tmp_path, figures=False)
    whole = (tmp_path / name).read_text()
    assert old in whole
    (tmp_path / name).write_text(whole.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        write_report(tmp_path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_functions_are_not_hidden_by_modules_of_their_names():
    """In a process of its own, where nothing is loaded yet and then everything is."""
    code = """
import hwsim
spec = {"accelerator": "sat", "workloads": ["digits_mlp"], "parameters": {"rows": [8]}}
first = hwsim.sweep(spec, workers=1)
second = hwsim.sweep(spec, workers=1)
assert first["cycles"].tolist() == second["cycles"].tolist()
from hwsim.sweep_run import run_sweep
from hwsim.design import write_design
from importlib.util import find_spec
assert not any(find_spec(f"hwsim.{name}") for name in hwsim.__all__ if name != "__version__")
assert callable(hwsim.sweep) and callable(hwsim.generate)
from hwsim import generate, sweep
assert callable(sweep) and callable(generate)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_all_there():
    for name in hwsim.__all__:
        assert getattr(hwsim, name) is not None
