"""Laws over the table of energies: process nodes, widths of arithmetic, sizes of memories.

    scale            between processes, by the fits of Stillmaker and Baas
    multiply, add    integers of any width, a power law through 8 and 32 bits
    sram             a memory of any capacity, a power law through the published points
    wire, register, operation, dram     rows of the table at a process

Energies are in picojoules. What is off the chip does not follow the logic's process: an interface
drives the board's wires at the standard's voltage, so `dram` has no process.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

from hwsim.energy_data import DRAM_KINDS, SRAM_POINTS, row

__all__ = [
    "NODES",
    "SRAM_BYTES",
    "TABLE_NODE_NM",
    "add_pj",
    "dram_pj",
    "multiply_pj",
    "operation_pj",
    "register_pj",
    "scale",
    "sram_law",
    "sram_pj",
    "wire_pj",
]

TABLE_NODE_NM = 45.0
"""The process of most of the table, taken where none is asked for."""

_FITS = {
    180: (0.0, 24.64, -17.98, 1.8),
    130: (7.171, -6.709, 2.904, 1.3),
    90: (4.762, -4.781, 2.092, 1.2),
    65: (3.755, -4.398, 1.975, 1.1),
    45: (1.018, -0.3107, 0.1539, 0.9),
    32: (0.8367, -0.4341, 0.1701, 0.9),
    20: (0.373, -0.1582, 0.04104, 0.9),
    16: (0.2958, -0.1241, 0.03024, 0.85),
    14: (0.2363, -0.09675, 0.02239, 0.8),
    10: (0.2068, -0.09311, 0.02375, 0.75),
    7: (0.1776, -0.09097, 0.02447, 0.7),
}
"""a, b, c of the energy factor a V^2 + b V + c of each node, and the supply V in volts.

