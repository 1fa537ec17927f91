"""Counts and values of SpGEMM on R-MAT, one core; the target is 100 million multiplies a second.

`mmultiply_per_s` is millions of multiplies a second; `peak_mb` the growth of the process's peak
memory in the run. Run with `pytest benchmarks/test_bench_spgemm_counts.py`.
"""

from __future__ import annotations

import resource

import pytest

from hwsim.dataflows.fibre_cache import fibre_traffic
from hwsim.dataflows.merger import insertions
from hwsim.dataflows.spgemm_counts import count, multiply, row_nnz
from hwsim.dataflows.spgemm_hash import hash_product
from hwsim.dataflows.spgemm_inner import inner_counts
from hwsim.models.rmat import RmatSpec, rmat

GRAPHS = {
    # Graph500's probabilities; the second has some 50 million multiplies and 40 million entries.
    "scale 14": RmatSpec(scale=14, edges=262144, seed=1),
    "50 million": RmatSpec(scale=17, edges=380000, seed=1),
}


@pytest.fixture(scope="module", params=GRAPHS)
def graph(request):
    return rmat(GRAPHS[request.param]).matrix


def measure(benchmark, call, graph, multiplies):
    call()  # compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.pedantic(call, rounds=3)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info["mmultiply_per_s"] = multiplies / benchmark.stats.stats.median / 1e6
    benchmark.extra_info["multiplies"] = multiplies
    benchmark.extra_info["peak_mb"] = (after - before) / 1024


CALLS = {
    "counts": lambda a: count(a, a),
    "values": lambda a: multiply(a, a),
    "hash": lambda a: hash_product(a, a),
    "insertions": lambda a: insertions(a, a),
    "lru": lambda a: fibre_traffic(a.indices, a.row_lengths, cache_bytes=3 << 20),
    "next_use": lambda a: fibre_traffic(
        a.indices, a.row_lengths, cache_bytes=1 << 20, policy="next_use"
    ),
    "inner": lambda a: inner_counts(a, a, 0),
}


@pytest.mark.parametrize("what", CALLS)
def test_product(benchmark, graph, what):
    counts = count(graph, graph)
    assert counts.nnz_c == int(row_nnz(graph, graph).sum())
    measure(benchmark, lambda: CALLS[what](graph), graph, counts.multiplies)
