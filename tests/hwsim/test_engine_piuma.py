"""Sparse products on the PIUMA engine: the record's sums, counters, energy, refusals, the CLI."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sparse_cases import random_csr

from hwsim.config import load_config
from hwsim.dataflows.piuma import WAITS
from hwsim.dataflows.spgemm_counts import count
from hwsim.engine_piuma import run_product
from hwsim.errors import UserError
from hwsim.models.counters import counter
from hwsim.models.rmat import RmatSpec, rmat
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseProduct, product

KERNELS = ("v1", "v2", "v3", "inner", "outer")
SMALL = ["window.table_slots=4096"]
ENERGIES = {  # powers of ten, so that every part shows in its own digits
    "instruction_pj": 1.0,
    "scratchpad_pj": 1e1,
    "atomic_pj": 1e2,
    "cache_pj": 1e3,
    "dram_pj": 1e4,
    "hop_pj": 1e5,
    "static_w": 0.5,
}


@pytest.fixture(scope="module")
def matrix():
    return random_csr(np.random.default_rng(2), 90, 90, 0.06, skew=True)


@pytest.fixture(scope="module")
def run_of(matrix):
    """A function (kernel) -> (run, config), each kernel executed once."""
    runs = {}

    def get(kernel):
        if kernel not in runs:
            energy = [f"energy.{name}={value}" for name, value in ENERGIES.items()]
            config = load_config("piuma", [f"kernel={kernel}", *SMALL, *energy])
            runs[kernel] = run_product(SparseProduct(layer="x", a=matrix, b=matrix), config), config
        return runs[kernel]

    return get


@pytest.mark.parametrize("kernel", KERNELS)
def test_record_adds_up(run_of, matrix, kernel):
    run, config = run_of(kernel)
    work = count(matrix, matrix)
    assert (run.dataflow, run.op, run.layer) == (kernel, "spgemm", "x")
    assert (run.m, run.n, run.k, run.nnz_a, run.nnz_b) == (90, 90, 90, matrix.nnz, matrix.nnz)
    assert run.macs_dense == 90**3
    assert run.macs_effective == run.counters["spgemm.multiply"] == work.multiplies
    assert run.counters["spgemm.add"] == work.adds
    assert run.counters["spgemm.nnz_c"] == run.nnz_c == work.nnz_c == run.z.nnz
    assert run.parts.keys() == {"issue", *WAITS}
    assert sum(run.parts.values()) == run.cycles
    assert run.counters["dram.read"] == run.dram_read_bytes
    assert run.counters["dram.write"] == run.dram_write_bytes
    assert run.dram_read_bytes + run.dram_write_bytes == sum(run.bytes_by_cause.values())
    assert run.machine.thread_issue.shape == (config.threads,)
    golden = product(matrix, matrix)
    np.testing.assert_array_equal(run.z.indices, golden.indices)
    np.testing.assert_allclose(run.z.data, golden.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_parts_follow_the_threads(run_of, kernel):
    """A part is its share of all threads' cycles, off by less than a clock."""
    run, config = run_of(kernel)
    weights = [run.machine.thread_issue.sum(), *run.machine.thread_wait.sum(axis=0)]
    assert sum(weights) == run.cycles * config.threads
    for part, weight in zip(run.parts.values(), weights, strict=True):
        assert abs(part - weight / config.threads) < 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_energy_is_counters_times_energies(run_of, kernel):
    run, config = run_of(kernel)
    counters = run.counters
    assert run.energy_parts_pj == {
        "instructions": 1.0 * counters["spgemm.piuma.instruction"],
        "scratchpad": 1e1 * counters["spgemm.piuma.scratchpad"],
        "atomics": 1e2 * counters["spgemm.piuma.atomic"],
        "cache": 1e3 * (counters["spgemm.cache.hit"] + counters["spgemm.cache.miss"]),
        "dram": 1e4 * (counters["dram.read"] + counters["dram.write"]),
        "mesh": 1e5 * counters["spgemm.piuma.hop"],
        "static": run.cycles / config.clock_hz * 0.5 * 1e12,
    }
    assert run.energy_pj == sum(run.energy_parts_pj.values())


