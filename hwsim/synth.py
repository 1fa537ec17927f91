"""Resources and clock frequency of a design's blocks, as a table and as files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
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

_DEFAULT_BLOCKS = (
    *("uspe", "stce", "sore", "wuve"),
    *("bank", "lane", "dispatch"),
    *("scanner", "streamer", "lanes", "output", "gates"),
    "engine",
)
_TRAINING_BLOCKS = ("sore", "wuve")
_WHOLE = ("stce", "engine")
"""Names of the block that is the whole core."""
_ARRIVALS = 24
"""Registers listed, so that the stages of a pipeline can be compared."""
_SEEDS = 64
"""Most seeds of a command. Not given; chosen far above what a median needs."""


@dataclass(kw_only=True)
class BlockReport:
    """One line of the table.

    Attributes:
        block, description, top: its name, what it is, its module.
        resources: by the target's keys, such as `lut` and `dsp`; empty if synthesis failed.
        share: of the part, 0 to 1, where it has a size.
        fmax_mhz: after routing, the median over the seeds (the lower one of an even number's
            middle pair); None if there is none.
        fmax_by_seed: each seed's.
        fmax_note: why not.
        critical_path: the path that limits that median run: registers, nanoseconds, cells passed.
        arrivals_ns: until the last bit of a register arrives, the latest registers first.
        transistors: static CMOS transistors of the gates alone (target generic).
        memory_bits: bits of memories that are not mapped to cells (target generic).
        seconds_synthesis, seconds_place_and_route: when they were made, all seeds together.
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
    fmax_by_seed: dict[int, float] = field(default_factory=dict)
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
        seed: of the placer, the first one.
        seeds: how many, counted up from `seed`.
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
    seeds: int
    blocks: list[BlockReport]
    config: dict[str, Any]
    version: str

    @property
    def ok(self) -> bool:
        return not any(block.failed for block in self.blocks)

    @property
    def headline(self) -> dict[str, float | None]:
        """`lut, ff, dsp, bram, fmax_mhz, seconds` of the whole core, or of the only block.

        None where the target has no such resource, place and route gave no frequency, or the
        report holds several blocks of which none is the whole.
        """
        keys = ("lut", "ff", "dsp", "bram")
        whole = [block for block in self.blocks if block.block in _WHOLE]
        chosen = whole or (self.blocks if len(self.blocks) == 1 else [])
        if not chosen:
            return dict.fromkeys((*keys, "fmax_mhz", "seconds"))
        block = chosen[0]
        seconds = (block.seconds_synthesis or 0) + (block.seconds_place_and_route or 0)
        return {
            **{key: block.resources.get(key) for key in keys},
            "fmax_mhz": block.fmax_mhz,
            "seconds": seconds,
        }

    def to_json(self) -> str:
        """The headline's keys and the report's."""
        return json.dumps(self.headline | asdict(self), indent=2, allow_nan=False) + "\n"


def target_names() -> dict[str, str]:
    """Targets with a line on each, other names included."""
    from hwsim.rtl.targets import ALIASES, TARGETS

    names = {name: target.description for name, target in TARGETS.items()}
    return names | {alias: f"the same as {name}" for alias, name in ALIASES.items()}


def default_blocks(config: Accelerator) -> list[str]:
    """The blocks of a report that names none: the usual ones, with the whole core.

    The selectors and the weight update belong to the training engine, which is FP16, so an INT8
    array is reported without them.
    """
    from hwsim.rtl.blocks import blocks_of

    inference = getattr(config, "format", "") == "int8"
    return [
        name
        for name in _DEFAULT_BLOCKS
        if name in blocks_of(config) and not (inference and name in _TRAINING_BLOCKS)
    ]


