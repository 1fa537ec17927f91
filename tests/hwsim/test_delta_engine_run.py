"""Delta layers over a stream: values, cycles against the simulator, causes, traffic, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.delta_layer import LayerGeometry, layer_work
from hwsim.dataflows.delta_sim import delta_timeline
from hwsim.engine_delta import dense_cycles, run_stream
from hwsim.errors import UserError
from hwsim.models.delta import Conv, DeltaEncoder, Linear, Output, dense_codes

ENCODER = DeltaEncoder(multiplier=1, shift=1, bits=8, signed=False)


def network(rng):
    def output(filters, pool=1):
        return Output(
            bias=rng.integers(-500, 500, filters), multiplier=rng.integers(300, 900, filters),
            shift=15, pool=pool,
        )  # fmt: skip

    return [
        Conv(rng.integers(-20, 21, (6, 2, 3, 3)), output(6, 2), pad=1),
        Conv(rng.integers(-20, 21, (5, 6, 3, 3)), output(5), stride=2, pad=1),
        Linear(rng.integers(-20, 21, (7, 30)), output(7)),
    ]


def clip(rng, frames=5, shape=(2, 9, 12)):
    x = rng.integers(0, 256, (frames, *shape))
    for t in range(1, frames):
        keep = rng.random(shape) < 0.8
        x[t][keep] = x[t - 1][keep]
    return x


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(3)
    return network(rng), clip(rng)


def test_codes_are_those_of_the_dense_network(small):
    layers, frames = small
    found = run_stream(ENCODER, layers, frames, load_config("delta"))
    want = [dense_codes(layers, (frame + 1) >> 1)[-1] for frame in frames]
    assert (found.codes[:, 0, 0] == np.stack(want)).all()
    assert found.saturations == (0, 0, 0)
    assert [run.layer for run in found.runs] == ["conv0", "conv1", "linear2"]
    assert all(run.nonzero_out > 0 for run in found.runs)


def test_one_cluster_takes_the_simulators_cycles(small):
    layers, frames = small
    config = load_config("delta")
    codes = [frame[None] for frame in np.diff((frames + 1) >> 1, axis=0, prepend=0)]
    deltas = np.moveaxis(np.concatenate(codes), 1, -1)
    run = run_stream(ENCODER, layers[:1], frames, config).runs[0]
    work = layer_work(deltas, LayerGeometry.of(layers[0], frames.shape[1:]), config.shape)
    timeline = delta_timeline([work], [config.shape])
    ends = timeline.o_cycles.reshape(len(frames), -1)[:, -1]
    assert run.frame_cycles.tolist() == np.diff(ends, prepend=-1).tolist()
    assert run.parts["add"] == timeline.busy[0]
    assert run.parts["walk"] == timeline.walk[0] == len(frames) * (work.walk + 1)
    assert run.parts["set"] == work.set_words
    assert run.parts["imbalance"] == run.parts["stall_dram"] == 0
    assert run.macs_effective < run.macs_dense


def test_more_clusters_and_their_imbalance(small):
    layers, frames = small
    one = run_stream(ENCODER, layers, frames, load_config("delta")).runs[0]
    four = run_stream(ENCODER, layers, frames, load_config("delta", ["clusters=4"])).runs[0]
    assert four.macs_effective == one.macs_effective
    assert one.cycles / 4 < four.cycles < one.cycles
    assert four.parts["imbalance"] > 0


def test_state_in_dram_costs_bytes_and_cycles(small):
    layers, frames = small
    chip = run_stream(ENCODER, layers, frames, load_config("delta")).runs[0]
    narrow = ["state_memory=dram", "dram.bytes_per_cycle=1.0", "dram.latency_cycles=3"]
    dram = run_stream(ENCODER, layers, frames, load_config("delta", narrow)).runs[0]
    assert chip.bytes_by_cause == {}
    sums = 9 * 12 * 6 * 3
    assert dram.bytes_by_cause["sum.read"] == 5 * sums
    assert dram.bytes_by_cause["reference.read"] == 5 * 2 * 9 * 12
    assert dram.bytes_by_cause["reference.write"] == dram.nonzero_in
    assert 0 < dram.bytes_by_cause["sum.write"] <= 5 * sums
    assert dram.parts["stall_dram"] == dram.cycles - chip.cycles > 0
    moved = sum(dram.bytes_by_cause.values())
    assert dram.cycles >= moved + 5 * 3  # a byte a cycle, and the latency of each frame
    assert dram.energy_parts_pj["dram"] > chip.energy_pj
    assert dram.state_bytes == 2 * 9 * 12 + sums


def test_sums_that_no_event_reaches_are_not_written():
    frames = np.zeros((3, 1, 8, 8), np.int64)
    frames[1:, 0, 0, 0] = 9
    layer = Conv(
        np.ones((2, 1, 3, 3), np.int64),
        Output(bias=np.zeros(2, np.int64), multiplier=np.ones(2, np.int64), shift=0),
        pad=1,
    )
    config = load_config("delta", ["state_memory=dram"])
    run = run_stream(ENCODER, [layer], frames, config).runs[0]
    assert run.frame_nonzero.tolist() == [0, 1, 0]
    assert run.bytes_by_cause["sum.write"] == 4 * 2 * 3  # the corner's four pixels, two filters
    assert run.macs_effective == 4 * 2


def test_weights_in_dram(small):
    layers, frames = small
    given = ["weight_memory=dram", "dram.bytes_per_cycle=1.0", "dram.latency_cycles=1"]
    run = run_stream(ENCODER, layers, frames, load_config("delta", given)).runs[0]
    # 6 filters are two words of 4 weights for each pixel that an event adds to
    assert run.bytes_by_cause == {"weights.read": run.macs_effective // 6 * 8}
    assert run.parts["stall_dram"] > 0


def test_a_dense_stream_is_the_bound(small):
    layers, frames = small
    config = load_config("delta")
    runs = run_stream(ENCODER, layers, frames, config).runs
    dense = dense_cycles(layers, frames.shape[1:], len(frames), config)
    assert sum(run.cycles for run in runs) < dense
    many = dense_cycles(layers, frames.shape[1:], 9, config)
    fewer = dense_cycles(layers, frames.shape[1:], 8, config)
    assert many - fewer == fewer - dense_cycles(layers, frames.shape[1:], 7, config)


def test_theta_of_the_configuration_replaces_the_rule(small):
    layers, frames = small
    exact = run_stream(ENCODER, layers, frames, load_config("delta")).runs[0]
    coarse = run_stream(ENCODER, layers, frames, load_config("delta", ["theta=40"])).runs[0]
    assert coarse.nonzero_in < exact.nonzero_in


def test_refusals(small):
    layers, frames = small
    config = load_config("delta")
    with pytest.raises(UserError, match="engine must be layer for linear and conv layers"):
        run_stream(ENCODER, layers, frames, load_config("edgedrnn"))
    with pytest.raises(UserError, match="a clip must be two frames of integers or more"):
        run_stream(ENCODER, layers, frames[:1], config)
    with pytest.raises(UserError, match=r"but got float64 of shape \(5, 2, 9, 12\)"):
        run_stream(ENCODER, layers, frames * 0.5, config)
    with pytest.raises(UserError, match="layer conv0: the input must have 2 channels"):
        run_stream(ENCODER, layers, frames[:, :1], config)
    with pytest.raises(UserError, match="layer conv0 needs sigma_words=216, but got 100"):
        run_stream(ENCODER, layers, frames, load_config("delta", ["sigma_words=100"]))
    with pytest.raises(UserError, match="layer first needs reference_words=108, but got 64"):
        run_stream(
            ENCODER, layers, frames, load_config("delta", ["reference_words=64"]),
            names=["first", "second", "third"],
        )  # fmt: skip


class TestConfig:
    @pytest.mark.parametrize(
        ("preset", "override", "message"),
        [
            ("edgedrnn", "theta=null", "theta must be a number for a gru"),
            ("edgedrnn", "theta=-1", "theta"),
            ("edgedrnn", "detector_width=3", "detector_width must divide the lanes of a gru"),
            ("edgedrnn", "clusters=2", "clusters must be 1 for a gru, but got 2"),
            ("edgedrnn", "chain=2", "a chain must be of layer engines"),
            ("edgedrnn", "table_range_bits=4", None),
            ("delta", "accumulator_bits=15", "at least activation_bits \\+ weight_bits = 16"),
            ("delta", "detector_width=2", None),
            ("delta", "fifo_depth=1", "fifo_depth"),
        ],
    )
    def test_rules(self, preset, override, message):
        if message is None:
            assert load_config(preset, [override]).name == preset
            return
        with pytest.raises(UserError, match=message):
            load_config(preset, [override])

    def test_derived_sizes(self):
        shape = load_config("edgedrnn").shape
        assert (shape.item_bits, shape.delta_bits, shape.product_bits) == (16, 17, 25)
        assert (shape.capacity, shape.sum_fraction) == (31, 15)
        assert load_config("delta").shape.item_bits == 9
        assert load_config("dal").peak_macs_per_s == 4 * 16 * 200e6
