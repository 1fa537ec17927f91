"""Verification of the delta top: layers and GRUs from descriptors in memory, over AXI.

A case is one of `hwsim.delta_cases`, packed into a memory image. Its frames are run in two FRAMES
descriptors, then, after a RESET, all at once again. Judged are the results in memory, bit for bit,
and the core's cycles: what its ports did in every cycle is recorded, the simulator is given the
same gaps, and every word must be taken in the cycle that the simulator says; the top's counter must
be the simulator's cycles. `hwsim.axi_delta_law` foresees the whole run's cycles.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.axi_delta_cases import AxiDesign, AxiWork, design_of, relatives, works
from hwsim.axi_delta_law import BusMemory, list_cycles
from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.delta_sim import DeltaGaps, DeltaTimeline, MemoryGaps, delta_timeline
from hwsim.delta_cases import DeltaCase
from hwsim.errors import UserError
from hwsim.models.delta_jobs import (
    DeltaProgram,
    EngineSetup,
    FrameJob,
    delta_program,
    delta_spec,
)
from hwsim.models.delta_shape import DeltaShape, FactorBits
from hwsim.models.shell_map import shell_map
from hwsim.verify_axi import AxiLayer, AxiReport
from hwsim.verify_words import unpack_field

__all__ = [
    "Session",
    "axi_delta_build",
    "bench_case",
    "case_program",
    "judge",
    "run_axi_delta",
    "run_works",
    "sessions",
    "verify_axi_delta",
]

_BENCH = "hwsim.rtl.bench_delta_axi"
_BASE = 0x2000  # of the memory images: not 0, so that an address that is left out shows
_IDLE_DONE = 0b101  # of the status register
Ints = NDArray[np.int64]


def verify_axi_delta(
    config: DeltaConfig,
    *,
    cases: int = 8,
    seed: int = 0,
    progress: Callable[[str], None] = lambda message: None,
) -> AxiReport:
    """Run `cases` layers through the delta top and a relative with the other kind of engine.

    Args:
        config: a delta engine of one cluster with data in memory.
        cases: how many, at least 1; every second runs on the relative.
        seed: makes the same cases again.
        progress: told in words what happens.

    Raises:
        UserError: clusters or streams, which this does not run, or a tool is missing.
    """
    if config.clusters != 1:
        raise UserError(
            f"clusters must be 1 to be verified, the RTL is one cluster, but got {config.clusters}"
        )
    if config.bus.data != "memory":
        raise UserError(f"bus.data must be memory to be verified, but got {config.bus.data}")
    designs = relatives(design_of(config))[:cases]
    layers: list[AxiLayer] = []
    build_seconds = run_seconds = 0.0
    for number, design in enumerate(designs):
        begin = time.perf_counter()
        progress(f"building {design}")
        made = axi_delta_build(design)
        built = time.perf_counter()
        given = works(design, seed, len(range(number, cases, len(designs))))
        progress(f"running {len(given)} layers")
        layers += run_works(made, design, given)
        build_seconds += built - begin
        run_seconds += time.perf_counter() - built
    return AxiReport(
        config="; ".join(map(str, designs)), seed=seed, layers=layers,
        seconds_build=build_seconds, seconds_run=run_seconds,
        notes=["Every word at the core's ports was taken in the cycle that the simulator says for "
               "the gaps that were seen there."] if all(one.ok for one in layers) else [],
    )  # fmt: skip


def run_works(made: Any, design: AxiDesign, given: Sequence[AxiWork]) -> list[AxiLayer]:
    """What a top did with layers, judged.

    Raises:
        RuntimeError: the bench fails.
    """
    programs = [case_program(design, work.case, base=_BASE) for work in given]
    packed = [
        bench_case(design, program, work.memory, limit=_limit(work))
        for program, work in zip(programs, given, strict=True)
    ]
    results = run_axi_delta(made, packed)
    return [
        judge(design, work, program, result)
        for work, program, result in zip(given, programs, results, strict=True)
    ]


def judge(
    design: AxiDesign, work: AxiWork, program: DeltaProgram, result: Mapping[str, Any]
) -> AxiLayer:
    """A layer's results and cycles against golden model, simulator and law."""
    run, case, shape = result["runs"][0], work.case, design.shape
    registers = run["registers"]
    counters = {
        name: registers[f"count_{name.replace('.', '_')}_lo"]
        + (registers[f"count_{name.replace('.', '_')}_hi"] << 32)
        for name in delta_spec().all_counters
    }
    what = case.golden_error
    if registers["status"] != _IDLE_DONE:
        what = what or f"status is {registers['status']:#x}, error {registers['error']:#x}"
    outputs = program.outputs(np.frombuffer(result["image"], np.uint8))
    expected = _signed(case.expected, shape.item_bits, shape.lanes)
    first = np.concatenate([one.reshape(-1, shape.lanes) for one in outputs[:-1]])
    again = outputs[-1].reshape(-1, shape.lanes)
    cycles = 0
    for session in sessions(run["trace"], design.chain):
        line = delta_timeline(case.works, [shape] * design.chain, session.gaps)
        cycles += line.cycles
        what = what or session.what or _first_difference(session, line)
    law = None
    if work.modelled:
        memory = BusMemory(latency=work.memory["latency"],
                           write_latency=work.memory["write_latency"])  # fmt: skip
        law = list_cycles(shape, design.bus, program, case.works, memory, on_chip=design.on_chip)
    return AxiLayer(
        name=work.name,
        memory=work.words,
        rtl_cycles=run["cycles"],
        core_cycles=counters["delta.core.cycle"],
        model_core_cycles=cycles,
        model_cycles=law,
        values_equal=bool((first == expected).all() and (again == expected).all()),
        bytes_read=result["bytes_read"],
        bytes_written=result["bytes_written"],
        counters=counters,
        what=what,
    )


