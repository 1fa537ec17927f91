"""Published headlines beside ours: which can be reproduced, and where their results go."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hwsim.errors import UserError
from hwsim.files import make_folder, write_all

__all__ = ["HEADLINES", "Headline", "reproduce", "table"]


class Headline(Protocol):
    """A reproduced headline."""

    @property
    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        ...

    def files(self) -> dict[str, bytes]:
        """Tables, configuration and figures by file name."""
        ...

    def lines(self) -> list[str]:
        """The same for people."""
        ...


HEADLINES = {
    "sat": "1.75x training speedup at 2:8, arXiv 2309.13015",
    "smash": "9.4x of SpGEMM by atomic hashing on PIUMA, arXiv 2105.14156",
    "delta": "computing on change: EdgeDRNN, Eyeriss v2, speech, arXiv 2107.07305",
}
"""What can be reproduced."""


def reproduce(
    name: str,
    folder: str | Path | None = None,
    *,
    data: str | Path | None = None,
    progress: Callable[..., None] = lambda done, total, words="": None,
) -> Headline:
    """Reproduce a published headline; with a folder, write summary, tables and figures there.

    Sensitivity studies take most of the time and are run for a folder only.

    Args:
        name: of `HEADLINES`.
        folder: for the results.
        data: a folder of real inputs for the headlines that take any.
        progress: told (steps done, steps in all, what).

    Raises:
        UserError: an unknown headline, one that takes no data, data that cannot be used, or the
            folder cannot be written; old results stay whole.
    """
    if name not in HEADLINES:
        raise UserError(f"reproduce knows {', '.join(HEADLINES)}, but got {name!r}")
    path = None if folder is None else make_folder(folder)
    result = _RUNS[name](None if data is None else Path(data), path is not None, progress)
    if path is not None:
        summary = json.dumps(result.summary, indent=2, allow_nan=False) + "\n"
        write_all(path, result.files() | {"summary.json": summary.encode()})
    return result


def table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows with equal keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _sat(data: Path | None, whole: bool, progress: Callable[..., None]) -> Headline:
    from hwsim.reproduce_sat import reproduce_sat

    if data is not None:
        raise UserError(f"reproduce sat takes no --data, but got {data}")
    return reproduce_sat(sensitivity=whole, progress=progress)


def _smash(data: Path | None, whole: bool, progress: Callable[..., None]) -> Headline:
    from hwsim.reproduce_smash import reproduce_smash

    return reproduce_smash(matrices=data, progress=progress)


def _delta(data: Path | None, whole: bool, progress: Callable[..., None]) -> Headline:
    from hwsim.reproduce_delta import reproduce_delta

    return reproduce_delta(data, progress=progress)


_RUNS: dict[str, Callable[[Path | None, bool, Callable[..., None]], Headline]] = {
    "sat": _sat,
    "smash": _smash,
    "delta": _delta,
}
