"""The compiled training step against the golden one, bit for bit; training that learns."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.dataflows.exact_train import FAST, gather, gather_back, half, product, prune
from hwsim.models.exact_digits import NETWORKS, train_digits
from hwsim.models.exact_kernels import GOLDEN
from hwsim.models.exact_layers import Layer, conv, dense
from hwsim.models.exact_train import Recipe, Trace, initial_state, layer_state, train_step
from hwsim.models.nm import Compact, NMPattern
from hwsim.models.pruning import METHODS
from hwsim.models.update import UpdateRule

PATTERNS = [NMPattern(2, 4), NMPattern(2, 8)]


def same(a, b):
    """Equal shapes, dtypes and bits; None only with None."""
    if a is None or b is None:
        return a is b
    if isinstance(a, Compact):
        return (
            isinstance(b, Compact)
            and (a.pattern, a.k) == (b.pattern, b.k)
            and same(a.values, b.values)
            and same(a.indices, b.indices)
        )
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    )


def same_state(a, b):
    return all(same(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)


@st.composite
def layers(draw):
    kernel = draw(st.integers(1, 4))
    pad = draw(st.integers(0, kernel - 1))
    least = max(1, kernel - 2 * pad)
    return Layer(
        name="l",
        inputs=draw(st.integers(1, 9)),
        outputs=draw(st.integers(1, 9)),
        height=draw(st.integers(least, least + 5)),
        width=draw(st.integers(least, least + 5)),
        kernel=kernel,
        stride=draw(st.integers(1, 3)),
        pad=pad,
    )


def any_bits(rng, shape):
    """Bit patterns with ties, zeros of both signs, subnormals, infinities and NaNs."""
    special = np.array([0, 0x8000, 1, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00, 0xBC00], np.uint16)
    wild = rng.integers(0, 1 << 16, shape).astype(np.uint16)
    return np.where(rng.random(shape) < 0.5, rng.choice(special, shape), wild).view(np.float16)


class TestKernels:
    @given(layers(), st.integers(1, 3), st.integers(0, 2**32 - 1))
    def test_gathers(self, layer, images, seed):
        rng = np.random.default_rng(seed)
        x = any_bits(rng, layer.input_shape(images))
        assert same(gather(x, layer), GOLDEN.gather(x, layer))
        dy = any_bits(rng, layer.output_shape(images))
        assert same(gather_back(dy, layer), GOLDEN.gather_back(dy, layer))

    @given(
        st.integers(1, 8).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))),
        st.integers(1, 40),
        st.integers(1, 6),
        st.booleans(),
        st.integers(0, 2**32 - 1),
    )
    def test_prune(self, pattern, k, columns, nested, seed):
        rng = np.random.default_rng(seed)
        b = any_bits(rng, (k, columns))
        within = rng.random((k, columns)) < 0.5 if nested else None
        mask, compact = prune(b, NMPattern(*pattern), within)
        golden_mask, golden = GOLDEN.prune(b, NMPattern(*pattern), within)
        assert same(mask, golden_mask)
        assert same(compact, golden)

    @given(layers(), st.integers(1, 3), st.sampled_from(PATTERNS), st.integers(0, 2**32 - 1))
    def test_products(self, layer, images, pattern, seed):
        rng = np.random.default_rng(seed)
        x = any_bits(rng, layer.input_shape(images))
        w = any_bits(rng, (layer.k, layer.outputs))
        a = gather(x, layer)
        for b in (w, GOLDEN.prune(w, pattern, None)[1]):
            assert same(FAST.product(a, b), GOLDEN.product(a, b))
        dy = any_bits(rng, (len(a), layer.outputs))
        assert same(FAST.product(a.T, dy), GOLDEN.product(a.T, dy))

    def test_half_rounds_every_kind_of_value(self):
        rng = np.random.default_rng(0)
        wild = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32)
        # around the ranges of FP16, next to and on the ties
        near = rng.integers(0x32000000, 0x48000000, 1 << 16, dtype=np.uint32) & 0xFFFFF000
        near += rng.choice(np.array([0, 1, 0x800, 0xFFF], np.uint32), near.size)
        special = np.float32([0, -0.0, 65519.99, 65520, np.inf, -np.inf, np.nan, -np.nan, 2**-25])
        for u in (wild, near, special.view(np.uint32)):
            x = u.view(np.float32)
            assert same(half(x), GOLDEN.half(x))
        x = x[:8].reshape(2, 4).T
        assert same(half(x), GOLDEN.half(x))
        x = np.array([[1 / 3, 70000.0]])
        assert same(half(x), GOLDEN.half(x))

    def test_products_widen_every_value(self):
        every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)[None]
        one = np.ones((1, 1), np.float16)
        assert same(FAST.product(every.T, one), GOLDEN.product(every.T, one))
        assert same(FAST.product(one, every), GOLDEN.product(one, every))

    @pytest.mark.parametrize("what", ["fp32", "half", "relu", "gate"])
    def test_post(self, what):
        rng = np.random.default_rng(1)
        z = rng.integers(0, 1 << 32, (40, 50), dtype=np.uint32).view(np.float32)
        z[:9] = any_bits(rng, (9, 50))
        z = np.where(np.isnan(z), np.float32(np.nan), z)  # products leave no other NaN
        gate = any_bits(rng, z.shape) if what == "gate" else None
        assert same(FAST.post(z, what, gate), GOLDEN.post(z, what, gate))
        turned = None if gate is None else np.asfortranarray(gate)
        assert same(FAST.post(np.asfortranarray(z), what, turned), GOLDEN.post(z, what, gate))

    def test_bad_operands(self):
        layer = conv("c", 1, 2, 4)
        with pytest.raises(ValueError, match=r"c: X must be float16 \(1, 4, 4, 1\), but got flo"):
            gather(np.zeros((1, 4, 4, 1), np.float32), layer)
        with pytest.raises(ValueError, match=r"c: dY must be float16 \(1, 4, 4, 2\), but got flo"):
            gather_back(np.zeros((1, 4, 4, 1), np.float16), layer)
        with pytest.raises(ValueError, match="operands must be float16, but got float16 and flo"):
            product(np.zeros((2, 2), np.float16), np.zeros((2, 2), np.float32))
        with pytest.raises(ValueError, match=r"must share k, but got \(2, 2\) and k=3"):
            product(np.zeros((2, 2), np.float16), np.zeros((3, 2), np.float16))
        with pytest.raises(ValueError, match="B must be a matrix of float16, but got float32"):
            prune(np.zeros((8, 2), np.float32), PATTERNS[0])
        with pytest.raises(ValueError, match=r"the mask must be \(8, 2\), but got \(2, 8\)"):
            prune(np.zeros((8, 2), np.float16), PATTERNS[0], np.ones((2, 8), bool))


def check_steps(network, recipe, steps, batch, seed, specials=False):
    """Equal products and states after every step."""
    rng = np.random.default_rng(seed)
    golden = initial_state(network, recipe, seed)
    fast = initial_state(network, recipe, seed, FAST)
    if specials:
        w = any_bits(rng, golden[-1].w.shape).astype(np.float32)
        golden = (*golden[:-1], layer_state(network[-1], w, golden[-1].v, recipe, False))
        fast = (*fast[:-1], layer_state(network[-1], w, fast[-1].v, recipe, False, FAST))
    for _ in range(steps):
        x = rng.integers(0, 17, network[0].input_shape(batch)) / 16
        labels = rng.integers(0, network[-1].outputs, batch)
        one, two = Trace(), Trace()
        a = train_step(network, golden, x, labels, recipe, trace=one)
        b = train_step(network, fast, x, labels, recipe, FAST, two)
        for p, q in zip(one.products, two.products, strict=True):
            assert (p.layer, p.stage, p.post, p.transposed) == (
                q.layer,
                q.stage,
                q.post,
                q.transposed,
            )
            for name in ("a", "b", "z", "out", "gate"):
                assert same(getattr(p, name), getattr(q, name)), (p.layer, p.stage, name)
        assert same(a.logits, b.logits)
        assert np.isnan(a.loss) == np.isnan(b.loss) and (np.isnan(a.loss) or a.loss == b.loss)
        golden, fast = a.states, b.states
        for s, t in zip(golden, fast, strict=True):
            assert same_state(s, t)
    return golden


class TestSteps:
    @pytest.mark.parametrize("name", NETWORKS)
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("pattern", PATTERNS, ids=str)
    def test_three_steps(self, name, method, pattern):
        recipe = Recipe(method=method, pattern=pattern, rule=UpdateRule(rate=0.1, decay=1e-4))
        before = initial_state(NETWORKS[name], recipe, 7)
        after = check_steps(NETWORKS[name], recipe, 3, 8, 7)
        assert all((s.w != t.w).any() for s, t in zip(before, after, strict=True))

    def test_nested(self):
        after = check_steps(NETWORKS["cnn"], Recipe(nested=True), 3, 8, 9)
        assert after[1].backward_mask is not None

    @given(
        st.sampled_from(sorted(METHODS)),
        st.sampled_from([NMPattern(1, 2), NMPattern(2, 4), NMPattern(3, 5), NMPattern(2, 8)]),
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(1, 3),
        st.integers(1, 5),
        st.booleans(),
        st.integers(0, 2**31),
    )
    def test_any_shape(self, method, pattern, inner, outer, stride, batch, specials, seed):
        first = conv("a", 2, inner, 5, stride=stride)
        second = conv("b", inner, outer, first.out_height, kernel=2, stride=1)
        third = dense("c", outer * second.positions, 3, relu=False)
        recipe = Recipe(method=method, pattern=pattern)
        check_steps((first, second, third), recipe, 2, batch, seed, specials)


class TestTraining:
    @pytest.mark.parametrize(("name", "floor"), [("mlp", 0.82), ("cnn", 0.86)])
    def test_learns_the_digits(self, name, floor):
        """Floors a few points below what the seed gives; chance is 0.1."""
        epochs = train_digits(name, Recipe(), epochs=6, kernels=FAST)
        assert [e.number for e in epochs] == list(range(1, 7))
        assert epochs[-1].accuracy > floor
        assert epochs[-1].loss < 0.25 < epochs[0].loss
        kept = epochs[-1].states[1].forward_mask
        assert (kept.reshape(-1, 8, kept.shape[1]).sum(1) == 2).all()

    def test_is_the_golden_training(self):
        one = train_digits("mlp", Recipe(), epochs=1)[0]
        two = train_digits("mlp", Recipe(), epochs=1, kernels=FAST)[0]
        assert (one.loss, one.accuracy, one.macs) == (two.loss, two.accuracy, two.macs)
        assert all(same_state(s, t) for s, t in zip(one.states, two.states, strict=True))


def test_example_prints_a_row_an_epoch(monkeypatch, capsys):
    example = Path(__file__).parents[2] / "examples" / "train_exact.py"
    argv = [str(example), "--network", "mlp", "--methods", "bdwp,dense", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path(str(example), run_name="__main__")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [r[0] for r in rows] == ["mlp,", "epoch", "1", "2"] * 2
    for r in rows:
        if r[0].isdigit():
            assert 0.2 < float(r[2]) < 1 and float(r[3].replace(",", "")) > 1
    monkeypatch.setattr(sys, "argv", [str(example), "--methods", "magic"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(example), run_name="__main__")
    assert "method must be one of dense, " in capsys.readouterr().err


def test_without_the_compiler():
    """Coverage and debuggers run the kernels as Python: same bits, no warnings."""
    code = """
