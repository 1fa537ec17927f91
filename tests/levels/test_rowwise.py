"""The row-wise SpGEMM engine at three levels: one class of cases, each level overrides `run`.

golden: the product, and for one lane the tables product by product; simulator: the Numba kernels;
RTL: the whole engine under cocotb, every word of every port and its cycle.
"""

from __future__ import annotations

import functools
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.rowwise_kernel import INSERTS
from hwsim.dataflows.rowwise_sim import MemoryLatency, RowwiseGaps, simulate
from hwsim.models.rowwise import row_bound, windows
from hwsim.models.rowwise_golden import golden_windows
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import multiplies, product
from hwsim.spgemm_cases import SpgemmCase, make_case, spgemm_designs
from hwsim.verify_spgemm import golden_error, run_cases

SINGLE = ["lanes=1", "banks=1", "entries=4", "outputs=1", "probe_limit=4", "epoch_bits=2"]
WIDE = ["lanes=3", "banks=4", "entries=8", "outputs=2", "probe_limit=8", "token_length=4"]
SHORT = ["multiplier_latency=2", "adder_latency=3", "row_bits=4", "column_bits=9", "token_queue=4"]
DESIGNS = {
    "single int32": load_config("spgemm", [*SHORT, *SINGLE, "format=int32"]),
    "single fp32": load_config("spgemm", [*SHORT, *SINGLE, "format=fp32"]),
    "wide fp32": load_config("spgemm", [*SHORT, *WIDE, "format=fp32"]),
}


def matrix(dense, config):
    """The non-zeros of a dense array; a value of -0.0 or 0 is kept where `dense` is NaN."""
    dense = np.asarray(dense, float)
    rows, cols = np.nonzero(dense)
    return Csr.from_coo(dense.shape, rows, cols, dense[rows, cols].astype(config.shape.value_dtype))


def random_matrix(rng, shape, density, config):
    values = rng.integers(1, 60, shape) * rng.choice([-1, 1], shape)
    return matrix(np.where(rng.random(shape) < density, values, 0), config)


def make(design, a, b, *, rows=None, capacity=None, gaps=None, latency=None, exact=True):
    config = DESIGNS[design]
    bound = row_bound(a.indptr, a.indices, b.indptr, b.shape[1])
    starts = windows(bound, capacity or config.capacity, rows or 1 << config.row_bits)
    return SpgemmCase(
        number=0,
        design=0,
        kind="test",
        a=a,
        b=b,
        starts=starts,
        gaps=gaps or RowwiseGaps(),
        latency=latency or MemoryLatency(),
        exact=exact,
    )


def collisions(config, rows_of_b, count):
    """B with `rows_of_b` equal rows of `count` columns that all hash to one slot of one bank."""
    step = 2**config.shape.hash_bits
    dense = np.zeros((rows_of_b, step * (count - 1) + 1))
    dense[:, ::step] = 1 + np.arange(count)
    return matrix(dense, config)


