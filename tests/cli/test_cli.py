"""The command line as a user meets it: outputs, exit codes, one sentence for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from networks import THREE, find

from hwsim.config import load_config
from hwsim.result import LAYER_COLUMNS

KEYS = {
    "workload", "accelerator", "phase", "batch", "cycles", "seconds", "macs_dense",
    "macs_effective", "utilization", "dram_read_bytes", "dram_write_bytes", "energy_pj",
    "counters", "version", "seed",
}  # fmt: skip


def hwsim(*args, cwd=None, env=None):
    """Run the command in a process of its own, as a shell would."""
    return subprocess.run(
        [sys.executable, "-c", "from hwsim.cli import main; main()", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | (env or {}),
    )


def test_list():
    done = hwsim("list", "--json")
    data = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"resnet18", "vit_small", "digits_mlp"} <= set(data["workloads"])
    assert {"sat", "systolic", "spgemm", "piuma", "gamma"} <= set(data["accelerators"])
    assert "resnet18" in hwsim("list").stdout


def test_a_training_step_writes_the_contract_and_a_report(tmp_path):
    out = tmp_path / "out"
    done = hwsim("simulate", "digits_cnn", "-a", "sat", "--phase", "training", "--batch", "8",
                 "-o", out, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) >= KEYS | {"stage_cycles", "kept_bytes"}
    assert (summary["phase"], summary["batch"]) == ("training", 8)
    layers = pd.read_csv(out / "layers.csv")
    assert layers["cycles"].sum() == summary["cycles"] == sum(summary["stage_cycles"].values())
    assert set(layers["stage"]) == {"FF", "BP", "WU", "WUVE", "SORE"}
    assert summary["kept_bytes"] > 0
    done = hwsim("report", out)
    assert done.returncode == 0, done.stderr
    assert "WUVE" in (out / "report.html").read_text()
    table = hwsim("simulate", "digits_cnn", "-a", "sat", "--phase", "training").stderr
    assert "conv2 WU" in table
    assert "kept for the backward pass" in table


def test_simulate_writes_the_contract(tmp_path):
    out = tmp_path / "out"
    done = hwsim("simulate", "resnet9", "-a", "sat", "-s", "rows=16", "--batch", "2", "-o", out,
                 "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)  # one object and nothing else
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) >= KEYS
    assert {k: printed[k] for k in summary} == summary
    layers = pd.read_csv(out / "layers.csv")
    assert tuple(layers.columns) == LAYER_COLUMNS
    assert layers["cycles"].sum() == summary["cycles"]
    assert layers["energy_pj"].sum() == pytest.approx(summary["energy_pj"])
    parts = layers[["issue", "array_idle", "stall_dram", "fill", "drain"]].sum(axis=1)
    assert (parts == layers["cycles"]).all()
    for name in ("cycles", "utilization", "roofline", "traffic", "energy"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{name}.svg").read_text()
    # the written configuration reproduces the run exactly
    again = tmp_path / "again"
    assert load_config(out / "config.yaml").rows == 16
    done = hwsim("simulate", "resnet9", "-a", out / "config.yaml", "--batch", "2", "-o", again,
                 "--no-figures")  # fmt: skip
    assert done.returncode == 0
    for name in ("summary.json", "layers.csv", "config.yaml"):
        assert (again / name).read_bytes() == (out / name).read_bytes()
    assert not (again / "cycles.png").exists()
    # and the report makes the figures that were left out
    done = hwsim("report", again)
    page = (again / "report.html").read_text()
    assert done.stdout.strip() == str(again / "report.html")
    assert page.count("data:image/png;base64,") == 5  # energy too
    assert "http" not in page


def test_simulate_prints_tables_on_stderr_only():
    done = hwsim("simulate", "resnet9", "-a", "systolic")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "layer3.res2.conv" in done.stderr
    assert "are not modelled (vector_lanes is 0)" in done.stderr


@pytest.mark.parametrize("name", THREE)
def test_simulate_real_networks(name, tmp_path):
    out = tmp_path / "out"
    done = hwsim("simulate", find(name), "-a", "sat", "-o", out, "--no-figures")
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["cycles"] > 0
    assert 0 < summary["utilization"] <= 1
    assert summary["macs_dense"] > 1e5
    assert any("--dim" in note for note in summary["notes"])
    assert "--dim" in done.stderr


def test_generate_writes_a_design(tmp_path):
    done = hwsim("generate", "sat", "-s", "rows=2", "-s", "cols=3", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["ports"]["z"] == {"direction": "output", "payload_bits": 96}
    verilog = (tmp_path / "sat_top.v").read_text()
    assert verilog.count("stce_pe pe_") == 6
    assert verilog.count("module stce_pe(") == 1
    assert "create_clock -name clk -period 5.000" in (tmp_path / "sat_top.sdc").read_text()
    assert load_config(tmp_path / "config.yaml").cols == 3


@pytest.mark.xdist_group("rtl-small")
def test_verify_passes_and_says_so():
    args = ("verify", "sat", "-s", "rows=2", "-s", "cols=2", "-s", "format=int8", "--cases", "6",
            "--seed", "3")  # fmt: skip
    done = hwsim(*args)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 cases: values and cycles equal" in done.stdout
    report = json.loads(hwsim(*args, "--json").stdout)
    assert report["passed"] == report["cases"] == 6
    assert report["failures"] == []


SPEC = "accelerator: sat\nworkloads: [resnet9]\nparameters: {rows: [8, 16]}\n"
BAD = [
    # arguments, a fragment of the sentence
    (["simulate", "resnet1", "-a", "sat"], "workload 'resnet1' is neither an .onnx file nor one"),
    (["simulate", "resnet9", "-a", "tpu"], "accelerator 'tpu' is neither a preset ("),
    (["simulate", "resnet9", "-a", "no.yaml"], "cannot read configuration no.yaml: No such file"),
    (["simulate", "resnet9", "-a", "bad.yaml"], "bad.yaml is not valid YAML at line 1"),
    (["simulate", "resnet9", "-a", "list.yaml"], "list.yaml must be a mapping of fields, but got"),
    (["simulate", "resnet9", "-a", "sat", "-s", "rows=0"], "rows: input should be greater than or"),
    (["simulate", "resnet9", "-a", "sat", "-s", "rwos=4"], "rwos: there is no such field"),
    (["simulate", "resnet9", "-a", "sat", "-s", "rows"], "an override must read KEY=VALUE"),
    (["simulate", "resnet9", "-a", "sat", "-s", "sparsity=8:2"], "needs 1 <= N <= M <= 32"),
    (["simulate", "resnet9", "-a", "sat", "-s", "clock_hz=.inf"], "clock_hz: input should be"),
    (["simulate", "resnet9", "-a", "sat", "-s", "buffers.input_bytes=64"],
     "buffers.input_bytes: half of it must hold the smallest tile"),
    (["simulate", "resnet9", "-a", "sat", "--batch", "0"], "--batch must be at least 1, but got 0"),
    (["simulate", "resnet9", "-a", "sat", "--seed", "-1"], "--seed must not be negative"),
    (["simulate", "resnet9", "-a", "sat", "--phase", "dreaming"], "--phase must be one of"),
    (["simulate", "resnet9", "-a", "systolic", "--phase", "training"],
     "training needs an accelerator of kind sat, but systolic is another"),
    (["simulate", "resnet9", "-a", "sat", "-s", "format=int8", "--phase", "training"],
     "training needs format=fp16, but got format=int8"),
    (["simulate", "lstm", "-a", "sat", "--phase", "training"],
     "training of recurrent layers is not modelled, but lstm0 is one (LSTM)"),
    (["reproduce", "everything"], "reproduce knows sat, smash, delta, but got"),
    (["simulate", "resnet9", "-a", "sat", "--dim", "x=2"], "--dim is for .onnx files"),
    (["simulate", "a.onnx", "-a", "sat", "--dim", "x"], "--dim must read NAME=SIZE"),
    (["simulate", "none.onnx", "-a", "sat"], "cannot read none.onnx: No such file"),
    (["simulate", "junk.onnx", "-a", "sat"], "junk.onnx is not a valid ONNX model"),
    (["simulate", "a.mtx", "-a", "sat"], "a sparse product runs on piuma, spgemm or"),
    (["simulate", "resnet9", "-a", "sat", "-o", "junk.onnx"], "cannot make the folder junk.onnx"),
    (["generate", "systolic", "-o", "x"], "kind: there is RTL for sat, spgemm and delta"),
    (["verify", "systolic"], "kind: only sat, spgemm and delta can be verified"),
    (["verify", "sat", "--cases", "0"], "--cases must be at least 1, but got 0"),
    (["verify", "sat", "--case", "200"], "--case must lie in 0..99, but got 200"),
    (["verify", "sat", "--waves", "x.vcd"], "--waves needs --case"),
    (["sweep", "none.yaml", "-o", "x"], "cannot read sweep none.yaml: No such file"),
    (["sweep", "spec_field.yaml", "-o", "x"], "parameters.rwos: there is no such field"),
    (["sweep", "spec_empty.yaml", "-o", "x"], "parameters.rows: list should have at least 1 item"),
    (["sweep", "spec_extra.yaml", "-o", "x"], "color: there is no such field; those here are acc"),
    (["sweep", "spec.yaml", "-o", "full"], "full is not empty and holds no sweep"),
    (["sweep", "spec.yaml", "-o", "x", "--workers", "-1"], "--workers must not be negative"),
    (["report", "empty"], "empty holds no results"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("bad")
    (path / "bad.yaml").write_text("rows: [")
    (path / "list.yaml").write_text("[1, 2]")
    (path / "junk.onnx").write_bytes(b"junk")
    (path / "spec.yaml").write_text(SPEC)
    (path / "spec_field.yaml").write_text(SPEC.replace("rows:", "rwos:"))
    (path / "spec_empty.yaml").write_text(SPEC.replace("[8, 16]", "[]"))
    (path / "spec_extra.yaml").write_text(SPEC + "color: red\n")
    (path / "empty").mkdir()
    (path / "full").mkdir()
    (path / "full" / "thesis.txt").write_text("mine")
    return path


@pytest.mark.parametrize(("args", "text"), BAD, ids=[" ".join(b[0])[:60] for b in BAD])
def test_mistakes_get_one_sentence_and_status_2(args, text, folder):
    done = hwsim(*args, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("hwsim: ")
    assert text in lines[0]
    assert (folder / "full" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "args", [["simulate"], ["simulate", "resnet9"], ["fly"], ["list", "--fast"],
             ["simulate", "resnet9", "-a", "sat", "--batch", "two"]],
)  # fmt: skip
def test_usage_errors_exit_2_without_traceback(args):
    done = hwsim(*args)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_version():
    import hwsim as package

    done = hwsim("--version")
    assert done.returncode == 0
    assert done.stdout.strip() == package.__version__


def test_every_command_explains_itself():
    for command in ("list", "simulate", "generate", "verify", "sweep", "report"):
        done = hwsim(command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_a_full_disk_keeps_the_old_results(tmp_path):
    out = tmp_path / "out"
    assert hwsim("simulate", "digits_mlp", "-a", "sat", "-o", out, "--no-figures").returncode == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    code = (
        "import os, hwsim.files\n"
        "def full(fd):\n"
        "    raise OSError(28, 'No space left on device')\n"
        "hwsim.files.os.fsync = full\n"
        "from hwsim.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "simulate", "resnet9", "-a", "sat", "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_python_interface():
    import hwsim as package

    result = package.simulate("resnet9", "sat", overrides=["rows=8"], batch=2)
    assert result.layers["cycles"].sum() == result.summary["cycles"]
    assert result.plot_cycles().get_xlabel() == "cycles"
    assert "module sat_top(" in package.generate("sat", overrides=["rows=1", "cols=1"])
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        package.fly  # noqa: B018
