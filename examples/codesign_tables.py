"""The tables of docs/codesign-study.md, in Markdown, from the study's results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hwsim.config import EnergyConfig, load_config
from hwsim.pareto import pareto_front

__all__ = ["PATTERNS", "SIDES", "at", "knee", "scaled", "size_of", "speedups", "study_tables"]

PATTERNS = ("dense", "2:4", "1:4", "2:8", "1:8", "2:16")
SIDES = (16, 24, 32, 48, 64)
_LARGEST = 6.0  # MiB of buffers in all, the preset's
_ENERGIES: dict[str, tuple[str, ...]] = {
    "table, 45 nm, DDR4 (the study's)": (),
    "table, 16 nm, DDR4": ("energy.node_nm=16",),
    "table, 7 nm, DDR4": ("energy.node_nm=7",),
    "table, 45 nm, LPDDR4": ("energy.dram_kind=lpddr4",),
    "table, 45 nm, HBM2": ("energy.dram_kind=hbm2",),
    "table, 16 nm, HBM2": ("energy.node_nm=16", "energy.dram_kind=hbm2"),
    "preset: a byte of any buffer alike": ("energy.source=preset",),
}
"""Other energies by name, as overrides."""
PARTS = {
    "macs": "kept MACs",
    "edges": "unfilled tiles",
    "idle": "array idle",
    "fill": "fill and drain",
    "other": "element-wise, update",
    "stall": "waiting for DRAM",
}
"""Columns `part_*` and what they are called."""


def study_tables(
    main: pd.DataFrame, buffers: pd.DataFrame, accuracy: pd.DataFrame, points: int
) -> dict[str, str]:
    """Every table by the name of its markers in the page.

    Args:
        main, buffers: finished points of the two sweeps, as `codesign_study.prepared` gives them.
        accuracy: codesign_accuracy.csv.
        points: of the main sweep, with those that failed.
    """
    return {
        "counts": _counts(main, buffers, points),
        "patterns": _patterns(main, accuracy),
        "arrays": _arrays(main),
        "causes": _causes(main),
        "best": _best(main),
        "knees": _knees(main),
        "sizes": _sizes(main),
        "single": _single(buffers),
        "energy": _energy(main),
    }


def size_of(frame: pd.DataFrame) -> str:
    """The column that says how large a machine is: share of a part, else PEs."""
    return "part_share" if "part_share" in frame else "pes"


def at(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows with these values; `side` is rows and columns, `width` bytes a cycle of DRAM."""
    names = {"width": "dram.bytes_per_cycle", "buffers": "buffer_mib"}
    found = frame
    for name, value in values.items():
        if name == "side":
            found = found[(found["rows"] == value) & (found["cols"] == value)]
        else:
            found = found[found[names.get(name, name)] == value]
    return found


def speedups(frame: pd.DataFrame, column: str = "image_ms") -> pd.Series:
    """How many times less of `column` a point takes than the dense one on the same array, buffers
    and memory; NaN where that has no result."""
    same = ["rows", "cols", "buffer_mib", "dram.bytes_per_cycle"]
    dense = frame[frame["sparsity"] == "dense"].set_index(same)[column]
    return frame[same].apply(lambda row: dense.get(tuple(row), np.nan), axis=1) / frame[column]


def knee(frame: pd.DataFrame, size: str, other: str = "image_ms") -> pd.Series:
    """The point of the front of two columns that bends most: farthest below the straight line
    between the front's ends, both axes logarithmic (Das, Structural Optimization 18, 1999).

    Its entry `bend` is how many times less of `other` it takes than the line; 1 is no bend.
    """
    values = np.log(frame[[size, other]].to_numpy(float))
    front = frame[pareto_front(values)].sort_values([size, other])
    xy = np.log(front[[size, other]].to_numpy(float))
    span = xy[-1] - xy[0]
    below = xy[0, 1] + (xy[:, 0] - xy[0, 0]) * span[1] / (span[0] or 1) - xy[:, 1]
    place = int(np.argmax(below))
    return pd.concat([front.iloc[place], pd.Series({"bend": float(np.exp(below[place]))})])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _widths(frame: pd.DataFrame) -> list[tuple[float, str]]:
    pairs = frame[["dram.bytes_per_cycle", "bandwidth"]].drop_duplicates()
    return [(w, name) for w, name in sorted(pairs.itertuples(index=False))]


def _shape(row: pd.Series) -> str:
    return f"{row['rows']:.0f} x {row['cols']:.0f}"


def _counts(main: pd.DataFrame, buffers: pd.DataFrame, points: int) -> str:
    front = main[main["pareto"]]
    by_pattern = front["sparsity"].value_counts()
    shares = ", ".join(f"{p} {by_pattern.get(p, 0)}" for p in PATTERNS)
    return (
        f"{points:,} points, {points - len(main)} of which fail because half a buffer does not "
        f"hold the smallest tile; {len(front)} are on the front of all objectives: {shares}. "
        f"A second sweep changes one buffer at a time: {len(buffers):,} points."
    )


