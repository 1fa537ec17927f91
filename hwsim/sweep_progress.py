"""Progress of a sweep in words: rate, the best point so far, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwsim.sweep_measures import Measures
from hwsim.sweep_points import Point
from hwsim.sweep_store import Finished, Record

__all__ = ["Progress"]


class Progress:
    """Counts points as their runs are finished.

    Attributes:
        done: points of which every run is finished, and those that are not run.
        total: points in all, as far as is known.
    """

    def __init__(self, tell: Callable[..., None], measures: Measures, total: int) -> None:
        """`tell` gets (done, total, words)."""
        self._tell = tell
        self._goal, self._sign = measures.objectives[0]
        self._best: Any = None
        self._waiting: dict[str, list[list[int]]] = {}
        self._started = time.monotonic()
        self._computed = 0
        self.done = 0
        self.total = total
        self._tell(0, total, "")

    def round(self, points: Sequence[Point], records: Mapping[str, Record]) -> None:
        """Points that a method asked for; what is recorded already counts at once."""
        for point in points:
            missing = {run.key for run in point.runs if run.key not in records}
            if not missing:
                self.done += 1
                for run in point.runs:
                    self._look(records[run.key].outcome)
                continue
            left = [len(missing)]
            for key in missing:
                self._waiting.setdefault(key, []).append(left)
        self._tell(self.done, self.total, self._words())

    def finished(self, runs: Sequence[Finished], records: Mapping[str, Record]) -> None:
        """Runs that were executed and recorded."""
        for run in runs:
            self._look(run.outcome)
            for left in self._waiting.pop(run.key, ()):
                left[0] -= 1
                if left[0] == 0:
                    self.done += 1
                    self._computed += 1
        self._tell(self.done, self.total, self._words())

    def _look(self, outcome: Mapping[str, Any]) -> None:
        """Best value of the first objective over single runs, where a run has it."""
        value = outcome.get(self._goal)
        if isinstance(value, int | float) and (
            self._best is None or self._sign * value < self._sign * self._best
        ):
            self._best = value

    def _words(self) -> str:
        """The rate counts what this process had computed, not what it found in the record."""
        words = []
        if self._computed:
            rate = self._computed / max(1e-9, time.monotonic() - self._started)
            left = round((self.total - self.done) / rate)
            words += [f"{rate:.1f} points/s", f"{left // 60}:{left % 60:02} left"]
        if self._best is not None:
            words.append(f"best {self._goal} {_number(self._best)}")
        return ", ".join(words)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
