"""Holds the RTL against the simulator and the golden model: values and cycles, case by case.

A case passes when the RTL's result words equal the simulator's bit for bit, each was taken in the
cycle that the simulator says, nothing came after the last, and the simulator's matrix equals the
golden model's. Everything in a run follows from its seed.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.config import Accelerator, SatConfig
from hwsim.dataflows.stce_feed import OperandStreams
from hwsim.dataflows.stce_sim import Gaps, Timeline, timeline, values
from hwsim.errors import UserError
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.nm import Compact
from hwsim.verify_cases import Case, Product, designs, make_case

__all__ = ["Failure", "Report", "run_products", "verify"]

_BENCH = "hwsim.rtl.bench_stce"
_LARGE_PES = 256  # 16 x 16 in FP16 compiles in 80 s on 2 cores
_WATCH_CYCLES = 20  # after the last result nothing may follow for this long


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One case that did not match.

    Attributes:
        number: the case.
        config: the design's fields that matter.
        what: the first difference, with its cycle.
    """

    number: int
    config: str
    case: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run found.

    Attributes:
        cases, passed: counts.
        designs: a line for each design.
        rtl_cycles: clock cycles simulated in RTL.
        result_words: result beats compared.
        seconds_build, seconds_run: wall time.
        compared: what was, in words.
    """

    cases: int
    passed: int
    seed: int
    designs: list[str]
    rtl_cycles: int
    result_words: int
    seconds_build: float
    seconds_run: float
    failures: list[Failure] = field(default_factory=list)
    compared: str = "values and cycles"

    @property
    def ok(self) -> bool:
        return self.passed == self.cases


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """What the simulator says of a case."""

    beats: NDArray
    time: Timeline
    golden_error: str | None


def verify(
    config: Accelerator,
    *,
    cases: int = 100,
    seed: int = 0,
    only: int | None = None,
    waves: Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Report:
    """Run `cases` random cases through the RTL of `config` and its relatives.

    Args:
        config: a configuration that has RTL.
        cases: how many, at least 1.
        seed: makes the same cases again.
        only: run just this case of the run.
        waves: with `only`, write the case's waveform (VCD) there.
        progress: told in words what happens.

    Raises:
        UserError: no RTL for this kind, a count below 1, or a tool is missing.
    """
    if not isinstance(config, SatConfig):
        raise UserError(f"kind: only sat can be verified, but {config.name} is a {config.kind}")
    if cases < 1:
        raise UserError(f"--cases must be at least 1, but got {cases}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, but got {seed}")
    if only is not None and not 0 <= only < cases:
        raise UserError(f"--case must lie in 0..{cases - 1}, but got {only}")
    from hwsim.rtl.simulator import build
    from hwsim.rtl.verilog import generate_verilog, top_name

    numbers = range(cases) if only is None else [only]
    all_cases = [make_case(config, seed, number) for number in numbers]
    all_designs = designs(config, seed)
    used = sorted({case.design for case in all_cases})

    started = time.perf_counter()

    def prepare(which: int) -> Any:
        text = generate_verilog(all_designs[which])
        return build(text, top_name(all_designs[which]), waves=waves is not None)

    most = max(all_designs[which].pes for which in used)
    patience = ", many minutes the first time" if most >= _LARGE_PES else ""
    progress(f"building {len(used)} designs of up to {most:,} PEs with Verilator{patience}")
    with ThreadPoolExecutor(2) as pool:
        builds = dict(zip(used, pool.map(prepare, used), strict=True))
    built = time.perf_counter()

    failures: list[Failure] = []
    cycles = words = 0
    for which in used:
        design = all_designs[which]
        mine = [case for case in all_cases if case.design == which]
        progress(f"running {len(mine)} cases on {_describe(design)}")
        expected = [_expect(design, case.products, case.gaps) for case in mine]
        results = _run(builds[which], design, mine, expected, waves)
        for case, want, got in zip(mine, expected, results, strict=True):
            what = _difference(design, want, got)
            cycles += (got["cycles"] or [0])[-1] + 1
            words += len(got["words"])
            if what is not None:
                failures.append(
                    Failure(number=case.number, config=_describe(design), case=str(case), what=what)
                )
    return Report(
        cases=len(all_cases),
        passed=len(all_cases) - len(failures),
        seed=seed,
        designs=[_describe(all_designs[which]) for which in used],
        rtl_cycles=cycles,
        result_words=words,
        seconds_build=built - started,
        seconds_run=time.perf_counter() - built,
        failures=sorted(failures, key=lambda f: f.number),
    )


def run_products(
    design: SatConfig, products: Sequence[Product], gaps: Gaps | None = None
) -> tuple[list[NDArray], int, int]:
    """Run products one after the other through the RTL.

    Returns:
        Z of each product, the cycles of the RTL and the cycles of the simulator.

    Raises:
        AssertionError: the RTL's words or cycles differ from the simulator's, with the first place.
    """
    from hwsim.rtl.simulator import build
    from hwsim.rtl.verilog import generate_verilog, top_name

    case = Case(number=0, design=0, products=list(products), gaps=gaps or Gaps())
    want = _expect(design, case.products, case.gaps)
    made = build(generate_verilog(design), top_name(design))
    got = _run(made, design, [case], [want], None)[0]
    what = _difference(design, want, got)
    assert what is None, what
    beats = _unpack(got["words"], design)
    out, at = [], 0
    for p in case.products:
        size = len(p.streams.z_rows)
        out.append(p.streams.gather(beats[at : at + size]))
        at += size
    return out, got["cycles"][-1] + 1, want.time.cycles


def _expect(design: SatConfig, products: Iterable[Product], gaps: Gaps) -> _Expected:
    fmt = design.number
    beats, jobs, error = [], [], None
    for i, p in enumerate(products):
        z = values(p.streams, fmt, design.array)
        if isinstance(p.b, Compact):
            golden = gemm_compact(p.a, p.b, fmt)
        else:
            golden = gemm(p.a, p.b, fmt)
        if (fmt.bits(p.streams.gather(z)) != fmt.bits(golden)).any():
            error = error or f"product {i}: the simulator's values differ from the golden model's"
        beats.append(z)
        jobs.append(p.streams.jobs)
    time_line = timeline(np.concatenate(jobs), design.array, gaps)
    return _Expected(beats=np.concatenate(beats), time=time_line, golden_error=error)


def _run(
    made: Any,
    design: SatConfig,
    cases: Sequence[Case],
    expected: Sequence[_Expected],
    waves: Path | None,
) -> list[dict[str, Any]]:
    packed = []
    for case, want in zip(cases, expected, strict=True):
        streams = [p.streams for p in case.products]
        packed.append(
            {
                "job": (_pack_jobs(streams), _as_list(case.gaps.job)),
                "a": ([w for s in streams for w in _pack_a(s.a)], _as_list(case.gaps.a)),
                "b": ([w for s in streams for w in _pack_b(s, design)], _as_list(case.gaps.b)),
                "z": _as_list(case.gaps.z),
                "expected": len(want.beats),
                "limit": 2 * want.time.cycles + 1000,
                "watch": _WATCH_CYCLES,
            }
        )
    with tempfile.TemporaryDirectory(prefix="hwsim-verify-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(packed))
        env = {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)}
        made.run(_BENCH, env, waves=waves)
        results: list[dict[str, Any]] = pickle.loads(target.read_bytes())
        return results


def _difference(design: SatConfig, want: _Expected, got: dict[str, Any]) -> str | None:
    """The first way in which RTL and simulator differ, None if they do not."""
    if want.golden_error:
        return want.golden_error
    fmt = design.number
    beats = _unpack(got["words"], design)
    cycles = np.array(got["cycles"], np.int64)
    n = min(len(beats), len(want.beats))
    wrong = (fmt.bits(beats[:n]) != fmt.bits(want.beats[:n])).any(axis=1)
    late = cycles[:n] != want.time.z_cycles[:n]
    for i in np.flatnonzero(wrong | late)[:1]:
        if late[i]:
            return f"cycle {cycles[i]}: result {i} came, expected in cycle {want.time.z_cycles[i]}"
        c = int(np.flatnonzero(fmt.bits(beats[i]) != fmt.bits(want.beats[i]))[0])
        have, should = int(fmt.bits(beats[i])[c]), int(fmt.bits(want.beats[i])[c])
        return f"cycle {cycles[i]}: result {i}, column {c} is {have:#010x}, expected {should:#010x}"
    if len(beats) != len(want.beats):
        return f"{len(beats)} results came, expected {len(want.beats)}"
    if got["extra"]:
        return f"after the last result z stayed valid for {got['extra']} cycles"
    return None


def _pack_jobs(streams: Sequence[OperandStreams]) -> list[int]:
    from hwsim.rtl.sequencer import job_layout

    layout = job_layout()
    fields = [(name, layout[name].offset) for name in layout.members]
    return [
        sum(int(value) << offset for value, (_, offset) in zip(job, fields, strict=True))
        for s in streams
        for job in s.jobs
    ]


def _pack_a(a: NDArray) -> list[int]:
    return [int.from_bytes(beat.tobytes(), "little") for beat in a]


def _pack_b(streams: OperandStreams, design: SatConfig) -> list[int]:
    bits, index_bits = design.number.operand_bits, max(1, design.index_bits)
    unsigned = {8: np.uint8, 16: np.uint16}[bits]
    value = np.ascontiguousarray(streams.b_values).view(unsigned).astype(np.uint64)
    pair = value | (streams.b_indices.astype(np.uint64) << np.uint64(bits))
    width = bits + index_bits
    planes = (pair[:, :, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)
    rows = np.packbits(planes.reshape(len(pair), -1).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def _unpack(words: Sequence[int], design: SatConfig) -> NDArray:
    size = design.cols * design.number.accumulator_bytes
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(raw, design.number.accumulator_dtype).reshape(-1, design.cols)


def _as_list(gaps: Any) -> list[int]:
    return [int(g) for g in np.atleast_1d(np.asarray(gaps, np.int64))]


def _describe(design: SatConfig) -> str:
    return (
        f"rows={design.rows} cols={design.cols} group={design.group_size} "
        f"psum_depth={design.psum_depth} format={design.format} interleave={design.interleave} "
        f"adder_latency={design.adder_latency} multiplier_latency={design.multiplier_latency}"
    )
