"""How a sweep chooses its points: all, at random, a Latin hypercube, or by what was learnt.

A method is asked for points and told their results, in rounds. What it asks for depends only on the
specification and on results, never on the order or time in which they came, so that a sweep that
was killed asks for the same points again and takes them from its record.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from hwsim.errors import UserError
from hwsim.sweep_points import Maker, Point
from hwsim.sweep_spec import SweepSpec
from hwsim.sweep_spec_parts import Value

__all__ = ["Learnt", "Sampler", "make_sampler"]

_ENUMERATED = 200_000
"""Spaces up to this size are listed and shuffled; not given; chosen because that takes seconds."""
_TRIES = 2000
"""Draws in a row that are not allowed or already there before a sampler gives up; not given;
chosen so that a part of 1 in 400 of a space is still found with 99 % confidence."""
_POPULATION = 20
"""Points of a generation; not given; chosen so that a budget of 200 has ten generations."""
_TPE_BATCH = 8
"""Points that TPE chooses at once; not given; chosen as four a core of a small machine."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What a method is told of a point.

    Attributes:
        point: that it asked for.
        objectives: smaller is better; None when it failed.
        feasible: it keeps the constraints on results.
    """

    point: Point
    objectives: tuple[float, ...] | None
    feasible: bool


class Sampler(Protocol):
    """A method at work.

    Attributes:
        total: how many points it will ask for at most.
    """

    total: int

    def ask(self) -> list[Point]:
        """Points of the next round, all new; none when it is done."""

    def tell(self, learnt: Sequence[Learnt]) -> None:
        """Results of the last round, in the order of `ask`."""


def make_sampler(spec: SweepSpec, maker: Maker) -> Sampler:
    """The method of a specification.

    Raises:
        UserError: Optuna is needed and not installed.
    """
    name = spec.method.name
    if name == "grid":
        return _Listed(_grid(maker))
    seed, budget = spec.method_seed, spec.budget or 1
    if name == "random":
        return _Listed(_random(maker, budget, seed))
    if name == "lhs":
        return _Listed(_hypercube(maker, budget, seed))
    if find_spec("optuna") is None:
        raise UserError(
            f"method {name} needs Optuna, which the sweep extra brings: pip install 'hwsim[sweep]'"
        )
    return _Optuna(spec, maker, budget, seed)


class _Listed:
    """Points that are known from the start."""

    def __init__(self, points: list[Point]) -> None:
        self._points = points
        self.total = len(points)

    def ask(self) -> list[Point]:
        points, self._points = self._points, []
        return points

    def tell(self, learnt: Sequence[Learnt]) -> None:
        pass


class _New:
    """Lets through settings that are allowed and not there yet.

    Attributes:
        settings: how many it let through.
    """

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._seen: set[str] = set()
        self._reason = ""
        self.settings = 0

    def __call__(self, values: dict[str, Value]) -> list[Point]:
        """The points of a setting, or none."""
        points = self._maker.points(values)
        if points[0].status:
            self._reason = points[0].error
            return []
        new = [p for p in points if p.key not in self._seen]
        if len(new) < len(points):
            return []
        self._seen.update(p.key for p in new)
        self.settings += 1
        return new

    def check(self) -> None:
        """Refuse a specification that allows nothing.

        Raises:
            UserError: nothing was let through.
        """
        if not self.settings:
            raise UserError(f"none of the points that were tried is allowed: {self._reason}")


def _grid(maker: Maker) -> list[Point]:
    """All points, equal ones once."""
    found: dict[str, Point] = {}
    for values in maker.space.grid():
        for point in maker.points(values):
            found.setdefault(point.key, point)
    points = list(found.values())
    if all(point.status for point in points):
        raise UserError(f"none of the {len(points):,} points is allowed: {points[0].error}")
    return points


def _random(maker: Maker, budget: int, seed: int) -> list[Point]:
    """A sample without replacement."""
    rng = np.random.default_rng(seed)
    space = maker.space
    if space.size is not None and space.size <= _ENUMERATED:
        every = list(space.grid())
        draws: Iterator[dict[str, Value]] = (every[i] for i in rng.permutation(len(every)))
    else:
        draws = (space.at(rng.random(len(space.axes)).tolist()) for _ in iter(int, 1))
    return _take(draws, maker, budget)


def _hypercube(maker: Maker, budget: int, seed: int) -> list[Point]:
    """A Latin hypercube of `budget` settings; those that are not allowed or fall together on a
    discrete axis are made up for by further, smaller hypercubes."""
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    sampler = qmc.LatinHypercube(len(maker.space.axes), rng=rng)

    def draws() -> Iterator[dict[str, Value]]:
        while True:
            for row in sampler.random(max(1, budget - new.settings)):
                yield maker.space.at(row.tolist())

    new = _New(maker)
    return _take(draws(), maker, budget, new)


def _take(
    draws: Iterator[dict[str, Value]], maker: Maker, budget: int, new: _New | None = None
) -> list[Point]:
    """The first `budget` settings that are let through, fewer if the space has no more."""
    new = new or _New(maker)
    found: list[Point] = []
    idle = 0
    for values in draws:
        points = new(values)
        found += points
        idle = 0 if points else idle + 1
        if new.settings >= budget:
            break
        if idle >= _patience(maker):
            break
    new.check()
    return found


def _patience(maker: Maker) -> int:
    """Draws in a row without anything new after which nothing new is expected: in a small space
    every setting has then had 20 chances."""
    size = maker.space.size
    return _TRIES if size is None else min(_TRIES, 20 * size + 20)


class _Optuna:
    """TPE, NSGA-II and NSGA-III.

    Ordered axes are given as the number of the choice, so that neighbouring choices are near. A
    setting that is not allowed or was asked for before does not enter the population; when the
    method finds nothing new any more, random settings take its place.
    """

    def __init__(self, spec: SweepSpec, maker: Maker, budget: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._maker = maker
        self._space = maker.space
        self._new = _New(maker)
        self._rng = np.random.default_rng(seed)
        self._asked: list[Any] = []
        self._round = (
            spec.method.batch or _TPE_BATCH
            if spec.method.name == "tpe"
            else spec.method.population or _POPULATION
        )
        self.total = budget if self._space.size is None else min(budget, self._space.size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parts of Optuna that may still change
            samplers = optuna.samplers
            sampler: Any
            if spec.method.name == "tpe":
                sampler = samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
            elif spec.method.name == "nsga2":
                sampler = samplers.NSGAIISampler(seed=seed, population_size=self._round)
            else:
                sampler = samplers.NSGAIIISampler(seed=seed, population_size=self._round)
            self._study = optuna.create_study(
                directions=["minimize"] * len(maker.measures.objectives), sampler=sampler
            )

    def ask(self) -> list[Point]:
        left = self.total - self._new.settings
        found: list[Point] = []
        self._asked = []
        for _ in range(min(self._round, left)):
            points = self._one()
            if not points:
                break
            found += points
        if not self._new.settings:
            self._new.check()
        return found

    def tell(self, learnt: Sequence[Learnt]) -> None:
        states = self._optuna.trial.TrialState
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for trial, result in zip(self._asked, learnt, strict=True):
                if result.objectives is None:
                    self._study.tell(trial, state=states.FAIL)
                    continue
                if self._maker.measures.constrained:
                    trial.set_constraint("constraints", 0.0 if result.feasible else 1.0)
                self._study.tell(trial, result.objectives)

    def _one(self) -> list[Point]:
        """The next new setting's point; nothing when the space seems to hold no more."""
        fail = self._optuna.trial.TrialState.FAIL
        for attempt in range(_patience(self._maker)):
            if attempt >= 20:  # not given; chosen: a population that has converged repeats itself
                self._study.enqueue_trial(self._drawn())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trial = self._study.ask()
                points = self._new(self._settle(trial))
            if points:
                self._asked.append(trial)
                return points
            self._study.tell(trial, state=fail)
        return []

    def _settle(self, trial: Any) -> dict[str, Value]:
        """Values of a trial; axes without effect are drawn too, so that all trials are alike."""
        rows = {}
        for axis in self._space.axes:
            if not axis.rows:
                suggest = trial.suggest_int if axis.whole else trial.suggest_float
                rows[axis.name] = (suggest(axis.name, axis.low, axis.high, log=axis.log),)
            elif axis.ordered:
                rows[axis.name] = axis.rows[trial.suggest_int(axis.name, 0, len(axis.rows) - 1)]
            else:
                choice = trial.suggest_categorical(axis.name, range(len(axis.rows)))
                rows[axis.name] = axis.rows[choice]
        return self._space.settle(lambda axis: rows[axis.name])

    def _drawn(self) -> dict[str, Any]:
        """A random setting as Optuna's parameters."""
        drawn: dict[str, Any] = {}
        for axis in self._space.axes:
            share = self._rng.random()
            drawn[axis.name] = int(share * len(axis.rows)) if axis.rows else axis.between(share)
        return drawn
