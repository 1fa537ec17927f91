"""The blocks of the sparse training engine one by one, in a configuration's sizes.

Synthesis and generation ask here for a block by name, so that a report of one block and the
engine that holds it come from the same fields.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.lib import wiring

from hwsim.config import Accelerator
from hwsim.errors import UserError
from hwsim.rtl.verilog import component_verilog, engine_parts

__all__ = ["BLOCKS", "block", "block_verilog"]

BLOCKS = {
    "uspe": "unified sparse processing element",
    "stce": "sparse tensor computing engine, the whole array",
}
"""Names that `block` takes, with what each is."""


def block(name: str, config: Accelerator) -> tuple[wiring.Component, str]:
    """A block's component and the name of its top module.

    The array's component instantiates its PE by name; `block_verilog` has both.

    Raises:
        UserError: no block of that name, or no RTL for this kind of accelerator.
    """
    top, make = list(_parts(name, config).items())[-1]
    return make(), top


def block_verilog(name: str, config: Accelerator) -> tuple[str, str]:
    """A block's whole Verilog and the name of its top module.

    Raises:
        UserError: no block of that name, or no RTL for this kind of accelerator.
    """
    parts = {module: make() for module, make in _parts(name, config).items()}
    return component_verilog(parts), list(parts)[-1]


def _parts(name: str, config: Accelerator) -> dict[str, Callable[[], wiring.Component]]:
    engine = engine_parts(config)
    match name:
        case "uspe":
            return dict([next(iter(engine.items()))])
        case "stce":
            return engine
    raise UserError(f"a block must be one of {', '.join(BLOCKS)}, but got {name!r}")
