"""The figures of docs/codesign-study.md, as PNG, from the study's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from codesign_tables import PARTS, PATTERNS, SIDES, at, knee, size_of, speedups
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from hwsim.figures import render
from hwsim.pareto import pareto_front

__all__ = ["study_figures"]

# Okabe and Ito's colours, which the colour-blind tell apart; every pattern has a mark of its own
_COLOURS = dict(
    zip(PATTERNS, ("#000000", "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73"), strict=True)
)
_MARKS = dict(zip(PATTERNS, "osD^vP", strict=True))
_PART_COLOURS = dict(
    zip(PARTS, ("#0072B2", "#56B4E9", "#F0E442", "#CC79A7", "#E69F00", "#000000"), strict=True)
)
_WIDTH_STYLES = (":", "--", "-")
_LARGEST = 6.0


def study_figures(
    main: pd.DataFrame, buffers: pd.DataFrame, accuracy: pd.DataFrame
) -> dict[str, bytes]:
    """Every figure as PNG by name; the arguments are those of `codesign_tables.study_tables`."""
    figures = {
        "speedup": _speedup(main),
        "causes": _causes(main),
        "front": _front(main),
        "buffers": _buffers(main),
        "accuracy": _accuracy(main, accuracy),
        "energy": _energy(main),
    }
    return {name: render(figure, "png") for name, figure in figures.items()}


def _widths(frame: pd.DataFrame) -> list[tuple[float, str]]:
    pairs = frame[["dram.bytes_per_cycle", "bandwidth"]].drop_duplicates()
    return [(w, name) for w, name in sorted(pairs.itertuples(index=False))]


def _panels(count: int, width: float = 3.6, height: float = 3.6, **more: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, count, **more))


def _below(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend for all panels, under them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)


def _speedup(main: pd.DataFrame) -> Figure:
    """Speedup over dense against the array's side, a panel a memory, the bound dashed."""
    figure, panels = _panels(3, sharey=True)
    for axes, (width, name) in zip(panels, _widths(main), strict=True):
        frame = at(main, width=width, buffers=_LARGEST)
        gain = speedups(frame)
        for pattern in PATTERNS[1:]:
            here = frame[(frame["sparsity"] == pattern) & (frame["rows"] == frame["cols"])]
            here = here.sort_values("rows")
            style = {"color": _COLOURS[pattern], "marker": _MARKS[pattern], "ms": 5}
            axes.plot(here["rows"], gain[here.index], label=pattern, **style)
            bound = here["macs_dense"].iloc[0] / here["macs_effective"].iloc[0]
            axes.axhline(bound, color=_COLOURS[pattern], lw=0.8, ls="--", alpha=0.7)
        axes.axhline(1, color="black", lw=0.8)
        axes.set_title(f"DRAM {name}", fontsize=10)
        axes.set_xticks(SIDES)
        axes.set_xlabel("side of the array, PEs")
        axes.grid(True, alpha=0.3)
    panels[0].set_ylabel("speedup of a training step over dense")
    _below(figure, panels[0], 5)
    return figure


def _causes(main: pd.DataFrame) -> Figure:
    """Where an image's time goes, stacked, dense beside 2:8, a panel an array."""
    sides = (16, 32, 64)
    figure, panels = _panels(3, height=3.9)
    for axes, side in zip(panels, sides, strict=True):
        places: list[float] = []
        names: list[str] = []
        for i, (width, name) in enumerate(_widths(main)):
            for j, pattern in enumerate(("dense", "2:8")):
                frame = at(main, side=side, width=width, sparsity=pattern, buffers=_LARGEST)
                point = frame.iloc[0]
                x, bottom = i * 2.4 + j, 0.0
                for part, label in PARTS.items():
                    value = point["image_ms"] * point[f"part_{part}"]
                    axes.bar(
                        x, value, 0.85, bottom=bottom, color=_PART_COLOURS[part],
                        label=label if not places else None,
                    )  # fmt: skip
                    bottom += value
                places.append(x)
                names.append(pattern)
            axes.text(
                i * 2.4 + 0.5, -0.1, name, ha="center", va="top", fontsize=8,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
        axes.set_xticks(places, names, fontsize=7.5)
        axes.set_title(f"{side} x {side} PEs", fontsize=10)
        axes.grid(True, axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.set_xlabel(" \n", fontsize=8)
    panels[0].set_ylabel("ms an image")
    _below(figure, panels[0], 6)
    return figure


def _front(main: pd.DataFrame) -> Figure:
    """Time against size, a panel a memory: all points, the front of each pattern's square arrays,
    and a ring where the front of all square arrays bends most."""
    size = size_of(main)
    figure, panels = _panels(3, sharey=True)
    for axes, (width, name) in zip(panels, _widths(main), strict=True):
        frame = at(main, width=width)
        axes.scatter(frame[size], frame["image_ms"], s=5, color="#bbbbbb", lw=0)
        frame = frame[frame["rows"] == frame["cols"]]
        for pattern in PATTERNS:
            here = at(frame, sparsity=pattern)
            values = here[[size, "image_ms"]].to_numpy(float)
            front = here[pareto_front(values)].sort_values(size)
            axes.plot(
                front[size], front["image_ms"], color=_COLOURS[pattern],
                marker=_MARKS[pattern], ms=4, lw=1.1, label=pattern,
            )  # fmt: skip
        bend = knee(frame, size)
        axes.plot(bend[size], bend["image_ms"], "o", ms=13, mfc="none", mec="black", mew=1.4)
        axes.set_xscale("log")
        axes.set_yscale("log")
        if size == "pes":
            axes.set_xticks([256, 512, 1024, 2048, 4096])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}"))
            axes.set_xlabel("processing elements")
        else:
            axes.axvline(1, color="black", lw=0.8, ls=":")
            axes.set_xticks([0.25, 0.5, 1, 2, 4])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
            axes.set_xlabel("share of a VU9P")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(_some))
        axes.tick_params(labelsize=8, which="both")
        axes.set_title(f"DRAM {name}", fontsize=10)
        axes.grid(True, which="both", alpha=0.25)
    panels[0].set_ylabel("ms an image")
    _below(figure, panels[0], 6)
    return figure


