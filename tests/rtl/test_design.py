"""The generated Verilog: lint, structure, and that the bench notices a fault."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Const, Module

import hwsim.rtl
from hwsim import verify as verification
from hwsim.config import load_config
from hwsim.dataflows.stce import WS
from hwsim.dataflows.stce_sim import Gaps
from hwsim.errors import UserError
from hwsim.models.array import ArrayShape
from hwsim.models.formats import FP16
from hwsim.models.nm import NMPattern
from hwsim.rtl import verilog as verilog_room
from hwsim.rtl.arithmetic import adder_pipeline
from hwsim.rtl.engine import TrainingEngine
from hwsim.rtl.simulator import build, cache_dir, lint
from hwsim.rtl.verilog import (
    component_verilog,
    engine_parts,
    generate_verilog,
    ports,
    top_name,
)
from hwsim.verify_cases import designs, make_case, product

WAIVERS = Path(hwsim.rtl.__file__).with_name("lint.vlt")


@pytest.mark.parametrize(
    "overrides",
    [
        ["rows=8", "cols=8"],
        ["rows=8", "cols=8", "format=int8"],
        ["rows=1", "cols=1", "group=1", "sparsity=dense", "format=int8"],
        ["rows=3", "cols=5", "sparsity=4:16", "psum_depth=2"],
    ],
    ids=" ".join,
)
def test_lint_is_clean_with_the_waivers(overrides):
    config = load_config("sat", overrides)
    text = generate_verilog(config)
    assert lint(text, top_name(config), WAIVERS) == ""


def test_lint_of_the_training_engine_is_clean():
    config = load_config("sat", ["rows=2", "cols=2", "sore_lanes=2", "wuve_lanes=1"])
    text = generate_verilog(config, training=True)
    assert lint(text, top_name(config, training=True), WAIVERS) == ""
    found = ports(config, training=True)
    assert found["select"] == {"direction": "input", "payload_bits": 2 * 16 + 1}
    assert found["updated"] == {"direction": "output", "payload_bits": 32 + 32 + 16}
    assert found["rate"] == {"direction": "input", "bits": 32}
    with pytest.raises(UserError, match="the training engine is FP16, but got int8"):
        generate_verilog(load_config("sat", ["format=int8"]), training=True)
    with pytest.raises(UserError, match="but got dense and group=8"):
        generate_verilog(load_config("sat", ["sparsity=dense"]), training=True)


def test_lint_still_sees_real_faults():
    text = generate_verilog(load_config("sat", ["rows=1", "cols=1"]))
    broken = text.replace("  assign idle = ", "  assign nothing = ", 1)
    assert broken != text
    assert "%" in lint(broken, "sat_top", WAIVERS)


def test_same_configuration_same_verilog():
    parts = engine_parts(load_config("sat", ["rows=2", "cols=2"]))
    first, second = (component_verilog({k: v() for k, v in parts.items()}) for _ in range(2))
    assert first == second


def test_ports_follow_the_configuration():
    config = load_config("sat", ["rows=4", "cols=6", "sparsity=4:16", "format=int8"])
    found = ports(config)
    assert found["a"]["payload_bits"] == 4 * 16 * 8
    assert found["b"]["payload_bits"] == 6 * (8 + 4)
    assert found["z"]["payload_bits"] == 6 * 32


@pytest.mark.xdist_group("rtl-fault")
def test_a_fault_in_the_rtl_is_found_and_located(monkeypatch):
    """A seeded bug in the drain: one bit of a control word; the report names cycle and seed."""
    config = load_config("sat", ["rows=2", "cols=2", "format=int8"])
    whole = generate_verilog

    def faulty(design):
        text = whole(design)
        start = text.index("module stce_pe(")
        line = next(n for n in text[start:].splitlines() if "assign link_out" in n)
        head, tail = line.split("?")
        left, right = tail.rstrip(";").split(":")
        return text[:start] + text[start:].replace(line, f"{head}? {right} : {left};", 1)

    monkeypatch.setattr(verilog_room, "generate_verilog", faulty)
    report = verification.verify(config, cases=2, seed=3)
    assert report.passed == 0
    assert report.failures[0].what.startswith("cycle ")
    assert "expected" in report.failures[0].what
    assert report.failures[0].config == (
        "rows=2 cols=2 group=8 psum_depth=512 format=int8 "
        "interleave=4 adder_latency=4 multiplier_latency=2"
    )


@pytest.mark.xdist_group("rtl-fault")
@pytest.mark.parametrize("condition", ["write_in == read_in", "1"])
def test_a_sum_read_beside_a_write_of_it_is_never_used(condition, monkeypatch):
    """`no_rw_check` leaves open what such a read gives. Here it gives rubbish, and nothing differs;
    rubbish at every read beside any write is found."""
    config = load_config(
        "sat", ["rows=2", "cols=3", "format=int8", "adder_latency=2", "psum_depth=8"]
    )
    whole = generate_verilog

    def rubbish(design):
        text = whole(design)
        assert "(* no_rw_check *)" in text
        read = f"<= write__en && {condition} ? 32'h55aa55aa : memory[read_in];"
        assert text.count("<= memory[read_in];") == 1
        return text.replace("<= memory[read_in];", read)

    monkeypatch.setattr(verilog_room, "generate_verilog", rubbish)
    products = []
    rng = np.random.default_rng(3)
    for m, k in ((1, 40), (2, 64), (5, 33), (8, 24), (3, 100)):  # folds of every length there is
        a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((m, k), (k, 5)))
        products.append(product(config, a, b, WS))
    gaps = Gaps(a=[0, 2, 0, 0, 1], b=[0, 0, 3], z=[0, 1, 0, 0, 0, 4])
    for stalls in (None, gaps):
        if condition == "1":
            with pytest.raises(AssertionError, match="expected"):
                verification.run_products(config, products, stalls)
        else:
            verification.run_products(config, products, stalls)


@pytest.mark.xdist_group("rtl-fault")
def test_a_late_result_is_found(monkeypatch):
    """A wrong cycle count in the simulator is as visible as one in the RTL."""
    from hwsim.dataflows import stce_sim

    config = load_config("sat", ["rows=2", "cols=2", "format=int8"])
    monkeypatch.setattr(verification, "timeline", _one_late(stce_sim.timeline))
    report = verification.verify(config, cases=2, seed=3)
    assert report.passed == 0
    assert "came, expected in cycle" in report.failures[0].what


def _one_late(function):
    def late(*args, **kwargs):
        line = function(*args, **kwargs)
        line.z_cycles[-1] += 1
        return line

    return late


@pytest.mark.xdist_group("rtl-fault")
def test_waveform_of_one_case(tmp_path):
    config = load_config("sat", ["rows=2", "cols=2", "format=int8"])
    report = verification.verify(config, cases=3, seed=3, only=0, waves=tmp_path / "case.vcd")
    assert report.ok
    assert report.cases == 1
    assert "$var" in (tmp_path / "case.vcd").read_text()


def test_cases_follow_from_the_seed():
    config = load_config("sat", ["rows=4", "cols=4"])
    assert str(make_case(config, 7, 3)) == str(make_case(config, 7, 3))
    assert str(make_case(config, 7, 3)) != str(make_case(config, 8, 3))
    seen = {str(make_case(config, 7, n)) for n in range(50)}
    text = "; ".join(seen)
    assert len(seen) == 50
    for word in ("os ", "ws ", "dense", "1:2", "2:4", "2:8", "4:16"):
        assert word in text
    shapes = designs(config, 7)
    assert shapes[0] == config
    assert shapes[1].array == replace(
        config.array,
        interleave=shapes[1].interleave,
        adder_latency=shapes[1].adder_latency,
        multiplier_latency=shapes[1].multiplier_latency,
    )
    assert shapes[2].group_size == 16
    assert shapes[3].psum_depth == 4
    assert len({(s.interleave, s.adder_latency) for s in shapes}) > 2


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache that holds Verilator's compiled runtime, if the usual one does, and nothing else."""
    kept = list((cache_dir() / "verilator").glob("runtime-*"))
    (tmp_path / "cache" / "verilator").mkdir(parents=True)
    for runtime in kept:
        (tmp_path / "cache" / "verilator" / runtime.name).symlink_to(runtime)
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "cache"))


