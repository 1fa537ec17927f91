"""Gate level: puts the synthesized netlist of modules into a design in place of their RTL.

The netlist is the one that `hwsim synth --target ecp5` reports and places: LUT4, carry cells,
flip-flops, 16 x 4 RAMs and 18 x 18 multipliers of ECP5. Ports keep their names and the rest of the
design stays RTL, so every bench and case list of the RTL runs on it unchanged.

Cells get their meaning from Yosys's own simulation models; of the multiplier Yosys has none, so its
model is here, with the registers that are used. Block RAM (DP16KD) has no usable model
either: a module that needs it is refused, and a smaller configuration keeps the same memory in
LUT RAM or flip-flops.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hwsim.rtl.synth import synthesise
from hwsim.rtl.targets import TARGETS
from hwsim.rtl.yosys import package_folder, run_yosys

__all__ = ["gate_level_verilog", "module_text"]

_TIMEOUT_S = 600
"""For Yosys, a module."""

_UNMODELLED = ("DP16KD", "PDPW16KD")

_OPERANDS = [f"{name}{i}" for name in "AB" for i in range(18)]
_PRODUCT = [f"P{i}" for i in range(36)]
_CONTROL = [f"{n}{i}" for n in ("CLK", "CE", "RST") for i in range(4)]
_UNUSED = [f"C{i}" for i in range(18)]


def _register(which: str, signal: str) -> str:
    """A register of the multiplier, or a wire where its clock's parameter is "NONE"."""
    enable = " | ".join(f'(REG_{which}_CE == "CE{i}" & CE{i})' for i in range(4))
    return f"""
  reg [35:0] kept_{signal} = 0;
  always @(posedge CLK0) if ({enable}) kept_{signal} <= {signal};
  wire [35:0] {signal}_out = REG_{which}_CLK == "NONE" ? {signal} : kept_{signal};"""


# As in Lattice's "ECP5 and ECP5-5G sysDSP Usage Guide" (FPGA-TN-02205): an 18 x 18 product, each
# operand signed if its SIGNED bit is set, with the registers that `multiplier_registers` fills.
_MULTIPLIER = f"""
module MULT18X18D({", ".join([*_OPERANDS, *_PRODUCT])}, {", ".join([*_CONTROL, *_UNUSED])},
    SIGNEDA, SIGNEDB, SOURCEA, SOURCEB);
  input {", ".join(_OPERANDS)};
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB;
  input {", ".join([*_CONTROL, *_UNUSED])};
  output {", ".join(_PRODUCT)};
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter REG_OUTPUT_RST = "RST0";
  wire [17:0] given_a = {{{", ".join(f"A{i}" for i in reversed(range(18)))}}};
  wire [17:0] given_b = {{{", ".join(f"B{i}" for i in reversed(range(18)))}}};
  wire [35:0] a = {{{{18{{SIGNEDA & given_a[17]}}}}, given_a}};
  wire [35:0] b = {{{{18{{SIGNEDB & given_b[17]}}}}, given_b}};{_register("INPUTA", "a")}
  {_register("INPUTB", "b")}
  wire [35:0] p = a_out * b_out;{_register("OUTPUT", "p")}
  assign {{{", ".join(reversed(_PRODUCT))}}} = p_out;
endmodule
"""


def gate_level_verilog(verilog: str, modules: Sequence[str]) -> str:
    """A design with some of its modules as netlists of ECP5 cells.

    Args:
        verilog: the design.
        modules: names of modules in it that instantiate no others outside the list's own.

    Raises:
        ValueError: a module is not there or needs a cell without a simulation model.
        hwsim.errors.UserError: Yosys is not installed.
        hwsim.rtl.synth.ToolFailure: Yosys failed.
    """
    for module in modules:
        text = module_text(verilog, module)
        verilog = verilog.replace(text, _netlist(verilog, module))
    return verilog


def module_text(verilog: str, module: str) -> str:
    """The text of a module, from `module` to `endmodule`.

    Raises:
        ValueError: there is none of that name.
    """
    found = re.search(rf"^module {re.escape(module)}\s*\(.*?^endmodule\n", verilog, re.M | re.S)
    if found is None:
        raise ValueError(f"the design must have the module, but got {module!r}")
    return found[0]


def _netlist(verilog: str, module: str) -> str:
    """The module as one made of assignments, one a cell, and registers."""
    target = TARGETS["ecp5"]
    made = synthesise(verilog, module, target, timeout_s=_TIMEOUT_S)
    missing = [cell for cell in _UNMODELLED if made.cells.get(cell)]
    if missing:
        raise ValueError(f"cells need a simulation model, but {module} has {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="hwsim-gates-") as scratch:
        work = Path(scratch)
        with gzip.open(made.folder / "netlist.json.gz", "rt", encoding="utf-8") as handle:
            design = json.load(handle)
        # the netlist names every cell of the target as a module without content
        design["modules"] = {module: design["modules"][module]}
        (work / "netlist.json").write_text(json.dumps(design), encoding="utf-8")
        (work / "multiplier.v").write_text(_MULTIPLIER, encoding="utf-8")
        # No optimisation behind `flatten`: what is simulated is the netlist, cell for cell.
        run_yosys(
            f"read_verilog -DNO_INCLUDES {_models()}\nread_verilog -overwrite multiplier.v\n"
            f"read_json netlist.json\nhierarchy -check -top {module}\nproc\nflatten\n"
            "write_verilog -noattr gates.v\n",
            work,
            _TIMEOUT_S,
        )
        return module_text((work / "gates.v").read_text(encoding="utf-8"), module)


def _models() -> Path:
    return package_folder("pyosys", "pyosys") / "share" / "ecp5" / "cells_sim.v"
