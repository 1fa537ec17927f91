"""Figures of synthesized points as rows of a table that is kept in a CSV file.

Rows depend on the RTL and on the tools alone. Everything comes through the cache of
`hwsim.rtl.synth`, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.area_points import Point
from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.files import write_text

__all__ = ["COUNTS", "FIELDS", "Row", "measure", "read_rows", "write_rows"]

COUNTS = ("lut", "ff", "dsp", "bram", "uram", "gates", "transistors", "memory_bits")
"""Columns of numbers; a cell is empty where the target has no such resource."""
FIELDS = (
    *("preset", "block", "overrides", "role", "target"),
    *COUNTS,
    *("fmax_mhz", "seeds_mhz", "path", "tools"),
)


@dataclass(kw_only=True)
class Row:
    """One block of one configuration on one target.

    Attributes:
        point: what it is.
        target: a name of `hwsim.rtl.targets.TARGETS`.
        counts: by the names of `COUNTS`; None where the target has none.
        seeds_mhz: fmax of each placement.
        path: registers that the median placement's limiting path joins.
        tools: the tools' versions.
    """

    point: Point
    target: str
    counts: dict[str, float | None]
    seeds_mhz: tuple[float, ...] = ()
    path: str = ""
    tools: str = ""

    @property
    def fmax_mhz(self) -> float | None:
        """Median of the seeds, the lower one of an even number's middle pair."""
        return statistics.median_low(self.seeds_mhz) if self.seeds_mhz else None

    def cells(self) -> dict[str, str]:
        """The row as text by `FIELDS`."""
        fmax = self.fmax_mhz
        return {
            "preset": self.point.preset,
            "block": self.point.block,
            "overrides": " ".join(self.point.overrides),
            "role": self.point.role,
            "target": self.target,
            **{key: _text(self.counts.get(key)) for key in COUNTS},
            "fmax_mhz": "" if fmax is None else f"{fmax:.1f}",
            "seeds_mhz": " ".join(f"{f:.1f}" for f in self.seeds_mhz),
            "path": self.path,
            "tools": self.tools,
        }


def measure(
    point: Point,
    target: str,
    *,
    seeds: Sequence[int] = (),
    design: tuple[str, str] | None = None,
    cached_only: bool = False,
    timeout_s: float = 1800,
    progress: Callable[[str], None] = lambda message: None,
) -> Row | None:
    """Synthesize a point and, with seeds, place and route it; from the cache where it is there.

    Args:
        point: the design.
        target: a name of `hwsim.rtl.targets.TARGETS`.
        seeds: of the placements; none where the target has no place and route.
        design: the point's Verilog and top module, where they are known already.
        cached_only: start no tool: what is not in the cache is left out.
        timeout_s: seconds at most for each run of a tool.
        progress: told in words what happens.

    Returns:
        None if synthesis failed or is not in the cache; a placement that fails is left out, and
        `progress` is told why.

    Raises:
        UserError: a tool is missing or a name is unknown.
    """
    from hwsim.rtl.blocks import block_verilog
    from hwsim.rtl.synth import (
        ToolFailure,
        netlist_folder,
        place_and_route,
        placement_job,
        synthesise,
        tool_versions,
    )
    from hwsim.rtl.targets import TARGETS

    chosen = TARGETS[target]
    config = load_config(point.preset, list(point.overrides))
    verilog, top = design or block_verilog(point.block, config)
    name = f"{point.preset} {point.block} {' '.join(point.overrides)} for {target}"
    progress(name)
    if cached_only and not netlist_folder(verilog, top, chosen).exists():
        progress(f"{name}: not in the cache")
        return None
    try:
        netlist = synthesise(verilog, top, chosen, timeout_s=timeout_s)
    except ToolFailure as failure:
        progress(f"{name}: {failure}")
        return None
    counts: dict[str, float | None] = dict.fromkeys(COUNTS)
    for key, resource in chosen.resources.items():
        if key in counts:
            counts[key] = resource.count(netlist.cells)
    if netlist.transistors is not None:
        counts["transistors"] = netlist.transistors
        counts["memory_bits"] = netlist.memory_bits
    tools = " ".join(f"{tool} {version}" for tool, version in tool_versions(chosen).items())
    row = Row(point=point, target=target, counts=counts, tools=tools)
    runs = []
    for seed in seeds if chosen.routed and not chosen.lacking(netlist.cells) else ():
        job = placement_job(netlist, chosen, frequency_hz=config.clock_hz, seed=seed)
        if cached_only and not job.folder.exists():
            continue
        try:
            progress(f"{name}: place and route, seed {seed}")
            runs.append(
                place_and_route(
                    netlist,
                    chosen,
                    frequency_hz=config.clock_hz,
                    seed=seed,
                    timeout_s=timeout_s,
                )
            )
        except ToolFailure as failure:
            progress(f"{name}: {failure}")
    if runs:
        row.seeds_mhz = tuple(run.fmax_hz / 1e6 for run in runs)
        middle = next(run for run in runs if run.fmax_hz / 1e6 == row.fmax_mhz)
        row.path = f"{middle.path.start} to {middle.path.end}"
    return row


def write_rows(rows: Iterable[Row], path: str | Path) -> None:
    """Write rows as CSV with a header, sorted by what they are, so that runs compare.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted((row.cells() for row in rows), key=lambda cells: list(cells.values())))
    write_text(path, text.getvalue())


def read_rows(path: str | Path) -> list[Row]:
    """Rows of a file that `write_rows` wrote.

    Raises:
        UserError: the file cannot be read or has other columns.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            if tuple(reader.fieldnames or ()) != FIELDS:
                raise UserError(f"{path}: the header must be {','.join(FIELDS)}")
            return [_row(cells) for cells in reader]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _row(cells: dict[str, str]) -> Row:
    return Row(
        point=Point(
            preset=cells["preset"],
            block=cells["block"],
            overrides=tuple(cells["overrides"].split()),
            role="check" if cells["role"] == "check" else "fit",
        ),
        target=cells["target"],
        counts={key: float(cells[key]) if cells[key] else None for key in COUNTS},
        seeds_mhz=tuple(float(f) for f in cells["seeds_mhz"].split()),
        path=cells["path"],
        tools=cells["tools"],
    )


def _text(count: float | None) -> str:
    return "" if count is None else f"{count:g}" if count != int(count) else str(int(count))
