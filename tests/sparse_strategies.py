"""Hypothesis strategies of sparse matrices, shared by the tests of formats, kernels and engines."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hwsim.models.sparse import Csr

DTYPES = (np.float64, np.float32, np.int32)
SIDES = st.integers(0, 12)


@st.composite
def csr_matrices(draw, rows=SIDES, cols=SIDES, dtypes=DTYPES):
    """Small matrices with empty rows, full rows and explicit zeros; integer values."""
    m, n = draw(rows), draw(cols)
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 2**32 - 1))
    density = draw(st.sampled_from((0.0, 0.1, 0.3, 0.7, 1.0)))
    rng = np.random.default_rng(seed)
    i, j = np.nonzero(rng.random((m, n)) < density)
    return Csr.from_coo((m, n), i, j, rng.integers(-3, 4, len(i)).astype(dtype))


@st.composite
def csr_pairs(draw, dtypes=DTYPES):
    """A and B that can be multiplied, of one value type."""
    k = draw(SIDES)
    dtype = draw(st.sampled_from(dtypes))
    a = draw(csr_matrices(cols=st.just(k), dtypes=(dtype,)))
    b = draw(csr_matrices(rows=st.just(k), dtypes=(dtype,)))
    return a, b


def same(a: Csr, b: Csr) -> bool:
    """Whether two matrices are equal to the bit: shape, types, structure and values."""
    return (
        a.shape == b.shape
        and a.indices.dtype == b.indices.dtype
        and a.data.dtype == b.data.dtype
        and a.indptr.tobytes() == b.indptr.tobytes()
        and a.indices.tobytes() == b.indices.tobytes()
        and a.data.tobytes() == b.data.tobytes()
    )
