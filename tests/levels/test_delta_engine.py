"""The delta engines at three levels: golden, simulator, and the Verilog under cocotb.

A chain's codes and a GRU's states come from `layers` and `gru`, which the levels override.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.config import load_config
from hwsim.dataflows import delta_layer, delta_sim
from hwsim.dataflows.delta_gru import gru_work
from hwsim.dataflows.delta_layer import (
    DeltaLayerState,
    LayerGeometry,
    cluster_work,
    frame_cycles,
    layer_work,
)
from hwsim.dataflows.delta_rnn import step_cycles
from hwsim.dataflows.delta_sim import DeltaGaps, EngineWork, MemoryGaps, delta_timeline
from hwsim.delta_cases import gru_case, layer_case
from hwsim.delta_random import designs, random_case
from hwsim.errors import UserError
from hwsim.models.delta import Conv, DeltaEncoder, DeltaNetwork, Linear, Output, dense_codes
from hwsim.models.delta_gru import DeltaGru, GruWeights
from hwsim.verify_delta import delta_build, difference, run_delta, verify_delta

DESIGNS = designs(load_config("delta"))
LAYER, CHAIN, GRU = DESIGNS[1].shape, DESIGNS[3].shape, DESIGNS[2].shape
STALLS = DeltaGaps(
    x=[0, 2, 0, 0, 1],
    o=[3, 0, 0, 5],
    start=[1, 0],
    memory=[MemoryGaps(request=[0, 0, 2], latency=4, response=[1, 0, 0])],
)


built = functools.cache(delta_build)  # the Verilog takes a second, even of a cached build


def output(filters, shift=2, *, relu=True, pool=1, bias=None, multiplier=1):
    return Output(
        bias=np.zeros(filters, np.int64) if bias is None else np.asarray(bias, np.int64),
        multiplier=np.full(filters, multiplier),
        shift=shift,
        relu=relu,
        pool=pool,
    )


def moving(rng, frames, shape, stay=0.7):
    x = rng.integers(0, 256, (frames, *shape))
    for t in range(1, frames):
        keep = rng.random(shape) < stay
        x[t][keep] = x[t - 1][keep]
    return x


def codes_of(words, shape, count, size):
    """Result words as codes [frames, positions, filters]."""
    bits, lanes = shape.item_bits, shape.lanes
    items = [(w >> (bits * i)) & ((1 << bits) - 1) for w in words for i in range(lanes)]
    signed = np.array([v - (1 << bits) if v >> (bits - 1) else v for v in items])
    padded = -(-size // lanes) * lanes
    return signed.reshape(count, -1, padded)[..., :size]


class TestGolden:
    """The same cases for all levels."""

    def layers(self, encoder, layers, frames, gaps=None):
        """Codes [frames, positions, filters] of the last layer."""
        network = DeltaNetwork(
            dataclasses.replace(encoder), layers, accumulator_bits=LAYER.accumulator_bits
        )
        out = []
        for frame in frames:
            network.step(frame)
            codes = network.layers[-1].codes
            out.append(np.moveaxis(codes.reshape(len(codes), -1), 0, -1))
        return np.stack(out)

    def gru(self, weights, theta, x, gaps=None):
        """States [steps, H]."""
        layer = DeltaGru(weights, GRU, theta)
        return np.stack([layer.step(frame)[0] for frame in x])

    def test_linear_by_hand(self):
        layer = Linear(
            np.array([[1, 2, 3], [-1, 0, 4], [10, 0, 0]]), output(3, 0, bias=[0, 5, -100])
        )
        frames = np.array([[1, 0, 2], [1, 0, 2], [11, 1, 0]])
        codes = self.layers(DeltaEncoder(bits=8, signed=False), [layer], frames)
        assert codes[:, 0].tolist() == [[7, 12, 0], [7, 12, 0], [13, 0, 10]]

    def test_the_threshold_rule_by_hand(self):
        layer = Linear(np.array([[1, 1]]), output(1, 0))
        frames = np.array([[10, 3], [13, 9], [16, 10], [15, 12]])
        # references: 10 and 0; 10 and 9 (3 is kept back, 9 - 0 is not); 16 and 9; 16 and 9
        codes = self.layers(DeltaEncoder(theta=5, bits=8, signed=False), [layer], frames)
        assert codes[:, 0, 0].tolist() == [10, 19, 25, 25]

    def test_sums_saturate_at_each_event(self):
        layer = Linear(np.array([[127, 127, -128]]), output(1, 8, relu=False))
        frames = np.array([[255, 255, 255], [255, 255, 0], [0, 0, 0]])
        codes = self.layers(DeltaEncoder(bits=8, signed=False), [layer], frames, STALLS)
        # 16 bits: 32385, 32767, 127; then 32767; then 382, -32003
        assert codes[:, 0, 0].tolist() == [0, 127, -125]

    @pytest.mark.parametrize(
        ("shape", "kernel", "stride", "pad", "pool", "gaps"),
        [
            ((3, 5, 6), (3, 3), 1, 1, 2, None),
            ((2, 7, 7), (3, 2), 2, 1, 1, STALLS),
            ((5, 6, 4), (1, 1), 3, 0, 1, STALLS),  # a stride that skips inputs
            ((1, 4, 4), (2, 4), 1, 2, 1, None),
        ],
    )
    def test_a_convolution_is_the_dense_one(self, shape, kernel, stride, pad, pool, gaps):
        rng = np.random.default_rng(sum(shape))
        # small weights: no sum of 5 x 9 products saturates at 16 bits
        weight = rng.integers(-3, 4, (5, shape[0], *kernel))
        layer = Conv(weight, output(5, 3, pool=pool, bias=rng.integers(-90, 90, 5)), stride, pad)
        frames = moving(rng, 4, shape)
        codes = self.layers(DeltaEncoder(bits=8, signed=False), [layer], frames, gaps)
        want = [dense_codes([layer], frame)[0] for frame in frames]
        assert (codes == np.moveaxis(np.stack(want), 1, -1).reshape(codes.shape)).all()
        assert len(np.unique(codes)) > 5

    def test_gru_with_idle_weights(self):
        zero = GruWeights(
            w=np.zeros((12, 3), np.int64), r=np.zeros((12, 4), np.int64),
            bias=np.repeat(np.array([[0], [0], [1 << 15], [1 << 14]]), 4, axis=1),
        )  # fmt: skip
        # n = tanh(1 + 0.5 * 0.5) = 0.8483, z = 0.5: h = 0.4241, 0.6362 in Q8.8 with rounding
        h = self.gru(zero, 0, np.zeros((2, 3), np.int64), STALLS)
        assert h.tolist() == [[109] * 4, [163] * 4]

    def test_gru_follows_its_input_through_saturation(self):
        rng = np.random.default_rng(5)
        weights = GruWeights(
            w=rng.integers(-128, 128, (24, 5)), r=rng.integers(-128, 128, (24, 8)),
            bias=rng.integers(-(1 << 22), 1 << 22, (4, 8)),
        )  # fmt: skip
        x = rng.integers(-(1 << 15), 1 << 15, (3, 5))
        layer = DeltaGru(weights, GRU, 3)
        want = [layer.step(frame)[0] for frame in x]
        assert layer.saturations > 0
        assert self.gru(weights, 3, x).tolist() == np.stack(want).tolist()


class TestSimulator(TestGolden):
    """Through the compiled kernels."""

    def layers(self, encoder, layers, frames, gaps=None):
        case = layer_case(LAYER, encoder, layers, frames, gaps)
        assert case.golden_error is None
        assert (np.diff(case.timeline.o_cycles) > 0).all()
        return codes_of(case.expected, LAYER, len(frames), len(layers[-1].weight))

    def gru(self, weights, theta, x, gaps=None):
        case = gru_case(GRU, weights, theta, x, gaps)
        assert case.golden_error is None
        assert (np.diff(case.timeline.o_cycles) > 0).all()
        return codes_of(case.expected, GRU, len(x), GRU.lanes).reshape(len(x), -1)


@pytest.mark.xdist_group("rtl-delta")
class TestRtl(TestGolden):
    """Through the Verilog: every word in its cycle."""

    def layers(self, encoder, layers, frames, gaps=None):
        case = layer_case(LAYER, encoder, layers, frames, gaps)
        got = run_delta(built(LAYER), [case])[0]
        assert difference(case, got) is None
        return codes_of(got["o"]["words"], LAYER, len(frames), len(layers[-1].weight))

    def gru(self, weights, theta, x, gaps=None):
        case = gru_case(GRU, weights, theta, x, gaps)
        got = run_delta(built(GRU), [case])[0]
        assert difference(case, got) is None
        return codes_of(got["o"]["words"], GRU, len(x), GRU.lanes).reshape(len(x), -1)

    def test_a_wrong_word_and_a_wrong_cycle_are_noticed(self):
        rng = np.random.default_rng(1)
        layer = Linear(rng.integers(-9, 9, (3, 4)), output(3, 1))
        encoder = DeltaEncoder(bits=8, signed=False)
        frames = moving(rng, 2, (4,))
        case = layer_case(LAYER, encoder, [layer], frames)
        late = layer_case(LAYER, encoder, [layer], frames, DeltaGaps(x=[1]))
        other = layer_case(LAYER, encoder, [layer], 255 - frames)
        mixed = [
            dataclasses.replace(case, timeline=late.timeline),
            dataclasses.replace(case, expected=other.expected),
            dataclasses.replace(case, expected=case.expected[:-1]),
            case,
        ]
        got = run_delta(built(LAYER), mixed)
        found = [difference(c, g) for c, g in zip(mixed, got, strict=True)]
        assert "expected in cycle" in found[0]
        assert "expected 0x" in found[1]
        assert "stayed valid" in found[2] or "came, expected" in found[2]
        assert found[3] is None

    def test_random_cases(self):
        report = verify_delta(load_config("delta"), cases=15, seed=3)
        assert report.ok, report.failures[0]
        assert len(report.designs) == 5


class TestOracle:
    """A GRU without stalls takes the cycles of EdgeDRNN's law, `hwsim.dataflows.delta_rnn`."""

    def steps(self, timeline, inputs, groups, steps):
        """Cycles of each step: the first input's and the last result's counted."""
        first = timeline.x_cycles.reshape(steps, inputs)[:, 0]
        last = timeline.o_cycles.reshape(steps, groups)[:, -1]
        return (last - first + 1).tolist()

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_the_simulator(self, data):
        groups = data.draw(st.integers(1, 8))
        shape = dataclasses.replace(
            load_config("edgedrnn").shape,
            lanes=data.draw(st.sampled_from([1, 2, 8])),
            fifo_depth=data.draw(st.integers(2, 40)),
        )
        inputs, hidden = data.draw(st.integers(1, 60)), groups * shape.lanes
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        nonzero = rng.random((3, inputs + hidden)) < data.draw(st.floats(0, 1))
        latency = data.draw(st.integers(1, 20))
        gaps = DeltaGaps(x=[8 * groups] + [0] * (3 * inputs), memory=[MemoryGaps(latency=latency)])
        timeline = delta_timeline([gru_work(nonzero, inputs, shape)], [shape], gaps)
        want = [
            step_cycles(
                [(inputs, hidden, np.flatnonzero(step))], shape.lanes, shape.fifo_depth,
                memory_latency=latency if step.any() else 1,
            )
            for step in nonzero
        ]  # fmt: skip
        got = self.steps(timeline, inputs, groups, 3)
        if latency == 1:
            assert got == want
        else:  # never more than the law; less where a step's last events are zeros
            assert all(g <= w for g, w in zip(got, want, strict=True))

    def test_a_memory_that_answers_within_prefetch_costs_its_first_word(self):
        full = np.ones((1, 32), np.bool_)
        for prefetch in (4, 9):
            shape = dataclasses.replace(load_config("edgedrnn").shape, prefetch=prefetch)
            work = gru_work(full, 16, shape)

            def cycles(latency, work=work, shape=shape):
                gaps = DeltaGaps(x=[50] + [0] * 20, memory=[MemoryGaps(latency=latency)])
                return delta_timeline([work], [shape], gaps).cycles

            assert cycles(prefetch - 1) == cycles(1) + prefetch - 2
            assert cycles(prefetch) > cycles(1) + prefetch - 1

    def test_steps_follow_one_another_without_a_gap(self):
        shape = load_config("edgedrnn").shape
        nonzero = np.random.default_rng(0).random((5, 96)) < 0.3
        gaps = DeltaGaps(x=[200] + [0] * 500)
        timeline = delta_timeline([gru_work(nonzero, 32, shape)], [shape], gaps)
        want = sum(step_cycles([(32, 64, np.flatnonzero(step))]) for step in nonzero)
        assert timeline.o_cycles[-1] - timeline.x_cycles[0] + 1 == want

    @pytest.mark.xdist_group("rtl-delta")
    def test_the_rtl_of_a_small_relative(self):
        rng = np.random.default_rng(6)
        inputs, hidden, steps = 9, 6, 6
        weights = GruWeights(
            w=rng.integers(-60, 60, (3 * hidden, inputs)),
            r=rng.integers(-60, 60, (3 * hidden, hidden)),
            bias=rng.integers(-(1 << 14), 1 << 14, (4, hidden)),
        )
        x = moving(rng, steps, (inputs,), 0.5) - 128
        start = DeltaGaps(x=[20] + [0] * (steps * inputs))
        case = gru_case(GRU, weights, 10, x, start)
        got = run_delta(built(GRU), [case])[0]
        assert difference(case, got) is None
        layer = DeltaGru(weights, GRU, 10)
        want = [
            step_cycles(
                [(inputs, hidden, np.flatnonzero(layer.step(frame)[1]))], GRU.lanes, GRU.fifo_depth
            )
            for frame in x
        ]
        last = np.array(got["o"]["cycles"]).reshape(steps, -1)[:, -1]
        assert (last[0] - case.timeline.x_cycles[0] + 1, *np.diff(last)) == tuple(want)


