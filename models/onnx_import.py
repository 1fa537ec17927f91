"""Imports any ONNX file made of the operators that `hwsim.models.ops` knows.

Shapes are made concrete: the batch dimension by the caller, every other free dimension by the
caller or by a stated default; then the graph is walked once, constants are folded (that is what
most of a real file's shape arithmetic is), `If` with a known condition is inlined, and the shape
of what is left is inferred node by node by `onnx`, with the constants known so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, defs, helper, numpy_helper, shape_inference

from hwsim.models.network import Network, Node, Parameter, constant
from hwsim.models.onnx_file import UnsupportedOperator, check_operators, read_model
from hwsim.models.onnx_opsets import COMPUTED_OUTPUTS, modern
from hwsim.models.ops import OPS, Context, load_all
from hwsim.models.ops_linear import window_parameters

__all__ = ["UnsupportedOperator", "load_onnx"]

_IMAGE_SIZES = (224, 48, 32, 640)
_LENGTHS = (100, 512, 576)
"""Sizes tried in order for a free dimension that is not the batch: of 4-D inputs, of others."""

_SCALARS = {"sr": 16000}
"""Values of integer scalar inputs that are known by name (a sampling rate in Hz); others are 0."""

_FLOATS = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE}
"""Types that are all computed in float32."""

_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a golden operator raises on operands that it is not made for."""


def load_onnx(
    path: str | Path, *, batch: int = 1, dims: Mapping[str, int] | None = None
) -> Network:
    """The network in an ONNX file.

    Args:
        path: the file.
        batch: size of the first dimension of every input that leaves it free.
        dims: sizes of named free dimensions, or of all unnamed ones under the name `?`.

    Raises:
        UnsupportedOperator: an operator is unknown.
        ValueError: the file cannot be read or is no valid model, a dimension does not fit, or a
            size is below 1.
    """
    path = Path(path)
    if batch < 1:
        raise ValueError(f"batch >= 1 must hold, but got {batch}")
    given = dict(dims or {})
    for name, size in given.items():
        if size < 1:
            raise ValueError(f"dimension {name} >= 1 must hold, but got {size}")
    model, digest = read_model(path)
    load_all()
    check_operators(model, path)
    free = _free_dims(model)
    unknown = set(given) - free - {"?"}
    if unknown:
        known = ", ".join(sorted(free)) or "none"
        raise ValueError(
            f"{path.name} has no free dimension {', '.join(sorted(unknown))}; it has {known}"
        )
    failures: list[str] = []
    for image, length in _candidates(free - set(given)):
        try:
            return _Importer(model, path, batch, given, image, length, digest).network()
        except _DoesNotFit as error:
            failures.append(str(error))
    if not free - set(given):
        sizes = ", ".join(f"{name}={size}" for name, size in given.items())
        chosen = f" with {sizes}" if sizes else ""
        raise ValueError(f"{path.name} cannot be imported{chosen}: {failures[0]}")
    raise ValueError(
        f"{path.name}: no default size of its free dimensions ({', '.join(sorted(free))}) fits, "
        f"give them with --dim NAME=SIZE; the first try failed at {failures[0]}"
    )


class _DoesNotFit(ValueError):
    """The chosen sizes do not go through the graph."""


def _candidates(free: set[str]) -> list[tuple[int, int]]:
    if not free:
        return [(_IMAGE_SIZES[0], _LENGTHS[0])]
    longest = max(len(_IMAGE_SIZES), len(_LENGTHS))
    return [
        (_IMAGE_SIZES[min(i, len(_IMAGE_SIZES) - 1)], _LENGTHS[min(i, len(_LENGTHS) - 1)])
        for i in range(longest)
    ]


def _free_dims(model: onnx.ModelProto) -> set[str]:
    """Names of the free dimensions that the batch size does not settle."""
    names = set()
    initial = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        if value.name in initial:
            continue
        shape = value.type.tensor_type.shape.dim
        for i, dim in enumerate(shape):
            if not _fixed(dim) and not _is_batch(shape, i):
                names.add(_dim_name(value.name, i, dim))
    return names