@pytest.mark.parametrize("design", DESIGNS)
class TestGolden:
    """Cases; here the golden model runs them."""

    def run(self, design, *cases):
        """Of each case the counts of all windows: multiplies, skipped, probes, inserts,
        accumulates, spilled. Probes are None where they depend on timing."""
        found = []
        for case in cases:
            config = DESIGNS[design]
            done = golden_windows(config.shape, case.a, case.b, case.starts)
            total = {
                name: sum(getattr(window, name) for window in done)
                for name in ("multiplies", "skipped", "probes", "inserts", "accumulates")
            }
            total["spilled"] = sum(len(s) for window in done for s in window.spilled)
            assert total["multiplies"] == multiplies(case.a, case.b)
            entries = {e[:2] for w in done for bank in (*w.entries, *w.spilled) for e in bank}
            golden = product(case.a, case.b)
            assert entries == set(zip(golden.rows.tolist(), golden.indices.tolist(), strict=True))
            found.append(total)
        return found

    def test_random_products(self, design):
        rng = np.random.default_rng(1)
        config = DESIGNS[design]
        cases = []
        for m, k, n in ((5, 7, 9), (1, 20, 3), (16, 2, 30)):
            a, b = (random_matrix(rng, s, 0.3, config) for s in ((m, k), (k, n)))
            cases.append(make(design, a, b, latency=MemoryLatency(a=3, b=5, b_ptr=2)))
        for got in self.run(design, *cases):
            assert got["inserts"] + got["accumulates"] + got["spilled"] == got["multiplies"]

    def test_table_exactly_full_is_still_found_in_a_circle(self, design):
        # `entries` columns fill one bank from one slot on; the second row of B finds all of them,
        # the last after a full circle
        config = DESIGNS[design]
        e = config.entries
        case = make(design, matrix([[1, 2]], config), collisions(config, 2, e))
        (got,) = self.run(design, case)
        assert (got["inserts"], got["accumulates"], got["spilled"]) == (e, e, 0)
        if config.lanes == 1:
            assert got["probes"] == e * (e + 1)

    def test_one_more_than_the_table_holds_overflows(self, design):
        config = DESIGNS[design]
        e = config.entries
        case = make(design, matrix([[1, 2]], config), collisions(config, 2, e + 1))
        (got,) = self.run(design, case)
        assert got["inserts"] == e
        # the key that is not in the table leaves each time it comes; with several lanes another
        # one may be the last
        assert got["spilled"] == 2
        assert got["accumulates"] == e
        if config.lanes == 1:
            assert got["probes"] == e * (e + 1) + 2 * e

    def test_every_bank_full_without_a_collision(self, design):
        config = DESIGNS[design]
        b = matrix(np.ones((3, config.capacity)), config)
        (got,) = self.run(design, make(design, matrix([[1, 1, 1]], config), b))
        assert (got["inserts"], got["spilled"]) == (config.capacity, 0)
        assert got["probes"] in (None, 3 * config.capacity)

    def test_hot_column(self, design):
        config = DESIGNS[design]
        a = matrix(np.ones((2, 15)), config)
        b = matrix(np.pad(np.ones((15, 1)), ((0, 0), (0, 3))), config)
        (got,) = self.run(design, make(design, a, b))
        assert (got["inserts"], got["accumulates"]) == (2, 28)

    def test_empty_rows_on_both_sides(self, design):
        config = DESIGNS[design]
        a = matrix([[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 2, 0], [0, 0, 0]], config)
        b = matrix([[1, 1], [0, 0], [0, 3]], config)
        cases = [make(design, a, b, rows=rows) for rows in (16, 1, 2)]
        for got in self.run(design, *cases):
            assert (got["skipped"], got["inserts"], got["accumulates"]) == (2, 2, 1)

    def test_one_element_and_none(self, design):
        config = DESIGNS[design]
        one, none = matrix([[3]], config), matrix(np.zeros((4, 4)), config)
        got = self.run(design, make(design, one, one), make(design, none, none))
        assert [x["inserts"] for x in got] == [1, 0]

    def test_windows_until_epochs_run_out(self, design):
        config = DESIGNS[design]
        rng = np.random.default_rng(2)
        a, b = (random_matrix(rng, s, 0.4, config) for s in ((12, 5), (5, 4)))
        (got,) = self.run(design, make(design, a, b, rows=1))
        assert got["spilled"] == 0

    def test_back_pressure_on_every_port(self, design):
        config = DESIGNS[design]
        rng = np.random.default_rng(3)
        a, b = (random_matrix(rng, s, 0.4, config) for s in ((9, 8), (8, 12)))
        every = {n: rng.integers(0, 5, 7).tolist() for n in RowwiseGaps.__dataclass_fields__}
        slow_out = RowwiseGaps(z=[9, 0, 14], spill=[11], done=[30])
        slow_in = RowwiseGaps(b_rsp=[4, 0, 0, 7], a_rsp=[6], b_ptr_rsp=[3, 9])
        cases = [
            make(design, a, b, capacity=2 * config.capacity, gaps=gaps, latency=latency)
            for gaps in (RowwiseGaps(**every), slow_out, slow_in)
            for latency in (None, MemoryLatency(a_ptr=7, a=11, b_ptr=5, b=13))
        ]
        for got in self.run(design, *cases):
            assert got["inserts"] + got["accumulates"] + got["spilled"] == got["multiplies"]


