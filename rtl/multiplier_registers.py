"""Moves flip-flops around the multipliers of an ECP5 netlist into the multipliers' own registers.

A MULT18X18D has registers at its operands and at its product, and Yosys leaves them empty. Used,
they take the block's 3 ns out of the paths on both sides (speed grade 8: 0.04 ns of setup in front
and 0.58 ns behind, against 3.1 ns through), at no cycle: flip-flops that are there already move.

    operands  every bit is a constant or comes from a flip-flop. Others may read that flip-flop
              too; then it stays beside its copy in the multiplier.
    product   every bit that is read is read by flip-flops alone.

Only flip-flops on the rising edge of one clock, all with one enable, without reset and with 0 as
their first value move: both kinds of register then hold the same word in every cycle. Parameters
and pins are those of Lattice's "ECP5 and ECP5-5G sysDSP Usage Guide" (FPGA-TN-02205).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["PACKING", "pack_multiplier_registers"]

PACKING = 1
"""Raise it when what moves changes; netlists are kept by it."""


_FF = "TRELLIS_FF"
_MULTIPLIER = "MULT18X18D"
_OPERANDS = {side: [f"{side}{i}" for i in range(18)] for side in "AB"}
_PRODUCT = [f"P{i}" for i in range(36)]

Bit = int | str
"""A net's number in Yosys's JSON, or a constant `"0"`, `"1"`, `"x"`."""


class _Control(NamedTuple):
    clock: Bit
    enable: Bit


def pack_multiplier_registers(module: dict[str, Any]) -> int:
    """Fill the registers of a flat module's multipliers; the number of flip-flops that went away.

    Args:
        module: a module of Yosys's JSON netlist, of ECP5 cells; it is changed in place.
    """
    cells: dict[str, Any] = module["cells"]
    multipliers = [name for name, cell in cells.items() if cell["type"] == _MULTIPLIER]
    drivers = {c["connections"]["Q"][0]: n for n, c in cells.items() if _moves(c)}
    before = _count(cells)
    copied: dict[str, None] = {}
    for name in multipliers:
        copied |= dict.fromkeys(_pack_operands(cells, cells[name], drivers))
    loads = _loads(module)
    for name in copied:
        if not loads[_output(cells[name])]:
            del cells[name]
    readers = _readers(module)
    for name in multipliers:
        _pack_product(module, cells[name], readers)
    return before - _count(cells)


def _moves(cell: Mapping[str, Any]) -> bool:
    """A flip-flop that a multiplier's register can stand for."""
    if cell["type"] != _FF:
        return False
    given, wires = cell["parameters"], cell["connections"]
    return (
        given.get("REGSET", "RESET") == "RESET"
        and given.get("CLKMUX", "CLK").strip() == "CLK"
        and given.get("CEMUX", "1").strip() in {"CE", "1"}
        and wires.get("LSR", ["0"]) == ["0"]
        and given.get("LSRMUX", "LSR").strip() == "LSR"
    )


def _control(cell: Mapping[str, Any]) -> _Control:
    enabled = cell["parameters"].get("CEMUX", "1").strip() == "CE"
    return _Control(cell["connections"]["CLK"][0], cell["connections"]["CE"][0] if enabled else "1")


def _output(cell: Mapping[str, Any]) -> Bit:
    bit: Bit = cell["connections"]["Q"][0]
    return bit


def _pack_operands(
    cells: Mapping[str, Any], multiplier: dict[str, Any], drivers: Mapping[Bit, str]
) -> list[str]:
    """Both operands or none: the timing of a block with one of them is not characterized.

    Returns the flip-flops that the multiplier now has copies of.
    """
    signs = (multiplier["connections"].get(f"SIGNED{side}", ["0"])[0] for side in _OPERANDS)
    if not all(isinstance(sign, str) for sign in signs):  # a sign that changes has no register
        return []
    wires = multiplier["connections"]
    found: dict[str, Bit] = {}
    sources: list[str] = []
    controls: dict[str, set[_Control]] = {}
    for side, pins in _OPERANDS.items():
        controls[side] = set()
        for pin in pins:
            bit = wires[pin][0]
            if isinstance(bit, str):
                if bit == "1":  # the register would start at 0
                    return []
                continue
            if bit not in drivers:
                return []
            sources.append(drivers[bit])
            source = cells[drivers[bit]]
            controls[side].add(_control(source))
            found[pin] = source["connections"]["DI"][0]
        if len(controls[side]) != 1:
            return []
    (a,), (b,) = controls["A"], controls["B"]
    if a.clock != b.clock:
        return []
    wires |= {pin: [bit] for pin, bit in found.items()}
    second = "CE0" if b.enable == a.enable else "CE1"
    _connect(multiplier, {"CLK0": a.clock, "CE0": a.enable, second: b.enable, "RST0": "0"})
    multiplier["parameters"] |= _registers("INPUTA", "CE0") | _registers("INPUTB", second)
    return sources


