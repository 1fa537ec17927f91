"""Training steps through the array's streams: the simulator gives the golden's bits and cycles."""

from __future__ import annotations

import numpy as np
import pytest
from trace_streams import choose_mode, product_streams, trace_streams

from hwsim.config import load_config
from hwsim.dataflows.exact_train import FAST
from hwsim.dataflows.stce import OS, WS
from hwsim.dataflows.stce_sim import timeline, values
from hwsim.errors import UserError
from hwsim.models.exact_digits import NETWORKS
from hwsim.models.exact_train import Recipe, Trace, initial_state, train_step
from hwsim.models.nm import NMPattern
from hwsim.models.post import post


def three_steps(name, method, pattern, batch=2):
    """One trace a step."""
    network, recipe = NETWORKS[name], Recipe(method=method, pattern=pattern)
    rng = np.random.default_rng(6)
    states = initial_state(network, recipe, 6, FAST)
    traces = []
    for _ in range(3):
        x = rng.integers(0, 17, network[0].input_shape(batch)) / 16
        trace = Trace()
        result = train_step(network, states, x, rng.integers(0, 10, batch), recipe, FAST, trace)
        states = result.states
        traces.append(trace)
    return traces


def config(*overrides):
    small = ["rows=4", "cols=4", "group=8", "psum_depth=64"]
    return load_config("sat", [*small, *overrides])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mode", [OS, WS])
@pytest.mark.parametrize(
    ("method", "pattern", "design"),
    [
        ("bdwp", NMPattern(2, 8), ["interleave=3", "adder_latency=3"]),
        ("bdwp", NMPattern(2, 4), []),
        ("sdgp", NMPattern(2, 8), ["adder_latency=4", "multiplier_latency=2"]),
    ],
)
def test_three_steps_run_on_the_simulator(name, mode, method, pattern, design):
    sat = config(*design)
    for trace in three_steps(name, method, pattern):
        runs = trace_streams(trace.products, sat, mode)
        assert [r.product for r in runs] == trace.products
        for run in runs:
            beats = values(run.streams, sat.number, sat.array)
            assert run.wrong(beats) == 0
            assert timeline(run.streams.jobs, sat.array).cycles == run.cycles


def test_expected_beats_and_gates_are_what_the_post_unit_meets():
    sat = config("interleave=2", "adder_latency=2")
    seen = set()
    for run in trace_streams(three_steps("cnn", "bdwp", NMPattern(2, 8))[0].products, sat):
        beats = run.expected_beats()
        assert (run.streams.gather(beats).view(np.uint32) == run.product.z.view(np.uint32)).all()
        if run.post_mode is None:
            assert run.product.out is run.product.z
            continue
        gate = run.gate_beats() if run.product.post == "gate" else None
        out, positive = post(beats, run.post_mode, gate=gate)
        got = run.streams.gather(out)
        assert np.array_equal(got.view(np.uint16), run.product.out.view(np.uint16))
        if run.product.post == "relu":  # the mask of the unit is what gates BP
            assert np.array_equal(run.streams.gather(positive), run.product.out != 0)
        seen.add(run.product.post)
    assert seen == {"relu", "gate"}


def test_wrong_counts_elements():
    run = product_streams(three_steps("mlp", "dense", NMPattern(2, 8))[0].products[0], config())
    beats = run.expected_beats()
    real = np.flatnonzero(run.streams.z_rows >= 0)
    beats[real[0], 0] = np.nextafter(beats[real[0], 0], np.float32(9))
    beats[real[-1], 1] += 1
    assert run.wrong(beats) == 2


def test_auto_takes_the_faster():
    sat = config("dataflow=auto")
    products = [
        product
        for batch in (2, 32)
        for product in three_steps("mlp", "bdwp", NMPattern(2, 8), batch)[0].products
    ]
    chosen = []
    for p in products:
        both = {mode: product_streams(p, sat, mode).cycles for mode in (OS, WS)}
        run = product_streams(p, sat)
        assert run.cycles == min(both.values()) == both[choose_mode(p, sat)]
        chosen.append(run.mode)
    assert set(chosen) == {OS, WS}
    assert choose_mode(products[0], config("dataflow=ws")) == WS
    assert choose_mode(products[0], config("dataflow=os")) == OS


def test_refusals():
    product = three_steps("mlp", "bdwp", NMPattern(2, 8))[0].products[1]
    with pytest.raises(UserError, match="group must be a multiple of the M of 2:8, but got 4"):
        product_streams(product, load_config("sat", ["group=4", "sparsity=2:4"]))
    with pytest.raises(UserError, match="format must be fp16 to run a training step, but got int8"):
        product_streams(product, config("format=int8"))
    run = product_streams(product, config())
    with pytest.raises(ValueError, match="only a product with post 'gate' has gate bits, but got"):
        run.gate_beats()
