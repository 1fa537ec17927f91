"""The record of one product: parts that sum, names that are known, shares without remainder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.spgemm_run import SpgemmRun, apportion, total

GOOD = {
    "layer": "p", "m": 4, "n": 4, "k": 4, "nnz_a": 5, "nnz_b": 5, "nnz_c": 6, "dataflow": "v1",
    "cycles": 10, "parts": {"issue": 7, "dram": 3}, "macs_dense": 64, "macs_effective": 9,
    "bytes_by_cause": {"a.read": 60, "b.read": 40, "z.write": 72},
    "counters": {"spgemm.multiply": 9}, "energy_parts_pj": {"dram": 1.5, "logic": 0.25},
}  # fmt: skip


def test_totals_of_a_run():
    run = SpgemmRun(**GOOD)
    assert (run.dram_read_bytes, run.dram_write_bytes, run.energy_pj) == (100, 72, 1.75)
    assert (run.op, run.stage) == ("spgemm", "FF")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cycles": 11}, "parts of p must sum to its 11 cycles, but got"),
        ({"parts": {"issue": 13, "dram": -3}}, "dram must not be negative, but got -3"),
        ({"bytes_by_cause": {"a.read": -1}}, "a.read must not be negative, but got -1"),
        ({"bytes_by_cause": {"a": 1}}, "must end in .read or .write, but got 'a'"),
        ({"counters": {"spgemm.nothing": 1}}, "there is no counter 'spgemm.nothing'"),
    ],
)
def test_a_record_that_does_not_add_up_is_refused(change, words):
    with pytest.raises(ValueError) as caught:
        SpgemmRun(**(GOOD | change))
    assert words in str(caught.value)


@given(
    st.integers(0, 10**13),
    st.lists(st.integers(0, 10**16), min_size=1, max_size=9).filter(any),
)
def test_apportioned_cycles_sum_and_stay_within_one_of_their_share(cycles, weights):
    table = {f"w{i}": weight for i, weight in enumerate(weights)}
    parts = apportion(cycles, table)
    assert sum(parts.values()) == cycles
    whole = sum(weights)
    for name, weight in table.items():
        assert abs(parts[name] * whole - cycles * weight) < whole
        assert weight or not parts[name]


def test_apportioning_nothing_or_without_a_cause():
    assert apportion(0, {"a": 0, "b": 0}) == {"a": 0, "b": 0}
    assert apportion(5, {"a": 1, "b": 1, "c": 1}) == {"a": 2, "b": 2, "c": 1}
    with pytest.raises(ValueError, match="5 cycles need a cause"):
        apportion(5, {"a": 0})
    with pytest.raises(ValueError, match="must not be negative"):
        apportion(5, {"a": -1})


def test_totals_keep_the_order_of_names():
    found = total([{"b": 1, "a": 2}, {"a": 3, "c": 4}])
    assert list(found.items()) == [("b", 1), ("a", 5), ("c", 4)]
