"""The fibre cache against a line-by-line simulation, and its closed forms."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.dataflows.fibre_cache import fibre_lines, fibre_traffic


def line_trace(a_indices, lengths, line_bytes, words):
    """Every line in the order it is read: (row, what, number), with the access it belongs to."""
    coordinate, value, pointer = words
    for t, k in enumerate(a_indices):
        before = np.count_nonzero(lengths[:k])  # empty rows have no pointer of their own
        yield t, ("pointer", int(before) // (line_bytes // pointer))
        for what, size in (("coordinate", coordinate), ("value", value)):
            for line in range(-(-int(lengths[k]) * size // line_bytes)):
                yield t, (int(k), what, line)


def slow_lru(trace, capacity):
    cached = OrderedDict()
    fetched = 0
    for _, line in trace:
        if line in cached:
            cached.move_to_end(line)
            continue
        fetched += 1
        cached[line] = None
        if len(cached) > capacity:
            cached.popitem(last=False)
    return fetched


def slow_optimum(trace, capacity):
    """Belady with bypass, line by line; the next use is looked up by search."""
    lines = [line for _, line in trace]
    cached = set()
    fetched = 0
    for t, line in enumerate(lines):

        def due(other, t=t):
            return next((u for u in range(t + 1, len(lines)) if lines[u] == other), 1 << 60)

        if line not in cached:
            fetched += 1
            cached.add(line)
        if len(cached) > capacity:
            cached.remove(max(cached, key=due))
    return fetched


CASES = st.tuples(
    st.lists(st.integers(0, 7), max_size=40),
    st.lists(st.integers(0, 9), min_size=8, max_size=8),
    st.integers(0, 60),
    st.sampled_from([8, 16, 64]),
    st.sampled_from([(4, 8, 4), (4, 4, 4), (4, 0, 4), (8, 8, 8)]),
)


@given(CASES)
def test_lru_is_exact_line_by_line(case):
    order, lengths, capacity, line_bytes, words = case
    order, lengths = np.array(order, np.int32), np.array(lengths, np.int64)
    trace = list(line_trace(order, lengths, line_bytes, words))
    coordinate, value, pointer = words
    got = fibre_traffic(
        order,
        lengths,
        cache_bytes=capacity * line_bytes,
        line_bytes=line_bytes,
        coordinate_bytes=coordinate,
        value_bytes=value,
        pointer_bytes=pointer,
    )
    assert got.lines_fetched == slow_lru(trace, capacity)
    assert got.lines_read == len(trace)
    assert got.row_hits + got.row_misses == int(np.count_nonzero(lengths[order]))


@given(CASES)
def test_next_use_is_the_optimum_line_by_line(case):
    order, lengths, capacity, line_bytes, words = case
    order, lengths = np.array(order[:20], np.int32), np.array(lengths, np.int64)
    trace = list(line_trace(order, lengths, line_bytes, words))
    coordinate, value, pointer = words
    sizes = {
        "cache_bytes": capacity * line_bytes,
        "line_bytes": line_bytes,
        "coordinate_bytes": coordinate,
        "value_bytes": value,
        "pointer_bytes": pointer,
    }
    best = fibre_traffic(order, lengths, policy="next_use", **sizes)
    assert best.lines_fetched == slow_optimum(trace, capacity)
    assert best.lines_fetched <= fibre_traffic(order, lengths, policy="lru", **sizes).lines_fetched


def slow_words(order, lengths, line_bytes, words, capacity):
    """TeAAL's policy with a sorted list: what is needed soonest stays."""
    coordinate, value, pointer = words
    accesses = []
    for k in order:
        before = np.count_nonzero(lengths[:k])
        accesses.append(("pointer", int(before) // (line_bytes // pointer)))
        for n in range(lengths[k]):
            accesses.append((int(k), "coordinate", n // (line_bytes // coordinate)))
            if value:
                accesses.append((int(k), "value", n // (line_bytes // value)))
    cached: dict[object, int] = {}
    fetched = 0
    for t, line in enumerate(accesses):
        again = next((u for u in range(t + 1, len(accesses)) if accesses[u] == line), None)
        hit = line in cached
        fetched += not hit
        cached.pop(line, None)
        if again is None or capacity == 0:
            continue
        if not hit and len(cached) == capacity:
            latest = max(cached, key=cached.get)
            if cached[latest] < again:
                continue
            del cached[latest]
        cached[line] = again
    return fetched


@given(CASES)
def test_next_use_by_words_is_exact_word_by_word(case):
    order, lengths, capacity, line_bytes, words = case
    order, lengths = np.array(order[:15], np.int32), np.array(lengths, np.int64)
    coordinate, value, pointer = words
    sizes = {
        "cache_bytes": capacity * line_bytes,
        "line_bytes": line_bytes,
        "coordinate_bytes": coordinate,
        "value_bytes": value,
        "pointer_bytes": pointer,
    }
    got = fibre_traffic(order, lengths, policy="next_use_words", **sizes).lines_fetched
    assert got == slow_words(order, lengths, line_bytes, words, capacity)
    assert got >= fibre_traffic(order, lengths, policy="next_use", **sizes).lines_fetched


@given(CASES)
def test_more_cache_never_fetches_more(case):
    """LRU and the optimum are stack algorithms, whatever the trace."""
    order, lengths, capacity, _, _ = case
    order, lengths = np.array(order, np.int32), np.array(lengths, np.int64)
    for policy in ("lru", "next_use"):
        small, large = (
            fibre_traffic(order, lengths, cache_bytes=8 * lines, policy=policy).lines_fetched
            for lines in (capacity, capacity + 3)
        )
        assert large <= small


def test_what_fits_is_fetched_once_and_what_is_not_cached_every_time():
    rng = np.random.default_rng(5)
    order = rng.integers(0, 50, 400).astype(np.int32)
    lengths = rng.integers(0, 30, 50)
    used = np.unique(order[lengths[order] > 0])
    before = np.cumsum(lengths > 0) - (lengths > 0)
    once = fibre_lines(lengths, 8)[used].sum() + len(np.unique(before[order] // 2))
    for policy in ("lru", "next_use"):
        all_of_it = fibre_traffic(order, lengths, cache_bytes=1 << 20, policy=policy)
        assert all_of_it.lines_fetched == once
        assert all_of_it.row_misses == len(used)
        nothing = fibre_traffic(order, lengths, cache_bytes=0, policy=policy)
        assert nothing.lines_fetched == nothing.lines_read > once


def test_cycling_through_one_line_too_many_defeats_lru_and_not_the_optimum():
    order = np.tile(np.arange(4, dtype=np.int32), 10)
    lengths = np.full(4, 2, np.int64)  # 3 lines a row and 2 lines of pointers: 14 in all
    lru = fibre_traffic(order, lengths, cache_bytes=8 * 11, policy="lru")
    assert lru.lines_fetched == 2 + 40 * 3  # the pointers' lines are used often enough to stay
    best = fibre_traffic(order, lengths, cache_bytes=8 * 11, policy="next_use")
    assert best.lines_fetched < 80


def test_sizes_that_do_not_fit_are_refused():
    order, lengths = np.zeros(1, np.int32), np.ones(1, np.int64)
    with pytest.raises(
        ValueError, match="policy must be one of lru, next_use, next_use_words, but"
    ):
        fibre_traffic(order, lengths, cache_bytes=8, policy="fifo")
    with pytest.raises(ValueError, match="line_bytes must be a multiple of value_bytes"):
        fibre_traffic(order, lengths, cache_bytes=8, line_bytes=12)
    with pytest.raises(ValueError, match="cache_bytes >= 0 must hold, but got -1"):
        fibre_traffic(order, lengths, cache_bytes=-1)
    with pytest.raises(ValueError, match="multiple of pointer_bytes, but got 8 and 3"):
        fibre_traffic(order, lengths, cache_bytes=8, pointer_bytes=3)
