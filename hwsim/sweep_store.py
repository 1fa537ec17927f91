"""The record of a sweep: an SQLite file in write-ahead mode with one writer.

A batch of finished runs is committed in one transaction, so that killing any process at any time
leaves whole batches; a run is finished when its transaction is. The log needs shared memory, which
network file systems do not give: the folder of results belongs on a local disk of the machine that
`hwsim sweep` runs on, wherever the workers are.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from hwsim.errors import UserError

__all__ = ["DATABASE", "Finished", "Record", "Store"]

DATABASE = "results.sqlite"
"""Name of the file in the folder of results."""


class Finished(NamedTuple):
    """A run that is done.

    Attributes:
        key: of the run.
        outcome: measures, or why there are none.
        took: seconds that it ran.
    """

    key: str
    outcome: dict[str, Any]
    took: float


class Record(NamedTuple):
    """A run as recorded.

    Attributes:
        outcome: as in `Finished`.
        order: 1 for the first run that was finished in this folder, and so on.
        took: seconds that it ran.
        elapsed: seconds from the start of the sweep to when it was recorded, pauses left out.
    """

    outcome: dict[str, Any]
    order: int
    took: float
    elapsed: float


class Store:
    """The record in a folder; use it in a `with` statement.

    Attributes:
        records: what is finished, by key.

    Raises:
        UserError: the file cannot be used, or another process is writing it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        self.records: dict[str, Record] = {}
        self._lock = _lock(folder)
        try:
            self._database = sqlite3.connect(self.path)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS runs (position INTEGER PRIMARY KEY AUTOINCREMENT, "
                "key TEXT UNIQUE NOT NULL, outcome TEXT NOT NULL, took REAL NOT NULL, "
                "elapsed REAL NOT NULL)"
            )
            rows = self._database.execute("SELECT * FROM runs ORDER BY position").fetchall()
        except sqlite3.Error as error:
            self._lock.close()
            raise UserError(f"cannot use {self.path}: {error}") from None
        for order, (_, key, outcome, took, elapsed) in enumerate(rows, 1):
            self.records[key] = Record(json.loads(outcome), order, took, elapsed)
        self._before = max((record.elapsed for record in self.records.values()), default=0.0)
        self._started = time.monotonic()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
        self._lock.close()

    def add(self, finished: Sequence[Finished]) -> None:
        """Record runs durably; one that is there already stays as it is.

        Raises:
            UserError: the file cannot be written or the disk is full.
        """
        elapsed = self._before + time.monotonic() - self._started
        new = [run for run in finished if run.key not in self.records]
        try:
            with self._database:
                self._database.executemany(
                    "INSERT INTO runs (key, outcome, took, elapsed) VALUES (?, ?, ?, ?)",
                    [(r.key, json.dumps(r.outcome), r.took, elapsed) for r in new],
                )
        except sqlite3.Error as error:
            raise UserError(f"cannot write {self.path}: {error}") from None
        for run in new:
            order = len(self.records) + 1
            self.records[run.key] = Record(run.outcome, order, run.took, elapsed)


def _lock(folder: Path) -> IO[bytes]:
    """Hold the folder until the file is closed; the system frees it when the process is killed."""
    path = folder / f".{DATABASE}.lock"
    try:
        handle = path.open("ab")
    except OSError as error:
        raise UserError(f"cannot use {path}: {error.strerror or error}") from None
    try:
        import fcntl
    except ImportError:  # no POSIX system: two sweeps in one folder would repeat each other's runs
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise UserError(f"another sweep is running in {folder}") from None
    return handle