def test_builds_are_reused(own_cache):
    module = (
        "module tiny(input clk, input a, output reg z); always @(posedge clk) z <= a; endmodule"
    )
    assert not build(module, "tiny").reused
    assert build(module, "tiny").reused
    with pytest.raises(RuntimeError, match="the build of broken failed"):
        build("module broken(", "broken")


def test_a_bench_that_fails_says_why(own_cache, monkeypatch):
    module = "module mute(input clk, input rst); endmodule"
    monkeypatch.delenv("HWSIM_CASES", raising=False)
    with pytest.raises(RuntimeError, match=r"bench_function failed:(.|\n)*HWSIM_"):
        build(module, "mute").run("hwsim.rtl.bench_function", {})


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("HWSIM_CACHE", str(blocked))
    with pytest.raises(UserError, match="set HWSIM_CACHE to a folder that can"):
        build("module tiny(input clk); endmodule", "tiny")


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_components_check_their_arguments():
    for latency in ("adder_latency", "multiplier_latency"):
        with pytest.raises(ValueError, match=f"{latency} >= 1 must hold, but got 0"):
            ArrayShape(rows=1, cols=1, **{latency: 0})
    with pytest.raises(ValueError, match="psum_depth >= 2 must hold, but got 1"):
        ArrayShape(rows=1, cols=1, psum_depth=1)
    with pytest.raises(ValueError, match="latency >= 1 must hold, but got 0"):
        adder_pipeline(Module(), Const(1), FP16, 0)
    with pytest.raises(ValueError, match="the group must be the pattern's M, but got 4 and 2:8"):
        TrainingEngine(ArrayShape(rows=1, cols=1, group=4), NMPattern(2, 8), 1, 1)
    gc.collect()  # the refused components warn that they are unused: here, not in another test
