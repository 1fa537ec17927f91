"""Reads an ONNX file and refuses what is broken or made of unknown operators."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import onnx
from onnx import checker, inliner

from hwsim.models.ops import unsupported

__all__ = ["UnsupportedOperator", "check_operators", "read_model"]

_REWRITTEN = {"If", "Upsample"}
"""Operators that the import turns into others."""

_MAC_OPERATORS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"}


class UnsupportedOperator(ValueError):
    """The file uses operators that there is no golden model of; the message names them all."""


def read_model(path: Path) -> tuple[onnx.ModelProto, str]:
    """The checked model in a file, its local functions inlined, and a digest of the file.

    Raises:
        ValueError: the file cannot be read or is no valid model.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()[:16]
    try:
        model = onnx.load(str(path))
        if not model.graph.node:
            raise ValueError("it holds no operators")
        checker.check_model(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:  # protobuf, checker and external data raise unrelated types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a valid ONNX model: {reason[:200]}") from None
    return model, digest


def check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model with operators that there is no golden model of, branches included.

    Raises:
        UnsupportedOperator: names each, how often it occurs, and its share of the products.
    """
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    names = [n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in nodes]
    missing = unsupported([name for name in names if name not in _REWRITTEN])
    if not missing:
        return
    counts = Counter(names)
    heavy = {name for name in counts if _base(name) in _MAC_OPERATORS}
    total = sum(counts[name] for name in heavy)
    parts = []
    for name in missing:
        share = 100 * counts[name] / total if name in heavy else 0
        parts.append(
            f"{name} ({counts[name]} of {len(nodes)} nodes, {share:.0f} % of those with products)"
        )
    raise UnsupportedOperator(f"{path.name} uses unsupported operators: {', '.join(parts)}")


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """The graph and the graphs inside its nodes."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _graphs(attribute.g)
    return found


def _base(name: str) -> str:
    """The float operator that a quantised or vendor operator stands for."""
    return name.split(".")[-1].removeprefix("QLinear").removesuffix("Integer")
