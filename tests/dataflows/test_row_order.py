"""Gamma's affinity order against Python's own heap."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import operands, random_csr, rows_of

from hwsim.dataflows.row_order import MAX_AFFINITY_ROWS, affinity_order, permute_rows
from hwsim.models.sparse import Csr


class Waiting:
    """A row in the heap: the largest key first, and only keys are compared."""

    def __init__(self, row):
        self.row, self.key = row, 0

    def __lt__(self, other):
        return self.key > other.key


def slow_order(a, cache_bytes):
    rows, columns = rows_of(a), rows_of(a.transpose())
    window = int(cache_bytes / 12 / (a.nnz / a.shape[0]) ** 2) if a.nnz else 0
    first_seen = dict.fromkeys(i for column in columns for i in column)
    waiting = {i: Waiting(i) for i in first_seen}
    heap = list(waiting.values())
    heapq.heapify(heap)
    order: list[int] = []

    def change(row, by):
        for k in rows[row]:
            for i in columns[k]:
                if i in waiting:
                    waiting[i].key += by

    while heap:
        order.append(heapq.heappop(heap).row)
        del waiting[order[-1]]
        change(order[-1], 1)
        if len(order) > window:
            change(order[len(order) - window - 2], -1)
        heapq.heapify(heap)
    return order


@given(operands(dtypes=(np.float64,)), st.sampled_from([0, 50, 300, 3000, 100000]))
def test_the_order_is_that_of_pythons_heap(case, cache_bytes):
    a, _ = case
    order = affinity_order(a, cache_bytes)
    assert order.tolist() == slow_order(a, cache_bytes)
    moved = permute_rows(a, order)
    rows = rows_of(a)
    assert rows_of(moved) == [rows[i] for i in order] + [[]] * (a.shape[0] - len(order))
    assert np.array_equal(np.sort(moved.data), np.sort(a.data))


def test_the_order_brings_rows_that_share_columns_together():
    """Rows of two alternating patterns: at most one switch from one to the other is left."""
    n = 40
    i = np.repeat(np.arange(n), 5)
    j = (i % 2) * 20 + np.tile(np.arange(5), n)
    a = Csr.from_coo((n, n), i, j, np.ones(len(i)))
    parity = affinity_order(a, 1 << 20) % 2
    assert np.count_nonzero(np.diff(parity)) == 1


def test_too_many_rows_are_refused():
    a = random_csr(np.random.default_rng(0), 2, 2, 1.0)
    tall = Csr.from_coo((MAX_AFFINITY_ROWS + 1, 2), [0, 1], [0, 1], [1.0, 1.0])
    assert len(affinity_order(a, 100)) == 2
    with pytest.raises(ValueError, match="takes at most 65536 rows, but got 65537"):
        affinity_order(tall, 100)
