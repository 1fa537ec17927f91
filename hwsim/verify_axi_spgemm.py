"""Verification of the SpGEMM top: whole products from descriptors in memory, over AXI buses.

A random memory decides when the core gets its words, so its cycles and, in floating point, the
order of its sums depend on it. So the bench watches the core's ports, and the simulator is given
what it saw: when each word was offered to the core, and when each of its results could be taken.
From that the simulator must come to every result word, bit for bit, in the cycle in which the RTL
gave it, whatever the memory did; the results in memory must be those words; and they, with the
spilled products, must be the golden product. Products that spill run further passes, each a list
of its own.

The time of a whole list is held against `hwsim.spgemm_axi_model`, where the memory does not pause
at random.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.config_spgemm import SpgemmConfig
from hwsim.dataflows.rowwise_ports import PORTS
from hwsim.dataflows.rowwise_sim import MemoryLatency, RowwiseGaps, RowwiseRun, simulate
from hwsim.engine_rowwise import assemble
from hwsim.models.rowwise import RowLists, row_bound, spill_operands, windows
from hwsim.models.shell_map import ERRORS, shell_map
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import product
from hwsim.models.spgemm_jobs import (
    SpgemmFormat,
    SpgemmJob,
    SpgemmProgram,
    SpgemmResult,
    spgemm_program,
    spgemm_spec,
)
from hwsim.spgemm_axi_cases import SpgemmAxiCase, axi_designs, make_axi_case
from hwsim.spgemm_axi_model import list_cycles
from hwsim.spgemm_cases import SpgemmCase
from hwsim.verify_axi import AxiLayer, AxiReport
from hwsim.verify_spgemm import golden_error

__all__ = [
    "Observed",
    "axi_build",
    "observed",
    "register_steps",
    "run_axi_cases",
    "run_bench",
    "verify_axi_spgemm",
]

_BENCH = "hwsim.rtl.bench_spgemm_axi"
_ALIGN = 512  # of arrays in memory: whole bursts of every bus that is verified
_STATUS = ("status", "error", "error_index", "completed")


def verify_axi_spgemm(
    config: SpgemmConfig,
    *,
    cases: int = 8,
    seed: int = 0,
    progress: Callable[[str], None] = lambda message: None,
) -> AxiReport:
    """Run `cases` products through the tops of designs like `config`.

    Args:
        config: gives format, bus, latencies and queues; `hwsim.spgemm_axi_cases.axi_designs` says
            which sizes are built.
        cases: how many, at least 1.
        seed: makes the same cases again.
        progress: told in words what happens.

    Raises:
        UserError: a tool is missing.
    """
    designs = axi_designs(config)
    made = [make_axi_case(designs, seed, number) for number in range(cases)]
    used = sorted({case.design for case in made})
    started = time.perf_counter()
    builds = {}
    for which in used:
        progress(f"building {_describe(designs[which])} with Verilator")
        builds[which] = axi_build(designs[which])
    built = time.perf_counter()
    layers: dict[int, list[AxiLayer]] = {}
    for which in used:
        mine = [case for case in made if case.design == which]
        progress(f"running {len(mine)} products on {_describe(designs[which])}")
        layers |= run_axi_cases(builds[which], designs[which], mine)
    return AxiReport(
        config="; ".join(_describe(designs[which]) for which in used),
        seed=seed,
        layers=[layer for number in sorted(layers) for layer in layers[number]],
        seconds_build=built - started,
        seconds_run=time.perf_counter() - built,
        notes=["core cycles: the simulator with the memory's responses as the core saw them"],
    )


def axi_build(config: SpgemmConfig) -> Any:
    """The top of a configuration with its probe, compiled or from the cache.

    Raises:
        UserError: a tool is missing.
    """
    from hwsim.rtl.simulator import build

    return build(*_verilog(config))


@lru_cache(maxsize=32)
def _verilog(config: SpgemmConfig) -> tuple[str, str]:
    from hwsim.rtl.blocks import parts_verilog
    from hwsim.rtl.spgemm_axi import spgemm_axi_parts

    return parts_verilog(spgemm_axi_parts(config.shape, config.bus, probe=True))


def run_bench(made: Any, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run cases of `hwsim.rtl.bench_spgemm_axi` on a build."""
    with tempfile.TemporaryDirectory(prefix="hwsim-verify-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(list(cases)))
        made.run(_BENCH, {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)})
        results: list[dict[str, Any]] = pickle.loads(target.read_bytes())
    return results


