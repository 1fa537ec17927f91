"""A stream's result read back from the files that `simulate -o` wrote."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import UserError

__all__ = ["KINDS", "NEEDED", "SavedDelta", "load_delta"]

KINDS = ("delta", "mac_skip")
"""Kinds of accelerator whose results are of streams."""

NEEDED = (
    "workload", "accelerator", "cycles", "counters", "frames", "frame_rate_hz", "sparsity",
    "latency", "dense_cycles", "parts", "energy_parts_pj",
)  # fmt: skip
"""Keys of summary.json that figures and report use."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedDelta:
    """What the figures and the report need of a stream's result.

    Attributes:
        config: of config.yaml.
        rows: of layers.csv: the layers' names, their cycles by cause and their energy by part.
        frame_cycles: int64[T], of frames.csv.
        summary: of summary.json.
    """

    config: Any
    rows: list[dict[str, Any]]
    frame_cycles: NDArray[np.int64]
    summary: dict[str, Any]

    @property
    def workload(self) -> str:
        return str(self.summary["workload"])

    @property
    def frames(self) -> int:
        return len(self.frame_cycles)

    @property
    def rate_hz(self) -> float:
        return float(self.summary["frame_rate_hz"])

    @property
    def dense_cycles(self) -> int | None:
        found: int | None = self.summary["dense_cycles"]
        return found


def load_delta(path: Path, config: Any, summary: dict[str, Any]) -> SavedDelta:
    """The tables of a folder, with its configuration and summary read already.

    Raises:
        UserError: a table is missing, cannot be read, lacks a column or holds a wrong number, or
            it is not of the summary's run.
    """
    causes = [f"cycles_{name}" for name in summary["parts"]]
    energies = ["energy_pj", *(f"energy_{name}_pj" for name in summary["energy_parts_pj"])]
    frames = _rows(path / "frames.csv", ["cycles"])
    if len(frames) != summary["frames"]:
        raise UserError(
            f"{path / 'frames.csv'} must have a line for each of the {summary['frames']} frames, "
            f"but got {len(frames)}"
        )
    return SavedDelta(
        config=config,
        rows=_rows(path / "layers.csv", causes, ["layer"], energies),
        frame_cycles=np.array([row["cycles"] for row in frames], np.int64),
        summary=summary,
    )


def _rows(
    path: Path, whole: list[str], text: Sequence[str] = (), real: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The columns in `whole` as integers, in `real` as floats and those in `text` as they are."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read {path}: {reason}") from None
    for column in (*text, *whole, *real):
        if column not in (reader.fieldnames or ()):
            raise UserError(f"{path} must have the column {column}")
    return [
        {name: row[name] for name in text}
        | {name: _number(int, row[name], name, path, number) for name in whole}
        | {name: _number(float, row[name], name, path, number) for name in real}
        for number, row in enumerate(reader, 2)
    ]


def _number(
    kind: type[int] | type[float], text: Any, column: str, path: Path, number: int
) -> int | float:
    try:
        return kind(text)
    except (TypeError, ValueError):
        name = "an integer" if kind is int else "a number"
        raise UserError(
            f"{path}: {column} must be {name} in line {number}, but got {text!r}"
        ) from None
