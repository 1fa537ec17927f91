"""The report of a sweep: figures, and one HTML page that works from disk without a network.

The page holds the points as columns in JSON, a style sheet and a script of its own
(`sweep_report.html`, `.css` and `_*.js` in this package); nothing is fetched. Every text of the
data gets into the page as text, never as markup.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from hwsim.files import write_all
from hwsim.sweep_analysis import Study, Volume, analyse
from hwsim.sweep_analysis_levels import MISSING, value_text
from hwsim.sweep_report_data import SweepFolder, load_sweep, works_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PAGE_BYTES", "make_page", "write_sweep_report"]

PAGE_BYTES = 2_800_000
"""Size of the points in a page at most; 3 MB leave the rest to the script, studies
and specification."""

_DIGITS = 9  # of measures that are not whole; the tables have all
_SCRIPTS = ("data", "plots", "point", "study")  # in this order
_STATES = ("done", "failed", "infeasible")


def write_sweep_report(folder: str | Path) -> Path:
    """Write `report.html` and the figures beside a sweep's results; return the page's path.

    An interrupted sweep gives a report of what is finished so far.

    Raises:
        UserError: the folder holds no sweep, or cannot be written.
    """
    from hwsim.sweep_figures import sweep_figures

    sweep = load_sweep(folder)
    studies = study(sweep)
    sweep.frame.attrs["objectives"] = dict(sweep.spec.objectives)
    files = sweep_figures(sweep.frame, studies)
    page = make_page(sweep, studies)
    write_all(sweep.path, files | {"report.html": page.encode()})
    return sweep.path / "report.html"


def study(sweep: SweepFolder) -> list[Study]:
    """The studies of a folder, one a workload."""
    return analyse(
        sweep.frame,
        dict(sweep.spec.objectives),
        [axis.paths for axis in sweep.axes],
        [axis.rows for axis in sweep.axes],
    )


def make_page(sweep: SweepFolder, studies: Sequence[Study], limit: int = PAGE_BYTES) -> str:
    """The page.

    Args:
        sweep: what is shown.
        studies: of `study`.
        limit: bytes of the points; above it only the front and evenly spaced others are shown.
    """
    rows = np.arange(len(sweep.frame))
    points = _encode(_points(sweep, rows))
    while len(points) > limit and len(rows) > 1:
        rows = _thinned(sweep.frame, studies, int(len(rows) * 0.95 * limit / len(points)))
        points = _encode(_points(sweep, rows))
    about = _encode(_about(sweep, studies, rows))
    parts = {
        "title": html.escape(_title(sweep)),
        "style": _part(".css"),
        "about": about,
        "points": points,
        "script": "\n".join(_part(f"_{name}.js") for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _part(".html"))


def _title(sweep: SweepFolder) -> str:
    works = [work.label or work.name for work in sweep.spec.runs_on]
    more = f" and {len(works) - 3} more" if len(works) > 3 else ""
    return f"Sweep of {sweep.spec.accelerator}: {', '.join(works[:3])}{more}"


def _part(ending: str) -> str:
    return resources.files("hwsim").joinpath(f"sweep_report{ending}").read_text(encoding="utf-8")


def _encode(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _about(sweep: SweepFolder, studies: Sequence[Study], rows: np.ndarray) -> dict[str, Any]:
    """Everything but the points."""
    import hwsim

    frame, spec = sweep.frame, sweep.spec
    place = {int(row): i for i, row in enumerate(rows)}
    labels = list(dict.fromkeys(frame["workload"]))
    return {
        "version": hwsim.__version__,
        "accelerator": spec.accelerator,
        "method": spec.method.name,
        "objectives": [{"name": n, "goal": g} for n, g in spec.objectives.items()],
        "counts": {state: int((frame["status"] == state).sum()) for state in _STATES},
        "total": len(frame),
        "shown": len(rows),
        "complete": sweep.complete,
        "unfinished": sweep.unfinished,
        "workloads": labels,
        "runs": [_runs(sweep, label) for label in labels],
        "axes": [list(axis.paths) for axis in sweep.axes],
        "fields": [[path, value_text(v)] for path, v in sweep.base.items()],
        "studies": [_study(s, frame, place) for s in studies],
        "errors": _errors(frame),
        "spec": yaml.safe_dump(spec.model_dump(exclude_none=True), sort_keys=False),
    }


def _runs(sweep: SweepFolder, label: str) -> list[list[list[str]]]:
    """Words of the command lines of a workload, before and after the parameters."""
    found = []
    for work in works_of(sweep.spec, label):
        before = ["hwsim", "simulate", work.name, "-a", sweep.spec.accelerator]
        after = ["--phase", "training"] if work.phase == "training" else []
        after += ["--batch", str(work.batch)] if (work.batch or 1) != 1 else []
        after += ["--seed", str(work.seed)] if work.seed else []
        found.append([before, after])
    return found


def _errors(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Reasons of points that are not done, the most frequent first."""
    bad = frame[frame["status"] != "done"]
    counts = (
        bad.groupby(["status", "error"], sort=False)
        .size()
        .sort_values(ascending=False, kind="stable")
    )
    return [
        {"status": str(status), "error": str(error), "count": int(count)}
        for (status, error), count in counts.items()
    ]


