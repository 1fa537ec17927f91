"""The golden product against a dictionary, against SciPy and against the public counts."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sparse_strategies import csr_matrices, csr_pairs, same

from hwsim.models import spgemm
from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.matrix_market import read_matrix
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import (
    SparseProduct,
    multiplies,
    product,
    product_scipy,
    row_multiplies,
)


def naive(a: Csr, b: Csr) -> tuple[list[dict], int]:
    """Rows of C as dictionaries, adding in the contract's order, and the number of multiplies."""
    rows, count = [], 0
    for i in range(a.shape[0]):
        row: dict = {}
        for at in range(a.indptr[i], a.indptr[i + 1]):
            k = a.indices[at]
            for bt in range(b.indptr[k], b.indptr[k + 1]):
                j = int(b.indices[bt])
                term = a.data[at] * b.data[bt]
                row[j] = row[j] + term if j in row else term
                count += 1
        rows.append(row)
    return rows, count


def assert_equals_naive(a: Csr, b: Csr) -> None:
    with np.errstate(all="ignore"):
        rows, count = naive(a, b)
    c = product(a, b)
    assert multiplies(a, b) == count
    assert c.row_lengths.tolist() == [len(row) for row in rows]
    assert c.indices.tolist() == [j for row in rows for j in sorted(row)]
    expected = np.array([row[j] for row in rows for j in sorted(row)], a.data.dtype)
    assert c.data.tobytes() == expected.tobytes()


@given(csr_pairs())
def test_small_integer_products(pair):
    assert_equals_naive(*pair)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float64, np.float32]))
def test_every_bit_of_rounded_sums(seed, dtype):
    rng = np.random.default_rng(seed)

    def matrix(m, n):
        dense = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-6, 7, (m, n))
        return Csr.from_scipy((dense * (rng.random((m, n)) < 0.6)).astype(dtype))

    assert_equals_naive(matrix(5, 20), matrix(20, 6))


def test_integers_wrap_as_32_bit_hardware():
    rng = np.random.default_rng(1)
    full = rng.integers(-(2**31), 2**31, (6, 30)).astype(np.int32)
    a, b = Csr.from_scipy(full), Csr.from_scipy(full.T.copy())
    c = product(a, b)
    exact = full.astype(object) @ full.T.astype(object)
    wrapped = np.array([(int(x) + 2**31) % 2**32 - 2**31 for x in exact.ravel()])
    assert c.data.tolist() == wrapped.tolist()


@given(csr_matrices(rows=st.just(9), cols=st.just(9)))
def test_blocks_do_not_show(a):
    whole = product(a, a)
    before = spgemm._BLOCK
    try:
        for size in (1, 3, 20):
            spgemm._BLOCK = size
            assert same(product(a, a), whole)
    finally:
        spgemm._BLOCK = before


def test_cancelled_entries_stay():
    a = Csr.from_coo((1, 2), [0, 0], [0, 1], [1.0, -1.0])
    b = Csr.from_coo((2, 1), [0, 1], [0, 0], [2.0, 2.0])
    for c in (product(a, b), product_scipy(a, b)):
        assert c.nnz == 1 and c.data.tolist() == [0.0]
    assert (a.to_scipy() @ b.to_scipy()).nnz == 0  # why product_scipy takes the patterns


def test_a_lone_product_of_negative_zero_is_stored_as_it_is():
    a = Csr.from_coo((1, 1), [0], [0], [-1.0])
    b = Csr.from_coo((1, 1), [0], [0], [0.0])
    assert np.signbit(product(a, b).data[0])
    assert product_scipy(a, b).data.tolist() == [0.0]


def test_float32_nan_is_canonical():
    big = np.float32(3e38)
    a = Csr.from_coo((1, 2), [0, 0], [0, 1], np.array([big, -big], np.float32))
    b = Csr.from_coo((2, 1), [0, 1], [0, 0], np.array([big, big], np.float32))
    assert product(a, b).data.view(np.uint32).tolist() == [CANONICAL_NAN_BITS]


