"""Holds the row-wise SpGEMM engine's RTL against its simulator and the golden product.

A case passes when every word on every result port (entries of C, spilled products, counters)
equals the simulator's bit for bit and was taken in its cycle, nothing came after the last, and the
simulator's entries and spilled products together are the golden product: its structure exactly,
and its values exactly where they do not depend on the order of the sums. With one lane that order
is the matrices', and the golden tables give every bit, every probe and the order of the entries.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.config_spgemm import SpgemmConfig
from hwsim.dataflows.rowwise_kernel import WINDOW_COUNTERS
from hwsim.dataflows.rowwise_sim import MemoryLatency, RowwiseGaps, RowwiseRun, simulate
from hwsim.errors import UserError
from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.rowwise import RowLists, RowwiseShape, hash_place, spill_operands
from hwsim.models.rowwise_golden import golden_windows
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import SparseProduct, multiplies, product
from hwsim.spgemm_cases import (
    SpgemmCase,
    bench_case,
    expected_words,
    make_case,
    spgemm_designs,
)
from hwsim.verify import Failure, Report

__all__ = ["golden_error", "run_cases", "run_layer", "verify_spgemm"]

_BENCH = "hwsim.rtl.bench_rowwise"
_FP32_ROUNDING = 2.0**-24


def verify_spgemm(
    config: SpgemmConfig,
    *,
    cases: int = 100,
    seed: int = 0,
    only: int | None = None,
    waves: Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Report:
    """Run `cases` random cases through the RTL of designs like `config`.

    Args:
        config: gives format, latencies, queues and widths; `hwsim.spgemm_cases.spgemm_designs` says
            which sizes are built.
        cases: how many, at least 1.
        seed: makes the same cases again.
        only: run just this case of the run.
        waves: with `only`, write the case's waveform (VCD) there.
        progress: told in words what happens.

    Raises:
        UserError: a count below 1, a case that is not in the run, or a tool is missing.
    """
    if cases < 1:
        raise UserError(f"--cases must be at least 1, but got {cases}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, but got {seed}")
    if only is not None and not 0 <= only < cases:
        raise UserError(f"--case must lie in 0..{cases - 1}, but got {only}")
    designs = spgemm_designs(config)
    numbers = range(cases) if only is None else [only]
    made = [make_case(designs, seed, number) for number in numbers]
    used = sorted({case.design for case in made})

    started = time.perf_counter()
    progress(f"building {len(used)} designs with Verilator")
    with ThreadPoolExecutor(2) as pool:
        builds = dict(
            zip(used, pool.map(lambda d: _build(designs[d], waves is not None), used), strict=True)
        )
    built = time.perf_counter()
    failures: list[Failure] = []
    cycles = words = 0
    for which in used:
        mine = [case for case in made if case.design == which]
        text = _describe(designs[which])
        progress(f"running {len(mine)} cases on {text}")
        for case, (what, ran, came) in zip(
            mine, _run(builds[which], designs[which], mine, waves), strict=True
        ):
            cycles += ran
            words += came
            if what is not None:
                failures.append(Failure(number=case.number, config=text, case=str(case), what=what))
    return Report(
        cases=len(made),
        passed=len(made) - len(failures),
        seed=seed,
        designs=[_describe(designs[which]) for which in used],
        rtl_cycles=cycles,
        result_words=words,
        seconds_build=built - started,
        seconds_run=time.perf_counter() - built,
        failures=sorted(failures, key=lambda f: f.number),
        compared="values, structure and cycles",
    )


def run_cases(config: SpgemmConfig, cases: Sequence[SpgemmCase]) -> list[tuple[str | None, int]]:
    """Run cases on the RTL of `config` itself: the first difference or None, and the cycles."""
    done = _run(_build(config, False), config, cases, None)
    return [(what, cycles) for what, cycles, _ in done]


def run_layer(config: SpgemmConfig, layer: SparseProduct) -> tuple[Csr, int, int]:
    """One whole product through the RTL of `config`, with the passes over what it spills.

    The memories hold the operands, the engine fetches them by itself.

    Returns:
        Z, the windows that ran, and the RTL's cycles, each equal to the simulator's.

    Raises:
        AssertionError: a word or a cycle differs, with the first place.
        ValueError: values or sizes that the engine does not hold.
    """
    from hwsim.engine_rowwise import assemble, product_windows

    a: Csr | RowLists = layer.a.astype(config.shape.value_dtype)
    b: Csr | RowLists = layer.b.astype(config.shape.value_dtype)
    wait = config.dram.latency_cycles
    latency = MemoryLatency(a_ptr=wait, a=wait, b_ptr=wait, b=wait)
    made = _build(config, False)
    runs: list[RowwiseRun] = []
    rows = np.arange(layer.m)
    cycles = 0
    while not runs or runs[-1].spilled:
        if runs:
            left = runs[-1]
            a, b, rows = spill_operands(
                layer.n, left.spill_row, left.spill_column, left.spill_value
            )
        case = SpgemmCase(
            number=len(runs),
            design=0,
            kind="layer",
            a=a,
            b=b,
            starts=product_windows(config, a, b),
            gaps=RowwiseGaps(),
            latency=latency,
            exact=False,
        )
        what, ran, _ = _run(made, config, [case], None)[0]
        assert what is None, what
        cycles += ran
        runs.append(simulate(config.shape, a, b, case.starts, latency=latency).renamed(rows))
    z = assemble((layer.m, layer.n), runs)
    return z, sum(len(run.counts) for run in runs), cycles


def golden_error(shape: RowwiseShape, case: SpgemmCase, run: RowwiseRun) -> str | None:
    """How the simulator's entries and spilled products differ from the golden models.

    The product, and for one lane the tables: order of entries, sums bit for bit, probes.
    """
    a, b = _matrices(case)
    golden = product(a, b)
    columns = golden.shape[1]
    kept = run.column >= 0
    tags = run.row[kept] * columns + run.column[kept]
    spilled = run.spill_row * columns + run.spill_column
    if np.unique(tags).size != tags.size:
        return "an entry of the simulator's result is there twice"
    if np.isin(spilled, tags).any():
        return "a product was spilled whose entry is in a table"
    total = multiplies(a, b)
    counts = run.totals
    if counts["spgemm.multiply"] != total:
        return f"{counts['spgemm.multiply']} products were formed, expected {total}"
    merged = counts["spgemm.hash.insert"] + counts["spgemm.hash.accumulate"]
    if merged + run.spilled != total or run.spilled != spilled.size:
        return f"{merged} products were merged and {spilled.size} spilled of {total}"
    want = golden.rows * columns + golden.indices
    if not np.array_equal(np.union1d(tags, spilled), want):
        return "the structure of the simulator's result differs from the golden product's"
    error = _value_error(case, run, tags, spilled, want, golden.data)
    return error or (_table_error(shape, case, run) if shape.lanes == 1 else None)


def _table_error(shape: RowwiseShape, case: SpgemmCase, run: RowwiseRun) -> str | None:
    def by_bank(window: int, row: Any, column: Any, value: Any) -> list[list[tuple[int, ...]]]:
        bank, _ = hash_place(shape, row - case.starts[window], column)
        words = np.stack([row, column, value.view(np.uint32)], axis=1, dtype=np.int64)
        return [[tuple(w) for w in words[bank == b].tolist()] for b in range(shape.banks)]

    for w, want in enumerate(golden_windows(shape, *_matrices(case), case.starts)):
        # waits, spilled and cycles are not the tables' to say, or compared below
        for name, count in zip(WINDOW_COUNTERS[:5], run.counts[w, :5].tolist(), strict=True):
            if count != getattr(want, name):
                return f"window {w}: {count} {name}, expected {getattr(want, name)}"
        here = (run.window == w) & (run.column >= 0)
        found = by_bank(w, run.row[here], run.column[here], run.value[here])
        left = run.spill_window == w
        spilled = by_bank(w, run.spill_row[left], run.spill_column[left], run.spill_value[left])
        if found != [_bits(bank) for bank in want.entries]:
            return f"window {w}: entries differ from the golden tables"
        if spilled != [_bits(bank) for bank in want.spilled]:
            return f"window {w}: spilled products differ from the golden tables"
    return None


def _bits(entries: list[Any]) -> list[tuple[int, int, int]]:
    """Values as bits, so that -0.0 is not 0.0 and a NaN equals itself."""
    out = []
    for row, column, value in entries:
        if isinstance(value, np.floating):
            bits = CANONICAL_NAN_BITS if np.isnan(value) else int(value.view(np.uint32))
        else:
            bits = value % 2**32
        out.append((row, column, bits))
    return out


def _value_error(
    case: SpgemmCase, run: RowwiseRun, tags: Any, spilled: Any, want: Any, golden: Any
) -> str | None:
    place = np.concatenate([np.searchsorted(want, tags), np.searchsorted(want, spilled)])
    given = np.concatenate([run.value[run.column >= 0], run.spill_value])
    if case.exact:
        total = np.zeros(want.size, golden.dtype)
        np.add.at(total, place, given)
        wrong = np.flatnonzero(total != golden)
    else:
        # any order of n sums of magnitude s in all differs from another by 2 n s roundings at most
        with np.errstate(invalid="ignore", over="ignore"):
            a, b = (x.astype(np.float64) for x in _matrices(case))
            size = product(_absolute(a), _absolute(b)).data
            exact = product(a, b).data
            total64 = np.zeros(want.size)
            np.add.at(total64, place, given.astype(np.float64))
            terms = case.a.shape[1] + 1
            slack = 2 * terms * _FP32_ROUNDING * size + terms * 2.0**-149
            safe = np.isfinite(size) & (size < 2.0**127)
            wrong = np.flatnonzero(safe & ~(np.abs(total64 - exact) <= slack))
    if wrong.size:
        i = int(wrong[0])
        row, column = divmod(int(want[i]), case.b.shape[1])
        return f"the simulator's value at ({row}, {column}) differs from the golden product's"
    return None


def _matrices(case: SpgemmCase) -> tuple[Csr, Csr]:
    if not (isinstance(case.a, Csr) and isinstance(case.b, Csr)):
        raise ValueError(f"case {case.number} reads spilled products, which are no matrix")
    return case.a, case.b


def _absolute(x: Any) -> Any:
    return type(x)(x.shape, x.indptr, x.indices, np.abs(x.data))


def _build(config: SpgemmConfig, waves: bool) -> Any:
    from hwsim.rtl.simulator import build

    return build(*_verilog(config), waves=waves)


@lru_cache(maxsize=32)
def _verilog(config: SpgemmConfig) -> tuple[str, str]:
    from hwsim.rtl.blocks import parts_verilog
    from hwsim.rtl.rowwise import rowwise_parts

    return parts_verilog(rowwise_parts(config.shape))


def _run(
    made: Any, config: SpgemmConfig, cases: Sequence[SpgemmCase], waves: Path | None
) -> list[tuple[str | None, int, int]]:
    """Of each case the first difference or None, the RTL's cycles and its words."""
    shape = config.shape
    runs = [simulate(shape, c.a, c.b, c.starts, gaps=c.gaps, latency=c.latency) for c in cases]
    expected = [expected_words(shape, c, run) for c, run in zip(cases, runs, strict=True)]
    packed = [
        bench_case(shape, c, run, words)
        for c, run, (words, _) in zip(cases, runs, expected, strict=True)
    ]
    with tempfile.TemporaryDirectory(prefix="hwsim-verify-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(packed))
        env = {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)}
        made.run(_BENCH, env, waves=waves)
        results: list[dict[str, Any]] = pickle.loads(target.read_bytes())
    out = []
    for case, run, (words, cycles), got in zip(cases, runs, expected, results, strict=True):
        # what a further pass reads is no matrix: the whole product is compared at the end
        what = golden_error(shape, case, run) if isinstance(case.b, Csr) else None
        what = what or _difference(words, cycles, got)
        if what is None and got["overflow"] != (run.spilled > 0):
            what = f"overflow is {got['overflow']} with {run.spilled} spilled products"
        last = max((got[port]["cycles"][-1] for port in words if got[port]["cycles"]), default=-1)
        out.append((what, last + 1, sum(len(got[port]["words"]) for port in words)))
    return out