def _study(found: Study, frame: pd.DataFrame, place: dict[int, int]) -> dict[str, Any]:
    chosen = None
    if found.chosen is not None:
        chosen = place.get(int(frame.index.get_loc(found.index[found.chosen])))
    return {
        "workload": found.workload,
        "points": len(found.index),
        "front": int(found.front.sum()),
        "objectives": [asdict(o) for o in found.objectives],
        "chosen": chosen,
        "volume": _volume(found.volume),
        "constant": list(found.constant),
        "importance": [asdict(share) | {"pairs": share.pairs[:8]} for share in found.importance],
        "effects": [_rounded(asdict(effect)) for effect in found.effects],
    }


def _volume(volume: Volume | None) -> dict[str, Any] | None:
    if volume is None:
        return None
    return {
        "order": volume.order.tolist(),
        "seconds": [None if s != s else round(float(s), 2) for s in volume.seconds],
        "linear": _rounded(volume.linear.tolist()),
        "scaled": _rounded(volume.scaled.tolist()),
    }


def _points(sweep: SweepFolder, rows: np.ndarray) -> dict[str, Any]:
    """Columns of the points: parameters as indices of their levels, measures as numbers."""
    frame = sweep.frame.iloc[rows]
    order = {p: [row[k] for row in a.rows] for a in sweep.axes for k, p in enumerate(a.paths)}
    return {
        "key": frame["key"].tolist(),
        "workload": _words(frame["workload"], list(dict.fromkeys(sweep.frame["workload"]))),
        "status": _words(frame["status"], list(_STATES)),
        "error": _words(frame["error"]),
        "pareto": [int(on) for on in frame["pareto"]],
        "parameters": [
            {"name": path, "numeric": _numeric(frame[path])} | _levels(frame[path], order[path])
            for path in sweep.spec.parameters
        ],
        "measures": [{"name": name} | _numbers(frame[name]) for name in sweep.measures],
    }


def _words(column: pd.Series, levels: Sequence[str] | None = None) -> dict[str, Any]:
    known = list(levels) if levels is not None else list(dict.fromkeys(column))
    place = {text: i for i, text in enumerate(known)}
    return {"levels": known, "index": [place[text] for text in column]}


def _levels(column: pd.Series, order: Sequence[Any]) -> dict[str, Any]:
    """Different values of a parameter as the command line has them, in order; -1 for none."""
    texts = [None if value is MISSING else value_text(value) for value in column]
    values = dict(zip(texts, column, strict=True))
    known = [text for text in dict.fromkeys(texts) if text is not None]
    if _numeric(column):
        known.sort(key=lambda text: float(values[text]))
    else:
        given = {text: i for i, text in enumerate(dict.fromkeys(map(value_text, order)))}
        known.sort(key=lambda text: given.get(text, len(given)))
    place = {text: i for i, text in enumerate(known)} | {None: -1}
    return {"levels": known, "index": [place[text] for text in texts]}


def _numeric(column: pd.Series) -> bool:
    some = [value for value in column if value is not MISSING]
    return bool(some) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in some)


def _numbers(column: pd.Series) -> dict[str, Any]:
    """Numbers of a measure, each different one once where that is shorter."""
    values = [_number(value) for value in column]
    known = list(dict.fromkeys(values))
    if 4 * len(known) > len(values):
        return {"values": values}
    place = {value: i for i, value in enumerate(known)}
    return {"levels": known, "index": [place[value] for value in values]}


def _number(value: Any) -> int | float | str | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None if value is None or str(value) in ("", "<NA>") else str(value)
    if not np.isfinite(number):
        return None
    return int(value) if number.is_integer() and abs(number) < 2**53 else _short(number)


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _rounded(data: Any) -> Any:
    """Numbers with as many digits as a chart needs."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_rounded(value) for value in data]
    if isinstance(data, float):
        return float(f"{data:.5g}") if np.isfinite(data) else None
    return data


def _thinned(frame: pd.DataFrame, studies: Sequence[Study], wanted: int) -> np.ndarray:
    """Rows that are shown where not all can be: the front and evenly spaced others."""
    on = frame["pareto"].to_numpy(bool)
    front, others = np.flatnonzero(on), np.flatnonzero(~on)
    wanted = max(1, wanted)
    chosen = [frame.index.get_loc(s.index[s.chosen]) for s in studies if s.chosen is not None]
    kept = front[:: -(-len(front) // wanted) or 1]
    room = max(0, wanted - len(kept))
    if room:
        kept = np.append(kept, others[:: -(-len(others) // room) or 1])
    return np.unique(np.append(kept, np.array(chosen, np.int64)))
