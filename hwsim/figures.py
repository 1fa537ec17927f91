"""Figures of a result, with matplotlib; every function returns the axes it drew on."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib as mpl
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

if TYPE_CHECKING:
    from hwsim.config import ArrayConfig

__all__ = [
    "FIGURES",
    "Drawable",
    "figure_files",
    "plot_cycles",
    "plot_roofline",
    "plot_traffic",
    "plot_utilization",
    "render",
]

_PARTS = {
    "issue": ("busy", "#3b6ea5"),
    "array_idle": ("array idle (skew, short tiles)", "#a9c4e0"),
    "stall_dram": ("waiting for DRAM", "#d1495b"),
    "fill": ("first load", "#edae49"),
    "drain": ("drain and last store", "#8d6a9f"),
}
_READ, _WRITTEN = "#3b6ea5", "#edae49"
_LABEL_ROWS = 70  # more layers than this get every second, third, ... name


class Drawable(energy_figures.Drawable, Protocol):
    """What is drawn: a `hwsim.result.Result`, or one read back by `hwsim.saved`."""

    @property
    def batch(self) -> int: ...
    @property
    def config(self) -> ArrayConfig: ...


def plot_cycles(result: Drawable, axes: Axes | None = None) -> Axes:
    """Cycles by layer, stacked by cause; layers without cycles are left out."""
    rows = [row for row in result.rows if row["cycles"]]
    axes = axes or _axes(len(rows))
    left = [0] * len(rows)
    for key, (label, colour) in _PARTS.items():
        values = [row[key] for row in rows]
        if any(values):
            axes.barh(range(len(rows)), values, left=left, label=label, color=colour, height=0.8)
        left = [a + b for a, b in zip(left, values, strict=True)]
    _name_rows(axes, rows)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("cycles")
    axes.set_title(f"{_title(result)}: {result.summary['cycles']:,} cycles")
    _legend_below(axes, len(rows), 5)
    return axes


def plot_utilization(result: Drawable, axes: Axes | None = None) -> Axes:
    """Issued and dense-equivalent utilisation by layer, each of its own peak."""
    rows = [row for row in result.rows if row["macs_dense"] and row["cycles"]]
    axes = axes or _axes(len(rows))
    places = range(len(rows))
    axes.barh(
        [p - 0.2 for p in places],
        [row["utilization"] for row in rows],
        height=0.4,
        color="#3b6ea5",
        label="kept MACs of the array's peak",
    )
    axes.barh(
        [p + 0.2 for p in places],
        [row["utilization_dense"] for row in rows],
        height=0.4,
        color="#66a182",
        label="dense MACs of the peak that N:M allows",
    )
    _name_rows(axes, rows)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("utilisation")
    axes.set_title(f"{_title(result)}: {result.summary['utilization']:.1%} of the array's peak")
    _legend_below(axes, len(rows), 2)
    return axes


def plot_roofline(result: Drawable, axes: Axes | None = None) -> Axes:
    """Kept multiply-accumulates a second against their number a byte of DRAM traffic."""
    config = result.config
    axes = axes or _axes(12)
    points: dict[str, list[tuple[float, float]]] = {}
    for row in result.rows:
        moved = row["dram_read_bytes"] + row["dram_write_bytes"]
        if row["macs_effective"] and moved and row["cycles"]:
            seconds = row["cycles"] / config.clock_hz
            points.setdefault(row["dataflow"], []).append(
                (row["macs_effective"] / moved, row["macs_effective"] / seconds)
            )
    everything = [p for group in points.values() for p in group]
    peak = config.peak_macs_per_s
    low = min((p[0] for p in everything), default=1.0) / 2
    high = max((p[0] for p in everything), default=1.0) * 2
    if config.dram.bytes_per_cycle is not None:
        bandwidth = config.dram.bytes_per_cycle * config.clock_hz
        ridge = peak / bandwidth
        low, high = min(low, ridge / 2), max(high, ridge * 2)
        axes.plot([low, ridge, high], [low * bandwidth, peak, peak], color="black", lw=1.5)
        axes.annotate(
            f"{bandwidth / 1e9:.1f} GB/s",
            (low, low * bandwidth),
            textcoords="offset points",
            xytext=(8, -3),  # under the roof, however flat it is drawn
            va="top",
            fontsize=8,
        )
    else:
        axes.plot([low, high], [peak, peak], color="black", lw=1.5)
    axes.annotate(
        f"{peak / 1e9:.1f} GMAC/s",
        (high, peak),
        textcoords="offset points",
        xytext=(-4, 4),
        ha="right",
        fontsize=8,
    )
    for colour, (name, group) in zip(
        ("#d1495b", "#3b6ea5", "#66a182"), points.items(), strict=False
    ):
        intensity, speed = zip(*group, strict=True)
        axes.scatter(intensity, speed, s=28, alpha=0.75, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 1.6, top=2 * peak)
    _label_decades(axes, low, high)
    axes.set_xlabel("kept MACs a byte of DRAM traffic")
    axes.set_ylabel("kept MACs a second")
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(f"{_title(result)}: roofline")
    axes.grid(True, which="major", alpha=0.3)
    if points:
        axes.legend(loc="lower right", fontsize=8)
    return axes


def plot_traffic(result: Drawable, axes: Axes | None = None) -> Axes:
    """DRAM bytes by layer, read and written."""
    rows = [row for row in result.rows if row["dram_read_bytes"] + row["dram_write_bytes"]]
    axes = axes or _axes(len(rows))
    reads = [row["dram_read_bytes"] for row in rows]
    writes = [row["dram_write_bytes"] for row in rows]
    axes.barh(range(len(rows)), reads, color=_READ, label="read")
    axes.barh(range(len(rows)), writes, left=reads, color=_WRITTEN, label="written")
    _name_rows(axes, rows)
    axes.xaxis.set_major_formatter(EngFormatter(unit="B", sep=" "))
    axes.set_xlabel("DRAM traffic, whole bursts")
    axes.set_title(f"{_title(result)}: {(sum(reads) + sum(writes)) / 1e6:,.1f} MB")
    _legend_below(axes, len(rows), 2)
    return axes


FIGURES: dict[str, Callable[[Any, Axes | None], Axes]] = {
    "cycles": plot_cycles,
    "utilization": plot_utilization,
    "roofline": plot_roofline,
    "traffic": plot_traffic,
    "energy": plot_energy,
}
"""Figures by file name."""


def figure_files(result: Drawable) -> dict[str, bytes]:
    """Every figure as PNG and SVG, by file name."""
    files = {}
    for name, plot in FIGURES.items():
        figure = plot(result, None).figure
        for kind in ("png", "svg"):
            files[f"{name}.{kind}"] = render(figure, kind)
    return files


def render(figure: Any, kind: str) -> bytes:
    """A figure as the bytes of a PNG or SVG, the same for the same figure."""
    data = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with mpl.rc_context({"svg.hashsalt": "hwsim"}):
        figure.savefig(data, format=kind, dpi=130, bbox_inches="tight", metadata=metadata)
    return data.getvalue()


def _height(rows: int) -> float:
    return max(3.5, min(1.2 + 0.19 * rows, 16))


def _axes(rows: int) -> Axes:
    # Figure without pyplot: no global state, no display
    return Figure(figsize=(9, _height(rows))).add_subplot()


def _label_decades(axes: Axes, low: float, high: float) -> None:
    """Labels on a logarithmic x axis that neither collide nor run out."""
    subs = (1.0,) if high / low > 1e4 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend_below(axes: Axes, rows: int, columns: int) -> None:
    drop = 0.6 / _height(rows)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -drop), fontsize=8, ncols=columns)


def _name_rows(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    step = -(-len(rows) // _LABEL_ROWS) or 1
    places = range(0, len(rows), step)
    several = len({row["stage"] for row in rows}) > 1  # a training step
    names = [row["layer"][-34:] + f"  {row['stage']}" * several for row in rows]
    axes.set_yticks(list(places), [names[p] for p in places], fontsize=7)
    axes.invert_yaxis()
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(True, axis="x", alpha=0.3)


def _title(result: Drawable) -> str:
    sparsity = result.config.sparsity
    return f"{result.workload} on {result.config.name} ({sparsity}, batch {result.batch})"
