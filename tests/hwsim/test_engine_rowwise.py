"""Whole products on the row-wise engine: values, counts, traffic by hand, DRAM stalls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim
from hwsim.config import load_config
from hwsim.dataflows import rowwise_kernel
from hwsim.dataflows.rowwise_sim import RowwiseGaps, simulate
from hwsim.engine_rowwise import run_product
from hwsim.errors import UserError
from hwsim.models.rowwise import hash_place, row_bound, spill_operands, windows
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseProduct, multiplies, product

TINY = ["lanes=2", "banks=2", "entries=4", "outputs=2", "probe_limit=2", "format=int32"]


def random_product(seed, m, k, n, density):
    rng = np.random.default_rng(seed)

    def operand(rows, cols):
        filled = rng.random((rows, cols)) < density
        at = np.nonzero(filled)
        values = rng.integers(-(2**31), 2**31, at[0].size).astype(np.int32)
        return Csr.from_coo((rows, cols), *at, values)

    return SparseProduct(layer="x", a=operand(m, k), b=operand(k, n))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.1, 0.4, 1.0]),
)
def test_any_product_is_whole_whatever_spills(seed, m, k, n, density):
    given = random_product(seed, m, k, n, density)
    run = run_product(given, load_config("spgemm", TINY))
    golden = product(given.a, given.b)
    assert run.z is not None
    assert (run.z.indptr == golden.indptr).all()
    assert (run.z.indices == golden.indices).all()
    assert (run.z.data == golden.data).all()
    total = multiplies(given.a, given.b)
    assert run.macs_effective == total
    assert run.counters["spgemm.hash.insert"] == run.counters["spgemm.nnz_c"] == golden.nnz
    assert run.counters["spgemm.hash.accumulate"] == run.counters["spgemm.add"]
    assert run.counters["spgemm.add"] == total - golden.nnz
    assert run.counters["spgemm.hash.probe"] >= total
    assert sum(run.parts.values()) == run.cycles
    assert run.cycles >= total / 2
    assert run.dram_read_bytes == run.counters["dram.read"]


@pytest.mark.parametrize("shape", [(0, 0, 0), (0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1)], ids=str)
def test_products_without_entries(shape):
    m, k, n = shape
    run = run_product(random_product(1, m, k, n, 0.0), load_config("spgemm", TINY))
    assert run.z is not None
    assert run.z.shape == (m, n)
    assert (run.z.nnz, run.macs_effective) == (0, 0)
    assert (run.cycles > 0) == (m > 0)


def test_traffic_by_hand():
    """A 2 x 3, B 3 x 4: bursts of 16 bytes are two elements, four pointers, 4/3 entries of C."""
    a = Csr.from_coo((2, 3), [0, 0, 1], [0, 2, 2], np.array([1, 2, 3], np.int32))
    b = Csr.from_coo((3, 4), [0, 2, 2, 2], [1, 0, 1, 3], np.array([5, 6, 7, 8], np.int32))
    config = load_config("spgemm", ["format=int32", "dram.burst_bytes=16", "outputs=1"])
    run = run_product(SparseProduct(layer="x", a=a, b=b), config)
    # pointers of A 0..2 are one burst; row 0 has elements 0..1, one burst, row 1 element 2, one
    assert run.bytes_by_cause["a.read"] == 3 * 16
    # pointers k, k + 1 for k = 0, 2, 2: one burst each
    assert run.bytes_by_cause["b_ptr.read"] == 3 * 16
    # row 0 is element 0; row 2 elements 1..3, read twice, two bursts each
    assert run.bytes_by_cause["b.read"] == (1 + 2 + 2) * 16
    # row 0 of C has columns 0, 1, 3, row 1 too: 72 bytes
    assert run.nnz_c == 6
    assert run.bytes_by_cause["z.write"] == 5 * 16
    assert run.bytes_by_cause["spill.write"] == run.bytes_by_cause["spill.read"] == 0
    energy = config.energy
    assert run.energy_parts_pj["multiply"] == 7 * energy.multiply_pj
    assert run.energy_parts_pj["add"] == 1 * energy.add_pj
    assert run.energy_parts_pj["dense"] == 2 * 7 * energy.dense_pj
    assert run.energy_parts_pj["dram"] == (11 + 5) * 16 * energy.dram_pj


def test_a_long_row_is_read_in_pieces_that_touch_bursts_twice():
    b = Csr.from_coo((2, 9), [0] + [1] * 8, [0, *range(8)], np.ones(9, np.int32))
    a = Csr.from_coo((1, 2), [0], [1], np.ones(1, np.int32))
    base = ["format=int32", "dram.burst_bytes=16"]
    for length, bursts in ((8, 5), (4, 6), (3, 6), (1, 8)):
        # elements 1..8 begin in the middle of a burst; a piece that ends there shares it
        config = load_config("spgemm", [*base, f"token_length={length}"])
        run = run_product(SparseProduct(layer="x", a=a, b=b), config)
        assert run.bytes_by_cause["b.read"] == bursts * 16


def test_slow_dram_stalls_and_fast_does_not():
    given = random_product(1, 20, 20, 30, 0.3)
    fast, slow, free = (
        run_product(given, load_config("spgemm", ["format=int32", f"dram.bytes_per_cycle={rate}"]))
        for rate in (384.0, 1.0, "null")
    )
    assert fast.parts["dram"] == free.parts["dram"] == 0
    assert slow.parts["dram"] > 0
    # one byte a cycle: a lone window lasts as long as its bytes, then the last entries leave
    drain = slow.cycles - (slow.dram_read_bytes + 12 * slow.nnz_c)
    assert slow.nnz_c / 4 <= drain < slow.nnz_c / 3
    assert {k: v for k, v in slow.parts.items() if k != "dram"} == {
        k: v for k, v in fast.parts.items() if k != "dram"
    }


def test_latency_of_dram_is_seen_by_the_core():
    given = random_product(2, 10, 10, 10, 0.3)
    near, far = (
        run_product(given, load_config("spgemm", ["format=int32", f"dram.latency_cycles={n}"]))
        for n in (0, 300)
    )
    # four accesses depend on one another: row pointers, non-zeros, pointers of B, rows of B
    assert far.cycles - near.cycles >= 4 * 300 - 256  # the sweep after reset hides some


def test_values_that_the_format_does_not_hold_are_refused():
    a = Csr.from_coo((1, 1), [0], [0], np.array([0.5]))
    with pytest.raises(UserError, match=r"x on spgemm: .*0\.5"):
        run_product(SparseProduct(layer="x", a=a, b=a), load_config("spgemm", ["format=int32"]))
    wide = Csr.from_coo((1, 9), [0], [8], np.array([1.0]))
    with pytest.raises(UserError, match=r"columns of A must be at most 2\*\*3, but got 9"):
        product_of = SparseProduct(layer="x", a=wide, b=wide.transpose())
        run_product(product_of, load_config("spgemm", ["column_bits=3"]))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("banks=3", "banks must be a power of two, but got 3"),
        ("entries=48", "entries must be a power of two, but got 48"),
        ("outputs=64", "outputs must not exceed banks, but got 64 and 32"),
        ("probe_limit=257", "probe_limit must not exceed entries, but got 257 and 256"),
        ("format=fp16", "format: input should be 'int32' or 'fp32', but got 'fp16'"),
    ],
)
def test_sizes_that_break_a_rule(override, sentence):
    with pytest.raises(UserError, match=sentence):
        load_config("spgemm", [override])


def test_a_graph_from_the_public_interface():
    result = hwsim.simulate("rmat:scale=7,edges=700,seed=2", "spgemm")
    summary = result.summary
    assert summary["counters"]["spgemm.multiply"] == summary["macs_effective"]
    assert summary["dataflow"] == "row_wise_hash"
    assert 0 < summary["utilization"] < 1


def test_spilled_products_become_rows_again():
    rows = np.array([4, 4, 1, 4, 1, 1])
    columns = np.array([7, 7, 0, 2, 3, 0])
    values = np.array([1, 2, 3, 4, 5, 6], np.int32)
    pick, runs, named = spill_operands(8, rows, columns, values)
    assert named.tolist() == [1, 4]
    assert pick.indptr.tolist() == [0, 2, 4]
    assert pick.indices.tolist() == [1, 3, 0, 2]
    assert runs.indptr.tolist() == [0, 2, 3, 4, 6]
    dense = np.zeros((5, 8), np.int64)
    np.add.at(dense, (rows, columns), values)
    again = np.zeros((5, 8), np.int64)
    for i, row in enumerate(named):
        for run in pick.indices[pick.indptr[i] : pick.indptr[i + 1]]:
            part = slice(runs.indptr[run], runs.indptr[run + 1])
            np.add.at(again[row], runs.indices[part], runs.data[part])
    assert (dense == again).all()


def test_places_are_one_to_one_and_strides_spread_over_the_banks():
    shape = load_config("spgemm", ["banks=8", "entries=16", "outputs=1"]).shape
    columns = np.arange(128)
    for row in (0, 3, 1000):
        bank, slot = hash_place(shape, np.full(128, row), columns)
        assert len(set(zip(bank.tolist(), slot.tolist(), strict=True))) == 128
        assert (slot < 16).all()
    for stride in (1, 2, 4, 8, 16):
        bank, _ = hash_place(shape, np.zeros(8, int), stride * np.arange(8))
        assert len(set(bank.tolist())) >= 4  # 16: slots are 4 bits, the fold of their upper bit
    one, _ = hash_place(load_config("spgemm", [*TINY, "banks=1", "outputs=1"]).shape, 5, columns)
    assert (one == 0).all()


def test_the_kernel_does_the_same_without_the_compiler(monkeypatch):
    given = random_product(3, 6, 5, 9, 0.4)
    a, b = (x.astype(np.float64).astype(np.float32) for x in (given.a, given.b))
    config = load_config("spgemm", [*TINY, "format=fp32", "epoch_bits=1"])
    starts = windows(row_bound(a.indptr, a.indices, b.indptr, 9), 8, 4)
    gaps = RowwiseGaps(z=[0, 3], b_rsp=[1, 0, 2], spill=[5])
    compiled = simulate(config.shape, a, b, starts, gaps=gaps)
    kernel = rowwise_kernel.step_windows
    monkeypatch.setattr(
        "hwsim.dataflows.rowwise_sim.step_windows", getattr(kernel, "py_func", kernel)
    )
    plain = simulate(config.shape, a, b, starts, gaps=gaps)
    assert compiled.spilled > 0
    for name, value in vars(compiled).items():
        assert np.array_equal(value, getattr(plain, name)), name
