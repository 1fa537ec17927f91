"""The work of a training step: products to the last tap, passes, masks, updates."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.backward_products import activation_gradients, input_gradient, weight_gradient
from hwsim.models.builder import NetworkBuilder
from hwsim.models.lowering import lower
from hwsim.models.lowering_training import kept_bits, lower_training
from hwsim.models.work import ConvGeometry, Gemm, Update, Vector
from hwsim.models.zoo import build

ZOO = ["resnet9", "resnet18", "resnet20", "resnet50", "vgg19", "mobilenet_v2", "vit_small",
       "bert_base", "digits_mlp", "digits_cnn", "gemm256"]  # fmt: skip


@st.composite
def convs(draw):
    """Convolutions of any stride, dilation and padding, not square."""
    sides = []
    for _ in range(2):
        kernel, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        reach = (kernel - 1) * dilation + 1
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        size = draw(st.integers(max(1, reach - before - after), 14))
        stride = draw(st.integers(1, 4))
        out = (size + before + after - reach) // stride + 1
        sides.append((size, kernel, stride, dilation, before, after, out))
    (h, kh, sh, dh, top, bottom, oh), (w, kw, sw, dw, left, right, ow) = sides
    batch, channels, filters = (draw(st.integers(1, 3)) for _ in range(3))
    geometry = ConvGeometry(
        batch=batch, height=h, width=w, channels=channels, kernel_h=kh, kernel_w=kw, stride_h=sh,
        stride_w=sw, dilation_h=dh, dilation_w=dw, pad_top=top, pad_left=left, pad_bottom=bottom,
        pad_right=right, out_h=oh, out_w=ow,
    )  # fmt: skip
    return Gemm(
        layer="c", op="Conv", m=batch * oh * ow, n=filters, k=kh * kw * channels,
        count=draw(st.integers(1, 2)), conv=geometry,
    )  # fmt: skip


def links(g, starts=(0, 0), strides=(1, 1)):
    """Every pair (input position, output position) that a window joins, padding left out."""
    found = Counter()
    for y in range(g.out_h):
        for x in range(g.out_w):
            for i in range(g.kernel_h):
                for j in range(g.kernel_w):
                    r = y * g.stride_h - g.pad_top + i * g.dilation_h
                    c = x * g.stride_w - g.pad_left + j * g.dilation_w
                    if 0 <= r < g.height and 0 <= c < g.width:
                        there = (y * strides[0] + starts[0], x * strides[1] + starts[1])
                        found[(r, c), there] += 1
    return found


@given(forward=convs())
def test_the_phases_of_a_backward_convolution_join_what_the_forward_one_joins(forward):
    g = forward.conv
    products, missing = input_gradient(forward)
    found, covered = Counter(), 0
    for product in products:
        b = product.conv
        starts = (0, 0)
        if "[" in product.layer:
            starts = tuple(int(v) for v in product.layer[2:-1].split(","))
        for (dy, dx), count in links(b, starts, (g.stride_h, g.stride_w)).items():
            found[dx, dy] += count
        assert (b.height, b.width, b.channels) == (g.out_h, g.out_w, forward.n)
        assert (b.stride_h, b.stride_w) == (1, 1)
        assert product.m == g.batch * b.out_h * b.out_w
        assert product.k == b.kernel_h * b.kernel_w * forward.n
        assert (product.n, product.count, product.stage) == (g.channels, forward.count, "BP")
        covered += product.m
    assert found == links(g)
    assert covered * g.channels * forward.count + missing == (
        g.batch * g.height * g.width * g.channels * forward.count
    )


def test_a_strided_convolution_does_the_macs_of_its_forward():
    """3 x 3, stride 2, padding 1 on an even map: phases of 1, 2, 2 and 4 taps."""
    b = NetworkBuilder("n")
    x = b.conv("c1", b.input("x", 2, 3, 8, 8), 16, 3, pad=1)
    b.conv("c2", x, 32, 3, stride=2, pad=1)
    work = lower_training(b.finish("c2"))
    forward = next(w for w in work if w.layer == "c2" and w.stage == "FF")
    backward = [w for w in work if w.layer.startswith("c2[") and w.stage == "BP"]
    assert [w.k for w in backward] == [32, 64, 64, 128]
    assert sum(w.macs for w in backward) == forward.macs == 2 * 16 * 9 * 16 * 32
    weights = next(w for w in work if w.layer == "c2" and w.stage == "WU")
    assert (weights.m, weights.n, weights.k) == (9 * 16, 32, 2 * 16)
    assert weights.macs == forward.macs


def test_a_pointwise_convolution_of_stride_2_leaves_three_quarters_zero():
    b = NetworkBuilder("n")
    x = b.conv("c1", b.input("x", 1, 3, 8, 8), 16, 3, pad=1)
    b.conv("c2", x, 32, 1, stride=2)
    work = lower_training(b.finish("c2"))
    backward = [w for w in work if w.layer.startswith("c2") and w.stage == "BP"]
    assert [(w.layer, w.macs) for w in backward if isinstance(w, Gemm)] == [
        ("c2[0,0]", 16 * 16 * 32)
    ]
    zero = next(w for w in backward if isinstance(w, Vector))
    assert (zero.elements_out, zero.lane_steps) == (3 * 16 * 16, 0)


def test_products_of_two_activations_have_two_backward_products():
    forward = Gemm(layer="qk", op="MatMul", m=10, n=20, k=30, count=6, weights=False)
    a, b = activation_gradients(forward)
    assert (a.m, a.n, a.k, a.count, a.weights) == (10, 30, 20, 6, False)
    assert (b.m, b.n, b.k, b.count, b.weights) == (30, 20, 10, 6, False)
    assert weight_gradient(forward).macs == forward.macs == a.macs == b.macs


def test_turning_twice_gives_the_same_product():
    work = lower_training(build("resnet18"))
    for item in work:
        if isinstance(item, Gemm):
            turned = item.turned()
            assert (turned.m, turned.n, turned.k) == (item.n, item.m, item.k)
            assert turned.turned() == item


@pytest.mark.parametrize("name", ZOO)
def test_macs_of_a_step(name):
    """FF is the forward network; WU repeats what has weights, BP all but the first layer."""
    network = build(name, batch=2)
    work = lower_training(network)
    macs = Counter()
    for item in work:
        if isinstance(item, Gemm):
            macs[item.stage] += item.macs
    forward = [w for w in lower(network) if isinstance(w, Gemm)]
    trained = sum(w.macs for w in forward if w.weights)
    pairs = sum(w.macs for w in forward if not w.weights)
    first = next(w for w in forward if w.first)
    inputs = {node.name for node in network.nodes if set(node.inputs) & set(network.inputs)}
    ends = sum(w.macs for w in forward if w.layer in inputs)  # BERT has three first layers
    assert macs["FF"] == trained + pairs
    assert macs["WU"] == trained
    assert macs["BP"] == trained - ends + 2 * pairs
    assert next(w for w in work if isinstance(w, Gemm)).first
    assert not any(w.stage == "BP" and w.layer.split("[")[0] == first.layer for w in work)


@pytest.mark.parametrize("name", ZOO)
def test_every_trained_element_is_updated_once(name):
    network = build(name)
    updates = [w for w in lower_training(network) if isinstance(w, Update)]
    assert sum(u.weights + u.others for u in updates) == network.parameter_count
    for u in updates:
        products = [*u.forward, *u.backward]
        for product in u.forward:
            assert product.k * product.n * product.count == u.weights
        assert not products or u.weights
        if u.backward:
            assert sum(p.k * p.n * p.count for p in u.backward) == u.weights


def test_element_wise_work_of_a_residual_block_by_hand():
    """conv1, then x = relu(bn(conv1)); y = relu(bn(conv2(x)) + x); fc on the pooled y.

    N elements of the map everywhere, 16 bits each, masks of 1 bit.
    """
    b = NetworkBuilder("n")
    x = b.conv("c1", b.input("image", 1, 3, 4, 4), 8, 3, pad=1)
    x = b.unary("r1", "Relu", b.batch_norm("bn1", x))
    y = b.batch_norm("bn2", b.conv("c2", x, 8, 3, pad=1))
    y = b.unary("r2", "Relu", b.add("add", y, x))
    network = b.finish(b.linear("fc", b.global_pool("pool", y), 10))
    work = lower_training(network)
    n = 8 * 16
    items = {(w.layer, w.stage): w for w in work}
    # forward: each batch norm is one pass, the residual is read in the second, masks are written
    assert items["bn1", "FF"].elements_in == items["bn1", "FF"].elements_out == n
    assert items["bn2", "FF"].elements_in == 2 * n
    assert items["bn1", "FF"].write_bits == items["bn2", "FF"].write_bits == n
    assert all(items[name, "FF"].fused for name in ("r1", "add", "r2"))
    # the pool's backward pass writes dy: it applies r2's mask, and reads bn2's map for its sums
    pool = items["pool", "BP"]
    assert (pool.elements_in, pool.elements_out, pool.read_bits) == (8, n, (1 + 16) * n)
    assert (items["bn2", "BP"].elements_in, items["bn2", "BP"].lane_steps) == (2 * n, n)
    # dx leaves c2's backward product: it adds the residual's gradient, then r1's mask and bn1's map
    assert items["c2", "BP"].side_read_bits == 16 + 1 + 16
    assert items["c2", "BP"].side_write_bits == 0
    assert ("c1", "BP") not in items
    stages = [w.stage for w in work if not (isinstance(w, Vector) and w.fused)]
    assert stages == [
        *["FF", "FF", "FF", "FF", "FF", "FF"],  # c1 bn1 c2 bn2 pool fc
        *["BP", "BP", "WU", "WUVE"],  # loss, fc
        *["BP", "BP", "WUVE"],  # pool, bn2
        *["BP", "WU", "WUVE"],  # c2
        *["BP", "WUVE", "WU", "WUVE"],  # bn1, c1
    ]
    # inputs of products and batch norms, and the masks of both ReLUs
    assert sum(kept_bits(network).values()) == 16 * (3 * 16 + n + n + n + 8) + 2 * n


def test_a_gradient_shared_by_two_branches_is_stored_beside_what_a_mask_makes_of_it():
    """z = relu(a) + b with a, b two products of x: dz goes to b as it is and to a masked."""
    b = NetworkBuilder("n")
    x = b.linear("fc0", b.input("x", 2, 8), 8)
    z = b.add("sum", b.unary("r", "Relu", b.linear("a", x, 8)), b.linear("b", x, 8))
    work = lower_training(b.finish(b.linear("out", z, 4)))
    items = {(w.layer, w.stage): w for w in work if isinstance(w, Gemm)}
    assert (items["out", "BP"].side_read_bits, items["out", "BP"].side_write_bits) == (1, 16)
    # x has two readers: the product that comes second adds what the first one stored
    sides = sorted(items[name, "BP"].side_read_bits for name in "ab")
    assert sides == [0, 16]


def test_two_sums_of_one_map_add_their_gradients_in_a_pass():
    b = NetworkBuilder("n")
    x = b.linear("fc0", b.input("x", 2, 8), 8)
    z = b.add("s2", b.add("s1", b.linear("f", x, 8), x), x)
    work = lower_training(b.finish(z))
    extra = [w for w in work if w.layer.endswith(".sum")]
    assert [(w.elements_in, w.elements_out, w.lane_steps) for w in extra] == [(32, 16, 16)]


def test_row_wise_operators_take_two_steps_an_element():
    work = lower_training(build("vit_small"))
    for op in ("Softmax", "LayerNormalization"):
        for stage in ("FF", "BP"):
            found = [w for w in work if w.op == op and w.stage == stage and w.elements_out > 1]
            assert found
            assert all(w.lane_steps == 2 * w.elements_out for w in found)
    gelu = [w for w in work if w.op == "Gelu"]
    assert all(w.lane_steps == w.elements_out for w in gelu)
    assert {w.stage for w in gelu} == {"FF", "BP"}


def test_max_pooling_keeps_the_winner():
    work = lower_training(build("resnet18", batch=3))
    pools = [w for w in work if w.op == "MaxPool"]
    small, large = 3 * 64 * 56 * 56, 3 * 64 * 112 * 112
    forward, backward = pools
    assert (forward.elements_in, forward.elements_out) == (large, small)
    assert forward.write_bits == 4 * small  # 9 places in 4 bits
    assert backward.read_bits == 4 * small + (1 + 16) * large  # and the mask and map before it
    assert backward.lane_steps == large


def test_depthwise_convolutions_keep_their_groups():
    work = lower_training(build("mobilenet_v2"))
    products = [w for w in work if isinstance(w, Gemm) and w.layer.startswith("block2.depthwise")]
    assert {w.stage for w in products} == {"FF", "BP", "WU"}
    assert all(w.count == 96 for w in products)


def test_what_cannot_be_trained_says_so():
    with pytest.raises(
        ValueError, match=r"^training of recurrent layers is not modelled, but lstm0"
    ):
        lower_training(build("lstm"))
    with pytest.raises(ValueError, match="training of convolution c needs one or two spatial axes"):
        input_gradient(Gemm(layer="c", op="Conv", m=8, n=4, k=27))
    b = NetworkBuilder("n")
    x = b.linear("fc", b.input("x", 4, 3), 3)
    made = b.reshape("filters", b.linear("filter", x, 36), 4, 4, 3, 3)
    image = b.reshape("image", b.linear("map", x, 100), 1, 4, 10, 10)
    y = b.node("dynamic", "Conv", [image, made], (1, 4, 8, 8), kernel_shape=[3, 3])
    with pytest.raises(ValueError, match="training of convolution dynamic needs constant weights"):
        lower_training(b.finish(y))


@given(m=st.integers(1, 2**31), k=st.integers(1, 2**20))
def test_macs_of_the_largest_layers_are_exact(m, k):
    assert weight_gradient(Gemm(layer="g", op="Gemm", m=m, n=1024, k=k)).macs == m * k * 1024