import numpy as np
from hwsim.dataflows.exact_train import FAST
from hwsim.models.exact_kernels import GOLDEN
from hwsim.models.exact_layers import conv, dense
from hwsim.models.exact_train import Recipe, initial_state, train_step
from hwsim.models.nm import NMPattern
network = (conv("a", 1, 8, 4, stride=2), conv("b", 8, 8, 2), dense("c", 32, 3, relu=False))
recipe = Recipe(pattern=NMPattern(2, 4))
x, labels = np.eye(4).reshape(1, 4, 4, 1), np.array([2])
results = []
for kernels in (GOLDEN, FAST):
    states = initial_state(network, recipe, 0, kernels)
    for _ in range(2):
        states = train_step(network, states, x, labels, recipe, kernels).states
    results.append([s.w.view(np.uint32) for s in states])
assert all((s == t).all() for s, t in zip(*results))
u = np.random.default_rng(0).integers(0, 1 << 32, 500, dtype=np.uint32)
u[:3] = 0, 1, 0x7F800000
z = np.where(np.isnan(u.view(np.float32)), np.float32(0), u.view(np.float32))
assert (FAST.half(z).view(np.uint16) == GOLDEN.half(z).view(np.uint16)).all()
h = u.astype(np.uint16).view(np.float16)[None]
assert (FAST.product(h.T, h).view(np.uint32) == GOLDEN.product(h.T, h).view(np.uint32)).all()
"""
    env = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error::RuntimeWarning", "-c", code], check=True, env=env)