def synth(
    config: Accelerator,
    target: str,
    *,
    blocks: Sequence[str] = (),
    seed: int = 1,
    seeds: int = 1,
    timeout_s: float = 1800,
    out: str | Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> SynthReport:
    """Synthesize blocks of a design and, where the target has it, place and route them.

    Args:
        config: an accelerator with RTL.
        target: a name of `target_names`.
        blocks: names of `hwsim.rtl.blocks.blocks_of`; none takes `default_blocks`.
        seed: of the placer's start.
        seeds: place and route so many times, with `seed` and the numbers that follow it.
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
    from hwsim.rtl.targets import ALIASES, TARGETS

    if target not in target_names():
        raise UserError(f"--target must be one of {', '.join(target_names())}, but got {target!r}")
    if not timeout_s > 0:
        raise UserError(f"--timeout must be above 0 seconds, but got {timeout_s:g}")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must lie in 0..2147483647, but got {seed}")
    if not 1 <= seeds <= _SEEDS or seed + seeds > 2**31:
        raise UserError(f"--seeds must lie in 1..{_SEEDS}, but got {seeds}")
    chosen = TARGETS[ALIASES.get(target, target)]
    names = list(dict.fromkeys(blocks)) or default_blocks(config)
    designs = {name: block_verilog(name, config) for name in names}  # all mistakes before any work
    report = SynthReport(
        accelerator=config.name,
        target=chosen.name,
        part=chosen.part,
        tools=tool_versions(chosen),
        clock_mhz=config.clock_hz / 1e6,
        seed=seed,
        seeds=seeds,
        blocks=[],
        config=config.model_dump(),
        version=hwsim.__version__,
    )
    folder = None if out is None else make_folder(out)
    for name, (verilog, top) in designs.items():
        entry = BlockReport(block=name, description=blocks_of(config)[name], top=top)
        report.blocks.append(entry)
        numbers = range(seed, seed + seeds)
        _fill(entry, verilog, chosen, config, numbers, timeout_s, folder, progress)
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
    seeds: Sequence[int],
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
    full = target.lacking(netlist.cells)
    if not target.routed:
        entry.fmax_note = "not available"
    elif full:
        entry.fmax_note = f"does not fit: {full}"
    else:
        placements = {}
        for seed in seeds:
            size = f"{int(entry.resources['lut']):,} LUT"
            progress(f"{entry.block}: place and route, {size}, seed {seed}")
            try:
                placements[seed] = place_and_route(
                    netlist, target, frequency_hz=config.clock_hz, seed=seed, timeout_s=timeout_s
                )
            except ToolFailure as failure:
                entry.failed, entry.fmax_note = True, str(failure)
        if placements:
            middle = _take_placements(entry, placements)
            _copy(folder, entry.block, middle.folder, ("report.json", "nextpnr.log"))


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


def _take_placements(entry: BlockReport, placements: Mapping[int, Placement]) -> Placement:
    """Fill in the median over the seeds; returns the run that it is of."""
    entry.fmax_by_seed = {seed: run.fmax_hz / 1e6 for seed, run in placements.items()}
    entry.fmax_mhz = statistics.median_low(entry.fmax_by_seed.values())
    [seed] = [seed for seed, fmax in entry.fmax_by_seed.items() if fmax == entry.fmax_mhz][:1]
    middle = placements[seed]
    entry.critical_path = asdict(middle.path)
    latest = list(middle.arrivals.items())[:_ARRIVALS]
    entry.arrivals_ns = {name: round(ns, 3) for name, ns in latest}
    entry.placed = {kind: list(pair) for kind, pair in middle.used.items() if pair[0]}
    entry.harness = {"lut": middle.harness_luts, "ff": middle.harness_flip_flops}
    entry.seconds_place_and_route = sum(run.seconds for run in placements.values())
    entry.reused = entry.reused and all(run.reused for run in placements.values())
    return middle


def _copy(folder: Path | None, block: str, source: Path, names: Sequence[str]) -> None:
    if folder is not None:
        for name in names:
            write_bytes(folder / f"{block}.{name}", (source / name).read_bytes())


def synth_table(report: SynthReport) -> None:
    """The report on stderr: a line a block, the limiting paths, the tools' versions."""
    from hwsim.synth_table import print_table

    print_table(report)
