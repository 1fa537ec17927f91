"""Figures of a sweep: the front, hypervolume over time, importance and effects of parameters."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator, PercentFormatter

from hwsim.sweep_analysis import Study, scale_of
from hwsim.sweep_analysis_importance import Importance
from hwsim.sweep_analysis_sensitivity import Effect

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_importance", "plot_pareto", "plot_sensitivity", "plot_volume", "sweep_figures"]

# Okabe and Ito's colours, which readers with any colour vision tell apart
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_OTHERS = "#9aa7b4"
_WIDE = 3  # panels a row
_TICKS = 12  # labels of levels at most
_SPREAD = 3.0  # changes above which an axis of factors is logarithmic
_PANELS = 64  # panels of effects at most: more cannot be read


def plot_pareto(frame: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Finished points and the front of each workload, on the objectives of `frame.attrs`.

    Two objectives make one panel with the front as a step line. More make one for the first
    objective against each of the others: their front has no line in two dimensions. A single
    objective is shown in the order of finishing, with the best so far. Returns the first axes.
    """
    goals = dict(frame.attrs.get("objectives") or {"cycles": "min", "pes": "min"})
    names = list(goals)
    good = frame[frame["status"] == "done"]
    if len(names) == 1:
        axes = axes or Figure(figsize=(8, 5)).add_subplot()
        _draw_single(axes, good, names[0], goals[names[0]])
        return axes
    panels = [axes] if axes is not None else _panels(len(names) - 1)
    for panel, other in zip(panels, names[1:], strict=False):
        _draw_front(panel, good, (other, names[0]), goals, stepped=len(names) == 2)
    front = int(good["pareto"].sum())
    title = f"{len(good):,} finished points, {front:,} on the front"
    if len(names) > 2:
        title += f" of {len(names)} objectives"
    if len(panels) == 1:
        panels[0].set_title(title)
    else:
        panels[0].figure.suptitle(title, fontsize=11)
    return panels[0]


def plot_volume(studies: Sequence[Study], axes: Axes | None = None) -> Axes:
    """Hypervolume in the order of finishing, as a share of the box between best and worst."""
    axes = axes or Figure(figsize=(8, 4.5), layout="constrained").add_subplot()
    drawn = [study for study in studies if study.volume is not None]
    for i, study in enumerate(drawn):
        volume = study.volume
        assert volume is not None
        colour = _COLOURS[i % len(_COLOURS)]
        logs = [o.name for o in study.objectives if o.scale == "log"]
        label = study.workload + (f", {', '.join(logs)} as logarithms" if logs else "")
        axes.step(volume.order, volume.scaled, where="post", color=colour, label=label)
        if logs:
            axes.step(
                volume.order, volume.linear, where="post", color=colour, ls="--", lw=1,
                label=f"{study.workload}, linear",
            )  # fmt: skip
    axes.set_xlabel("points in the order of finishing")
    axes.set_ylabel("hypervolume")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1.02)
    axes.set_title("Hypervolume up to the worst of all finished points")
    axes.grid(True, alpha=0.3)
    if drawn:
        axes.legend(fontsize=8, loc="lower right")
    else:
        _say(axes, "no two finished points differ in an objective")
    return axes


def plot_importance(study: Study) -> Axes:
    """Share of each objective's variance by parameter: alone, and together with others."""
    shares = study.importance
    panels = _panels(len(shares), height=1.1 + 0.34 * _most(shares))
    for panel, share in zip(panels, shares, strict=False):
        places = np.arange(len(share.names))
        panel.barh(places, share.first, color=_COLOURS[0], height=0.62, label="alone")
        totals = [total for total in share.total if total is not None]
        if len(totals) == len(share.names):
            rest = [max(0.0, t - f) for t, f in zip(totals, share.first, strict=True)]
            panel.barh(
                places, rest, left=share.first, color=_COLOURS[5], height=0.62,
                label="together with others",
            )  # fmt: skip
        first = panel.get_subplotspec().is_first_col()  # type: ignore[union-attr]
        panel.set_yticks(places, [_short(n) if first else "" for n in share.names], fontsize=8)
        panel.invert_yaxis()
        panel.set_xlim(0, 1)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0))
        scale = next(o.scale for o in study.objectives if o.name == share.objective)
        panel.set_title(share.objective + (" (logarithm)" if scale == "log" else ""), fontsize=9)
        panel.grid(True, axis="x", alpha=0.3)
        panel.set_axisbelow(True)
    what = "exact: a whole grid" if all(s.exact for s in shares) else "estimated: no whole grid"
    _entitle(panels, f"Share of variance by parameter, {study.workload} ({what})", bool(shares))
    if shares:
        panels[0].legend(fontsize=8, loc="lower right")
    return panels[0]


