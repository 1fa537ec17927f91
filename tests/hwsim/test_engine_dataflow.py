"""SpGEMM dataflows as accelerators: configuration, time law, traffic, energy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import operands, random_csr

from hwsim import simulate
from hwsim.config import dump_config, load_config, replace
from hwsim.dataflows.fibre_cache import fibre_traffic
from hwsim.dataflows.row_order import affinity_order, permute_rows
from hwsim.dataflows.spgemm_counts import count
from hwsim.engine_dataflow import run_product
from hwsim.errors import UserError
from hwsim.models.rmat import RmatSpec, rmat
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseProduct, product

PRESETS = ("gamma", "outerspace", "inner_product", "two_pass_hash")
ENERGY = {
    "multiply_pj": 1.0,
    "add_pj": 10.0,
    "merge_pj": 100.0,
    "compare_pj": 1e3,
    "probe_pj": 1e4,
    "cache_pj": 0.0,
    "dram_pj": 1e6,
}


def matrix(n=60, density=0.1, seed=3):
    return random_csr(np.random.default_rng(seed), n, n, density, skew=True)


def run(config, a, b=None):
    return run_product(SparseProduct(layer="test", a=a, b=a if b is None else b), config)


@given(operands(), st.sampled_from(PRESETS))
def test_every_dataflow_gives_the_product_and_the_same_work(case, preset):
    a, b = case
    got = run(load_config(preset), a, b)
    golden = product(a, b)
    assert got.z.data.tobytes() == golden.data.tobytes()
    assert got.z.indices.tolist() == golden.indices.tolist()
    counts = count(a, b)
    assert got.counters["spgemm.multiply"] == got.macs_effective == counts.multiplies
    assert got.counters["spgemm.add"] == counts.adds
    assert got.counters["spgemm.nnz_c"] == got.nnz_c == golden.nnz
    assert got.counters["dram.read"] == got.dram_read_bytes
    assert got.counters["dram.write"] == got.dram_write_bytes
    assert sum(got.parts.values()) == got.cycles


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_read_back_gives_the_same_run(preset, tmp_path):
    config = load_config(preset)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    again = load_config(path)
    assert again == config
    first, second = run(config, matrix()), run(again, matrix())
    assert (first.parts, first.counters) == (second.parts, second.counters)


def test_time_is_the_busiest_resources_and_its_causes_sum():
    a = matrix()
    base = load_config("gamma")
    fast = run(replace(base, {"dram.bytes_per_cycle": None}), a)
    merged = fast.counters["spgemm.merge.element"]
    assert fast.cycles == -(-merged // 32)
    assert fast.parts["multiply"] == -(-fast.macs_effective // 32)
    assert fast.parts["stall.dram"] == fast.parts["fill"] == 0
    slow = run(replace(base, {"dram.bytes_per_cycle": 1.0, "dram.latency_cycles": 7}), a)
    moved = slow.dram_read_bytes + slow.dram_write_bytes
    assert slow.cycles == moved + 7
    assert slow.parts["fill"] == 7
    assert slow.parts["stall.dram"] == moved - fast.cycles


def test_outer_product_pays_its_phases_one_after_the_other():
    a = matrix()
    base = replace(load_config("outerspace"), {"dram.bytes_per_cycle": 1.0})
    got = run(base, a)
    sums = got.bytes_by_cause
    assert got.cycles == sum(sums.values())  # at a byte a cycle DRAM bounds both phases
    assert sums["t.read"] == sums["t.write"] > 12 * got.macs_effective
    wide = run(replace(base, {"dram.bytes_per_cycle": None}), a)
    compares = wide.counters["spgemm.merge.compare"]
    assert wide.cycles == -(-got.macs_effective // 256) + max(
        -(-compares // 128), -(-wide.counters["spgemm.add"] // 128)
    )


def test_a_smaller_cache_reads_more_of_b_and_nothing_else_changes():
    a = matrix(n=200, density=0.05)
    before = None
    for size in (1 << 20, 4096, 1024, 256, 0):
        got = run(replace(load_config("gamma"), {"memory.cache_bytes": size}), a)
        lru = fibre_traffic(a.indices, a.row_lengths, cache_bytes=size)
        assert got.bytes_by_cause["b.read"] == lru.bytes_fetched
        if before is not None:
            assert got.bytes_by_cause["b.read"] >= before.bytes_by_cause["b.read"]
            assert got.bytes_by_cause["a.read"] == before.bytes_by_cause["a.read"]
        before = got
    assert before.counters["spgemm.fibre_cache.hit"] == 0


def test_the_affinity_order_changes_what_is_read_of_b_alone():
    a = matrix(n=200, density=0.05)
    small = {"memory.cache_bytes": 1024, "memory.policy": "next_use_words"}
    natural = run(replace(load_config("gamma"), small), a)
    got = run(replace(load_config("gamma"), {**small, "row_order": "affinity"}), a)
    assert got.z.data.tobytes() == natural.z.data.tobytes()
    moved = permute_rows(a, affinity_order(a, 1024))
    read = fibre_traffic(moved.indices, a.row_lengths, cache_bytes=1024, policy="next_use_words")
    assert got.bytes_by_cause == {**natural.bytes_by_cause, "b.read": read.bytes_fetched}
    tall = Csr.from_coo((65537, 65537), [0], [0], [1.0])
    with pytest.raises(UserError, match="row_order: the affinity order takes at most 65536 rows"):
        run(replace(load_config("gamma"), {"row_order": "affinity"}), tall)


def test_inner_product_streams_b_for_every_block_of_a():
    a = matrix()
    base = load_config("inner_product")
    whole = run(base, a).bytes_by_cause["b.read"]
    one_row = {"memory.buffer_bytes": 0, "memory.cache_bytes": 0}
    got = run(replace(base, one_row), a).bytes_by_cause["b.read"]
    assert got == whole * int(np.count_nonzero(a.row_lengths))


def test_tables_that_do_not_fit_are_probed_in_dram():
    a = matrix()
    base = load_config("two_pass_hash")
    fits = run(base, a)
    assert fits.bytes_by_cause["t.read"] == fits.bytes_by_cause["t.write"] == 0
    nothing = run(replace(base, {"memory.buffer_bytes": 0}), a)
    assert nothing.bytes_by_cause["t.read"] == 8 * nothing.counters["spgemm.hash.probe"]
    assert nothing.bytes_by_cause["t.write"] == 8 * (nothing.nnz_c + nothing.macs_effective)
    assert nothing.counters["spgemm.hash.insert"] == 2 * nothing.nnz_c


@pytest.mark.parametrize("preset", PRESETS)
def test_energy_is_counters_times_energies(preset):
    config = load_config(preset)
    config = replace(config, {f"energy.{name}": value for name, value in ENERGY.items()})
    got = run(config, matrix())
    count_of = got.counters.get
    merges = count_of("spgemm.merge.element", 0) + count_of("spgemm.merge.compare", 0)
    assert got.energy_pj == pytest.approx(
        count_of("spgemm.multiply")
        + 10 * count_of("spgemm.add")
        + 100 * merges
        + 1e3 * count_of("spgemm.inner.compare", 0)
        + 1e4 * count_of("spgemm.hash.probe", 0)
        + 1e6 * (count_of("dram.read") + count_of("dram.write"))
    )
    with_cache = run(replace(config, {"energy.cache_pj": 1.0}), matrix())
    assert with_cache.energy_pj > got.energy_pj


def test_bytes_follow_the_burst_and_the_value():
    a = matrix()
    small = run(replace(load_config("gamma"), {"value_bytes": 4}), a).bytes_by_cause
    assert small["z.write"] == 8 * count(a, a).nnz_c + 4 * 60
    large = run(replace(load_config("gamma"), {"dram.burst_bytes": 64}), a).bytes_by_cause
    assert large["a.read"] % 64 == large["b.read"] % 64 == 0
    assert large["a.read"] > run(load_config("gamma"), a).bytes_by_cause["a.read"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("hash_scale=2", "hash_scale must be odd, but got 2"),
        ("min_slots=12", "min_slots must be a power of two, but got 12"),
        ("dram.burst_bytes=12", "dram.burst_bytes must be a multiple of 8"),
        ("dataflow=middle", "dataflow: input should be 'row_wise', 'outer', 'inner'"),
        (
            "memory.policy=fifo",
            "memory.policy: input should be 'lru', 'next_use' or 'next_use_words'",
        ),
        ("pes=0", "pes: input should be greater than or equal to 1, but got 0"),
        ("merger_radix=1", "merger_radix: input should be greater than or equal to 2"),
        ("memory.size=1", "memory.size: there is no such field; those here are cache_bytes"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(change, sentence):
    with pytest.raises(UserError) as error:
        load_config("gamma", [change])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_simulate_from_python(preset):
    result = simulate("rmat:scale=7,edges=600,seed=1", preset, overrides=["op=aat"])
    a = rmat(RmatSpec(scale=7, edges=600, seed=1)).matrix
    b = a.transpose()
    counters = result.summary["counters"]
    expected = (a.to_scipy() @ b.to_scipy()).nnz  # no entry cancels: all values are ones
    assert counters["spgemm.nnz_c"] == expected
    assert counters["spgemm.multiply"] == int(b.row_lengths[a.indices].sum())
    assert counters["spgemm.add"] == counters["spgemm.multiply"] - expected
    assert result.summary["cycles"] == sum(result.summary["parts"].values())
