"""Every golden operator against onnxruntime on small random cases."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwsim.models.network import Node
from hwsim.models.ops import OPS, Context, load_all

load_all()
onnxruntime.set_default_logger_severity(4)
RNG = np.random.default_rng(0)
CONTEXT = Context(lambda node, a, b: a @ b)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


IMAGE = f32(2, 4, 9, 8)
# name, operator, inputs, attributes, opset
CASES = [
    ("conv", "Conv", [IMAGE, f32(6, 4, 3, 3)], {}, 17),
    ("conv-bias-stride", "Conv", [IMAGE, f32(6, 4, 3, 2), f32(6)], {"strides": [2, 3]}, 17),
    ("conv-asymmetric", "Conv", [IMAGE, f32(5, 4, 3, 3)], {"pads": [0, 1, 2, 3]}, 17),
    ("conv-dilated", "Conv", [IMAGE, f32(5, 4, 3, 2)], {"dilations": [2, 3], "pads": [2] * 4}, 17),
    ("conv-groups", "Conv", [IMAGE, f32(6, 2, 3, 3)], {"group": 2, "pads": [1] * 4}, 17),
    ("conv-depthwise", "Conv", [IMAGE, f32(4, 1, 3, 3)], {"group": 4, "strides": [2, 2]}, 17),
    ("conv-same-upper", "Conv", [IMAGE, f32(3, 4, 2, 4)],
     {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 17),
    ("conv-same-lower", "Conv", [IMAGE, f32(3, 4, 2, 4)], {"auto_pad": "SAME_LOWER"}, 17),
    ("conv-valid", "Conv", [IMAGE, f32(3, 4, 2, 4)], {"auto_pad": "VALID"}, 17),
    ("conv-1d", "Conv", [f32(2, 3, 20), f32(5, 3, 4)], {"strides": [3], "pads": [1, 2]}, 17),
    ("transpose-conv", "ConvTranspose", [IMAGE, f32(4, 3, 3, 2), f32(3)],
     {"strides": [2, 3], "pads": [1, 0, 0, 1]}, 17),
    ("transpose-conv-groups", "ConvTranspose", [IMAGE, f32(4, 3, 2, 2)],
     {"group": 2, "strides": [2, 2], "output_padding": [1, 1]}, 17),
    *[(f"transpose-conv-{rule.lower()}", "ConvTranspose", [IMAGE, f32(4, 2, 4, 3)],
       {"strides": [2, 2], "auto_pad": rule}, 17)
      for rule in ("SAME_LOWER", "SAME_UPPER", "VALID")],
    ("transpose-conv-sized", "ConvTranspose", [IMAGE, f32(4, 2, 3, 3)],
     {"strides": [2, 3], "output_shape": [18, 24]}, 17),
    ("transpose-conv-dilated", "ConvTranspose", [IMAGE, f32(4, 2, 3, 3)], {"dilations": [2, 2]},
     17),
    ("gemm", "Gemm", [f32(3, 5), f32(5, 4)], {}, 17),
    ("gemm-transposed", "Gemm", [f32(5, 3), f32(4, 5), f32(4)],
     {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}, 17),
    ("matmul", "MatMul", [f32(3, 5), f32(5, 4)], {}, 17),
    ("matmul-batched", "MatMul", [f32(2, 3, 4, 5), f32(3, 5, 6)], {}, 17),
    ("matmul-lead", "MatMul", [f32(2, 3, 5), f32(5, 6)], {}, 17),
    ("matmul-vector", "MatMul", [f32(5), f32(3, 5, 4)], {}, 17),
    ("matmul-by-vector", "MatMul", [f32(2, 3, 5), f32(5)], {}, 17),
    ("matmul-vectors", "MatMul", [f32(5), f32(5)], {}, 17),
    ("maxpool-bytes", "MaxPool", [(IMAGE * 50).astype(np.int8)],
     {"kernel_shape": [3, 3], "pads": [1] * 4}, 17),
    ("maxpool", "MaxPool", [IMAGE],
     {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}, 17),
    ("maxpool-ceil", "MaxPool", [IMAGE],
     {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}, 17),
    ("maxpool-dilated", "MaxPool", [IMAGE], {"kernel_shape": [2, 2], "dilations": [2, 3]}, 17),
    ("avgpool", "AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1] * 4}, 17),
    ("avgpool-include", "AveragePool", [IMAGE],
     {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, 17),
    ("avgpool-ceil", "AveragePool", [IMAGE],
     {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 19),
    ("global-average", "GlobalAveragePool", [IMAGE], {}, 17),
    ("global-max", "GlobalMaxPool", [IMAGE], {}, 17),
    ("batch-norm", "BatchNormalization",
     [IMAGE, f32(4), f32(4), f32(4), np.abs(f32(4)) + 0.1], {"epsilon": 1e-3}, 17),
    ("layer-norm", "LayerNormalization", [IMAGE, f32(9, 8), f32(9, 8)], {"axis": 2}, 17),
    ("instance-norm", "InstanceNormalization", [IMAGE, f32(4), f32(4)], {"epsilon": 1e-3}, 17),
    ("group-norm", "GroupNormalization", [IMAGE, f32(4), f32(4)], {"num_groups": 2}, 21),
    ("rms-norm", "RMSNormalization", [IMAGE, f32(8)], {"axis": 3}, 23),
    ("lrn", "LRN", [IMAGE], {"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 2.0}, 17),
    ("lp-norm", "LpNormalization", [IMAGE], {"axis": 1}, 17),
    ("lp-norm-1", "LpNormalization", [IMAGE], {"p": 1}, 17),
    ("layer-norm-last", "LayerNormalization", [IMAGE, f32(8)], {}, 17),
    ("softmax", "Softmax", [IMAGE], {"axis": 1}, 17),
    ("log-softmax", "LogSoftmax", [IMAGE], {}, 17),
    ("gelu", "Gelu", [IMAGE], {}, 20),
    ("gelu-tanh", "Gelu", [IMAGE], {"approximate": "tanh"}, 20),
    ("clip", "Clip", [IMAGE, np.float32(-0.5), np.float32(0.5)], {}, 17),
    ("clip-attributes", "Clip", [IMAGE], {"min": -0.5, "max": 0.25}, 9),
    ("leaky", "LeakyRelu", [IMAGE], {"alpha": 0.2}, 17),
    *[(op.lower(), op, [IMAGE], {"alpha": 0.7}, opset)
      for op, opset in (("Celu", 17), ("ThresholdedRelu", 17))],
    ("selu", "Selu", [IMAGE], {}, 17),
    ("elu", "Elu", [IMAGE], {"alpha": 0.7}, 17),
    ("hard-sigmoid", "HardSigmoid", [IMAGE], {"alpha": 0.3, "beta": 0.4}, 17),
    ("hard-swish", "HardSwish", [IMAGE], {}, 17),
    ("prelu", "PRelu", [IMAGE, f32(4, 1, 1)], {}, 17),
    *[(op.lower(), op, [IMAGE], {}, 17)
      for op in ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Identity", "Neg", "Relu", "Sigmoid",
                 "Sin", "Softplus", "Tanh", "Atan", "Asinh", "Cosh", "Sinh", "Tan", "Softsign",
                 "Round", "Sign", "IsNaN")],
    *[(op.lower(), op, [np.tanh(IMAGE)], {}, 17) for op in ("Acos", "Asin", "Atanh")],
    ("acosh", "Acosh", [np.abs(IMAGE) + np.float32(1)], {}, 17),
    ("mish", "Mish", [IMAGE], {}, 18),
    *[(op.lower(), op, [np.abs(IMAGE) + np.float32(0.1)], {}, 17)
      for op in ("Log", "Reciprocal", "Sqrt")],
    *[(op.lower(), op, [IMAGE, f32(4, 1, 8)], {}, 17) for op in ("Add", "Sub", "Mul", "Div")],
    ("pow", "Pow", [np.abs(IMAGE), np.float32(1.5)], {}, 17),
    ("integer-div", "Div", [i64(-7, 7, 9), i64(2, -2, 3)], {}, 17),
    *[(op.lower(), op, [IMAGE, f32(4, 1, 8)], {}, 17)
      for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")],
    *[(op.lower(), op, [IMAGE > 0, IMAGE < 0.5], {}, 17) for op in ("And", "Or", "Xor")],
    ("not", "Not", [IMAGE > 0], {}, 17),
    *[(op.lower(), op, [IMAGE, f32(8), f32(9, 1)], {}, 17) for op in ("Max", "Mean", "Min", "Sum")],
    ("where", "Where", [IMAGE > 0, IMAGE, f32(8)], {}, 17),
    *[(op.lower(), op, [IMAGE], {"axes": [1, 3], "keepdims": 0}, 11)
      for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
                 "ReduceProd", "ReduceSumSquare", "ReduceLogSumExp")],
    ("reduce-log-sum", "ReduceLogSum", [np.abs(IMAGE)], {"axes": [0, 2]}, 11),
    ("reduce-no-axes", "ReduceSum", [IMAGE, i64()], {}, 17),
    ("reduce-nothing", "ReduceSum", [IMAGE, i64()], {"noop_with_empty_axes": 1}, 17),
    ("reduce-input-axes", "ReduceMean", [IMAGE, i64(-1)], {}, 18),
    ("reduce-all", "ReduceSum", [IMAGE], {}, 17),
    ("argmax", "ArgMax", [IMAGE], {"axis": 1}, 17),
    ("argmax-last", "ArgMax", [np.rint(IMAGE)], {"axis": 3, "select_last_index": 1}, 17),
    ("argmin", "ArgMin", [np.rint(IMAGE)], {"axis": -1, "keepdims": 0}, 17),
    ("mod", "Mod", [i64(-7, 7, 9, -9), i64(2, -2, 4, -4)], {}, 17),
    ("fmod", "Mod", [IMAGE, np.float32(0.3)], {"fmod": 1}, 17),
    ("cast-like", "CastLike", [IMAGE, i64(1)], {}, 17),
    ("cast", "Cast", [IMAGE * 5], {"to": TensorProto.INT32}, 17),
    ("dropout", "Dropout", [IMAGE], {}, 17),
    ("reshape", "Reshape", [IMAGE, i64(0, -1, 4)], {}, 17),
    ("flatten", "Flatten", [IMAGE], {"axis": 2}, 17),
    ("transpose", "Transpose", [IMAGE], {"perm": [2, 0, 3, 1]}, 17),
    ("transpose-reverse", "Transpose", [IMAGE], {}, 17),
    ("squeeze", "Squeeze", [f32(1, 3, 1, 2), i64(0, 2)], {}, 17),
    ("squeeze-attribute", "Squeeze", [f32(1, 3, 1, 2)], {"axes": [2]}, 11),
    ("unsqueeze", "Unsqueeze", [f32(3, 2), i64(0, 3)], {}, 17),
    ("concat", "Concat", [IMAGE, f32(2, 1, 9, 8)], {"axis": 1}, 17),
    ("split", "Split", [IMAGE, i64(1, 3)], {"axis": 1}, 17),
    ("split-even", "Split", [IMAGE], {"axis": 3}, 13),
    ("slice", "Slice", [IMAGE, i64(1, -5), i64(9, 100), i64(2, 3), i64(2, 1)], {}, 17),
    ("slice-back", "Slice", [IMAGE, i64(-1), i64(-100), i64(3), i64(-2)], {}, 17),
    ("slice-from-before", "Slice", [IMAGE, i64(-100), i64(-200), i64(3), i64(-1)], {}, 17),
    ("slice-attributes", "Slice", [IMAGE], {"starts": [1], "ends": [3], "axes": [2]}, 9),
    ("gather", "Gather", [IMAGE, i64(2, -1, 0)], {"axis": 1}, 17),
    ("gather-scalar", "Gather", [IMAGE, np.array(1, np.int64)], {"axis": 2}, 17),
    ("expand", "Expand", [f32(3, 1), i64(2, 1, 4)], {}, 17),
    ("tile", "Tile", [f32(2, 3), i64(2, 3)], {}, 17),
    ("shape", "Shape", [IMAGE], {"start": 1, "end": -1}, 17),
    ("size", "Size", [IMAGE], {}, 17),
    ("constant-of-shape", "ConstantOfShape", [i64(2, 3)],
     {"value": numpy_helper.from_array(np.array([2.5], np.float32))}, 17),
    ("range", "Range", [np.array(v, np.int64) for v in (2, 11, 3)], {}, 17),
    ("pad", "Pad", [IMAGE, i64(0, 1, 2, 0, 1, 0, 0, 3), np.float32(2)], {}, 17),
    ("pad-negative", "Pad", [IMAGE, i64(0, 0, -1, 2, 0, 0, 1, -2)], {}, 17),
    ("pad-reflect", "Pad", [IMAGE, i64(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "reflect"}, 17),
    ("pad-wrap", "Pad", [IMAGE, i64(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "wrap"}, 19),
    ("pad-edge", "Pad", [IMAGE, i64(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "edge"}, 17),
    ("resize-scales", "Resize", [IMAGE, None, np.array([1, 1, 2, 2], np.float32)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
     17),
    ("resize-sizes", "Resize", [IMAGE, None, None, i64(2, 4, 13, 5)], {"mode": "nearest"}, 17),
    *[(f"resize-{mode}-{transform}-{n}", "Resize", [IMAGE, None, *how], {
        "mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": nearest}, 19)
      for mode, nearest in (("nearest", "ceil"), ("linear", "round_prefer_floor"))
      for transform in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
      for n, how in enumerate([
          (np.array([1, 1, 2, 1.5], np.float32),), (np.array([1, 1, 0.6, 0.5], np.float32),),
          (None, i64(2, 4, 13, 5)), (None, i64(2, 4, 1, 20))])],
    ("resize-axes", "Resize", [IMAGE, None, None, i64(12, 18)],
     {"mode": "linear", "axes": [3, 2], "keep_aspect_ratio_policy": "not_larger"}, 19),
    ("space-to-depth", "SpaceToDepth", [f32(2, 3, 4, 6)], {"blocksize": 2}, 17),
    ("gather-elements", "GatherElements", [IMAGE, RNG.integers(-4, 4, (2, 6, 3, 8))],
     {"axis": 1}, 17),
    ("cumsum", "CumSum", [IMAGE, np.array(2, np.int64)], {"exclusive": 1, "reverse": 1}, 17),
    ("triu", "Trilu", [IMAGE, np.array(-1, np.int64)], {}, 17),
    ("tril", "Trilu", [IMAGE], {"upper": 0}, 17),
    ("depth-to-space", "DepthToSpace", [IMAGE], {"blocksize": 2}, 17),
    ("depth-to-space-crd", "DepthToSpace", [IMAGE], {"blocksize": 2, "mode": "CRD"}, 17),
    ("lstm", "LSTM", [f32(5, 2, 3), f32(1, 16, 3), f32(1, 16, 4), f32(1, 32)],
     {"hidden_size": 4}, 17),
    ("lstm-both-ways", "LSTM",
     [f32(5, 2, 3), f32(2, 16, 3), f32(2, 16, 4), f32(2, 32), None, f32(2, 2, 4), f32(2, 2, 4)],
     {"hidden_size": 4, "direction": "bidirectional"}, 17),
    ("gru", "GRU", [f32(5, 2, 3), f32(1, 12, 3), f32(1, 12, 4), f32(1, 24)],
     {"hidden_size": 4}, 17),
    ("gru-before-reset", "GRU",
     [f32(5, 2, 3), f32(1, 12, 3), f32(1, 12, 4), f32(1, 24), None, f32(1, 2, 4)],
     {"hidden_size": 4, "linear_before_reset": 1}, 17),
    ("gru-reverse", "GRU", [f32(5, 2, 3), f32(1, 12, 3), f32(1, 12, 4)],
     {"hidden_size": 4, "direction": "reverse"}, 17),
]  # fmt: skip
OUTPUTS = {"LSTM": 3, "GRU": 2, "Split": 2}


def session(op, inputs, attrs, opset, outputs):
    names = [f"i{n}" if x is not None else "" for n, x in enumerate(inputs)]
    node = helper.make_node(op, names, outputs, **attrs)
    given = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x)
        )
        for name, x in zip(names, inputs, strict=True)
        if x is not None
    ]
    graph = helper.make_graph(
        [node], "one", given, [onnx.ValueInfoProto(name=name) for name in outputs]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    feed = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True) if x is not None}
    return onnxruntime.InferenceSession(model.SerializeToString()), feed


@pytest.mark.parametrize(("op", "inputs", "attrs", "opset"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_operator(op, inputs, attrs, opset):
    outputs = [f"o{i}" for i in range(OUTPUTS.get(op, 1))]
    run, feed = session(op, inputs, attrs, opset, outputs)
    want = run.run(None, feed)
    plain = {
        key: numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
        for key, value in attrs.items()
    }
    node = Node("one", op, tuple(f"i{n}" for n in range(len(inputs))), tuple(outputs), plain)
    found = OPS[op](node, inputs, CONTEXT)
    for a, b in zip(found, want, strict=False):
        assert a.shape == b.shape
        # float32 sums of at most a hundred terms in another order
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_every_operator_has_a_case():
    tested = {c[1] for c in CASES}
    # the importer reads Constant, onnxruntime has no Swish: the official cases cover both
    assert set(OPS) - tested == {"Constant", "Swish"}


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "text"),
    [
        ("Conv", [IMAGE, f32(6, 3, 3, 3)], {}, "input channels must be group * kernel channels"),
        ("Conv", [IMAGE, f32(6, 4, 10, 3)], {}, "but got 10 > 9"),
        ("Conv", [IMAGE, f32(6, 4, 3, 3)], {"auto_pad": "X"}, "one of ONNX's four, but got 'X'"),
        ("ConvTranspose", [IMAGE, f32(4, 1, 2, 2)], {"auto_pad": "X"}, "but got 'X'"),
        ("Pad", [IMAGE, i64(*[0] * 8)], {"mode": "mirror"}, "Pad mode 'mirror' is not supported"),
        ("Resize", [IMAGE, None, np.ones(4, np.float32)], {"mode": "linear", "antialias": 1},
         "antialias is not supported"),
        ("Resize", [IMAGE, None, np.ones(3, np.float32)], {}, "needs 4 scales or sizes, but got 3"),
        ("GroupNormalization", [IMAGE, f32(4), f32(4)], {"num_groups": 3},
         "num_groups must divide channels, but got 3 and 4"),
        ("Resize", [IMAGE, None, np.ones(4, np.float32)], {"mode": "cubic"}, "Resize cubic"),
        ("Resize", [IMAGE], {}, "Resize needs scales or sizes"),
        ("Cast", [IMAGE], {"to": 99}, "Cast to ONNX type 99 is not supported"),
        ("Unsqueeze", [IMAGE], {}, "Unsqueeze needs axes"),
        ("LSTM", [f32(5, 2, 3), f32(1, 16, 3), f32(1, 16, 4)], {"layout": 1}, "layout=1"),
        ("GRU", [f32(5, 2, 3), f32(1, 12, 3), f32(1, 12, 4)], {"activations": ["Relu", "Tanh"]},
         "activations ['Relu', 'Tanh']"),
        ("LSTM", [f32(5, 2, 3), f32(1, 16, 3), f32(1, 16, 4), None, i64(5, 4)], {}, "ragged"),
    ],
)  # fmt: skip
def test_forms_that_are_refused_say_so(op, inputs, attrs, text):
    node = Node("layer", op, tuple(f"i{n}" for n in range(len(inputs))), ("o",), attrs)
    with pytest.raises(ValueError, match=r"layer|ONNX") as caught:
        OPS[op](node, inputs, CONTEXT)
    assert text in str(caught.value)
