"""What a WORKLOAD names when it is sparse: Matrix Market files, R-MAT graphs, sparse networks.

`docs/sparse-inputs.md` has the grammar. A single matrix becomes one product, C = A A or C = A A^T;
a network becomes one product after another, each with operands of its own.

>>> from hwsim.workloads_sparse import is_sparse, load_sparse
>>> is_sparse("rmat:scale=14,edges=262144,seed=1"), is_sparse("resnet50")
(True, False)
>>> network = load_sparse("rmat:scale=4,edges=40,seed=1")
>>> [(product.layer, product.m, product.n) for product in network.products]
[('aa', 16, 16)]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import scipy.sparse as sp

from hwsim.errors import UserError
from hwsim.models.matrix_market import read_market
from hwsim.models.rmat import GRAPH500, RmatSpec, rmat
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseNetwork, SparseProduct

__all__ = ["Op", "is_sparse", "load_sparse", "workload_name"]

Op = Literal["aa", "aat"]
"""C = A A or C = A A^T."""

_SUFFIXES = (".mtx", ".mtx.gz")
_PREFIXES = ("mtx:", "rmat:")
_RMAT_KEYS = ("scale", "edges", "seed", "a", "b", "c", "d", "values", "permute")
_YES_NO = {"yes": True, "no": False}


def is_sparse(workload: Any) -> bool:
    """Whether `load_sparse` is who reads this workload: by its type, prefix or suffix alone."""
    if isinstance(workload, Csr | SparseNetwork) or sp.issparse(workload):
        return True
    if not isinstance(workload, str | Path):
        return False
    text = str(workload)
    return text.startswith(_PREFIXES) or text.endswith(_SUFFIXES)


def workload_name(workload: Any) -> str:
    """What a report calls it: the text as given, or the kind and size of an object."""
    if isinstance(workload, str | Path):
        return str(workload)
    if isinstance(workload, SparseNetwork):
        return workload.name
    rows, cols = workload.shape
    return f"matrix {rows} x {cols}, {workload.nnz} entries"


def load_sparse(workload: Any, op: Op | None = None, seed: int = 0) -> SparseNetwork:
    """The products that a workload names.

    Args:
        workload: text as `docs/sparse-inputs.md` has it, a `scipy.sparse` matrix or array, a `Csr`
            or a `SparseNetwork`, which is returned as it is.
        op: `aa` for C = A A, `aat` for C = A A^T, None for `aa` when A is square and `aat` when it
            is not. Networks define their own products and take None only.
        seed: of generated matrices and weights where the text has none.

    Raises:
        UserError: the workload is not one of these, cannot be read, or does not fit `op`.
    """
    if op not in (None, "aa", "aat"):
        raise UserError(f"op must be aa or aat, but got {op!r}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, but got {seed}")
    name = workload_name(workload)
    try:
        if isinstance(workload, SparseNetwork):
            return workload
        if isinstance(workload, Csr):
            return _single(name, workload, op, [])
        if sp.issparse(workload):
            return _single(name, Csr.from_scipy(workload), op, [])
        if name.startswith("rmat:"):
            matrix, notes = _rmat(_pairs(name, _RMAT_KEYS), seed)
        else:
            matrix, notes = _market(name)
        return _single(name, matrix, op, notes)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(_named(name, str(error))) from None
    except MemoryError:
        raise UserError(f"workload {name}: it does not fit the memory of this machine") from None


def _single(name: str, a: Csr, op: Op | None, notes: Iterable[str]) -> SparseNetwork:
    """One product: A A, or A A^T."""
    m, n = a.shape
    if not m or not n:
        raise UserError(f"workload {name}: a matrix needs a row and a column, but got {m} x {n}")
    if op is None:
        op = "aa" if m == n else "aat"
    if op == "aa" and m != n:
        raise UserError(f"workload {name}: op=aa needs a square matrix, but got {m} x {n}")
    b = a if op == "aa" else a.transpose()
    return SparseNetwork(
        name=name, products=(SparseProduct(layer=op, a=a, b=b),), notes=tuple(notes)
    )


def _market(text: str) -> tuple[Csr, list[str]]:
    """A Matrix Market file: its path, or `mtx:path=FILE,zeros=keep`."""
    path, zeros = text, "drop"
    if text.startswith("mtx:"):
        given = _pairs(text, ("path", "zeros"))
        if "path" not in given:
            raise UserError(f"workload {text}: path=FILE is missing")
        path, zeros = given["path"], given.get("zeros", "drop")
    if zeros not in ("drop", "keep"):
        raise UserError(f"workload {text}: zeros is drop or keep, but got {zeros!r}")
    file = read_market(path, explicit_zeros=zeros)  # type: ignore[arg-type]
    return file.matrix, list(file.notes)


def _rmat(given: Mapping[str, str], seed: int) -> tuple[Csr, list[str]]:
    if "scale" not in given:
        raise ValueError("rmat needs scale=N, the log2 of its vertices")
    graph = rmat(
        RmatSpec(
            scale=_integer(given, "scale"),
            edges=_integer(given, "edges") if "edges" in given else None,
            seed=_integer(given, "seed") if "seed" in given else seed,
            probabilities=_probabilities(given),
            values=given.get("values", "ones"),
            permute=_choice(given, "permute", _YES_NO, False),
        )
    )
    notes = []
    if graph.duplicates:
        notes.append(
            f"rmat: {graph.duplicates} duplicate edges merged, {graph.matrix.nnz} entries remain"
        )
    if graph.self_loops:
        notes.append(f"rmat: {graph.self_loops} self-loops kept")
    return graph.matrix, notes


def _probabilities(given: Mapping[str, str]) -> tuple[float, float, float, float]:
    """a, b, c, d: Graph500's when none is given; d is the rest when it is the one left out."""
    names = [key for key in "abcd" if key in given]
    if not names:
        return GRAPH500
    if not {"a", "b", "c"} <= set(names):
        raise ValueError(f"a, b and c are given together, but got only {', '.join(names)}")
    a, b, c = (_number(given, key) for key in "abc")
    return a, b, c, _number(given, "d") if "d" in given else max(0.0, 1.0 - a - b - c)


def _pairs(text: str, known: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE,KEY=VALUE after the first colon; the keys known, each once."""
    pairs: dict[str, str] = {}
    known = tuple(known)
    for part in text.partition(":")[2].split(","):
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not value:
            raise UserError(f"workload {text}: KEY=VALUE is needed, but got {part!r}")
        if key not in known:
            raise UserError(f"workload {text}: {key!r} is not one of {', '.join(known)}")
        if key in pairs:
            raise UserError(f"workload {text}: {key} is given twice")
        pairs[key] = value
    return pairs


def _integer(given: Mapping[str, str], key: str) -> int:
    try:
        return int(given[key])
    except ValueError:
        raise ValueError(f"{key} must be an integer, but got {given[key]!r}") from None


def _number(given: Mapping[str, str], key: str) -> float:
    try:
        return float(given[key])
    except ValueError:
        raise ValueError(f"{key} must be a number, but got {given[key]!r}") from None


def _choice(given: Mapping[str, str], key: str, choices: Mapping[str, Any], default: Any) -> Any:
    if key not in given:
        return default
    if given[key] not in choices:
        raise ValueError(f"{key} must be one of {', '.join(choices)}, but got {given[key]!r}")
    return choices[given[key]]


def _named(name: str, sentence: str) -> str:
    """The sentence with the workload before it, unless it names the file already."""
    path = name.partition("path=")[2].partition(",")[0] or name
    return sentence if path in sentence else f"workload {name}: {sentence}"