def _difference(
    words: dict[str, list[int]], cycles: dict[str, Any], got: dict[str, Any]
) -> str | None:
    """The first way in time in which RTL and simulator differ, None if they do not."""
    found: list[tuple[int, str]] = []
    for port, want in words.items():
        have = got[port]
        pairs = zip(have["words"], have["cycles"], want, cycles[port].tolist(), strict=False)
        for i, (word, cycle, should, when) in enumerate(pairs):
            if cycle != when:
                found.append((min(cycle, when), f"{port} word {i} came, expected in cycle {when}"))
                break
            if word != should:
                found.append((cycle, f"{port} word {i} is {word:#x}, expected {should:#x}"))
                break
        else:
            end = (have["cycles"] or [0])[-1]
            if len(have["words"]) != len(want):
                text = f"{len(have['words'])} words came on {port}, expected {len(want)}"
                found.append((end, text))
            elif have["extra"]:
                found.append((end, f"{port} stayed valid for {have['extra']} cycles after its end"))
    if not found:
        return None
    cycle, text = min(found)
    return f"cycle {cycle}: {text}"


def _describe(config: SpgemmConfig) -> str:
    return (
        f"lanes={config.lanes} banks={config.banks} entries={config.entries} "
        f"outputs={config.outputs} format={config.format} "
        f"adder_latency={config.adder_latency} multiplier_latency={config.multiplier_latency} "
        f"probe_limit={config.shape.probe_limit} epoch_bits={config.epoch_bits}"
    )
