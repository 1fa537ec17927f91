"""Resources and clock frequency of a design's blocks, as a table and as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.config import Accelerator, dump_config
from hwsim.errors import UserError
from hwsim.files import make_folder, write_bytes, write_text

if TYPE_CHECKING:
    from hwsim.rtl.synth import Netlist, Placement
    from hwsim.rtl.targets import Target

__all__ = ["BlockReport", "SynthReport", "default_blocks", "synth", "synth_table", "target_names"]

_DEFAULT_BLOCKS = ("uspe", "stce", "sore", "wuve", "bank", "lane", "dispatch")
_ARRIVALS = 24
"""Registers listed, so that the stages of a pipeline can be compared."""


@dataclass(kw_only=True)
class BlockReport:
    """One line of the table.

    Attributes:
        block, description, top: its name, what it is, its module.
        resources: by the target's keys, such as `lut` and `dsp`; empty if synthesis failed.
        share: of the part, 0 to 1, where it has a size.
        fmax_mhz: after routing; None if there is none.
        fmax_note: why not.
        critical_path: the path that limits it: registers, nanoseconds, cells passed.
        arrivals_ns: until the last bit of a register arrives, the latest registers first.
        transistors: static CMOS transistors of the gates alone (target generic).
        memory_bits: bits of memories that are not mapped to cells (target generic).
        seconds_synthesis, seconds_place_and_route: when they were made.
        reused: all of it was in the cache.
        failed: a tool failed or was stopped, so figures are missing.
    """

    block: str
    description: str
    top: str
    resources: dict[str, float] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)
    fmax_mhz: float | None = None
    fmax_note: str = ""
    critical_path: dict[str, Any] | None = None
    arrivals_ns: dict[str, float] = field(default_factory=dict)
    transistors: int | None = None
    memory_bits: int = 0
    placed: dict[str, list[int]] = field(default_factory=dict)
    harness: dict[str, int] = field(default_factory=dict)
    seconds_synthesis: float | None = None
    seconds_place_and_route: float | None = None
    reused: bool = False
    failed: bool = False


@dataclass(kw_only=True)
class SynthReport:
    """What `hwsim synth` found.

    Attributes:
        accelerator, target, part: what was synthesized, for what.
        tools: the tools' versions.
        clock_mhz: the configured clock, the goal of place and route.
        seed: of the placer.
        blocks: one entry a block.
        config: the configuration.
        version: ours.
    """

    accelerator: str
    target: str
    part: str
    tools: dict[str, str]
    clock_mhz: float
    seed: int
    blocks: list[BlockReport]
    config: dict[str, Any]
    version: str

    @property
    def ok(self) -> bool:
        return not any(block.failed for block in self.blocks)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def target_names() -> dict[str, str]:
    """Targets with a line on each."""
    from hwsim.rtl.targets import TARGETS

    return {name: target.description for name, target in TARGETS.items()}


def default_blocks(config: Accelerator) -> list[str]:
    """The blocks of a report that names none: all that this version has of the usual ones."""
    from hwsim.rtl.blocks import blocks_of

    return [name for name in _DEFAULT_BLOCKS if name in blocks_of(config)]


def synth(
    config: Accelerator,
    target: str,
    *,
    blocks: Sequence[str] = (),
    seed: int = 1,
    timeout_s: float = 1800,
    out: str | Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> SynthReport:
    """Synthesize blocks of a design and, where the target has it, place and route them.

    Args:
        config: an accelerator with RTL.
        target: a name of `hwsim.rtl.targets.TARGETS`.
        blocks: names of `hwsim.rtl.blocks.blocks_of`; none takes `default_blocks`.
        seed: of the placer's start.
        timeout_s: seconds at most for each run of a tool.
        out: write the report, the configuration and the tools' reports and logs there.
        progress: told in words what happens.

    Raises:
        UserError: no such target or block, no RTL for this kind, a tool is missing, a number out
            of range, or a folder that cannot be written.
    """
    import hwsim
    from hwsim.rtl.blocks import block_verilog, blocks_of
    from hwsim.rtl.synth import tool_versions
    from hwsim.rtl.targets import TARGETS

    if target not in TARGETS:
        raise UserError(f"--target must be one of {', '.join(TARGETS)}, but got {target!r}")
    if not timeout_s > 0:
        raise UserError(f"--timeout must be above 0 seconds, but got {timeout_s:g}")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must lie in 0..2147483647, but got {seed}")
    chosen = TARGETS[target]
    names = list(dict.fromkeys(blocks)) or default_blocks(config)
    designs = {name: block_verilog(name, config) for name in names}  # all mistakes before any work
    report = SynthReport(
        accelerator=config.name,
        target=target,
        part=chosen.part,
        tools=tool_versions(chosen),
        clock_mhz=config.clock_hz / 1e6,
        seed=seed,
        blocks=[],
        config=config.model_dump(),
        version=hwsim.__version__,
    )
    folder = None if out is None else make_folder(out)
    for name, (verilog, top) in designs.items():
        entry = BlockReport(block=name, description=blocks_of(config)[name], top=top)
        report.blocks.append(entry)
        _fill(entry, verilog, chosen, config, seed, timeout_s, folder, progress)
        if folder is not None:  # what is done stays when a later block is interrupted
            write_text(folder / "synth.json", report.to_json())
    if folder is not None:
        write_text(folder / "config.yaml", dump_config(config))
    return report


def _fill(
    entry: BlockReport,
    verilog: str,
    target: Target,
    config: Accelerator,
    seed: int,
    timeout_s: float,
    folder: Path | None,
    progress: Callable[[str], None],
) -> None:
    from hwsim.rtl.synth import ToolFailure, place_and_route, synthesise

    progress(f"{entry.block}: synthesis for {target.name}")
    try:
        netlist = synthesise(verilog, entry.top, target, timeout_s=timeout_s)
    except ToolFailure as failure:
        entry.failed, entry.fmax_note = True, str(failure)
        return
    _take_netlist(entry, netlist, target)
    _copy(folder, entry.block, netlist.folder, ("stat.json", "yosys.log"))
    full = _too_large(entry, target)
    if not target.routed:
        entry.fmax_note = "not available"
    elif full:
        entry.fmax_note = full
    else:
        progress(f"{entry.block}: place and route, {int(entry.resources['lut']):,} LUT")
        try:
            placement = place_and_route(
                netlist, target, frequency_hz=config.clock_hz, seed=seed, timeout_s=timeout_s
            )
        except ToolFailure as failure:
            entry.failed, entry.fmax_note = True, str(failure)
            return
        _take_placement(entry, placement)
        _copy(folder, entry.block, placement.folder, ("report.json", "nextpnr.log"))


def _take_netlist(entry: BlockReport, netlist: Netlist, target: Target) -> None:
    for key, resource in target.resources.items():
        count = resource.count(netlist.cells)
        entry.resources[key] = int(count) if count == int(count) else count
        if resource.available is not None:
            entry.share[key] = count / resource.available
    entry.transistors = netlist.transistors
    entry.memory_bits = netlist.memory_bits
    entry.seconds_synthesis = netlist.seconds
    entry.reused = netlist.reused


def _take_placement(entry: BlockReport, placement: Placement) -> None:
    entry.fmax_mhz = placement.fmax_hz / 1e6
    entry.critical_path = asdict(placement.path)
    latest = list(placement.arrivals.items())[:_ARRIVALS]
    entry.arrivals_ns = {name: round(ns, 3) for name, ns in latest}
    entry.placed = {kind: list(pair) for kind, pair in placement.used.items() if pair[0]}
    entry.harness = {"lut": placement.harness_luts, "ff": placement.harness_flip_flops}
    entry.seconds_place_and_route = placement.seconds
    entry.reused = entry.reused and placement.reused


def _too_large(entry: BlockReport, target: Target) -> str:
    """Which resource the part lacks, empty if none."""
    for key, share in entry.share.items():
        if share > 1:
            resource = target.resources[key]
            need = f"{entry.resources[key]:,}"
            return f"does not fit: {need} of {resource.available:,} {resource.title}"
    return ""


def _copy(folder: Path | None, block: str, source: Path, names: Sequence[str]) -> None:
    if folder is not None:
        for name in names:
            write_bytes(folder / f"{block}.{name}", (source / name).read_bytes())


def synth_table(report: SynthReport) -> None:
    """The report on stderr: a line a block, the limiting paths, the tools' versions."""
    from rich.console import Console
    from rich.table import Table

    from hwsim.rtl.targets import TARGETS

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
