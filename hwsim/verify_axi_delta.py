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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.config_base import BusConfig
from hwsim.dataflows.delta_sim import DeltaGaps, MemoryGaps
from hwsim.delta_cases import DeltaCase
from hwsim.models.delta_jobs import (
    DeltaFormat,
    DeltaProgram,
    EngineSetup,
    FrameJob,
    delta_program,
    delta_spec,
)
from hwsim.models.delta_shape import DeltaShape, FactorBits
from hwsim.models.shell_map import shell_map
from hwsim.verify_words import unpack_field

__all__ = ["AxiDesign", "axi_delta_build", "case_program", "run_axi_delta"]

_BENCH = "hwsim.rtl.bench_delta_axi"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class AxiDesign:
    """A top: engines, buses, where weights are."""

    shape: DeltaShape
    chain: int
    bus: BusConfig
    on_chip: bool

    @property
    def form(self) -> DeltaFormat:
        """Bytes of its streams."""
        return DeltaFormat(self.shape, self.bus.data_bits)

    def __str__(self) -> str:
        s = self.shape
        return (
            f"engine={'gru' if s.gru else 'layer'} lanes={s.lanes} chain={self.chain} "
            f"detector_width={s.detector_width} data_bits={self.bus.data_bits} "
            f"burst_beats={self.bus.burst_beats} outstanding_reads={self.bus.outstanding_reads} "
            f"data={self.bus.data} weights {'on chip' if self.on_chip else 'in memory'}"
        )


def axi_delta_build(design: AxiDesign) -> Any:
    """The top with its probe, compiled or from the cache.

    Raises:
        UserError: a tool is missing.
    """
    from hwsim.rtl.delta_axi import DELTA_AXI, DeltaAxi
    from hwsim.rtl.delta_engine import delta_parts
    from hwsim.rtl.simulator import build
    from hwsim.rtl.verilog import component_verilog

    parts = {name: make() for name, make in delta_parts(design.shape, design.chain).items()}
    parts[DELTA_AXI] = DeltaAxi(
        design.shape, design.chain, design.bus, on_chip=design.on_chip, probe=True
    )
    return build(component_verilog(parts), DELTA_AXI)


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
