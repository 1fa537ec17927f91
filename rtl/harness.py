"""A netlist that fits on pins: registers around a block, so that all its paths are timed.

A block alone has thousands of port bits, more than a package has pins, and place and route times
no path that starts or ends at an unregistered port. Here every input bit is a stage of one shift
register that is fed by one pin, every output bit goes to a register, and those registers are
gathered by a second shift register with an exclusive or at each stage, so that no bit is unused.
Clock and reset stay pins. What is timed is then the block between registers, which is how it
stands among its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CLOCK", "ECP5_CELLS", "ICE40_CELLS", "RESET", "HarnessCells", "register_ports"]

CLOCK, RESET = "clk", "rst"


@dataclass(frozen=True, kw_only=True)
class HarnessCells:
    """The two cells that a harness is made of.

    Attributes:
        flip_flop: type of a D flip-flop.
        flip_flop_parameters: its parameters.
        flip_flop_ports: its ports: the clock's, the input's and the output's name.
        flip_flop_ties: its other inputs with their constants.
        lut: type of a LUT of four inputs.
        lut_table: the parameter that holds its table.
        lut_ports: its inputs from the lowest address bit, then its output.
    """

    flip_flop: str
    flip_flop_parameters: Mapping[str, str]
    flip_flop_ports: tuple[str, str, str]
    flip_flop_ties: Mapping[str, str]
    lut: str
    lut_table: str
    lut_ports: tuple[str, str, str, str, str]


ECP5_CELLS = HarnessCells(
    flip_flop="TRELLIS_FF",
    flip_flop_parameters={
        "GSR": "DISABLED",
        "CEMUX": "1 ",  # the blank makes it text: Yosys's JSON reads "1" as a number
        "CLKMUX": "CLK",
        "LSRMUX": "LSR",
        "REGSET": "RESET",
        "SRMODE": "LSR_OVER_CE",
    },
    flip_flop_ports=("CLK", "DI", "Q"),
    flip_flop_ties={"LSR": "0", "CE": "1"},
    lut="LUT4",
    lut_table="INIT",
    lut_ports=("A", "B", "C", "D", "Z"),
)
ICE40_CELLS = HarnessCells(
    flip_flop="SB_DFF",
    flip_flop_parameters={},
    flip_flop_ports=("C", "D", "Q"),
    flip_flop_ties={},
    lut="SB_LUT4",
    lut_table="LUT_INIT",
    lut_ports=("I0", "I1", "I2", "I3", "O"),
)

_XOR_OF_TWO = format(0x6666, "016b")


def register_ports(
    netlist: dict[str, Any], top: str, cells: HarnessCells = ECP5_CELLS
) -> tuple[dict[str, Any], int, int]:
    """Put the harness around a flat netlist in Yosys's JSON.

    Args:
        netlist: as `write_json` writes it; changed in place.
        top: name of its top module.
        cells: the target's flip-flop and LUT.

    Returns:
        The netlist, and how many LUT4 and flip-flops the harness takes.

    Raises:
        ValueError: the block has no clock.
    """
    module = netlist["modules"][top]
    ports = module["ports"]
    if CLOCK not in ports:
        raise ValueError(f"a block needs the clock port {CLOCK!r}, but {top} has {sorted(ports)}")
    build = _Builder(module, cells)
    pins: dict[str, Any] = {name: ports[name] for name in (CLOCK, RESET) if name in ports}

    before = build.net()
    pins["harness_i"] = {"direction": "input", "bits": [before]}
    gathered: int | str = "0"
    for name, port in ports.items():
        if name in pins:
            continue
        for i, bit in enumerate(port["bits"]):
            if isinstance(bit, str):  # a constant
                continue
            if port["direction"] == "input":
                build.flip_flop(f"harness_{name}_{i}", d=before, q=bit)
                before = bit
            else:
                seen = build.net()
                build.flip_flop(f"harness_{name}_{i}", d=bit, q=seen)
                mixed, kept = build.net(), build.net()
                build.xor(f"harness_{name}_{i}_xor", seen, gathered, mixed)
                build.flip_flop(f"harness_{name}_{i}_out", d=mixed, q=kept)
                gathered = kept
    pins["harness_o"] = {"direction": "output", "bits": [gathered]}
    module["ports"] = pins
    return netlist, build.luts, build.flip_flops


class _Builder:
    """Adds cells to a module of a JSON netlist and counts them."""

    def __init__(self, module: dict[str, Any], kinds: HarnessCells) -> None:
        self.kinds = kinds
        self.cells = module["cells"]
        self.clock = module["ports"][CLOCK]["bits"][0]
        used = [bit for net in module["netnames"].values() for bit in net["bits"]]
        used += [bit for cell in self.cells.values() for c in cell["connections"].values()
                 for bit in c]  # fmt: skip
        self.last = max((bit for bit in used if isinstance(bit, int)), default=1)
        self.luts = 0
        self.flip_flops = 0

    def net(self) -> int:
        self.last += 1
        return self.last

    def flip_flop(self, name: str, *, d: int | str, q: int | str) -> None:
        self.flip_flops += 1
        kinds = self.kinds
        clock, data, output = kinds.flip_flop_ports
        inputs = {clock: self.clock, **kinds.flip_flop_ties, data: d}
        self._cell(name, kinds.flip_flop, kinds.flip_flop_parameters, inputs, {output: q})

    def xor(self, name: str, a: int | str, b: int | str, z: int) -> None:
        self.luts += 1
        *inputs, output = self.kinds.lut_ports
        bits = dict(zip(inputs, (a, b, "0", "0"), strict=True))
        self._cell(name, self.kinds.lut, {self.kinds.lut_table: _XOR_OF_TWO}, bits, {output: z})

    def _cell(
        self,
        name: str,
        kind: str,
        parameters: Mapping[str, str],
        inputs: dict[str, int | str],
        outputs: dict[str, int | str],
    ) -> None:
        self.cells[name] = {
            "hide_name": 0,
            "type": kind,
            "parameters": dict(parameters),
            "attributes": {},
            "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
            "connections": {port: [bit] for port, bit in (inputs | outputs).items()},
        }
