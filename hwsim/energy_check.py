"""Checks of energies: against the ranges that publications span, and against `hwcomponents`.

    published_ranges(config)      least and greatest published figure of every field of a block
    compare_with_hwcomponents()   the table's laws beside CACTI's and Aladdin's, where installed

`hwcomponents` (with `hwcomponents-cacti` and `hwcomponents-library`) needs Python 3.12 and is no
dependency of hwsim; nothing but this comparison uses it.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.energy_data import CACTI_POINTS, row
from hwsim.energy_laws import add_pj, multiply_pj, register_pj, sram_pj
from hwsim.errors import UserError

if TYPE_CHECKING:
    from hwsim.config import Accelerator

__all__ = ["Comparison", "compare_with_hwcomponents", "published_ranges"]

_Range = tuple[float, float]
_DATAFLOW_PROBE_BYTES = 4  # of a coordinate, beside the value


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One event as two models have it, in picojoules.

    Attributes:
        event: what it is.
        table_pj: by `hwsim.energy_laws`.
        other_pj: by `hwcomponents`.
    """

    event: str
    table_pj: float
    other_pj: float

    @property
    def ratio(self) -> float:
        """The table's over the other's."""
        return self.table_pj / self.other_pj


def published_ranges(config: Accelerator) -> dict[str, _Range]:
    """Least and greatest published energy of every event of a configuration's block.

    The ranges are those of the rows that the field is made of, over sources and over nodes from 45
    to 7 nm; those of on-chip memories go from CACTI's smallest point to the published 1 MB. A field
    without a publication (`static_w`) is not there, nor is one that is None.
    """
    energy = config.energy
    found = _RANGES[config.kind](config)
    found["dram_pj"] = _times(_row(energy.dram_kind), 8)
    return {name: found[name] for name in found if getattr(energy, name) is not None}


def compare_with_hwcomponents(node_nm: float = 45) -> list[Comparison]:
    """The table's figures beside those of CACTI (memories) and Aladdin (integer arithmetic).

    Args:
        node_nm: process of both.

    Raises:
        UserError: `hwcomponents-cacti` or `hwcomponents-library` is not installed, or its CACTI
            does not run here.
    """
    cacti = _module("hwcomponents_cacti")
    library = _module("hwcomponents_library")
    metres = node_nm * 1e-9
    found = []
    for size in (1 << 13, 1 << 15, 1 << 17, 1 << 20):
        try:
            memory = cacti.SRAM(tech_node=metres, width=64, size=8 * size)
        except Exception as error:  # whatever the package raises when its program does not run
            raise UserError(f"hwcomponents_cacti could not run CACTI: {_line(error)}") from None
        found.append(
            Comparison(
                event=f"64 bits read from {size >> 10} KB",
                table_pj=sram_pj(size, 64, node_nm),
                other_pj=_picojoules(memory.read()),
            )
        )
    for bits in (8, 16, 32):
        unit = library.AladdinMultiplier(tech_node=metres, width=bits)
        found.append(
            Comparison(
                event=f"{bits}-bit integer multiply",
                table_pj=multiply_pj(bits, bits, node_nm),
                other_pj=_picojoules(unit.multiply()),
            )
        )
    adder = library.AladdinAdder(tech_node=metres, width=32)
    found.append(
        Comparison(
            event="32-bit integer add",
            table_pj=add_pj(32, node_nm),
            other_pj=_picojoules(adder.add()),
        )
    )
    register = library.AladdinRegister(tech_node=metres, width=32)
    found.append(
        Comparison(
            event="32-bit register read",
            table_pj=register_pj(32, node_nm),
            other_pj=_picojoules(register.read()),
        )
    )
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name} must be installed for this comparison, which needs Python 3.12, "
            f"but importing it says: {error}"
        ) from None


def _line(error: Exception) -> str:
    """The first line of what it says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _picojoules(cost: Any) -> float:
    """Of a component's action, whose energy is in joules."""
    return float(cost.energy) * 1e12


def _row(name: str) -> _Range:
    found = row(name)
    return found.low_pj, found.high_pj


def _times(limits: _Range, factor: float) -> _Range:
    return limits[0] * factor, limits[1] * factor


def _both(first: _Range, second: _Range) -> _Range:
    return first[0] + second[0], first[1] + second[1]


def _memory(bits: float) -> _Range:
    """A word from any on-chip memory up to 1 MB."""
    return CACTI_POINTS[0][1] / 64 * bits, row("sram_1m").high_pj / 64 * bits


def _integer_mac() -> _Range:
    """A multiplication of 8 to 32 bits and the addition of its sum."""
    multiply = row("int8_multiply").low_pj, row("int32_multiply").high_pj
    return _both(multiply, (row("int8_add").low_pj, row("int32_add").high_pj))


def _array(config: Any) -> dict[str, _Range]:
    floating = config.number.is_float
    add = _row("fp32_add" if floating else "int32_add")
    byte = _memory(8)
    return {
        "mac_pj": _both(_row("fp16_multiply" if floating else "int8_multiply"), add),
        "vector_pj": add,
        **dict.fromkeys(
            ("buffer_read_pj", "buffer_write_pj", "input_pj", "weight_pj", "output_pj"), byte
        ),
    }


def _spgemm(config: Any) -> dict[str, _Range]:
    slot = config.row_bits + config.column_bits + config.epoch_bits
    entry = config.row_bits + config.column_bits + 32
    return {
        "multiply_pj": _row(f"{config.format}_multiply"),
        "add_pj": _row(f"{config.format}_add"),
        "probe_pj": _memory(slot),
        "dense_pj": _memory(entry),
        "queue_pj": _times(_row("register"), 2 * entry),
    }


def _dataflow(config: Any) -> dict[str, _Range]:
    values = "fp64" if config.value_bytes == 8 else "fp32"
    levels = math.ceil(math.log2(config.merger_radix)) if config.dataflow == "row_wise" else 1
    return {
        "multiply_pj": _row(f"{values}_multiply"),
        "add_pj": _row(f"{values}_add"),
        "merge_pj": _times(_row("int32_compare"), levels),
        "compare_pj": _row("int32_compare"),
        "probe_pj": _memory(8 * (_DATAFLOW_PROBE_BYTES + config.value_bytes)),
        "cache_pj": _memory(8),
    }


def _piuma(config: Any) -> dict[str, _Range]:
    return {
        "instruction_pj": _row("instruction"),
        "scratchpad_pj": _memory(64),
        "atomic_pj": _row("fp64_add"),
        "cache_pj": _memory(64),
        "hop_pj": _times(_row("wire"), 8),  # a byte over a millimetre
    }


def _delta(config: Any) -> dict[str, _Range]:
    return {"mac_pj": _integer_mac(), "weight_pj": _memory(8), "state_pj": _memory(8)}


def _mac_skip(config: Any) -> dict[str, _Range]:
    return {"mac_pj": _integer_mac()}


_RANGES = {
    "sat": _array,
    "systolic": _array,
    "spgemm": _spgemm,
    "spgemm_dataflow": _dataflow,
    "piuma": _piuma,
    "delta": _delta,
    "mac_skip": _mac_skip,
}