@pytest.mark.parametrize("kernel", KERNELS)
def test_counters_are_registered_and_the_kernels_own(run_of, kernel):
    run, _ = run_of(kernel)
    for name in run.counters:
        assert counter(name).name == name
    hashes = {"spgemm.hash.probe", "spgemm.hash.insert", "spgemm.hash.accumulate"}
    assert (hashes <= run.counters.keys()) == (kernel in ("v1", "v2", "v3"))
    if kernel in ("v1", "v2", "v3"):
        merged = run.counters["spgemm.hash.insert"] + run.counters["spgemm.hash.accumulate"]
        assert merged == run.counters["spgemm.multiply"]
        assert run.counters["spgemm.hash.probe"] >= merged


def test_versions_are_ordered_on_a_skewed_graph():
    """V1 slower than V2 slower than V3, with more windows than cores. (With windows of a few rows,
    where one thread's long row of B is what a window waits for, V2 is the faster one.)"""
    graph = rmat(RmatSpec(scale=10, edges=8192, seed=1)).matrix
    cycles = []
    for kernel in ("v1", "v2", "v3"):
        config = load_config("piuma", [f"kernel={kernel}"])
        run = run_product(SparseProduct(layer="x", a=graph, b=graph), config)
        assert run.counters["spgemm.piuma.window"] > 4 * config.cores
        cycles.append(run.cycles)
    assert cycles[0] > 2 * cycles[1] > 2 * cycles[2]


def test_nothing_to_multiply():
    empty = Csr.from_coo((5, 5), [], [], np.zeros(0))
    for kernel in KERNELS:
        config = load_config("piuma", [f"kernel={kernel}", *SMALL])
        run = run_product(SparseProduct(layer="x", a=empty, b=empty), config)
        assert run.nnz_c == run.counters["spgemm.multiply"] == run.counters["spgemm.add"] == 0
        assert sum(run.parts.values()) == run.cycles > 0


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["kernel=v9"], "kernel"),
        (["scratchpad.banks=24"], "scratchpad.banks must be a power of two, but got 24"),
        (["window.table_slots=1000"], "window.table_slots must be a power of two, but got 1000"),
        (["cache.line_bytes=48"], "cache.line_bytes must be a power of two, but got 48"),
        (["cache.ways=7"], "cache.size_bytes must be a multiple of ways x line_bytes"),
        (["dram.interleave_bytes=32"], "dram.interleave_bytes >= cache.line_bytes must hold"),
        (["mesh.columns=3"], "mesh.columns must be even, but got 3"),
        (["cores=9"], "a mesh of 4 x 4 has room for 8 cores, but got 9"),
        (["scratchpad.float_add_cycles=5"], "float_add_cycles <= 2 x atomic_cycles must hold"),
        (["kernel=v2", "write_back=dma"], "write_back=dma needs table=offset"),
        (["window.table_slots=8", "window.table_load=0.1"], "table_slots x table_load must be 1"),
        (["window.table_slots=262144"], "scratchpad.size_bytes is 4194304"),
        (["window.table_load=1.5"], "table_load"),
        (["costs.probe=-1"], "probe"),
        (["clock_hz=0"], "clock_hz"),
    ],
)
def test_refusals_in_one_sentence(overrides, text):
    with pytest.raises(UserError) as refusal:
        load_config("piuma", overrides)
    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_operands_that_do_not_fit(matrix):
    other = Csr.from_coo((5, 5), [0], [0], [1.0])
    with pytest.raises(ValueError, match=r"columns of A must equal rows of B"):
        run_product(SparseProduct(layer="x", a=matrix, b=other), load_config("piuma", SMALL))


def test_command_line_keys():
    out = subprocess.run(
        [
            sys.executable, "-c", "from hwsim.cli import main; main()", "simulate",
            "rmat:scale=7,edges=600,seed=1", "-a", "piuma", "-s", "kernel=v3",
            "-s", "window.table_slots=4096", "--json",
        ],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    summary = json.loads(out)
    graph = rmat(RmatSpec(scale=7, edges=600, seed=1)).matrix
    work = count(graph, graph)
    assert summary["counters"]["spgemm.multiply"] == work.multiplies
    assert summary["counters"]["spgemm.add"] == work.adds
    assert summary["counters"]["spgemm.nnz_c"] == work.nnz_c
    assert summary["cycles"] == sum(summary["parts"].values())
    for key in (
        "ipc", "dram_bandwidth_share", "cache_hit_rate", "probes_per_insert", "threads",
        "bytes_by_cause", "energy_parts_pj", "utilization",
    ):  # fmt: skip
        assert summary[key] is not None, key
