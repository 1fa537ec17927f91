"""One self-contained HTML page from a folder of results: no network; scripts only for sweeps."""

from __future__ import annotations

import base64
import csv
import html
from pathlib import Path
from typing import Any

from hwsim.delta_saved import SavedDelta
from hwsim.errors import UserError
from hwsim.files import write_all
from hwsim.saved import load_result
from hwsim.spgemm_saved import SavedSpgemm

__all__ = ["write_report"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;font-size:.8rem;width:100%;display:block;overflow-x:auto}
th,td{padding:.2rem .55rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th{position:sticky;top:0;background:#f4f6f8}td:first-child,th:first-child{text-align:left}
img{max-width:100%}pre{background:#f4f6f8;padding:.8rem;overflow-x:auto;font-size:.8rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem}dd{margin:0}
"""
_SHOWN = (
    "workload", "accelerator", "phase", "batch", "cycles", "seconds", "macs_dense",
    "macs_effective", "utilization", "utilization_dense", "dram_read_bytes", "dram_write_bytes",
    "energy_pj", "dataflow", "nnz_c", "multiplies_per_second", "ipc", "dram_bandwidth_share",
    "cache_hit_rate", "probes_per_insert", "frames", "frame_rate_hz", "sparsity", "speedup",
    "realtime", "theta", "snr_db", "state_bytes", "version",
)  # fmt: skip


def write_report(folder: str | Path) -> Path:
    """Write `report.html` beside the results and return its path.

    Works on the output of `simulate -o`, whose figures are drawn from its layers.csv and written
    too, and of `sweep -o`, also of a sweep that is not finished; see `hwsim.sweep_report`.

    Raises:
        UserError: the folder holds neither, or files that hwsim did not write.
    """
    path = Path(folder)
    files: dict[str, bytes] = {}
    if (path / "summary.json").exists():
        page, files = _simulation(path)
    elif (path / "results.csv").exists() or (path / "results.sqlite").exists():
        from hwsim.sweep_report import write_sweep_report

        return write_sweep_report(path)
    else:
        raise UserError(f"{path} holds no results: neither summary.json nor results.csv is there")
    write_all(path, files | {"report.html": page.encode()})
    return path / "report.html"


def _simulation(path: Path) -> tuple[str, dict[str, bytes]]:
    from hwsim.delta_figures import figure_files as delta_files
    from hwsim.figures import figure_files
    from hwsim.spgemm_figures import figure_files as spgemm_files

    result = load_result(path)
    summary = result.summary
    config = _text(path / "config.yaml")
    if isinstance(result, SavedSpgemm):
        figures = spgemm_files(result)
    elif isinstance(result, SavedDelta):
        figures = delta_files(result)
    else:
        figures = figure_files(result)
    title = f"{summary['workload']} on {summary['accelerator']}"
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{_value(summary[name])}</dd>"
        for name in _SHOWN
        if summary.get(name) is not None
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in summary.get("notes", []))
    counters = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{_value(value)}</td></tr>"
        for name, value in summary["counters"].items()
    )
    page = _page(
        title,
        f"<dl>{facts}</dl>{notes}"
        + "".join(
            _image(figures[name], name.removesuffix(".png"))
            for name in figures
            if name.endswith(".png")
        )
        + f"<h2>Layers</h2>{_table(path / 'layers.csv')}"
        + f"<h2>Counters</h2><table>{counters}</table>"
        + f"<h2>Configuration</h2><pre>{html.escape(config)}</pre>",
    )
    return page, figures


def _page(title: str, body: str) -> str:
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>{body}</body></html>\n"
    )


def _image(png: bytes, name: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<h2>{name}</h2><img alt="{name}" src="data:image/png;base64,{data}">'


def _table(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    try:
        return _value(int(text))
    except ValueError:
        pass
    try:
        return _value(float(text))
    except ValueError:
        return html.escape(text)


def _value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return html.escape(str(value))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