def test_wide_columns():
    far = 2**62
    a = Csr.from_coo((3, 2), [0, 1, 2, 2], [0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0])
    b = Csr.from_coo((2, far), [0, 1, 1], [far - 1, 0, far - 1], [1.0, 1.0, 1.0])
    c = product(a, b)
    assert c.indices.dtype == np.int64
    assert c.indices.tolist() == [far - 1, 0, far - 1, 0, far - 1]
    assert c.data.tolist() == [1.0, 2.0, 2.0, 4.0, 7.0]


@given(csr_pairs(dtypes=(np.float64,)))
def test_scipy_with_zeros_and_cancellation(pair):
    fast, golden = product_scipy(*pair), product(*pair)
    assert (fast.indptr == golden.indptr).all()
    assert (fast.indices == golden.indices).all()
    assert (fast.data == golden.data).all()


@given(st.integers(0, 2**32 - 1))
def test_scipy_gives_the_same(seed):
    rng = np.random.default_rng(seed)
    a = Csr.from_scipy(rng.random((30, 40)) * (rng.random((30, 40)) < 0.1))
    b = Csr.from_scipy(rng.random((40, 25)) * (rng.random((40, 25)) < 0.1))
    assert same(product(a, b), product_scipy(a, b))
    assert row_multiplies(a, b).sum() == multiplies(a, b)
    assert (product(a, b).row_lengths <= row_multiplies(a, b)).all()


def test_operands_that_do_not_fit():
    a = Csr.from_coo((2, 3), [], [], np.zeros(0))
    for call in (product, multiplies, product_scipy):
        with pytest.raises(ValueError, match="but got A 2 x 3 and B 2 x 3"):
            call(a, a)
    with pytest.raises(ValueError, match="but got A 2 x 3 and B 2 x 3"):
        SparseProduct(layer="x", a=a, b=a)
    b = Csr.from_coo((3, 2), [], [], np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="one type of value, but got float64 and float32"):
        product(a, b)
    with pytest.raises(ValueError, match="float64 operands, but got float32"):
        product_scipy(b, b.transpose())


def check_against_truth(a: Csr, op: str, mult: int, nnz_c: int) -> None:
    """Counts exactly; structure and every value against SciPy's products."""
    b = a.transpose() if op == "AAT" else a
    c = product(a, b)
    assert multiplies(a, b) == mult
    assert c.nnz == nnz_c
    pattern = sp.csr_array((np.ones(a.nnz), a.indices, a.indptr), shape=a.shape)
    other = sp.csr_array((np.ones(b.nnz), b.indices, b.indptr), shape=b.shape)
    counts = pattern @ other  # of products by entry: no zeros, so SciPy drops none
    counts.sort_indices()
    assert counts.sum() == mult
    assert (c.indptr == counts.indptr).all()
    assert (c.indices == counts.indices).all()
    assert (c.to_scipy() != a.to_scipy() @ b.to_scipy()).nnz == 0
    assert (c.data == product_scipy(a, b).data).all()


def spgemm_counts(shared):
    path = shared / "reference/spgemm_counts.csv"
    if not path.is_file():
        pytest.skip("the public counts are not at hand")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def test_public_counts_of_suitesparse_matrices(shared):
    rows = spgemm_counts(shared)
    assert len(rows) == 10
    for row in rows:
        a = read_matrix(shared / f"data/matrices/{row['matrix']}.mtx")
        assert (*a.shape, a.nnz) == (int(row["rows"]), int(row["cols"]), int(row["nnz"]))
        check_against_truth(a, row["op"], int(row["multiplies"]), int(row["nnz_c"]))


def test_counts_of_the_manifest(shared):
    path = shared / "data/matrices/MANIFEST.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        # The manifest counts explicit zeros (rajat19 has 1700), so they are kept here.
        a = read_matrix(path.with_name(row["name"] + ".mtx.gz"), explicit_zeros="keep")
        assert (*a.shape, a.nnz) == (int(row["rows"]), int(row["cols"]), int(row["nnz"]))
        if row["multiplies_AA"]:
            check_against_truth(a, "AA", int(row["multiplies_AA"]), int(row["nnz_AA"]))
