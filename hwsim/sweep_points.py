"""Points and runs of a sweep: keys that say what decides a result, and running one.

A run is a configuration on one workload; a point is a row of the results: one run, or with weights
one on every workload of the mix. The key of a run is the hash of the resolved configuration, what
the workload is (of a file its content), phase, batch, seed and the content of the simulator's own
source, so that equal runs are computed once and a changed simulator computes anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.config import Accelerator, ArrayConfig, SparseConfig, StreamConfig, load_config, replace
from hwsim.errors import UserError
from hwsim.models.work import Work
from hwsim.sweep_measures import BASIC, Measures, flat_summary
from hwsim.sweep_spec import SweepSpec
from hwsim.sweep_spec_axes import Space
from hwsim.sweep_spec_parts import Value, Workload
from hwsim.workloads import load_network

if TYPE_CHECKING:
    from hwsim.models.spgemm import SparseNetwork
    from hwsim.workloads_sparse import Op

__all__ = ["Maker", "Point", "Run", "code_version", "counts_for_results", "evaluate"]

_ROOMS = ("hwsim", "hwsim.models", "hwsim.dataflows", "hwsim.presets")
_KINDS = (".py", ".yaml", ".json", ".npz", ".txt", ".wav")
"""Endings of the files that a wheel has, so that a checkout and a wheel of it agree."""
_SHOWS = ("area", "cli", "figures", "html", "reproduce", "sweep_", "synth", "terminal", "verify")
"""Beginnings of file names in `hwsim` that only show, generate or search; areas are measured when
the table of results is made, not in a run."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A configuration on one workload.

    Attributes:
        key: hash of everything that decides the result.
        workload: zoo name or file.
        config: fully resolved.
        phase, batch, seed: as for `hwsim simulate`.
    """

    key: str
    workload: str
    config: Accelerator
    phase: str
    batch: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of the results.

    Attributes:
        key: of its run, or a hash of those of its mix.
        workload: label of the workload, or of the mix.
        values: the swept fields.
        runs: what has to be run for it; empty when a rule or a constraint forbids it.
        weights, labels: of each run.
        design: measures that the configuration alone decides.
        status: `failed` or `infeasible` where nothing is run, else "".
        error: the rule or constraint that is broken, as a sentence.
    """

    key: str
    workload: str
    values: dict[str, Value]
    runs: tuple[Run, ...] = ()
    weights: tuple[float, ...] = (1.0,)
    labels: tuple[str, ...] = ()
    design: Mapping[str, Any]
    status: str = ""
    error: str = ""


