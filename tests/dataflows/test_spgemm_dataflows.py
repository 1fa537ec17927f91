"""Counts of the SpGEMM dataflows against oracles that walk every element."""

from __future__ import annotations

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import operands, random_csr, rows_of

from hwsim.dataflows.merger import insertions, merged_elements, row_fibres
from hwsim.dataflows.spgemm_counts import compulsory_bytes, count, multiply, row_nnz
from hwsim.dataflows.spgemm_hash import HASH_SCALE, hash_product, table_slots
from hwsim.dataflows.spgemm_inner import inner_counts, inner_traffic
from hwsim.dataflows.spgemm_outer import outer_traffic
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import product


def same_bits(left, right):
    assert left.shape == right.shape
    assert left.indices.dtype == right.indices.dtype
    assert np.array_equal(left.indptr, right.indptr)
    assert np.array_equal(left.indices, right.indices)
    word = {4: np.uint32, 8: np.uint64}[left.data.dtype.itemsize]
    assert np.array_equal(left.data.view(word), right.data.view(word))


def up(value, unit):
    return -(-value // unit) * unit


@given(operands())
def test_counts(case):
    a, b = case
    rows_a, rows_b = rows_of(a), rows_of(b)
    got = count(a, b)
    work = [sum(len(rows_b[k]) for k in row) for row in rows_a]
    unions = [len({j for k in row for j in rows_b[k]}) for row in rows_a]
    selected = {k for row in rows_a for k in row if rows_b[k]}
    assert got.row_multiplies.tolist() == work
    assert got.row_nnz.tolist() == unions
    assert np.flatnonzero(got.referenced).tolist() == sorted(selected)
    assert got.adds == sum(work) - sum(unions)
    elements = a.nnz + sum(len(rows_b[k]) for k in selected) + sum(unions)
    pointers = 2 * a.shape[0] + b.shape[0] + 1
    assert compulsory_bytes(a, b, got) == 12 * elements + 4 * pointers


@given(operands())
def test_values_are_the_golden_products_bits(case):
    a, b = case
    golden = product(a, b)
    same_bits(multiply(a, b), golden)
    same_bits(hash_product(a, b)[0], golden)


def test_values_with_cancellation_infinities_and_nan():
    rng = np.random.default_rng(2)
    for dtype in (np.float32, np.float64):
        a = random_csr(rng, 40, 40, 0.3, dtype)
        special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, 3e38], dtype)
        data = np.where(rng.random(a.nnz) < 0.3, special[rng.integers(0, 7, a.nnz)], a.data)
        a = Csr(a.shape, a.indptr, a.indices, data.astype(dtype))
        with np.errstate(over="ignore", invalid="ignore"):
            golden = product(a, a)
        assert np.isnan(golden.data).any()
        for z in (multiply(a, a), hash_product(a, a)[0]):
            nan = np.isnan(golden.data)
            assert np.array_equal(np.isnan(z.data), nan)
            assert np.array_equal(z.data[~nan], golden.data[~nan])
            assert np.array_equal(np.signbit(z.data[~nan]), np.signbit(golden.data[~nan]))
            if dtype == np.float32:
                same_bits(z, golden)
    plus = Csr.from_coo((1, 2), [0, 0], [0, 1], [1.0, 1.0])
    minus = Csr.from_coo((2, 1), [0, 1], [0, 0], [1.0, -1.0])
    z = multiply(plus, minus)
    assert z.nnz == 1 and z.data[0] == 0.0  # a sum of zero stays in the structure


@given(operands(), st.integers(2, 5))
def test_mergers(case, radix):
    a, b = case
    rows_b = rows_of(b)
    fibres = [[rows_b[k] for k in row if rows_b[k]] for row in rows_of(a)]
    assert row_fibres(a, b).tolist() == [len(f) for f in fibres]
    work = count(a, b).row_multiplies
    assert merged_elements(row_fibres(a, b), work, radix).tolist() == [
        slow_tree(row, radix) for row in fibres
    ]
    assert insertions(a, b).tolist() == [slow_insertions(row) for row in fibres]


