"""R-MAT: the draws against a slow oracle, the merge, the law of large numbers, bad parameters."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_strategies import same

from hwsim.models import rmat as module
from hwsim.models.rmat import GRAPH500, RmatSpec, rmat
from hwsim.models.spgemm import multiplies


def naive_edges(spec: RmatSpec) -> list[tuple[int, int]]:
    """Quadrant by quadrant; the draws in the documented order: a level at a time."""
    rng = np.random.default_rng(spec.seed)
    edges = [(0, 0)] * spec.count
    a, b, c, _ = spec.probabilities
    for _ in range(spec.scale):
        for at, u in enumerate(rng.random(spec.count)):
            row, col = edges[at]
            if u < a:
                quadrant = (0, 0)
            elif u < a + b:
                quadrant = (0, 1)
            elif u < a + b + c:
                quadrant = (1, 0)
            else:
                quadrant = (1, 1)
            edges[at] = (2 * row + quadrant[0], 2 * col + quadrant[1])
    return edges


@given(
    st.integers(0, 6),
    st.integers(0, 200),
    st.integers(0, 2**32),
    st.sampled_from(
        [GRAPH500, (0.25,) * 4, (1.0, 0, 0, 0), (0, 0.5, 0.5, 0), (0.1, 0.2, 0.3, 0.4)]
    ),
)
def test_edges_against_the_oracle(scale, edges, seed, probabilities):
    spec = RmatSpec(scale=scale, edges=edges, seed=seed, probabilities=probabilities)
    graph, expected = rmat(spec), naive_edges(spec)
    found = set(zip(graph.matrix.rows.tolist(), graph.matrix.indices.tolist(), strict=True))
    assert found == set(expected)
    assert graph.matrix.shape == (2**scale, 2**scale)
    assert graph.matrix.nnz + graph.duplicates == edges
    assert graph.self_loops == sum(row == col for row, col in set(expected))
    assert (graph.matrix.data == 1).all()


def test_the_same_seed_gives_the_same_graph_on_every_platform():
    graph = rmat(RmatSpec(scale=14, edges=262144, seed=1))
    a = graph.matrix
    assert (a.nnz, graph.duplicates, graph.self_loops) == (228315, 33829, 95)
    assert (int(a.row_lengths.max()), multiplies(a, a)) == (2466, 52969444)
    digest = hashlib.sha256(a.indptr.astype("<i8").tobytes() + a.indices.astype("<i4").tobytes())
    assert digest.hexdigest()[:16] == "1553567c33541fc3"
    assert same(a, rmat(RmatSpec(scale=14, edges=262144, seed=1)).matrix)
    assert not same(a, rmat(RmatSpec(scale=14, edges=262144, seed=2)).matrix)


def test_quadrants_come_as_often_as_their_probabilities():
    probabilities = (0.45, 0.3, 0.2, 0.05)
    rows, cols = np.array(
        naive_edges(RmatSpec(scale=1, edges=20_000, seed=3, probabilities=probabilities))
    ).T
    share = np.bincount(2 * rows + cols, minlength=4) / 20_000
    # Five standard deviations of a share: sqrt(p (1 - p) / edges) <= .0036.
    assert np.abs(share - probabilities).max() < 0.018


def test_uniform_values_are_never_zero_and_leave_the_structure_alone():
    ones = rmat(RmatSpec(scale=8, seed=4)).matrix
    uniform = rmat(RmatSpec(scale=8, seed=4, values="uniform")).matrix
    assert (uniform.indptr == ones.indptr).all() and (uniform.indices == ones.indices).all()
    assert uniform.data.min() > 0 and uniform.data.max() <= 1
    assert len(np.unique(uniform.data)) == uniform.nnz


def test_permuted_labels_keep_the_degrees():
    plain = rmat(RmatSpec(scale=8, seed=4))
    mixed = rmat(RmatSpec(scale=8, seed=4, permute=True))
    assert (mixed.matrix.nnz, mixed.self_loops) == (plain.matrix.nnz, plain.self_loops)
    a, b = plain.matrix, mixed.matrix
    assert sorted(a.row_lengths) == sorted(b.row_lengths)
    assert sorted(a.transpose().row_lengths) == sorted(b.transpose().row_lengths)
    assert (a.row_lengths != b.row_lengths).any()


def test_sixteen_edges_a_vertex_unless_said():
    assert RmatSpec(scale=5).count == 16 * 32
    assert rmat(RmatSpec(scale=0, edges=3)).matrix.to_dense().tolist() == [[1.0]]
    assert rmat(RmatSpec(scale=3, edges=0)).matrix.nnz == 0


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"scale": 29}, "0 <= scale <= 28 must hold, but got 29"),
        ({"scale": -1}, "0 <= scale <= 28 must hold, but got -1"),
        ({"scale": 4, "edges": 2**31}, r"0 <= edges <= 2\^31 - 1 must hold, but got 2147483648"),
        ({"scale": 4, "edges": -1}, "must hold, but got -1"),
        ({"scale": 4, "seed": -1}, "seed must not be negative, but got -1"),
        ({"scale": 4, "values": "twos"}, "values is ones or uniform, but got 'twos'"),
        ({"scale": 4, "probabilities": (0.5, 0.5, 0.5, -0.5)}, "must not be negative and sum to 1"),
        ({"scale": 4, "probabilities": (0.5, 0.2, 0.2, 0.2)}, "sum to 1, but got 0.5, 0.2, 0.2"),
        ({"scale": 4, "probabilities": (float("nan"), 0, 0, 1)}, "sum to 1, but got nan"),
    ],
)
def test_bad_parameters(parameters, rule):
    with pytest.raises(ValueError, match=rule):
        RmatSpec(**parameters)


def test_more_memory_than_there_is(monkeypatch):
    monkeypatch.setattr(module, "_physical_bytes", lambda: 2**30)
    with pytest.raises(ValueError, match="scale=22 with 67108864 edges needs about 3 GiB, but"):
        RmatSpec(scale=22)
    assert RmatSpec(scale=14).count == 2**18
    monkeypatch.setattr(module, "_physical_bytes", lambda: None)
    assert RmatSpec(scale=22).count == 2**26
