"""The table of a result of sparse products, on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.spgemm_result import SpgemmResult

__all__ = ["spgemm_table"]


def spgemm_table(result: SpgemmResult) -> None:
    """One line a product, the totals, and what took the time and the traffic."""
    from rich.console import Console
    from rich.table import Table

    summary = result.summary
    table = Table(title=f"{result.workload} on {result.config.name}")
    for name in ("product", "flow", "m x n x k"):
        table.add_column(name, no_wrap=True)
    for name in ("nnz A", "nnz B", "nnz C", "multiplies", "cycles", "util", "DRAM kB", "uJ"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(
            row["layer"],
            row["dataflow"],
            f"{row['m']}x{row['n']}x{row['k']}",
            *(f"{row[key]:,}" for key in ("nnz_a", "nnz_b", "nnz_c", "macs_effective", "cycles")),
            *_shares(row),
        )
    if len(result.rows) > 1:
        table.add_section()
        table.add_row(
            *("total", "", "", "", ""),
            *(f"{summary[key]:,}" for key in ("nnz_c", "macs_effective", "cycles")),
            *_shares(summary),
        )
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    console.print(table)
    for line in _lines(summary, result.config.clock_hz):
        console.print(line, highlight=False)


def _shares(row: dict[str, Any]) -> tuple[str, str, str]:
    moved = row["dram_read_bytes"] + row["dram_write_bytes"]
    return f"{row['utilization']:.1%}", f"{moved / 1e3:,.0f}", f"{row['energy_pj'] / 1e6:,.1f}"


def _lines(summary: dict[str, Any], clock_hz: float) -> list[str]:
    words = [
        f"{summary['seconds'] * 1e3:,.3f} ms at {clock_hz / 1e6:g} MHz",
        f"{summary['multiplies_per_second'] / 1e9:,.3f} G multiplies/s",
    ]
    if summary["ipc"] is not None:
        words.append(f"{summary['ipc']:.2f} instructions a cycle")
    if summary["dram_bandwidth_share"] is not None:
        words.append(f"{summary['dram_bandwidth_share']:.1%} of the DRAM bandwidth")
    if summary["cache_hit_rate"] is not None:
        words.append(f"{summary['cache_hit_rate']:.1%} cache hits")
    lines = ["; ".join(words)]
    words = []
    if summary["probes_per_insert"] is not None:
        words.append(f"{summary['probes_per_insert']:.3f} probes a product")
    occupancy = summary["scratchpad_occupancy"]
    if occupancy is not None:
        words.append(
            f"{occupancy['mean']:.1%} of {occupancy['capacity_entries']:,} table slots in use "
            f"on average, {occupancy['peak']:.1%} at the peak"
        )
    threads = summary["threads"]
    if threads is not None:
        words.append(f"threads have work {threads['active_share']:.1%} of the time")
    if words:
        lines.append("; ".join(words))
    lines.append("cycles: " + _ranked(summary["parts"]))
    lines.append("bytes: " + _ranked(summary["bytes_by_cause"]))
    return lines


def _ranked(table: dict[str, int]) -> str:
    whole = sum(table.values())
    order = sorted(table, key=lambda name: -table[name])
    shown = [f"{name} {table[name] / whole:.1%}" for name in order if table[name] > whole / 2000]
    return ", ".join(shown) if shown else "none"
