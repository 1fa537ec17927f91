"""ONNX files: real trained networks against onnxruntime, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import FILES, find
from onnx import TensorProto, helper, numpy_helper
from products import planned_products

from hwsim.models.forward import forward
from hwsim.models.lowering import lower
from hwsim.models.onnx_import import UnsupportedOperator, load_onnx
from hwsim.models.work import Gemm

onnxruntime.set_default_logger_severity(4)


@pytest.mark.parametrize(
    ("name", "batch"), [*((name, 1) for name in FILES), ("ocr_classify", 3), ("nsnet2", 2)]
)
def test_real_networks_match_onnxruntime(name, batch):
    path = find(name)
    network = load_onnx(path, batch=batch)
    rng = np.random.default_rng(0)
    x = {i: (rng.standard_normal(network.shapes[i]) / 2).astype(np.float32) for i in network.inputs}
    done: Counter[tuple[str, int, int, int]] = Counter()

    def hook(node, a, b, z):
        done[node.name, a.shape[0], b.shape[1], a.shape[1]] += 1

    found = forward(network, x, hook=hook)
    assert planned_products(network) == done  # what is simulated is what is computed
    session = onnxruntime.InferenceSession(str(path))
    feed = dict(x)
    for value in session.get_inputs():
        if value.name == "sr":
            feed["sr"] = np.array(16000, np.int64)
        elif value.name not in feed:  # read by the file, without influence on its output
            shape = [d if isinstance(d, int) and d > 0 else 1 for d in value.shape]
            feed[value.name] = np.zeros(shape, np.float32)
    want = session.run(None, feed)
    assert len(found) == len(want)
    for (tensor, a), b in zip(found.items(), want, strict=True):
        assert a.shape == b.shape == tuple(network.shapes[tensor])
        # float32 in another order through up to 400 layers: measured 5e-6 of the largest value
        assert np.abs(a - b).max() <= 3e-5 * np.abs(b).max()
    for tensor, value in forward(network, x, keep=True).items():
        assert value.shape == tuple(network.shapes[tensor])


def test_batch_and_free_dimensions():
    network = load_onnx(find("nsnet2"), batch=3, dims={"frames": 7})
    assert network.shapes["input"] == (3, 7, 161)
    assert network.notes == ()
    with_default = load_onnx(find("nsnet2"))
    assert with_default.shapes["input"] == (1, 100, 161)
    assert "--dim frames=SIZE" in with_default.notes[0]
    gemms = [w for w in lower(network) if isinstance(w, Gemm)]
    recurrent = next(w for w in gemms if w.layer.endswith(".recurrent"))
    assert (recurrent.m, recurrent.n, recurrent.k, recurrent.count) == (3, 1200, 400, 7)
    assert recurrent.shared


def model(nodes, inputs, outputs, initial=(), opset=17, domain=""):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
        initializer=[numpy_helper.from_array(v, n) for n, v in initial],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(tmp_path, proto):
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    return path


def test_symbolic_batch_of_an_exported_network(tmp_path):
    """What PyTorch and TensorFlow export: a named batch, a reshape computed from the shape."""
    w = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    proto = model(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["b"], axis=0),
            helper.make_node("Unsqueeze", ["b", "axes"], ["b1"]),
            helper.make_node("Concat", ["b1", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        [("x", ["batch_size", 3, 4])],
        [("y", ["batch_size", 5])],
        [
            ("zero", np.array(0, np.int64)),
            ("axes", np.array([0], np.int64)),
            ("rest", np.array([-1], np.int64)),
            ("w", w),
        ],
    )
    network = load_onnx(save(tmp_path, proto), batch=6)
    assert [n.op for n in network.nodes] == ["Reshape", "MatMul"]
    assert network.shapes["y"] == (6, 5)
    (gemm,) = [v for v in lower(network) if isinstance(v, Gemm)]
    assert (gemm.m, gemm.n, gemm.k, gemm.weights) == (6, 5, 12, True)
    x = np.ones((6, 3, 4), np.float32)
    np.testing.assert_allclose(forward(network, {"x": x})["y"], x.reshape(6, 12) @ w, rtol=1e-6)


def test_unsupported_operators_are_named_with_count_and_share(tmp_path):
    proto = model(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Det", ["y"], ["d"]),
            helper.make_node("Magic", ["y"], ["z"], domain="com.example"),
        ],
        [("x", [4, 4])],
        [("d", []), ("z", [4, 4])],
        [("w", np.eye(4, dtype=np.float32))],
        domain="com.example",
    )
    with pytest.raises(UnsupportedOperator) as caught:
        load_onnx(save(tmp_path, proto))
    text = str(caught.value)
    assert "Det (1 of 3 nodes, 0 % of those with products)" in text
    assert "com.example.Magic (1 of 3 nodes" in text


def test_unsupported_products_have_a_share(tmp_path):
    proto = model(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("RNN", ["y3", "wr", "rr"], ["z"], hidden_size=4),
        ],
        [("x", [4, 4]), ("y3", [2, 1, 4])],
        [("y", [4, 4]), ("z", [2, 1, 1, 4])],
        [
            ("w", np.eye(4, dtype=np.float32)),
            ("wr", np.zeros((1, 4, 4), np.float32)),
            ("rr", np.zeros((1, 4, 4), np.float32)),
        ],
    )
    with pytest.raises(UnsupportedOperator, match=r"RNN \(1 of 2 nodes, 50 % of those"):
        load_onnx(save(tmp_path, proto))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not a valid ONNX model"),
        (b"not a protobuf at all", "is not a valid ONNX model"),
        (b"\x08\x07", "is not a valid ONNX model: it holds no operators"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(tmp_path, content, text):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_onnx(path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path):
    whole = find("nsnet2").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is not a valid ONNX model") as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*none\.onnx: No such file"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="batch >= 1 must hold, but got 0"):
        load_onnx(find("nsnet2"), batch=0)
    with pytest.raises(ValueError, match="dimension frames >= 1 must hold, but got -2"):
        load_onnx(find("nsnet2"), dims={"frames": -2})
    with pytest.raises(ValueError, match="has no free dimension width; it has frames"):
        load_onnx(find("nsnet2"), dims={"width": 2})
    with pytest.raises(ValueError, match=r"imported with sequence=20: Conv .* must fit"):
        load_onnx(find("silero_vad_16k"), dims={"sequence": 20})


def check(tmp_path, proto, x, **options):
    """The outputs equal onnxruntime's."""
    path = save(tmp_path, proto)
    network = load_onnx(path, **options)
    found = forward(network, x)
    want = onnxruntime.InferenceSession(str(path)).run(None, x)
    for a, b in zip(found.values(), want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)  # a few float32 roundings
    return network


