"""Figures of sparse products, with matplotlib; every function returns the axes it drew on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    PercentFormatter,
)

from hwsim import energy_figures
from hwsim.energy_figures import plot_energy
from hwsim.figures import render
from hwsim.spgemm_machine import NOT_ACTIVE

__all__ = [
    "FIGURES",
    "MACHINE_FIGURES",
    "Drawable",
    "figure_files",
    "plot_cycles",
    "plot_roofline",
    "plot_threads",
    "plot_timeline",
    "plot_traffic",
]

_COLOURS = (
    "#3b6ea5", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#a9c4e0", "#2e4057", "#c97b84",
    "#b5b35c", "#7f7f7f",
)  # fmt: skip
_LABEL_ROWS = 70  # more products than this get every second, third, ... name
_WAIT_COLOURS = {"barrier": "#d0d0d0", "idle": "#ececec"}
_POINTS = 600  # of the timeline: buckets are averaged down to at most this many


class Drawable(energy_figures.Drawable, Protocol):
    """What is drawn: a `hwsim.spgemm_result.SpgemmResult`, or one read back by `hwsim.saved`."""

    @property
    def threads(self) -> list[dict[str, Any]]: ...
    @property
    def timeline(self) -> list[dict[str, Any]]: ...


def plot_cycles(result: Drawable, axes: Axes | None = None) -> Axes:
    """Cycles by product, stacked by cause; one product: a bar a cause."""
    axes = _stacked(result, "cycles_", "", axes)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("cycles")
    axes.set_title(f"{_title(result)}: {result.summary['cycles']:,} cycles")
    return axes


def plot_traffic(result: Drawable, axes: Axes | None = None) -> Axes:
    """DRAM bytes by product, stacked by operand and direction; one product: a bar a cause."""
    axes = _stacked(result, "bytes_", "B", axes)
    axes.xaxis.set_major_formatter(EngFormatter(unit="B", sep=" "))
    axes.set_xlabel("DRAM traffic")
    moved = result.summary["dram_read_bytes"] + result.summary["dram_write_bytes"]
    axes.set_title(f"{_title(result)}: {moved / 1e6:,.1f} MB")
    return axes


def plot_roofline(result: Drawable, axes: Axes | None = None) -> Axes:
    """Multiplies a second against multiplies a byte of DRAM traffic, under the two roofs."""
    axes = axes or Figure(figsize=(7, 4.5)).add_subplot()
    config = result.config
    points = []
    for row in result.rows:
        moved = row["dram_read_bytes"] + row["dram_write_bytes"]
        if row["macs_effective"] and moved and row["cycles"]:
            speed = row["macs_effective"] * config.clock_hz / row["cycles"]
            points.append((row["macs_effective"] / moved, speed))
    peak = config.peak_macs_per_cycle * config.clock_hz
    low = min((x for x, _ in points), default=0.1) / 3
    high = max((x for x, _ in points), default=0.1) * 3
    if config.dram.bytes_per_cycle is None:
        axes.plot([low, high], [peak, peak], color="black", lw=1.5)
    else:
        bandwidth = config.dram.bytes_per_cycle * config.clock_hz
        ridge = peak / bandwidth
        low, high = min(low, ridge / 3), max(high, ridge * 3)
        axes.plot([low, ridge, high], [low * bandwidth, peak, peak], color="black", lw=1.5)
        axes.annotate(
            f"{bandwidth / 1e9:.1f} GB/s",
            (low, low * bandwidth),
            textcoords="offset points",
            xytext=(10, 0),
            va="top",
            fontsize=8,
        )
    axes.annotate(
        f"peak {peak / 1e9:.1f} G multiplies/s",
        (high, peak),
        textcoords="offset points",
        xytext=(-4, 4),
        ha="right",
        fontsize=8,
    )
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=34, alpha=0.8, color=_COLOURS[1], zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 1.6, top=2 * peak)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 1e4 else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(True, which="major", alpha=0.3)
    axes.set_xlabel("multiplies a byte of DRAM traffic")
    axes.set_ylabel("multiplies a second")
    axes.set_title(f"{_title(result)}: roofline")
    return axes


def plot_threads(result: Drawable, axes: Axes | None = None) -> Axes:
    """Histogram of the threads' utilisation, the share of cycles in which they have work; beside it
    (unless `axes` is given) every thread's cycles by what it did."""
    beside = None
    if axes is None:
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        axes, beside = figure.subplots(1, 2, width_ratios=(1, 1.5))
    waits = [key for key in result.threads[0] if key not in ("layer", "core", "thread", "cycles")]
    cycles = np.array([row["cycles"] for row in result.threads], float)
    table = {key: np.array([row[key] for row in result.threads]) / cycles for key in waits}
    active = 1.0 - sum(table[name] for name in NOT_ACTIVE)
    axes.hist(active, bins=20, range=(0, 1), color=_COLOURS[0])
    axes.axvline(active.mean(), color="black", lw=1.2, ls=":", label=f"mean {active.mean():.1%}")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of cycles in which a thread has work")
    axes.set_ylabel("threads")
    axes.legend(fontsize=8)
    if beside is None:
        axes.set_title(f"{_title(result)}: threads")
    else:
        figure.suptitle(f"{_title(result)}: what threads did")
        order = np.argsort(-active, kind="stable")
        order = order[np.linspace(0, len(order) - 1, min(len(order), 2000)).astype(int)]
        colours = iter(_COLOURS)
        paint = [_WAIT_COLOURS.get(key) or next(colours) for key in waits]
        layers = [table[key][order] for key in waits]
        place = np.linspace(0, 1, len(order)) if len(order) > 1 else np.array([0.0])
        beside.stackplot(place, layers, labels=[_words(key) for key in waits], colors=paint)
        beside.set_xlim(0, 1)
        beside.set_ylim(0, 1)
        beside.xaxis.set_major_formatter(PercentFormatter(1.0))
        beside.yaxis.set_major_formatter(PercentFormatter(1.0))
        beside.set_xlabel("threads, the busiest first")
        beside.set_ylabel("cycles")
        beside.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def plot_timeline(result: Drawable, axes: Axes | None = None) -> Axes:
    """Instructions a cycle over time; below it (unless `axes` is given) DRAM bandwidth, scratchpad
    entries in use and active threads. Returns the first."""
    below: Sequence[Axes] = ()
    if axes is None:
        figure = Figure(figsize=(9, 8), layout="constrained")
        axes, *below = figure.subplots(4, 1, sharex=True, height_ratios=(1.2, 1.2, 1, 1))
    rows, clock = result.timeline, result.config.clock_hz
    edges, length, table = _buckets(rows)
    unit, word = _time_unit((edges[-1]) / clock)
    place = edges / clock / unit

    def steps(to: Axes, values: Any, **style: Any) -> None:
        to.stairs(values, place, fill=True, **style)
        to.set_xlim(place[0], place[-1])
        to.grid(True, alpha=0.3)
        to.set_axisbelow(True)

    steps(axes, table["instructions"] / length, color=_COLOURS[0])
    axes.set_ylabel("instructions a cycle")
    axes.set_title(f"{_title(result)}: {result.summary['ipc']:.2f} instructions a cycle")
    if below:
        bandwidth, spad, threads = below
        read = table["dram_read_bytes"] / length * clock / 1e9
        written = table["dram_write_bytes"] / length * clock / 1e9
        steps(bandwidth, read + written, color=_COLOURS[2], label="written")
        steps(bandwidth, read, color=_COLOURS[0], label="read")
        wide = result.config.dram.bytes_per_cycle
        if wide is not None:
            peak = wide * clock / 1e9
            bandwidth.axhline(peak, color="black", lw=1, ls=":", label=f"peak {peak:.1f} GB/s")
        bandwidth.set_ylabel("DRAM, GB/s")
        bandwidth.legend(fontsize=7, ncols=3, loc="upper right")
        capacity = result.summary["scratchpad_occupancy"]["capacity_entries"]
        steps(spad, table["scratchpad_entries"] / capacity, color=_COLOURS[3])
        spad.yaxis.set_major_formatter(PercentFormatter(1.0))
        spad.set_ylabel("table slots in use")
        steps(threads, table["active_threads"], color=_COLOURS[4])
        threads.set_ylabel("active threads")
        threads.set_ylim(0, 1.05 * result.summary["threads"]["count"])
    (below[-1] if below else axes).set_xlabel(f"time, {word}")
    return axes