def plot_sensitivity(study: Study) -> Axes:
    """Effect of each parameter (columns) on each objective (rows), all others as they are."""
    parameters = list(dict.fromkeys(effect.parameter for effect in study.effects))
    objectives = list(dict.fromkeys(effect.objective for effect in study.effects))
    parameters = parameters[: max(1, _PANELS // max(1, len(objectives)))]
    rows, columns = max(1, len(objectives)), max(1, len(parameters))
    figure = Figure(figsize=(max(4.0, 2.3 * columns + 0.8), max(3.0, 1.75 * rows + 0.9)))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row", sharex="col")
    for effect in study.effects:
        if effect.parameter in parameters:
            row, column = objectives.index(effect.objective), parameters.index(effect.parameter)
            _draw_effect(grid[row][column], effect, _spread(study, effect.objective))
    for column, name in enumerate(parameters):
        grid[-1][column].set_xlabel(_short(name), fontsize=8)
    for row, name in enumerate(objectives):
        grid[row][0].set_ylabel(name, fontsize=8)
    matched = all(effect.matched for effect in study.effects)
    alone = "median and quartiles over points that differ in it alone"
    words = alone if matched else "means over points of a level, others vary too"
    _entitle([grid[0][0]], f"Effect of each parameter: {words}", bool(study.effects))
    return grid[0][0]


def sweep_figures(frame: pd.DataFrame, studies: Sequence[Study]) -> dict[str, bytes]:
    """The figures of a folder of results by file name; importance and effects of the first
    workload that has finished points."""
    from hwsim.figures import render

    shown = next((study for study in studies if study.index), None)
    front = plot_pareto(frame).figure
    files = {f"pareto.{kind}": render(front, kind) for kind in ("png", "svg")}
    files["hypervolume.png"] = _picture(plot_volume(studies).figure)
    if shown is not None:
        files["importance.png"] = _picture(plot_importance(shown).figure)
        files["sensitivity.png"] = _picture(plot_sensitivity(shown).figure)
    return files


def _draw_front(
    axes: Axes,
    good: pd.DataFrame,
    names: tuple[str, str],
    goals: dict[str, str],
    stepped: bool,
) -> None:
    workloads = list(dict.fromkeys(good["workload"]))
    for i, workload in enumerate(workloads):
        group = good[good["workload"] == workload]
        colour = _COLOURS[(i + 1) % len(_COLOURS)]
        plain = _OTHERS if len(workloads) == 1 else colour
        x, y = (group[name].to_numpy(float) for name in names)
        on = group["pareto"].to_numpy(bool)
        axes.scatter(x[~on], y[~on], s=10, alpha=0.35, color=plain, linewidths=0)
        label = "front" if len(workloads) == 1 else f"{workload}: front"
        if stepped:
            order = np.argsort(x[on])
            # what a point dominates lies to the right of it, or to the left where more is better
            if goals[names[0]] == "min":
                axes.step(x[on][order], y[on][order], where="post", color=colour, lw=1)
            else:
                axes.step(x[on][order], y[on][order], where="pre", color=colour, lw=1)
        axes.scatter(
            x[on], y[on], s=22, color=colour, edgecolors="white", linewidths=0.4, label=label
        )
    for name, axis, set_scale in zip(
        names, (axes.xaxis, axes.yaxis), (axes.set_xscale, axes.set_yscale), strict=True
    ):
        _scale(axis, set_scale, good[name].to_numpy(float))
    axes.set_xlabel(_goal(names[0], goals))
    axes.set_ylabel(_goal(names[1], goals))
    axes.grid(True, which="major", alpha=0.3)
    if len(good):
        axes.legend(fontsize=8)
    else:
        _say(axes, "no finished points")


def _draw_single(axes: Axes, good: pd.DataFrame, name: str, goal: str) -> None:
    for i, workload in enumerate(dict.fromkeys(good["workload"])):
        group = good[good["workload"] == workload].sort_values("order")
        x, y = group["order"].to_numpy(float), group[name].to_numpy(float)
        best = np.maximum.accumulate(y) if goal == "max" else np.minimum.accumulate(y)
        colour = _COLOURS[(i + 1) % len(_COLOURS)]
        axes.scatter(x, y, s=10, alpha=0.5, color=_OTHERS, linewidths=0)
        axes.step(x, best, where="post", color=colour, label=f"{workload}: best so far")
    _scale(axes.yaxis, axes.set_yscale, good[name].to_numpy(float))
    axes.set_xlabel("points in the order of finishing")
    axes.set_ylabel(_goal(name, {name: goal}))
    axes.set_title(f"{len(good):,} finished points")
    axes.grid(True, alpha=0.3)
    if len(good):
        axes.legend(fontsize=8)
    else:
        _say(axes, "no finished points")


def _draw_effect(axes: Axes, effect: Effect, spread: float) -> None:
    places = np.arange(len(effect.labels))
    axes.axhline(1.0 if effect.ratio else 0.0, color="#666666", lw=0.7)
    axes.fill_between(places, effect.low, effect.high, color=_COLOURS[5], alpha=0.35, lw=0)
    axes.plot(places, effect.middle, color=_COLOURS[0], marker="o", ms=3, lw=1.2)
    step = -(-len(places) // _TICKS) or 1
    axes.set_xticks(
        places[::step], [_level(label) for label in effect.labels[::step]],
        fontsize=6.5, rotation=45, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    if effect.ratio:
        if spread > _SPREAD:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
            axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(True, alpha=0.25)


def _spread(study: Study, objective: str) -> float:
    """The largest change of an objective over the smallest, over all parameters."""
    some = [effect for effect in study.effects if effect.objective == objective and effect.ratio]
    high = max((v for effect in some for v in effect.high), default=1.0)
    return high / min((v for effect in some for v in effect.low), default=1.0)


def _panels(count: int, height: float = 3.6) -> list[Axes]:
    """Panels in rows of `_WIDE`, `height` inches each; one alone is larger."""
    columns = 2 if count == 4 else max(1, min(_WIDE, count))
    rows = max(1, -(-count // columns))
    size = (8.0, max(4.0, height)) if count <= 1 else (4.2 * columns, height * rows)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained")
    return [figure.add_subplot(rows, columns, i + 1) for i in range(max(1, count))]


def _most(shares: Sequence[Importance]) -> int:
    return max((len(share.names) for share in shares), default=0)


def _entitle(panels: Sequence[Axes], title: str, filled: bool) -> None:
    panels[0].figure.suptitle(title, fontsize=10)
    if not filled:
        _say(panels[0], "no parameter or no objective has two values")


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color="#555555")


def _scale(axis: Any, set_scale: Any, values: np.ndarray) -> None:
    if scale_of(values[np.isfinite(values)]) == "log":
        set_scale("log")
        axis.set_minor_locator(NullLocator())
        if values.max() / values.min() < 1e3:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    large = values.size and np.abs(values).max() >= 1000
    axis.set_major_formatter(EngFormatter(sep="") if large else FuncFormatter(_plain))


def _plain(value: float, _: Any) -> str:
    return f"{value:g}"


def _goal(name: str, goals: dict[str, str]) -> str:
    return f"{name} ({'more' if goals[name] == 'max' else 'less'} is better)"


def _short(name: str) -> str:
    """Of many parameters in step the first, so that names fit."""
    parts = name.split("+")
    return name if len(parts) == 1 or len(name) <= 20 else f"{parts[0]} +{len(parts) - 1}"


def _level(text: str) -> str:
    """A level as short as can be: equal parts once, binary sizes by their names."""
    parts = list(dict.fromkeys(text.split(", ")))
    if len(parts) > 1:
        return ", ".join(parts)
    try:
        value = float(text if parts[0] == text else parts[0])
    except ValueError:
        return parts[0]
    for unit, mark in ((1 << 20, "Mi"), (1 << 10, "Ki")):
        if value >= unit and value % (unit / 4) == 0:
            return f"{value / unit:g}{mark}"
    return f"{value:g}" if abs(value) < 1e5 else EngFormatter(sep="", places=2)(value)


def _picture(figure: Any) -> bytes:
    """A PNG; the constrained layout has fitted everything, so that nothing is drawn twice."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120, metadata={"Software": None})
    return data.getvalue()