IMAGE = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("attrs", [{}, {"axis": 2}, {"axis": 0}])
def test_softmax_of_old_opsets_runs_over_all_later_axes(tmp_path, op, attrs):
    nodes = [helper.make_node(op, ["x"], ["y"], **attrs)]
    proto = model(nodes, [("x", [2, 3, 4, 5])], [("y", [2, 3, 4, 5])], opset=11)
    check(tmp_path, proto, {"x": IMAGE})


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_resizing(tmp_path, op, opset, mode):
    scales = np.array([1, 1, 2, 3], np.float32)
    nodes = [helper.make_node(op, ["x", "s"], ["y"], mode=mode)]
    outputs = [("y", [2, 3, 8, 15])]
    proto = model(nodes, [("x", [2, 3, 4, 5])], outputs, [("s", scales)], opset)
    network = check(tmp_path, proto, {"x": IMAGE})
    assert network.shapes["y"] == (2, 3, 8, 15)


def test_outputs_that_nothing_uses_may_be_left_out(tmp_path):
    nodes = [
        helper.make_node("MaxPool", ["x"], ["y", "indices"], kernel_shape=[2, 2]),
        helper.make_node("Dropout", ["y"], ["z", "mask"]),
    ]
    outputs = [("z", [2, 3, 3, 4])]
    check(tmp_path, model(nodes, [("x", [2, 3, 4, 5])], outputs), {"x": IMAGE})
    nodes.append(helper.make_node("Cast", ["indices"], ["i"], to=TensorProto.FLOAT))
    proto = model(nodes, [("x", [2, 3, 4, 5])], [*outputs, ("i", [2, 3, 3, 4])])
    with pytest.raises(ValueError, match=r"output 2 of MaxPool \(indices\) is used and not comp"):
        load_onnx(save(tmp_path, proto))


def test_half_precision_files_compute_in_float32(tmp_path):
    w = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float16)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["half"], ["same"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Mul", ["a", "same"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2, 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [2, 3, 4, 6])],
        [numpy_helper.from_array(v, n) for n, v in (("w", w), ("half", np.array(0.5, np.float32)))],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = save(tmp_path, proto)
    network = load_onnx(path)
    assert network.notes == ("input x is FLOAT16; everything computes in float32",)
    assert network.value("w").dtype == np.float32
    x = IMAGE.astype(np.float16)
    (found,) = forward(network, {"x": x}).values()
    (want,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})
    np.testing.assert_allclose(found, want.astype(np.float32), rtol=2e-3, atol=2e-3)  # FP16 there


