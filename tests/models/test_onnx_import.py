"""ONNX files: real trained networks against onnxruntime, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import FILES, find
from onnx import TensorProto, helper, numpy_helper

from hwsim.models.forward import forward
from hwsim.models.lowering import lower
from hwsim.models.onnx_import import UnsupportedOperator, load_onnx
from hwsim.models.work import Gemm

onnxruntime.set_default_logger_severity(4)


@pytest.mark.parametrize("name", FILES)
def test_real_networks_match_onnxruntime(name):
    path = find(name)
    network = load_onnx(path)
    rng = np.random.default_rng(0)
    x = {i: (rng.standard_normal(network.shapes[i]) / 2).astype(np.float32) for i in network.inputs}
    found = forward(network, x)
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
    assert sum(w.macs for w in lower(network) if isinstance(w, Gemm)) > 1e5


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
    with pytest.raises(ValueError, match="no default size of its free dimensions"):
        load_onnx(find("silero_vad_16k"), dims={"sequence": 20})


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
