"""Figures of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, ScalarFormatter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_pareto"]

_COLOURS = ("#3b6ea5", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#2e4057")


def plot_pareto(frame: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Cycles against processing elements, the front of each workload as a step line."""
    axes = axes or Figure(figsize=(8, 5)).add_subplot()
    good = frame[frame["status"] == "done"]
    for i, (name, group) in enumerate(good.groupby("workload")):
        colour = _COLOURS[i % len(_COLOURS)]
        pes, cycles = group["pes"].to_numpy(float), group["cycles"].to_numpy(float)
        axes.scatter(pes, cycles, s=14, alpha=0.35, color=colour)
        front = group[group["pareto"]].sort_values("pes")
        axes.step(
            front["pes"].to_numpy(float),
            front["cycles"].to_numpy(float),
            where="post",
            marker="o",
            ms=5,
            color=colour,
            label=f"{name}: front",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("processing elements")
    axes.set_ylabel("cycles")
    axes.set_title(f"{len(good)} points, cycles against processing elements")
    axes.grid(True, which="major", alpha=0.3)
    if len(good):
        axes.legend(fontsize=8)
    return axes