def test_local_functions_are_inlined(tmp_path):
    """What PyTorch's exporter writes for a module."""
    body = [
        helper.make_node("MatMul", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Layer", ["a", "b"], ["d"], body, opsets)
    w = np.eye(5, dtype=np.float32)
    proto = model(
        [
            helper.make_node("Layer", ["x", "w"], ["h"], domain="local"),
            helper.make_node("Layer", ["h", "w"], ["y"], domain="local"),
        ],
        [("x", [2, 3, 4, 5])],
        [("y", [2, 3, 4, 5])],
        [("w", w)],
        domain="local",
    )
    proto.functions.append(function)
    network = check(tmp_path, proto, {"x": IMAGE})
    assert [n.op for n in network.nodes] == ["MatMul", "Relu"] * 2
    assert len({n.name for n in network.nodes}) == 4


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "opset", "text"),
    [
        ("Add", ["x", "v"], {"axis": 1, "broadcast": 1}, 6, "lines up axes with axis=1"),
        ("Dropout", ["x", "r", "t"], {}, 13, "Dropout .*training_mode is not supported"),
        ("Reshape", ["x", "n"], {}, 17, "cannot be imported: Reshape"),
    ],
)
def test_forms_that_would_be_computed_wrongly_are_refused(tmp_path, op, inputs, attrs, opset, text):
    values = {
        "v": np.ones(3, np.float32),
        "r": np.array(0.5, np.float32),
        "t": np.array(True),
        "n": np.array([7, 9], np.int64),
    }
    proto = model(
        [helper.make_node(op, inputs, ["y"], **attrs)],
        [("x", [2, 3, 4, 5])],
        [("y", ["a", "b", "c", "d"])],
        [(n, values[n]) for n in inputs[1:]],
        opset,
    )
    with pytest.raises(ValueError, match=text) as caught:
        load_onnx(save(tmp_path, proto))
    assert "\n" not in str(caught.value)


def test_training_batch_norm_is_refused(tmp_path):
    names = ["x", "s", "b", "m", "v"]
    proto = model(
        [helper.make_node("BatchNormalization", names, ["y", "p", "q"], training_mode=1)],
        [("x", [2, 3, 4, 5])],
        [("y", [2, 3, 4, 5])],
        [(n, np.ones(3, np.float32)) for n in names[1:]],
    )
    with pytest.raises(ValueError, match="training_mode=1 is not supported"):
        load_onnx(save(tmp_path, proto))


def test_missing_external_data_is_refused_in_one_sentence(tmp_path):
    w = np.random.default_rng(0).standard_normal((5, 400)).astype(np.float32)
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", [2, 5])],
        [("y", [2, 400])],
        [("w", w)],
    )
    path = tmp_path / "net.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert load_onnx(path).value("w").shape == (5, 400)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ValueError, match="is not a valid ONNX model") as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)


PUBLISHED = ("bvlc_alexnet", "inception_v1", "resnet50", "shufflenet")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_of_the_onnx_package(name):
    """Opset 9 files of real architectures, their weights constants: old forms, groups, LRN."""
    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    path = folder / f"light_{name}.onnx"
    network = load_onnx(path)
    (tensor,) = network.inputs
    x = np.random.default_rng(0).standard_normal(network.shapes[tensor]).astype(np.float32)
    values = forward(network, {tensor: x}, keep=True)
    (want,) = onnxruntime.InferenceSession(str(path)).run(None, {tensor: x})
    np.testing.assert_allclose(values[network.outputs[0]], want, rtol=1e-4, atol=1e-6)
    for tensor, value in values.items():
        assert value.shape == tuple(network.shapes[tensor])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_damaged_files_are_refused_or_imported(digits_file, seed, count):
    """Random bytes overwritten: a ValueError of one line, or a network, and nothing else."""
    whole, folder = digits_file
    rng = np.random.default_rng(seed)
    data = bytearray(whole)
    for at in rng.integers(0, len(data), count):
        data[at] = rng.integers(256)
    if seed % 2:
        data = data[: rng.integers(len(data))]
    path = folder / "damaged.onnx"
    path.write_bytes(bytes(data))
    try:
        load_onnx(path)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    """A small CNN with most of the bytes in its structure, and a folder."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1] * 4, name="conv"),
        helper.make_node("BatchNormalization", ["c", *"sbmv"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2], name="pool"),
        helper.make_node("Reshape", ["p", "shape"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "g"], ["y"], transB=1, name="fc"),
    ]
    weights = [("w", np.ones((2, 1, 3, 3), np.float32)), ("g", np.ones((3, 32), np.float32))]
    weights += [(n, np.ones(2, np.float32)) for n in "sbmv"]
    weights += [("shape", np.array([0, -1], np.int64))]
    proto = model(nodes, [("x", ["batch", 1, 8, 8])], [("y", ["batch", 3])], weights)
    folder = tmp_path_factory.mktemp("damaged")
    path = save(folder, proto)
    load_onnx(path, batch=2)
    return path.read_bytes(), folder


def test_a_condition_that_depends_on_the_data_is_refused(tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["out"])],
        "b",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])],
    )
    proto = model(
        [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Greater", ["top", "zero"], ["cond"]),
            helper.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=branch),
        ],
        [("x", [2])],
        [("y", [2])],
        [("zero", np.array(0, np.float32))],
    )
    with pytest.raises(ValueError, match="only conditions that the shapes settle are supported"):
        load_onnx(save(tmp_path, proto))
