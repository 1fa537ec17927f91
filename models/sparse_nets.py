"""Full sparse networks as chains of SpGEMM: a two-layer GCN and the GraphChallenge sparse DNN.

Both builders compute the values as they go, so every product holds its own operands. What stands
between two products (ReLU, bias, cap) drops the zeros it makes; inside a layer, a structural zero
of the first product stays an entry of the second one's operand.

GCN: T. N. Kipf, M. Welling, "Semi-Supervised Classification with Graph Convolutional Networks",
ICLR 2017, equation 9: Z = A' ReLU(A' X W0) W1 with A' = D^-1/2 (A + I) D^-1/2, softmax left out.

Sparse DNN: J. Kepner et al., "Sparse Deep Neural Network Graph Challenge", HPEC 2019 (arXiv
1909.05631), on R. A. Robinett, J. Kepner, "RadiX-Net: Structured Sparse Matrices for Deep Neural
Networks", IPDPSW 2019 (arXiv 1905.00416).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod, sqrt

import numpy as np

from hwsim.models.nm import magnitude_mask, nm_mask, parse_pattern
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseNetwork, SparseProduct, multiplies, product_scipy

__all__ = [
    "CHALLENGE_BIAS",
    "CHALLENGE_CAP",
    "bias_relu_cap",
    "binary_features",
    "blob_images",
    "challenge_layers",
    "gcn",
    "glorot",
    "normalised_adjacency",
    "radix_net",
    "row_normalised",
    "sparse_dnn",
]

CHALLENGE_BIAS = {1024: -0.30, 4096: -0.35, 16384: -0.40, 65536: -0.45}
"""Bias of every neuron by the number of neurons, from the challenge's driver script."""

CHALLENGE_CAP = 32.0
"""Largest activation, YMAX in the challenge's reference code."""

_WIDTH = 16  # Kronecker factor; with radix 2 it gives the challenge's 32 connections a neuron
_WEIGHT = 1 / 16  # of every connection, as the challenge's files have it


def normalised_adjacency(adjacency: Csr) -> Csr:
    """A' = D^-1/2 (A + I) D^-1/2 of the undirected graph, float64.

    Where sources differ, this holds: the pattern counts and values do not; a directed edge counts
    both ways; a self-loop in the input and the I added are one entry of 1. D is the diagonal of
    row sums of A + I.

    Raises:
        ValueError: the adjacency matrix is not square.
    """
    m, n = adjacency.shape
    if m != n:
        raise ValueError(f"an adjacency matrix is square, but got {m} x {n}")
    i, j, own = adjacency.rows, adjacency.indices.astype(np.int64), np.arange(n)
    ones = np.ones(2 * len(i) + n)
    pattern = Csr.from_coo((n, n), np.r_[i, j, own], np.r_[j, i, own], ones)
    scale = 1.0 / np.sqrt(pattern.row_lengths)
    data = scale[pattern.rows] * scale[pattern.indices]
    return Csr((n, n), pattern.indptr, pattern.indices, data)


def row_normalised(features: Csr) -> Csr:
    """Features divided by their row's sum, as Kipf's code does; a row that sums to 0 stays."""
    total = np.zeros(features.shape[0])
    np.add.at(total, features.rows, features.data.astype(np.float64))
    total[total == 0] = 1.0
    data = features.data / total[features.rows]
    return Csr(features.shape, features.indptr, features.indices, data)


def binary_features(rows: int, cols: int, density: float, seed: int) -> Csr:
    """Seeded features: floor(density * cols), at least 1, ones in every row, columns uniform.

    Raises:
        ValueError: 0 < density <= 1 does not hold.
    """
    if not 0 < density <= 1:
        raise ValueError(f"0 < density <= 1 must hold, but got {density}")
    each = max(1, int(density * cols))
    rng = np.random.default_rng(seed)
    picked = np.concatenate(
        [np.sort(rng.choice(cols, each, replace=False)) for _ in range(rows)]
        or [np.zeros(0, np.int64)]
    )
    ones = np.ones(len(picked))
    return Csr.from_coo((rows, cols), np.repeat(np.arange(rows), each), picked, ones)