def slow_tree(fibres, radix):
    cycles = 0
    while len(fibres) > 1:
        groups = [fibres[i : i + radix] for i in range(0, len(fibres), radix)]
        cycles += sum(len(g) + sum(len(f) for f in g) for g in groups)
        fibres = [sorted(j for f in g for j in f) for g in groups]
    return cycles


def slow_insertions(fibres):
    if len(fibres) < 2:
        return 0
    queues = [list(f) for f in fibres]
    heads: list[tuple[int, int]] = []
    compares = 0

    def insert(f):
        nonlocal compares
        head = (-queues[f].pop(0), f)
        at = bisect.bisect_right(heads, head)
        compares += len(heads) - at + 1
        heads.insert(at, head)

    for f in range(len(queues)):
        insert(f)
    while heads:
        _, f = heads.pop()
        if queues[f]:
            insert(f)
    return compares


@given(operands(), st.integers(0, 40), st.sampled_from([4, 8]))
def test_outer_product_element_by_element(case, cache_lines, value):
    a, b = case
    rows_a, rows_b, columns_a = rows_of(a), rows_of(b), rows_of(a.transpose())
    line, element = 8, 4 + value

    def lines(length):
        return up(4 * length, line) // line + up(value * length, line) // line

    pointers = up(4 * a.shape[1], line)
    b_lines = 0
    for column, row in zip(columns_a, rows_b, strict=True):
        for use in range(len(column) if row else 0):
            b_lines += lines(len(row)) if use == 0 else max(lines(len(row)) - cache_lines, 0)
    fibres = [sum(1 for k in row if rows_b[k]) for row in rows_a]
    partial = sum(len(rows_b[k]) for row in rows_a for k in row)
    unions = [len({j for k in row for j in rows_b[k]}) for row in rows_a]
    stored = element * partial + sum(up(4 * f, element) for f in fibres)
    stored += up(4 * sum(f > 0 for f in fibres), element)
    got = outer_traffic(
        a, b, count(a, b), cache_bytes=line * cache_lines, line_bytes=line, value_bytes=value
    )
    assert got.a_read == line * sum(lines(len(c)) for c in columns_a) + pointers
    assert got.b_read == line * b_lines + pointers
    assert got.t_write == got.t_read == stored
    assert got.z_write == line * sum(map(lines, unions)) + up(4 * sum(u > 0 for u in unions), line)


@given(operands())
def test_inner_product_walks_every_pair(case):
    a, b = case
    pairs = compares = 0
    for row in rows_of(a):
        for column in rows_of(b.transpose()):
            if not row or not column:
                continue
            pairs += 1
            p = q = 0
            while p < len(row) and q < len(column):
                compares += 1
                left, right = row[p], column[q]
                p += left <= right
                q += right <= left
    got = inner_counts(a, b, count(a, b).multiplies)
    assert (got.pairs, got.compares) == (pairs, compares)


@given(operands(), st.integers(0, 400), st.sampled_from([0, 1 << 20]))
def test_inner_product_reads_b_once_a_block(case, buffer_bytes, cache_bytes):
    a, b = case
    blocks, used = 0, 0
    for row in rows_of(a):
        size = up(4 * len(row), 8) + 8 * len(row) + 4
        if row and (blocks == 0 or used + size > buffer_bytes):
            blocks, used = blocks + 1, 0
        used += size if row else 0
    got = inner_traffic(a, b, count(a, b), buffer_bytes=buffer_bytes, cache_bytes=cache_bytes)
    once = sum(up(4 * len(c), 8) + 8 * len(c) for c in rows_of(b.transpose()))
    once += up(4 * b.shape[1], 8)
    assert got.blocks == blocks
    assert got.b_read == once * (min(blocks, 1) if once <= cache_bytes else blocks)
    assert got.a_read == sum(up(4 * len(r), 8) + 8 * len(r) for r in rows_of(a)) + up(
        4 * a.shape[0], 8
    )


