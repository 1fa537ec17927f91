"""Figures of a stream's result, with matplotlib; every function returns the axes it drew on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from hwsim.energy_figures import plot_energy
from hwsim.figures import render

if TYPE_CHECKING:
    from hwsim.delta_result import DeltaResult
    from hwsim.delta_saved import SavedDelta

__all__ = ["figure_files", "plot_cycles", "plot_frames", "plot_latency"]

_COLOURS = ("#3b6ea5", "#edae49", "#d1495b", "#66a182", "#8d6a9f", "#a9c4e0", "#2e4057", "#7f7f7f")
_POINTS = 2000  # of a stream: longer ones are drawn as the maximum of neighbouring frames


def figure_files(result: DeltaResult | SavedDelta) -> dict[str, bytes]:
    """Every figure as PNG and SVG, by file name."""
    plots = {
        "latency": plot_latency,
        "frames": plot_frames,
        "cycles": plot_cycles,
        "energy": plot_energy,
    }
    return {
        f"{name}.{kind}": render(plot(result).figure, kind)
        for name, plot in plots.items()
        for kind in ("png", "svg")
    }


def plot_latency(result: DeltaResult | SavedDelta, axes: Axes | None = None) -> Axes:
    """Histogram of cycles a frame, with mean, 95th and 99th percentile and the dense engine."""
    axes = axes or Figure(figsize=(7, 4)).add_subplot()
    cycles = result.frame_cycles
    numbers = result.summary["latency"]
    axes.hist(cycles, bins=40, color=_COLOURS[0])
    for style, colour, key in (
        ("-", "black", "mean"),
        ("--", _COLOURS[2], "p95"),
        (":", _COLOURS[2], "p99"),
    ):
        axes.axvline(
            numbers[key], ls=style, color=colour, lw=1.3, label=f"{key} {numbers[key]:,.0f}"
        )
    if result.dense_cycles is not None:
        dense = result.dense_cycles / result.frames
        axes.axvline(dense, color=_COLOURS[3], lw=1.3, label=f"dense {dense:,.0f}")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.set_xlabel("cycles a frame")
    axes.set_ylabel("frames")
    axes.set_title(f"{_title(result)}: sparsity {result.summary['sparsity']:.1%}")
    axes.legend(fontsize=8)
    return axes


def plot_frames(result: DeltaResult | SavedDelta, axes: Axes | None = None) -> Axes:
    """Cycles of every frame along the stream."""
    axes = axes or Figure(figsize=(9, 3.6)).add_subplot()
    step = -(-result.frames // _POINTS)
    starts = np.arange(0, result.frames, step)
    cycles = np.maximum.reduceat(result.frame_cycles, starts)
    time = starts / result.rate_hz if result.rate_hz else starts.astype(float)
    axes.plot(time, cycles, color=_COLOURS[0], lw=0.9)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("seconds" if result.rate_hz else "frame")
    axes.set_ylabel("cycles a frame" + (f", most of {step}" if step > 1 else ""))
    axes.set_title(_title(result))
    axes.grid(True, alpha=0.3)
    return axes


def plot_cycles(result: DeltaResult | SavedDelta, axes: Axes | None = None) -> Axes:
    """Cycles by layer, stacked by cause."""
    rows = result.rows
    axes = axes or Figure(figsize=(8, 1.6 + 0.32 * len(rows))).add_subplot()
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for index, name in enumerate(result.summary["parts"]):
        values = np.array([row[f"cycles_{name}"] for row in rows], float)
        axes.barh(places, values, left=left, label=name, color=_COLOURS[index % len(_COLOURS)])
        left += values
    axes.set_yticks(places, [row["layer"] for row in rows])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("cycles of all frames")
    axes.set_title(f"{_title(result)}: {result.summary['cycles']:,} cycles")
    axes.legend(fontsize=8)
    return axes


def _title(result: DeltaResult | SavedDelta) -> str:
    return f"{result.workload} on {result.config.name}"
