"""Figures of the reproduction of networks that compute on change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from hwsim.delta_published import DAL_DENSITIES, DAL_LAYERS
from hwsim.figures import render

if TYPE_CHECKING:
    from hwsim.reproduce_delta import DeltaStudy

__all__ = [
    "plot_break_even",
    "plot_densities",
    "plot_oracles",
    "plot_speech",
    "plot_state",
    "study_figures",
]

_COLOURS = ("#3b6ea5", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#2e4057")
_PLACES = {"chip": ("on chip", "-"), "dram": ("in DRAM", "--")}
_RIVALS = {"same": "this engine, nothing skipped", "ideal": "ideal dense array"}


def study_figures(study: DeltaStudy) -> dict[str, bytes]:
    """Every figure as PNG by file name; that of speech if there is any."""
    figures = {
        "oracles": plot_oracles(study)[0].figure,
        "state_cost": plot_state(study)[0].figure,
        "break_even": plot_break_even(study).figure,
        "densities": plot_densities(study)[0].figure,
    }
    if study.speech:
        figures["speech"] = plot_speech(study)[0].figure
    return {f"{name}.png": render(figure, "png") for name, figure in figures.items()}


def plot_oracles(study: DeltaStudy) -> list[Axes]:
    """Difference to the published cycles of each EdgeDRNN configuration and Eyeriss v2 layer."""
    left, right = Figure(figsize=(9.5, 3.8), layout="constrained").subplots(1, 2)
    rows = list(study.edgedrnn)
    names = [f"{r['layers']}L-{r['hidden']}H, {r['nnz']:g} of {r['items']}" for r in rows]
    errors = [100 * r["waiting_error"] / r["rtl"] for r in rows]
    values = [100 * r["difference"] for r in rows]
    left.barh(range(len(rows)), values, xerr=errors, color=_COLOURS[0], capsize=3)
    left.set_yticks(range(len(rows)), names, fontsize=8)
    left.set_title("EdgeDRNN on random positions, over the RTL's mean", fontsize=9)
    rows = list(study.eyeriss)
    values = [100 * r["difference"] for r in rows]
    right.barh(range(len(rows)), values, 0.4, color=_COLOURS[0], label="from these masks")
    uniform = [100 * (r["uniform"] / r["published"] - 1) for r in rows]
    places = [p + 0.4 for p in range(len(rows))]
    right.barh(places, uniform, 0.4, color=_COLOURS[3], label="from densities alone")
    middle = [p + 0.2 for p in range(len(rows))]
    right.set_yticks(middle, [f"{r['layer']}, {r['masks']}\nmasks" for r in rows], fontsize=8)
    right.set_title("Eyeriss v2 PE, over the published cycles of real masks", fontsize=9)
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.invert_yaxis()
        axes.axvline(0, color="black", lw=0.8)
        axes.set_xlabel("cycles, % over the published")
        axes.grid(True, axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    return [left, right]


def plot_speech(study: DeltaStudy) -> list[Axes]:
    """Cycles a frame against Theta, and what the sound loses."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    rows = [run.row for run in study.speech]
    for name, colour in zip(dict.fromkeys(r["recording"] for r in rows), _COLOURS, strict=False):
        mine = [r for r in rows if r["recording"] == name]
        thetas = [r["theta"] for r in mine]
        for key, style in (("cycles_mean", "-"), ("cycles_p95", "--"), ("cycles_p99", ":")):
            label = f"{key.removeprefix('cycles_')}, {name}"
            above.plot(
                thetas, [r[key] for r in mine], style, marker="o", ms=4, color=colour, label=label
            )
        below.plot(thetas, [r["snr_db"] for r in mine], marker="o", ms=4, color=colour)
    given = {r["theta"]: r["published_cycles_mean"] for r in rows}
    above.plot(
        list(given),
        list(given.values()),
        "x",
        color="black",
        label="mean of the table of reference",
    )
    above.axhline(rows[0]["cycles_dense"], color="grey", lw=1.2, label="nothing skipped")
    above.set_ylim(bottom=0)
    above.yaxis.set_major_formatter(EngFormatter(sep=""))
    above.set_ylabel("cycles a frame")
    above.set_title("NSNet2's two GRUs on edgedrnn")
    above.legend(fontsize=8)
    below.set_ylabel("SNR of the\nsound, dB")
    below.set_xlabel("Theta, in 1/256")
    for axes in (above, below):
        axes.grid(True, alpha=0.3)
    return [above, below]


