"""Layers as memory images: what the hardware reads and replays is what the array's streams are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config import SatConfig, load_config, replace
from hwsim.dataflows.stce import OS, WS
from hwsim.dataflows.stce_feed import OperandStreams, gemm_streams
from hwsim.dataflows.stce_sim import values
from hwsim.models.bus_words import pack_rows, run_bytes, unpack_rows
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.nm import Compact, compress
from hwsim.models.sat_jobs import (
    Operand,
    a_beat_bits,
    a_rows,
    b_beat_bits,
    b_rows,
    buffer_beats,
    gemm_record,
    stored_rows,
    z_beat_bits,
)
from hwsim.sat_layers import Layer, pack_layers, read_bytes


def machine(**changes: object) -> SatConfig:
    config = load_config("sat", ["rows=2", "cols=2", "sparsity=2:4", "psum_depth=4"])
    assert isinstance(config, SatConfig)
    small = {f"buffers.{name}_bytes": 256 for name in ("input", "weight", "output")}
    return replace(config, small | changes)


MACHINES = [
    machine(format="int8", interleave=1),
    machine(format="fp16", rows=3, cols=3, **{"bus.data_bits": 32}),
    machine(format="int8", interleave=2, group=8, **{"bus.data_bits": 128}),
    machine(format="int8", rows=4, interleave=1, psum_depth=8),
]


@st.composite
def layers(draw, config: SatConfig) -> Layer:
    m, n, k = (draw(st.integers(1, high)) for high in (11, 13, 21))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((m, k), (k, n)))
    pattern = draw(st.sampled_from([None, (2, 4), (1, 2)]))
    weights = b if pattern is None else compress(b, *pattern)
    return Layer(name="l", a=a, b=weights, mode=draw(st.sampled_from([OS, WS])))


def play(memory, base: int, operand: Operand, bits: int, bus: int, rows: int = 1):
    """The bytes of an operand's beats as the hardware plays them, `rows` groups each."""
    runs = []
    share = 1 << operand.spread
    for segment in range(operand.segments):
        at = operand.base - base + segment * operand.stride
        content = memory[at : at + run_bytes(operand.beats, bits, bus)]
        stored = unpack_rows(content, operand.beats, bits, bus)
        parts = stored.reshape(operand.beats * share, rows // share, -1)
        beats = np.repeat(parts, share, axis=1).reshape(operand.beats * share, -1)
        runs += [beats[: (operand.beats - 1) * share + operand.tail]] * operand.repeats
    played = np.concatenate(runs)
    assert len(played) == operand.played
    return played


@given(st.data())
def test_replayed_runs_are_the_streams_of_the_array(data):
    config = data.draw(st.sampled_from(MACHINES))
    given_layers = data.draw(st.lists(layers(config), min_size=1, max_size=3))
    base = 4096 * data.draw(st.integers(0, 3))
    image = pack_layers(config, given_layers, base=base)
    fmt, array, bus = config.number, config.array, config.bus.data_bits
    memory = image.data.copy()
    record = gemm_record(streams=False)
    jobs = iter(image.jobs)
    for i, job in enumerate(image.jobs):
        at = image.list_address - base + i * record.size_bytes
        fields = record.unpack(memory[at : at + record.size_bytes].tobytes())
        assert (fields["a_base"], fields["tiles"]) == (job.a.base, job.tiles)
        assert fields["irq"] == (i == image.count - 1)
    for placed in image.layers:
        layer = placed.layer
        for numbers, _, columns in placed.order:
            whole = gemm_streams(layer.a, part(layer.b, columns), fmt, mode=layer.mode, array=array)
            got_a, got_b = [], []
            here = [next(jobs) for _ in numbers]
            for job in here:
                got_a.append(play(memory, base, job.a, a_beat_bits(fmt, array), bus, array.rows))
                got_b.append(play(memory, base, job.b, b_beat_bits(fmt, array), bus))
            assert (np.concatenate(got_a) == a_rows(whole.a)).all()
            want_b = b_rows(whole.b_values, whole.b_indices, fmt, array)
            assert (np.concatenate(got_b) == want_b).all()
            fields = [[j.mode, j.tiles, j.folds, j.length, j.word_steps] for j in here]
            assert (np.array(fields) == whole.jobs).all()
            store(memory, base, here, whole, config)
    for layer, z in zip(given_layers, image.results(memory), strict=True):
        golden = gemm_compact if isinstance(layer.b, Compact) else gemm
        assert (fmt.bits(z) == fmt.bits(golden(layer.a, layer.b, fmt))).all()


def part(b, columns: slice):
    if isinstance(b, Compact):
        return Compact(b.values[:, columns], b.indices[:, columns], b.pattern, b.k)
    return b[:, columns]


def store(memory, base: int, jobs, streams: OperandStreams, config: SatConfig) -> None:
    """What the top writes: the result beats of each descriptor as a run at its `z_base`."""
    beats = values(streams, config.number, config.array)
    at = 0
    for job in jobs:
        rows = np.ascontiguousarray(beats[at : at + job.z_beats]).view(np.uint8)
        bits = z_beat_bits(config.number, config.array)
        content = pack_rows(rows.reshape(job.z_beats, -1), bits, config.bus.data_bits)
        memory[job.z_base - base : job.z_base - base + len(content)] = content
        at += job.z_beats
    assert at == len(beats)


def test_columns_are_cut_only_where_that_moves_fewer_bytes():
    """B of 64 x 48 takes 64 * 24 beats of 8 bytes; a memory of 4 KiB holds a third of it."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, (32, 64)), rng.integers(-9, 9, (64, 48))
    layer = Layer(name="l", a=a.astype(np.int8), b=b.astype(np.int8), mode=OS)
    large = {"format": "int8", "interleave": 1, "buffers.weight_bytes": 4096}
    cut = pack_layers(machine(**large), [layer])
    whole = pack_layers(machine(**large, **{"buffers.input_bytes": 64}), [layer])
    one = pack_layers(machine(**large | {"buffers.weight_bytes": 65536}), [layer])
    assert (cut.count, one.count) == (3, 1)
    # 2 x 2 int8 in groups of 4: a run of A is 16 beats of 8 bytes, the image's B is read once
    b_bytes = 64 * 24 * 4
    a_bytes = 16 * 16 * 8
    assert sum(read_bytes(cut.config, j) for j in cut.jobs) == b_bytes + 3 * a_bytes
    assert sum(read_bytes(one.config, j) for j in one.jobs) == b_bytes + a_bytes
    assert whole.count == 3  # A is fetched for every column tile, however B is cut


def test_refusals():
    config = machine(format="int8")
    with pytest.raises(ValueError, match="layers must hold at least one, but got none"):
        pack_layers(config, [])
    layer = Layer(name="l", a=np.ones((2, 2), np.int8), b=np.ones((2, 2), np.int8), mode=OS)
    with pytest.raises(ValueError, match="base must be a multiple of 4096, but got 0x40"):
        pack_layers(config, [layer], base=64)
    job = pack_layers(config, [layer]).jobs[0]
    with pytest.raises(ValueError, match="a and b must both be operands or both be None"):
        type(job)(**{**vars(job), "a": None}).pack()
    with pytest.raises(ValueError, match="segments must divide the beats, but got 2 and 3"):
        stored_rows(np.zeros((3, 4), np.uint8), 2, 32, 64)


@pytest.mark.parametrize(("memory", "bits", "beats"), [(64, 8, 64), (100, 8, 64), (4, 64, 4)])
def test_buffer_beats_is_a_power_of_two_of_four_at_least(memory, bits, beats):
    assert buffer_beats(memory, bits) == beats
