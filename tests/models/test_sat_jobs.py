"""Descriptors of the sparse array's top and the bytes of its beats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.array import ArrayShape
from hwsim.models.formats import FP16, INT8
from hwsim.models.sat_jobs import (
    GEMM_OPCODE,
    GemmJob,
    Operand,
    a_beat_bits,
    a_rows,
    b_beat_bits,
    b_rows,
    fetches,
    gemm_record,
    sat_spec,
    spread_of,
    stored_rows,
    unpack_results,
    z_beat_bits,
)
from hwsim.models.shell_map import MAGIC, shell_map

B = ("base", "stride", "beats", "segments", "repeats")
COUNT = st.integers(1, 2**32 - 1)
ADDRESS = st.integers(0, 2**64 - 1)
OPERANDS = st.builds(
    Operand,
    base=ADDRESS,
    stride=st.integers(0, 2**32 - 1),
    beats=COUNT,
    segments=COUNT,
    repeats=COUNT,
)
OPERANDS_OF_A = OPERANDS.flatmap(
    lambda o: st.builds(replace, st.just(o), spread=st.integers(0, 5), tail=st.integers(1, 32))
)


@given(
    a=OPERANDS_OF_A,
    b=OPERANDS,
    job=st.fixed_dictionaries(
        {
            "mode": st.integers(0, 1),
            "tiles": st.integers(1, 2**24 - 1),
            "folds": st.integers(1, 2**16 - 1),
            "length": st.integers(1, 2**17 - 1),
            "word_steps": st.integers(1, 63),
            "z_base": ADDRESS,
            "z_beats": COUNT,
            "irq": st.booleans(),
            "wait": st.booleans(),
        }
    ),
)
def test_a_descriptor_holds_all_it_is_given(a, b, job):
    record = GemmJob(a=a, b=b, **job).pack()
    fields = gemm_record(streams=False).unpack(record)
    assert len(record) == 128
    assert (fields["magic"], fields["opcode"]) == (MAGIC, GEMM_OPCODE)
    assert {name: fields[name] for name in job} == job
    for name, operand in (("a", a), ("b", b)):
        parts = {part: value for part, value in vars(operand).items() if name == "a" or part in B}
        assert {part: fields[f"{name}_{part}"] for part in parts} == parts


@given(job=st.fixed_dictionaries({"tiles": st.integers(2**24, 2**30)}))
def test_a_value_beyond_its_field_is_refused(job):
    fields = {"mode": 0, "folds": 1, "length": 1, "word_steps": 1, "z_base": 0, "z_beats": 1}
    with pytest.raises(ValueError, match=r"sat_gemm\.tiles: 0 <= value < 16777216 must hold"):
        GemmJob(a=None, b=None, **fields, **job).pack()


def test_the_record_of_streams_has_no_addresses():
    fields = {"mode": 1, "tiles": 2, "folds": 3, "length": 4, "word_steps": 5}
    record = GemmJob(a=None, b=None, z_base=0, z_beats=6, **fields).pack()
    found = gemm_record(streams=True).unpack(record)
    assert len(record) == 64
    assert {name: found[name] for name in fields} == fields and found["z_beats"] == 6
    assert not any(name.endswith("base") for name in found)


@given(st.data())
def test_beats_as_bytes(data):
    """Against packing with Python integers, field by field."""
    fmt = data.draw(st.sampled_from([INT8, FP16]))
    size = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9)))
    array = ArrayShape(rows=size[0], cols=size[1], group=size[2])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    beats, bits = 3, fmt.operand_bits
    unsigned = {8: np.uint8, 16: np.uint16}[bits]
    raw_a = rng.integers(0, 1 << bits, (beats, array.rows, array.group)).astype(unsigned)
    raw_b = rng.integers(0, 1 << bits, (beats, array.cols)).astype(unsigned)
    index = rng.integers(0, array.group, (beats, array.cols)).astype(np.uint8)
    rows_a = a_rows(raw_a.view(fmt.operand_dtype))
    rows_b = b_rows(raw_b.view(fmt.operand_dtype), index, fmt, array)
    pair = b_beat_bits(fmt, array) // array.cols
    for i in range(beats):
        word = sum(int(v) << bits * j for j, v in enumerate(raw_a[i].ravel()))
        assert int.from_bytes(rows_a[i].tobytes(), "little") == word
        word = sum(
            (int(v) | int(x) << bits) << pair * j
            for j, (v, x) in enumerate(zip(raw_b[i], index[i], strict=True))
        )
        assert int.from_bytes(rows_b[i].tobytes(), "little") == word
    assert rows_a.shape[1] * 8 == a_beat_bits(fmt, array)


@given(beats=st.integers(1, 5), segments=st.integers(1, 4), bus=st.sampled_from([32, 64, 128]))
def test_runs_start_at_bus_words(beats, segments, bus):
    rows = np.arange(beats * segments * 3, dtype=np.uint8).reshape(-1, 3)
    content, stride = stored_rows(rows, segments, 24, bus)
    assert stride % (bus // 8) == 0 and len(content) == stride * segments
    for i in range(segments):
        run = content[i * stride : i * stride + 4 * beats].reshape(beats, 4)
        assert (run[:, :3] == rows[i * beats : (i + 1) * beats]).all()
        assert not run[:, 3].any()


def test_results_come_back():
    array = ArrayShape(rows=2, cols=3)
    z = np.arange(12, dtype=np.int32).reshape(4, 3) - 5
    rows = np.ascontiguousarray(z).view(np.uint8).reshape(4, -1)
    content, _ = stored_rows(rows, 1, z_beat_bits(INT8, array), 64)
    assert len(content) == 4 * 16  # 12 bytes are two words
    assert (unpack_results(content, 4, INT8, array, 64) == z).all()


def test_a_run_that_does_not_fit_is_fetched_for_every_play():
    operand = Operand(base=0, stride=0, beats=17, segments=2, repeats=5)
    assert fetches(operand, 64, 16) == 1  # 32 beats
    assert fetches(operand, 63, 16) == 5  # 16 beats
    assert operand.played == 170
    assert replace(operand, spread=2, tail=3).played == (16 * 4 + 3) * 10


@pytest.mark.parametrize(
    ("rows", "steps", "word_steps", "spread"),
    [(4, 64, 4, 2), (4, 9, 4, 0), (8, 32, 2, 1), (6, 24, 8, 1), (3, 24, 8, 0), (1, 8, 8, 0)],
)
def test_rows_that_share_a_group(rows, steps, word_steps, spread):
    """All of them are real slots or all are padding, and one group serves them in every fold."""
    assert spread_of(ArrayShape(rows=rows, cols=1), steps, word_steps) == spread


def test_registers_of_the_top_have_its_counters():
    spec = sat_spec(ArrayShape(rows=4, cols=4), streams=False, config_hash=1, version=2)
    names = {one.name for one in shell_map(spec, 64).registers}
    assert {"count_sat_stce_active_lo", "count_sat_stce_slot_hi"} <= names
    assert spec.counters["sat.stce.slot"] == 5  # an increment of 16