def _some(value: float, _: object) -> str:
    """Labels between decades that do not collide."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _buffers(main: pd.DataFrame) -> Figure:
    """Time, traffic and energy against the buffers, dense and 2:8 on two arrays."""
    columns = {
        "image_ms": "ms an image",
        "traffic_gb": "DRAM traffic, GB a step of 32 images",
        "image_mj": "mJ an image",
    }
    figure, panels = _panels(3)
    for axes, (column, label) in zip(panels, columns.items(), strict=True):
        for pattern in ("dense", "2:8"):
            for side, mark in ((32, "o"), (64, "s")):
                for (width, name), style in zip(_widths(main), _WIDTH_STYLES, strict=True):
                    if width == 96.0:
                        continue
                    here = at(main, side=side, width=width, sparsity=pattern)
                    here = here.sort_values("buffer_mib")
                    axes.plot(
                        here["buffer_mib"], here[column], style, marker=mark, ms=4,
                        color=_COLOURS[pattern], label=f"{pattern}, {side} x {side}, {name}",
                    )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(main["buffer_mib"].unique()))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("buffers in all, MiB")
        axes.set_ylabel(label)
        axes.grid(True, alpha=0.3)
    _below(figure, panels[0], 4)
    return figure


def _accuracy(main: pd.DataFrame, accuracy: pd.DataFrame) -> Figure:
    """Points lost against speedup on the preset's array; bars are the spread over seeds."""
    figure, panels = _panels(3, sharey=True, height=3.3)
    for axes, (width, name) in zip(panels, _widths(main), strict=True):
        frame = at(main, side=32, width=width, buffers=_LARGEST)
        gain = speedups(frame)
        for pattern in PATTERNS:
            seen = accuracy.loc[accuracy["sparsity"] == pattern, "loss_points"]
            x = gain[frame.index[frame["sparsity"] == pattern]].item()
            axes.errorbar(
                x, seen.mean(), yerr=seen.std(), fmt=_MARKS[pattern], ms=6, capsize=3,
                color=_COLOURS[pattern], label=pattern,
            )  # fmt: skip
        axes.set_title(f"DRAM {name}", fontsize=10)
        axes.set_xlabel("speedup over dense, 32 x 32 PEs")
        axes.grid(True, alpha=0.3)
    panels[0].set_ylabel("accuracy lost, points\n(small CNN, Fashion-MNIST)")
    _below(figure, panels[0], 6)
    return figure


def _energy(main: pd.DataFrame) -> Figure:
    """Energy of an image by part, and what a pattern saves as DRAM gets cheaper or dearer."""
    figure, panels = _panels(2, width=5.2)
    frame = at(main, side=32, width=384.0, buffers=_LARGEST).set_index("sparsity")
    frame = frame.loc[list(PATTERNS)]
    bottom = np.zeros(len(frame))
    parts = {"mac": "#0072B2", "vector": "#CC79A7", "buffer": "#E69F00", "dram": "#000000"}
    for part, colour in parts.items():
        values = frame[f"energy_parts_pj.{part}"].to_numpy(float) * 1e-9 / 32
        panels[0].bar(range(len(frame)), values, 0.7, bottom=bottom, color=colour, label=part)
        bottom += values
    panels[0].set_xticks(range(len(frame)), list(PATTERNS))
    panels[0].set_ylabel("mJ an image")
    panels[0].set_title("32 x 32 PEs, 6 MiB, 76.8 GB/s", fontsize=10)
    panels[0].legend(fontsize=8)
    panels[0].grid(True, axis="y", alpha=0.3)
    panels[0].set_axisbelow(True)
    scales = np.geomspace(1 / 8, 8, 25)
    for pattern in PATTERNS[1:]:
        totals = {
            name: frame.loc[name, "energy_pj"]
            + (scales - 1) * frame.loc[name, "energy_parts_pj.dram"]
            for name in ("dense", pattern)
        }
        panels[1].plot(
            scales, totals["dense"] / totals[pattern], color=_COLOURS[pattern],
            marker=_MARKS[pattern], ms=4, markevery=6, label=pattern,
        )  # fmt: skip
    panels[1].axhline(1, color="black", lw=0.8)
    panels[1].set_xscale("log", base=2)
    panels[1].set_xticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], ["1/8", "1/4", "1/2", 1, 2, 4, 8])
    panels[1].set_xlabel("energy of a byte of DRAM over that of the preset")
    panels[1].set_ylabel("energy of dense over energy of N:M")
    panels[1].legend(fontsize=8, ncols=2)
    panels[1].grid(True, alpha=0.3)
    return figure
