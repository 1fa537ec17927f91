"""CSR, CSC and bitmap: invariants, conversions, index types."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sparse_strategies import csr_matrices, same

from hwsim.models import sparse
from hwsim.models.sparse import Bitmap, Csc, Csr, index_dtype

I32, I64, F64 = np.int32, np.int64, np.float64


def csr(shape, indptr, indices, data, index=I32, value=F64):
    return Csr(shape, np.array(indptr, I64), np.array(indices, index), np.array(data, value))


@given(csr_matrices())
def test_round_trips_keep_every_bit(a):
    assert same(Csc.from_csr(a).to_csr(), a)
    assert same(Bitmap.from_csr(a).to_csr(), a)
    assert same(Csr.from_scipy(a.to_scipy()), a)
    assert same(a.transpose().transpose(), a)
    assert same(Csr.from_coo(a.shape, a.rows, a.indices, a.data), a)


@given(csr_matrices())
def test_formats_agree_with_the_dense_matrix(a):
    dense = a.to_dense()
    assert (a.to_scipy().toarray() == dense).all()
    assert (a.transpose().to_dense() == dense.T).all()
    assert (Csr.from_scipy(dense).to_dense() == dense).all()
    assert Csr.from_scipy(dense).nnz == np.count_nonzero(dense) == a.drop_zeros().nnz
    assert Csc.from_csr(a).nnz == Bitmap.from_csr(a).nnz == a.nnz
    assert a.row_lengths.sum() == a.nnz == a.transpose().row_lengths.sum()
    assert (Csc.from_csr(a).column_lengths == a.transpose().row_lengths).all()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(-9, 9)), max_size=30),
    st.sampled_from([np.float64, np.float32, np.int32]),
)
def test_from_coo_sums_duplicates_in_any_order(entries, dtype):
    i, j, v = np.array(entries, np.int64).reshape(-1, 3).T
    a = Csr.from_coo((5, 4), i, j, v.astype(dtype))
    dense = np.zeros((5, 4))
    for row, col, value in entries:
        dense[row, col] += value
    assert (a.to_dense() == dense).all()
    assert a.nnz == len({(row, col) for row, col, _ in entries})


def test_duplicates_are_summed_in_the_order_given():
    values = [1e16, 1.0, -1e16, 1.0]  # any other order gives another sum
    a = Csr.from_coo((1, 1), [0] * 4, [0] * 4, np.array(values))
    assert a.data.tolist() == [((1e16 + 1.0) - 1e16) + 1.0]


def test_a_lone_negative_zero_stays():
    a = Csr.from_coo((2, 2), [0, 0, 1], [0, 0, 1], np.array([-0.0, -0.0, -0.0]))
    assert np.signbit(a.data).tolist() == [True, True]


def test_integer_duplicates_wrap():
    a = Csr.from_coo((1, 1), [0, 0], [0, 0], np.array([2**31 - 1, 1], np.int32))
    assert a.data.tolist() == [-(2**31)]


def test_index_type_is_64_bits_only_when_needed():
    assert index_dtype((5, 5), 3) == I32
    assert index_dtype((2**31 - 1, 2**31 - 1), 2**31 - 1) == I32
    assert index_dtype((5, 2**31), 3) == I64
    assert index_dtype((5, 5), 2**31) == I64
    with pytest.raises(ValueError, match="must not be negative, but got shape"):
        index_dtype((-1, 5), 0)
    with pytest.raises(ValueError, match="must fit 63 bits"):
        index_dtype((5, 2**63), 0)


def test_columns_beyond_32_bits():
    far = 2**40
    a = Csr.from_coo((3, far), [0, 2, 2, 0], [far - 1, 7, 7, 5], [1.0, 2.0, 3.0, 4.0])
    assert a.indices.dtype == I64
    assert a.indices.tolist() == [5, far - 1, 7]
    assert a.data.tolist() == [4.0, 1.0, 5.0]
    assert same(Csr.from_scipy(a.to_scipy()), a)


def test_rows_times_columns_beyond_63_bits():
    a = Csr.from_coo((4, 2**62), [3, 3, 1], [2**61, 2**60, 9], [1.0, 2.0, 3.0])
    assert a.indptr.tolist() == [0, 0, 1, 1, 3]
    assert a.indices.tolist() == [9, 2**60, 2**61]
    twice = Csr.from_coo((4, 2**62), [3, 3], [2**61, 2**61], [1.0, 2.0])
    assert twice.data.tolist() == [3.0]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"indptr": [0, 1]}, r"indptr must be int64\[3\] for 2 rows"),
        ({"indptr": [0, 1, 2]}, "indptr must run from 0 to nnz = 3, but runs from 0 to 2"),
        ({"indptr": [1, 2, 3]}, "indptr must run from 0 to nnz = 3, but runs from 1 to 3"),
        ({"indptr": [0, 4, 3]}, "indptr must not fall, but does at row 1"),
        ({"indices": [0, 3, 1]}, "0 <= column < 3 must hold, but got 3"),
        ({"indices": [0, 2, -1]}, "0 <= column < 3 must hold, but got -1"),
        ({"indices": [2, 1, 0]}, "ascend in each row, but row 0 holds 2 before 1"),
        ({"indices": [1, 1, 0]}, "ascend in each row, but row 0 holds 1 before 1"),
        ({"indices": [0, 1]}, r"indices must be int32\[3\]"),
        ({"index": np.int64}, r"indices must be int32\[3\], like data, but got int64"),
        ({"value": np.float16}, "float64, float32 or int32, but got float16"),
        ({"value": np.int64}, "float64, float32 or int32, but got int64"),
        ({"shape": (2, 2, 2)}, "two dimensions"),
    ],
)
def test_broken_invariants_are_refused(broken, sentence):
    whole = {"shape": (2, 3), "indptr": [0, 2, 3], "indices": [0, 2, 1], "data": [1, 2, 3]}
    assert csr(**whole).nnz == 3
    with pytest.raises(ValueError, match=sentence):
        csr(**(whole | broken))


def test_csc_names_its_own_axes():
    with pytest.raises(ValueError, match="0 <= row < 2 must hold, but got 2"):
        Csc((2, 1), np.array([0, 1]), np.array([2], I32), np.array([1.0]))
    with pytest.raises(ValueError, match="for 1 columns"):
        Csc((2, 1), np.array([0]), np.array([], I32), np.array([]))


def test_broken_bitmaps_are_refused():
    with pytest.raises(ValueError, match=r"bits must be uint8\[1, 2\], but got uint8\[1, 1\]"):
        Bitmap((1, 9), np.zeros((1, 1), np.uint8), np.zeros(0))
    with pytest.raises(ValueError, match="bits past column 8 must be 0"):
        Bitmap((1, 9), np.array([[0, 2]], np.uint8), np.ones(1))
    with pytest.raises(ValueError, match="got 2 bits and 1 values"):
        Bitmap((1, 9), np.array([[1, 1]], np.uint8), np.ones(1))


def test_a_bitmap_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(sparse, "MAX_BITMAP_BYTES", 15)
    with pytest.raises(ValueError, match="at most 15 bytes, but 8 x 16 needs 16"):
        Bitmap.from_csr(Csr.from_coo((8, 16), [], [], np.zeros(0)))


def test_coordinates_out_of_range_are_refused():
    with pytest.raises(ValueError, match="0 <= row < 2 must hold, but got 2"):
        Csr.from_coo((2, 2), [2], [0], [1.0])
    with pytest.raises(ValueError, match="0 <= column < 2 must hold, but got -1"):
        Csr.from_coo((2, 2), [0], [-1], [1.0])
    with pytest.raises(ValueError, match="vectors of one length"):
        Csr.from_coo((2, 2), [0], [0, 1], [1.0])


def test_conversion_of_values():
    a = Csr.from_coo((1, 3), [0, 0, 0], [0, 1, 2], [1.0, -2.0, 3.0])
    assert a.astype(np.int32).data.tolist() == [1, -2, 3]
    assert a.astype("float32").data.dtype == np.float32
    for value in (1.5, 2.0**31, np.nan):
        wrong = Csr.from_coo((1, 1), [0], [0], np.array([value]))
        with pytest.raises(ValueError, match="integers of 32 bits, but got"):
            wrong.astype(np.int32)
    with pytest.raises(ValueError, match="must be float64, float32 or int32, but got float16"):
        a.astype(np.float16)


@pytest.mark.parametrize("kind", [sp.coo_array, sp.csc_array, sp.lil_array, sp.csr_matrix])
def test_any_scipy_format_and_type(kind):
    dense = np.array([[0, 2, 0], [3, 0, 1]], np.int64)
    a = Csr.from_scipy(kind(dense))
    assert a.data.dtype == F64
    assert (a.to_dense() == dense).all()
    assert Csr.from_scipy(kind(dense.astype(np.float32))).data.dtype == np.float32
    assert Csr.from_scipy(kind(dense), dtype=np.int32).data.dtype == np.int32
    assert Csr.from_scipy(kind(dense.astype(bool))).data.tolist() == [1.0, 1.0, 1.0]


def test_scipy_matrices_that_do_not_fit():
    with pytest.raises(ValueError, match="real numbers, but got dtype complex128"):
        Csr.from_scipy(sp.csr_array(np.array([[1j]])))
    with pytest.raises(ValueError, match="two dimensions, but got 1"):
        Csr.from_scipy(sp.coo_array(np.array([1.0, 2.0])))


def test_scipy_duplicates_and_explicit_zeros():
    coo = sp.coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    a = Csr.from_scipy(coo)
    assert a.data.tolist() == [3.0, 0.0]
    assert a.drop_zeros().data.tolist() == [3.0]
