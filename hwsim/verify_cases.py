"""Random cases for the sparse array: products, patterns, job lists and stalls from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.config import SatConfig, replace
from hwsim.dataflows.stce import OS, WS
from hwsim.dataflows.stce_feed import OperandStreams, gemm_streams
from hwsim.dataflows.stce_sim import Gaps
from hwsim.models.formats import NumberFormat
from hwsim.models.nm import Compact, NMPattern, compress, nm_mask

__all__ = ["Case", "Product", "designs", "make_case", "product"]

_PATTERNS = (NMPattern(1, 1), NMPattern(1, 2), NMPattern(2, 4), NMPattern(2, 8), NMPattern(4, 16))


@dataclass(frozen=True, kw_only=True)
class Product:
    """One Z = A B of a case, with the streams that compute it."""

    a: NDArray
    b: NDArray | Compact
    streams: OperandStreams


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is put to one design from reset.

    Attributes:
        number: its place in the run; with the run's seed it makes the case again.
        design: index into `designs(...)`.
        products: run one after the other.
        gaps: back-pressure on every port.
    """

    number: int
    design: int
    products: list[Product]
    gaps: Gaps

    def __str__(self) -> str:
        names = {OS: "os", WS: "ws"}
        parts = []
        for p in self.products:
            pattern = p.b.pattern if isinstance(p.b, Compact) else "dense"
            (m, k), n = p.a.shape, p.streams.shape[1]
            parts.append(f"{names[int(p.streams.jobs[0, 0])]} {pattern} m={m} n={n} k={k}")
        return "; ".join(parts)


def designs(config: SatConfig, seed: int) -> list[SatConfig]:
    """The hardware that a run verifies: the configuration first, then three relatives of it.

    One has random interleave and latencies of adder and multiplier; one holds 16 activations a PE,
    so that 4:16 runs too; one is an array of another shape, no larger, with partial-sum memories
    so small that m is cut into several jobs. Interleave and latencies of all but the first are
    random.
    """
    rng = np.random.default_rng([seed, 0x5A7])
    rows = int(rng.integers(1, config.rows + 1))
    cols = int(rng.integers(1, config.cols + 1))
    changes: list[dict[str, object]] = [
        {},
        {"group": 16, "sparsity": "4:16"},
        {"rows": rows, "cols": cols, "psum_depth": 4},
    ]
    found = [config]
    for change in changes:
        depth = {
            "interleave": int(rng.integers(1, 6)),
            "adder_latency": int(rng.integers(1, 7)),
            "multiplier_latency": int(rng.integers(1, 4)),
        }
        candidate = replace(config, change | depth)
        assert isinstance(candidate, SatConfig)
        if _hardware(candidate) not in [_hardware(d) for d in found]:
            found.append(candidate)
    return found


def make_case(config: SatConfig, seed: int, number: int) -> Case:
    """Case `number` of the run with that seed: one to three products with random stalls."""
    rng = np.random.default_rng([seed, number])
    all_designs = designs(config, seed)
    # Every second case is the configuration itself.
    which = 0 if number % 2 == 0 else int(rng.integers(len(all_designs)))
    design = all_designs[which]
    patterns = [p for p in _PATTERNS if design.group_size % p.m == 0]
    products = []
    for _ in range(int(rng.integers(1, 4))):
        pattern = patterns[int(rng.integers(len(patterns)))]
        mode = (
            int(rng.integers(2))
            if config.dataflow == "auto"
            else (OS, WS)[["os", "ws"].index(config.dataflow)]
        )
        m = int(rng.integers(1, 3 * design.rows + 2))
        n = int(rng.integers(1, 2 * design.cols + 2))
        k = int(rng.integers(1, 4 * max(design.group_size, design.rows) + 2))
        a = _operand(rng, (m, k), design.number)
        b = _operand(rng, (k, n), design.number)
        products.append(product(design, a, b if pattern.dense else _prune(b, pattern), mode))
    return Case(
        number=number,
        design=which,
        products=products,
        gaps=Gaps(**{port: _gaps(rng) for port in ("job", "a", "b", "z")}),
    )


def product(design: SatConfig, a: NDArray, b: NDArray | Compact, mode: int) -> Product:
    """Z = A B as `design` runs it in `mode`, with B dense or compact along k."""
    streams = gemm_streams(a, b, design.number, mode=mode, array=design.array)
    return Product(a=a, b=b, streams=streams)


def _hardware(config: SatConfig) -> tuple[object, ...]:
    return (config.array, config.format)


def _operand(rng: np.random.Generator, shape: tuple[int, int], fmt: NumberFormat) -> NDArray:
    """Random operands: mostly ordinary, some sparse, some made of the format's corner cases."""
    style = rng.integers(4)
    if not fmt.is_float:
        integers = rng.integers(-128, 128, shape)
        if style == 0:
            integers = rng.choice([-128, -1, 0, 127], shape)
        return (integers * (rng.random(shape) < (0.4 if style == 1 else 1))).astype(np.int8)
    if style == 0:  # any bit pattern: subnormals, infinities and NaN among them
        return rng.integers(0, 1 << 16, shape).astype(np.uint16).view(np.float16)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-14, 8, shape)
    if style == 1:
        values = np.where(rng.random(shape) < 0.4, values, 0)
    if style == 2:  # gradients: around and below the least normal FP16
        values = values * 2.0**-14
    return values.astype(np.float16)


def _prune(b: NDArray, pattern: NMPattern) -> Compact:
    """B compact; magnitudes compare as bit patterns, which orders NaN above infinity."""
    size = b.view(np.uint16) & 0x7FFF if b.dtype == np.float16 else b
    return compress(b, pattern.n, pattern.m, nm_mask(size, pattern.n, pattern.m, 0))


def _gaps(rng: np.random.Generator) -> NDArray[np.int64]:
    """No stalls in a third of the ports, rare long ones in a third, many short ones in the rest."""
    style = rng.integers(3)
    length = int(rng.integers(5, 60))
    if style == 0:
        return np.zeros(1, np.int64)
    if style == 1:
        return np.where(rng.random(length) < 0.05, rng.integers(1, 40, length), 0)
    return rng.integers(0, 4, length)