class TestSimulator(TestGolden):
    """The same cases through the Numba kernels; `golden_error` holds them to the product."""

    def run(self, design, *cases):
        found = []
        for case in cases:
            shape = DESIGNS[design].shape
            done = simulate(
                shape, case.a, case.b, case.starts, gaps=case.gaps, latency=case.latency
            )
            assert golden_error(shape, case, done) is None
            totals = done.totals
            found.append(
                {
                    "multiplies": totals["spgemm.multiply"],
                    "skipped": done.skipped,
                    "probes": totals["spgemm.hash.probe"],
                    "inserts": totals["spgemm.hash.insert"],
                    "accumulates": totals["spgemm.hash.accumulate"],
                    "spilled": done.spilled,
                }
            )
        return found


class Recorder(TestSimulator):
    """Keeps the cases, so that a design runs all of them in one process."""

    def __init__(self):
        self.cases = []

    def run(self, design, *cases):
        self.cases += cases
        return super().run(design, *cases)


@functools.cache
def rtl_outcomes(design):
    recorder = Recorder()
    for name in dir(recorder):
        if name.startswith("test_"):
            getattr(recorder, name)(design)
    done = run_cases(DESIGNS[design], recorder.cases)
    return dict(zip(map(pickle.dumps, recorder.cases), done, strict=True))


@pytest.mark.xdist_group("rtl-rowwise")
class TestRtl(TestSimulator):
    """The same cases through the Verilog; `run_cases` compares every word and its cycle."""

    def run(self, design, *cases):
        for case in cases:
            what, cycles = rtl_outcomes(design)[pickle.dumps(case)]
            assert what is None, f"{case}: {what}"
            assert cycles > 0
        return super().run(design, *cases)


def test_golden_order_of_sums_bit_for_bit_with_specials():
    """Floats whose sum depends on the order, infinities, NaN, subnormals, zeros of both signs."""
    config = DESIGNS["single fp32"]
    rng = np.random.default_rng(4)
    specials = [np.inf, -np.inf, np.nan, 1e-45, -1e-40, -0.0, 0.0, 3.4e38, 1e-25]

    def operand(shape):
        filled = rng.random(shape) < 0.5
        rows, cols = np.nonzero(filled)
        values = rng.standard_normal(rows.size) * 2.0 ** rng.integers(-12, 12, rows.size)
        special = rng.random(rows.size) < 0.2
        values[special] = rng.choice(specials, int(special.sum()))
        return Csr.from_coo(shape, rows, cols, values.astype(np.float32))

    cases = [
        make("single fp32", operand((4, 6)), operand((6, n)), exact=False) for n in (2, 3, 4, 7)
    ]
    for case, (what, _) in zip(cases, run_cases(config, cases), strict=True):
        assert what is None, what
        done = simulate(config.shape, case.a, case.b, case.starts)
        assert golden_error(config.shape, case, done) is None
        altered = done.value.copy()
        altered.view(np.uint32)[np.flatnonzero(np.isfinite(altered))[0]] ^= 1  # one unit
        other = golden_error(config.shape, case, replace(done, value=altered))
        assert other == "window 0: entries differ from the golden tables"


def test_a_wrong_word_and_a_wrong_cycle_are_noticed(monkeypatch):
    import hwsim.verify_spgemm as verification

    design = "single int32"
    config = DESIGNS[design]
    case = make(design, matrix([[1, 2]], config), matrix([[3, 4], [5, 6]], config))
    right = verification.expected_words

    def late(words, cycles):
        cycles["z0"][1] += 1

    def wrong(words, cycles):
        words["done"][0] ^= 1

    def more(words, cycles):
        words["z0"].append(0)

    changes = iter([late, wrong, more])

    def altered(*args):
        words, cycles = right(*args)
        next(changes)(words, cycles)
        return words, cycles

    monkeypatch.setattr(verification, "expected_words", altered)
    found = [what for what, _ in run_cases(config, [case] * 3)]
    last = simulate(config.shape, case.a, case.b, case.starts).cycle[-1]
    assert "z0 word 1 came, expected in cycle" in found[0]
    assert "done word 0 is 0x" in found[1]
    assert found[2] == f"cycle {last}: 3 words came on z0, expected 4"