class TestRecurrence:
    """`frame_cycles` against the simulator that steps every cycle."""

    @settings(max_examples=80, deadline=None)
    @given(st.data())
    def test_equal(self, data):
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        shape = dataclasses.replace(
            LAYER,
            lanes=data.draw(st.integers(1, 4)),
            detector_width=data.draw(st.integers(1, 5)),
            fifo_depth=data.draw(st.integers(2, 12)),
            prefetch=data.draw(st.integers(4, 12)),
        )
        size = (data.draw(st.integers(1, 5)), *rng.integers(3, 8, 2))
        filters = data.draw(st.integers(1, 9))
        layer = Conv(
            np.ones((filters, size[0], 3, 2), np.int64),
            output(filters, pool=data.draw(st.integers(1, 2))),
            stride=data.draw(st.integers(1, 2)),
            pad=data.draw(st.integers(1, 2)),
        )
        g = LayerGeometry.of(layer, size)
        deltas = rng.integers(1, 5, (4, g.height, g.width, g.channels))
        deltas[rng.random(deltas.shape) < data.draw(st.floats(0, 1))] = 0
        work = layer_work(deltas, g, shape)
        latency = data.draw(st.integers(1, 9))
        ends, busy = frame_cycles(work, shape, latency)
        timeline = delta_timeline([work], [shape], DeltaGaps(memory=[MemoryGaps(latency=latency)]))
        assert ends.tolist() == timeline.o_cycles.reshape(4, -1)[:, -1].tolist()
        assert busy.sum() == timeline.busy[0] == work.beats.sum()

    def test_latency_is_checked(self):
        work = EngineWork(
            counts=np.array([[1]]), beats=np.array([1]), reads=np.array([True]), input_words=1,
            set_words=1, walk=1, window=1,
        )  # fmt: skip
        with pytest.raises(ValueError, match="latency >= 1 must hold, but got 0"):
            frame_cycles(work, LAYER, 0)
        with pytest.raises(ValueError, match="latency >= 1 must hold, but got 0"):
            delta_timeline([work], [LAYER], DeltaGaps(memory=[MemoryGaps(latency=0)]))