class Maker:
    """Makes points from values of the parameters.

    Attributes:
        space: of the specification.
        measures: of the specification.

    Raises:
        UserError: a workload cannot be loaded.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.base = load_config(spec.accelerator)
        self.space = Space(spec, self.base)
        self.measures = Measures(spec, self.base)
        self._works = spec.runs_on
        self._mixed = spec.mixed
        self._version = code_version()
        self._identities = [_identity(work, self.base) for work in self._works]

    def points(self, values: dict[str, Value]) -> list[Point]:
        """The rows of one setting: one a workload, or one for the mix."""
        config, status, error = None, "", ""
        design: dict[str, Any] = {}
        try:
            config = replace(self.base, values)
            design = self.measures.design(config)
            error = self.measures.broken_before(design)
            status = "infeasible" if error else ""
        except UserError as problem:
            status, error = "failed", str(problem)
        what = values if config is None else config.model_dump(mode="json")
        keys = [
            _hash([what, identity, work.phase, work.batch, work.seed, self._version])
            for work, identity in zip(self._works, self._identities, strict=True)
        ]
        runs = [
            Run(
                key=key, workload=work.name, config=config, phase=work.phase or "",
                batch=work.batch or 1, seed=work.seed or 0,
            )
            for key, work in zip(keys, self._works, strict=True)
            if config is not None and not status
        ]  # fmt: skip
        labels = tuple(work.label or work.name for work in self._works)
        if self._mixed:
            weights = tuple(float(work.weight or 0) for work in self._works)
            name = " + ".join(f"{w:g} {label}" for w, label in zip(weights, labels, strict=True))
            return [
                Point(
                    key=_hash([keys, weights]), workload=name, values=values, runs=tuple(runs),
                    weights=weights, labels=labels, design=design, status=status, error=error,
                )
            ]  # fmt: skip
        return [
            Point(
                key=key, workload=label, values=values, runs=tuple(runs[i : i + 1]),
                labels=(label,), design=design, status=status, error=error,
            )
            for i, (key, label) in enumerate(zip(keys, labels, strict=True))
        ]  # fmt: skip


def evaluate(run: Run, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """A run's outcome: its measures, or the sentence that says why there are none.

    Args:
        wanted: measures beside `BASIC`; a counter that the result lacks is 0.
    """
    try:
        summary = flat_summary(_summary(run))
    except UserError as error:
        return {"status": "failed", "error": str(error)}
    except Exception as error:  # a defect in one point must not stop the others
        text = " ".join(str(error).split()) or "no message"
        return {"status": "failed", "error": f"{type(error).__name__}: {text}"}
    names = [*(name for name in BASIC if name != "pes"), *wanted]
    return {"status": "done", "error": ""} | {n: summary.get(n, _absent(n)) for n in names}


@lru_cache(maxsize=1)
def code_version() -> str:
    """Hash of the simulator's source and data: every file of the rooms that results come from, but
    for those that only show, generate or search."""
    seen = hashlib.sha256()
    for room in _ROOMS:
        for entry in sorted(resources.files(room).iterdir(), key=lambda entry: entry.name):
            if counts_for_results(room, entry.name) and entry.is_file():
                seen.update(f"{room}/{entry.name}\0".encode())
                seen.update(hashlib.sha256(entry.read_bytes()).digest())
    return seen.hexdigest()[:24]


def counts_for_results(room: str, name: str) -> bool:
    """Whether a file of a room can change what a run gives; when in doubt it can."""
    if name.startswith(".") or not name.endswith(_KINDS):
        return False
    if room != "hwsim" or name in ("sweep_points.py", "sweep_measures.py"):
        return True
    return not name.startswith(_SHOWS) and "_figures" not in name


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def _absent(name: str) -> int | None:
    """Results leave out counters that are zero."""
    from hwsim.models.counters import COUNTERS

    return 0 if name in COUNTERS else None


def _identity(work: Workload, base: Accelerator) -> str:
    """What a workload is, whatever its file is called; it is read once to see that it can be."""
    phase, batch, seed = work.phase, work.batch or 1, work.seed or 0
    if not isinstance(base, SparseConfig | StreamConfig):
        return load_network(work.name, batch=batch, seed=seed).source
    if phase != "inference" or batch != 1:
        raise UserError(
            f"accelerator {base.name} takes no phase and no batch: they are for networks of dense "
            "layers"
        )
    if isinstance(base, StreamConfig):
        return work.name  # its example; what it is belongs to the version of the code
    from hwsim.workloads_sparse import load_sparse

    seen = hashlib.sha256()
    for product in load_sparse(work.name, base.op, seed).products:
        for matrix in (product.a, product.b):
            for array in (matrix.indptr, matrix.indices, matrix.data):
                seen.update(np.ascontiguousarray(array).data)
    return f"{work.name} {seen.hexdigest()}"


def _summary(run: Run) -> dict[str, Any]:
    config = run.config
    if isinstance(config, SparseConfig):
        return _sparse_summary(run, config)
    if isinstance(config, StreamConfig):
        from hwsim.engine_stream import simulate_stream

        return simulate_stream(run.workload, config, seed=run.seed).summary
    return _layers_summary(run, config)


def _layers_summary(run: Run, config: ArrayConfig) -> dict[str, Any]:
    from hwsim.engine import run as run_inference
    from hwsim.result import Result
    from hwsim.training import run_training

    training = run.phase == "training"
    work, kept = _work(run.workload, run.phase, run.batch, run.seed)
    result = Result(
        workload=run.workload,
        config=config,
        phase=run.phase,
        batch=run.batch,
        seed=run.seed,
        runs=tuple((run_training if training else run_inference)(work, config)),
        kept_bytes=kept,
    )
    parts: dict[str, float] = {}
    for layer in result.runs:
        for name, value in layer.energy_parts_pj.items():
            parts[name] = parts.get(name, 0.0) + value
    return {"energy_parts_pj": parts} | result.summary


def _sparse_summary(run: Run, config: SparseConfig) -> dict[str, Any]:
    from hwsim.engine_sparse import run_products
    from hwsim.spgemm_result import SpgemmResult

    products = _sparse(run.workload, config.op, run.seed).products
    runs = tuple(run_products(products, config))
    return SpgemmResult(workload=run.workload, config=config, runs=runs, seed=run.seed).summary


@lru_cache(maxsize=64)
def _work(workload: str, phase: str, batch: int, seed: int) -> tuple[tuple[Work, ...], int]:
    """A network's work, and the bytes that training keeps."""
    from hwsim.models.lowering import lower
    from hwsim.models.lowering_training import kept_bits, lower_training

    network = load_network(workload, batch=batch, seed=seed)
    training = phase == "training"
    try:
        work = tuple((lower_training if training else lower)(network))
        return work, sum(kept_bits(network).values()) // 8 if training else 0
    except ValueError as error:
        raise UserError(str(error)) from None


@lru_cache(maxsize=4)  # operands of a network may be large
def _sparse(workload: str, op: Op | None, seed: int) -> SparseNetwork:
    from hwsim.workloads_sparse import load_sparse

    return load_sparse(workload, op, seed)