def _first_difference(session: Session, line: DeltaTimeline) -> str | None:
    """The first word that the RTL takes in another cycle than the simulator."""
    for port in ("x", "o"):
        seen, said = getattr(session, f"{port}_cycles"), getattr(line, f"{port}_cycles")
        if len(seen) != len(said):
            return f"{port}: {len(seen)} words were taken, the simulator says {len(said)}"
        if (seen != said).any():
            at = int(np.flatnonzero(seen != said)[0])
            return f"{port}: word {at} was taken in cycle {seen[at]}, expected {said[at]}"
    return None


def _limit(work: AxiWork) -> int:
    """Cycles after which a run is given up."""
    latency = work.memory["latency"]
    most = latency if isinstance(latency, int) else latency[1]
    beats = sum(int(w.beats.sum()) for w in work.case.works)
    return 20 * work.case.timeline.cycles + 4 * beats * (most + 20) + 20_000


def axi_delta_build(design: AxiDesign) -> Any:
    """The top with its probe, compiled or from the cache.

    Raises:
        UserError: a tool is missing.
    """
    from hwsim.rtl.delta_axi import DELTA_AXI
    from hwsim.rtl.simulator import build

    return build(_verilog(design), DELTA_AXI)


@lru_cache(maxsize=32)
def _verilog(design: AxiDesign) -> str:
    from hwsim.rtl.delta_axi import DELTA_AXI, DeltaAxi
    from hwsim.rtl.delta_engine import delta_parts
    from hwsim.rtl.verilog import component_verilog

    parts = {name: make() for name, make in delta_parts(design.shape, design.chain).items()}
    parts[DELTA_AXI] = DeltaAxi(
        design.shape, design.chain, design.bus, on_chip=design.on_chip, probe=True
    )
    return component_verilog(parts)


def case_program(design: AxiDesign, case: DeltaCase, *, base: int = 0) -> DeltaProgram:
    """A case's layers and frames: the frames in two parts, then after a RESET as a whole."""
    shape = design.shape
    engines = [_setup(shape, case, e, design.chain) for e in range(design.chain)]
    words = case.sources["x"][0]
    items = _signed(words, shape.item_bits, shape.detector_width)
    frames = items.reshape(-1, engines[0].record["frame_beats"], shape.detector_width)
    half = (len(frames) + 1) // 2
    jobs = [FrameJob(items=part) for part in (frames[:half], frames[half:]) if len(part)]
    return delta_program(
        design.form, engines, [*jobs, FrameJob(items=frames, reset=True)],
        on_chip=design.on_chip, base=base,
    )  # fmt: skip


