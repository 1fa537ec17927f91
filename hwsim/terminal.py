"""Tables and progress bars, all on stderr; nothing is drawn when stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.result import Result

__all__ = ["progress", "result_table"]


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """A bar with rate and time left; yields a function of (done, total, extra words)."""
    if not sys.stderr.isatty():
        yield lambda done, total, words="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None, words="")

        def tick(done: int, total: int, words: str = "") -> None:
            bar.update(task, completed=done, total=total, words=words)

        yield tick


def result_table(result: Result) -> None:
    """One line a layer that takes time, and the totals."""
    from rich.console import Console
    from rich.table import Table

    summary = result.summary
    table = Table(
        title=f"{result.workload} on {result.config.name}, {result.config.sparsity}, "
        f"batch {result.batch}"
    )
    right = {"justify": "right", "no_wrap": True}
    for name in ("layer", "op", "m x n x k", "flow", "N:M"):
        table.add_column(name, no_wrap=True)
    for name in ("cycles", "idle", "stall", "util", "DRAM kB", "uJ"):
        table.add_column(name, **right)  # type: ignore[arg-type]
    for row in result.rows:
        if row["cycles"] or row["dataflow"] == "host":
            table.add_row(*_cells(row))
    total = ["total", "", "", "", "", f"{summary['cycles']:,}", "", "", ""]
    moved = summary["dram_read_bytes"] + summary["dram_write_bytes"]
    total[8] = f"{summary['utilization']:.1%}"
    total += [f"{moved / 1e3:,.0f}", f"{summary['energy_pj'] / 1e6:,.1f}"]
    table.add_section()
    table.add_row(*total)
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    console.print(table)
    fused = sum(1 for row in result.rows if row["dataflow"] == "fused")
    host = sum(1 for row in result.rows if row["dataflow"] == "host")
    console.print(
        f"{summary['seconds'] * 1e3:,.3f} ms at {result.config.clock_hz / 1e6:g} MHz; "
        f"{summary['utilization']:.1%} of the array's peak, "
        f"{summary['utilization_dense']:.1%} of the dense-equivalent peak",
        highlight=False,
    )
    if "stage_cycles" in summary:
        parts = ", ".join(
            f"{stage} {cycles / summary['cycles']:.1%}"
            for stage, cycles in summary["stage_cycles"].items()
        )
        kept = summary["kept_bytes"] / 1e6
        console.print(f"{parts}; {kept:,.1f} MB kept for the backward pass", highlight=False)
    if fused:
        console.print(f"{fused} element-wise layers are fused and take no cycles", highlight=False)
    if host:
        console.print(
            f"{host} element-wise layers are not modelled (vector_lanes is 0)", highlight=False
        )


def _cells(row: dict[str, Any]) -> list[str]:
    shape = f"{row['m']}x{row['n']}x{row['k']}" if row["m"] else ""
    if row["count"] > 1:
        shape = f"{row['count']} of {shape}"
    moved = row["dram_read_bytes"] + row["dram_write_bytes"]
    return [
        row["layer"] if row["stage"] == "FF" else f"{row['layer']} {row['stage']}",
        row["op"],
        shape,
        row["dataflow"],
        row["sparsity"] if row["m"] else "",
        f"{row['cycles']:,}",
        f"{row['array_idle']:,}",
        f"{row['stall_dram'] + row['fill'] + row['drain']:,}",
        f"{row['utilization']:.1%}" if row["m"] else "",
        f"{moved / 1e3:,.0f}",
        f"{row['energy_pj'] / 1e6:,.1f}",
    ]