def register_steps(bus_bits: int, program: SpgemmProgram, limit: int) -> list[tuple[Any, ...]]:
    """What software does: the list, the interrupt's causes, start, wait, read; see `_Run`."""
    registers = shell_map(spgemm_spec(), bus_bits)

    def at(name: str) -> int:
        return registers[name].offset

    steps: list[tuple[Any, ...]] = [
        ("write", at("irq_enable"), 0b011),
        ("write", at("list_address_lo"), program.list_address & 0xFFFFFFFF),
        ("write", at("list_address_hi"), program.list_address >> 32),
        ("write", at("list_count"), program.count),
        ("write", at("control"), 1),
        ("irq", limit),
    ]
    names = [*_STATUS]
    for name in spgemm_spec().all_counters:
        tag = f"count_{name.replace('.', '_')}"
        names += [f"{tag}_lo", f"{tag}_hi"]
    steps += [("read", at(name)) for name in names]
    return [*steps, ("write", at("irq_status"), 0b111)]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the core saw at its ports while a descriptor ran, as the simulator takes it.

    Attributes:
        gaps, stride: idle cycles before each word.
        passes: stream of the core -> the cycles in which its words passed; 0 is the first after
            the core's reset.
    """

    gaps: RowwiseGaps
    stride: int
    passes: Mapping[str, NDArray[np.int64]]


def observed(config: SpgemmConfig, trace: Sequence[int]) -> list[Observed]:
    """The descriptors of a run.

    Args:
        config: of the design.
        trace: its port `probe` in each cycle.

    Raises:
        AssertionError: a stream was offered, or was ready, and then no more before its word passed.
    """
    from amaranth.lib.wiring import In

    from hwsim.rtl.rowwise import rowwise_members
    from hwsim.rtl.spgemm_axi import probe_names

    words = np.array(trace, np.uint64)
    holds = (words & np.uint64(1)).astype(bool)
    edges = np.flatnonzero(np.diff(holds.astype(np.int8), prepend=1, append=1))
    members, names = rowwise_members(config.shape), probe_names(config.shape)
    found = []
    for begin, end in edges.reshape(-1, 2).tolist():
        part = words[begin:end]
        gaps: dict[str, NDArray[np.int64]] = {}
        passes = {}
        for i, name in enumerate(names):
            valid = (part >> np.uint64(1 + 2 * i) & np.uint64(1)).astype(bool)
            ready = (part >> np.uint64(2 + 2 * i) & np.uint64(1)).astype(bool)
            side = valid if members[name].flow is In else ready
            passes[name], gaps[name] = _port_gaps(name, side, valid & ready)
        stride = max(given.size for given in gaps.values()) or 1
        joined = {}
        for port in PORTS:
            mine = [name for name in names if name.rstrip("0123456789") == port]
            lists = [np.pad(gaps[name], (0, stride - gaps[name].size)) for name in mine]
            joined[port] = np.concatenate(lists)
        found.append(Observed(gaps=RowwiseGaps(**joined), stride=stride, passes=passes))
    return found


def _port_gaps(
    name: str, side: NDArray[np.bool_], both: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When words passed, and how long after the one before the other side let each pass."""
    passes = np.flatnonzero(both)
    since = np.append(-1, passes[:-1]) + 1 if passes.size else passes
    open_cycles = np.flatnonzero(side)
    opened = open_cycles[np.searchsorted(open_cycles, since)]
    stays = np.searchsorted(open_cycles, passes) - np.searchsorted(open_cycles, opened)
    if (stays != passes - opened).any():
        raise AssertionError(f"{name} was taken back before its word passed")
    return passes, opened - since


