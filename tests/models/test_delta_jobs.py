"""Bytes of the delta top's descriptors: what is packed is read back, by plain NumPy and by bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.config import load_config
from hwsim.models.counters import COUNTERS
from hwsim.models.delta_jobs import (
    DELTA_COUNTERS,
    GRU_RECORD,
    LAYER_RECORD,
    OPCODES,
    DeltaFormat,
    EngineSetup,
    FrameJob,
    delta_program,
    delta_records,
    delta_spec,
)
from hwsim.models.delta_shape import DeltaShape
from hwsim.models.shell_map import MAGIC, RECORD_VERSION, shell_map
from hwsim.rtl.delta_parts import config_layout


def shape(**changes: int) -> DeltaShape:
    base = load_config("edgedrnn" if changes.pop("gru", 0) else "delta").shape
    return DeltaShape(**{**base.__dict__, **changes})


shapes = st.builds(
    shape,
    gru=st.booleans(),
    lanes=st.integers(1, 20),
    detector_width=st.integers(1, 9),
    activation_bits=st.integers(2, 16),
    weight_bits=st.integers(2, 16),
    accumulator_bits=st.integers(18, 40),
)
buses = st.sampled_from([32, 64, 128, 256])


@given(shapes, buses, st.integers(1, 3), st.integers(1, 7), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_results_are_read_back_as_frames_are_written(s, bus_bits, frames, beats, seed):
    form = DeltaFormat(s, bus_bits)
    same = DeltaFormat(shape(**{**s.__dict__, "detector_width": s.lanes}), bus_bits)
    top = 1 << (s.item_bits - 1)
    items = np.random.default_rng(seed).integers(-top, top, (frames, beats, s.lanes))
    image = same.frames(items)
    assert image.shape == (frames, form.result_bytes(beats))
    assert image.shape[1] % (bus_bits // 8) == 0
    assert (form.results(image, beats) == items).all()


@given(shapes, buses, st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_weights_are_bits_of_their_beat(s, bus_bits, words, seed):
    form = DeltaFormat(s, bus_bits)
    top = 1 << (s.weight_bits - 1)
    given_ = np.random.default_rng(seed).integers(-top, top, (words, s.lanes))
    image = form.weights(given_)
    slot = len(form.weights(given_[:1].repeat(64, axis=0))) // 64  # 64 beats fill whole bus words
    for w, word in enumerate(given_.tolist()):
        packed = int.from_bytes(image[w * slot : (w + 1) * slot].tobytes(), "little")
        for lane, weight in enumerate(word):
            field = packed >> (lane * s.weight_bits) & (2 * top - 1)
            assert field == weight % (2 * top)
        assert packed >> s.lanes * s.weight_bits == 0


def test_with_eight_bits_and_eight_lanes_weights_are_a_plain_array():
    weights = np.arange(-32, 32).reshape(8, 8)
    image = DeltaFormat(load_config("edgedrnn").shape, 64).weights(weights)
    assert (image.view(np.int8) == weights.ravel()).all()


def test_frames_are_plain_arrays_of_the_least_c_type():
    gru, layer = load_config("edgedrnn").shape, load_config("delta").shape
    items = np.arange(-6, 6).reshape(1, 12, 1)
    assert (DeltaFormat(gru, 64).frames(items)[0].view("<i2") == items.ravel()).all()
    items = np.arange(250, 262).reshape(1, 3, 4) - 256
    # 9 bits, codes with and without sign, in int16_t
    assert (DeltaFormat(layer, 64).frames(items)[0].view("<i2") == items.ravel()).all()


def test_sums_and_parameters_are_int32():
    gru, layer = load_config("edgedrnn").shape, load_config("delta").shape
    sums = np.arange(-12, 12).reshape(3, 8) << 15
    assert (DeltaFormat(gru, 64).sums(sums).view("<i4") == sums.ravel()).all()
    bias, factor = np.arange(-4, 4).reshape(2, 4), np.arange(65528, 65536).reshape(2, 4)
    packed = DeltaFormat(layer, 64).parameters(bias, factor).view("<i4").reshape(-1, 2)
    assert (packed[:, 0] == bias.ravel()).all()
    assert (packed[:, 1] == factor.ravel()).all()


@pytest.mark.parametrize("preset, names", [("edgedrnn", GRU_RECORD), ("delta", LAYER_RECORD)])
def test_a_record_holds_the_core_s_constants_in_their_order(preset, names):
    s = load_config(preset).shape
    assert tuple(config_layout(s).members) == names[:-2]
    values = {name: i + 1 for i, name in enumerate(names)}
    words = DeltaFormat(s, 64).record(values).view("<u4")
    assert words[: len(names)].tolist() == list(range(1, len(names) + 1))
    assert not words[len(names) :].any()
    with pytest.raises(ValueError, match="a record must have"):
        DeltaFormat(s, 64).record({"theta": 1})
    with pytest.raises(ValueError, match=r"theta: 0 <= value < 2\*\*32 must hold, but got -1"):
        DeltaFormat(s, 64).record({**values, "theta": -1})


def test_counters_are_registered_and_the_map_has_them():
    registers = shell_map(delta_spec(config_hash=0x1234), 64)
    assert set(DELTA_COUNTERS) <= set(COUNTERS)
    for name in DELTA_COUNTERS:
        assert registers[f"count_{name.replace('.', '_')}_lo"].offset % 8 == 0
    assert registers["config_hash"].reset == 0x1234


def engine(**changes) -> EngineSetup:
    record = dict.fromkeys(GRU_RECORD, 1) | {"frame_beats": 5, "result_beats": 2}
    made = {"record": record, "weights": np.ones((6, 8), int), "sums": np.zeros((8, 8), int)}
    return EngineSetup(**{**made, **changes})


def parsed(program):
    """Names and fields of a program's descriptors, read from its image."""
    start = program.list_address - program.base
    layouts = delta_records()
    for n in range(program.count):
        raw = program.image[start + 64 * n : start + 64 * (n + 1)].tobytes()
        name = {code: name for name, code in OPCODES.items()}[raw[2]]
        fields = layouts[name][1].unpack(raw)
        assert (fields["magic"], fields["version"]) == (MAGIC, RECORD_VERSION)
        yield name, fields