FIGURES: dict[str, Callable[[Any, Axes | None], Axes]] = {
    "cycles": plot_cycles,
    "traffic": plot_traffic,
    "roofline": plot_roofline,
    "energy": plot_energy,
}
"""Figures of every result by file name."""

MACHINE_FIGURES: dict[str, Callable[[Any, Axes | None], Axes]] = {
    "threads": plot_threads,
    "timeline": plot_timeline,
}
"""Figures of results of the machine model by file name."""


def figure_files(result: Drawable) -> dict[str, bytes]:
    """Every figure that the result has as PNG and SVG, by file name."""
    files = {}
    for name, plot in (FIGURES | (MACHINE_FIGURES if result.threads else {})).items():
        figure = plot(result, None).figure
        for kind in ("png", "svg"):
            files[f"{name}.{kind}"] = render(figure, kind)
    return files


def _stacked(result: Drawable, prefix: str, unit: str, axes: Axes | None) -> Axes:
    """Bars by product stacked over the columns of a prefix, or of one product a bar a column."""
    rows = [row for row in result.rows if row["cycles"]]
    names = [key for key in (rows[0] if rows else {}) if key.startswith(prefix)]
    names = [name for name in names if any(row[name] for row in rows)]
    if len(rows) == 1:
        row = rows[0]
        names.sort(key=lambda name: -row[name])
        axes = axes or Figure(figsize=(8, 1.3 + 0.33 * len(names))).add_subplot()
        values = [row[name] for name in names]
        axes.barh(range(len(names)), values, color=_COLOURS[0], height=0.7)
        whole = sum(values) or 1
        for place, value in enumerate(values):
            axes.annotate(
                f"{value / whole:.1%}",
                (value, place),
                textcoords="offset points",
                xytext=(4, 0),
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(names)), [_words(n.removeprefix(prefix)) for n in names])
        axes.set_xlim(0, 1.12 * max(values, default=1))
        axes.set_ylim(len(names) - 0.4, -0.6)
    else:
        axes = axes or Figure(figsize=(9, max(3.5, min(1.2 + 0.19 * len(rows), 16)))).add_subplot()
        left = np.zeros(len(rows))
        for index, name in enumerate(names):
            widths = np.array([row[name] for row in rows], float)
            axes.barh(
                range(len(rows)),
                widths,
                left=left,
                height=0.8,
                color=_COLOURS[index % len(_COLOURS)],
                label=_words(name.removeprefix(prefix)),
            )
            left += widths
        step = -(-len(rows) // _LABEL_ROWS) or 1
        places = range(0, len(rows), step)
        axes.set_yticks(list(places), [rows[p]["layer"][-34:] for p in places], fontsize=7)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if names:
            drop = 0.6 / max(3.5, min(1.2 + 0.19 * len(rows), 16))
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -drop),
                fontsize=8,
                ncols=min(len(names), 6),
            )
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return axes


