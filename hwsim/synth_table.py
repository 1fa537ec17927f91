"""The report of `hwsim synth` in the terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from hwsim.rtl.targets import TARGETS
from hwsim.synth import BlockReport, SynthReport

__all__ = ["print_table"]


def print_table(report: SynthReport) -> None:
    """The report on stderr: a line a block, the limiting paths, the tools' versions."""
    target = TARGETS[report.target]
    shown = [key for key in target.resources if any(b.resources.get(key) for b in report.blocks)]
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150, highlight=False)
    table = Table(title=f"{report.accelerator} for {report.target} {report.part}".strip())
    table.add_column("block", no_wrap=True)
    for key in shown:
        table.add_column(target.resources[key].title, justify="right", no_wrap=True)
    generic = any(block.transistors is not None for block in report.blocks)
    if generic:
        table.add_column("memory bits", justify="right", no_wrap=True)
        table.add_column("transistors", justify="right", no_wrap=True)
    table.add_column("fmax MHz", justify="right")
    table.add_column("s", justify="right", no_wrap=True)
    for block in report.blocks:
        cells = [_amount(block, key) for key in shown]
        if generic:
            cells += [f"{block.memory_bits:,}", f"{block.transistors or 0:,}"]
        fmax = block.fmax_note if block.fmax_mhz is None else f"{block.fmax_mhz:.1f}"
        if len(block.fmax_by_seed) > 1:
            speeds = block.fmax_by_seed.values()
            fmax += f" ({min(speeds):.1f} to {max(speeds):.1f})"
        seconds = (block.seconds_synthesis or 0) + (block.seconds_place_and_route or 0)
        table.add_row(block.block, *cells, fmax, f"{seconds:.0f}" + (" *" if block.reused else ""))
    console.print(table)
    for block in report.blocks:
        if (path := block.critical_path) is not None:
            console.print(
                f"{block.block}: {path['delay_ns']:.2f} ns ({path['logic_ns']:.2f} logic, "
                f"{path['routing_ns']:.2f} routing, {path['levels']} cells) "
                f"from {path['start']} to {path['end']}",
                markup=False,
            )
    if any(block.reused for block in report.blocks):
        console.print("* made by an earlier run with the same design, options and tools")
    console.print(", ".join(f"{name} {version}" for name, version in report.tools.items()))


def _amount(block: BlockReport, key: str) -> str:
    if key not in block.resources:
        return ""
    text = f"{block.resources[key]:,}"
    share = block.share.get(key)
    return text if share is None else f"{text} ({share:.1%})"
