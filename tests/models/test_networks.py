"""The zoo against published counts, forward passes, folding, lowering."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from products import planned_products

from hwsim.dataflows.gemm import gemm
from hwsim.models import digits
from hwsim.models.builder import NetworkBuilder
from hwsim.models.fold import fold_batch_norm
from hwsim.models.formats import FP16, INT8
from hwsim.models.forward import float32, forward, fp16, int8, quantise
from hwsim.models.im2col import im2col, kernel_matrix, windows
from hwsim.models.lowering import lower
from hwsim.models.network import constant
from hwsim.models.nm import NMPattern, nm_mask
from hwsim.models.work import Gemm, Vector
from hwsim.models.zoo import ZOO, build, from_pytorch

PUBLISHED = {
    # parameters (torchvision 0.20, timm 1.0, transformers 4), GMAC of products at batch 1
    "resnet18": (11_689_512, 1.814),
    "resnet50": (25_557_032, 4.089),
    "vgg19": (20_035_018, 0.398),
    "mobilenet_v2": (3_504_872, 0.301),
    "vit_small": (22_050_664, 4.599),
    "bert_base": (85_054_464, 11.174),
    "resnet20": (269_722, 0.0406),
}


@pytest.mark.parametrize(("name", "counts"), PUBLISHED.items(), ids=PUBLISHED)
def test_published_counts(name, counts):
    network = build(name)
    assert network.parameter_count == counts[0]
    macs = sum(w.macs for w in lower(network) if isinstance(w, Gemm))
    assert macs / 1e9 == pytest.approx(counts[1], abs=5e-4)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_network_lowers_with_unique_layer_names(name):
    work = lower(build(name, batch=2))
    assert len({w.layer for w in work}) == len(work)
    first = {w.layer.split(".")[0] for w in work if isinstance(w, Gemm) and w.first}
    assert len(first) == 1  # the first layer, which is two products where it is recurrent
    for w in work:
        if isinstance(w, Gemm):
            assert min(w.m, w.n, w.k, w.count) >= 1
            if w.conv:
                assert w.m == w.conv.batch * w.conv.out_h * w.conv.out_w
                assert w.k == w.conv.kernel_h * w.conv.kernel_w * w.conv.channels


@pytest.mark.parametrize("name", ["resnet9", "resnet20", "lstm", "gru", "digits_cnn"])
def test_lowering_gives_the_products_that_forward_does(name):
    network = build(name, batch=2)
    done: Counter[tuple[str, int, int, int]] = Counter()

    def hook(node, a, b, z):
        done[node.name, a.shape[0], b.shape[1], a.shape[1]] += 1

    rng = np.random.default_rng(0)
    x = {i: rng.standard_normal(network.shapes[i]).astype(np.float32) for i in network.inputs}
    out = forward(network, x, hook=hook)
    for name_, y in out.items():
        assert y.shape == tuple(network.shapes[name_])
        assert np.isfinite(y).all()
    assert planned_products(network) == done


def test_planned_products_of_mobilenet_are_one_a_group():
    planned = planned_products(build("mobilenet_v2"))
    assert planned["block1.depthwise", 112 * 112, 1, 9] == 32


@pytest.mark.parametrize(
    ("op", "before", "shapes", "gates"),
    [
        ("LSTM", 0, [(6, 20, 4), (2, 20, 5)], (3 * 2 * 5 * 9, 3 * 2 * 5 * 2, 3 * 2 * 5 * 13)),
        ("GRU", 1, [(6, 15, 4), (2, 15, 5)], (3 * 2 * 5 * 7, 3 * 2 * 5, 3 * 2 * 5 * 11)),
        ("GRU", 0, [(6, 15, 4), (2, 10, 5), (2, 5, 5)], (3 * 2 * 5 * 7, 3 * 2 * 5, 3 * 2 * 5 * 11)),
    ],
)
def test_lowering_of_recurrences(op, before, shapes, gates):
    """3 steps of batch 2 from 4 to 5: the products are those that forward does, in that order."""
    b = NetworkBuilder("net")
    b.recurrent("r", op, b.input("x", 3, 2, 4), 5)
    if op == "GRU":
        b.nodes[0] = replace(b.nodes[0], attrs={**b.nodes[0].attrs, "linear_before_reset": before})
    network = b.finish("r.squeeze")
    seen: list[tuple[int, int, int]] = []
    x = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
    forward(network, {"x": x}, hook=lambda n, a, b, z: seen.append((*z.shape, a.shape[1])))
    *products, vector = lower(network)
    assert [(w.m, w.n, w.k) for w in products] == shapes
    assert seen == [shapes[0], *shapes[1:] * 3]
    assert [w.count for w in products] == [1] + [3] * (len(shapes) - 1)
    assert vector.layer == "r.gates"
    assert (vector.elements_in, vector.elements_out, vector.operations) == gates


def test_lowering_of_a_transposed_convolution():
    """3 x 4 x 5 channels in two groups to 6 channels, kernel 2 x 3, stride 2: taps, then a sum."""
    b = NetworkBuilder("net")
    weight = b.parameter("w", (4, 3, 2, 3), fan_in=12)
    x = b.input("x", 1, 4, 4, 5)
    b.node("up", "ConvTranspose", [x, weight], (1, 6, 8, 11), group=2, strides=[2, 2])
    network = b.finish(b.unary("relu", "Relu", "up"))
    seen: list[tuple[int, int, int]] = []
    image = np.random.default_rng(0).standard_normal((1, 4, 4, 5)).astype(np.float32)
    values = forward(
        network,
        {"x": image},
        keep=True,
        hook=lambda n, a, b, z: seen.append((*z.shape, a.shape[1])),
    )
    assert values["up"].shape == network.shapes["up"]
    gemm, scatter, relu = lower(network)
    assert isinstance(gemm, Gemm)
    assert seen == [(gemm.m, gemm.n, gemm.k)] * gemm.count == [(20, 18, 2)] * 2
    assert isinstance(scatter, Vector)
    assert (scatter.elements_in, scatter.elements_out, scatter.operations) == (720, 528, 720)
    assert isinstance(relu, Vector)
    assert relu.fused


def test_recurrences_that_are_not_computed_are_not_lowered():
    b = NetworkBuilder("net")
    b.recurrent("r", "LSTM", b.input("x", 3, 2, 4), 5)
    b.nodes[0] = replace(b.nodes[0], attrs={"hidden_size": 5, "layout": 1})
    with pytest.raises(ValueError, match="r: LSTM with layout=1 is not supported"):
        lower(b.finish("r.squeeze"))


def test_shapes_of_every_tensor_are_those_computed():
    network = build("resnet20")
    x = {"image": np.zeros((1, 3, 32, 32), np.float32)}
    for name, value in forward(network, x, keep=True).items():
        assert value.shape == tuple(network.shapes[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_small", "bert_base", "vgg19"])
def test_large_networks_run(name):
    network = build(name)
    rng = np.random.default_rng(0)
    x = {i: rng.standard_normal(network.shapes[i]).astype(np.float32) for i in network.inputs}
    values = forward(network, x, keep=True)
    for tensor, value in values.items():
        assert value.shape == tuple(network.shapes[tensor])
    assert np.isfinite(values[network.outputs[0]]).all()


def test_fp16_forward_is_the_golden_product_whatever_kernel_runs_it():
    network = build("digits_cnn", batch=4)
    x = {"image": np.random.default_rng(0).random((4, 1, 8, 8), np.float32)}
    seen = []

    def hook(node, a, b, z):
        assert a.dtype == b.dtype == np.float16
        seen.append(FP16.bits(z))

    slow = forward(network, x, fp16(), hook=hook)
    count = len(seen)
    fast = forward(network, x, fp16(gemm), hook=hook)
    assert count == 3
    for a, b in zip(seen[:count], seen[count:], strict=True):
        assert (a == b).all()
    assert (slow["fc"] == fast["fc"]).all()


def test_trained_digits_keep_their_accuracy_in_every_arithmetic():
    for name, least in (("digits_mlp", 0.90), ("digits_cnn", 0.93)):
        x, y = digits.test_images(name)
        network = build(name, batch=len(x))
        scores = []
        for rule in (float32(), fp16(gemm), int8(gemm)):
            (logits,) = forward(network, {"image": x}, rule).values()
            scores.append((logits.argmax(1) == y).mean())
        assert scores[0] >= least
        assert max(scores) - min(scores) <= 0.01  # rounding may turn a close call


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_shipped_weights_are_pruned_along_k(name):
    weights = digits.shipped_weights(name)
    layers = [key for key in weights if key.endswith(".weight")]
    for layer in layers[1:]:
        b = kernel_matrix(weights[layer])
        kept = (b[: b.shape[0] // 4 * 4].reshape(-1, 4, b.shape[1]) != 0).sum(axis=1)
        assert kept.max() <= 2
    assert (weights[layers[0]] != 0).mean() > 0.9


def test_training_is_reproducible_and_learns():
    first, accuracy = digits.train("digits_mlp", epochs=4, pattern=NMPattern(2, 4))
    again, _ = digits.train("digits_mlp", epochs=4, pattern=NMPattern(2, 4))
    assert accuracy > 0.8
    for key in first:
        assert (first[key] == again[key]).all()


def test_batch_norm_folds_to_the_same_function():
    b = NetworkBuilder("net")
    x = b.input("x", 2, 3, 9, 9)
    y = b.batch_norm("bn1", b.conv("conv1", x, 4, 3, bias=True))
    y = b.unary("relu", "Relu", y)
    network = b.finish(b.batch_norm("bn2", b.conv("conv2", y, 5, 3, groups=1)))
    rng = np.random.default_rng(0)
    for name, p in list(network.parameters.items()):
        if ".var" in name:
            network.parameters[name] = constant(rng.random(p.shape, np.float32) + 0.5)  # type: ignore[index]
        elif "bn" in name or "bias" in name:
            network.parameters[name] = constant(  # type: ignore[index]
                rng.standard_normal(p.shape).astype(np.float32)
            )
    folded = fold_batch_norm(network)
    assert [n.op for n in folded.nodes] == ["Conv", "Relu", "Conv"]
    image = {"x": rng.standard_normal((2, 3, 9, 9)).astype(np.float32)}
    (want,), (found,) = forward(network, image).values(), forward(folded, image).values()
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)  # another order of rounding


@pytest.mark.parametrize(
    ("op", "x", "w", "out", "attrs"),
    [
        ("Gemm", (3, 5), (4, 5), (3, 4), {"transB": 1}),
        ("Gemm", (3, 5), (5, 4), (3, 4), {}),
        (
            "ConvTranspose",
            (2, 6, 4, 3),
            (6, 2, 2, 3),
            (2, 4, 8, 7),
            {"group": 2, "strides": [2, 2]},
        ),
        ("ConvTranspose", (2, 3, 5), (3, 4, 2), (2, 4, 6), {}),
        ("Conv", (2, 6, 5, 4), (4, 3, 2, 2), (2, 4, 4, 3), {"group": 2}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_folds_into_every_product(op, x, w, out, attrs, bias):
    rng = np.random.default_rng(0)
    b = NetworkBuilder("net")
    inputs = [b.input("x", *x), b.constant("w", rng.standard_normal(w).astype(np.float32))]
    if bias:
        inputs.append(b.constant("bias", rng.standard_normal(4).astype(np.float32)))
    norm = [b.node("product", op, inputs, out, **attrs)]
    norm += [
        b.constant(name, (rng.random(4) + 0.5).astype(np.float32))
        for name in ("scale", "shift", "mean", "variance")
    ]
    network = b.finish(b.node("norm", "BatchNormalization", norm, out, epsilon=1e-3))
    folded = fold_batch_norm(network)
    assert [n.op for n in folded.nodes] == [op]
    values = {"x": rng.standard_normal(x).astype(np.float32)}
    (want,), (found,) = forward(network, values).values(), forward(folded, values).values()
    assert found.shape == out
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)  # another order of rounding


def test_folding_leaves_what_others_read():
    b = NetworkBuilder("net")
    y = b.conv("conv", b.input("x", 1, 3, 5, 5), 4, 3)
    z = b.batch_norm("bn", y)
    network = b.finish(b.add("add", y, z))
    assert [n.op for n in fold_batch_norm(network).nodes] == ["Conv", "BatchNormalization", "Add"]
    b = NetworkBuilder("net")
    y = b.node("fc", "Gemm", [b.input("x", 2, 3), b.constant("w", np.eye(3))], (2, 3), alpha=0.5)
    network = b.finish(b.batch_norm("bn", y))
    assert [n.op for n in fold_batch_norm(network).nodes] == ["Gemm", "BatchNormalization"]
    b = NetworkBuilder("net")
    inputs = [b.input("x", 2, 3), b.constant("w", np.eye(3)), b.constant("c", np.ones((2, 3)))]
    network = b.finish(b.batch_norm("bn", b.node("fc", "Gemm", inputs, (2, 3))))
    assert [n.op for n in fold_batch_norm(network).nodes] == ["Gemm", "BatchNormalization"]


def test_folding_keeps_every_layer_of_resnet18():
    work = lower(fold_batch_norm(build("resnet18")))
    assert sum(isinstance(w, Gemm) for w in work) == 21
    assert not any(isinstance(w, Vector) and w.op == "BatchNormalization" for w in work)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 8), st.integers(1, 8),
       st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_im2col_against_loops(batch, channels, h, w, kh, kw, stride, dilation, seed):
    assume(dilation * (kh - 1) < h and dilation * (kw - 1) < w)
    x = np.random.default_rng(seed).standard_normal((batch, channels, h, w))
    oh, ow = ((s - dilation * (k - 1) - 1) // stride + 1 for s, k in ((h, kh), (w, kw)))
    a = im2col(windows(x, (kh, kw), (stride, stride), (dilation, dilation), (oh, ow)))
    row = 0
    for n in range(batch):
        for y in range(oh):
            for z in range(ow):
                column = 0
                for i in range(kh):
                    for j in range(kw):
                        for c in range(channels):
                            want = x[n, c, y * stride + i * dilation, z * stride + j * dilation]
                            assert a[row, column] == want
                            column += 1
                row += 1
    assert a.shape == (row, kh * kw * channels)


def test_quantise_is_symmetric_and_uses_the_whole_range():
    q, scale = quantise(np.array([-2.0, 0.5, 1.0], np.float32))
    assert q.tolist() == [-127, 32, 64]
    assert scale == np.float32(2) / np.float32(127)
    assert quantise(np.zeros(3, np.float32))[1] == 1
    assert INT8.operand(q).dtype == np.int8


def test_weights_are_lazy_and_seeded():
    a, b, c = build("resnet9"), build("resnet9"), build("resnet9", seed=1)
    name = "prep.conv.weight"
    assert (a.value(name) == b.value(name)).all()
    assert (a.value(name) != c.value(name)).any()


def test_stated_sparsity_is_the_share_of_zeros():
    b = NetworkBuilder("net", sparsity=0.75)
    b.linear("fc", b.input("x", 2, 64), 32)
    w = b.finish("fc").value("fc.weight")
    assert (w == 0).mean() == 0.75


def test_masks_of_a_convolution_run_along_input_channels():
    w = np.random.default_rng(0).standard_normal((5, 8, 3, 3)).astype(np.float32)
    along_k = nm_mask(kernel_matrix(w), 2, 4, 0)
    along_channels = nm_mask(w, 2, 4, 1)
    assert (along_k == kernel_matrix(along_channels)).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: build("resnet1"), "the zoo has no network 'resnet1'"),
        (lambda: build("resnet9", batch=0), "batch >= 1 must hold, but got 0"),
        (lambda: forward(build("gemm256"), {}), "gemm256 needs an input 'a'"),
        (
            lambda: forward(build("digits_mlp"), {"image": np.zeros((2, 64))}),
            "input 'image' must have shape (1, 64), but got (2, 64)",
        ),
        (
            lambda: forward(build("digits_mlp"), {"image": np.full((1, 64), np.nan)}),
            "input 'image' must not hold NaN",
        ),
        (lambda: build("resnet9").value("x"), "resnet9 has no parameter 'x'"),
        (lambda: NetworkBuilder("n", sparsity=1.0), "0 <= sparsity < 1 must hold, but got 1.0"),
        (lambda: digits.train("x"), "name must be one of digits_mlp, digits_cnn, but got 'x'"),
    ],
)
def test_errors_name_the_rule_and_the_value(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)


def test_trained_weights_are_checked():
    names = {n: np.zeros(p.shape, np.float32) for n, p in build("digits_mlp").parameters.items()}
    renamed = {f"module.{n}": v for n, v in names.items()} | {"module.bn.num_batches_tracked": 3}
    network = build("digits_mlp", weights=from_pytorch(renamed))
    assert not network.value("fc1.weight").any()
    with pytest.raises(ValueError, match=r"there are no trained values for fc3\.bias"):
        build("digits_mlp", weights={k: v for k, v in names.items() if k != "fc3.bias"})
    with pytest.raises(ValueError, match=r"fc1\.bias must have shape \(64,\), but got \(3,\)"):
        build("digits_mlp", weights=names | {"fc1.bias": np.zeros(3)})


def test_builder_refuses_what_does_not_fit():
    b = NetworkBuilder("n")
    x = b.input("x", 1, 3, 8, 8)
    with pytest.raises(
        ValueError, match="conv: groups must divide channels and filters, but got 2"
    ):
        b.conv("conv", x, 4, 3, groups=2)
    with pytest.raises(ValueError, match="big: the window must fit"):
        b.conv("big", x, 4, 9)
    b.unary("relu", "Relu", x)
    with pytest.raises(ValueError, match="the name relu is taken"):
        b.unary("relu", "Relu", x)


def test_trained_resnet20_of_the_shared_folder(shared):
    """Loads with every tensor in place; 91.8 % is stated by its source, no test images are here."""
    stored = np.load(shared / "data/models/resnet20_cifar/resnet20-12fca82f.npz")
    network = build("resnet20", batch=2, weights=from_pytorch(stored))
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    (logits,) = forward(network, {"image": x}).values()
    (exact,) = forward(network, {"image": x}, fp16(gemm)).values()
    assert logits.shape == (2, 10)
    np.testing.assert_allclose(exact, logits, rtol=0.05, atol=0.05)  # FP16 operands
    assert (exact.argmax(1) == logits.argmax(1)).all()