A. Stillmaker and B. Baas, "Scaling equations for the accurate prediction of CMOS device performance
from 180 nm to 7 nm", Integration 58, 2017, high-performance devices, as transcribed by
github.com/wromaszkan/nodeScale. Supplies: 45 nm at the 0.9 V of the table; the others nominal ones
of the Predictive Technology Model, recalled."""

NODES = (float(min(_FITS)), float(max(_FITS)))
"""Processes in nanometres between which `scale` is valid."""

SRAM_BYTES = (64, 64 << 20)
"""Capacities of on-chip memories: smaller ones take what the least takes, larger ones are refused.
Not given; chosen because up to there CACTI agrees with the law (docs/energy.md)."""

_WORD_BITS = 64


def scale(energy_pj: float, from_nm: float, to_nm: float) -> float:
    """An energy of logic or on-chip memory at another process, each at its usual supply.

    The factor of a process that the source does not list is interpolated between its neighbours,
    linearly in logarithms. The fits are of a chain of inverters without wires: at 7 nm they are
    several times below what a product was reported to take, see docs/energy.md.

    Raises:
        ValueError: a process outside `NODES`.
    """
    return energy_pj * (_factor(float(to_nm)) / _factor(float(from_nm)))


def operation_pj(name: str, node_nm: float = TABLE_NODE_NM) -> float:
    """A row of the table at a process.

    Raises:
        ValueError: an unknown row, one off the chip, or a process outside `NODES`.
    """
    found = row(name)
    if found.node_nm is None:
        raise ValueError(f"the energy of {name} has no process")
    return scale(found.energy_pj, found.node_nm, node_nm)


def multiply_pj(a_bits: int, b_bits: int, node_nm: float = TABLE_NODE_NM) -> float:
    """An integer multiplication of any widths: a power of their product, exact at 8 and 32 bits.

    Raises:
        ValueError: a width below 1, or a process outside `NODES`.
    """
    return _power(a_bits * b_bits, 64, "int8_multiply", 1024, "int32_multiply", node_nm)


def add_pj(bits: int, node_nm: float = TABLE_NODE_NM) -> float:
    """An integer addition of any width: a power of it, exact at 8 and 32 bits.

    Raises:
        ValueError: a width below 1, or a process outside `NODES`.
    """
    return _power(bits, 8, "int8_add", 32, "int32_add", node_nm)


@lru_cache(maxsize=1)
def sram_law() -> tuple[float, float]:
    """(a, b) of a capacity^b, the energy in pJ of 64 bits at 45 nm from as many bytes.

    Least squares of the logarithms over `SRAM_POINTS`; b is close to a half, as word and bit lines
    grow with the square root of the capacity.
    """
    sizes = [math.log(size) for size, _ in SRAM_POINTS]
    energies = [math.log(row(name).energy_pj) for _, name in SRAM_POINTS]
    mean_x, mean_y = sum(sizes) / len(sizes), sum(energies) / len(energies)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(sizes, energies, strict=True))
    slope /= sum((x - mean_x) ** 2 for x in sizes)
    return math.exp(mean_y - slope * mean_x), slope


def sram_pj(capacity_bytes: float, bits: float, node_nm: float = TABLE_NODE_NM) -> float:
    """A read or a write of an on-chip memory.

    The capacity is of the whole memory, however many banks it has, as in the published points.
    The word is priced by its bits, although a wide one shares its decoder. Writes are not given
    apart from reads; chosen equal (CACTI has 0.8 to 1.6 times as much).

    Args:
        capacity_bytes: of the memory.
        bits: of the word.
        node_nm: the process.

    Raises:
        ValueError: a capacity above `SRAM_BYTES`, or a process outside `NODES`.
    """
    least, most = SRAM_BYTES
    if capacity_bytes > most:
        raise ValueError(
            f"the energy of an on-chip memory is known up to {most} bytes, "
            f"but got {capacity_bytes:.0f}"
        )
    a, b = sram_law()
    word = a * max(capacity_bytes, least) ** b
    return scale(word * (bits / _WORD_BITS), TABLE_NODE_NM, node_nm)


def register_pj(bits: float, node_nm: float = TABLE_NODE_NM) -> float:
    """A word written to a register and read once.

    Raises:
        ValueError: a process outside `NODES`.
    """
    return bits * operation_pj("register", node_nm)


def wire_pj(bits: float, length_mm: float, node_nm: float = TABLE_NODE_NM) -> float:
    """Bits over a wire on the chip, half of them toggling.

    Raises:
        ValueError: a process outside `NODES`.
    """
    return bits * length_mm * operation_pj("wire", node_nm)


def dram_pj(kind: str, bits: float) -> float:
    """Bits read from or written to DRAM, interface included; no process of the logic matters.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in DRAM_KINDS:
        raise ValueError(f"DRAM must be one of {', '.join(DRAM_KINDS)}, but got {kind!r}")
    return bits * row(kind).energy_pj


@lru_cache(maxsize=256)
def _factor(node_nm: float) -> float:
    """The energy factor of a process at its supply."""
    low, high = NODES
    if not low <= node_nm <= high:
        raise ValueError(
            f"a process must lie between {low:g} and {high:g} nm, but got {node_nm:g} nm"
        )
    nodes = sorted(_FITS)
    for below, above in pairwise(nodes):
        if node_nm <= above:
            part = math.log(node_nm / below) / math.log(above / below)
            return math.exp(
                (1 - part) * math.log(_at_node(below)) + part * math.log(_at_node(above))
            )
    raise AssertionError("unreachable")


def _at_node(node: int) -> float:
    a, b, c, volt = _FITS[node]
    return a * volt * volt + b * volt + c


def _power(
    value: float, low: float, low_row: str, high: float, high_row: str, node_nm: float
) -> float:
    """A power law through two rows of the table."""
    if value < 1:
        raise ValueError(f"a width must be at least 1 bit, but got {value}")
    first, last = operation_pj(low_row, node_nm), operation_pj(high_row, node_nm)
    exponent = math.log(last / first) / math.log(high / low)
    return first * (value / low) ** exponent