def test_overflow_loses_nothing_over_further_passes():
    """Passes over what was spilled end with the whole product, each entry in one pass alone."""
    from hwsim.engine_rowwise import run_product
    from hwsim.models.spgemm import SparseProduct

    rng = np.random.default_rng(5)
    for name in ("single int32", "wide fp32"):
        config = DESIGNS[name]
        a, b = (random_matrix(rng, s, 0.6, config) for s in ((6, 9), (9, 100)))
        run = run_product(SparseProduct(layer="x", a=a, b=b), config)
        golden = product(a, b)
        assert run.counters["spgemm.hash.spill"] > golden.nnz // 4
        assert np.array_equal(run.z.indptr, golden.indptr)
        assert np.array_equal(run.z.indices, golden.indices)
        assert np.array_equal(run.z.data, golden.data)
        assert run.counters["spgemm.hash.insert"] == golden.nnz
        assert run.counters["spgemm.hash.accumulate"] == multiplies(a, b) - golden.nnz
        assert run.parts["spill"] > 0


def test_the_simulator_refuses_what_the_engine_cannot_hold():
    config = DESIGNS["single int32"]
    x = matrix([[1]], config)
    with pytest.raises(ValueError, match=r"values of A must be int32, but got float64"):
        simulate(config.shape, x.astype(np.float64), x, np.array([0, 1]))
    wide = Csr.from_coo((1, 600), [0], [599], np.ones(1, np.int32))
    with pytest.raises(ValueError, match=r"columns of B must be at most 2\*\*9, but got 600"):
        simulate(config.shape, x, wide, np.array([0, 1]))
    with pytest.raises(ValueError, match="columns of A must be rows of B"):
        simulate(config.shape, wide, wide, np.array([0, 1]))
    with pytest.raises(ValueError, match="a window must have 1 to 16 rows, but got 0 to 0"):
        simulate(config.shape, x, x, np.array([0, 0]))
    with pytest.raises(ValueError, match="gaps of z must not be negative, but got -1"):
        simulate(config.shape, x, x, np.array([0, 1]), gaps=RowwiseGaps(z=[-1]))
    with pytest.raises(ValueError, match="latencies must not be negative, but got -2"):
        simulate(config.shape, x, x, np.array([0, 1]), latency=MemoryLatency(b=-2))


def test_windows_take_rows_while_their_bounds_fit():
    bound = np.array([3, 3, 3, 20, 0, 0, 1])
    assert windows(bound, 8, 16).tolist() == [0, 2, 3, 4, 7]
    assert windows(bound, 100, 3).tolist() == [0, 3, 6, 7]
    for first, end in pairwise(windows(bound, 8, 16).tolist()):
        assert bound[first:end].sum() <= 8 or end - first == 1
    with pytest.raises(ValueError, match="capacity >= 1 must hold, but got 0"):
        windows(bound, 0, 1)


def test_more_lanes_and_banks_are_faster_and_change_no_structure():
    config = DESIGNS["wide fp32"]
    rng = np.random.default_rng(6)
    a, b = (random_matrix(rng, s, 0.5, config) for s in ((10, 30), (30, 3)))
    case = make("wide fp32", a, b)
    cycles = {}
    for lanes in (1, 3):
        done = simulate(replace(config.shape, lanes=lanes), a, b, case.starts)
        assert golden_error(config.shape, case, done) is None
        cycles[lanes] = done.cycles
    assert cycles[3] < cycles[1]


def test_the_cases_of_a_run_meet_everything_that_can_happen():
    designs = spgemm_designs(load_config("spgemm"))
    seen = dict.fromkeys(("spilled", "waits", "skipped", "full", "swept", "collided", "exact"), 0)
    for number in range(100):
        case = make_case(designs, 3, number)
        shape = designs[case.design].shape
        done = simulate(shape, case.a, case.b, case.starts, gaps=case.gaps, latency=case.latency)
        assert golden_error(shape, case, done) is None
        inserts = done.counts[:, INSERTS]
        totals = done.totals
        merged = totals["spgemm.hash.insert"] + totals["spgemm.hash.accumulate"]
        seen["spilled"] += done.spilled > 0
        seen["waits"] += done.waits > 0
        seen["skipped"] += done.skipped > 0
        seen["full"] += int((inserts == shape.banks * shape.entries).any())
        seen["swept"] += len(inserts) >= 2**shape.epoch_bits
        seen["collided"] += totals["spgemm.hash.probe"] > merged
        seen["exact"] += case.exact
    assert min(seen.values()) >= 10, seen
    assert seen["exact"] <= 90
