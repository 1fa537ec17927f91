"""Training steps at three levels: the golden model, the program on the simulators, the RTL.

One class of cases: a network is trained for some steps and every level gives weights, momenta,
masks and compact copies after each. The RTL's result beats must leave in the simulator's cycles.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.program import EngineShape, training_program
from hwsim.dataflows.program_sim import command_time, simulate, start_cycles
from hwsim.dataflows.stce import OS, WS
from hwsim.errors import UserError
from hwsim.models.array import ArrayShape
from hwsim.models.exact_layers import conv, dense
from hwsim.models.exact_state import Recipe, initial_state
from hwsim.models.exact_train import train_step
from hwsim.models.nm import Compact, NMPattern
from hwsim.models.update import UpdateRule
from hwsim.verify_training import verify_training

PATTERN = NMPattern(2, 4)
ENGINE = EngineShape(
    array=ArrayShape(
        rows=2, cols=3, group=4, psum_depth=16, interleave=2, adder_latency=3, multiplier_latency=2
    ),
    pattern=PATTERN,
    update_lanes=3,
    select_lanes=2,
)
NETWORKS = {
    "mlp": (dense("fc1", 6, 12), dense("fc2", 12, 9), dense("fc3", 9, 4, relu=False)),
    "cnn": (
        conv("conv1", 1, 4, 5),
        conv("conv2", 4, 6, 5, stride=2),
        conv("conv3", 6, 8, 3, relu=False),
        dense("fc", 72, 3, relu=False),
    ),
}


def recipe(method):
    rule = UpdateRule(rate=0.1, decay=1e-3)
    return Recipe(method=method, pattern=PATTERN, rule=rule, loss_scale=256.0)


def data(name, steps=3, batch=5):
    """Random images, one channel of NaN-free values, and labels."""
    rng = np.random.default_rng(4)
    first, last = NETWORKS[name][0], NETWORKS[name][-1]
    shape = (steps, *first.input_shape(batch))
    images = rng.standard_normal(shape).astype(np.float32)
    return [(x, rng.integers(0, last.outputs, batch)) for x in images]


def program(name, method, engine=ENGINE):
    network = NETWORKS[name]
    states = initial_state(network, recipe(method), 3)
    return training_program(network, states, data(name), recipe(method), engine)


@pytest.mark.parametrize("method", ["dense", "sr_ste", "sdwp", "bdwp"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_program_leaves_the_golden_s_bits(name, method):
    made = program(name, method)
    images = simulate(made)
    states = initial_state(NETWORKS[name], recipe(method), 3)
    assert len(images) == 3
    for (x, labels), memory in zip(data(name), images, strict=True):
        states = train_step(NETWORKS[name], states, x, labels, recipe(method)).states
        for place, state in zip(made.layers, states, strict=True):
            assert (memory[place.w] == state.w.view(np.uint32)).all()
            assert (memory[place.v] == state.v.view(np.uint32)).all()
            assert (memory[place.copy] == state.copy.view(np.uint16)).all()
            for where, held, mask in (
                (place.forward, state.forward, state.forward_mask),
                (place.backward, state.backward, state.backward_mask),
            ):
                assert (where is None) == (mask is None)
                if where is not None:
                    assert isinstance(held, Compact)
                    assert (memory[where[0]] == held.values.view(np.uint16)).all()
                    assert (memory[where[1]] == held.indices).all()
                    assert (memory[where[2]] == mask).all()
        # the step did something
        assert any((s.v != 0).any() for s in states)


def test_both_dataflows_and_all_units_are_used():
    made = program("cnn", "bdwp")
    jobs = [c for c in made.commands if c.unit == 0]
    assert {c.job[0] for c in jobs} == {OS, WS}
    assert {int(c.unit) for c in made.commands} == {0, 1, 2}
    assert {c.post for c in jobs} == {0, 1, 2, 3}
    parts = [c.name.split()[1] for c in made.commands]
    assert set(parts) == {"FF", "BP", "WU", "WUVE", "SORE"}


def test_the_faster_dataflow_is_taken():
    made = program("mlp", "dense")
    engine = replace(ENGINE, array=replace(ENGINE.array, adder_latency=8, interleave=1))
    slow = program("mlp", "dense", engine)
    count = [sum(c.job[0] == WS for c in p.commands if c.unit == 0) for p in (made, slow)]
    assert count[1] > count[0]  # a long adder without interleaving starves output stationary


def test_cycles_are_the_sum_of_the_commands():
    times = [command_time(c, ENGINE) for c in program("mlp", "bdwp").commands]
    starts = start_cycles([t.period for t in times])
    assert starts[0] == 0
    assert np.diff(starts).tolist() == [t.period for t in times[:-1]]
    assert start_cycles([5, 5, 5], [2, 0, 9]) == [2, 7, 17]


def test_what_the_engine_cannot_do_is_a_sentence():
    with pytest.raises(ValueError, match="prunes dY"):
        program("mlp", "sdgp")
    with pytest.raises(ValueError, match="whose M is the array's group, but got 2:8 and group=4"):
        replace(ENGINE, pattern=NMPattern(2, 8))
    with pytest.raises(ValueError, match="update_lanes >= 1 must hold, but got 0"):
        replace(ENGINE, update_lanes=0)
    config = load_config("sat", ["rows=2", "cols=2"])
    with pytest.raises(UserError, match="--train must be one of mlp, cnn, but got 'vgg'"):
        verify_training(config, "vgg")
    with pytest.raises(UserError, match="steps and batch must be at least 1, but got 0 and 4"):
        verify_training(config, "mlp", steps=0)
    with pytest.raises(UserError, match="the training engine is FP16, but got int8"):
        verify_training(load_config("sat", ["format=int8"]), "mlp")


@pytest.mark.xdist_group("rtl-training")
@pytest.mark.parametrize("network, batch", [("mlp", 4), ("cnn", 2)])
def test_three_steps_in_rtl(network, batch):
    """Digits: every word after every step, and the cycle of every result beat, with stalls."""
    config = load_config(
        "sat",
        ["rows=2", "cols=2", "sparsity=2:8", "psum_depth=16", "interleave=2", "adder_latency=3",
         "multiplier_latency=2", "sore_lanes=4", "wuve_lanes=2"],
    )  # fmt: skip
    report = verify_training(config, network, steps=3, batch=batch, seed=1)
    assert report.difference == ""
    assert report.ok
    assert report.commands == {"mlp": 45, "cnn": 66}[network]
    assert report.values > 50_000


@pytest.mark.xdist_group("rtl-training")
def test_a_wrong_word_and_a_late_beat_are_found(monkeypatch):
    from hwsim import verify_training as verification

    config = load_config(
        "sat",
        ["rows=2", "cols=2", "sparsity=2:8", "psum_depth=16", "interleave=2", "adder_latency=3",
         "multiplier_latency=2", "sore_lanes=4", "wuve_lanes=2"],
    )  # fmt: skip
    real = verification.run_rtl

    def one_bit(program, *rest):
        found = real(program, *rest)
        found["images"][-1][program.layers[0].w[0, 0]] ^= 1
        return found

    monkeypatch.setattr(verification, "run_rtl", one_bit)
    report = verify_training(config, "mlp", steps=1, batch=2)
    assert report.difference.startswith("RTL: after step 1 1 words differ")

    def one_cycle(program, *rest):
        found = real(program, *rest)
        found["results"][5][0] += 1
        return found

    monkeypatch.setattr(verification, "run_rtl", one_cycle)
    report = verify_training(config, "mlp", steps=1, batch=2)
    assert "result 0 in cycle" in report.difference
