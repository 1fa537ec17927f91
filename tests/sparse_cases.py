"""Sparse operands for property tests: rectangular, skewed, with empty rows and columns."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hwsim.models.sparse import Csr


def random_csr(rng, m, n, density, dtype=np.float64, *, skew=False):
    """A matrix whose rows are equally full, or of which few rows and columns hold most entries."""
    chance = np.full((m, n), density)
    if skew:
        chance *= np.outer(1 / np.arange(1, m + 1), 1 / np.arange(1, n + 1)) * 8
    i, j = np.nonzero(rng.random((m, n)) < chance)
    if np.dtype(dtype).kind == "i":
        values = rng.integers(-(2**31), 2**31, len(i)).astype(dtype)
    else:
        values = rng.standard_normal(len(i)).astype(dtype)
    return Csr.from_coo((m, n), i, j, values)


@st.composite
def operands(draw, dtypes=(np.float64, np.float32, np.int32), most=24):
    """A [m, k] and B [k, n] of one type, either of which may be empty, or B = A^T, or B = A."""
    m, k, n = (draw(st.integers(0, most)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(dtypes))
    density = draw(st.sampled_from([0.0, 0.05, 0.2, 0.6, 1.0]))
    skew = draw(st.booleans())
    kind = draw(st.sampled_from(["pair", "aa", "aat"]))
    a = random_csr(rng, m, m if kind == "aa" else k, density, dtype, skew=skew)
    if kind == "aa":
        return a, a
    if kind == "aat":
        return a, a.transpose()
    return a, random_csr(rng, k, n, draw(st.sampled_from([0.0, 0.1, 0.5])), dtype, skew=skew)


def rows_of(matrix):
    """The columns of every row, as lists."""
    return [
        matrix.indices[begin:end].tolist()
        for begin, end in zip(matrix.indptr, matrix.indptr[1:], strict=False)
    ]