def _pack_product(
    module: dict[str, Any], multiplier: dict[str, Any], readers: Mapping[Bit, list[str] | None]
) -> None:
    cells = module["cells"]
    wires, given = multiplier["connections"], multiplier["parameters"]
    taken: dict[str, list[str]] = {}
    controls: set[_Control] = set()
    for pin in _PRODUCT:
        names = readers.get(wires[pin][0], [])
        if names is None or not all(_moves(cells[name]) for name in names):
            return
        if names:
            taken[pin] = names
            controls |= {_control(cells[name]) for name in names}
    if len(controls) != 1:
        return
    (control,) = controls
    if wires.get("CLK0", [control.clock]) != [control.clock]:
        return
    moved: dict[Bit, Bit] = {}
    for pin, names in taken.items():
        first = _output(cells[names[0]])
        moved |= {_output(cells[name]): first for name in names}
        wires[pin] = [first]
        for name in names:
            del cells[name]
    enable = next(
        f"CE{i}" for i in range(3) if wires.get(f"CE{i}", [control.enable]) == [control.enable]
    )
    _connect(multiplier, {"CLK0": control.clock, enable: control.enable, "RST0": "0"})
    given |= _registers("OUTPUT", enable)
    same = {bit: to for bit, to in moved.items() if bit != to}
    if same:  # flip-flops that held one bit twice
        for port in module["ports"].values():
            port["bits"] = [same.get(bit, bit) for bit in port["bits"]]
        for cell in cells.values():
            for pin, bits in cell["connections"].items():
                cell["connections"][pin] = [same.get(bit, bit) for bit in bits]


def _connect(multiplier: dict[str, Any], inputs: Mapping[str, Bit]) -> None:
    multiplier["connections"] |= {pin: [bit] for pin, bit in inputs.items()}
    multiplier.setdefault("port_directions", {}).update(dict.fromkeys(inputs, "input"))


def _registers(which: str, enable: str) -> dict[str, str]:
    return {
        f"REG_{which}_CLK": "CLK0",
        f"REG_{which}_CE": enable,
        f"REG_{which}_RST": "RST0",
    }


def _ports(module: Mapping[str, Any]) -> Iterable[Bit]:
    for port in module["ports"].values():
        if port["direction"] != "input":
            yield from port["bits"]


def _pins(cell: Mapping[str, Any]) -> Iterable[tuple[str, Bit]]:
    """The input pins of a cell with their nets."""
    directions = cell.get("port_directions", {})
    for port, bits in cell["connections"].items():
        if directions.get(port) != "output":
            yield from ((port, bit) for bit in bits)


def _loads(module: Mapping[str, Any]) -> Counter[Bit]:
    """How many inputs and ports of the module read each net."""
    found = Counter(_ports(module))
    for cell in module["cells"].values():
        found.update(bit for _, bit in _pins(cell))
    return found


def _readers(module: Mapping[str, Any]) -> dict[Bit, list[str] | None]:
    """The flip-flops that each net is the data of; None where something else reads it too."""
    found: dict[Bit, list[str] | None] = dict.fromkeys(_ports(module))
    for name, cell in module["cells"].items():
        for port, bit in _pins(cell):
            so_far = found.setdefault(bit, [])
            if so_far is None:
                continue
            if cell["type"] == _FF and port == "DI":
                so_far.append(name)
            else:
                found[bit] = None
    return found


def _count(cells: Mapping[str, Any]) -> int:
    return sum(cell["type"] == _FF for cell in cells.values())