def _patterns(main: pd.DataFrame, accuracy: pd.DataFrame) -> str:
    frame = at(main, side=32, buffers=_LARGEST)
    gain, saved = speedups(frame), speedups(frame, "image_mj")
    rows = []
    for pattern in PATTERNS:
        seen = accuracy.loc[accuracy["sparsity"] == pattern, "loss_points"]
        row = [pattern, f"{seen.mean():.2f} +- {seen.std():.2f}" if pattern != "dense" else "0"]
        here = frame[frame["sparsity"] == pattern]
        row.append(f"{here['macs_dense'].iloc[0] / here['macs_effective'].iloc[0]:.2f}")
        for width, _ in _widths(frame):
            point = at(here, width=width)
            row.append(f"{point['image_ms'].item():.1f} ({gain[point.index].item():.2f})")
        for width, _ in _widths(frame):
            point = at(here, width=width)
            row.append(f"{point['image_mj'].item():.1f} ({saved[point.index].item():.2f})")
        rows.append(row)
    names = [name for _, name in _widths(frame)]
    head = ["N:M", "points lost", "bound", *(f"ms, {n}" for n in names)]
    return _table([*head, *(f"mJ, {n}" for n in names)], rows)


def _arrays(main: pd.DataFrame) -> str:
    frame = at(main, buffers=_LARGEST)
    gain = speedups(frame)
    rows = []
    for side in SIDES:
        for width, name in _widths(frame):
            here = at(frame, side=side, width=width)
            ms = here.loc[here["sparsity"] == "dense", "image_ms"].item()
            found = [gain[here.index[here["sparsity"] == p]].item() for p in PATTERNS[1:]]
            rows.append([f"{side} x {side}", name, f"{ms:.1f}", *(f"{v:.2f}" for v in found)])
    return _table(["array", "DRAM", "dense, ms", *PATTERNS[1:]], rows)


def _causes(main: pd.DataFrame) -> str:
    rows = []
    for pattern in ("dense", "2:8"):
        for side in (16, 32, 64):
            for width, name in _widths(main):
                point = at(main, side=side, width=width, buffers=_LARGEST, sparsity=pattern)
                shares = [f"{100 * point[f'part_{part}'].item():.1f}" for part in PARTS]
                rows.append([pattern, f"{side} x {side}", name, *shares])
    return _table(["N:M", "array", "DRAM", *(f"{n}, %" for n in PARTS.values())], rows)


def _limits(main: pd.DataFrame) -> list[tuple[float, str]]:
    if size_of(main) == "pes":
        return [(v, f"{v:,} PEs") for v in (256, 1024, 2304, 4096)]
    return [(v, f"{100 * v:.0f} % of a VU9P") for v in (0.25, 0.5, 1.0)]


def _best(main: pd.DataFrame) -> str:
    """The fastest and the thriftiest machine within a size, and the fastest that loses little."""
    rows = []
    for limit, room in _limits(main):
        for width, name in _widths(main):
            here = at(main[main[size_of(main)] <= limit], width=width)
            if here.empty:
                continue
            dense = here[here["sparsity"] == "dense"]
            fast = here.loc[here["image_ms"].idxmin()]
            careful = here[here["loss_points"] <= 0.5]
            kept = careful.loc[careful["image_ms"].idxmin()]
            thrifty = here.loc[here["image_mj"].idxmin()]
            rows.append(
                [
                    room,
                    name,
                    f"{dense['image_ms'].min():.1f}",
                    f"{fast['sparsity']} on {_shape(fast)}: {fast['image_ms']:.1f}",
                    f"{kept['sparsity']} on {_shape(kept)}: {kept['image_ms']:.1f}",
                    f"{thrifty['sparsity']} on {_shape(thrifty)}: {thrifty['image_mj']:.0f} mJ",
                ]
            )
    head = ["room", "DRAM", "best dense, ms", "fastest, ms", "fastest within 0.5 points, ms"]
    return _table([*head, "least energy"], rows)


def _knees(main: pd.DataFrame) -> str:
    """Of square arrays: a wide one has more lanes than its PEs say."""
    size = size_of(main)
    main = main[main["rows"] == main["cols"]]
    rows = []
    for width, name in _widths(main):
        for pattern in (None, "dense", "2:8"):
            here = at(main, width=width)
            here = here if pattern is None else at(here, sparsity=pattern)
            point = knee(here, size)
            shown = f"{point[size]:,.0f}" if size == "pes" else f"{100 * point[size]:.0f} %"
            rows.append(
                [
                    name,
                    pattern or "any",
                    f"{point['sparsity']} on {_shape(point)}, {point['buffer_mib']:g} MiB",
                    shown,
                    f"{point['bend']:.2f}",
                    f"{point['image_ms']:.1f}",
                    f"{point['image_mj']:.1f}",
                    f"{100 * point['part_stall']:.0f}",
                    f"{100 * point['part_other']:.0f}",
                ]
            )
    words = "PEs" if size == "pes" else "of a VU9P"
    head = ["DRAM", "among", "knee", words, "bend", "ms", "mJ", "waiting for DRAM, %"]
    return _table([*head, "element-wise, update, %"], rows)


