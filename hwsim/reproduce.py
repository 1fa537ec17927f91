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


HEADLINES = {"sat": "1.75x training speedup at 2:8, arXiv 2309.13015"}
"""What can be reproduced."""


def reproduce(
    name: str,
    folder: str | Path | None = None,
    *,
    progress: Callable[..., None] = lambda done, total, words="": None,
) -> Headline:
    """Reproduce a published headline; with a folder, write summary, tables and figures there.

    The sensitivity studies take most of the time and are run for a folder only.

    Raises:
        UserError: an unknown headline, or the folder cannot be written; old results stay whole.
    """
    if name not in HEADLINES:
        raise UserError(f"reproduce knows {', '.join(HEADLINES)}, but got {name!r}")
    from hwsim.reproduce_sat import reproduce_sat

    path = None if folder is None else make_folder(folder)
    result = reproduce_sat(sensitivity=path is not None, progress=progress)
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
