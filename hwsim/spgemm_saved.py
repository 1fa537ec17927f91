"""A run of sparse products read back from the files that `simulate -o` wrote."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import UserError

__all__ = ["KINDS", "NEEDED", "SavedSpgemm", "load_spgemm"]

KINDS = ("piuma", "spgemm", "spgemm_dataflow")
"""Kinds of accelerator whose results are of sparse products."""

NEEDED = (
    "workload", "accelerator", "cycles", "dram_read_bytes", "dram_write_bytes", "counters", "ipc",
    "scratchpad_occupancy", "threads",
)  # fmt: skip
"""Keys of summary.json that figures and report use."""

_TEXT = ("layer", "stage", "op", "dataflow")
_COLUMNS = {
    "layers.csv": (
        "layer", "dataflow", "cycles", "macs_effective", "dram_read_bytes", "dram_write_bytes",
    ),
    "threads.csv": ("layer", "core", "thread", "cycles", "issue", "barrier", "idle"),
    "timeline.csv": (
        "layer", "begin", "length", "instructions", "dram_read_bytes", "dram_write_bytes",
        "scratchpad_entries", "active_threads",
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SavedSpgemm:
    """What the figures and the report need of a run of sparse products.

    Attributes:
        config: of config.yaml.
        rows, threads, timeline: of layers.csv, threads.csv and timeline.csv, as in
            `hwsim.spgemm_result.SpgemmResult`; the last two are empty without the machine model.
        summary: of summary.json.
    """

    config: Any
    rows: list[dict[str, Any]]
    threads: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def workload(self) -> str:
        return str(self.summary["workload"])


def load_spgemm(path: Path, config: Any, summary: dict[str, Any]) -> SavedSpgemm:
    """The tables of a folder, with its configuration and summary read already.

    Raises:
        UserError: a table is missing, cannot be read, lacks a column or holds a wrong number.
    """
    machine = summary["threads"] is not None
    return SavedSpgemm(
        config=config,
        rows=_rows(path / "layers.csv"),
        threads=_rows(path / "threads.csv") if machine else [],
        timeline=_rows(path / "timeline.csv") if machine else [],
        summary=summary,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read {path}: {reason}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for column in _COLUMNS[path.name]:
        if column not in (reader.fieldnames or ()):
            raise UserError(f"{path} must have the column {column}")
    return [
        {column: _cell(column, text, path, number) for column, text in row.items()}
        for number, row in enumerate(reader, 2)
    ]


def _cell(column: str, text: Any, path: Path, number: int) -> Any:
    if column in _TEXT:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    raise UserError(f"{path}: {column} must be a number in line {number}, but got {text!r}")