def glorot(rows: int, cols: int, pattern: str, rng: np.random.Generator) -> Csr:
    """Weights uniform in +-sqrt(6 / (rows + cols)) (X. Glorot, Y. Bengio, AISTATS 2010), pruned.

    Args:
        rows, cols: fan-in k and fan-out n.
        pattern: "dense", "N:M" along k, or the share of weights to prune by magnitude, "0.9".
        rng: drawn from once a weight, pruned ones included.

    Raises:
        ValueError: `pattern` is none of these.
    """
    limit = sqrt(6.0 / (rows + cols))
    w = rng.uniform(-limit, limit, (rows, cols))
    if pattern == "dense" or ":" in pattern:
        nm = parse_pattern(pattern)
        mask = nm_mask(w, nm.n, nm.m, axis=0)
    else:
        try:
            share = float(pattern)
        except ValueError:
            raise ValueError(
                f"weights are dense, N:M or a share to prune, but got {pattern!r}"
            ) from None
        mask = magnitude_mask(w, share)
    i, j = np.nonzero(mask)
    return Csr.from_coo((rows, cols), i, j, w[i, j])


def gcn(
    adjacency: Csr,
    features: Csr,
    *,
    name: str,
    hidden: int = 16,
    classes: int = 7,
    weights: str = "dense",
    seed: int = 0,
) -> SparseNetwork:
    """The four products of a two-layer GCN.

    Each layer runs as A' (X W) or as (A' X) W, whichever takes fewer multiplies in all.

    Args:
        adjacency: [vertices, vertices]; see `normalised_adjacency`.
        features: [vertices, inputs]; rows are normalised here.
        name: of the network.
        hidden: units of layer 1; 16 in the paper, section 5.2.
        classes: units of layer 2; 7 of cora.
        weights: sparsity of both weight matrices, see `glorot`.
        seed: of the weights.

    Raises:
        ValueError: shapes do not fit, a size is not positive, or `weights` is not understood.
    """
    if min(hidden, classes) < 1:
        raise ValueError(f"hidden and classes must be positive, but got {hidden} and {classes}")
    a = normalised_adjacency(adjacency)
    if a.shape[1] != features.shape[0]:
        raise ValueError(
            "a graph needs one row of features a vertex, but got "
            f"{a.shape[1]} vertices and {features.shape[0]} rows"
        )
    rng = np.random.default_rng(seed)
    x = row_normalised(features)
    products: list[SparseProduct] = []
    notes = ["gcn: features row-normalised, adjacency made symmetric with self-loops"]
    for layer, width in enumerate((hidden, classes)):
        w = glorot(x.shape[1], width, weights, rng)
        post = ("relu", "none")[layer]
        xw, ax = product_scipy(x, w), product_scipy(a, x)
        right = multiplies(x, w) + multiplies(a, xw)
        left = multiplies(a, x) + multiplies(ax, w)
        if right <= left:
            products.append(SparseProduct(layer=f"gcn{layer}.xw", a=x, b=w))
            products.append(SparseProduct(layer=f"gcn{layer}.axw", a=a, b=xw, post=post))
        else:
            products.append(SparseProduct(layer=f"gcn{layer}.ax", a=a, b=x))
            products.append(SparseProduct(layer=f"gcn{layer}.axw", a=ax, b=w, post=post))
        chosen, other = ("A(XW)", "(AX)W") if right <= left else ("(AX)W", "A(XW)")
        notes.append(
            f"gcn layer {layer}: {chosen} takes {min(left, right)} multiplies, "
            f"{other} {max(left, right)}"
        )
        z = product_scipy(products[-1].a, products[-1].b)
        x = Csr(z.shape, z.indptr, z.indices, np.maximum(z.data, 0.0)).drop_zeros()
    return SparseNetwork(name=name, products=tuple(products), notes=tuple(notes))


def radix_net(radices: Sequence[int], width: int = 1, weight: float = 1.0) -> tuple[Csr, ...]:
    """The layers of a mixed-radix topology, square, every neuron with `width` * radix connections.

    With N' the product of the radices and v the product of those before layer i, the base of
    layer i connects neuron r with r - j v (mod N') for j below its radix: the sum of the powers
    P^(j v) of the cyclic shift. The layer is the Kronecker product of ones(width, width) and it.

    Returns:
        One float64 matrix [width * N', width * N'] a radix; rows are the neurons before.

    Raises:
        ValueError: a radix is below 2, or the width below 1.
    """
    if not radices or min(radices) < 2 or width < 1:
        raise ValueError(
            f"radices must be 2 or more and width 1 or more, but got {list(radices)} and {width}"
        )
    base = prod(radices)
    row = np.arange(width * base)
    layers, value = [], 1
    for radix in radices:
        near = (row[:, None] - np.arange(radix) * value) % base
        col = (near[:, None, :] + base * np.arange(width)[None, :, None]).reshape(len(row), -1)
        shape = (len(row), len(row))
        data = np.full(col.size, weight)
        layers.append(Csr.from_coo(shape, np.repeat(row, col.shape[1]), col.ravel(), data))
        value *= radix
    return tuple(layers)


