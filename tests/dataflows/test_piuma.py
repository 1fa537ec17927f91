"""The PIUMA model: its product against the golden one, its accounts, its bounds, hand counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.config import load_config
from hwsim.dataflows.piuma import PHASES, WAITS, cut_windows, mesh, run_kernel
from hwsim.dataflows.piuma_machine import SPANS
from hwsim.dataflows.spgemm_counts import count
from hwsim.dataflows.spgemm_inner import inner_counts
from hwsim.engine_piuma import die_of
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import multiplies, product

HASHES = {
    "v1": {},
    "v2": {},
    "v3": {},
    "v3-scan": {"write_dma": False},
    "v3-high": {"hash_high": True},
    "v2-static": {"work_static": True},
}


def machine(kernel="v3", **changes):
    config = load_config("piuma", [f"kernel={kernel.split('-')[0]}"])
    small = {"table_slots": 1 << 12, "cache_bytes": 12 * 64 * 16}
    changes = small | HASHES.get(kernel, {}) | changes
    return dataclasses.replace(die_of(config), **changes), config.costs.model_dump()


def execute(a, b, kernel="v3", **changes):
    die, costs = machine(kernel, **changes)
    name = kernel if kernel in ("inner", "outer") else "hash"
    return run_kernel(a, b, name, die, costs), die


def random_csr(m, n, density, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    dense = (rng.random((m, n)) < density) * rng.integers(-9, 10, (m, n))
    rows, cols = np.nonzero(rng.random((m, n)) < density)
    del dense
    values = rng.integers(-9, 10, len(rows)) if dtype == np.int32 else rng.normal(size=len(rows))
    return Csr.from_coo((m, n), rows, cols, values.astype(dtype))


def skewed(n, seed):
    """Few heavy rows and columns, many light ones."""
    rng = np.random.default_rng(seed)
    rows = (n * rng.random(6 * n) ** 3).astype(int)
    cols = (n * rng.random(6 * n) ** 3).astype(int)
    return Csr.from_coo((n, n), rows, cols, rng.normal(size=6 * n))


def assert_product(run, a, b):
    """Structure exactly; values exactly for integers, else within the rounding of their sums: a
    sum of s products in any order is within (s - 1) u sum |products| of the exact one, twice."""
    golden = product(a, b)
    np.testing.assert_array_equal(run.z.indptr, golden.indptr)
    np.testing.assert_array_equal(run.z.indices, golden.indices)
    assert run.z.data.dtype == golden.data.dtype
    if golden.data.dtype.kind == "i":
        np.testing.assert_array_equal(run.z.data, golden.data)
        return
    ones = [Csr(x.shape, x.indptr, x.indices, np.ones_like(x.data)) for x in (a, b)]
    sizes = [Csr(x.shape, x.indptr, x.indices, np.abs(x.data)) for x in (a, b)]
    terms, size = product(*ones).data, product(*sizes).data
    bound = 2 * terms * np.finfo(golden.data.dtype).eps * size
    assert (np.abs(run.z.data - golden.data) <= bound).all()


def assert_accounts(run, die, a, b):
    total = run.thread_issue + run.thread_wait.sum(axis=1)
    assert (total == run.cycles).all()
    assert (run.thread_wait >= 0).all()
    assert run.counts["multiply"] == multiplies(a, b)
    assert run.thread_issue.sum() == run.counts["instruction"]
    pipes = die.cores * (die.mtps + die.stps)
    assert run.cycles * pipes >= run.counts["instruction"]
    moved = sum(run.bytes_by_cause.values())
    assert run.cycles * die.dram_bytes_per_cycle * (1 + 1e-4) >= moved
    columns = run.timeline.sum(axis=0)
    assert columns[0] == run.counts["instruction"]
    assert columns[1] + columns[2] == moved
    lengths = run.spans["end"] - run.spans["begin"]
    assert len(run.spans) <= SPANS
    assert (lengths >= 0).all() and (run.spans["end"] <= run.cycles).all()
    assert (run.spans["phase"] < len(PHASES)).all()


@pytest.mark.parametrize("kernel", [*HASHES, "outer", "inner"])
@pytest.mark.parametrize(
    "dtype",
    [
        np.float64,
        # half a minute of compiling each
        pytest.param(np.float32, marks=pytest.mark.slow),
        pytest.param(np.int32, marks=pytest.mark.slow),
    ],
)
def test_product_and_accounts(kernel, dtype):
    a, b = random_csr(60, 50, 0.08, 1, dtype), random_csr(50, 70, 0.08, 2, dtype)
    run, die = execute(a, b, kernel)
    assert_product(run, a, b)
    assert_accounts(run, die, a, b)


@pytest.mark.parametrize("kernel", [*HASHES, "outer", "inner"])
def test_skew(kernel):
    a = skewed(300, 3)
    run, die = execute(a, a, kernel, merge_products=64, inner_columns=64, max_rows=40)
    assert_product(run, a, a)
    assert_accounts(run, die, a, a)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 12)] * 3),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 99),
    kernel=st.sampled_from([*HASHES, "outer", "inner"]),
)
def test_small_shapes(shape, density, seed, kernel):
    m, k, n = shape
    a, b = random_csr(m, k, density, seed), random_csr(k, n, density, seed + 1)
    run, die = execute(a, b, kernel)
    assert_product(run, a, b)
    assert_accounts(run, die, a, b)


@pytest.mark.parametrize("kernel", [*HASHES])
def test_counts_of_hashing(kernel):
    a = skewed(200, 4)
    run, _ = execute(a, a, kernel)
    work = count(a, a)
    assert run.counts["insert"] == work.nnz_c == run.z.nnz
    assert run.counts["accumulate"] == work.adds
    assert run.counts["probe"] >= work.multiplies


@pytest.mark.parametrize("kernel", [*HASHES])
def test_row_that_does_not_fit_has_its_table_in_dram(kernel):
    rng = np.random.default_rng(5)
    rows = np.r_[np.zeros(40, int), rng.integers(1, 60, 60)]
    cols = np.r_[np.arange(40), rng.integers(0, 60, 60)]
    a = Csr.from_coo((60, 60), rows, cols, rng.normal(size=100))
    b = random_csr(60, 100, 0.3, 6)
    run, die = execute(a, b, kernel, table_slots=64)
    assert_product(run, a, b)
    assert_accounts(run, die, a, b)
    assert run.counts["overflow_window"] >= 1
    assert run.bytes_by_cause["table.read"] > 0 and run.bytes_by_cause["table.write"] > 0


@pytest.mark.parametrize("kernel", [*HASHES])
def test_table_exactly_full(kernel):
    """Load 1: every slot of every window may be taken, and probing still ends."""
    a = random_csr(16, 16, 1.0, 7)
    run, _ = execute(a, a, kernel, table_slots=16, table_load=1.0)
    assert_product(run, a, a)
    assert run.counts["overflow_window"] == 0


def test_windows_hold_their_bound():
    bounds = np.array([5, 0, 7, 90, 3, 3, 40, 0, 0, 1])
    die, _ = machine(table_slots=64, table_load=0.5, cores=2, per_core=1, max_rows=3)
    windows = cut_windows(bounds, die)
    sizes = np.diff(windows.places)
    assert windows.begins[0] == 0 and windows.begins[-1] == len(bounds)
    assert (np.diff(windows.begins) <= 3).all()
    for first, last, size, far in zip(
        windows.begins, windows.begins[1:], sizes, windows.far, strict=False
    ):
        assert size == bounds[first:last].sum()
        assert size <= 32 or last - first == 1
        assert (far > 0) == (size > 32)
        assert far == 0 or far * 0.5 >= size


def test_one_key_serialises():
    """Every product has the same key: the merges of one word cannot overlap."""
    n = 400
    a = Csr.from_coo((1, n), np.zeros(n, int), np.arange(n), np.ones(n))
    b = Csr.from_coo((n, 1), np.arange(n), np.zeros(n, int), np.ones(n))
    for kernel, adds in (("v2", n), ("v3", n - 1)):
        run, die = execute(a, b, kernel, float_add_cycles=40, atomic_cycles=20)
        assert run.cycles >= adds * die.float_add_cycles
        assert run.z.data.tolist() == [n]


@pytest.mark.parametrize("kernel", ["v1", "v2", "v3"])
def test_one_bank_serves_one_atomic_at_a_time(kernel):
    """A lone core with one bank: the clocks that its atomics hold the bank bound the run."""
    a = skewed(150, 16)
    run, die = execute(a, a, kernel, cores=1, banks=1, atomic_cycles=16, float_add_cycles=16)
    assert run.counts["atomic"] > run.counts["multiply"]
    assert run.counts["atomic"] * die.atomic_cycles <= run.cycles
    free, _ = execute(a, a, kernel, cores=1, banks=32, atomic_cycles=16, float_add_cycles=16)
    assert run.cycles > 1.5 * free.cycles


@pytest.mark.parametrize("kernel", [*HASHES, "outer", "inner"])
def test_rectangular_times_its_transpose(kernel):
    """A A^T with empty rows and columns."""
    rng = np.random.default_rng(17)
    a = Csr.from_coo(
        (30, 80), 3 * rng.integers(0, 10, 90), 2 * rng.integers(0, 40, 90), rng.normal(size=90)
    )
    run, die = execute(a, a.transpose(), kernel)
    assert run.z.shape == (30, 30)
    assert_product(run, a, a.transpose())
    assert_accounts(run, die, a, a.transpose())


@pytest.mark.parametrize("kernel", ["v1", "v2", "v3", "outer", "inner"])
def test_more_of_a_resource_does_not_hurt(kernel):
    """Double bandwidth, shorter latency; 3 % is left for another order of claims."""
    a = skewed(300, 8)
    base, die = execute(a, a, kernel)
    for changes in (
        {"dram_bytes_per_cycle": 2 * die.dram_bytes_per_cycle},
        {"dram_bytes_per_cycle": None},
        {"dram_latency": 1},
    ):
        assert execute(a, a, kernel, **changes)[0].cycles <= 1.03 * base.cycles
    starved, _ = execute(a, a, kernel, dram_bytes_per_cycle=0.5)
    assert starved.cycles > 2 * base.cycles


def test_instructions_by_hand():
    """V1, one thread, A = [3]: every instruction of the program, step by step."""
    a = Csr.from_coo((1, 1), [0], [0], [3.0])
    run, die = execute(a, a, "v1", cores=1, mtps=1, threads=1, stps=1, channels=1)
    c = machine("v1")[1]
    thread = (
        (c["token"] + 1)  # static distribution takes the same steps without an atomic
        + (c["bound_row"] + 1 + 1)  # two pointers
        + (c["bound"] + 1 + 2)  # column, two pointers
        + 1  # the bound is stored
        + 1  # barrier
        + (c["dma"] + 1)  # the table is cleared
        + (c["window"] + 1 + 1 + 1)  # claim, descriptor, release
        + (c["row"] + 1 + 1 + 2)  # two pointers, the row's slice
        + (c["entry"] + 1 + 1 + 2)
        + (c["element"] + 1 + 1)
        + (c["multiply"] + c["hash"] + 1)
        + (c["probe"] + c["accumulate"] + 1)
        + (c["row"] + 1)  # no further row: barrier
        + 8 * (c["scan"] + 1)  # the smallest table
        + (c["emit"] + 1 + 1 + 2 + 2)  # place, value, two DRAM stores, two clears
        + 1  # barrier
        + (c["window"] + 1)  # no further window
    )
    single = (c["cut"] + 1) + 1
    assert run.thread_issue.tolist() == [thread, single]
    assert run.z.data.tolist() == [9.0]
    assert run.counts["probe"] == 1 and run.counts["atomic"] == 3
    assert die.threads_per_core == 2


def test_inner_product_counts():
    a, b = random_csr(40, 50, 0.1, 9), random_csr(50, 90, 0.1, 10)
    run, _ = execute(a, b, "inner", inner_columns=32)
    expected = inner_counts(a, b, multiplies(a, b))
    assert run.counts["compare"] == expected.compares
    assert run.counts["pair"] == np.count_nonzero(a.row_lengths) * len(np.unique(b.indices))


def test_outer_product_traffic():
    """Every partial product is written and read: 12 bytes each, whole bursts; C once."""
    a = skewed(200, 11)
    run, _ = execute(a, a, "outer", merge_products=64)
    partials = multiplies(a, a)
    assert run.counts["partial"] == partials
    assert run.bytes_by_cause["t.write"] >= 12 * partials
    assert run.bytes_by_cause["t.read"] >= 12 * partials
    assert run.bytes_by_cause["z.write"] >= 12 * run.z.nnz


def test_stores_of_the_result():
    """16 bytes an entry, by threads or by the engine."""
    a = skewed(150, 12)
    for kernel in ("v1", "v2", "v3", "v3-scan"):
        run, _ = execute(a, a, kernel)
        assert run.bytes_by_cause["z.write"] == 16 * run.z.nnz


def test_static_work_leaves_threads_idle_on_a_skewed_row():
    n = 512
    a = Csr.from_coo(
        (64, n), np.r_[np.zeros(n, int), np.arange(1, 64)], np.r_[np.arange(n), np.arange(1, 64)],
        np.ones(n + 63),
    )  # fmt: skip
    b = random_csr(n, 40, 0.2, 13)
    static, _ = execute(a, b, "v2-static")
    token, _ = execute(a, b, "v2")
    assert static.cycles > 2 * token.cycles
    away = WAITS.index("barrier")
    assert static.thread_wait[:, away].sum() > token.thread_wait[:, away].sum()


def test_mesh_routes():
    die, _ = machine()
    routes, places, links, longest = mesh(die)
    assert (links, longest) == (64, 6)
    assert places[0].tolist() == [0, 2, 5, 7, 8, 10, 13, 15]
    assert places[1].tolist() == [1, 3, 4, 6, 9, 11, 12, 14]
    for source in range(16):
        for target in range(16):
            hops = abs(source % 4 - target % 4) + abs(source // 4 - target // 4)
            assert routes[16 * source + target, 0] == hops
    assert routes[16 * 0 + 5, 1:3].tolist() == [4 * 0 + 0, 4 * 1 + 2]  # east, then south


def test_same_run_twice():
    a = skewed(150, 14)
    first, again = execute(a, a)[0], execute(a, a)[0]
    assert first.cycles == again.cycles
    np.testing.assert_array_equal(first.thread_wait, again.thread_wait)
    np.testing.assert_array_equal(first.z.data, again.z.data)


def test_refusals():
    a = random_csr(4, 5, 0.5, 15)
    die, costs = machine()
    with pytest.raises(ValueError, match="the kernel must be one of hash, inner, outer, but got"):
        run_kernel(a, a, "v9", die, costs)
    with pytest.raises(ValueError, match="columns of A must equal rows of B"):
        run_kernel(a, a, "hash", die, costs)
    del costs["probe"]
    with pytest.raises(ValueError, match="'probe' is missing"):
        run_kernel(a, random_csr(5, 4, 0.5, 1), "hash", die, costs)
