"""The bit-exact product on ResNet-18's shapes, with BLAS in the same run as the bound.

`mmac_per_s_core` is millions of multiply-accumulates a second and core; the target is 200.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from hwsim.dataflows.gemm import gemm, gemm_compact
from hwsim.models.formats import FP16
from hwsim.models.forward import forward, fp16
from hwsim.models.lowering import lower
from hwsim.models.nm import compress
from hwsim.models.work import Gemm
from hwsim.models.zoo import build

SHAPES = [(12544, 64, 147), (3136, 64, 576), (784, 128, 1152), (196, 256, 2304), (49, 512, 4608)]
CORES = len(os.sched_getaffinity(0))


def operands(m, n, k):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k)).astype(np.float16)
    return a, rng.standard_normal((k, n)).astype(np.float16)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fp16(benchmark, shape):
    m, n, k = shape
    a, b = operands(*shape)
    gemm(a, b, FP16)
    benchmark(gemm, a, b, FP16)
    wide_a, wide_b = a.astype(np.float32), b.astype(np.float32)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        wide_a @ wide_b
        times.append(time.perf_counter() - started)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["mmac_per_s_core"] = m * n * k / seconds / 1e6 / CORES
    benchmark.extra_info["blas_ratio"] = seconds / float(np.median(times))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fp16_compact_2_8(benchmark, shape):
    m, n, _ = shape
    a, b = operands(*shape)
    compact = compress(b, 2, 8)
    gemm_compact(a, compact, FP16)
    benchmark(gemm_compact, a, compact, FP16)
    issued = m * n * compact.values.shape[0]
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["mmac_per_s_core"] = issued / seconds / 1e6 / CORES


def test_resnet18_forward_fp16(benchmark):
    """A whole image, every product in the hardware's order."""
    network = build("resnet18")
    x = {"image": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    forward(network, x, fp16(gemm))
    benchmark.pedantic(forward, args=(network, x, fp16(gemm)), rounds=3)
    macs = sum(w.macs for w in lower(network) if isinstance(w, Gemm))
    benchmark.extra_info["mmac_per_s_core"] = macs / benchmark.stats.stats.median / 1e6 / CORES
