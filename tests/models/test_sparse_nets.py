"""GCN and sparse DNN: normalisation, RadiX-Net against its definition and the challenge's files."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sparse_strategies import csr_matrices, same

from hwsim.models.matrix_market import read_matrix
from hwsim.models.rmat import RmatSpec, rmat
from hwsim.models.sparse import Csr
from hwsim.models.sparse_nets import (
    CHALLENGE_BIAS,
    bias_relu_cap,
    binary_features,
    blob_images,
    challenge_layers,
    gcn,
    glorot,
    normalised_adjacency,
    radix_net,
    row_normalised,
    sparse_dnn,
)
from hwsim.models.spgemm import multiplies, product


@given(csr_matrices(rows=st.just(7), cols=st.just(7)))
def test_adjacency_against_the_formula(a):
    pattern = np.zeros((7, 7))
    pattern[a.rows, a.indices] = 1
    pattern = np.maximum(pattern, pattern.T)
    np.fill_diagonal(pattern, 1)
    half = np.diag(pattern.sum(1) ** -0.5)
    found = normalised_adjacency(a)
    np.testing.assert_allclose(found.to_dense(), half @ pattern @ half, rtol=1e-14)
    assert same(found, found.transpose())
    assert np.linalg.eigvalsh(found.to_dense()).max() == pytest.approx(1)


def test_features_are_normalised_by_row():
    x = Csr.from_coo((3, 3), [0, 0, 2, 2], [0, 2, 1, 2], [1.0, 3.0, 2.0, -2.0])
    assert row_normalised(x).to_dense().tolist() == [[0.25, 0, 0.75], [0, 0, 0], [0, 2, -2]]


def reference_gcn(a, x, weights):
    """Equation 9 in dense matrices, softmax left out."""
    hidden = np.maximum(a @ x @ weights[0], 0)
    return a @ hidden @ weights[1]


@pytest.mark.parametrize("weights", ["dense", "2:4", "0.5"])
@pytest.mark.parametrize("inputs", [3, 60])  # few inputs make (AX)W the cheaper order
def test_gcn_against_dense_matrices(weights, inputs):
    graph = rmat(RmatSpec(scale=5, edges=70, seed=2)).matrix
    x = binary_features(32, inputs, 0.5, seed=3)
    network = gcn(graph, x, name="g", hidden=8, classes=3, weights=weights, seed=5)
    rng = np.random.default_rng(5)
    w = [glorot(inputs, 8, weights, rng).to_dense(), glorot(8, 3, weights, rng).to_dense()]
    expected = reference_gcn(
        normalised_adjacency(graph).to_dense(), row_normalised(x).to_dense(), w
    )
    last = network.products[-1]
    np.testing.assert_allclose(product(last.a, last.b).to_dense(), expected, atol=1e-15)
    assert [p.post for p in network.products] == ["none", "relu", "none", "none"]


@pytest.mark.parametrize(("inputs", "first"), [(2, "ax"), (200, "xw")])
def test_gcn_takes_the_order_with_fewer_multiplies(inputs, first):
    graph = rmat(RmatSpec(scale=6, edges=100, seed=2)).matrix
    x = binary_features(64, inputs, 0.5 if inputs == 2 else 0.01, seed=3)
    network = gcn(graph, x, name="g", hidden=16, classes=7)
    assert [p.layer for p in network.products[:2]] == [f"gcn0.{first}", "gcn0.axw"]
    a, w = normalised_adjacency(graph), glorot(inputs, 16, "dense", np.random.default_rng(0))
    counts = {
        "ax": multiplies(a, x) + multiplies(product(a, row_normalised(x)), w),
        "xw": multiplies(x, w) + multiplies(a, product(row_normalised(x), w)),
    }
    taken = sum(multiplies(p.a, p.b) for p in network.products[:2])
    assert taken == counts[first] == min(counts.values())
    assert f"takes {taken} multiplies" in network.notes[1]


def test_each_product_reads_what_the_one_before_left():
    graph = rmat(RmatSpec(scale=6, edges=200, seed=2)).matrix
    network = gcn(graph, binary_features(64, 50, 0.1, seed=1), name="g")
    xw, axw, hw, _ = network.products
    assert same(axw.b, product(xw.a, xw.b))
    hidden = product(axw.a, axw.b).to_dense()
    assert (hw.a.to_dense() == np.maximum(hidden, 0)).all()
    assert (hw.a.data > 0).all() and (hidden < 0).any()


def test_gcn_on_cora(shared):
    folder = shared / "data/matrices"
    adjacency = read_matrix(folder / "cora.mtx.gz")
    features = read_matrix(folder / "cora-features.mtx.gz")
    network = gcn(adjacency, features, name="cora")
    assert [(p.m, p.k, p.n) for p in network.products] == [
        (2708, 1433, 16),
        (2708, 2708, 16),
        (2708, 16, 7),
        (2708, 2708, 7),
    ]
    first, second = network.products[:2]
    assert multiplies(first.a, first.b) == 49216 * 16  # dense weights: hidden units an entry of X
    assert second.a.nnz == 10556 + 2708
    for p in network.products:
        fast, golden = p.a.to_scipy() @ p.b.to_scipy(), product(p.a, p.b)
        assert (fast != golden.to_scipy()).nnz == 0


def test_glorot_patterns():
    rng = np.random.default_rng(0)
    dense = glorot(40, 8, "dense", rng)
    limit = np.sqrt(6 / 48)
    assert dense.nnz == 320 and np.abs(dense.data).max() <= limit
    pruned = glorot(40, 8, "2:4", np.random.default_rng(0))
    kept = pruned.to_dense() != 0
    assert (kept.reshape(10, 4, 8).sum(1) == 2).all()
    assert (pruned.to_dense()[kept] == dense.to_dense()[kept]).all()
    assert glorot(40, 8, "0.9", np.random.default_rng(0)).nnz == 32
    with pytest.raises(ValueError, match="dense, N:M or a share to prune, but got 'half'"):
        glorot(4, 4, "half", rng)


def test_gcn_with_what_does_not_fit():
    square = binary_features(4, 4, 1, 0)
    with pytest.raises(ValueError, match="an adjacency matrix is square, but got 4 x 5"):
        gcn(binary_features(4, 5, 1, 0), binary_features(5, 5, 1, 0), name="g")
    with pytest.raises(ValueError, match="4 vertices and 3 rows"):
        gcn(square, binary_features(3, 4, 1, 0), name="g")
    with pytest.raises(ValueError, match="must be positive, but got 0 and 7"):
        gcn(square, square, name="g", hidden=0)
    with pytest.raises(ValueError, match="0 < density <= 1 must hold, but got 0"):
        binary_features(4, 4, 0, 0)


@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_radix_net_against_its_definition(radices, width):
    """Powers of the cyclic shift, the Kronecker product with ones, and one path between any two."""
    base = int(np.prod(radices))
    shift = np.roll(np.eye(base, dtype=int), -1, axis=1)  # neuron r to r - 1
    layers, value = radix_net(radices, width), 1
    paths = np.eye(base * width, dtype=int)
    for layer, radix in zip(layers, radices, strict=True):
        powers = [np.linalg.matrix_power(shift, j * value) for j in range(radix)]
        expected = np.kron(np.ones((width, width), int), sum(powers))
        assert (layer.to_dense() == expected).all()
        assert set(layer.row_lengths) == set(layer.transpose().row_lengths) == {width * radix}
        paths = paths @ expected
        value *= radix
    # Symmetry (the paper's theorem 1): as many paths from any input to any output.
    assert (paths == width ** (len(radices) - 1)).all()


def test_generated_layers_equal_the_challenges_files(shared):
    layers = list(challenge_layers(1024, 6))
    for number in (1, 2):
        path = shared / f"data/matrices/gc-dnn-n1024-l{number}.mtx.gz"
        assert same(read_matrix(path), layers[number - 1])


def components(a: Csr) -> list[tuple[int, int, int]]:
    """Sorted sizes of the connected parts of the bipartite graph: rows, columns, entries."""
    m = a.shape[0]
    both = sp.block_array([[sp.csr_array((m, m)), a.to_scipy()], [a.transpose().to_scipy(), None]])
    _, label = sp.csgraph.connected_components(both, directed=False)
    parts = range(int(label.max()) + 1)
    return sorted(
        (int((label[:m] == p).sum()), int((label[m:] == p).sum()), int((label[a.rows] == p).sum()))
        for p in parts
    )


def test_layer_30_of_the_challenge_is_the_sixth_permuted(shared):
    layer = read_matrix(shared / "data/matrices/gc-dnn-n1024-l30.mtx.gz")
    sixth = list(challenge_layers(1024, 6))[5]
    # 32 complete bipartite graphs of 32 x 32 each: such graphs differ by permutations alone.
    assert components(layer) == components(sixth) == [(32, 32, 1024)] * 32
    assert not same(layer, sixth)
    ours = list(challenge_layers(1024, 30, seed=7))[29]
    assert components(ours) == [(32, 32, 1024)] * 32
    assert (layer.data == 1 / 16).all() and (ours.data == 1 / 16).all()


@pytest.mark.parametrize("neurons", [32, 1024, 4096])
def test_challenge_layers_have_32_connections_a_neuron(neurons):
    layers = list(challenge_layers(neurons, 14, seed=1))
    for layer in layers:
        assert set(layer.row_lengths) == set(layer.transpose().row_lengths) == {32}
    assert same(layers[0], next(challenge_layers(neurons, 1)))
    repeated = list(challenge_layers(neurons, 14, seed=1))
    assert all(same(one, other) for one, other in zip(layers, repeated, strict=True))
    if neurons > 32:  # of 32 neurons every layer is complete
        assert not same(layers[12], layers[0])


def reference_layer(y, w, bias, cap):
    """`inferenceReLUvec` of the challenge, in dense matrices."""
    z = y @ w
    y = z + np.where(z != 0, bias, 0)
    return np.minimum(np.maximum(y, 0), cap)


@given(csr_matrices(dtypes=(np.float64,)), st.sampled_from([-1.0, -0.3, 0.5]))
def test_bias_goes_to_entries_that_are_not_zero(z, bias):
    found = bias_relu_cap(z, bias, cap=2.0)
    expected = reference_layer(z.to_dense(), np.eye(z.shape[1]), bias, 2.0)
    assert (found.to_dense() == expected).all()
    assert (found.data > 0).all()


def test_sparse_dnn_against_dense_matrices():
    images = blob_images(20, 64, 0.3, seed=1)
    layers = list(challenge_layers(64, 5, seed=2))
    network = sparse_dnn(images, layers, name="d", bias=-0.2)
    y = images.to_dense()
    for p, w in zip(network.products, layers, strict=True):
        assert (p.a.to_dense() == y).all() and same(p.b, w)
        y = reference_layer(y, w.to_dense(), -0.2, 32.0)
    alive, left = int((y > 0).any(1).sum()), np.count_nonzero(y)
    assert 0 < alive < 20
    assert f"{alive} of 20 images active after the last layer, {left} act" in network.notes[0]


def test_activations_saturate_at_the_cap():
    full = Csr.from_scipy(np.full((1, 64), 32.0))
    network = sparse_dnn(full, challenge_layers(64, 3), name="d", bias=-0.2)
    assert [p.a.data.max() for p in network.products] == [32.0] * 3


def test_real_images_through_the_real_layers(shared):
    folder = shared / "data/matrices"
    images = read_matrix(folder / "gc-dnn-images1024.mtx.gz")
    files = [read_matrix(folder / f"gc-dnn-n1024-l{n}.mtx.gz") for n in (1, 2)]
    network = sparse_dnn(images, files, name="d", bias=CHALLENGE_BIAS[1024])
    generated = sparse_dnn(images, challenge_layers(1024, 2), name="d", bias=-0.3)
    for one, other in zip(network.products, generated.products, strict=True):
        assert same(one.a, other.a) and same(one.b, other.b)
    y = reference_layer(images.to_dense(), files[0].to_dense(), -0.3, 32.0)
    assert (network.products[1].a.to_dense() == y).all()


@pytest.mark.parametrize("neurons", [64, 128, 1024])
def test_blob_images(neurons):
    images = blob_images(400, neurons, 0.1, seed=1)
    assert (images.data == 1).all() and images.shape == (400, neurons)
    # Areas are uniform in 0..0.2: the mean of 400 has a standard deviation of .003.
    assert abs(images.nnz / (400 * neurons) - 0.1) < 0.015
    assert images.row_lengths.min() >= 1 and images.row_lengths.max() <= 0.22 * neurons + 1
    assert same(images, blob_images(400, neurons, 0.1, seed=1))


def test_bad_networks():
    for neurons in (0, 16, 48, 1000):
        with pytest.raises(ValueError, match=f"16 times a power of two, but got {neurons}"):
            next(challenge_layers(neurons, 1))
    with pytest.raises(ValueError, match="a layer or more, but got 0"):
        next(challenge_layers(1024, 0))
    with pytest.raises(ValueError, match="radices must be 2 or more"):
        radix_net([2, 1])
    with pytest.raises(ValueError, match="neurons must be a power of two, but got 48"):
        blob_images(1, 48, 0.1, 0)
    with pytest.raises(ValueError, match="columns of A must equal rows of B"):
        sparse_dnn(blob_images(1, 32, 0.1, 0), challenge_layers(64, 1), name="d", bias=0.0)
