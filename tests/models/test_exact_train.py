"""The hardware-exact training step: geometry by adjointness, arithmetic by a scalar oracle, masks,
the trace, the float32 path and what overflows do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.exact_digits import NETWORKS, train_digits
from hwsim.models.exact_kernels import FLOAT32, GOLDEN
from hwsim.models.exact_layers import (
    Layer,
    backward_matrix,
    check_network,
    conv,
    dense,
    gather,
    gather_back,
)
from hwsim.models.exact_train import (
    Product,
    Recipe,
    Trace,
    Update,
    initial_state,
    layer_state,
    predict,
    step_macs,
    train_step,
)
from hwsim.models.formats import FP16
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.im2col import im2col, windows
from hwsim.models.nm import Compact, NMPattern
from hwsim.models.pruning import METHODS, backward_mask, forward_mask
from hwsim.models.update import UpdateRule, momentum_update

TINY = (
    conv("conv1", 1, 8, 4),
    conv("conv2", 8, 8, 4, stride=2),
    dense("fc", 32, 8, relu=False),
)


def bits(x):
    return np.ascontiguousarray(x).view({2: np.uint16, 4: np.uint32}[x.itemsize])


def batch(network, size, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 17, network[0].input_shape(size)) / 16
    return x.astype(np.float32), rng.integers(0, network[-1].outputs, size)


@st.composite
def layers(draw):
    kernel = draw(st.integers(1, 4))
    pad = draw(st.integers(0, kernel - 1))
    least = max(1, kernel - 2 * pad)
    return Layer(
        name="l",
        inputs=draw(st.integers(1, 5)),
        outputs=draw(st.integers(1, 5)),
        height=draw(st.integers(least, least + 5)),
        width=draw(st.integers(least, least + 5)),
        kernel=kernel,
        stride=draw(st.integers(1, 3)),
        pad=pad,
    )


class TestGeometry:
    @given(layers(), st.integers(1, 3), st.integers(0, 2**32 - 1))
    def test_three_products_are_one_trilinear_form(self, layer, images, seed):
        """sum dY (X * W) = sum X dX = sum W dW, in integers, is what makes BP and WU gradients."""
        rng = np.random.default_rng(seed)
        x = rng.integers(-9, 10, layer.input_shape(images))
        w = rng.integers(-9, 10, (layer.k, layer.outputs))
        dy = rng.integers(-9, 10, layer.output_shape(images))
        y = gather(x, layer) @ w
        dx = gather_back(dy, layer) @ backward_matrix(w, layer)
        dw = gather(x, layer).T @ dy.reshape(-1, layer.outputs)
        whole = int((y.reshape(dy.shape) * dy).sum())
        assert whole == int((dx.reshape(x.shape) * x).sum()) == int((dw * w).sum())

    @given(layers(), st.integers(1, 3))
    def test_gather_is_im2col(self, layer, images):
        x = np.arange(np.prod(layer.input_shape(images))).reshape(layer.input_shape(images))
        p = layer.pad
        padded = np.pad(np.moveaxis(x, -1, 1), ((0, 0), (0, 0), (p, p), (p, p)))
        view = windows(
            np.ascontiguousarray(padded),
            (layer.kernel,) * 2,
            (layer.stride,) * 2,
            (1, 1),
            (layer.out_height, layer.out_width),
        )
        assert (gather(x, layer) == im2col(view)).all()

    def test_backward_k_is_row_column_output(self):
        layer = conv("c", 3, 5, 4)
        w = np.arange(layer.k * 5).reshape(3, 3, 3, 5)
        b = backward_matrix(w.reshape(layer.k, 5), layer).reshape(3, 3, 5, 3)
        for r, c, i, o in np.ndindex(3, 3, 3, 5):
            assert b[r, c, o, i] == w[r, c, i, o]

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"inputs": 0}, "l: inputs must be at least 1, but got 0"),
            ({"pad": 3}, "l: 0 <= pad < kernel must hold, but got pad=3, kernel=3"),
            ({"height": 1, "pad": 0}, "the window must fit"),
        ],
    )
    def test_bad_layers(self, change, text):
        values = {"inputs": 1, "outputs": 1, "height": 4, "width": 4, "kernel": 3} | change
        with pytest.raises(ValueError, match=text):
            Layer(name="l", **values)

    @pytest.mark.parametrize(
        ("network", "text"),
        [
            ((), "needs at least one layer"),
            ((dense("a", 2, 2), dense("a", 2, 2, relu=False)), "names must be unique"),
            ((dense("a", 2, 3), dense("b", 2, 2, relu=False)), "b must take what a gives"),
            ((conv("a", 1, 8, 4), conv("b", 2, 8, 8)), "b must take what a gives"),
            ((dense("a", 2, 2),), "without ReLU, but got 1 positions, relu=True"),
            ((conv("a", 1, 8, 4, relu=False),), "but got 16 positions"),
        ],
    )
    def test_bad_networks(self, network, text):
        with pytest.raises(ValueError, match=text):
            check_network(network)

    @pytest.mark.parametrize("call", [gather, gather_back])
    def test_maps_of_another_shape(self, call):
        with pytest.raises(ValueError, match=r"c: .* must be .* but got \(1, 4, 4, 3\)"):
            call(np.zeros((1, 4, 4, 3)), conv("c", 1, 2, 4))


class TestMasks:
    @pytest.mark.parametrize("pattern", [NMPattern(2, 4), NMPattern(2, 8), NMPattern(3, 7)])
    @pytest.mark.parametrize("channels", [(8, 16), (6, 10)])
    @pytest.mark.parametrize("nested", [False, True])
    def test_are_those_of_the_methods(self, pattern, channels, nested):
        layer = conv("c", *channels, 4)
        rng = np.random.default_rng(3)
        w = rng.standard_normal((layer.k, layer.outputs)).astype(np.float32)
        recipe = Recipe(pattern=pattern, nested=nested)
        state = layer_state(layer, w, np.zeros_like(w), recipe, first=False)
        # [kernel row, kernel column, in, out] -> [out, in, kernel row, kernel column]
        filters = w.astype(np.float16).reshape(3, 3, *channels).transpose(3, 2, 0, 1)
        ahead = forward_mask(filters, pattern)
        back = backward_mask(filters, pattern, nested=ahead if nested else None)
        by_layer = ahead.transpose(2, 3, 1, 0).reshape(w.shape)
        assert (state.forward_mask == by_layer).all()
        assert (
            state.backward_mask
            == backward_matrix(back.transpose(2, 3, 1, 0).reshape(w.shape), layer)
        ).all()
        assert (bits(state.forward.dense()) == bits(np.where(by_layer, state.copy, 0))).all()
        assert state.backward.pattern == pattern

    def test_come_from_the_fp16_copy(self):
        layer = dense("l", 4, 4)
        w = np.tile(np.float32([[1.0], [1.0 + 2**-20], [0.5], [0.25]]), (1, 4))
        state = layer_state(
            layer, w, np.zeros_like(w), Recipe(pattern=NMPattern(1, 4)), first=False
        )
        assert (state.forward_mask == np.array([[True], [False], [False], [False]])).all()

    def test_nan_ranks_above_infinity(self):
        b = np.array([[np.inf], [-1.0], [np.nan], [65504.0]], np.float16)
        mask, compact = GOLDEN.prune(b, NMPattern(1, 4), None)
        assert mask[:, 0].tolist() == [False, False, True, False]
        assert compact.indices.tolist() == [[2]]

    def test_first_and_shallow_layers_stay_dense(self):
        network = (dense("a", 16, 16), dense("b", 16, 4), dense("c", 4, 16, relu=False))
        states = initial_state(network, Recipe(), 0)
        found = [
            (s.forward_mask is not None, s.backward_mask is not None, s.backward is None)
            for s in states
        ]
        # a is first; b contracts 4 outputs in BP and c 4 inputs in FF, both below M = 8
        assert found == [(False, False, True), (True, False, False), (False, True, False)]


def scalar_product(a, b):
    z = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for i, j in np.ndindex(z.shape):
        total = np.float32(0)
        for s in range(a.shape[1]):
            total = np.float32(total + np.float32(a[i, s]) * np.float32(b[s, j]))
        z[i, j] = total
    return z


def scalar_step(ws, masks, x, labels, recipe):
    """Weights and momenta after a step of a fully connected network, written independently:
    pruned weights as zeros, one scalar at a time."""
    half = np.float16
    xs, ys = [x.reshape(len(x), -1).astype(half)], []
    for i, (w, (ahead, _)) in enumerate(zip(ws, masks, strict=True)):
        ys.append(scalar_product(xs[-1], np.where(ahead, w.astype(half), half(0))))
        if i < len(ws) - 1:
            xs.append(np.maximum(ys[-1], 0).astype(half))
    logits = ys[-1].astype(np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(x)), labels] -= 1
    dy = (p * (recipe.loss_scale / len(x))).astype(half)
    found = []
    for i in reversed(range(len(ws))):
        dw = scalar_product(xs[i].T, dy)
        found.insert(0, dw)
        if i:
            w = np.where(masks[i][1], ws[i].astype(half), half(0))
            pruned = dy
            if recipe.method == "sdgp" and dy.shape[1] >= recipe.pattern.m:
                pruned = np.zeros_like(dy)
                for row in range(len(dy)):
                    for low in range(0, dy.shape[1], recipe.pattern.m):
                        group = range(low, min(low + recipe.pattern.m, dy.shape[1]))
                        order = sorted(group, key=lambda j: (-abs(dy[row, j]), j))
                        for j in order[: recipe.pattern.n]:
                            pruned[row, j] = dy[row, j]
            dx = scalar_product(pruned, w.T)
            dy = np.where(xs[i] != 0, dx, np.float32(0)).astype(half)
    return found


class TestStep:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("pattern", [NMPattern(2, 4), NMPattern(2, 8)], ids=str)
    def test_equals_a_scalar_oracle(self, method, pattern):
        network = (dense("a", 6, 8), dense("b", 8, 12), dense("c", 12, 10, relu=False))
        recipe = Recipe(method=method, pattern=pattern, rule=UpdateRule(rate=0.25, decay=1e-3))
        states = initial_state(network, recipe, 5)
        for seed in range(2):
            x, labels = batch(network, 3, seed)
            masks = [
                (
                    True if s.forward_mask is None else s.forward_mask,
                    True if s.backward_mask is None else s.backward_mask.T,
                )
                for s in states
            ]
            gradients = scalar_step([s.w for s in states], masks, x, labels, recipe)
            result = train_step(network, states, x, labels, recipe)
            lam = np.float32(1e-3 + (2e-4 if method == "sr_ste" else 0))
            for old, new, dw in zip(states, result.states, gradients, strict=True):
                g = dw * np.float32(1 / 1024)
                kept = True if old.forward_mask is None else old.forward_mask
                g = g + np.where(kept, np.float32(1e-3), lam) * old.w
                v = np.float32(0.9) * old.v + g
                assert (bits(new.v) == bits(v)).all()
                assert (bits(new.w) == bits(old.w - np.float32(0.25) * v)).all()
            states = result.states

    @pytest.mark.parametrize("method", METHODS)
    def test_trace_reproduces_the_step(self, method):
        recipe = Recipe(method=method)
        states = initial_state(TINY, recipe, 1)
        x, labels = batch(TINY, 5)
        trace = Trace()
        result = train_step(TINY, states, x, labels, recipe, trace=trace)
        order = [(e.layer, e.stage if isinstance(e, Product) else "UP") for e in trace.events]
        assert order == [
            ("conv1", "FF"), ("conv2", "FF"), ("fc", "FF"),
            ("fc", "BP"), ("fc", "WU"), ("fc", "UP"),
            ("conv2", "BP"), ("conv2", "WU"), ("conv2", "UP"),
            ("conv1", "WU"), ("conv1", "UP"),
        ]  # fmt: skip
        for p in trace.products:
            assert p.a.dtype == np.float16
            again = gemm_compact if isinstance(p.b, Compact) else gemm
            assert (bits(again(p.a, p.b, FP16)) == bits(p.z)).all()
            assert isinstance(p.b, Compact) == (p.layer != "conv1" and _pruned(method, p.stage))
            assert p.transposed == (method == "sdgp" and p.stage == "BP")
            assert p.out.dtype == (np.float32 if p.post == "fp32" else np.float16)
            assert p.post == {"BP": "gate", "WU": "fp32"}.get(
                p.stage, "fp32" if p.layer == "fc" else "relu"
            )
        for u in trace.updates:
            w, v = momentum_update(u.before.w, u.before.v, u.gradient, u.rule, u.mask)
            assert (bits(w) == bits(u.after.w)).all()
            assert (bits(v) == bits(u.after.v)).all()
        assert trace.updates[0].after is result.states[2]
        assert sum(p.macs for p in trace.products) == step_macs(TINY, recipe, 5)

    def test_relu_and_gate(self):
        """Sums -1, -0, NaN, 2^-30 and 3: what passes forward, and what passes back."""
        network = (dense("a", 1, 5), dense("b", 5, 2, relu=False))
        recipe = Recipe(method="dense")
        w = np.float32([[-1.0, -0.0, np.nan, 2.0**-24, 3.0]])
        ones = np.ones((5, 2), np.float32)
        states = (
            layer_state(network[0], w, np.zeros_like(w), recipe, True),
            layer_state(network[1], ones, np.zeros_like(ones), recipe, False),
        )
        trace = Trace()
        x = np.float32([[2.0**-6]])
        train_step(network, states, x, np.array([0]), recipe, trace=trace)
        ahead = trace.products[0].out
        assert bits(ahead)[0].tolist() == [0, 0, 0x7E00, 0, bits(np.float16([3 / 64]))[0]]
        back = next(p for p in trace.products if p.stage == "BP")
        assert bits(back.out)[0, [0, 1, 3]].tolist() == [0, 0, 0]
        assert np.isnan(back.out[0, [2, 4]]).all()  # the loss was NaN, and the gate is open

    def test_no_gate_without_relu(self):
        network = (dense("a", 2, 3, relu=False), dense("b", 3, 2, relu=False))
        recipe = Recipe(method="sdgp", pattern=NMPattern(1, 2))
        trace = Trace()
        x, labels = batch(network, 4)
        train_step(network, initial_state(network, recipe, 0), x, labels, recipe, trace=trace)
        assert [p.post for p in trace.products] == ["half", "fp32", "half", "fp32", "fp32"]
        back = trace.products[2]
        assert back.gate is None
        assert (bits(back.out) == bits(back.z.astype(np.float16))).all()

    def test_overflow_goes_through(self):
        recipe = Recipe(pattern=NMPattern(2, 4))
        states = list(initial_state(TINY, recipe, 1))
        states[0] = layer_state(TINY[0], np.full_like(states[0].w, 3e38), states[0].v, recipe, True)
        assert np.isinf(states[0].copy).all()
        x, labels = batch(TINY, 4)
        result = train_step(TINY, states, x, labels, recipe)
        assert np.isnan(result.loss)
        for state in result.states:
            assert (bits(state.w) == 0x7FC00000).all()
            assert (bits(state.copy) == 0x7E00).all()
        kept = result.states[1].forward_mask.reshape(-1, 4, 8).sum(1)
        assert (kept == 2).all()

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"method": "magic"}, "method must be one of dense, sr_ste"),
            ({"loss_scale": 1000.0}, "loss_scale must be a power of two in .* but got 1000.0"),
            ({"loss_scale": 0.0}, "loss_scale must be a power of two"),
            ({"loss_scale": float("nan")}, "loss_scale must be a power of two"),
        ],
    )
    def test_bad_recipes(self, change, text):
        with pytest.raises(ValueError, match=text):
            Recipe(**change)

    def test_bad_inputs(self):
        recipe = Recipe()
        states = initial_state(TINY, recipe, 1)
        x, labels = batch(TINY, 4)
        with pytest.raises(ValueError, match=r"labels must be 4 integers in 0..7, but got .* 0..8"):
            train_step(TINY, states, x, np.array([0, 1, 2, 8]), recipe)
        with pytest.raises(ValueError, match=r"labels must be 4 integers"):
            train_step(TINY, states, x, labels[:3], recipe)
        with pytest.raises(ValueError, match=r"x must be \[batch, 16 elements\], but got \(4, 9\)"):
            predict(TINY, states, np.zeros((4, 9), np.float32))
        with pytest.raises(ValueError, match=r"conv1: w must be float32 \(9, 8\), but got float64"):
            layer_state(TINY[0], np.zeros((9, 8)), states[0].v, recipe, True)
        with pytest.raises(ValueError, match="name must be one of mlp, cnn, but got 'vit'"):
            train_digits("vit", recipe, epochs=1)
        with pytest.raises(ValueError, match="epochs must be at least 1, but got 0"):
            train_digits("mlp", recipe, epochs=0)


def _pruned(method, stage):
    return (
        stage
        in {
            "dense": (),
            "sr_ste": ("FF",),
            "sdgp": ("BP",),
            "sdwp": ("BP",),
            "bdwp": ("FF", "BP"),
        }[method]
    )


class TestFloat32:
    @pytest.mark.parametrize("method", ["sdwp", "bdwp"])
    def test_exact_sums_agree_bit_for_bit(self, method):
        """Small integers make every sum exact in any order. Equal columns in the last layer make
        all logits of an image equal, so p = 1/8 and dY is exact in FP16 too; BP's mask keeps
        classes 0 and 1 of the tie, so dX is not zero."""
        rng = np.random.default_rng(2)
        recipe = Recipe(method=method, rule=UpdateRule(rate=0.25))
        states = []
        for i, layer in enumerate(TINY):
            w = rng.integers(-1, 2, (layer.k, layer.outputs)).astype(np.float32)
            if i == 2:
                w[:] = w[:, :1]
            states.append(layer_state(layer, w, np.zeros_like(w), recipe, i == 0))
        x = rng.integers(0, 4, TINY[0].input_shape(4)).astype(np.float32)
        labels = np.array([0, 1, 5, 0])
        traces = []
        for kernels in (GOLDEN, FLOAT32):
            own = [
                layer_state(layer, s.w, s.v, recipe, i == 0, kernels)
                for i, (layer, s) in enumerate(zip(TINY, states, strict=True))
            ]
            trace = Trace()
            train_step(TINY, own, x, labels, recipe, kernels, trace)
            traces.append(trace)
        exact, fast = traces
        assert np.abs(exact.products[4].z).max() > 0  # fc WU
        for e, f in zip(exact.updates, fast.updates, strict=True):
            assert isinstance(e, Update)
            assert (e.gradient != 0).any()
            # BLAS may sum to -0 what the hardware sums to +0
            assert (bits(e.gradient + np.float32(0)) == bits(f.gradient + np.float32(0))).all()
            assert (bits(e.after.w) == bits(f.after.w)).all()

    @pytest.mark.parametrize("method", METHODS)
    def test_gradients_differ_by_the_rounding_of_operands(self, method):
        """FP16 rounds at most L maps, L weights and L gradients on the way to a gradient of an
        L-layer network, each by 2^-11 relative; the errors add up at most to 3 L 2^-11 of the sum
        of magnitudes |X|^T |dY| (not of dW, where terms cancel). Typical is a tenth of that; a
        rounding that opens or closes a gate takes most of it."""
        network = NETWORKS["cnn"]
        recipe = Recipe(method=method)
        x, labels = batch(network, 64)
        found = []
        for kernels in (GOLDEN, FLOAT32):
            trace = Trace()
            states = initial_state(network, recipe, 4, kernels)
            train_step(network, states, x, labels, recipe, kernels, trace)
            found.append([p for p in trace.products if p.stage == "WU"])
        for exact, fast in zip(*found, strict=True):
            magnitudes = np.abs(fast.a) @ np.abs(fast.b)
            difference = np.linalg.norm(exact.z - fast.z) / np.linalg.norm(magnitudes)
            assert 0 < difference < 3 * len(network) * 2.0**-11, exact.layer
