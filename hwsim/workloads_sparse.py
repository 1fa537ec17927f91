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
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from hwsim.errors import UserError
from hwsim.models.matrix_market import read_market
from hwsim.models.rmat import GRAPH500, RmatSpec, rmat
from hwsim.models.sparse import Csr
from hwsim.models.sparse_nets import (
    CHALLENGE_BIAS,
    binary_features,
    blob_images,
    challenge_layers,
    gcn,
    sparse_dnn,
)
from hwsim.models.spgemm import SparseNetwork, SparseProduct

__all__ = ["Op", "is_sparse", "load_sparse", "workload_name"]

Op = Literal["aa", "aat"]
"""C = A A or C = A A^T."""

_SUFFIXES = (".mtx", ".mtx.gz")
_PREFIXES = ("mtx:", "rmat:", "gcn:", "sparse-dnn:")
_RMAT_KEYS = ("scale", "edges", "seed", "a", "b", "c", "d", "values", "permute")
_GCN_KEYS = ("adjacency", "features", "inputs", "density", "hidden", "classes", "weights")
_DNN_KEYS = ("neurons", "layers", "images", "density", "bias", "weights", "seed")

_GCN_INPUTS, _GCN_DENSITY = 1433, 0.0127
"""Features of a graph that has none: as many and as dense as cora's (2708 x 1433, 49216 ones)."""

_DNN_LAYERS, _DNN_IMAGES, _DNN_DENSITY = 6, 60, 0.1
"""Not given; chosen: one repetition of the base layers at 1024 neurons, few images, and the density
of the challenge's images (1200 x 1024, 122713 ones)."""

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
    if isinstance(workload, Csr) or sp.issparse(workload):
        return f"matrix {' x '.join(map(str, workload.shape))}, {workload.nnz} entries"
    return str(getattr(workload, "name", type(workload).__name__))


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
            return _single(name, workload, [], op)
        if sp.issparse(workload):
            return _single(name, Csr.from_scipy(workload), [], op)
        if op is not None and name.startswith(("gcn:", "sparse-dnn:")):
            raise UserError(f"workload {name}: a network defines its products and takes no op")
        if name.startswith("gcn:"):
            return _gcn(name, seed)
        if name.startswith("sparse-dnn:"):
            return _sparse_dnn(name, seed)
        if name.startswith("rmat:"):
            return _single(name, *_rmat(_pairs(name, _RMAT_KEYS), seed), op)
        return _market(name, op)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(_named(name, str(error))) from None
    except MemoryError:
        raise UserError(f"workload {name}: it does not fit the memory of this machine") from None


def _single(
    name: str, a: Csr, notes: Iterable[str], op: Op | None, b: Csr | None = None
) -> SparseNetwork:
    """One product: A A, A A^T, or A B where there is a B."""
    for matrix in (a,) if b is None else (a, b):
        m, n = matrix.shape
        if not m or not n:
            raise UserError(
                f"workload {name}: a matrix needs a row and a column, but got {m} x {n}"
            )
        if not np.isfinite(matrix.data).all():
            wrong = matrix.data[~np.isfinite(matrix.data)][0]
            raise UserError(f"workload {name}: values must be finite, but got {wrong}")
    layer = "ab"
    if b is None:
        m, n = a.shape
        layer = op or ("aa" if m == n else "aat")
        if layer == "aa" and m != n:
            raise UserError(f"workload {name}: op=aa needs a square matrix, but got {m} x {n}")
        b = a if layer == "aa" else a.transpose()
    elif op is not None:
        raise UserError(f"workload {name}: op is for one matrix, and b=FILE is a second one")
    return SparseNetwork(
        name=name, products=(SparseProduct(layer=layer, a=a, b=b),), notes=tuple(notes)
    )


def _market(text: str, op: Op | None) -> SparseNetwork:
    """A Matrix Market file: its path, or `mtx:path=FILE,zeros=keep,b=FILE`."""
    given = {"path": text}
    if text.startswith("mtx:"):
        given = _pairs(text, ("path", "zeros", "b"))
        if "path" not in given:
            raise UserError(f"workload {text}: path=FILE is missing")
    wanted = given.get("zeros", "drop")
    if wanted not in ("drop", "keep"):
        raise UserError(f"workload {text}: zeros is drop or keep, but got {wanted!r}")
    zeros: Literal["drop", "keep"] = "keep" if wanted == "keep" else "drop"
    file = read_market(given["path"], explicit_zeros=zeros)
    if "b" not in given:
        return _single(text, file.matrix, file.notes, op)
    second = read_market(given["b"], explicit_zeros=zeros)
    return _single(text, file.matrix, (*file.notes, *second.notes), op, second.matrix)


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


