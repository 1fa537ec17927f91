"""A netlist that fits on pins: registers around a block, so that all its paths are timed.

A block alone has thousands of port bits, more than a package has pins, and place and route times
no path that starts or ends at an unregistered port. Here every input bit is a stage of one shift
register that is fed by one pin, every output bit goes to a register, and those registers are
gathered by a second shift register with an exclusive or at each stage, so that no bit is unused.
Clock and reset stay pins. What is timed is then the block between registers, which is how it
stands among its neighbours.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CLOCK", "RESET", "register_ports"]

CLOCK, RESET = "clk", "rst"

_FF_PARAMETERS = {
    "GSR": "DISABLED",
    "CEMUX": "1 ",  # the blank makes it text: Yosys's JSON reads "1" as a number
    "CLKMUX": "CLK",
    "LSRMUX": "LSR",
    "REGSET": "RESET",
    "SRMODE": "LSR_OVER_CE",
}
_XOR_OF_A_AND_B = format(0x6666, "016b")


def register_ports(netlist: dict[str, Any], top: str) -> tuple[dict[str, Any], int, int]:
    """Put the harness around a flat ECP5 netlist in Yosys's JSON.

    Args:
        netlist: as `write_json` writes it; changed in place.
        top: name of its top module.

    Returns:
        The netlist, and how many LUT4 and flip-flops the harness takes.

    Raises:
        ValueError: the block has no clock.
    """
    module = netlist["modules"][top]
    ports = module["ports"]
    if CLOCK not in ports:
        raise ValueError(f"a block needs the clock port {CLOCK!r}, but {top} has {sorted(ports)}")
    build = _Builder(module)
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

    def __init__(self, module: dict[str, Any]) -> None:
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
        inputs = {"CLK": self.clock, "LSR": "0", "CE": "1", "DI": d}
        self._cell(name, "TRELLIS_FF", _FF_PARAMETERS, inputs, {"Q": q})

    def xor(self, name: str, a: int | str, b: int | str, z: int) -> None:
        self.luts += 1
        inputs = {"A": a, "B": b, "C": "0", "D": "0"}
        self._cell(name, "LUT4", {"INIT": _XOR_OF_A_AND_B}, inputs, {"Z": z})

    def _cell(
        self,
        name: str,
        kind: str,
        parameters: dict[str, str],
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
