"""The products that the reproduction of SMASH runs, each in a process of its own choosing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.config import PiumaConfig, load_config, replace
from hwsim.errors import UserError
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseNetwork, SparseProduct
from hwsim.reproduce_smash_parameters import PARAMETERS, STUDY_CHANGES, STUDY_INPUT, changes

__all__ = [
    "DATAFLOWS",
    "INNER_PAIRS",
    "KERNELS",
    "MECHANISMS",
    "STUDY_KERNELS",
    "Task",
    "first_tasks",
    "load",
    "matrix_files",
    "measure",
    "run_tasks",
    "study_task",
]

KERNELS = ("v1", "v2", "v3", "outer", "inner")
STUDY_KERNELS = ("v1", "v2", "v3")
"""Kernels that the sensitivity compares."""

DATAFLOWS = ("gamma", "outerspace", "two_pass_hash", "inner_product")
"""Presets whose traffic is counted on the headline's input."""

MECHANISMS: dict[str, dict[str, Any]] = {
    "v1": {"kernel": "v1"},
    "tokens": {"kernel": "v1", "work": "token"},
    "low-bit hash": {"kernel": "v1", "hash": "low"},
    "both = v2": {"kernel": "v2"},
    "v2 + dense arrays": {"kernel": "v2", "table": "offset"},
    "and DMA = v3": {"kernel": "v3"},
}
"""From V1 to V3, one mechanism at a time."""

INNER_PAIRS = 1 << 30
"""The inner product runs on inputs of at most so many candidate pairs m x n. Not given; chosen
because 2^28 pairs take the machine model some 5 s, and what it looks at grows with their number."""

