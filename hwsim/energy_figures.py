"""Figure of where a result's energy goes, the same for every family; returns the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

__all__ = ["Drawable", "plot_energy"]

_COLOURS = {
    "dram": "#d1495b",
    "buffer": "#edae49",
    "mac": "#3b6ea5",
    "vector": "#a9c4e0",
    "multiply": "#3b6ea5",
    "add": "#a9c4e0",
    "weights": "#edae49",
    "state": "#66a182",
    "cache": "#edae49",
    "static": "#b8b8b8",
}
"""Parts that several families have keep their colour; the others take `_MORE` in turn."""
_MORE = ("#66a182", "#8d6a9f", "#2e4057", "#c97b84", "#b5b35c")
_LABEL_ROWS = 70  # more layers than this get every second, third, ... name


class Drawable(Protocol):
    """What is drawn: a result of any family, or one read back by `hwsim.saved`."""

    @property
    def workload(self) -> str: ...
    @property
    def config(self) -> Any: ...
    @property
    def rows(self) -> list[dict[str, Any]]: ...
    @property
    def summary(self) -> dict[str, Any]: ...


def plot_energy(result: Drawable, axes: Axes | None = None) -> Axes:
    """Energy by layer, stacked by part; layers without energy are left out."""
    rows = [row for row in result.rows if row["energy_pj"]]
    height = max(2.6, min(1.4 + 0.19 * len(rows), 16))
    axes = axes or Figure(figsize=(9, height)).add_subplot()
    places = range(len(rows))
    left = [0.0] * len(rows)
    whole = sum(row["energy_pj"] for row in rows) or 1.0
    more = iter(_MORE * (1 + len(rows)))
    parts = [name for name in _parts(result.rows) if any(row[_column(name)] for row in rows)]
    for name in parts:
        joules = [row[_column(name)] * 1e-12 for row in rows]
        axes.barh(
            places,
            joules,
            left=left,
            height=0.8,
            color=_COLOURS.get(name) or next(more),
            label=f"{name.replace('_', ' ')}, {sum(joules) * 1e12 / whole:.1%}",
        )
        left = [a + b for a, b in zip(left, joules, strict=True)]
    _name_layers(axes, rows)
    axes.xaxis.set_major_formatter(EngFormatter(unit="J", sep=" "))
    axes.set_xlabel("energy")
    whole_joules = EngFormatter(unit="J", places=2)(result.summary["energy_pj"] * 1e-12)
    axes.set_title(f"{_title(result)}: {whole_joules}")
    if parts:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.6 / height),
            fontsize=8,
            ncols=min(len(parts), 5),
        )
    return axes


def _column(part: str) -> str:
    return f"energy_{part}_pj"


def _parts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Parts that the table of layers has columns for."""
    keys = rows[0] if rows else {}
    return [
        key.removeprefix("energy_").removesuffix("_pj")
        for key in keys
        if key.startswith("energy_") and key.endswith("_pj") and key != "energy_pj"
    ]


def _name_layers(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    step = -(-len(rows) // _LABEL_ROWS) or 1
    places = range(0, len(rows), step)
    several = len({row.get("stage") for row in rows}) > 1  # a training step
    names = [str(row["layer"])[-34:] + f"  {row.get('stage')}" * several for row in rows]
    axes.set_yticks(list(places), [names[p] for p in places], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _title(result: Drawable) -> str:
    energy = result.config.energy
    title = f"{result.workload[:44]} on {result.config.name}"
    return title + (f", table at {energy.node_nm or 45:g} nm" if energy.source == "table" else "")
