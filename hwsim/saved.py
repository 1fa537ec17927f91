"""A result read back from the files that `simulate -o` wrote; nothing is simulated again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim import delta_saved
from hwsim.config import ArrayConfig, load_config
from hwsim.delta_saved import SavedDelta, load_delta
from hwsim.errors import UserError
from hwsim.result import LAYER_COLUMNS
from hwsim.spgemm_saved import KINDS, NEEDED, SavedSpgemm, load_spgemm

__all__ = ["SavedResult", "load_result"]

_TEXT = ("layer", "stage", "op", "dataflow", "sparsity")
_REAL = ("utilization", "utilization_dense", *(c for c in LAYER_COLUMNS if c.startswith("energy")))
_NEEDED = ("workload", "accelerator", "batch", "cycles", "utilization", "counters")


@dataclass(frozen=True, kw_only=True)
class SavedResult:
    """What the figures and the report need of a run.

    Attributes:
        config: of config.yaml.
        rows: of layers.csv, `hwsim.result.LAYER_COLUMNS`, numbers as numbers.
        summary: of summary.json.
    """

    config: ArrayConfig
    rows: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def workload(self) -> str:
        return str(self.summary["workload"])

    @property
    def batch(self) -> int:
        return int(self.summary["batch"])


def load_result(folder: str | Path) -> SavedResult | SavedSpgemm | SavedDelta:
    """The result in a folder.

    Raises:
        UserError: a file is missing, cannot be read, or is not one that hwsim wrote.
    """
    path = Path(folder)
    config = load_config(path / "config.yaml")
    if config.kind in KINDS:
        return load_spgemm(path, config, _summary(path / "summary.json", NEEDED))
    if config.kind in delta_saved.KINDS:
        return load_delta(path, config, _summary(path / "summary.json", delta_saved.NEEDED))
    assert isinstance(config, ArrayConfig)  # every other kind has a reader of its own
    return SavedResult(
        config=config,
        rows=_rows(path / "layers.csv"),
        summary=_summary(path / "summary.json"),
    )


def _summary(path: Path, needed: Sequence[str] = _NEEDED) -> dict[str, Any]:
    try:
        data = json.loads(_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must be a JSON object, but got a {type(data).__name__}")
    for key in needed:
        if key not in data:
            raise UserError(f"{path} must have the key {key}")
    return data


def _rows(path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    for column in LAYER_COLUMNS:
        if column not in (reader.fieldnames or ()):
            raise UserError(f"{path} must have the column {column}")
    return [_row(row, path, number) for number, row in enumerate(reader, 2)]


def _row(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in LAYER_COLUMNS:
        text = row[column]
        try:
            if column in _TEXT:
                values[column] = text
            else:
                values[column] = float(text) if column in _REAL else int(text)
        except (TypeError, ValueError):
            raise UserError(
                f"{path}: {column} must be a number in line {number}, but got {text!r}"
            ) from None
    return values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
