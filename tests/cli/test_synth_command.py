"""`hwsim synth` as a user meets it: one JSON object, the files, one sentence for every mistake."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from hwsim.config import load_config
from hwsim.rtl import blocks, targets
from hwsim.synth import default_blocks, synth, synth_table

needs_yosys = pytest.mark.skipif(find_spec("pyosys") is None, reason="pyosys is not installed")
INT8 = ["format=int8", "rows=1", "cols=1"]


def hwsim(*args, env=None):
    """Run the command in a process of its own, as a shell would."""
    return subprocess.run(
        [sys.executable, "-c", "from hwsim.cli import main; main()", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (env or {}),
    )


@needs_yosys
def test_json_is_one_object_and_the_folder_holds_the_same(tmp_path):
    out = tmp_path / "out"
    words = ["synth", "sat", "-s", "format=int8", "--target", "generic", "--block", "uspe"]
    done = hwsim(*words, "-o", out, "--json", env={"HWSIM_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert json.loads((out / "synth.json").read_text()) == printed
    assert printed["target"] == "generic"
    assert set(printed["tools"]) == {"pyosys"}
    [block] = printed["blocks"]
    assert (block["block"], block["failed"], block["reused"]) == ("uspe", False, False)
    assert (block["fmax_mhz"], block["fmax_note"]) == (None, "not available")
    assert block["resources"]["gates"] > 8 * 8
    assert block["resources"]["ff"] >= 2 * 32  # a sum and its copy to drain at the least
    assert json.loads((out / "uspe.stat.json").read_text())["design"]["num_cells"] > 0
    assert "Executing" in (out / "uspe.yosys.log").read_text()
    assert load_config(out / "config.yaml").model_dump() == printed["config"]
    # again: from the cache, and the table goes to stderr
    done = hwsim(*words, env={"HWSIM_CACHE": str(tmp_path / "cache")})
    assert (done.returncode, done.stdout) == (0, "")
    assert "not available" in done.stderr
    assert f"pyosys {printed['tools']['pyosys']}" in done.stderr
    assert "made by an earlier run" in done.stderr


@needs_yosys
def test_a_tool_that_is_stopped_fails_the_command_and_spares_the_other_blocks(tmp_path):
    done = hwsim(
        *["synth", "sat", "-s", "format=int8", "--target", "generic", "--timeout", "0.01"],
        *["--block", "uspe", "--block", "sore", "--json"],
        env={"HWSIM_CACHE": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)["blocks"]
    assert [b["block"] for b in found] == ["uspe", "sore"]
    for block in found:
        assert block["failed"]
        assert block["fmax_note"] == "synthesis was stopped after 0.01 s"
        assert block["resources"] == {}


@needs_yosys
def test_a_block_that_is_too_large_is_not_placed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    ecp5 = targets.TARGETS["ecp5"]
    small = dict(ecp5.resources, lut=dataclasses.replace(ecp5.resources["lut"], available=10))
    part = dataclasses.replace(ecp5, resources=small)
    monkeypatch.setitem(targets.TARGETS, "ecp5", part)
    monkeypatch.setattr("hwsim.rtl.synth.place_and_route", None)
    monkeypatch.setattr("hwsim.rtl.synth.tool_versions", lambda target: {"pyosys": "installed"})
    report = synth(load_config("sat", INT8), "ecp5", blocks=["uspe"])
    [block] = report.blocks
    assert report.ok  # an answer, not a failure
    assert block.fmax_mhz is None
    assert block.fmax_note == f"does not fit: {block.resources['lut']} of 10 LUT4"
    assert block.share["lut"] == block.resources["lut"] / 10
    assert block.resources["dsp"] == 1
    synth_table(report)
    assert "does not fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["sat", "--target", "asic"],
            "--target must be one of ecp5, xcup, ice40, generic, xilinx, but",
        ),
        (["sat", "--target", "xcup", "--block", "alu"], "must be one of uspe, stce"),
        (["sat", "--target", "xcup", "--timeout", "0"], "--timeout must be above 0 seconds"),
        (["sat", "--target", "xcup", "--timeout", "nan"], "--timeout must be above 0 seconds"),
        (["sat", "--target", "ecp5", "--seed", "-1"], "--seed must lie in 0..2147483647"),
        (["systolic", "--target", "xcup"], "there is RTL for sat, spgemm and delta"),
        (["sat", "--target", "xcup", "-s", "rows=0"], "rows: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence(words, sentence, monkeypatch, capsys):
    from hwsim import cli

    monkeypatch.setattr(sys, "argv", ["hwsim", "synth", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert said.err.startswith("hwsim: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1


def test_the_usual_blocks_come_in_order_as_far_as_they_exist(monkeypatch):
    sat = load_config("sat")
    assert default_blocks(sat) == ["uspe", "stce", "sore", "wuve"]
    assert default_blocks(load_config("spgemm")) == ["bank", "lane", "dispatch", "engine"]
    monkeypatch.setattr(blocks, "BLOCKS", {"wuve": "", "uspe": ""})
    assert default_blocks(sat) == ["uspe", "wuve"]
