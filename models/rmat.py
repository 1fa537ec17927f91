"""Seeded R-MAT graphs: skewed adjacency matrices from four probabilities.

D. Chakrabarti, Y. Zhan, C. Faloutsos, "R-MAT: A Recursive Model for Graph Mining", SDM 2004: an
edge falls, level by level, into the upper left, upper right, lower left or lower right quadrant
with probabilities a, b, c, d. The default .57, .19, .19, .05 and 16 edges a vertex are those of
the Graph500 specification, section 3.2.

Where sources differ, this holds: no noise on the probabilities; directed edges, self-loops kept;
duplicates merged into one entry and counted, so nnz <= edges; labels not permuted unless asked
for, so heavy rows stand together at low indices; every value is 1 unless asked for otherwise.
A level draws one float64 an edge from PCG64, so a seed gives the same graph on every platform.

>>> from hwsim.models.rmat import RmatSpec, rmat
>>> graph = rmat(RmatSpec(scale=4, edges=40, seed=1))
>>> graph.matrix.shape, graph.matrix.nnz + graph.duplicates
((16, 16), 40)
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models.sparse import Csr, index_dtype

__all__ = ["GRAPH500", "MAX_EDGES", "MAX_SCALE", "RmatGraph", "RmatSpec", "rmat"]

GRAPH500 = (0.57, 0.19, 0.19, 0.05)
"""a, b, c, d of the Graph500 specification."""

EDGE_FACTOR = 16
"""Edges a vertex of the Graph500 specification."""

MAX_SCALE = 28
"""2^28 vertices: 2 GiB of row pointers. Not given; chosen as what a workstation holds."""

MAX_EDGES = (1 << 31) - 1

_BYTES_AN_EDGE = 40  # row, column, key, draw and its comparison, at their peak


@dataclass(frozen=True, kw_only=True)
class RmatSpec:
    """What to generate.

    Attributes:
        scale: log2 of the number of vertices, 0..28.
        edges: drawn, duplicates included, at most 2^31 - 1; None for 16 a vertex.
        seed: of PCG64, not negative.
        probabilities: a, b, c, d; not negative, sum 1.
        values: "ones", or "uniform" in (0, 1], drawn in row-major order after merging.
        permute: whether vertices are relabelled at random, rows and columns alike.

    Raises:
        ValueError: one of these rules does not hold, or the graph needs more memory than the
            machine has.
    """

    scale: int
    edges: int | None = None
    seed: int = 0
    probabilities: tuple[float, float, float, float] = GRAPH500
    values: str = "ones"
    permute: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= MAX_SCALE:
            raise ValueError(f"0 <= scale <= {MAX_SCALE} must hold, but got {self.scale}")
        if not 0 <= self.count <= MAX_EDGES:
            raise ValueError(f"0 <= edges <= 2^31 - 1 must hold, but got {self.count}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, but got {self.seed}")
        if self.values not in ("ones", "uniform"):
            raise ValueError(f"values is ones or uniform, but got {self.values!r}")
        p = self.probabilities
        # `not ... >= 0` refuses NaN too.
        if not (min(p) >= 0 and abs(sum(p) - 1) <= 1e-9):
            raise ValueError(
                f"a, b, c, d must not be negative and sum to 1, but got {', '.join(map(str, p))}"
            )
        needed, there = self.peak_bytes, _physical_bytes()
        if there is not None and needed > there:
            raise ValueError(
                f"scale={self.scale} with {self.count} edges needs about "
                f"{needed / 2**30:.0f} GiB, but this machine has {there / 2**30:.0f}"
            )

    @property
    def count(self) -> int:
        """Edges drawn."""
        return EDGE_FACTOR << self.scale if self.edges is None else self.edges

    @property
    def peak_bytes(self) -> int:
        """Memory that the generation takes at its peak, about."""
        return _BYTES_AN_EDGE * self.count + (16 << self.scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class RmatGraph:
    """
    Attributes:
        matrix: float64, 2^scale x 2^scale.
        duplicates: edges drawn that repeat one: edges = matrix.nnz + duplicates.
        self_loops: entries on the diagonal.
    """

    matrix: Csr
    duplicates: int
    self_loops: int


def rmat(spec: RmatSpec) -> RmatGraph:
    """The graph of a specification."""
    rng = np.random.default_rng(spec.seed)
    n = 1 << spec.scale
    key = _keys(spec, rng)
    if spec.permute:
        label = rng.permutation(n)
        key = label[key >> spec.scale] << spec.scale | label[key & (n - 1)]
    key.sort()
    drawn = len(key)
    if drawn:
        key = key[np.r_[True, key[1:] != key[:-1]]]
    rows, cols = key >> spec.scale, key & (n - 1)
    # 1 - u lies in (0, 1]: no value is an explicit zero.
    data = np.ones(len(key)) if spec.values == "ones" else 1.0 - rng.random(len(key))
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n), out=indptr[1:])
    matrix = Csr((n, n), indptr, cols.astype(index_dtype((n, n), len(key))), data)
    return RmatGraph(
        matrix=matrix,
        duplicates=drawn - len(key),
        self_loops=int(np.count_nonzero(rows == cols)),
    )


def _keys(spec: RmatSpec, rng: np.random.Generator) -> NDArray[np.int64]:
    """int64[edges]: row * 2^scale + column of every edge drawn, the top level first."""
    a, b, c, _ = spec.probabilities
    row = np.zeros(spec.count, np.int64)
    col = np.zeros(spec.count, np.int64)
    for _ in range(spec.scale):
        u = rng.random(spec.count)
        lower = u >= a + b
        right = (u >= a) & ~lower | (u >= a + b + c)
        row <<= 1
        row |= lower
        col <<= 1
        col |= right
    row <<= spec.scale
    row |= col
    return row


def _physical_bytes() -> int | None:
    """Memory of this machine, where the system says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