class TestFastLayers:
    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def test_values_equal_the_golden_model(self, data):
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        shape = tuple(int(n) for n in (rng.integers(1, 4), *rng.integers(2, 7, 2)))
        filters, pool = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 2))
        bits = data.draw(st.sampled_from([12, 24]))  # 12 saturate
        layer = Conv(
            rng.integers(-128, 128, (filters, shape[0], 2, 2)),
            output(filters, 6, pool=pool),
            stride=data.draw(st.integers(1, 2)),
            pad=2,
        )
        golden = DeltaNetwork(DeltaEncoder(bits=8, signed=False), [layer], accumulator_bits=bits)
        fast = DeltaLayerState(layer, shape, accumulator_bits=bits)
        for frame in moving(rng, 3, shape):
            delta, want = golden.step(frame)
            got = fast.step(np.moveaxis(delta, 0, -1))
            assert (np.moveaxis(got, -1, 0) == want).all()
        assert fast.saturations == golden.layers[0].saturations

    def test_a_linear_layer_takes_an_image_in_onnx_order(self):
        rng = np.random.default_rng(2)
        layer = Linear(rng.integers(-9, 9, (4, 12)), output(4, 1))
        delta = rng.integers(-5, 5, (3, 2, 2))
        golden = DeltaNetwork(DeltaEncoder(), [layer])
        want = golden.layers[0].step(delta)
        got = DeltaLayerState(layer, (3, 2, 2), accumulator_bits=24).step(np.moveaxis(delta, 0, -1))
        assert (got.ravel() == want).all()

    def test_clusters_share_the_work(self):
        rng = np.random.default_rng(3)
        layer = Conv(rng.integers(-9, 9, (6, 3, 3, 3)), output(6, 2, pool=2), pad=1)
        g = LayerGeometry.of(layer, (3, 8, 8))
        nonzero = rng.random((2, 8, 8, 3)) < 0.3
        whole = layer_work(nonzero.astype(np.int64), g, LAYER)
        parts = cluster_work(nonzero, g, LAYER, 3)
        assert sum(int(p.beats[p.reads].sum()) for p in parts) == whole.beats[whole.reads].sum()
        assert sum(p.walk for p in parts) == whole.walk
        assert len({int(p.beats.sum()) for p in parts}) > 1  # real events are not balanced
        vector = LayerGeometry.of(Linear(np.zeros((9, 5), np.int64), output(9)), (5,))
        parts = cluster_work(np.ones((1, 1, 1, 5), np.bool_), vector, LAYER, 2)
        assert [int(p.beats.sum()) for p in parts] == [15, 10]

    def test_layers_are_checked(self):
        grouped = Conv(np.zeros((2, 1, 1, 1), np.int64), output(2), groups=2)
        with pytest.raises(ValueError, match="groups must be 1 on the delta engine, but got 2"):
            LayerGeometry.of(grouped, (2, 1, 1))
        with pytest.raises(ValueError, match="must have 3 elements, but got 4"):
            LayerGeometry.of(Linear(np.zeros((1, 3), np.int64), output(1)), (4,))
        pooled = Conv(np.zeros((1, 1, 1, 1), np.int64), output(1, pool=3))
        with pytest.raises(ValueError, match="whole window of the pool, but got 2 x 9 and pool=3"):
            LayerGeometry.of(pooled, (1, 2, 9))