def run_axi_delta(made: Any, cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a top did in each case, as `hwsim.rtl.bench_delta_axi` says.

    Raises:
        RuntimeError: the bench fails.
    """
    with tempfile.TemporaryDirectory(prefix="hwsim-verify-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(list(cases)))
        made.run(_BENCH, {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)})
        results: list[dict[str, Any]] = pickle.loads(target.read_bytes())
        return results


def bench_case(
    design: AxiDesign, program: DeltaProgram, memory: Mapping[str, Any], *, limit: int, **more: Any
) -> dict[str, Any]:
    """The bench's case of one list; `more` replaces or adds entries."""
    registers = shell_map(delta_spec(), design.bus.data_bits)
    return {
        "memory": {"image": program.image.tobytes(), "base": program.base, **memory},
        "registers": {
            r.name: r.offset
            for r in registers.registers
            if any(f.access != "wo" for f in r.fields) or r.name == "control"
        },
        "runs": [{"address": program.list_address, "count": program.count, "limit": limit}],
        **more,
    }


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the core's ports did from a release of its reset on; cycle 0 is the first.

    Attributes:
        gaps: idle cycles at every port, as the simulator takes them.
        x_cycles, o_cycles: when each word was taken.
        what: a port that broke the rule that valid or ready stays; None if none did.
    """

    gaps: DeltaGaps
    x_cycles: Ints
    o_cycles: Ints
    what: str | None


def sessions(trace: Sequence[int], chain: int) -> list[Session]:
    """Sessions in which frames ran, from the top's port `probe`."""
    from hwsim.rtl.delta_axi import ENGINE_PROBE, PROBE

    seen = np.array(trace, np.int64)
    bits = [*PROBE, *(f"{name}{e}" for e in range(chain) for name in ENGINE_PROBE)]
    lines = {name: (seen >> i & 1).astype(bool) for i, name in enumerate(bits)}
    held = np.concatenate([[True], lines["hold"], [True]])
    begins = np.flatnonzero(held[:-1] & ~held[1:])
    ends = np.flatnonzero(~held[:-1] & held[1:])
    made = [
        _session({name: line[a:b] for name, line in lines.items()}, chain)
        for a, b in zip(begins, ends, strict=True)
    ]
    return [session for session in made if len(session.o_cycles)]


def _session(lines: Mapping[str, NDArray[np.bool_]], chain: int) -> Session:
    wrong: list[str] = []

    def port(name: str, waits: str, answers: str) -> tuple[list[int], Ints]:
        gaps, taken, steady = _gaps(lines[f"{name}_{waits}"], lines[f"{name}_{answers}"])
        if not steady:
            wrong.append(f"{name}: {waits} fell before a word was taken")
        return gaps, taken

    x, x_cycles = port("x", "valid", "ready")
    o, o_cycles = port("o", "ready", "valid")
    memory = []
    for e in range(chain):
        request, _ = _suffixed(lines, f"request_ready{e}", f"request_valid{e}", wrong)
        response, _ = _suffixed(lines, f"w_valid{e}", f"w_ready{e}", wrong)
        memory.append(MemoryGaps(request=request, latency=1, response=response))
    start, _ = _suffixed(lines, "set_valid0", "set_ready0", wrong)
    gaps = DeltaGaps(x=x, o=o, start=start, memory=memory)
    return Session(gaps=gaps, x_cycles=x_cycles, o_cycles=o_cycles,
                   what=wrong[0] if wrong else None)  # fmt: skip


def _suffixed(
    lines: Mapping[str, NDArray[np.bool_]], waits: str, answers: str, wrong: list[str]
) -> tuple[list[int], Ints]:
    gaps, taken, steady = _gaps(lines[waits], lines[answers])
    if not steady:
        wrong.append(f"{waits} fell before a word was taken")
    return gaps, taken


def _gaps(ours: NDArray[np.bool_], core: NDArray[np.bool_]) -> tuple[list[int], Ints, bool]:
    """Idle cycles of our side before each word, when words were taken, whether our side was steady.

    Args:
        ours: valid or ready, what the top gives the core in each cycle.
        core: the other of the two.
    """
    taken = np.flatnonzero(ours & core)
    begins = np.concatenate([[0], taken[:-1] + 1]).astype(np.int64)
    if not len(taken):
        return [0], taken, True
    rises = np.flatnonzero(ours)
    first = rises[np.searchsorted(rises, begins)]
    steady = np.cumsum(~ours)
    return (first - begins).tolist(), taken, bool((steady[taken] == steady[first]).all())


def _setup(shape: DeltaShape, case: DeltaCase, engine: int, chain: int) -> EngineSetup:
    """An engine's part of a case, from the words of its ports."""
    from hwsim.rtl.delta_parts import config_layout

    number = str(engine) if chain > 1 else ""
    layout, constants = config_layout(shape), case.constants[f"config{number}"]
    record = {
        name: constants >> layout[name].offset & ((1 << layout[name].width) - 1)
        for name in layout.members
    }
    weights = _signed(case.memories[number][0], shape.weight_bits, shape.lanes)
    if shape.gru:
        record |= {"frame_beats": record["input_words"], "result_beats": record["groups"]}
        sums = _signed(case.sources["start"][0], shape.accumulator_bits, shape.lanes)
        return EngineSetup(record=record, weights=weights, sums=sums)
    record |= {
        "frame_beats": record["channel_words"] * record["width"] * record["height"],
        "result_beats": record["out_words"] * record["pooled_w"] * record["pooled_h"],
    }
    bits = shape.accumulator_bits
    lane = bits + FactorBits.MULTIPLIER
    words = case.sources[f"parameters{number}"][0]
    bias = _signed(words, bits, shape.lanes, lane)
    factor = unpack_field(words, lane * shape.lanes, bits, lane, (shape.lanes,),
                          FactorBits.MULTIPLIER).astype(np.int64)  # fmt: skip
    return EngineSetup(record=record, weights=weights, bias=bias, factor=factor)


def _signed(words: Sequence[int], bits: int, lanes: int, lane: int | None = None) -> Ints:
    """Packed words to integers in two's complement, [words, lanes]."""
    stride = lane or bits
    raw = unpack_field(words, stride * lanes, 0, stride, (lanes,), bits).astype(np.int64)
    return raw - ((raw >> (bits - 1)) << bits)
