"""Figures of the reproduction of SMASH's headline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from hwsim.figures import render
from hwsim.reproduce_smash_text import short

if TYPE_CHECKING:
    from hwsim.reproduce_smash import SmashStudy

__all__ = [
    "plot_causes",
    "plot_mechanisms",
    "plot_speedups",
    "plot_tornado",
    "plot_traffic",
    "study_figures",
]

_COLOURS = {
    "v1": "#a9c4e0",
    "v2": "#3b6ea5",
    "v3": "#2e4057",
    "outer": "#edae49",
    "inner": "#d1495b",
}
_PARTS = (
    "#3b6ea5", "#a9c4e0", "#d1495b", "#66a182", "#8d6a9f", "#b5b35c", "#2e4057", "#cfcfcf",
    "#ececec",
)  # fmt: skip
_PUBLISHED: dict[str, Any] = {"color": "black", "lw": 1.0, "ls": ":"}


def study_figures(study: SmashStudy) -> dict[str, bytes]:
    """Every figure as PNG by file name."""
    axes = {
        "speedup": plot_speedups(study),
        "causes": plot_causes(study),
        "mechanisms": plot_mechanisms(study),
        "tornado": plot_tornado(study),
        "traffic": plot_traffic(study),
    }
    return {f"{name}.png": render(a.figure, "png") for name, a in axes.items()}


def plot_speedups(study: SmashStudy) -> Axes:
    """V3's speedup over every other kernel, by input, on a logarithmic axis."""
    rows = study.inputs
    axes = Figure(figsize=(9, 1.6 + 0.75 * len(rows))).add_subplot()
    kernels = [k for k in _COLOURS if k != "v3"]
    for i, kernel in enumerate(kernels):
        places: list[float] = []
        values: list[float] = []
        for place, row in enumerate(rows):
            if row[f"v3_over_{kernel}"] is not None:
                places.append(place + 0.2 * (i - 1.5))
                values.append(row[f"v3_over_{kernel}"])
        if values:
            axes.barh(places, values, 0.19, color=_COLOURS[kernel], label=f"over {kernel}")
        for at, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.2f}", (value, at), textcoords="offset points", xytext=(3, 0),
                va="center", fontsize=7,
            )  # fmt: skip
    axes.axvline(1.0, color="black", lw=0.8)
    axes.axvline(9.4, label="published 9.4", **_PUBLISHED)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [short(r["input"]).replace(",a=", ",\na=") for r in rows])
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("speedup of V3")
    axes.set_title("V3 over the other kernels on the same machine")
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes


def plot_causes(study: SmashStudy) -> Axes:
    """Cycles of each kernel on the headline's input by what threads did."""
    rows = [r for r in study.runs if r["input"] == study.headline and r["accelerator"] == "piuma"]
    names = [n for n in rows[0]["parts"] if any(row["parts"][n] for row in rows)]
    axes = Figure(figsize=(8, 1.6 + 0.5 * len(rows))).add_subplot()
    left = np.zeros(len(rows))
    for name, colour in zip(names, _PARTS, strict=False):
        values = np.array([row["parts"][name] for row in rows], float)
        axes.barh(range(len(rows)), values, 0.7, left=left, color=colour, label=name)
        left += values
    axes.set_yticks(range(len(rows)), [row["dataflow"] for row in rows])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("cycles")
    axes.set_title(f"What threads did, {study.headline}")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return axes


def plot_mechanisms(study: SmashStudy) -> Axes:
    """Speed over V1's with each mechanism."""
    rows = study.mechanisms
    axes = Figure(figsize=(8, 3.2)).add_subplot()
    values = [row["speedup_over_v1"] for row in rows]
    colours = [
        "#a9c4e0" if row["work"] or row["hash"] or row["table"] else "#3b6ea5" for row in rows
    ]
    axes.barh(range(len(rows)), values, color=colours)
    for place, row in enumerate(rows):
        axes.annotate(
            f"{row['speedup_over_v1']:.2f}   {row['probes_per_insert']:.2f} probes a product, "
            f"threads have work {row['active_share']:.0%}",
            (row["speedup_over_v1"], place),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), [row["mechanism"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 2.0 * max(values))
    axes.axvline(1.0, color="black", lw=0.8)
    axes.set_xlabel("speed, times V1's")
    axes.set_title("From V1 to V3, one mechanism at a time")
    return axes


def plot_tornado(study: SmashStudy) -> Axes:
    """V3 over V1 and over V2 at both ends of every unknown's range, the widest on top. Returns the
    first of the two axes."""
    figure = Figure(figsize=(11, 1.6 + 0.27 * len(study.sensitivity) / 2), layout="constrained")
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    rows = study.sensitivity
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    key = "speedup_v3_over_v1"
    base = study.base[key]

    def span(pair: Any) -> float:
        values = [pair[0][key], pair[1][key], base]
        return max(values) - min(values)

    pairs.sort(key=span)
    for one, name in ((axes, key), (beside, "speedup_v3_over_v2")):
        middle = study.base[name]
        for place, (low, high) in enumerate(pairs):
            for row, colour in ((low, "#3b6ea5"), (high, "#d1495b")):
                one.barh(place, row[name] - middle, 0.7, left=middle, color=colour, alpha=0.85)
                if one is axes and abs(row[name] - middle) > 0.01 * middle:
                    right = row[name] >= middle
                    one.annotate(
                        _text(row["value"]), (row[name], place), textcoords="offset points",
                        xytext=(3 if right else -3, 0), ha="left" if right else "right",
                        va="center", fontsize=6.5,
                    )  # fmt: skip
        one.axvline(middle, color="black", lw=1)
        one.grid(True, axis="x", alpha=0.3)
        one.set_axisbelow(True)
    ends: list[Any] = [
        Patch(color="#3b6ea5", label="low end"),
        Patch(color="#d1495b", label="high end"),
    ]
    if max(max(row[key] for row in pair) for pair in pairs) > 7:
        ends.append(axes.axvline(9.4, label="published 9.4", **_PUBLISHED))
    axes.margins(x=0.08)
    axes.set_yticks(range(len(pairs)), [pair[0]["label"] for pair in pairs], fontsize=8)
    axes.set_xlabel(f"V3 over V1 (nothing moved: {base:.2f})")
    beside.set_xlabel(f"V3 over V2 (nothing moved: {study.base['speedup_v3_over_v2']:.2f})")
    axes.set_title("One unknown moved at a time")
    axes.legend(handles=ends, fontsize=8, loc="lower right")
    return axes


def plot_traffic(study: SmashStudy) -> Axes:
    """DRAM bytes of every kernel and dataflow on the headline's input, read and written."""
    rows = [row for row in study.runs if row["input"] == study.headline]
    axes = Figure(figsize=(8, 1.4 + 0.36 * len(rows))).add_subplot()
    reads = [row["dram_read_bytes"] for row in rows]
    writes = [row["dram_write_bytes"] for row in rows]
    axes.barh(range(len(rows)), reads, 0.7, color="#3b6ea5", label="read")
    axes.barh(range(len(rows)), writes, 0.7, left=reads, color="#edae49", label="written")
    names = [
        f"PIUMA {row['dataflow']}" if row["accelerator"] == "piuma" else row["dataflow"]
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(unit="B", sep=" "))
    axes.set_xlabel("DRAM traffic")
    axes.set_title(f"Traffic, {study.headline}")
    axes.legend(fontsize=8)
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return axes


def _text(value: Any) -> str:
    if isinstance(value, float) and value >= 1e6:
        return f"{value / 1e9:g}"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