def challenge_layers(neurons: int, layers: int, seed: int = 0) -> Iterator[Csr]:
    """Layers of the challenge's networks: radix 2 throughout, width 16, weights 1/16.

    1024 neurons are six base layers; they equal the challenge's files of layers 1 and 2. From
    the second repetition on, the challenge permutes: its layer 30 is the sixth base layer with
    rows and columns permuted. By which permutation is not given; chosen seeded, rows and columns
    of each layer apart.

    Raises:
        ValueError: `neurons` is not 16 times a power of two from 2, or `layers` is below 1.
    """
    base, rest = divmod(neurons, _WIDTH)
    if rest or base < 2 or base & (base - 1):
        raise ValueError(f"neurons must be 16 times a power of two, but got {neurons}")
    if layers < 1:
        raise ValueError(f"a network has a layer or more, but got {layers}")
    first = radix_net([2] * (base.bit_length() - 1), _WIDTH, _WEIGHT)
    rng = np.random.default_rng(seed)
    for layer in range(layers):
        w = first[layer % len(first)]
        if layer >= len(first):
            i, j = rng.permutation(neurons), rng.permutation(neurons)
            w = Csr.from_coo(w.shape, i[w.rows], j[w.indices], w.data)
        yield w


def blob_images(count: int, neurons: int, density: float, seed: int) -> Csr:
    """Seeded sparse binary images, row by row: a disc at a random place, wrapped at the edges.

    Its area is uniform between 0 and twice `density` of the picture, so that in the challenge's
    networks small discs die out and large ones saturate, as its images do.

    Args:
        count: images, rows of the result.
        neurons: pixels, a power of two; a picture is square or twice as wide as high.
        density: mean share of pixels lit; 0.1 is that of the challenge's images.
        seed: of places and areas.

    Raises:
        ValueError: `neurons` is no power of two, or 0 < density <= 1 does not hold.
    """
    if neurons < 1 or neurons & (neurons - 1):
        raise ValueError(f"neurons must be a power of two, but got {neurons}")
    if not 0 < density <= 1:
        raise ValueError(f"0 < density <= 1 must hold, but got {density}")
    high = 1 << ((neurons.bit_length() - 1) // 2)
    wide = neurons // high
    rng = np.random.default_rng(seed)
    places = rng.integers(0, (high, wide), (count, 2))
    areas = rng.uniform(0, 2 * density * neurons, count)
    y, x = np.divmod(np.arange(neurons), wide)
    rows, cols = [], []
    for image, ((top, left), area) in enumerate(zip(places, areas, strict=True)):
        dy, dx = np.abs(y - top), np.abs(x - left)
        away = np.minimum(dy, high - dy) ** 2 + np.minimum(dx, wide - dx) ** 2
        lit = np.flatnonzero(away * np.pi <= area)
        rows.append(np.full(len(lit), image))
        cols.append(lit)
    i, j = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (rows, cols))
    return Csr.from_coo((count, neurons), i, j, np.ones(len(i)))


def bias_relu_cap(z: Csr, bias: float, cap: float = CHALLENGE_CAP) -> Csr:
    """What stands between two layers of the challenge (its reference code `inferenceReLUvec.m`):
    the bias is added to entries that are not 0 and to no others, what is negative becomes 0, what
    exceeds the cap becomes the cap; zeros are dropped."""
    kept = z.drop_zeros()
    data = np.clip(kept.data + bias, 0.0, cap)
    return Csr(kept.shape, kept.indptr, kept.indices, data).drop_zeros()


def sparse_dnn(
    images: Csr, layers: Iterable[Csr], *, name: str, bias: float, cap: float = CHALLENGE_CAP
) -> SparseNetwork:
    """Y = min(ReLU(Y W + bias where Y W is not 0), cap), layer after layer.

    Args:
        images: Y0[images, neurons].
        layers: W[neurons, neurons] each; rows are the neurons before.
        name: of the network.
        bias, cap: see `bias_relu_cap`.

    Raises:
        ValueError: shapes do not fit each other.
    """
    y, products, entries = images, [], []
    for layer, w in enumerate(layers):
        products.append(SparseProduct(layer=f"layer{layer}", a=y, b=w, post="bias+relu+cap"))
        y = bias_relu_cap(product_scipy(y, w), bias, cap)
        entries.append(y.nnz)
    notes = (
        f"sparse-dnn: bias {bias:g}, cap {cap:g}; {len(np.unique(y.rows))} of "
        f"{images.shape[0]} images active after the last layer, {y.nnz} activations",
    )
    return SparseNetwork(name=name, products=tuple(products), notes=notes)