@given(operands(), st.sampled_from([1, 2, 8, 32]), st.sampled_from([1, 107, 2**31 - 1]))
def test_hash_tables_slot_by_slot(case, min_slots, scale):
    a, b = case
    rows_b = rows_of(b)
    _, got = hash_product(a, b, scale=scale, min_slots=min_slots)
    for i, row in enumerate(rows_of(a)):
        arrivals = [j for k in row for j in rows_b[k]]
        unique = len(set(arrivals))
        for keys, slots, probes in (
            (min(len(arrivals), b.shape[1]), got.symbolic_slots, got.symbolic_probes),
            (unique, got.numeric_slots, got.numeric_probes),
        ):
            size = min_slots if keys else 0
            while size < keys:
                size *= 2
            assert slots[i] == size
            table: list[int | None] = [None] * size
            looked = 0
            for j in arrivals:
                at = j * scale % size
                looked += 1
                while table[at] not in (None, j):
                    at = (at + 1) % size
                    looked += 1
                table[at] = j
            assert probes[i] == looked
        assert got.row_multiplies[i] == len(arrivals)
        assert got.row_nnz[i] == unique


def test_a_table_that_is_exactly_full():
    """Eight columns that all hash to slot 0 fill the table of eight: 1 + 2 + ... + 8 probes."""
    b = Csr.from_coo((1, 64), [0] * 8, range(0, 64, 8), np.ones(8))
    a = Csr.from_coo((1, 1), [0], [0], [2.0])
    z, got = hash_product(a, b)
    assert (HASH_SCALE * b.indices % 8 == 0).all()
    assert got.numeric_slots.tolist() == [8] and got.numeric_probes.tolist() == [36]
    assert z.data.tolist() == [2.0] * 8


def test_table_sizes():
    keys = np.array([0, 1, 8, 9, 16, 17, 1 << 20, (1 << 20) + 1])
    assert table_slots(keys).tolist() == [0, 8, 8, 16, 16, 32, 1 << 20, 1 << 21]


def test_operands_of_64_bit_indices():
    """Columns beyond 2^31: only the coordinates are wide, the structure is small."""
    far = (1 << 31) + 5
    b = Csr.from_coo((3, far + 1), [0, 0, 2], [1, far, far], [1.0, 2.0, 3.0])
    a = Csr.from_coo((2, 3), [0, 0], [0, 2], [1.0, 1.0])
    z, got = hash_product(a, b)
    assert z.indices.dtype == np.int64 and z.indices.tolist() == [1, far]
    assert z.data.tolist() == [1.0, 5.0]
    assert got.row_nnz.tolist() == row_nnz(a, b).tolist() == [2, 0]
    same_bits(multiply(a, b), z)
    counts = count(a, b)
    assert inner_counts(a, b, counts.multiplies).pairs == 2
    assert inner_traffic(a, b, counts, buffer_bytes=0, cache_bytes=0).blocks == 1
    assert outer_traffic(a, b, counts, cache_bytes=64).z_write == 2 * 4 + 2 * 8 + 8
    assert insertions(a, b).sum() == slow_insertions([[1, far], [far]])


def test_what_does_not_fit_is_refused():
    a = Csr.from_coo((2, 3), [0], [0], [1.0])
    for call in (count, row_nnz, multiply, hash_product, row_fibres, insertions):
        with pytest.raises(ValueError, match="columns of A must equal rows of B, but got A 2 x 3"):
            call(a, a)
    with pytest.raises(ValueError, match="radix >= 2 must hold, but got 1"):
        merged_elements(np.ones(1, np.int64), np.ones(1, np.int64), 1)
    b = a.transpose()
    with pytest.raises(ValueError, match="scale must be odd and positive, but got 2"):
        hash_product(a, b, scale=2)
    with pytest.raises(ValueError, match="min_slots must be a power of two, but got 12"):
        hash_product(a, b, min_slots=12)