@dataclass(kw_only=True)
class _Pass:
    """A list that one round of the bench runs for a case: the product, or what it spilled."""

    case: SpgemmAxiCase
    a: Csr | RowLists
    b: Csr | RowLists
    rows: NDArray[np.int64]  # of C, of each row of A
    runs: list[RowwiseRun] = field(default_factory=list)  # of this pass and those before

    @property
    def number(self) -> int:
        return len(self.runs)


def run_axi_cases(
    made: Any, config: SpgemmConfig, cases: Sequence[SpgemmAxiCase]
) -> dict[int, list[AxiLayer]]:
    """Run products on a build of `config`: by the case's number, a layer for each pass."""
    form = SpgemmFormat(config.shape, config.bus.data_bits)
    layers: dict[int, list[AxiLayer]] = {case.number: [] for case in cases}
    left = [_Pass(case=c, a=c.a, b=c.b, rows=np.arange(c.a.shape[0])) for c in cases]
    while left:
        jobs = [_job(config, one) for one in left]
        programs = [spgemm_program(form, [job], align=_ALIGN) for job in jobs]
        benches = [_bench_case(config, *x) for x in zip(left, programs, strict=True)]
        following = []
        for one, job, program, got in zip(
            left, jobs, programs, run_bench(made, benches), strict=True
        ):
            layer, run = _judge(config, one, job, program, got)
            layers[one.case.number].append(layer)
            if run is not None and layer.ok and run.spilled:
                a, b, rows = spill_operands(
                    one.b.shape[1], run.spill_row, run.spill_column, run.spill_value
                )
                following.append(_Pass(case=one.case, a=a, b=b, rows=rows, runs=one.runs))
        left = following
    return layers


def _job(config: SpgemmConfig, one: _Pass) -> SpgemmJob:
    bound = row_bound(one.a.indptr, one.a.indices, one.b.indptr, one.b.shape[1])
    capacity = max(1, int(config.capacity * one.case.load))
    return SpgemmJob(a=one.a, b=one.b, starts=windows(bound, capacity, 1 << config.shape.row_bits))


def _bench_case(config: SpgemmConfig, one: _Pass, program: SpgemmProgram) -> dict[str, Any]:
    case = one.case
    return {
        "slave": case.slave,
        "memory": {
            "image": program.image.tobytes(),
            "latency": case.latency,
            "write_latency": case.write_latency,
            "pauses": dict(case.pauses),
            "outstanding": config.bus.outstanding_reads,
            "seed": case.number + 1,
        },
        "pauses": case.register_pauses,
        "steps": register_steps(config.bus.data_bits, program, case.limit),
    }


def _judge(
    config: SpgemmConfig, one: _Pass, job: SpgemmJob, program: SpgemmProgram, got: dict[str, Any]
) -> tuple[AxiLayer, RowwiseRun | None]:
    """A layer of the report; the simulator's run, None where the list did not end as it should."""
    case = one.case
    *_, waited = got["answers"][:6]
    status = dict(zip(_STATUS, (v for _, v in got["answers"][6:10]), strict=True))
    words = [value for _, value in got["answers"][10:-1]]
    names = list(spgemm_spec().all_counters)
    counters = {name: words[2 * i] | words[2 * i + 1] << 32 for i, name in enumerate(names)}
    run: RowwiseRun | None = None
    what: str | None = None
    equal = False
    if waited is None:
        what = f"no interrupt in {case.limit} cycles"
    elif status["error"]:
        codes = {code: name for name, code in {**ERRORS, **spgemm_spec().errors}.items()}
        what = f"error {codes.get(status['error'] & 0xFF)} of descriptor {status['error_index']}"
    elif status["completed"] != program.count:
        what = f"{status['completed']} of {program.count} descriptors were completed"
    else:
        seen = observed(config, got["trace"])[0]
        run = simulate(config.shape, job.a, job.b, job.starts, gaps=seen.gaps, stride=seen.stride)
        result = program.results(np.frombuffer(got["image"], np.uint8))[0]
        what = _difference(run, result, counters) or _time_difference(run, seen)
        what = what or _golden_difference(config, one, job, run)
        equal = what is None
        run = run.renamed(one.rows)
        one.runs.append(run)
    layer = AxiLayer(
        name=case.name + (f", pass {one.number}" if one.number > 1 else ""),
        memory=case.memory,
        rtl_cycles=counters["bus.cycle"],
        core_cycles=counters["spgemm.core.cycle"],
        model_core_cycles=run.cycles if run is not None else -1,
        model_cycles=_model(config, case, job) if case.modelled else None,
        values_equal=equal,
        bytes_read=counters["dram.read"],
        bytes_written=counters["dram.write"],
        counters=counters,
        what=what,
    )
    return layer, run


