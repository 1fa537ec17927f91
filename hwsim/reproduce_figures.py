"""Figures of the reproduction of SAT's headline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from hwsim.figures import render

if TYPE_CHECKING:
    from hwsim.reproduce_sat import Study

__all__ = ["plot_ablation", "plot_gap", "plot_sensitivity", "plot_speedup", "study_figures"]

_COLOURS = ("#3b6ea5", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#2e4057", "#a9c4e0")
_PUBLISHED: dict[str, Any] = {"color": "black", "lw": 1.0, "ls": ":"}


def study_figures(study: Study) -> dict[str, bytes]:
    """Every figure as PNG by file name; the sensitivity ones if they were run."""
    axes = {
        "speedup": plot_speedup(study),
        "gap": plot_gap(study),
        "ablation": plot_ablation(study),
    }
    for what in dict.fromkeys(str(row["varied"]) for row in study.sensitivity):
        axes[f"sensitivity_{what}"] = plot_sensitivity(study, what)
    return {f"{name}.png": render(a.figure, "png") for name, a in axes.items()}


def plot_speedup(study: Study) -> Axes:
    """Speedup of each network and pattern as bars, its bound as a mark."""
    axes = Figure(figsize=(8, 4.2)).add_subplot()
    rows = study.networks
    for i, (key, colour) in enumerate(zip(("2_4", "2_8", "2_16"), _COLOURS, strict=False)):
        places = [p + 0.27 * (i - 1) for p in range(len(rows))]
        values = [row[f"speedup_{key}"] for row in rows]
        axes.bar(places, values, 0.25, color=colour, label=key.replace("_", ":"))
        for place, row in zip(places, rows, strict=True):
            bound = row[f"bound_{key}"]
            axes.plot([place - 0.125, place + 0.125], [bound, bound], color="black", lw=1.6)
    axes.plot([], [], color="black", lw=1.6, label="bound from MACs")
    axes.axhline(1.75, label="published average at 2:8", **_PUBLISHED)
    axes.set_xticks(range(len(rows)), [f"{r['name']}\nbatch {r['batch']}" for r in rows])
    axes.set_ylabel("speedup of a training step over dense")
    axes.set_title(f"Average at 2:8: {study.average_speedup:.3f}, published 1.75")
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return axes


def plot_gap(study: Study) -> Axes:
    """What lies between bound and speedup at 2:8, stacked by cause."""
    from hwsim.step_causes import CAUSES

    rows = [gap for gap in study.gaps if gap["pattern"] == "2:8"]
    axes = Figure(figsize=(8, 3.6)).add_subplot()
    left = [row["speedup"] for row in rows]
    axes.barh(range(len(rows)), left, 0.6, color="#dddddd", label="speedup")
    for (cause, _), colour in zip(CAUSES.items(), _COLOURS, strict=True):
        values = [max(0.0, row[cause]) for row in rows]
        if max(values) >= 5e-4:
            axes.barh(
                range(len(rows)),
                values,
                0.6,
                left=left,
                color=colour,
                label=cause.replace("_", " "),
            )
        left = [a + b for a, b in zip(left, values, strict=True)]
    for i, row in enumerate(rows):
        axes.plot([row["bound"]] * 2, [i - 0.38, i + 0.38], color="black", lw=1.6)
    axes.plot([], [], color="black", lw=1.6, label="bound")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(min(row["speedup"] for row in rows) - 0.1, max(left) + 0.03)
    axes.set_xlabel("speedup over dense at 2:8")
    axes.set_title("From speedup to bound by cause (what shrinks beyond the bound is left out)")
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return axes


def plot_ablation(study: Study) -> Axes:
    """How much longer the 2:8 step takes with one optimisation off."""
    rows = [(name, row) for name, row in study.ablation.items() if name != "full"]
    axes = Figure(figsize=(8, 3.2)).add_subplot()
    axes.barh(range(len(rows)), [row["sparse_slowdown"] for _, row in rows], color=_COLOURS[0])
    for i, (_, row) in enumerate(rows):
        axes.annotate(
            f"{row['sparse_slowdown']:.3f} (speedup {row['average_speedup']:.3f})",
            (row["sparse_slowdown"], i),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(row["sparse_slowdown"] for _, row in rows))
    axes.axvline(1.0, color="black", lw=1.0)
    axes.set_xlabel("cycles of the 2:8 step, times those with all three on")
    axes.set_title("One optimisation off at a time, average of the networks")
    return axes


def plot_sensitivity(study: Study, what: str) -> Axes:
    """Speedup at 2:8 against one parameter, every network and the average; below it the time an
    image takes at 2:8, which a speedup does not show."""
    from hwsim.reproduce_sat import SENSITIVITY

    rows = [row for row in study.sensitivity if row["varied"] == what]
    values = [float(row["value"]) for row in rows]
    figure = Figure(figsize=(7, 5.6))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    for (name, _), colour in zip(study.steps.items(), _COLOURS, strict=False):
        axes.plot(
            values, [row[name] for row in rows], marker="o", ms=3, lw=1, color=colour, label=name
        )
    averages = [row["average"] for row in rows]
    axes.plot(values, averages, marker="o", lw=2.4, color="black", label="average")
    axes.axhline(1.75, label="published", **_PUBLISHED)
    axes.set_ylabel("speedup at 2:8 over dense")
    axes.set_title(f"Sensitivity to {SENSITIVITY[what][0].split(',')[0]}")
    axes.legend(fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.1))
    times = [row["step"] for row in rows]
    below.plot(values, times, marker="o", lw=2.4, color="black")
    below.axhline(1.0, **_PUBLISHED)
    if max(times) > 4 * min(times):
        below.set_yscale("log", base=2)
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        below.set_ylim(0, 1.15 * max(times))
    below.set_ylabel("time an image,\nof the preset's")
    below.set_xscale("log", base=2)
    below.set_xticks(values)
    below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.xaxis.set_minor_locator(NullLocator())
    below.set_xlabel(SENSITIVITY[what][0])
    for one in (axes, below):
        one.grid(True, alpha=0.3)
    return axes
