"""Tables and figures of synthesized points and of the area model's errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from hwsim.area import PARTS
from hwsim.area_fit import AreaFit
from hwsim.area_model import predict
from hwsim.area_points import FORMATS
from hwsim.config import SatConfig, load_config
from hwsim.synth_rows import Row

__all__ = ["array_table", "capacity_table", "error_table", "figures", "unit_table"]

_COLOURS = {"int8": "#3b6ea5", "fp16": "#d1495b"}
_ENGINES = {"spgemm": ("SpGEMM", "#66a182"), "delta": ("delta", "#8d6a9f"),
            "edgedrnn": ("GRU", "#edae49")}  # fmt: skip
_HEAD = (
    "LUT", "FF", "DSP48E2", "BRAM36", "LUT4", "FF", "MULT18", "BRAM18", "fmax MHz", "of seeds"
)  # fmt: skip
_KEYS = ("lut", "ff", "dsp", "bram")
_STAGES = ("adder_latency", "multiplier_latency", "interleave")
Pipeline = tuple[int, ...]
"""Stages by `_STAGES`."""


def array_table(rows: Sequence[Row]) -> str:
    """Markdown: the sparse array by size, format and pipeline: adder, multiplier, interleave."""
    lines = _head(("array", "format", "L / M / I"))
    for (size, number, pipeline), targets in sorted(_arrays(rows).items(), key=lambda i: i[0]):
        words = " / ".join(str(stages) for stages in pipeline)
        lines.append(_line((f"{size} x {size}", number, words), targets))
    return "\n".join(lines) + "\n"


def unit_table(rows: Sequence[Row]) -> str:
    """Markdown: the other points that are placed: blocks, and engines by size."""
    lines = _head(("block", "configuration"))
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        point = row.point
        if point.placed and point.block != "stce":
            name = f"{point.preset} {point.block}"
            found.setdefault((name, " ".join(point.overrides)), {})[row.target] = row
    for key, targets in found.items():
        lines.append(_line(key, targets))
    return "\n".join(lines) + "\n"


def error_table(fit: AreaFit) -> str:
    """Markdown: how far the model is from fitted and from unseen points."""
    lines = [
        "| target | resource | block | fitted points | rms | largest | unseen points | largest |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in fit.summary():
        key = (entry["target"], entry["resource"], entry["unit"])
        groups.setdefault(key, {})[entry["role"]] = entry
    for (target, resource, unit), roles in groups.items():
        if (seen := roles.get("fit")) is None:
            continue
        new = roles.get("check")
        unseen = f"{new['points']} | {new['largest']:+.1%}" if new else "0 | "
        lines.append(
            f"| {target} | {resource} | {unit} | {seen['points']} | {seen['rms']:.1%} | "
            f"{seen['largest']:+.1%} | {unseen} |"
        )
    return "\n".join(lines) + "\n"


def capacity_table(fit: AreaFit) -> str:
    """Markdown: the model continued to 32 x 32, with what stands beside the array, on a VU9P."""
    part = PARTS["vu9p"]
    lines = [
        "| | LUT | FF | DSP48E2 | BRAM36 |",
        "|---|--:|--:|--:|--:|",
        f"| VU9P has | {part.lut:,} | {part.ff:,} | {part.dsp:,} | {part.bram:,} |",
    ]
    for number in FORMATS:
        config = load_config("sat", [f"format={number}"])
        assert isinstance(config, SatConfig)
        units = ["stce", *(("sore", "wuve", "post") if number == "fp16" else ())]
        blocks = {unit: predict(fit.model, config, unit, "xcup") for unit in units}
        if len(blocks) > 1:
            blocks["all of them"] = {
                key: sum(block[key] for block in blocks.values()) for key in _KEYS
            }
        for unit, block in blocks.items():
            cells = [f"{block[key]:,.0f} ({block[key] / getattr(part, key):.1%})" for key in _KEYS]
            name = {"stce": f"array {config.rows} x {config.cols}"}.get(unit, unit)
            lines.append(f"| {number}: {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figures(rows: Sequence[Row], fit: AreaFit | None) -> dict[str, tuple[str, Figure]]:
    """Title and figure by name: area, with the model if there is one, and fmax against size.

    A figure is left out while no array has what it shows.
    """
    found = {}
    arrays = [row for targets in _arrays(rows).values() for row in targets.values()]
    usual = {row.point.key for row in arrays if not set(_STAGES) & set(_words(row))}
    if len(usual) > 1:
        found["synth-area"] = ("LUTs against processing elements", _area_figure(rows, fit))
    if len({row.point.key for row in arrays if row.seeds_mhz}) > 1:
        found["synth-fmax"] = ("fmax against size", _fmax_figure(rows))
    return found


def _area_figure(rows: Sequence[Row], fit: AreaFit | None) -> Figure:
    preset = _pipeline(load_config("sat"))
    arrays = {(s, f): targets for (s, f, p), targets in _arrays(rows).items() if p == preset}
    parts = (("xcup", "UltraScale+: LUT", 1_182_240), ("ecp5", "ECP5: LUT4", 83_640))
    shown = [part for part in parts if any(part[0] in targets for targets in arrays.values())]
    figure = Figure(figsize=(5.4 * len(shown), 4.4), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (target, title, room) in zip(panels, shown, strict=True):
        for number, colour in _COLOURS.items():
            sizes = sorted(s for s, f in arrays if f == number and target in arrays[s, f])
            if not sizes:
                continue
            axes.plot(
                [s * s for s in sizes],
                [arrays[s, number][target].counts["lut"] for s in sizes],
                "o",
                color=colour,
                label=f"{number}, synthesized",
            )
            if fit is None or not fit.model.get(target):
                continue
            line = (1, 2, 4, 8, 12, 16, 24, 32)
            axes.plot(
                [s * s for s in line],
                [_modelled(fit, s, number, target)["lut"] for s in line],
                "-",
                lw=1.2,
                color=colour,
                label=f"{number}, model",
            )
        axes.axhline(room, color="black", lw=1, ls="--")
        part = "VU9P" if target == "xcup" else "LFE5U-85F"
        axes.annotate(part, (1, room), textcoords="offset points", xytext=(2, 4), fontsize=8)
        axes.set_title(title)
        axes.set_ylabel("LUTs of the array")
        _sizes(axes, "processing elements, rows x cols")
        axes.set_yscale("log")
        axes.legend(fontsize=8, loc="lower right")
    return figure


def _fmax_figure(rows: Sequence[Row]) -> Figure:
    engines = {
        preset: [
            (_lanes(row), row)
            for row in rows
            if row.point.preset == preset and row.point.block == "engine" and row.seeds_mhz
        ]
        for preset in _ENGINES
    }
    # a frequency against size takes two sizes; a single one stands in the table
    engines = {preset: points for preset, points in engines.items() if len(points) > 1}
    count = 1 + bool(engines)
    figure = Figure(figsize=(5.4 * count, 4.4), layout="constrained")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    left = panels[0]
    series_of: dict[tuple[str, Pipeline], list[tuple[int, Row]]] = {}
    for (size, number, pipeline), targets in sorted(_arrays(rows).items(), key=lambda i: i[0]):
        if "ecp5" in targets:
            series_of.setdefault((number, pipeline), []).append((size * size, targets["ecp5"]))
    for (number, pipeline), series in sorted(series_of.items(), key=lambda item: item[0]):
        label = f"{number}, L / M / I = " + " / ".join(str(stages) for stages in pipeline)
        usual = pipeline == _pipeline(load_config("sat"))
        _speeds(left, series, label, _COLOURS[number], "o-" if usual else "s--")
    _sizes(left, "processing elements, rows x cols")
    left.set_title("sparse array, ECP5-85F grade 8")
    left.set_ylabel("fmax in MHz, median and range of seeds")
    for preset, (label, colour) in _ENGINES.items():
        if preset in engines:
            _speeds(panels[1], sorted(engines[preset], key=lambda i: i[0]), label, colour, "o")
    if count > 1:
        _sizes(panels[1], "multiplier lanes")
        panels[1].set_title("other engines")
    for axes in panels:
        axes.set_ylim(bottom=0)
        axes.grid(True, axis="y", alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def _speeds(
    axes: Axes, series: Iterable[tuple[int, Row]], label: str, colour: str, style: str
) -> None:
    timed = [(x, row) for x, row in series if row.fmax_mhz is not None]
    if not timed:
        return
    middle = [row.fmax_mhz or 0 for _, row in timed]
    axes.errorbar(
        [x for x, _ in timed],
        middle,
        yerr=[
            [m - min(row.seeds_mhz) for m, (_, row) in zip(middle, timed, strict=True)],
            [max(row.seeds_mhz) - m for m, (_, row) in zip(middle, timed, strict=True)],
        ],
        fmt=style,
        lw=1.2,
        capsize=3,
        color=colour,
        label=label,
    )


def _sizes(axes: Axes, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.grid(True, which="major", alpha=0.3)


def _modelled(fit: AreaFit, size: int, number: str, target: str) -> dict[str, float]:
    config = load_config("sat", [f"rows={size}", f"cols={size}", f"format={number}"])
    return predict(fit.model, config, "stce", target)


def _arrays(rows: Iterable[Row]) -> dict[tuple[int, str, Pipeline], dict[str, Row]]:
    """Square arrays by size, format and pipeline, then by target.

    Otherwise they are the preset, but for pipelines for speed, which are 2:4.
    """
    found: dict[tuple[int, str, Pipeline], dict[str, Row]] = {}
    for row in rows:
        words = _words(row)
        extra = set(words) - {"rows", "cols", "format"}
        if "clock_hz" in extra:  # a pipeline for speed
            extra -= {"clock_hz", "sparsity"}
        if row.point.block != "stce" or words["rows"] != words["cols"] or extra - set(_STAGES):
            continue
        config = load_config(row.point.preset, list(row.point.overrides))
        key = (int(words["rows"]), words["format"], _pipeline(config))
        found.setdefault(key, {})[row.target] = row
    return found


def _words(row: Row) -> dict[str, str]:
    """A point's fields that are not the preset's."""
    return {key: value for key, _, value in (word.partition("=") for word in row.point.overrides)}


def _pipeline(config: Any) -> Pipeline:
    return tuple(getattr(config, name) for name in _STAGES)


def _lanes(row: Row) -> int:
    config: Any = load_config(row.point.preset, list(row.point.overrides))
    lanes: int = config.lanes
    return lanes


def _head(names: tuple[str, ...]) -> list[str]:
    return [
        "| " + " | ".join((*names, *_HEAD)) + " |",
        "|" + "---|" * len(names) + "--:|" * len(_HEAD),
    ]


def _line(names: tuple[str, ...], targets: dict[str, Row]) -> str:
    cells = list(names)
    for target in ("xcup", "ecp5"):
        row = targets.get(target)
        cells += [_count(row.counts[key]) if row else "" for key in _KEYS]
    timed = targets.get("ecp5")
    if timed is None or timed.fmax_mhz is None:
        cells += ["", ""]
    else:
        seeds = timed.seeds_mhz
        cells += [f"{timed.fmax_mhz:.1f}", f"{min(seeds):.1f} to {max(seeds):.1f} ({len(seeds)})"]
    return "| " + " | ".join(cells) + " |"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}".removesuffix(".0")