def _buckets(rows: Sequence[dict[str, Any]]) -> tuple[Any, Any, dict[str, Any]]:
    """Edges and lengths in cycles, and columns, of at most `_POINTS` buckets: neighbours are
    merged, events added, levels averaged over time."""
    group = -(-len(rows) // _POINTS)
    starts = np.arange(0, len(rows), group)
    lengths = np.array([row["length"] for row in rows], float)
    length = np.add.reduceat(lengths, starts)
    table = {}
    for name in rows[0]:
        if name in ("layer", "begin", "length"):
            continue
        values = np.array([row[name] for row in rows], float)
        if name in ("scratchpad_entries", "active_threads"):
            table[name] = np.add.reduceat(values * lengths, starts) / length
        else:
            table[name] = np.add.reduceat(values, starts)
    edges = np.r_[
        [rows[i]["begin"] for i in starts.tolist()], rows[-1]["begin"] + rows[-1]["length"]
    ]
    return edges.astype(float), length, table


def _time_unit(seconds: float) -> tuple[float, str]:
    for unit, word in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= 2 * unit:
            return unit, word
    return 1e-9, "ns"


def _words(name: str) -> str:
    """`a_read` is "a read", `cache/dram` stays."""
    return name.replace("_", " ")


def _title(result: Drawable) -> str:
    flow = result.summary.get("dataflow", "")
    return f"{result.workload[:44]} on {result.config.name}" + (f", {flow}" if flow else "")