_MEASURES = (
    "cycles", "seconds", "nnz_c", "macs_effective", "ipc", "utilization", "dram_read_bytes",
    "dram_write_bytes", "dram_bandwidth_share", "cache_hit_rate", "probes_per_insert", "energy_pj",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One product on one accelerator.

    Attributes:
        key: where its outcome goes.
        accelerator: preset.
        workload: of `hwsim.workloads_sparse`, `stencil:` or `radix:`.
        fields: changed in the preset.
    """

    key: tuple[Any, ...]
    accelerator: str
    workload: str
    fields: tuple[tuple[str, Any], ...] = ()


def first_tasks(headline: str, inputs: Sequence[str], config: PiumaConfig) -> list[Task]:
    """Every product but those of the search; the headline's, which take longest, come first.

    Keys: (run, input, kernel or dataflow), (mechanism, name), (base, kernel), and
    (point, unknown, end, kernel).
    """
    tasks = [Task(("run", headline, k), "piuma", headline, (("kernel", k),)) for k in KERNELS]
    for label, fields in MECHANISMS.items():
        if set(fields) != {"kernel"}:  # the three kernels are runs already
            tasks.append(Task(("mechanism", label), "piuma", headline, tuple(fields.items())))
    tasks += [Task(("run", headline, name), name, headline) for name in DATAFLOWS]
    for name in inputs:
        if name != headline:
            tasks += [Task(("run", name, k), "piuma", name, (("kernel", k),)) for k in KERNELS]
    for kernel in STUDY_KERNELS:
        tasks.append(study_task(("base", kernel), kernel, {}, STUDY_INPUT))
        for parameter in PARAMETERS:
            for end in ("low", "high"):
                fields, where = changes(parameter.name, getattr(parameter, end), config)
                tasks.append(
                    study_task(("point", parameter.name, end, kernel), kernel, fields, where)
                )
    return tasks


def study_task(key: tuple[Any, ...], kernel: str, fields: Mapping[str, Any], workload: str) -> Task:
    """A kernel on the study's machine with more fields changed."""
    every = {**STUDY_CHANGES, "kernel": kernel, **fields}
    return Task(key, "piuma", workload, tuple(every.items()))


def run_tasks(
    tasks: Sequence[Task], workers: int, tick: Callable[[Task], None] = lambda task: None
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The outcome of every task by its key, in the order of the tasks.

    Args:
        workers: processes; 0 runs in this one.
        tick: told each task when it is done.

    Raises:
        UserError: a matrix cannot be read, or a process died.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    if workers == 0:
        for task in tasks:
            found[task.key] = measure(task)
            tick(task)
        return found
    # spawn: no lock or thread of this process is inherited
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        waiting = {pool.submit(measure, task): task for task in tasks}
        for future in as_completed(waiting):
            found[waiting[future].key] = future.result()
            tick(waiting[future])
    except BrokenProcessPool:
        raise UserError(
            "a process of the study died, perhaps for lack of memory: its largest product takes "
            "about 2 GB"
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return {task.key: found[task.key] for task in tasks}


def measure(task: Task) -> dict[str, Any]:
    """The measures of a task, or `skipped` with the sentence that says why there are none.

    Raises:
        UserError: the matrix cannot be read.
    """
    from hwsim.engine_sparse import run_products
    from hwsim.spgemm_result import SpgemmResult

    product = load(task.workload).products[0]
    pairs = product.m * product.n
    if dict(task.fields).get("kernel") == "inner" and pairs > INNER_PAIRS:
        return {"skipped": f"{pairs} candidate pairs, more than {INNER_PAIRS}"}
    config = replace(load_config(task.accelerator), dict(task.fields))
    try:
        runs = run_products([product], config)  # type: ignore[arg-type]
    except UserError as error:
        return {"skipped": str(error)}
    summary = SpgemmResult(workload=task.workload, config=config, runs=tuple(runs)).summary
    threads, pad = summary["threads"], summary["scratchpad_occupancy"]
    return {
        "accelerator": task.accelerator,
        "m": product.m,
        "nnz_a": product.a.nnz,
        **{name: summary[name] for name in _MEASURES},
        "active_share": threads["active_share"] if threads else None,
        "occupancy_peak": pad["peak"] if pad else None,
        "parts": summary["parts"],
        "bytes_by_cause": summary["bytes_by_cause"],
    }


@lru_cache(maxsize=2)
def load(workload: str) -> SparseNetwork:
    """A workload of `hwsim.workloads_sparse`, or one of two more, C = A A:

    `stencil:side=S`: nine-point stencil on an S x S grid, S^2 rows, as finite elements on squares
    have; `radix:neurons=N`: the first layer of a GraphChallenge RadiX-Net, 32 entries a row.

    Raises:
        UserError: it cannot be read.
    """
    from hwsim.models.sparse_nets import challenge_layers
    from hwsim.workloads_sparse import load_sparse

    kind, _, size = workload.rpartition("=")
    if kind == "stencil:side":
        a = _stencil(int(size))
    elif kind == "radix:neurons":
        a = next(challenge_layers(int(size), 1))
    else:
        return load_sparse(workload)
    return SparseNetwork(name=workload, products=(SparseProduct(layer="aa", a=a, b=a),))


def matrix_files(folder: str | Path | None) -> list[str]:
    """The .mtx and .mtx.gz files of a folder, sorted; none without a folder.

    Raises:
        UserError: there is no such folder, or no such file in it.
    """
    if folder is None:
        return []
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"--data must be a folder of matrices, but got {path}")
    files = sorted(str(p) for p in path.iterdir() if p.name.endswith((".mtx", ".mtx.gz")))
    if not files:
        raise UserError(f"there is no .mtx or .mtx.gz file in {path}")
    return files


def _stencil(side: int) -> Csr:
    """All pairs of grid points at most one step apart in both directions, values 1."""
    place = np.arange(side * side)
    x, y = place % side, place // side
    rows, cols = [], []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            inside = (x + dx >= 0) & (x + dx < side) & (y + dy >= 0) & (y + dy < side)
            rows.append(place[inside])
            cols.append(place[inside] + dy * side + dx)
    i, j = np.concatenate(rows), np.concatenate(cols)
    return Csr.from_coo((side * side, side * side), i, j, np.ones(len(i)))