def _model(config: SpgemmConfig, case: SpgemmAxiCase, job: SpgemmJob) -> int:
    assert isinstance(case.latency, int) and isinstance(case.write_latency, int)
    return list_cycles(config, [job], latency=case.latency, write_latency=case.write_latency)


def _difference(run: RowwiseRun, result: SpgemmResult, counters: Mapping[str, int]) -> str | None:
    """How what lies in memory and in the counters differs from the simulator's words."""
    order = np.argsort(run.output, kind="stable")  # region after region
    for name in ("output", "window", "row", "column"):
        if not np.array_equal(getattr(run, name)[order], getattr(result, name)):
            return f"the {name}s of the entries in memory are not the simulator's"
    kept = run.column[order] >= 0
    if not _same(run.value[order][kept], result.value[kept]):
        return "values of the entries in memory are not the simulator's"
    for name in ("spill_window", "spill_row", "spill_column"):
        if not np.array_equal(getattr(run, name), getattr(result, name)):
            return f"{name} of the spilled products in memory is not the simulator's"
    if not _same(run.spill_value, result.spill_value):
        return "values of the spilled products in memory are not the simulator's"
    if not np.array_equal(run.counts, result.counts):
        return "the counts of the windows in memory are not the simulator's"
    totals = run.totals | {"spgemm.hash.wait": run.waits, "spgemm.hash.spill": run.spilled}
    for name, total in totals.items():
        if counters[name] != total:
            return f"counter {name} is {counters[name]}, expected {total}"
    return None


def _time_difference(run: RowwiseRun, seen: Observed) -> str | None:
    """The first result stream whose words passed in other cycles than the simulator's."""
    expected = {f"z{o}": run.cycle[run.output == o] for o in np.unique(run.output).tolist()}
    expected |= {"spill": run.spill_cycle, "done": run.done_cycles}
    for name, cycles in expected.items():
        if not np.array_equal(cycles, seen.passes[name]):
            return f"words on {name} passed in other cycles than the simulator's"
    return None


def _golden_difference(
    config: SpgemmConfig, one: _Pass, job: SpgemmJob, run: RowwiseRun
) -> str | None:
    """Of a first pass how it differs from the golden product; of the last the whole product."""
    case = one.case
    if not one.runs:
        whole = SpgemmCase(
            number=case.number, design=case.design, kind=case.name, a=job.a, b=job.b,
            starts=job.starts, gaps=RowwiseGaps(), latency=MemoryLatency(),
            exact=config.format == "int32",
        )  # fmt: skip
        return golden_error(config.shape, whole, run)
    if run.spilled:
        return None
    golden = product(case.a, case.b)
    z = assemble(golden.shape, [*one.runs, run.renamed(one.rows)])
    if not (np.array_equal(z.indptr, golden.indptr) and np.array_equal(z.indices, golden.indices)):
        return "the structure of all passes together is not the golden product's"
    if config.format == "int32" and not np.array_equal(z.data, golden.data):
        return "the values of all passes together are not the golden product's"
    return None


def _same(one: NDArray, other: NDArray) -> bool:
    return np.array_equal(
        np.ascontiguousarray(one).view(np.uint32), np.ascontiguousarray(other).view(np.uint32)
    )


def _describe(config: SpgemmConfig) -> str:
    bus = config.bus
    return (
        f"lanes={config.lanes} banks={config.banks} entries={config.entries} "
        f"outputs={config.outputs} format={config.format}, bus of {bus.data_bits} bits, bursts of "
        f"{bus.burst_beats}, {bus.outstanding_reads} under way"
    )
