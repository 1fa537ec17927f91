"""Tables of docs/energy.md, in Markdown, made from the data: a test compares the page with them.

python -m hwsim.energy_text      writes the tables into the page that is named, or prints them
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hwsim.energy_data import CACTI_POINTS, DRAM_KINDS, ROWS, SOURCES, EnergyRow, row
from hwsim.energy_laws import TABLE_NODE_NM, operation_pj, scale, sram_law, sram_pj
from hwsim.files import write_all

__all__ = ["TABLES", "filled"]

_AT_7_NM = {
    "int8_multiply": 0.07,
    "int32_add": 0.03,
    "fp16_multiply": 0.34,
    "fp32_multiply": 1.31,
    "sram_8k": 7.5,
    "sram_32k": 8.5,
    "sram_1m": 14.0,
}
"""Jouppi et al., ISCA 2021, table 2, the column of 7 nm: what was found quoted."""
_NODES = (180, 130, 90, 65, 45, 32, 28, 22, 16, 12, 10, 7)


def filled(page: str) -> str:
    """A page with every table of `TABLES` between its marks made anew.

    Raises:
        ValueError: a table's marks are not there.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page must have the marks of table {name}")
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{table()}\n{end}{tail}"
    return page


def _events() -> str:
    return _markdown(
        ("event", "pJ", "of", "node", "source", "published range", "range from", "note"),
        (_event(row) for row in ROWS.values() if row.name not in DRAM_KINDS),
    )


def _event(row: EnergyRow) -> tuple[str, ...]:
    node = f"{row.node_nm:g} nm" + ("" if row.volt is None else f", {row.volt:g} V")
    return (
        f"`{row.name}`",
        f"{row.energy_pj:.4g}",
        row.per,
        node,
        row.source,
        _range(row),
        ", ".join(row.range_source) or "none found",
        row.note,
    )


def _dram() -> str:
    return _markdown(
        ("`dram_kind`", "pJ a bit", "pJ a byte", "source", "published range", "range from", "note"),
        (
            (
                f"`{kind}`",
                f"{row(kind).energy_pj:.4g}",
                f"{8 * row(kind).energy_pj:.4g}",
                row(kind).source,
                _range(row(kind)),
                ", ".join(row(kind).range_source) or "none found",
                row(kind).note,
            )
            for kind in DRAM_KINDS
        ),
    )


def _sources() -> str:
    return "\n".join(f"- `{key}`: {text}" for key, text in SOURCES.items())


def _memories() -> str:
    a, b = sram_law()
    published = {8 << 10: 10.0, 32 << 10: 20.0, 1 << 20: 100.0}
    lines = _markdown(
        ("bytes", "law, pJ", "published, pJ", "CACTI read, pJ", "CACTI write, pJ", "law / read"),
        (
            (
                f"{size:,}",
                f"{sram_pj(size, 64):.2f}",
                f"{published[size]:g}" if size in published else "",
                f"{read:.2f}",
                f"{write:.2f}",
                f"{sram_pj(size, 64) / read:.2f}",
            )
            for size, read, write in CACTI_POINTS
        ),
    )
    return f"{a:.4f} pJ x bytes^{b:.4f} for 64 bits at {TABLE_NODE_NM:g} nm.\n\n{lines}"


def _nodes() -> str:
    return _markdown(
        ("nm", *(f"{node}" for node in _NODES)),
        [("energy over 45 nm's", *(f"{scale(1, TABLE_NODE_NM, node):.3g}" for node in _NODES))],
    )


def _against_7_nm() -> str:
    return _markdown(
        ("event", "45 nm, pJ", "7 nm by the law, pJ", "7 nm published, pJ", "law / published"),
        (
            (
                f"`{name}`",
                f"{operation_pj(name):.4g}",
                f"{operation_pj(name, 7):.3g}",
                f"{there:g}",
                f"{operation_pj(name, 7) / there:.2f}",
            )
            for name, there in _AT_7_NM.items()
        ),
    )


TABLES: dict[str, Callable[[], str]] = {
    "events": _events,
    "dram": _dram,
    "memories": _memories,
    "nodes": _nodes,
    "seven": _against_7_nm,
    "sources": _sources,
}
"""Tables by the name of their marks."""


def _range(row: EnergyRow) -> str:
    if not row.range_source:
        return ""
    return f"{row.low_pj:.4g} to {row.high_pj:.4g}" + (" R" if row.recalled_range else "")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _main(arguments: Sequence[str]) -> None:
    for name in arguments:
        path = Path(name)
        page = filled(path.read_text(encoding="utf-8"))
        write_all(path.parent, {path.name: page.encode()})
    if not arguments:
        print("\n\n".join(f"{name}\n{table()}" for name, table in TABLES.items()))


if __name__ == "__main__":
    _main(sys.argv[1:])