def _sizes(main: pd.DataFrame) -> str:
    """What buffers of one size each do to an array: time and traffic over those with 6 MiB."""
    rows = []
    for pattern in ("dense", "2:8", "2:16"):
        for side in (32, 64):
            for width, name in _widths(main):
                here = at(main, side=side, width=width, sparsity=pattern)
                full = here[here["buffer_mib"] == _LARGEST]
                row = [pattern, f"{side} x {side}", name]
                for mib in sorted(main["buffer_mib"].unique()):
                    point = at(here, buffers=mib)
                    if point.empty:
                        row.append("-")
                        continue
                    ratios = [point[c].item() / full[c].item() for c in ("image_ms", "traffic_gb")]
                    row.append(" / ".join(f"{ratio:.2f}" for ratio in ratios))
                rows.append(row)
    sizes = [f"{mib:g} MiB" for mib in sorted(main["buffer_mib"].unique())]
    return _table(["N:M", "array", "DRAM", *sizes], rows)


def _single(buffers: pd.DataFrame) -> str:
    """One buffer at 128 KiB and the others as in the preset, over all as in the preset."""
    names = ["input", "weight", "output"]
    columns = [f"buffers.{n}_bytes" for n in names]
    small, large = buffers[columns[0]].min(), buffers[columns[0]].max()
    rows = []
    for pattern in ("dense", "2:8"):
        for width, dram in _widths(buffers):
            here = at(buffers, width=width, sparsity=pattern)
            full = here[(here[columns] == large).all(axis=1)]
            row = [pattern, dram]
            for column in columns:
                others = [c for c in columns if c != column]
                point = here[(here[others] == large).all(axis=1) & (here[column] == small)]
                ratios = [
                    point[c].item() / full[c].item() for c in ("image_ms", "traffic_gb", "image_mj")
                ]
                row.append(" / ".join(f"{ratio:.2f}" for ratio in ratios))
            rows.append(row)
    return _table(["N:M", "DRAM", *(f"{n} buffer" for n in names)], rows)


def _energy(main: pd.DataFrame) -> str:
    """How the answer moves with the energies: exact, since energy is a sum of events."""
    rows = []
    for name, overrides in _ENERGIES.items():
        frame = at(scaled(main, overrides), side=32, width=384.0)
        saved = speedups(frame, "energy_pj")
        full = frame[frame["buffer_mib"] == _LARGEST]
        gains = [saved[full.index[full["sparsity"] == p]].item() for p in PATTERNS[1:]]
        each = _energies(overrides, _LARGEST)
        pruned = frame[frame["sparsity"] == "2:8"]
        least = pruned.loc[pruned["energy_pj"].idxmin()]
        dense = full[full["sparsity"] == "dense"]
        rows.append(
            [
                name,
                f"{each['mac']:.2f}, {each['buffer']:.1f}, {each['dram']:.0f}",
                f"{100 * (dense['energy_parts_pj.dram'] / dense['energy_pj']).item():.0f}",
                *(f"{gain:.2f}" for gain in gains),
                f"{least['buffer_mib']:g} MiB",
            ]
        )
    head = ["energies", "pJ a MAC, byte of a 2 MiB buffer, byte of DRAM", "DRAM of dense, %"]
    return _table([*head, *PATTERNS[1:], "thriftiest buffers of 2:8"], rows)


def scaled(main: pd.DataFrame, overrides: Sequence[str]) -> pd.DataFrame:
    """The points with other energies: every part times the ratio of what its event takes.

    All buffers of a point have one size, and so one energy a byte.
    """
    frame = main.copy()
    for mib, group in main.groupby("buffer_mib"):
        before, after = _energies((), float(mib)), _energies(overrides, float(mib))
        for part in before:
            column = f"energy_parts_pj.{part}"
            frame.loc[group.index, column] = group[column] * after[part] / before[part]
    parts = [f"energy_parts_pj.{part}" for part in _energies((), _LARGEST)]
    return frame.assign(energy_pj=frame[parts].sum(axis=1))


def _energies(overrides: Sequence[str], mib: float) -> dict[str, float]:
    """Picojoules of a MAC, an element-wise operation, a byte of a buffer and one of DRAM."""
    size = round(mib * 2**20 / 3)
    sizes = [f"buffers.{name}_bytes={size}" for name in ("input", "weight", "output")]
    energy = load_config("sat", ["energy.source=table", *sizes, *overrides]).energy
    assert isinstance(energy, EnergyConfig)
    return {
        "mac": energy.mac_pj,
        "vector": energy.vector_pj,
        "buffer": energy.buffer_read_pj,
        "dram": energy.dram_pj,
    }