def plot_densities(study: DeltaStudy) -> list[Axes]:
    """Share of non-zeros by layer: published, and of our study where it is recorded by layer."""
    ours = study.dal.get("density", {})
    figure = Figure(figsize=(9.5 if ours else 5.5, 3.6), layout="constrained")
    grid = list(figure.subplots(1, 1 + bool(ours), squeeze=False, sharey=True)[0])
    published = {row["model"]: [row[layer] for layer in DAL_LAYERS] for row in DAL_DENSITIES}
    sets = [(grid[0], published, DAL_LAYERS, "ResNet-50 on UCF101, arXiv 2107.07305")]
    if ours:
        sets.append((grid[1], ours, study.dal["stages"], "ours: another task, a small CNN"))
    for axes, models, layers, title in sets:
        for i, (model, colour) in enumerate(zip(models, _COLOURS, strict=False)):
            places = [p + 0.27 * (i - 1) for p in range(len(layers))]
            axes.bar(places, models[model], 0.25, color=colour, label=model)
        axes.set_xticks(range(len(layers)), layers, fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.grid(True, axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8)
    grid[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    grid[0].set_ylabel("non-zeros into the layer")
    return grid


def plot_state(study: DeltaStudy) -> list[Axes]:
    """Energy saving over the same engine and an ideal dense array, by what is computed on."""
    keys = list(dict.fromkeys((r["workload"], r["weights"]) for r in study.state))
    figure = Figure(figsize=(4.1 * len(keys), 4.2), layout="constrained")
    grid = figure.subplots(1, len(keys), squeeze=False)[0]
    for axes, (workload, weights) in zip(grid, keys, strict=True):
        rows = [r for r in study.state if (r["workload"], r["weights"]) == (workload, weights)]
        for place, (where, style) in _PLACES.items():
            mine = sorted((r for r in rows if r["state"] == place), key=lambda r: r["share"])
            for (rival, text), colour in zip(_RIVALS.items(), _COLOURS, strict=False):
                axes.plot(
                    [r["share"] for r in mine],
                    [r[f"energy_gain_{rival}"] for r in mine],
                    style,
                    marker="o",
                    ms=3,
                    color=colour,
                    label=f"state {where}, over {text}",
                )
        mine = [r for r in rows if r["state"] == "chip"]
        for row in mine:
            axes.annotate(
                f"{row['value']}",
                (row["share"], row["energy_gain_same"]),
                textcoords="offset points",
                xytext=(3, 3),
                fontsize=7,
            )
        axes.axhline(1, color="black", lw=1)
        axes.set_yscale("log")
        axes.set_xscale("log")
        axes.set_xlabel("share of the products carried out")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        where = "on chip" if weights == "chip" else "in DRAM"
        axes.set_title(f"{workload}, weights {where}; numbers: {mine[0]['varied']}", fontsize=9)
        axes.grid(True, alpha=0.3)
    grid[0].set_ylabel("energy of the dense machine over this one's")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=2, loc="outside lower center")
    return list(grid)


def plot_break_even(study: DeltaStudy) -> Axes:
    """Share of a sum's products below which energy is saved, against their number."""
    axes = Figure(figsize=(7, 4.2), layout="constrained").add_subplot()
    lines: dict[tuple[str, str], Any] = {}
    for row in study.break_even:
        if row["weights"] == "chip" and not (row["state"] == "chip" and row["dense"] == "same"):
            lines.setdefault((row["state"], row["dense"]), []).append(row)
    for (place, rival), rows in lines.items():
        axes.plot(
            [r["products"] for r in rows],
            [r["share"] for r in rows],
            _PLACES[place][1],
            marker="o",
            ms=4,
            color=_COLOURS[list(_RIVALS).index(rival)],
            label=f"state {_PLACES[place][0]}, over {_RIVALS[rival]}",
        )
    products = [row["products"] for row in next(iter(lines.values()))]
    axes.set_xscale("log", base=2)
    axes.set_xticks(products, [f"{n}\n3x3x{n // 9}" for n in products], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1)
    axes.set_xlabel("products of a sum in the dense layer")
    axes.set_ylabel("of them carried out")
    axes.set_title("Below the line computing on change takes less energy; weights on chip")
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    return axes
