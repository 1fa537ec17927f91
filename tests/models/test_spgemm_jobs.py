"""Products and their results as bytes in memory: packing, unpacking, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.models.bus_words import pack_beats
from hwsim.models.rowwise import RowwiseShape
from hwsim.models.shell_map import MAGIC, shell_map
from hwsim.models.sparse import Csr
from hwsim.models.spgemm_jobs import (
    COUNT_FIELDS,
    RECORD_BYTES,
    SpgemmFormat,
    SpgemmJob,
    spgemm_program,
    spgemm_records,
    spgemm_spec,
)

BUSES = (32, 64, 128, 512)


def shape_of(row_bits=4, column_bits=9, outputs=2, is_float=True):
    return RowwiseShape(
        lanes=2, banks=4, entries=8, outputs=outputs, multiplier_latency=1, adder_latency=1,
        token_queue=4, token_length=4, request_queue=2, product_queue=2, bank_queue=2,
        row_bits=row_bits, column_bits=column_bits, epoch_bits=2, probe_limit=4,
        is_float=is_float,
    )  # fmt: skip


def matrix(rng, m, n, density, dtype):
    rows, columns = np.nonzero(rng.random((m, n)) < density)
    return Csr.from_coo((m, n), rows, columns, rng.integers(-99, 99, rows.size).astype(dtype))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bus=st.sampled_from(BUSES),
    row_bits=st.integers(1, 16),
    column_bits=st.integers(6, 31),
    is_float=st.booleans(),
)
def test_what_hardware_would_write_is_read_back(seed, bus, row_bits, column_bits, is_float):
    """Results laid down word by word with `pack_beats`, the rule that the RTL is tested against."""
    rng = np.random.default_rng(seed)
    shape = shape_of(row_bits, column_bits, int(rng.choice([1, 2, 4])), is_float)
    form = SpgemmFormat(shape, bus)
    m, k, n = (int(x) for x in rng.integers(1, 12, 3))
    a, b = (matrix(rng, *s, 0.4, shape.value_dtype) for s in ((m, k), (k, n)))
    starts = np.unique([0, m, *rng.integers(0, m + 1, 2)]).astype(np.int64)
    windows = len(starts) - 1
    job = SpgemmJob(a=a, b=b, starts=starts, z_records=40, spill_records=20)
    program = spgemm_program(form, [job], base=int(rng.integers(0, 4)) << 20)
    image, place = program.image.copy(), program.places[0]
    assert len(program.image) % 128 == 0 and program.list_address % 128 == 0

    def record(row, column, value, last):
        at = row_bits + column_bits
        return row | column << row_bits | value << at | last << at + 32

    def put(address, records, bits):
        packed = pack_beats(records, bits, bus)
        image[address - program.base :][: len(packed)] = packed

    wanted = []
    for output in range(shape.outputs):
        records = []
        for window in range(windows):
            rows = min(1 << row_bits, int(starts[window + 1] - starts[window]))
            for _ in range(int(rng.integers(0, 4))):
                entry = (
                    int(rng.integers(rows)),
                    int(rng.integers(1 << column_bits)),
                    int(rng.integers(1 << 32)),
                )
                records.append(record(*entry, 0))
                wanted.append((output, window, int(starts[window]) + entry[0], *entry[1:]))
            records.append(record(0, 0, 0, 1))
            wanted.append((output, window, -1, -1, None))
        put(place.z + output * place.z_stride, records, form.result_bits)
    counts = rng.integers(0, 1 << 32, (windows, 8))
    spilled = rng.integers(0, 4, windows)
    counts[:, COUNT_FIELDS.index("spilled")] = spilled
    words = [sum(int(c) << 32 * i for i, c in enumerate(row)) for row in counts]
    put(place.counts, words, 256)
    products = [record(0, int(rng.integers(1 << column_bits)), 7, 0) for _ in range(spilled.sum())]
    put(place.spill, [*products, record(0, 0, 0, 1)], form.result_bits)

    (result,) = program.results(image)
    found = [
        (int(o), int(w), int(r), int(c), None if c < 0 else int(v))
        for o, w, r, c, v in zip(
            result.output, result.window, result.row, result.column, result.value.view(np.uint32),
            strict=True,
        )
    ]  # fmt: skip
    assert found == wanted
    assert np.array_equal(result.counts, counts)
    assert result.spilled == spilled.sum() == len(result.spill_row)
    assert np.array_equal(result.spill_window, np.repeat(np.arange(windows), spilled))
    assert np.array_equal(result.spill_row, starts[result.spill_window])
    assert [int(v) for v in result.spill_value.view(np.uint32)] == [7] * len(products)


@pytest.mark.parametrize("bus", BUSES)
def test_operands_lie_where_the_descriptor_says(bus):
    rng = np.random.default_rng(1)
    form = SpgemmFormat(shape_of(is_float=False), bus)
    a, b = matrix(rng, 5, 7, 0.5, np.int32), matrix(rng, 7, 300, 0.1, np.int32)
    job = SpgemmJob(a=a, b=b, starts=np.array([0, 2, 5]))
    square = matrix(rng, 5, 5, 0.5, np.int32)
    again = SpgemmJob(a=square, b=square, starts=job.starts)
    program = spgemm_program(form, [job, again], base=4096)
    layout = spgemm_records()["multiply"][1]
    at = program.list_address - program.base
    first, second = (
        layout.unpack(program.image[at + i * RECORD_BYTES :][:RECORD_BYTES].tobytes())
        for i in range(2)
    )
    assert (first["magic"], first["windows"], first["b_rows"]) == (MAGIC, 2, 7)
    assert second["a_pointers"] == second["b_pointers"]  # one matrix stands in memory once

    def words(address, count):
        return program.image[address - program.base :][: 4 * count].view("<u4").tolist()

    assert words(first["window_table"], 4) == [0, 2, 2, 3]
    assert words(first["b_pointers"], 8) == b.indptr.tolist()
    pairs = np.array(words(first["b_elements"], 2 * b.nnz)).reshape(-1, 2)
    assert np.array_equal(pairs[:, 0], b.indices)
    assert np.array_equal(pairs[:, 1].astype(np.uint32).view(np.int32), b.data)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(2)
    form = SpgemmFormat(shape_of(is_float=False, column_bits=3), 64)
    a, b = matrix(rng, 4, 4, 1.0, np.int32), matrix(rng, 4, 20, 1.0, np.int32)
    whole = np.array([0, 4])
    for given_jobs, options, sentence in (
        ([], {}, "a program must have jobs"),
        ([SpgemmJob(a=a, b=b, starts=whole)], {}, r"columns must be below 2\*\*3, but got 19"),
        ([SpgemmJob(a=a, b=a, starts=whole[:1])], {}, "a product must have windows, but got 0"),
        ([SpgemmJob(a=a, b=a, starts=whole)], {"base": 8}, "base must be a multiple of align"),
        (
            [SpgemmJob(a=a.astype(np.float32), b=a, starts=whole)],
            {},
            "values must be int32, but got float32",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            spgemm_program(form, given_jobs, **options)
    with pytest.raises(ValueError, match="row pointers must have 32 bits, but got 4294967296"):
        form.pointers(np.array([0, 1 << 32]))


def test_a_run_that_did_not_end_is_told():
    rng = np.random.default_rng(3)
    form = SpgemmFormat(shape_of(is_float=False, outputs=1), 64)
    a = matrix(rng, 4, 4, 1.0, np.int32)
    program = spgemm_program(form, [SpgemmJob(a=a, b=a, starts=np.array([0, 4]))])
    with pytest.raises(ValueError, match="output 0 closed 0 windows of 1"):
        program.results(program.image)
    with pytest.raises(ValueError, match="the image has"):
        program.results(program.image[1:])
    image = program.image.copy()
    place = program.places[0]
    closing = pack_beats([1 << form.result_bits - 1], form.result_bits, 64)
    image[place.z : place.z + len(closing)] = closing
    with pytest.raises(ValueError, match="the spilled products do not end behind the 0 counted"):
        program.results(image)


def test_counters_and_errors_have_registers():
    registers = shell_map(spgemm_spec(), 64)
    names = [one.name for one in registers.registers]
    assert "count_spgemm_core_cycle_lo" in names
    assert registers["error"].field("code").values["spill_room"] == 20