def test_what_does_not_fit_the_engine_is_said():
    encoder = DeltaEncoder(bits=8, signed=False)
    wide = Linear(np.zeros((2, 300), np.int64), output(2))
    with pytest.raises(ValueError, match=r"reference_words must be at most 256, but .* needs 300"):
        layer_case(LAYER, encoder, [wide], np.zeros((1, 300), np.int64))
    coarse = DeltaEncoder(bits=9, signed=False)
    narrow = Linear(np.zeros((2, 3), np.int64), output(2))
    with pytest.raises(ValueError, match="encoder's bits must be activation_bits=8, but got 9"):
        layer_case(LAYER, coarse, [narrow], np.zeros((1, 3), np.int64))
    large = Linear(np.zeros((2, 3), np.int64), output(2, multiplier=1 << 16))
    with pytest.raises(ValueError, match=r"multipliers must be below 2\*\*16 .* got 65536"):
        layer_case(LAYER, encoder, [large], np.zeros((1, 3), np.int64))


def test_counts_are_checked():
    config = load_config("delta")
    with pytest.raises(UserError, match="--cases must be at least 1, but got 0"):
        verify_delta(config, cases=0)
    with pytest.raises(UserError, match="--seed must not be negative, but got -1"):
        verify_delta(config, seed=-1)
    with pytest.raises(UserError, match=r"--case must lie in 0\.\.4, but got 5"):
        verify_delta(config, cases=5, only=5)
    with pytest.raises(UserError, match="clusters must be 1 to be verified"):
        verify_delta(load_config("dal"))