@pytest.mark.parametrize("on_chip", [False, True])
def test_a_program_names_what_stands_in_its_image(on_chip):
    form = DeltaFormat(load_config("edgedrnn").shape, 64)
    jobs = [
        FrameJob(items=np.full((3, 5, 1), 7)),
        FrameJob(items=np.full((1, 5, 1), 9), reset=True),
    ]
    program = delta_program(form, [engine()], jobs, on_chip=on_chip, base=0x1000)
    found = list(parsed(program))
    names = ["layer", *(["weights"] if on_chip else []), "frames", "reset", "frames"]
    assert [name for name, _ in found] == names
    layer = found[0][1]
    at = layer["record"] - program.base
    words = program.image[at : at + 4 * len(GRU_RECORD)].view("<u4")
    assert words.tolist() == [1, 1, 1, 1, 1, 5, 2]
    assert layer["beats"] == 8
    at = found[1][1]["weights"] if on_chip else layer["weights"]
    assert (program.image[at - program.base :][:48].view(np.int8) == 1).all()
    frames = found[-1][1]
    at = frames["x"] - program.base
    assert program.image[at : at + 10].view("<i2").tolist() == [9] * 5
    outputs = program.outputs(program.image)
    assert [one.shape for one in outputs] == [(3, 2, 8), (1, 2, 8)]
    marked = program.image.copy()
    marked[frames["o"] - program.base] = 5
    assert program.outputs(marked)[1][0, 0, 0] == 5


def test_what_does_not_fit_is_refused():
    form = DeltaFormat(load_config("edgedrnn").shape, 64)
    jobs = [FrameJob(items=np.zeros((1, 5, 1), int))]
    with pytest.raises(ValueError, match="frames must have 5 beats"):
        delta_program(form, [engine()], [FrameJob(items=np.zeros((1, 4, 1)))], on_chip=False)
    with pytest.raises(ValueError, match="base must be a multiple of the bus's 8 bytes"):
        delta_program(form, [engine()], jobs, on_chip=False, base=4)
    with pytest.raises(ValueError, match="engine 0 must have sums, or bias and factor"):
        delta_program(form, [engine(sums=None)], jobs, on_chip=False)
    with pytest.raises(ValueError, match="weights must fit 8 bits"):
        delta_program(form, [engine(weights=np.full((6, 8), 128))], jobs, on_chip=False)
    with pytest.raises(ValueError, match="a program must have engines and frames"):
        delta_program(form, [], jobs, on_chip=False)
