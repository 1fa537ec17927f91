"""Every block by name: lint, sizes from the configuration, and the names that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwsim.rtl
from hwsim.config import load_config
from hwsim.dataflows import sore, wuve
from hwsim.errors import UserError
from hwsim.rtl.blocks import BLOCKS, block, block_verilog, selector_sizes
from hwsim.rtl.simulator import lint
from hwsim.rtl.sore import RANK_DEPTH
from hwsim.rtl.tops import axi_name
from hwsim.rtl.verilog import component_verilog
from hwsim.rtl.wuve import UpdateEngine
from hwsim.synth import default_blocks

WAIVERS = Path(hwsim.rtl.__file__).with_name("lint.vlt")
SMALL = ["rows=2", "cols=2", "sore_lanes=2", "wuve_lanes=2"]


@pytest.mark.parametrize("name", BLOCKS)
def test_lint_is_clean_with_the_waivers(name):
    text, top = block_verilog(name, load_config("sat", SMALL))
    assert f"module {top}(" in text
    assert lint(text, top, WAIVERS) == ""


def test_lanes_follow_the_configuration():
    config = load_config("sat", ["sore_lanes=3", "wuve_lanes=5", "sparsity=4:16", "cols=6"])
    names = {"sore": 3, "rank": 3, "wuve": 5, "post": 6}
    for name, lanes in names.items():
        component, top = block(name, config)
        assert top == f"{name}_top"
        assert component_verilog({top: component}).count(f"{name}_lane lane") == lanes
    assert selector_sizes(config) == (4, 16)
    assert selector_sizes(load_config("sat", ["sparsity=dense"])) == (2, 8)


@pytest.mark.parametrize(
    ("preset", "core"), [("sat", "sat_top"), ("spgemm", "spgemm_top"), ("edgedrnn", "delta_top")]
)
def test_the_axi_block_is_the_generated_top_with_its_core(preset, core):
    config = load_config(preset, SMALL if preset == "sat" else [])
    text, top = block_verilog("axi", config)
    assert top == axi_name(config)
    for module in (top, core):
        assert text.count(f"module {module}(") == 1
    assert "axi" not in default_blocks(config)


def test_simulator_and_rtl_have_the_same_depth():
    assert sore.RANK_DEPTH == RANK_DEPTH
    for multiply, add in ((1, 1), (3, 5)):
        engine = UpdateEngine(lanes=1, multiplier_latency=multiply, adder_latency=add)
        assert engine.depth == wuve.update_depth(multiply, add)
        component_verilog({"wuve_top": engine})  # elaborated, so that it does not warn


def test_other_names_and_kinds_are_refused():
    with pytest.raises(UserError, match=r"a block must be one of uspe, stce, sore, .* but got 'x'"):
        block("x", load_config("sat"))
    with pytest.raises(UserError, match="kind: there is RTL for sat, spgemm and delta"):
        block("sore", load_config("systolic"))
