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
from hwsim.errors import UserError
from hwsim.rtl import blocks, targets
from hwsim.rtl.timing import CriticalPath
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
    # one block: the flat figures are its own; the target counts no LUTs and has no router
    flat = [printed[key] for key in ("lut", "ff", "dsp", "bram", "fmax_mhz", "seconds")]
    own = printed["blocks"][0]
    assert flat == [None, own["resources"]["ff"], None, None, None, own["seconds_synthesis"]]
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


@pytest.fixture
def routed(tmp_path, monkeypatch):
    """Synthesis and routing that count how often they are asked; seed s gives 100 + s % 3 MHz."""
    from hwsim.rtl import synth as tools

    asked = []

    def synthesise(verilog, top, target, *, timeout_s):
        cells = {"LUT4": 10 * len(asked) + 10, "TRELLIS_FF": 7, "MULT18X18D": 4, "DP16KD": 2}
        return tools.Netlist(top=top, cells=cells, transistors=None, memory_bits=0, seconds=1.5,
                             reused=False, folder=tmp_path)  # fmt: skip

    def place_and_route(netlist, target, *, frequency_hz, seed, timeout_s):
        asked.append(seed)
        if seed == 9:
            raise tools.ToolFailure("no room")
        delay = 1e3 / (100 + seed % 3)
        path = CriticalPath(start=f"s{seed}", end="e", delay_ns=delay, logic_ns=1,
                            routing_ns=delay - 1, levels=1)  # fmt: skip
        return tools.Placement(fmax_hz=path.fmax_hz, path=path, arrivals={"e": 1.0},
                               used={"TRELLIS_FF": (9, 99)}, harness_luts=1, harness_flip_flops=2,
                               seconds=2, reused=False, folder=tmp_path)  # fmt: skip

    monkeypatch.setattr(tools, "synthesise", synthesise)
    monkeypatch.setattr(tools, "place_and_route", place_and_route)
    monkeypatch.setattr(tools, "tool_versions", lambda target: {"pyosys": "1"})
    return asked


def test_the_median_of_the_seeds_counts_and_the_whole_core_stands_on_top(routed, capsys):
    report = synth(load_config("sat", INT8), "ecp5", seed=2, seeds=3)
    assert [block.block for block in report.blocks] == ["uspe", "stce"]  # INT8 does not train
    assert routed == [2, 3, 4] * 2
    pe, array = report.blocks
    assert {s: round(f, 6) for s, f in array.fmax_by_seed.items()} == {2: 102, 3: 100, 4: 101}
    assert array.fmax_mhz == pytest.approx(101)
    assert array.critical_path["start"] == "s4"  # of the median's run
    printed = json.loads(report.to_json())
    assert printed["lut"] == array.resources["lut"] != pe.resources["lut"]
    assert (printed["ff"], printed["dsp"], printed["bram"]) == (7, 4, 2)
    assert printed["fmax_mhz"] == array.fmax_mhz
    assert printed["seconds"] == 1.5 + 3 * 2
    assert printed["seeds"] == 3
    synth_table(report)
    assert "(100.0 to 102.0)" in capsys.readouterr().err


def test_a_seed_that_fails_is_told_and_the_others_count(routed):
    report = synth(load_config("sat", INT8), "ecp5", blocks=["uspe"], seed=8, seeds=3)
    [block] = report.blocks
    assert not report.ok
    assert (block.failed, block.fmax_note) == (True, "no room")
    assert sorted(block.fmax_by_seed) == [8, 10]
    assert block.fmax_mhz == pytest.approx(101)  # the lower one of two
    # two blocks, none of them the whole: no flat figures
    both = synth(load_config("sat"), "xilinx", blocks=["uspe", "sore"])
    assert both.target == "xcup"
    assert set(both.headline.values()) == {None}
    with pytest.raises(UserError, match=r"^--seeds must lie in 1\.\.64, but got 0$"):
        synth(load_config("sat", INT8), "ecp5", seeds=0)


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