def test_cases_follow_from_the_seed():
    for design in DESIGNS[:3]:
        one, same, other = (random_case(design, seed, 4) for seed in (1, 1, 2))
        assert one.expected == same.expected
        assert one.timeline.o_cycles.tolist() == same.timeline.o_cycles.tolist()
        assert one.description != other.description


def test_the_kernels_do_the_same_without_the_compiler(monkeypatch):
    rng = np.random.default_rng(9)
    layer = Conv(rng.integers(-9, 9, (3, 2, 2, 2)), output(3, 1))
    args = LAYER, DeltaEncoder(bits=8, signed=False), [layer], moving(rng, 2, (2, 3, 3)), STALLS
    compiled = layer_case(*args)
    work = layer_work(rng.integers(0, 2, (2, 3, 3, 2)), LayerGeometry.of(layer, (2, 3, 3)), LAYER)
    cycles = frame_cycles(work, LAYER)[0].tolist()
    for module, names in (
        (delta_sim, ("_simulate", "_frame_events")),
        (delta_layer, ("_scatter", "_recurrence")),
    ):
        for name in names:
            kernel = getattr(module, name)
            monkeypatch.setattr(module, name, getattr(kernel, "py_func", kernel))
    plain = layer_case(*args)
    assert plain.expected == compiled.expected
    assert plain.timeline.o_cycles.tolist() == compiled.timeline.o_cycles.tolist()
    assert frame_cycles(work, LAYER)[0].tolist() == cycles