def _gcn(text: str, seed: int) -> SparseNetwork:
    """`gcn:adjacency=FILE|rmat:scale=N,...`; R-MAT's keys stand beside the network's own."""
    given = _pairs(text, _GCN_KEYS + _RMAT_KEYS)
    source = given.get("adjacency")
    if source is None:
        raise UserError(f"workload {text}: adjacency=FILE or adjacency=rmat:scale=N is missing")
    graph_keys = {key: value for key, value in given.items() if key in _RMAT_KEYS}
    if source.startswith("rmat:"):
        own = _pairs(source, _RMAT_KEYS)
        if twice := sorted(own.keys() & graph_keys.keys()):
            raise UserError(f"workload {text}: {twice[0]} is given twice")
        adjacency, notes = _rmat(own | graph_keys, seed)
    elif graph_keys:
        raise UserError(f"workload {text}: {', '.join(graph_keys)} is for adjacency=rmat:scale=N")
    else:
        file = read_market(source)
        adjacency, notes = file.matrix, list(file.notes)
    if "features" in given:
        if "inputs" in given or "density" in given:
            raise UserError(f"workload {text}: inputs and density are for generated features")
        file = read_market(given["features"])
        features, notes = file.matrix, [*notes, *file.notes]
    else:
        inputs = _size(given, "inputs", _GCN_INPUTS)
        density = _number(given, "density") if "density" in given else _GCN_DENSITY
        features = binary_features(adjacency.shape[0], inputs, density, seed)
        notes.append(f"gcn: {inputs} binary features a vertex generated, density {density:g}")
    network = gcn(
        adjacency,
        features,
        name=text,
        hidden=_size(given, "hidden", 16),
        classes=_size(given, "classes", 7),
        weights=given.get("weights", "dense"),
        seed=seed,
    )
    return replace(network, notes=(*notes, *network.notes))


def _sparse_dnn(text: str, seed: int) -> SparseNetwork:
    """`sparse-dnn:neurons=N,layers=L,images=COUNT|FILE`, or `weights=FILE+FILE` for the layers."""
    given = _pairs(text, _DNN_KEYS)
    seed = _integer(given, "seed") if "seed" in given else seed
    notes: list[str] = []
    if "weights" in given:
        if "layers" in given or "neurons" in given:
            raise UserError(f"workload {text}: neurons and layers are for generated weights")
        files = [read_market(path) for path in given["weights"].split("+")]
        layers: Iterable[Csr] = [file.matrix for file in files]
        notes += [note for file in files for note in file.notes]
        neurons = files[0].matrix.shape[0]
    else:
        neurons = _size(given, "neurons", 1024)
        layers = challenge_layers(neurons, _size(given, "layers", _DNN_LAYERS), seed)
    if "bias" not in given and neurons not in CHALLENGE_BIAS:
        known = ", ".join(map(str, CHALLENGE_BIAS))
        raise UserError(f"workload {text}: bias=NUMBER is needed unless neurons is {known}")
    bias = _number(given, "bias") if "bias" in given else CHALLENGE_BIAS[neurons]
    source = given.get("images", str(_DNN_IMAGES))
    if source.isdecimal():
        density = _number(given, "density") if "density" in given else _DNN_DENSITY
        images = blob_images(_size({"images": source}, "images", 1), neurons, density, seed)
        notes.append(f"sparse-dnn: {source} binary images generated, mean density {density:g}")
    elif "density" in given:
        raise UserError(f"workload {text}: density is for generated images")
    else:
        file = read_market(source)
        images, notes = file.matrix, [*notes, *file.notes]
    network = sparse_dnn(images, layers, name=text, bias=bias)
    return replace(network, notes=(*notes, *network.notes))


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


def _size(given: Mapping[str, str], key: str, default: int) -> int:
    value = _integer(given, key) if key in given else default
    if value < 1:
        raise ValueError(f"{key} must be at least 1, but got {value}")
    return value


def _number(given: Mapping[str, str], key: str) -> float:
    try:
        value = float(given[key])
    except ValueError:
        value = nan
    if not isfinite(value):
        raise ValueError(f"{key} must be a number, but got {given[key]!r}")
    return value


def _choice(given: Mapping[str, str], key: str, choices: Mapping[str, Any], default: Any) -> Any:
    if key not in given:
        return default
    if given[key] not in choices:
        raise ValueError(f"{key} must be one of {', '.join(choices)}, but got {given[key]!r}")
    return choices[given[key]]


def _named(name: str, sentence: str) -> str:
    """The sentence with the workload before it, unless it begins with the workload's file."""
    return sentence if sentence.startswith(name) else f"workload {name}: {sentence}"
