"""Holds the delta engines in RTL against simulator and golden model: values and cycles.

A case passes when the RTL's words equal the simulator's bit for bit, each was taken in the cycle
that the simulator says, nothing came after the last, and the simulator's values equal the golden
model's. Everything in a run follows from its seed.
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

from hwsim.config_delta import DeltaConfig
from hwsim.delta_cases import DeltaCase
from hwsim.delta_random import designs, random_case
from hwsim.errors import UserError
from hwsim.models.delta_shape import DeltaShape
from hwsim.verify import Failure, Report

__all__ = ["delta_build", "run_delta", "verify_delta"]

_BENCH = "hwsim.rtl.bench_delta"
_WATCH_CYCLES = 20  # after the last result nothing may follow for this long


def verify_delta(
    config: DeltaConfig,
    *,
    cases: int = 100,
    seed: int = 0,
    only: int | None = None,
    waves: Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Report:
    """Run `cases` random cases through the RTL of `config` and its relatives.

    Args:
        config: a delta engine of one cluster.
        cases: how many, at least 1.
        seed: makes the same cases again.
        only: run just this case of the run.
        waves: with `only`, write the case's waveform (VCD) there.
        progress: told in words what happens.

    Raises:
        UserError: a count below 1, clusters without RTL, or a tool is missing.
    """
    if cases < 1:
        raise UserError(f"--cases must be at least 1, but got {cases}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, but got {seed}")
    if only is not None and not 0 <= only < cases:
        raise UserError(f"--case must lie in 0..{cases - 1}, but got {only}")
    if config.clusters != 1:
        raise UserError(
            f"clusters must be 1 to be verified, the RTL is one cluster, but got {config.clusters}"
        )
    every = designs(config)
    numbers = range(cases) if only is None else [only]
    used = sorted({number % len(every) for number in numbers})
    started = time.perf_counter()
    progress(f"building {len(used)} designs with Verilator")
    with ThreadPoolExecutor(2) as pool:  # Verilator and the compiler are processes of their own
        made = dict(
            zip(
                used,
                pool.map(
                    lambda d: delta_build(every[d].shape, every[d].chain, waves=waves is not None),
                    used,
                ),
                strict=True,
            )
        )
    built = time.perf_counter()
    failures: list[Failure] = []
    cycles = words = 0
    for which in used:
        design = every[which]
        mine = [number for number in numbers if number % len(every) == which]
        progress(f"running {len(mine)} cases on {design}")
        given = [random_case(design, seed, number) for number in mine]
        results = run_delta(made[which], given, waves=waves)
        for number, case, got in zip(mine, given, results, strict=True):
            cycles += case.timeline.cycles
            words += len(case.expected)
            what = difference(case, got)
            if what is not None:
                failures.append(
                    Failure(number=number, config=str(design), case=case.description, what=what)
                )
    return Report(
        cases=len(numbers),
        passed=len(numbers) - len(failures),
        seed=seed,
        designs=[str(every[which]) for which in used],
        rtl_cycles=cycles,
        result_words=words,
        seconds_build=built - started,
        seconds_run=time.perf_counter() - built,
        failures=sorted(failures, key=lambda f: f.number),
    )


def delta_build(shape: DeltaShape, chain: int = 1, *, waves: bool = False) -> Any:
    """A design of `chain` engines, compiled or from the cache.

    Raises:
        UserError: a tool is missing.
    """
    from hwsim.rtl.delta_engine import DELTA_TOP
    from hwsim.rtl.simulator import build

    return build(_verilog(shape, chain), DELTA_TOP, waves=waves)


@lru_cache(maxsize=32)
def _verilog(shape: DeltaShape, chain: int) -> str:
    from hwsim.rtl.blocks import parts_verilog
    from hwsim.rtl.delta_engine import delta_parts

    return parts_verilog(delta_parts(shape, chain))[0]


def run_delta(
    made: Any, cases: Sequence[DeltaCase], *, waves: Path | None = None
) -> list[dict[str, Any]]:
    """What a design did in each case, as `hwsim.rtl.bench_delta` says.

    Raises:
        RuntimeError: the bench fails.
    """
    packed = [
        {
            "set": case.constants,
            "sources": {port: (words, list(gaps)) for port, (words, gaps) in case.sources.items()},
            "sinks": {"o": (len(case.expected), list(case.gaps_o))},
            "memories": {
                (f"w_request{number}", f"w{number}"): (
                    words, list(gaps.request), gaps.latency, list(gaps.response),
                )
                for number, (words, gaps) in case.memories.items()
            },
            "limit": 2 * case.timeline.cycles + 1000,
            "watch": _WATCH_CYCLES,
        }
        for case in cases
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="hwsim-verify-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(packed))
        env = {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)}
        made.run(_BENCH, env, waves=waves)
        results: list[dict[str, Any]] = pickle.loads(target.read_bytes())
        return results


def difference(case: DeltaCase, results: dict[str, Any]) -> str | None:
    """The first way in which RTL and simulator differ, None if they do not."""
    if case.golden_error:
        return case.golden_error
    got = results["o"]
    expected = case.timeline.o_cycles.tolist()
    pairs = zip(got["words"], got["cycles"], case.expected, expected, strict=False)
    for i, (word, cycle, want, when) in enumerate(pairs):
        if cycle != when:
            return f"cycle {cycle}: result {i} came, expected in cycle {when}"
        if word != want:
            return f"cycle {cycle}: result {i} is {word:#x}, expected {want:#x}"
    if len(got["words"]) != len(case.expected):
        return f"{len(got['words'])} results came, expected {len(case.expected)}"
    if got["extra"]:
        return f"after the last result o stayed valid for {got['extra']} cycles"
    return None
