"""Netlists of ECP5 cells in place of a block of each family pass the benches of the RTL."""

from __future__ import annotations

import re

import pytest

import hwsim.rtl.simulator as simulator
from hwsim.config import load_config
from hwsim.delta_random import designs, random_case
from hwsim.rtl.delta_output import DELTA_CODE
from hwsim.rtl.delta_streamer import DELTA_STREAMER
from hwsim.rtl.gate_level import gate_level_verilog, module_text
from hwsim.rtl.rowwise_lane import ROWWISE_LANE
from hwsim.rtl.stce import PE_MODULE
from hwsim.spgemm_cases import make_case
from hwsim.verify import verify
from hwsim.verify_delta import delta_build, difference, run_delta
from hwsim.verify_spgemm import run_cases

SAT = ["rows=1", "cols=2", "group=2", "sparsity=1:2", "format=int8", "psum_depth=4"]
SPGEMM = [
    *("lanes=1", "banks=1", "entries=4", "outputs=1", "format=int32", "probe_limit=null"),
    *("token_queue=2", "request_queue=2", "product_queue=2", "bank_queue=2", "epoch_bits=1"),
    *("row_bits=3", "column_bits=6", "multiplier_latency=1", "adder_latency=1"),
]
DELTA = [
    *("lanes=2", "detector_width=2", "fifo_depth=3", "prefetch=4", "sigma_words=64"),
    *("reference_words=64", "parameter_words=8", "coordinate_bits=5", "address_bits=10"),
    "channel_bits=6",
]


COUNTER = """module counter(clk, rst, en, count);
  input clk, rst, en;
  output [5:0] count;
  reg [5:0] count;
  always @(posedge clk) if (rst) count <= 0; else if (en) count <= count + 5;
endmodule
"""


@pytest.fixture
def gates(monkeypatch):
    """Makes every build from now on one with netlists: call it with the modules' names."""
    plain = simulator.build

    def use(*modules, spoil=lambda text: text):
        def build(verilog, top, **options):
            text = gate_level_verilog(verilog, modules)
            for module in modules:
                assert is_netlist(module_text(text, module))
            return plain(spoil(text), top, **options)

        monkeypatch.setattr(simulator, "build", build)

    return use


def is_netlist(text: str) -> bool:
    """Made of LUTs; no register is wider than a flip-flop's bit or a word of the 16 x 4 RAM, but
    for a multiplier's own."""
    registers = re.findall(r"\breg \[(\d+):0\] (\S+)", text)
    wide = [name for top, name in registers if int(top) >= 4]
    return "LUT4" in text and all(".kept_" in name for name in wide)


def test_a_module_becomes_cells_under_the_same_ports():
    rest = "module other(a);\n  input a;\nendmodule\n"
    text = gate_level_verilog(COUNTER + rest, ["counter"])
    made = module_text(text, "counter")
    assert is_netlist(made)
    assert not is_netlist(COUNTER)
    assert made.count("TRELLIS_FF") >= 6
    assert set(re.findall(r"(?:in|out)put (?:\[5:0\] )?(\w+);", made)) == {
        "clk", "rst", "en", "count"
    }  # fmt: skip
    assert text.endswith(rest)
    with pytest.raises(ValueError, match="the design must have the module, but got 'pe'"):
        module_text(text, "pe")


def test_block_ram_is_refused():
    memory = """module store(clk, we, a, d, q);
  input clk, we; input [9:0] a; input [17:0] d; output reg [17:0] q;
  reg [17:0] m [0:1023];
  always @(posedge clk) begin if (we) m[a] <= d; q <= m[a]; end
endmodule
"""
    with pytest.raises(ValueError, match="cells need a simulation model, but store has DP16KD"):
        gate_level_verilog(memory, ["store"])


@pytest.mark.slow
def test_int8_processing_element(gates):
    gates(PE_MODULE)
    report = verify(load_config("sat", SAT), cases=1, seed=3)
    assert report.ok, report.failures
    assert report.result_words > 10


@pytest.mark.slow
def test_spgemm_lane(gates):
    gates(ROWWISE_LANE)
    config = load_config("spgemm", SPGEMM)
    done = run_cases(config, [make_case([config], 5, number) for number in range(6)])
    assert [what for what, _ in done] == [None] * 6


@pytest.mark.slow
def test_delta_streamer_and_output_lane(gates):
    gates(DELTA_STREAMER, DELTA_CODE)
    design = designs(load_config("delta", DELTA))[0]
    cases = [random_case(design, 7, number) for number in range(4)]
    results = run_delta(delta_build(design.shape, design.chain), cases)
    found = [difference(case, got) for case, got in zip(cases, results, strict=True)]
    assert found == [None] * 4