def _fixed(dim: Any) -> bool:
    return dim.HasField("dim_value") and dim.dim_value > 0


def _is_batch(shape: Any, position: int) -> bool:
    """A dimension named so, or the first free one of a tensor if it has no telling name."""
    name = shape[position].dim_param.lower()
    first = all(_fixed(dim) for dim in shape[:position])
    return "batch" in name or (first and (name in ("", "n", "?") or name.endswith("dimension.0")))


def _dim_name(tensor: str, position: int, dim: Any) -> str:
    name = dim.dim_param
    return name if name not in ("", "?") else f"{tensor}.{position}"


class _Importer:
    """One walk through the graph with all input sizes chosen."""

    def __init__(
        self,
        model: onnx.ModelProto,
        path: Path,
        batch: int,
        dims: Mapping[str, int],
        image: int,
        length: int,
        digest: str,
    ) -> None:
        self.model = model
        self.path = path
        self.batch = batch
        self.dims = dims
        self.image = image
        self.length = length
        self.digest = digest
        self.opsets = {o.domain: o.version for o in model.opset_import}
        self.constants: dict[str, NDArray] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.nodes: list[Node] = []
        self.used: set[str] = set()
        self.rename: dict[str, str] = {}
        self.notes: list[str] = []
        self.left_out: dict[str, str] = {}

    def network(self) -> Network:
        graph = self.model.graph
        for tensor in graph.initializer:
            self._constant(tensor.name, numpy_helper.to_array(tensor))
        inputs = self._inputs(graph)
        self._walk(graph)
        outputs = tuple(self.rename.get(o.name, o.name) for o in graph.output)
        for name in outputs:
            self._refuse_left_out(name)
        nodes = self._live(outputs)
        wanted = {name for node in nodes for name in node.inputs} | set(outputs)
        parameters: dict[str, Parameter] = {
            name: constant(
                _wide(self.constants[name]), trained=self.constants[name].dtype.kind == "f"
            )
            for name in wanted
            if name in self.constants
        }
        shapes = {name: self._shape(name) for name in self.types}
        shapes |= {name: p.shape for name, p in parameters.items()}
        return Network(
            name=self.path.stem,
            nodes=tuple(nodes),
            inputs=tuple(i for i in inputs if i in wanted),
            outputs=outputs,
            shapes=shapes,
            parameters=parameters,
            notes=tuple(self.notes),
            source=f"onnx:{self.digest}",
        )

    def _inputs(self, graph: onnx.GraphProto) -> list[str]:
        names = []
        for value in graph.input:
            if value.name in self.constants:
                continue
            kind = value.type.tensor_type
            if not kind.HasField("shape"):
                raise ValueError(f"{self.path.name}: input {value.name} has no tensor shape")
            dims = kind.shape.dim
            shape = [self._size(value.name, dims, i) for i in range(len(dims))]
            if not shape and kind.elem_type in (TensorProto.INT64, TensorProto.INT32):
                scalar = _SCALARS.get(value.name, 0)
                self.notes.append(f"input {value.name} is set to {scalar}")
                self._constant(value.name, np.array(scalar, np.int64))
                continue
            if kind.elem_type in _FLOATS - {TensorProto.FLOAT}:
                kept = TensorProto.DataType.Name(kind.elem_type)
                self.notes.append(f"input {value.name} is {kept}; everything computes in float32")
            self._type(value.name, kind.elem_type, shape)
            names.append(value.name)
        return names

    def _size(self, tensor: str, shape: Any, position: int) -> int:
        dim = shape[position]
        if _fixed(dim):
            return int(dim.dim_value)
        if _is_batch(shape, position):
            return self.batch
        name = _dim_name(tensor, position, dim)
        if name in self.dims:
            return self.dims[name]
        if "?" in self.dims and name.startswith(f"{tensor}."):
            return self.dims["?"]
        size = self.image if len(shape) == 4 else self.length
        self.notes.append(f"free dimension {name} is set to {size}; --dim {name}=SIZE changes it")
        return size

    def _walk(self, graph: onnx.GraphProto) -> None:
        for proto in graph.node:
            inputs = [self.rename.get(name, name) for name in proto.input]
            attrs = {a.name: _attribute(a) for a in proto.attribute}
            if proto.op_type == "If":
                self._inline(proto, inputs, attrs)
                continue
            for tensor in inputs:
                self._refuse_left_out(tensor)
            name = proto.name or f"{proto.op_type}_{len(self.nodes)}"
            if name in self.used:
                name = f"{name}_{len(self.nodes)}"
            self.used.add(name)
            node = Node(name, proto.op_type, tuple(inputs), self._outputs(proto), attrs)
            try:
                node = modern(node, self.opsets.get("", 1), self.constants)
            except ValueError as error:
                raise ValueError(f"{self.path.name}: {error}") from None
            if node.op == "Shape" and inputs[0] in self.types:
                full = self._shape(inputs[0])
                cut = full[attrs.get("start", 0) : attrs.get("end")]
                self._constant(node.outputs[0], np.array(cut, np.int64))
            elif node.op == "Identity":
                self.rename[node.outputs[0]] = inputs[0]
            elif all(not i or i in self.constants for i in inputs):
                self._fold(node)
            else:
                self._infer(proto, node)
                self.nodes.append(node)

    def _outputs(self, proto: onnx.NodeProto) -> tuple[str, ...]:
        """The outputs that are computed; the others are remembered, in case they are used."""
        count = COMPUTED_OUTPUTS.get(proto.op_type, len(proto.output))
        for position, name in enumerate(proto.output[count:], start=count + 1):
            self.left_out[name] = f"output {position} of {proto.op_type} {proto.name}".rstrip()
        return tuple(proto.output[:count])

    def _refuse_left_out(self, tensor: str) -> None:
        if tensor in self.left_out:
            raise ValueError(
                f"{self.path.name}: {self.left_out[tensor]} ({tensor}) is used and not computed"
            )

    def _inline(self, proto: onnx.NodeProto, inputs: list[str], attrs: Mapping[str, Any]) -> None:
        if inputs[0] not in self.constants:
            raise ValueError(
                f"{self.path.name}: If {proto.name or 'node'} depends on the data; only conditions "
                "that the shapes settle are supported"
            )
        chosen = attrs["then_branch" if self.constants[inputs[0]].item() else "else_branch"]
        for tensor in chosen.initializer:
            self._constant(tensor.name, numpy_helper.to_array(tensor))
        self._walk(chosen)
        for outer, inner in zip(proto.output, chosen.output, strict=True):
            self.rename[outer] = self.rename.get(inner.name, inner.name)

    def _fold(self, node: Node) -> None:
        args = [self.constants[i] if i else None for i in node.inputs]
        context = Context(lambda _, a, b: a @ b)
        try:
            with np.errstate(all="ignore"):
                results = OPS[node.op](node, args, context)
        except _MISFITS as error:
            raise _DoesNotFit(f"{node.op} {node.name}: {error}") from None
        for name, value in zip(node.outputs, results, strict=False):
            self._constant(name, np.asarray(value))

    def _infer(self, proto: onnx.NodeProto, node: Node) -> None:
        if node.op != proto.op_type or node.inputs != tuple(
            self.rename.get(name, name) for name in proto.input
        ):  # rewritten from an old opset, whose schema does not know this form
            for name in node.outputs:
                self._keep(node, name, self._evaluate(node, name))
            return
        clean = helper.make_node(node.op, list(node.inputs), list(node.outputs), node.name)
        clean.attribute.extend(proto.attribute)
        types = {name: self.types[name] for name in node.inputs if name}
        data = {
            name: numpy_helper.from_array(self.constants[name], name)
            for name in node.inputs
            if name in self.constants and self.constants[name].size <= 64
        }
        schema = defs.get_schema(node.op, self.opsets.get("", 1), "")
        try:
            found = shape_inference.infer_node_outputs(
                schema, clean, types, data, opset_imports=list(self.model.opset_import)
            )
        except Exception as error:  # the C++ inference raises its own type
            reason = " ".join(str(error).split())
            raise _DoesNotFit(f"{node.op} {node.name}: {reason[:160]}") from None
        if node.op == "Reshape":  # onnx's inference takes the wanted shape without counting
            size, kind = prod(self._shape(node.inputs[0])), found.get(node.outputs[0])
            if kind and _concrete(kind):
                wanted = [d.dim_value for d in kind.tensor_type.shape.dim]
                if prod(wanted) != size:
                    raise _DoesNotFit(f"Reshape {node.name}: {size} elements to shape {wanted}")
        if node.op in ("Conv", "MaxPool", "AveragePool"):
            # onnx's inference gives a window that does not fit one position
            kernel = (
                self._shape(node.inputs[1])[2:] if node.op == "Conv" else node.attrs["kernel_shape"]
            )
            try:
                window_parameters(node, self._shape(node.inputs[0])[2:], kernel)
            except ValueError as error:
                raise _DoesNotFit(f"{node.op} {error}") from None
        for name in node.outputs:
            if not name:
                continue
            kind = found.get(name)
            if kind is None or not _concrete(kind):
                kind = self._evaluate(node, name)
            self._keep(node, name, kind)

    def _keep(self, node: Node, name: str, kind: onnx.TypeProto) -> None:
        if any(d.dim_value < 1 for d in kind.tensor_type.shape.dim):
            raise _DoesNotFit(f"{node.op} {node.name} whose result {name} is empty")
        shape = [d.dim_value for d in kind.tensor_type.shape.dim]
        self._type(name, kind.tensor_type.elem_type, shape)

    def _evaluate(self, node: Node, wanted: str) -> onnx.TypeProto:
        """The shape that the golden operator gives on zeros, where inference gives up."""
        args: list[Any] = []
        for name in node.inputs:
            if name in self.constants:
                args.append(self.constants[name])
            elif name:
                dtype = helper.tensor_dtype_to_np_dtype(self.types[name].tensor_type.elem_type)
                args.append(np.zeros(self._shape(name), dtype))
            else:
                args.append(None)
        try:
            with np.errstate(all="ignore"):
                results = OPS[node.op](node, args, Context(lambda _, a, b: a @ b))
        except _MISFITS as error:
            raise _DoesNotFit(f"{node.op} {node.name}: {error}") from None
        result = np.asarray(results[list(node.outputs).index(wanted)])
        return helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(result.dtype), list(result.shape)
        )

    def _constant(self, name: str, value: NDArray) -> None:
        self.constants[name] = value
        self._type(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)

    def _type(self, name: str, elem_type: int, shape: Sequence[int]) -> None:
        kind = TensorProto.FLOAT if elem_type in _FLOATS else elem_type
        self.types[name] = helper.make_tensor_type_proto(kind, list(shape))

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(d.dim_value for d in self.types[name].tensor_type.shape.dim)

    def _live(self, outputs: tuple[str, ...]) -> list[Node]:
        """Nodes that the outputs depend on, in order."""
        needed = set(outputs)
        live: list[Node] = []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                live.append(node)
                needed |= set(node.inputs)
        return live[::-1]


def _concrete(kind: onnx.TypeProto) -> bool:
    tensor = kind.tensor_type
    return tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [v.decode() for v in value]
    return value


def _wide(value: NDArray) -> NDArray:
    """Floating-point constants as float32, the type that everything is computed in."""
    floats = value.dtype.kind == "f" or value.dtype.name == "bfloat16"
    return value.astype(np.float32) if floats else value
