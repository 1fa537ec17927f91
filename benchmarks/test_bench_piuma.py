"""Speed of the PIUMA model on R-MAT, one core; the target is 3 million multiplies a second.

`mmultiply_per_s` is millions of multiplies a second, median of three. Run with
`pytest benchmarks/test_bench_piuma.py`.
"""

from __future__ import annotations

import pytest

from hwsim.config import load_config
from hwsim.engine_piuma import run_product
from hwsim.models.rmat import RmatSpec, rmat
from hwsim.models.spgemm import SparseProduct, multiplies


@pytest.mark.parametrize("kernel", ["v1", "v2", "v3", "outer"])
@pytest.mark.parametrize(("scale", "edges"), [(11, 32768), (12, 65536)])
def test_kernel(benchmark, kernel, scale, edges):
    graph = rmat(RmatSpec(scale=scale, edges=edges, seed=1)).matrix
    work = SparseProduct(layer="x", a=graph, b=graph)
    config = load_config("piuma", [f"kernel={kernel}"])
    run_product(work, config)  # compiled
    run = benchmark.pedantic(run_product, args=(work, config), rounds=3)
    total = multiplies(graph, graph)
    assert run.counters["spgemm.multiply"] == total
    benchmark.extra_info["multiplies"] = total
    benchmark.extra_info["cycles"] = run.cycles
    benchmark.extra_info["mmultiply_per_s"] = total / benchmark.stats.stats.median / 1e6
