"""The table of a result of a stream, on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwsim.delta_result import DeltaResult

__all__ = ["delta_table"]


def delta_table(result: DeltaResult) -> None:
    """One line a layer, the totals, latency of a frame, and what skipping did to the output."""
    from rich.console import Console
    from rich.table import Table

    summary = result.summary
    table = Table(title=f"{result.workload} on {result.config.name}, {result.frames:,} frames")
    for name in ("layer", "op", "m x n x k"):
        table.add_column(name, no_wrap=True)
    for name in ("density", "MACs", "cycles", "DRAM kB", "uJ"):
        table.add_column(name, justify="right", no_wrap=True)
    for run, row in zip(result.runs, result.rows, strict=True):
        moved = row["dram_read_bytes"] + row["dram_write_bytes"]
        table.add_row(
            row["layer"],
            row["op"],
            f"{row['m']}x{row['n']}x{row['k']}",
            f"{run.nonzero_in / run.items_in:.1%}" if run.items_in else "",
            f"{row['macs_effective']:,}",
            f"{row['cycles']:,}",
            f"{moved / 1e3:,.0f}",
            f"{row['energy_pj'] / 1e6:,.1f}",
        )
    moved = summary["dram_read_bytes"] + summary["dram_write_bytes"]
    table.add_section()
    table.add_row(
        "total", "", "", f"{1 - summary['sparsity']:.1%}", f"{summary['macs_effective']:,}",
        f"{summary['cycles']:,}", f"{moved / 1e3:,.0f}", f"{summary['energy_pj'] / 1e6:,.1f}",
    )  # fmt: skip
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 130)
    console.print(table)
    frame = summary["latency"]
    clock = result.config.clock_hz
    words = ", ".join(
        f"{name} {frame[name]:,.0f} ({frame[name] / clock * 1e6:,.0f} us)"
        for name in ("mean", "p95", "p99", "max")
    )
    console.print(f"cycles a frame: {words}", highlight=False)
    parts = [f"sparsity {summary['sparsity']:.1%}"]
    if summary["speedup"] is not None:
        parts.append(f"{summary['speedup']:.2f}x over nothing skipped")
    if summary["realtime"] is not None:
        parts.append(f"{summary['realtime']:,.1f}x real time")
    if summary.get("snr_db") is not None:
        parts.append(f"output SNR {summary['snr_db']:.1f} dB")
    console.print("; ".join(parts), highlight=False)
